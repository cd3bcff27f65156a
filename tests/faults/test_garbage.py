"""Collecting garbage while clients push, mount, delete and pull: nothing that was accepted may lose a blob."""
import json
import os
import random
import subprocess
import threading
import time

import pytest

from lib import rawhttp
from lib.images import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, digest_of, noise, simple
from lib.mirror import Mirror, binary
from lib.pushing import Pusher
from lib.waiting import wait_until

GRACE_S = 1
FAST = {"GC_GRACE": "%ds" % GRACE_S, "GC_INTERVAL": "0", "GC_BATCH": "20", "DELETE_ENABLED": "true"}
REPOSITORIES = ("team/one", "team/two", "three")
N_CLIENTS = 4
N_ALIVE = 2
STRESS_S = 6
# More than are referenced at a time: each is garbage again and again, and wanted again while it is being collected.
LAYERS = [noise(1000 + 1500 * n, 500 + n) for n in range(40)]


# --- the collector -------------------------------------------------------------------------------

def start_run(mirror):
    response = rawhttp.get(mirror.admin_address, "/gc", "POST", [("Content-Length", "0")])
    assert response.status == 202, response.head
    return response.json()


def report(mirror):
    return json.loads(mirror.admin("/gc").body)


def wait_run(mirror):
    wait_until(lambda: not report(mirror)["running"], "the run ends")
    return report(mirror)


def collect(mirror):
    """A run that begins after this call."""
    wait_run(mirror)
    start_run(mirror)
    return wait_run(mirror)


def collect_until(mirror, digests):
    """Runs until only these blobs are left."""
    def is_so():
        collect(mirror)
        return set(mirror.kept_digests()) == set(digests)
    wait_until(is_so, lambda: "garbage is left: %s, and missing: %s; %s" % (
        set(mirror.kept_digests()) - set(digests), set(digests) - set(mirror.kept_digests()), report(mirror)))


def command(mirror, *words):
    """mirrord gc, on the storage of this mirror: (status, {digest: size}, last line, what went to standard error)."""
    result = subprocess.run([binary(), "gc", *words], env=mirror.environment(), capture_output=True, text=True, timeout=60)
    lines = result.stdout.splitlines()
    told = {line.split()[0]: int(line.split()[1]) for line in lines if line.startswith("sha")}
    return result.returncode, told, lines[-1] if lines else "", result.stderr


# --- clients -------------------------------------------------------------------------------------

class Accepted:
    def __init__(self, repository, tag, manifest, blobs):
        self.repository, self.tag, self.manifest, self.blobs = repository, tag, manifest, blobs
        self.digest = digest_of(manifest)

    def check(self, pusher, how=""):
        """It is whole."""
        found = pusher.ask("GET", "/v2/%s/manifests/%s" % (self.repository, self.digest), fields=[("Accept", OCI_MANIFEST)])
        assert found.status == 200 and found.body == self.manifest, (how, self.repository, self.digest, found.head)
        for digest, data in self.blobs.items():
            found = pusher.ask("GET", "/v2/%s/blobs/%s" % (self.repository, digest))
            assert found.status == 200, (how, self.repository, self.digest, digest, found.head)
            assert found.body == data, "%s%s has other bytes" % (how, digest)

    def digests(self):
        return {self.digest, *self.blobs}


class Worker(threading.Thread):
    """Pushes images that share their layers with everybody's, and deletes its older ones."""

    def __init__(self, mirror, number, stop):
        super().__init__()
        self.mirror, self.number, self.stop = mirror, number, stop
        self.pusher = Pusher(mirror.address)
        self.dice = random.Random(number)
        self.alive, self.failure = [], None
        self.n_accepted = self.n_refused = self.n_deleted = self.n_mounted = self.n_skipped = 0

    def run(self):
        turn = 0
        while not self.stop.is_set() and self.failure is None:
            turn += 1
            try:
                self.push(turn)
                self.dice.choice(self.alive).check(self.pusher, "while pushing: ")
                if len(self.alive) > N_ALIVE:
                    self.delete(self.alive.pop(0))
            except OSError as error:
                # A daemon that was killed in the middle.
                if not self.stop.is_set():
                    self.failure = error
            except rawhttp.BrokenResponse as error:
                if not self.stop.is_set():
                    self.failure = error
            except BaseException as error:
                self.failure = error

    def bring(self, repository, data):
        """A blob, the way one of the clients does it."""
        digest = digest_of(data)
        way = self.dice.randrange(3)
        if way == 0 and self.pusher.ask("HEAD", "/v2/%s/blobs/%s" % (repository, digest)).status == 200:
            self.n_skipped += 1
            return
        if way == 1:
            response = self.pusher.mount(repository, digest, self.dice.choice(REPOSITORIES))
            assert response.status in (201, 202), response.head
            if response.status == 201:
                self.n_mounted += 1
                return
        if way == 2:
            response = self.pusher.single(repository, data)
            assert response.status == 201, (response.head, response.body)
        else:
            self.pusher.blob(repository, data)

    def push(self, turn):
        repository = self.dice.choice(REPOSITORIES)
        layers = self.dice.sample(LAYERS, 3)
        config = json.dumps({"client": self.number, "turn": turn}).encode()
        blobs = {digest_of(data): data for data in [config] + layers}
        manifest = json.dumps({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST,
            "config": {"mediaType": OCI_CONFIG, "size": len(config), "digest": digest_of(config)},
            "layers": [{"mediaType": OCI_LAYER, "size": len(data), "digest": digest_of(data)} for data in layers],
        }).encode()
        made = Accepted(repository, "t%d-%d" % (self.number, turn % 3), manifest, blobs)
        reference = made.tag if self.dice.randrange(2) else made.digest
        while not self.stop.is_set():
            begun = time.monotonic()
            for data in blobs.values():
                self.bring(repository, data)
            response = self.pusher.put_manifest(repository, reference, manifest, OCI_MANIFEST)
            if response.status == 201:
                self.n_accepted += 1
                self.alive.append(made)
                made.check(self.pusher, "just accepted: ")
                return
            # With a grace period of a second, a layer may be too old by now; then it is brought again. What was told to
            # be here, by whichever way, is good for that long.
            assert response.error_code() == "MANIFEST_BLOB_UNKNOWN", (response.head, response.body)
            # The clock of file systems is a few hundredths of a second late.
            assert time.monotonic() - begun > GRACE_S - 0.1, ("what was promised is gone", response.body)
            self.n_refused += 1

    def delete(self, old):
        response = self.pusher.delete(old.repository, "manifests", old.digest)
        # A newer manifest may have the tag; the digest is deleted all the same.
        assert response.status == 202, (response.head, response.body)
        self.n_deleted += 1


class Crowd:
    def __init__(self, mirror, first=0):
        self.mirror, self.stop = mirror, threading.Event()
        self.workers = [Worker(mirror, first + n, self.stop) for n in range(N_CLIENTS)]
        self.n_runs = 0
        for worker in self.workers:
            worker.start()

    def collect_for(self, seconds, is_enough):
        """Run after run; longer on a slow machine, until that is enough."""
        deadline = time.monotonic() + seconds

        def is_over():
            found = collect(self.mirror)
            assert found["complete"] and found["errors"] == 0, found
            self.n_runs += 1
            return any(worker.failure for worker in self.workers) or time.monotonic() > deadline and is_enough()
        wait_until(is_over, "enough was tried")

    def end(self):
        self.stop.set()
        for worker in self.workers:
            worker.join()
        for worker in self.workers:
            if worker.failure is not None:
                raise worker.failure

    def check(self, pusher):
        for worker in self.workers:
            for accepted in worker.alive:
                accepted.check(pusher, "in the end: ")

    def digests(self):
        return {digest for worker in self.workers for accepted in worker.alive for digest in accepted.digests()}

    def count(self, name):
        return sum(getattr(worker, name) for worker in self.workers)


@pytest.mark.slow
def test_stress(make_mirror):
    """Pushes, mounts, HEADs, deletes, pulls and the collector at once; in the end only what is referenced is left."""
    mirror = make_mirror(LOGLEVEL="info", **FAST)
    crowd = Crowd(mirror)
    try:
        crowd.collect_for(STRESS_S, lambda: crowd.n_runs > 3 and mirror.metric("mirrord_gc_blobs_removed_total") > 0 and all(
            crowd.count(name) > 0 for name in ("n_accepted", "n_deleted", "n_mounted", "n_skipped")))
    finally:
        crowd.end()
    crowd.check(Pusher(mirror.address))
    collect_until(mirror, crowd.digests())
    crowd.check(Pusher(mirror.address))
    # The space is back, too.
    wanted = sum(os.path.getsize(mirror.blob_file(digest)) for digest in crowd.digests())
    root = os.path.join(mirror.storage, "docker/registry/v2/blobs")
    assert sum(os.path.getsize(os.path.join(folder, name)) for folder, _, names in os.walk(root) for name in names) == wanted
    status, told, _, text = command(mirror, "--dry-run")
    assert (status, told) == (0, {}), text
    # All manifests go, and with them everything.
    pusher = Pusher(mirror.address)
    for worker in crowd.workers:
        for accepted in worker.alive:
            worker.delete(accepted)
            assert pusher.ask("GET", "/v2/%s/manifests/%s" % (accepted.repository, accepted.digest)).status == 404
    collect_until(mirror, ())


@pytest.mark.slow
def test_killed_in_a_run(make_mirror):
    """kill -9 beside pushes and in the middle of runs: all that was acknowledged is there after the restart."""
    mirror = make_mirror(LOGLEVEL="info", **FAST)
    known = []
    for turn in range(3):
        crowd = Crowd(mirror, 100 * (turn + 1))
        try:
            crowd.collect_for(2, lambda: crowd.count("n_accepted") > 0)
            start_run(mirror)
            crowd.stop.set()
            mirror.kill()
        finally:
            crowd.end()
        known.append(crowd)
        mirror.start()
        for crowd in known:
            crowd.check(Pusher(mirror.address))
    # A delete may have been done without being answered; what is sure is what was accepted and never asked to go.
    wanted = set().union(*(crowd.digests() for crowd in known))
    wait_until(lambda: collect(mirror)["removed"] > 0, "garbage goes after the restart")
    assert wanted <= set(mirror.kept_digests())
    for crowd in known:
        crowd.check(Pusher(mirror.address))


# --- one thing at a time -------------------------------------------------------------------------

@pytest.fixture
def fast(make_mirror):
    return make_mirror(**FAST)


def push_garbage(mirror, n=5, seed=900):
    pusher = Pusher(mirror.address)
    return {pusher.blob("r", noise(2000 + n, seed + n)): 2000 + n for n in range(n)}


def test_grace(make_mirror):
    """What is younger than the grace period stays, whatever runs."""
    mirror = make_mirror(**{**FAST, "GC_GRACE": "1h"})
    garbage = push_garbage(mirror)
    found = collect(mirror)
    assert found["complete"] and found["removed"] == 0, found
    assert set(mirror.kept_digests()) == set(garbage)


def test_interval(make_mirror):
    """By itself."""
    mirror = make_mirror(**{**FAST, "GC_INTERVAL": "200ms"})
    push_garbage(mirror)
    wait_until(lambda: not mirror.kept_digests(), "garbage goes")
    mirror.wait_metric('mirrord_gc_runs_total{result="done"}', 2)


def test_shared_by_repositories(fast):
    """What two repositories have pushed or mounted stays until neither references it, and goes then."""
    pusher, image = Pusher(fast.address), simple(7, layers=2)
    whole = {image.digest, *image.blobs}
    pusher.image("one", image, "v1")
    for digest in image.blobs:
        assert pusher.mount("two", digest, "one").status == 201
    assert pusher.put_manifest("two", "v1", image.manifest, image.media_type).status == 201
    assert pusher.delete("one", "manifests", image.digest).status == 202
    for digest in image.blobs:
        assert pusher.delete("one", "blobs", digest).status == 202
    # A run that takes what is as old has looked at them.
    push_garbage(fast)
    collect_until(fast, whole)
    pusher.check_image("two", image, "v1")
    for digest in image.blobs:
        assert pusher.ask("GET", "/v2/one/blobs/" + digest).status == 404
    assert pusher.delete("two", "manifests", "v1").status == 202
    push_garbage(fast)
    collect_until(fast, whole)
    pusher.check_image("two", image)
    assert pusher.delete("two", "manifests", image.digest).status == 202
    collect_until(fast, ())


def test_report(fast):
    assert report(fast)["started_at"] == 0
    image = simple(3)
    Pusher(fast.address).image("r", image, "v1")
    garbage = push_garbage(fast)
    collect_until(fast, {image.digest, *image.blobs})
    assert fast.metric("mirrord_gc_blobs_removed_total") == len(garbage)
    assert fast.metric("mirrord_gc_bytes_removed_total") == sum(garbage.values())
    found = collect(fast)
    assert found["manifests"] == 1 and found["repositories"] == 1 and found["blobs"] == 3, found
    assert found["complete"] and found["removed"] == 0 and found["problem"] == ""
    response = rawhttp.get(fast.admin_address, "/gc", "DELETE")
    assert response.status == 405 and response["allow"] == "GET, HEAD, POST"
    Pusher(fast.address).check_image("r", image, "v1")


def test_dry_run_tells_what_a_run_removes(fast):
    image = simple(4)
    Pusher(fast.address).image("r", image, "v1")
    garbage = push_garbage(fast)
    wait_until(lambda: command(fast, "--dry-run")[1] == garbage, "the dry run tells all of it")
    status, told, last, _ = command(fast, "--dry-run")
    assert status == 0 and told == garbage
    assert last.startswith("would go: %d of %d blobs, %d bytes" % (len(garbage), len(garbage) + 3, sum(garbage.values())))
    assert set(fast.kept_digests()) == {image.digest, *image.blobs, *garbage}
    collect_until(fast, {image.digest, *image.blobs})


def test_command_line(fast):
    """Beside a daemon it says how to start a run; without one it collects."""
    image = simple(5)
    Pusher(fast.address).image("r", image, "v1")
    garbage = push_garbage(fast)
    status, told, _, text = command(fast)
    assert status == 1 and not told and "POST /gc" in text and fast.settings["ADMIN_LISTEN"] in text, text
    assert set(garbage) <= set(fast.kept_digests())
    fast.stop()
    wait_until(lambda: command(fast, "--dry-run")[1] == garbage, "it is old enough")
    status, told, last, text = command(fast)
    assert (status, told) == (0, garbage), text
    assert last.startswith("removed: %d of %d blobs" % (len(garbage), len(garbage) + 3))
    assert set(fast.kept_digests()) == {image.digest, *image.blobs}
    fast.start()
    Pusher(fast.address).check_image("r", image, "v1")


def test_what_cannot_be_read_stops_the_run(fast):
    garbage = push_garbage(fast)
    root = os.path.join(fast.storage, "docker/registry/v2/repositories")
    # Not even root can list this one.
    os.makedirs(os.path.join(root, "odd/_manifests"))
    os.symlink("revisions", os.path.join(root, "odd/_manifests/revisions"))
    wait_until(lambda: command(fast, "--dry-run")[0] == 1, "the dry run refuses")
    for _ in range(3):
        found = collect(fast)
        assert not found["complete"] and found["removed"] == 0 and "revisions" in found["problem"], found
    assert set(fast.kept_digests()) == set(garbage)
    assert "nothing more was collected" in fast.log()
    os.unlink(os.path.join(root, "odd/_manifests/revisions"))
    collect_until(fast, ())


def test_two_daemons(fast, tmp_path):
    """Neither knows what the other one promised: none collects until one has ended, be it by kill -9."""
    garbage = push_garbage(fast)
    folder = tmp_path / "other"
    folder.mkdir()
    other = Mirror(folder, STORAGE_PATH=fast.storage, **FAST)
    other.start()
    wait_until(lambda: command(fast, "--dry-run")[1] == garbage, "it is old enough")
    for mirror in (fast, other):
        found = collect(mirror)
        assert not found["complete"] and "another process" in found["problem"], found
    assert set(fast.kept_digests()) == set(garbage)
    other.kill()
    collect_until(fast, ())


def test_mirrored_content_stays(make_mirror, fake):
    """It is linked as mirrored; nobody has to reference it."""
    image = simple(6)
    fake.add_image(image, "library/test", "v1")
    mirror = make_mirror(fake, **FAST)
    mirror.get("/v2/library/test/manifests/v1")
    for digest in image.blobs:
        assert mirror.blob(digest).status == 200
        mirror.wait_settled(digest)
    blob = noise(5000, 77)
    digest = fake.add_blob(blob)
    assert mirror.blob(digest).status == 200
    mirror.wait_settled(digest)
    garbage = push_garbage(mirror)
    collect_until(mirror, {image.digest, digest, *image.blobs})
    fake.close()
    assert mirror.blob(digest).body == blob
    assert garbage
