"""The ledger is an index: whatever happens to it, the daemon starts and serves, and makes it anew from the storage."""
import json
import os
import random
import sqlite3
import subprocess

import pytest

from lib import rawhttp
from lib.images import OCI_MANIFEST, Image, Index, digest_of, noise
from lib.mirror import binary, blob_path, manifest_path
from lib.pushing import Pusher
from lib.waiting import wait_until

REPOSITORY = "library/test"


def path(mirror):
    return os.path.join(mirror.storage, "_mirrord", "ledger.db")


def ledger(mirror):
    return json.loads(mirror.admin("/ledger").body)


def wait_ready(mirror, timeout_s=60):
    wait_until(lambda: ledger(mirror)["state"] == "ready", lambda: "the ledger is ready: %s" % ledger(mirror), timeout_s)
    return ledger(mirror)


def stored(mirror):
    """What lies under final names: (files, bytes)."""
    sizes = [os.path.getsize(mirror.blob_file(digest)) for digest in mirror.kept_digests()]
    return len(sizes), sum(sizes)


def wait_exact(mirror):
    def is_exact():
        found = ledger(mirror)
        return found["state"] == "ready" and (found["blobs"], found["bytes"]) == stored(mirror)
    wait_until(is_exact, lambda: "the ledger says what is stored: %s, %s" % (ledger(mirror), stored(mirror)), 60)


def make_content(fake):
    first = Image([{"a": noise(3000, 1)}, {"b": noise(5000, 2)}])
    second = Image([{"a": noise(3000, 1)}, {"c": noise(4000, 3)}], architecture="arm64")
    index = Index([first, second])
    fake.add_image(index, REPOSITORY, "latest")
    return index, [first, second]


def pull(mirror, index, images):
    """By tag, then all of it by digest."""
    found = mirror.get(manifest_path("latest", REPOSITORY), fields=[("Accept", index.media_type)])
    assert found.status == 200, found.head
    for image in images:
        found = mirror.get(manifest_path(digest_of(image.manifest), REPOSITORY), fields=[("Accept", image.media_type)])
        assert found.status == 200 and found.body == image.manifest
        for digest, data in image.blobs.items():
            found = mirror.get(blob_path(digest, REPOSITORY))
            assert found.status == 200 and digest_of(found.body) == digest


def push(mirror):
    pusher = Pusher(mirror.address)
    layer = noise(2000, 9)
    config = b"{}"
    for data in (layer, config):
        pusher.blob("team/app", data)
    manifest = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST,
                           "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "size": 2, "digest": digest_of(config)},
                           "layers": [{"mediaType": "application/octet-stream", "size": 2000, "digest": digest_of(layer)}]}).encode()
    answer = pusher.ask("PUT", "/v2/team/app/manifests/1", manifest, [("Content-Type", OCI_MANIFEST)])
    assert answer.status == 201, answer.head
    return {digest_of(layer), digest_of(config), digest_of(manifest)}


# --- what may have become of it -------------------------------------------------------------------

def delete(name):
    for ending in ("", "-wal", "-shm"):
        if os.path.exists(name + ending):
            os.unlink(name + ending)


def empty(name):
    os.truncate(name, 0)


def cut(name):
    os.truncate(name, os.path.getsize(name) // 2 + 100)


def noise_in(name, start):
    size = os.path.getsize(name)
    with open(name, "r+b") as f:
        f.seek(start)
        f.write(random.Random(start).randbytes(size - start))


def noise_everywhere(name):
    noise_in(name, 0)


def noise_inside(name):
    noise_in(name, 4096)


def from_the_future(name):
    with sqlite3.connect(name) as connection:
        connection.execute("PRAGMA user_version = 1000")


def of_another_program(name):
    delete(name)
    with sqlite3.connect(name) as connection:
        connection.execute("CREATE TABLE blob(colour)")


def folder(name):
    delete(name)
    os.makedirs(os.path.join(name, "within"))


def fifo(name):
    delete(name)
    os.mkfifo(name)


DAMAGES = [delete, empty, cut, noise_everywhere, noise_inside, from_the_future, of_another_program, folder, fifo]
NOTHING_LOST = (delete, empty)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda f: f.__name__)
def test_at_start(make_mirror, fake, damage):
    """It starts, serves all there is without an upstream, and the ledger says what is stored again; pins stay."""
    index, images = make_content(fake)
    mirror = make_mirror(fake)
    pull(mirror, index, images)
    pushed = push(mirror)
    wait_exact(mirror)
    mirror.stop()
    damage(path(mirror))
    fake.refuse()
    mirror.start()
    pull(mirror, index, images)
    assert pushed <= set(mirror.kept_digests())
    wait_exact(mirror)
    found = ledger(mirror)
    assert found["rebuilt"] == (0 if damage in NOTHING_LOST else 1), found
    assert found["bytes_pushed"] > 2000, found
    assert mirror.metric("mirrord_ledger_state") == 2


@pytest.mark.parametrize("damage", [delete, folder], ids=lambda f: f.__name__)
def test_replaced_while_running(make_mirror, fake, damage):
    """Requests go on, and another one is made."""
    index, images = make_content(fake)
    mirror = make_mirror(fake)
    pull(mirror, index, images)
    wait_exact(mirror)
    damage(path(mirror))
    pushed = push(mirror)
    pull(mirror, index, images)
    wait_until(lambda: ledger(mirror)["rebuilt"] >= 1, lambda: "it is noticed: %s" % ledger(mirror), 60)
    wait_exact(mirror)
    assert pushed <= set(mirror.kept_digests())
    assert mirror.metric("mirrord_ledger_rebuilt_total") >= 1


def test_damaged_while_running(make_mirror, fake):
    """Noise over the whole of it, its log and its index included: what is met is thrown away."""
    index, images = make_content(fake)
    mirror = make_mirror(fake)
    pull(mirror, index, images)
    wait_exact(mirror)
    for ending in ("", "-wal"):
        if os.path.exists(path(mirror) + ending) and os.path.getsize(path(mirror) + ending):
            noise_in(path(mirror) + ending, 0)
    push(mirror)
    pull(mirror, index, images)
    answer = rawhttp.get(mirror.admin_address, "/ledger", "POST", [("Content-Length", "0")])
    assert answer.status == 202, answer.head
    wait_exact(mirror)


def test_cannot_be_written(make_mirror, fake):
    """Something that cannot be moved is in its place: no ledger, and all else works; when it has gone there is one."""
    index, images = make_content(fake)
    mirror = make_mirror(fake, start=False)
    blocks = [path(mirror), path(mirror) + ".damaged"]
    for block in blocks:
        os.makedirs(os.path.join(block, "within"))
    mirror.start()
    pull(mirror, index, images)
    push(mirror)
    wait_until(lambda: ledger(mirror)["problem"] != "", lambda: "it says why: %s" % ledger(mirror))
    assert ledger(mirror)["state"] == "closed"
    assert mirror.metric("mirrord_ledger_state") == 0
    for block in blocks:
        os.rmdir(os.path.join(block, "within"))
        os.rmdir(block)
    wait_exact(mirror)
    assert ledger(mirror)["problem"] == ""


def test_kill(make_mirror, fake):
    """What was not written down is found by the walk."""
    index, images = make_content(fake)
    mirror = make_mirror(fake)
    pull(mirror, index, images)
    pushed = push(mirror)
    mirror.kill()
    mirror.start()
    wait_exact(mirror)
    assert pushed <= set(mirror.kept_digests())
    assert ledger(mirror)["rebuilt"] == 0


def test_other_program_writes(make_mirror, fake):
    """What is put into the storage, or taken out of it, while the daemon is away is known after the next start."""
    index, images = make_content(fake)
    mirror = make_mirror(fake)
    pull(mirror, index, images)
    wait_exact(mirror)
    before = ledger(mirror)
    mirror.stop()
    data = noise(777, 20)
    name = mirror.blob_file(digest_of(data))
    os.makedirs(os.path.dirname(name))
    with open(name, "wb") as f:
        f.write(data)
    os.unlink(mirror.blob_file(next(iter(images[0].blobs))))
    mirror.start()
    wait_exact(mirror)
    assert ledger(mirror)["mended"] >= 2
    assert ledger(mirror)["blobs"] == before["blobs"]


# --- mirrord reindex ------------------------------------------------------------------------------

def reindex(mirror):
    return subprocess.run([binary(), "reindex"], env=mirror.environment(), capture_output=True, text=True, timeout=60)


def test_reindex_running(make_mirror, fake):
    """The command asks the running daemon, which makes the ledger anew; a wrong row goes with the old one."""
    index, images = make_content(fake)
    mirror = make_mirror(fake)
    pull(mirror, index, images)
    wait_exact(mirror)
    with sqlite3.connect(path(mirror), timeout=30) as connection:
        connection.execute("DELETE FROM link")
        connection.execute("INSERT INTO repo(name) VALUES('nonsense')")
    result = reindex(mirror)
    assert result.returncode == 0, result.stderr
    def is_anew():
        try:
            with sqlite3.connect("file:%s?mode=ro" % path(mirror), timeout=30, uri=True) as connection:
                names = {row[0] for row in connection.execute("SELECT name FROM repo")}
                return names == {REPOSITORY} and connection.execute("SELECT count(*) FROM link").fetchone()[0] > 5
        except sqlite3.OperationalError:
            return False   # it is not there yet, or has no tables
    wait_until(is_anew, "it is made anew", 60)
    wait_exact(mirror)


def test_reindex_idle(make_mirror, fake):
    """Without a daemon it does it by itself."""
    index, images = make_content(fake)
    mirror = make_mirror(fake)
    pull(mirror, index, images)
    push(mirror)
    n, n_bytes = stored(mirror)
    mirror.stop()
    noise_everywhere(path(mirror))
    result = reindex(mirror)
    assert result.returncode == 0, result.stderr
    assert "%d blobs, %d bytes" % (n, n_bytes) in result.stdout, result.stdout
    mirror.start()
    wait_exact(mirror)
    assert ledger(mirror)["mended"] == 0 and ledger(mirror)["rebuilt"] == 0
