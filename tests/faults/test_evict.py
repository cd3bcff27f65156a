"""Eviction while other things happen: what must stay stays, what a client has begun to read it gets whole, and what has
gone is fetched again as if it had never been here."""
import json
import os
import signal
import threading
import time

import pytest

from lib import evicting, faults
from lib.evicting import all_digests, ask, keep, pull, report, set_limits, size_of, stored_bytes, wait_gone, wait_image, with_limits
from lib.images import Image, Index, Noise, noise, simple
from lib.mirror import Mirror, blob_path, check_bytes, manifest_path
from lib.pushing import Pusher
from lib.waiting import stays_so, wait_until

STRESS_S = 6
REPOSITORY = "library/test"


def next_second():
    """The ledger tells times in seconds: what happens after this is later than what was before."""
    begin = int(time.time())
    wait_until(lambda: int(time.time()) > begin, "the next second")


def add(fake, image, *tags, repository=REPOSITORY):
    for tag in tags:
        fake.add_image(image, repository, tag)
    return image


def is_served(mirror, image, repository, reference):
    """With the upstream away: whole, or not at all."""
    response = mirror.get(manifest_path(reference, repository), fields=[("Accept", image.media_type)])
    if response.status != 200:
        assert response.status in (404, 502, 503, 504), response.head
        return False
    pull(mirror, image, repository, reference)
    return True


# --- which goes and which stays -------------------------------------------------------------------


def test_limit_lowered(make_mirror, fake):
    """At run time: eviction begins at once, with what was not used for the longest time, and ends at the low mark."""
    mirror = with_limits(make_mirror, fake)
    # All of one size, because small ones count as used some seconds later than large ones.
    pulled = [add(fake, Image([{"file": noise(3000, 10 * n + k)} for k in range(3)]), "v%d" % n) for n in range(8)]
    for n, image in enumerate(pulled):
        if n == 7:
            for _ in range(3):
                next_second()
        keep(mirror, image, REPOSITORY, "v%d" % n)
    pull(mirror, pulled[0], REPOSITORY, "v0")
    evicting.wait_ready(mirror)
    begin = int(time.time())
    wait_image(mirror, REPOSITORY + ":v0", lambda image: image and image["last_use"] >= begin - 1)
    wait_image(mirror, REPOSITORY + ":v7")
    whole = stored_bytes(mirror)
    set_limits(mirror, cache_max_size=whole // 2, cache_high_water="100%", cache_low_water="60%")
    wait_until(lambda: stored_bytes(mirror) <= whole // 2 * 0.6 and not report(mirror)["running"], lambda: report(mirror))
    # Not more than that: one image less would not have been enough.
    assert stored_bytes(mirror) > whole // 2 * 0.6 - max(map(size_of, pulled))
    assert all(mirror.has_blob(digest) for digest in all_digests(pulled[0])), "the one that was used last"
    assert not mirror.has_blob(pulled[1].digest) and mirror.has_blob(pulled[7].digest)
    for n, image in enumerate(pulled):
        pull(mirror, image, REPOSITORY, "v%d" % n)
    mirror.wait_metric('mirrord_evicted_images_total{reason="size"}', 4)
    mirror.wait_metric('mirrord_evicted_bytes_total{reason="size"}', whole - whole // 2 * 0.6)


def test_limits_that_cannot_be(make_mirror, fake):
    """At run time they are told, one by one, and those in force stay."""
    mirror = with_limits(make_mirror, fake, cache_max_size="1G", cache_high_water="80%", cache_low_water="60%")
    wait_until(lambda: report(mirror)["high_bytes"] == (1 << 30) // 100 * 80 + (1 << 30) % 100 * 80 // 100, lambda: report(mirror))
    before = report(mirror)
    evicting.write_limits(mirror, cache_max_size="0%", cache_min_free="lots")
    mirror.process.send_signal(signal.SIGHUP)
    for wrong in ("cache_max_size: `0%` is out of range", "cache_min_free: `lots` is not a size or share"):
        mirror.wait_for_log(r"ERROR: .*configuration not applied: [^\n]*%s[^\n\\]*\n" % wrong)
    evicting.write_limits(mirror, cache_max_size="1G", cache_high_water="50%", cache_low_water="60%")
    mirror.process.send_signal(signal.SIGHUP)
    mirror.wait_for_log("configuration not applied: .*cache_low_water: not below cache_high_water")
    after = report(mirror)
    assert [after[name] for name in ("high_bytes", "low_bytes")] == [before[name] for name in ("high_bytes", "low_bytes")]


@pytest.mark.parametrize("cost", [1, 3])
def test_cost_of_an_upstream(make_mirror, fake, make_fake, cost):
    """What comes from a registry that says it is costly stays, though it was used before everything else."""
    dear_registry = make_fake()
    mirror = with_limits(make_mirror, fake, settings={
        "MIRROR_UPSTREAMS": json.dumps({"dear.test": {"url": dear_registry.url, "cost": cost}})})
    shape = [{"file": noise(3000, seed)} for seed in range(6)]
    dear, cheap = Image(shape[:3]), [Image(shape[3:5]), Image(shape[5:])]
    dear_registry.add_image(dear, "org/app", "v1")
    keep(mirror, dear, "dear.test/org/app", "v1")
    next_second()
    for n, image in enumerate(cheap):
        keep(mirror, add(fake, image, "v%d" % n), REPOSITORY, "v%d" % n)
    wait_image(mirror, "dear.test/org/app:v1")
    for n in range(2):
        wait_image(mirror, REPOSITORY + ":v%d" % n)
    evicting.wait_ready(mirror)
    assert [entry["cost"] for entry in ask(mirror, "/upstreams")[1]] == [1, cost]
    set_limits(mirror, cache_max_size=stored_bytes(mirror) - 1, cache_high_water="100%", cache_low_water="99%")
    mirror.wait_metric('mirrord_evicted_images_total{reason="size"}', 1)
    wait_until(lambda: not report(mirror)["running"], lambda: report(mirror))
    assert report(mirror)["images_total"] == 1
    assert mirror.has_blob(dear.digest) == (cost > 1)
    pull(mirror, dear, "dear.test/org/app", "v1")


def test_pushed_alone_is_too_much(make_mirror, fake):
    """Nothing that was pushed goes, whatever the limit; that is told once, and by a metric."""
    mirror = with_limits(make_mirror, fake)
    pushed, mirrored = simple(1, layers=2), add(fake, simple(2), "v2")
    Pusher(mirror.address).image("team/own", pushed, "mine")
    keep(mirror, mirrored, REPOSITORY, "v2")
    evicting.wait_ready(mirror)
    set_limits(mirror, cache_max_size=1)
    wait_gone(mirror, *all_digests(mirrored))
    wait_until(lambda: mirror.metric("mirrord_evict_short") == 1, "that it is not enough is told")
    mirror.wait_for_log("none of it can be evicted")
    stays_so(lambda: mirror.log().count("none of it can be evicted") == 1, "it is told again", 3)
    assert all(mirror.has_blob(digest) for digest in all_digests(pushed))
    fake.refuse()
    Pusher(mirror.address).check_image("team/own", pushed, "mine")
    assert all(mirror.has_blob(digest) for digest in all_digests(pushed))
    set_limits(mirror)
    wait_until(lambda: mirror.metric("mirrord_evict_short") == 0 or mirror.metric("mirrord_cache_limit_bytes") == 0,
               "without a limit nothing is too much")


def test_layer_of_a_pushed_image(make_mirror, fake):
    """A layer that was mirrored, and that a pushed image references, counts as pushed."""
    mirror = with_limits(make_mirror, fake)
    mirrored = add(fake, simple(1, layers=2), "v1")
    keep(mirror, mirrored, REPOSITORY, "v1")
    pusher = Pusher(mirror.address)
    shared = next(iter(mirrored.layers))
    pushed = Image([{"own": noise(3000, 77)}])
    for digest, body in mirrored.blobs.items():
        pusher.mount("team/own", digest, REPOSITORY)
    assert pusher.put_manifest("team/own", "copy", mirrored.manifest, mirrored.media_type).status == 201
    pusher.image("team/own", pushed, "mine")
    evicting.wait_ready(mirror)
    set_limits(mirror, cache_max_size=1)
    wait_until(lambda: not evicting.images(mirror, REPOSITORY), "the mirrored tag is gone")
    fake.refuse()
    pusher.check_image("team/own", mirrored, "copy")
    pusher.check_image("team/own", pushed, "mine")
    assert mirror.has_blob(shared["digest"])


def test_pinned_stays(make_mirror, fake):
    """As long as it is pinned; the limit goes on to be kept when it is unpinned."""
    mirror = with_limits(make_mirror, fake)
    images = {tag: add(fake, simple(n), tag) for n, tag in enumerate(("kept", "lost"))}
    for tag, image in images.items():
        keep(mirror, image, REPOSITORY, tag)
    assert ask(mirror, "/pins?image=%s:kept" % REPOSITORY, "POST")[0] == 200
    evicting.wait_ready(mirror)
    set_limits(mirror, cache_max_size=1)
    wait_gone(mirror, *all_digests(images["lost"]))
    assert all(mirror.has_blob(digest) for digest in all_digests(images["kept"]))
    fake.refuse()
    pull(mirror, images["kept"], REPOSITORY, "kept")
    assert ask(mirror, "/pins?image=%s:kept" % REPOSITORY, "DELETE")[0] == 200
    wait_gone(mirror, *all_digests(images["kept"]))


def test_two_tags_share_layers(make_mirror, fake):
    """The one that stays keeps what both have."""
    mirror = with_limits(make_mirror, fake)
    base = {"base": noise(20000, 9)}
    first = add(fake, Image([base, {"first": noise(5000, 1)}]), "first")
    second = add(fake, Image([base, {"second": noise(5000, 2)}]), "second")
    keep(mirror, first, REPOSITORY, "first")
    keep(mirror, second, REPOSITORY, "second")
    evicting.wait_ready(mirror)
    wait_image(mirror, REPOSITORY + ":second", lambda image: image and image["shared"] > 0)
    status, said = ask(mirror, "/evict?image=%s:first" % REPOSITORY, "POST")
    assert status == 200 and said["evicted"] == 1, said
    only_first = all_digests(first) - all_digests(second)
    assert not [digest for digest in only_first if mirror.has_blob(digest)]
    assert all(mirror.has_blob(digest) for digest in all_digests(second))
    fake.refuse()
    pull(mirror, second, REPOSITORY, "second")
    assert not is_served(mirror, first, REPOSITORY, "first")


def test_index_partly_here(make_mirror, fake):
    """An index one of whose children was pulled goes with that child; a child that has a tag of its own stays."""
    mirror = with_limits(make_mirror, fake)
    children = [simple(n, layers=2) for n in range(3)]
    index = add(fake, Index(children), "multi")
    add(fake, children[1], "child")
    pull(mirror, index, REPOSITORY, "multi", children[:2])
    pull(mirror, children[1], REPOSITORY, "child")
    here = {index.digest} | all_digests(children[0]) | all_digests(children[1])
    for digest in here:
        mirror.wait_settled(digest)
    evicting.wait_ready(mirror)
    wait_image(mirror, REPOSITORY + ":multi", lambda image: image and not image["whole"])
    wait_image(mirror, REPOSITORY + ":child", lambda image: image and image["whole"])
    assert ask(mirror, "/evict?image=%s:multi" % REPOSITORY, "POST")[0] == 200
    assert set(mirror.kept_digests()) == all_digests(children[1])
    pull(mirror, index, REPOSITORY, "multi")
    fake.refuse()
    pull(mirror, index, REPOSITORY, "multi")
    pull(mirror, children[1], REPOSITORY, "child")


def test_too_old(make_mirror, fake):
    """Whatever room there is."""
    mirror = with_limits(make_mirror, fake)
    old, pinned = add(fake, simple(1), "old"), add(fake, simple(2), "pinned")
    keep(mirror, old, REPOSITORY, "old")
    keep(mirror, pinned, REPOSITORY, "pinned")
    Pusher(mirror.address).image("team/own", simple(3), "mine")
    assert ask(mirror, "/pins?image=%s:pinned" % REPOSITORY, "POST")[0] == 200
    evicting.wait_ready(mirror)
    wait_image(mirror, REPOSITORY + ":old")
    # One more than is needed: time() of the daemon lags behind the clock that is read here by a tick of the kernel.
    for _ in range(4):
        next_second()
    set_limits(mirror, cache_max_age="2s")
    wait_gone(mirror, *all_digests(old))
    mirror.wait_metric('mirrord_evicted_images_total{reason="age"}', 1)
    assert all(mirror.has_blob(digest) for digest in all_digests(pinned) | all_digests(simple(3)))


def test_room_for_others(make_mirror, fake):
    """What others leave of the filesystem is too little: images go although the store itself is small."""
    mirror = with_limits(make_mirror, fake)
    image = add(fake, simple(1), "v1")
    keep(mirror, image, REPOSITORY, "v1")
    evicting.wait_ready(mirror)
    set_limits(mirror, cache_min_free="100%")
    wait_gone(mirror, *all_digests(image))
    mirror.wait_metric('mirrord_evicted_images_total{reason="space"}', 1)
    pull(mirror, image, REPOSITORY, "v1")


@pytest.mark.slow
def test_share_of_the_filesystem(small_disk, fake):
    """A limit in percent: the mirror stays inside it however much is pulled through."""
    mirror = Mirror(small_disk, fake, MIRROR_CACHE_MAX_SIZE="30%", LOGLEVEL="info")
    mirror.start()
    try:
        evicting.wait_ready(mirror)
        total = os.statvfs(mirror.storage).f_blocks * os.statvfs(mirror.storage).f_frsize
        n_bytes = total // 16
        for n in range(24):
            image = add(fake, Image([{"data": noise(n_bytes, n)}]), "v%d" % n)
            pull(mirror, image, REPOSITORY, "v%d" % n)
        wait_until(lambda: stored_bytes(mirror) <= total * 0.3 and not report(mirror)["running"], lambda: report(mirror))
        assert stored_bytes(mirror) > total * 0.1
        mirror.check_storage()
    finally:
        mirror.stop()


def fill_up(folder):
    """Somebody else takes all that the disk has left."""
    file = os.open(os.path.join(folder, "filler"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with pytest.raises(OSError):
        while True:
            os.write(file, bytes(1 << 12))
    os.close(file)


@pytest.mark.parametrize("restarts", [False, True], ids=["running", "restarted"])
def test_full_to_the_last_byte(make_mirror, fake, small_disk, restarts):
    """What makes room has the room that it needs: the ledger, too, is written when nobody else can write any more."""
    mirror = make_mirror(fake, start=False, STORAGE_PATH=small_disk)
    mirror.storage = str(small_disk)
    evicting.write_limits(mirror)
    mirror.arguments = ["-c", evicting.limit_file(mirror)]
    mirror.start()
    for n in range(12):
        keep(mirror, add(fake, simple(n, layers=5), "v%d" % n), REPOSITORY, "v%d" % n)
        wait_image(mirror, "%s:v%d" % (REPOSITORY, n), lambda image: image and image["whole"])
    evicting.wait_ready(mirror)
    fill_up(small_disk)
    for n in range(12):
        pull(mirror, simple(n, layers=5), REPOSITORY, "v%d" % n)
    if restarts:
        evicting.write_limits(mirror, cache_min_free="1M")
        mirror.stop()
        fill_up(small_disk)
        mirror.start()
    else:
        set_limits(mirror, cache_min_free="1M")
    wait_until(lambda: report(mirror)["images_total"] == 12, lambda: "all have gone: %s" % report(mirror))
    pull(mirror, simple(0, layers=5), REPOSITORY, "v0")
    assert ask(mirror, "/ledger")[1]["rebuilt"] == 0


# --- what is in use -------------------------------------------------------------------------------


def evict_all(mirror):
    status, said = ask(mirror, "/evict?image=*", "POST")
    assert status == 200, said
    return said


def test_slow_reader(make_mirror, fake):
    """Who reads it gets it whole; afterwards it can go."""
    mirror = with_limits(make_mirror, fake)
    body = Noise(8 << 20)
    image = Image([{"file": b"x"}])
    image.layers.append(image.keep(body.read(0, body.size), "application/vnd.oci.image.layer.v1.tar"))
    digest = image.layers[-1]["digest"]
    fake.add_blob(body)
    add(fake, image, "v1")
    keep(mirror, image, REPOSITORY, "v1")
    evicting.wait_ready(mirror)
    with mirror.client(receive_buffer=65536) as client:
        client.request(blob_path(digest))
        response = client.read_head()
        assert response.status == 200
        begin = client.read_body(100000)
        set_limits(mirror, cache_max_size=1)
        evict_all(mirror)
        check_bytes(begin + client.read_body(body.size - len(begin)), body)
    wait_until(lambda: evict_all(mirror) and not mirror.has_blob(digest), "it goes when nobody reads it")


def test_being_filled(make_mirror, fake):
    """What is on its way here is not evicted: those who wait for it get it whole."""
    mirror = with_limits(make_mirror, fake)
    small, body = add(fake, simple(1), "v1"), Noise(4 << 20, 5)
    digest = fake.add_blob(body)
    keep(mirror, small, REPOSITORY, "v1")
    evicting.wait_ready(mirror)
    event = threading.Event()
    fake.script(digest, faults.stall(1 << 20, event), method="GET")
    with mirror.client() as client:
        client.request(blob_path(digest))
        assert client.read_head().status == 200
        begin = client.read_body(1 << 19)
        set_limits(mirror, cache_max_size=1)
        evict_all(mirror)
        wait_gone(mirror, *all_digests(small))
        event.set()
        check_bytes(begin + client.read_body(body.size - len(begin)), body)
    assert fake.count(digest, "GET") == 1


class Puller(threading.Thread):
    """Pulls one image again and again; whatever is not whole and right is its failure."""

    def __init__(self, mirror, image, stop, repository=REPOSITORY, reference="v1"):
        super().__init__()
        self.mirror, self.image, self.end = mirror, image, stop
        self.repository, self.reference = repository, reference
        self.n_pulls, self.failure = 0, None

    def run(self):
        while not self.end.is_set() and self.failure is None:
            try:
                pull(self.mirror, self.image, self.repository, self.reference)
                self.n_pulls += 1
            except BaseException as error:
                self.failure = error


def go_on(threads, work, is_enough, what):
    """Works for STRESS_S, and longer on a slow machine: until that is enough, or somebody has failed."""
    deadline = time.monotonic() + STRESS_S

    def is_over():
        work()
        return any(thread.failure for thread in threads) or time.monotonic() > deadline and is_enough()
    wait_until(is_over, what)


def finish(threads, stop):
    stop.set()
    for thread in threads:
        thread.join()
    for thread in threads:
        if thread.failure:
            raise thread.failure


@pytest.mark.slow
def test_race_with_pulls(make_mirror, fake):
    """The very image that several clients pull is evicted all the time: each of them gets it whole."""
    mirror = with_limits(make_mirror, fake, {"LOGLEVEL": "info", "MIRROR_TAGS_CACHE_TTL": "0"})
    base = {"base": noise(300000, 1)}
    images = [add(fake, Image([base, {"own": noise(100000, 10 + n)}]), "v%d" % n) for n in range(3)]
    evicting.wait_ready(mirror)
    set_limits(mirror, cache_max_size=1)
    stop = threading.Event()
    threads = [Puller(mirror, images[n % 3], stop, reference="v%d" % (n % 3)) for n in range(6)]
    for thread in threads:
        thread.start()
    def n_evicted():
        return sum(mirror.metric('mirrord_evicted_images_total{reason="%s"}' % reason) for reason in ("size", "command"))
    go_on(threads, lambda: evict_all(mirror), lambda: n_evicted() > 20 and all(thread.n_pulls > 0 for thread in threads),
          lambda: "too little was tried: %s, %s" % ([thread.n_pulls for thread in threads], report(mirror)))
    finish(threads, stop)
    wait_until(lambda: evict_all(mirror) and not mirror.kept_digests(), lambda: "left: %s" % mirror.kept_digests())


class OwnPusher(threading.Thread):
    """Pushes images whose layers are those of a mirrored image that is being evicted, and deletes some again."""

    def __init__(self, mirror, number, layers, stop):
        super().__init__()
        self.pusher, self.number, self.layers, self.end = Pusher(mirror.address), number, layers, stop
        self.accepted, self.failure, self.turn = {}, None, 0

    def run(self):
        while not self.end.is_set() and self.failure is None:
            try:
                self.turn += 1
                image = Image(self.layers + [{"own": noise(2000, self.number * 1000 + self.turn)}])
                tag = "t%d" % self.turn
                self.pusher.image("team/p%d" % self.number, image, tag)
                self.accepted[tag] = image
                if len(self.accepted) > 4:
                    gone = next(iter(self.accepted))
                    assert self.pusher.delete("team/p%d" % self.number, "manifests", gone).status == 202
                    del self.accepted[gone]
            except BaseException as error:
                self.failure = error


@pytest.mark.slow
def test_with_garbage_collection(make_mirror, fake):
    """Eviction, the collector, pulls and pushes of the same layers at once: what was accepted stays whole."""
    mirror = with_limits(make_mirror, fake, {
        "LOGLEVEL": "info", "GC_GRACE": "1s", "GC_INTERVAL": "0", "GC_BATCH": "20", "DELETE_ENABLED": "true"})
    layers = [{"a": noise(30000, 1)}, {"b": noise(20000, 2)}]
    mirrored = add(fake, Image(layers), "v1")
    evicting.wait_ready(mirror)
    set_limits(mirror, cache_max_size=1)
    stop = threading.Event()
    pushers = [OwnPusher(mirror, n, layers, stop) for n in range(3)]
    threads = pushers + [Puller(mirror, mirrored, stop) for _ in range(2)]
    for thread in threads:
        thread.start()

    def work():
        ask(mirror, "/gc", "POST")
        evict_all(mirror)
    go_on(threads, work, lambda: all(pusher.turn > 3 for pusher in pushers),
          lambda: "too little was tried: %s" % [pusher.turn for pusher in pushers])
    finish(threads, stop)
    ask(mirror, "/gc", "POST")
    wait_until(lambda: not ask(mirror, "/gc")[1]["running"], "the collector has ended")
    evict_all(mirror)
    fake.refuse()
    for pusher in pushers:
        for tag, image in pusher.accepted.items():
            pusher.pusher.check_image("team/p%d" % pusher.number, image, tag)


# --- what is left when it is cut off --------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("n_gone", [1, 20, 60])
def test_killed_in_the_middle(make_mirror, fake, n_gone):
    """All that is left is whole, or is fetched again; the next process goes on where this one was."""
    mirror = with_limits(make_mirror, fake, {
        "LOGLEVEL": "info", "MIRROR_BREAKER_FAILURES": "1000", "GC_GRACE": "1s", "GC_INTERVAL": "0"})
    base = {"base": noise(10000, 3)}
    images = [add(fake, Image([base, {"own": noise(1000 + n, n)}]), "v%d" % n) for n in range(40)]
    for n, image in enumerate(images):
        keep(mirror, image, REPOSITORY, "v%d" % n)
    pushed = simple(1000, layers=2)
    Pusher(mirror.address).image("team/own", pushed, "mine")
    evicting.wait_ready(mirror)
    wait_image(mirror, REPOSITORY + ":v39")
    before = len(mirror.kept_digests())
    set_limits(mirror, cache_max_size=1)
    wait_until(lambda: before - len(mirror.kept_digests()) >= n_gone, "some have gone")
    mirror.kill()
    mirror.check_storage()

    evicting.write_limits(mirror)
    mirror.start()
    evicting.wait_ready(mirror)
    n_kept = mirror.metric("mirrord_stored_blobs")
    assert n_kept == len(mirror.kept_digests())
    assert mirror.metric('mirrord_stored_bytes{part="blobs"}') == stored_bytes(mirror)
    for n, image in enumerate(images[:10] + images[-5:]):
        n = n if n < 10 else n + 25
        pull(mirror, image, REPOSITORY, "v%d" % n)
    Pusher(mirror.address).check_image("team/own", pushed, "mine")
    mirror.wait_no_fills()

    # What had lost its links and not yet its file is garbage: the collector's, after its grace.
    set_limits(mirror, cache_max_size=1)
    wait_until(lambda: ask(mirror, "/gc", "POST") and set(mirror.kept_digests()) == all_digests(pushed),
               lambda: "left: %d, %s" % (len(mirror.kept_digests()), report(mirror)))
    fake.refuse()
    Pusher(mirror.address).check_image("team/own", pushed, "mine")


def test_upstream_away(make_mirror, fake):
    """What has gone is an ordinary miss, all the rest is served."""
    mirror = with_limits(make_mirror, fake, {"MIRROR_RETRIES_MAX": "0", "MIRROR_TAGS_CACHE_TTL": "0"})
    images = [add(fake, simple(n, layers=2), "v%d" % n) for n in range(10)]
    for n, image in enumerate(images):
        keep(mirror, image, REPOSITORY, "v%d" % n)
    evicting.wait_ready(mirror)
    wait_image(mirror, REPOSITORY + ":v9")
    fake.refuse()
    whole = stored_bytes(mirror)
    set_limits(mirror, cache_max_size=whole // 2)
    wait_until(lambda: stored_bytes(mirror) <= whole // 2 * 0.95 and not report(mirror)["running"], lambda: report(mirror))
    served = [is_served(mirror, image, REPOSITORY, "v%d" % n) for n, image in enumerate(images)]
    whole_ones = [all(mirror.has_blob(digest) for digest in all_digests(image)) for image in images]
    assert served == whole_ones
    assert 3 <= sum(served) <= 6, served
