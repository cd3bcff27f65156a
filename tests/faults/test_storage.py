"""The disk under the mirror: full, emptied behind its back, and a daemon that is killed in the middle."""
import os
import re
import shutil
import signal
import subprocess
import threading

import pytest

from lib import faults, volume
from lib.fake import FakeRegistry
from lib.images import Noise, simple
from lib.mirror import Mirror, blob_path, check_bytes, manifest_path
from lib.waiting import wait_until

SIZE = 16 << 20


@pytest.fixture
def full(small_disk, fake):
    mirror = Mirror(small_disk, fake, LOGLEVEL="info")
    mirror.start()
    yield mirror
    mirror.check_storage()
    mirror.stop()


def test_disk_full(full, fake):
    """Clients keep receiving, nothing is kept, the next request works."""
    body, small = Noise(SIZE), Noise(100000, 5)
    digest, small_digest = fake.add_blob(body), fake.add_blob(small)
    before = full.fds()
    full.check_right(digest, body)
    full.wait_no_fills()
    assert not full.has_blob(digest)
    assert full.metric('mirrord_fills_total{result="unkept"}') == 1
    full.check_right(small_digest, small)
    full.wait_kept(small_digest)
    full.check_right(digest, body)
    full.check_no_leak(before)


def test_disk_full_with_several_readers(full, fake):
    """Those who are attached all get all of it, at their own pace."""
    body = Noise(SIZE)
    digest = fake.add_blob(body)
    event = threading.Event()
    fake.script(digest, faults.stall(1 << 20, event), method="GET")
    clients = [full.client() for _ in range(5)]
    for client in clients:
        client.request(blob_path(digest))
        client.response = client.read_head()
    event.set()
    results = [None] * len(clients)

    def read(n):
        results[n] = clients[n].read_body(SIZE)
    threads = [threading.Thread(target=read, args=(n,)) for n in range(len(clients))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for data in results:
        assert len(data) == SIZE
        check_bytes(data, body)
    full.wait_no_fills()
    assert not full.has_blob(digest)


def test_disk_full_and_a_wrong_body(full, fake):
    """Also what is passed through memory is verified before its last byte."""
    body = Noise(SIZE)
    digest = fake.add_blob(body)
    fake.always(digest, faults.flip(SIZE - 10))
    response = full.blob(digest, allow_short=True)
    assert response.status != 200 or len(response.body) < SIZE
    fake.behave_well()
    full.check_right(digest, body)


def test_disk_full_and_a_manifest(full, fake, small_disk):
    """A manifest that cannot be kept is served all the same."""
    filler = os.open(small_disk / "filler", os.O_WRONLY | os.O_CREAT)
    with pytest.raises(OSError):
        while True:
            os.write(filler, bytes(1 << 12))
    image = simple()
    fake.add_image(image, "library/test", "latest")
    for reference in ("latest", image.digest):
        assert full.get(manifest_path(reference)).body == image.manifest
    os.ftruncate(filler, 0)
    os.close(filler)
    assert full.get(manifest_path("latest")).status == 200


def test_file_of_a_blob_vanishes(make_mirror, fake):
    """It is fetched again: storage is the only truth."""
    mirror = make_mirror(fake, STORE_OPEN_FILES_VALID="0")
    body = Noise(1 << 20)
    digest = fake.add_blob(body)
    mirror.check_right(digest, body)
    mirror.wait_kept(digest)
    os.unlink(mirror.blob_file(digest))

    def is_fetched_again():
        """Who comes in the moment in which the fill ends still reads from its open file."""
        mirror.check_right(digest, body)
        return fake.count(digest, "GET") == 2
    wait_until(is_fetched_again, "it is fetched again")
    mirror.wait_kept(digest)
    assert fake.count(digest, "GET") == 2


def test_file_vanishes_under_an_open_download(make_mirror, fake):
    """Who reads keeps the file it has opened."""
    mirror = make_mirror(fake)
    body = Noise(SIZE)
    digest = fake.add_blob(body)
    mirror.check_right(digest, body)
    mirror.wait_kept(digest)
    with mirror.client(receive_buffer=4096) as client:
        client.request(blob_path(digest))
        response = client.read_head()
        data = client.read_body(1000)
        shutil.rmtree(os.path.dirname(mirror.blob_file(digest)))
        data += client.read_body(response.length - 1000)
        check_bytes(data, body)
        assert len(data) == SIZE


def test_everything_vanishes(make_mirror, fake):
    """The whole storage folder's content is removed under a running daemon."""
    mirror = make_mirror(fake, STORE_OPEN_FILES_VALID="0", MIRROR_TAGS_CACHE_TTL="0")
    image = simple(layers=2)
    fake.add_image(image, "library/test", "latest")
    digest = image.layers[0]["digest"]

    def pull():
        assert mirror.get(manifest_path("latest")).body == image.manifest
        assert mirror.get(manifest_path(image.digest)).body == image.manifest
        mirror.check_right(digest, image.blobs[digest])
    pull()
    mirror.wait_kept(digest)

    def empty():
        """The daemon may still be writing links."""
        for name in os.listdir(mirror.storage):
            shutil.rmtree(os.path.join(mirror.storage, name), ignore_errors=True)
        return not os.listdir(mirror.storage)
    wait_until(empty, "the storage is empty")
    pull()
    mirror.wait_kept(digest)
    pull()


def test_storage_cannot_be_written(tmp_path, fake):
    """A read-only disk: what is there is served, the rest is passed through."""
    mirror = Mirror(tmp_path, fake)
    body = Noise(1 << 20)
    digest = fake.add_blob(body)
    mirror.start()
    mirror.check_right(digest, body)
    mirror.wait_kept(digest)
    mirror.stop()
    other = fake.add_blob(Noise(100000, 3))
    command = "mount --bind {0} {0} && mount -o remount,bind,ro {0}".format(mirror.storage)
    if subprocess.run(["sh", "-c", command], capture_output=True).returncode != 0:
        pytest.skip("no mount is permitted")
    try:
        mirror.start()
        mirror.check_right(digest, body)
        mirror.check_right(other, Noise(100000, 3))
        assert not mirror.has_blob(other)
        mirror.stop()
    finally:
        subprocess.run(["umount", "-l", mirror.storage], check=True)


# --- kill -9 -------------------------------------------------------------------------------------

def n_noted(mirror):
    """Up to where the map of the only partial file says that it is filled."""
    maps = [path for path in mirror.partial_files() if path.endswith(".map")]
    if not maps:
        return 0
    with open(maps[0]) as file:
        runs = re.findall(r"^0 (\d+)$", file.read(), re.M)
    return int(runs[0]) if runs else 0


def killed_in_the_middle(mirror, fake, digest, n_bytes):
    """Kills the daemon when n_bytes have come, at a pace at which the state of the download is noted down on the way, and
    6 MiB have been noted."""
    event = threading.Event()
    fake.script(digest, faults.slow(3 << 20, event=event), method="GET")
    client = mirror.client()
    client.request(blob_path(digest))
    client.read_head()
    assert len(client.read_body(n_bytes)) == n_bytes
    wait_until(lambda: n_noted(mirror) >= 6 << 20, "much of it is noted")
    mirror.kill()
    event.set()
    client.close()


def test_kill_during_a_fill_and_resume(make_mirror, fake):
    """The download goes on from where it was, which the upstream's bytes prove."""
    mirror = make_mirror(fake)
    body = Noise(SIZE)
    digest = fake.add_blob(body)
    killed_in_the_middle(mirror, fake, digest, 8 << 20)
    mirror.check_storage()
    assert not mirror.has_blob(digest)
    mirror.start()
    mirror.check_right(digest, body)
    mirror.wait_kept(digest)
    first, second = fake.matching(digest, "GET")
    start = int(second.range[6:].split("-")[0])
    assert start >= 6 << 20, "less was kept than was noted: resumed at %d" % start
    assert second.n_sent == SIZE - start
    mirror.check_storage()


def test_killed_again_and_again(make_mirror, fake):
    mirror = make_mirror(fake)
    body = Noise(SIZE)
    digest = fake.add_blob(body)
    for _ in range(4):
        event = threading.Event()
        fake.script(digest, faults.stall(3 << 20, event, then_cut=True), method="GET")
        n = fake.count(digest, "GET")
        client = mirror.client()
        client.request(blob_path(digest))
        fake.wait_requests(n + 1, digest, "GET")
        fake.wait_sent(1 << 20, digest)
        mirror.kill()
        event.set()
        client.close()
        mirror.check_storage()
        mirror.start()
    fake.behave_well()
    mirror.check_right(digest, body)
    mirror.wait_kept(digest)
    mirror.check_storage()


def test_partial_file_was_damaged(make_mirror, fake):
    """What a crash left is hashed again: damage is found, thrown away and fetched anew."""
    mirror = make_mirror(fake, MIRROR_BACKOFF_BASE="5ms")
    body = Noise(SIZE)
    digest = fake.add_blob(body)
    killed_in_the_middle(mirror, fake, digest, 8 << 20)
    partial = max(mirror.partial_files(), key=os.path.getsize)
    with open(partial, "r+b") as damaged:
        damaged.seek(5 << 20)
        damaged.write(b"damage")
    mirror.start()
    wait_until(lambda: mirror.blob(digest, allow_short=True).body == body.read(0, SIZE), "it is right in the end")
    mirror.wait_kept(digest)
    mirror.check_storage()


def test_partial_file_was_truncated(make_mirror, fake):
    """As after a power failure: less is there than was noted."""
    mirror = make_mirror(fake, MIRROR_BACKOFF_BASE="5ms")
    body = Noise(SIZE)
    digest = fake.add_blob(body)
    killed_in_the_middle(mirror, fake, digest, 8 << 20)
    partial = max(mirror.partial_files(), key=os.path.getsize)
    os.truncate(partial, 1 << 20)
    mirror.start()
    wait_until(lambda: mirror.blob(digest, allow_short=True).body == body.read(0, SIZE), "it is right in the end")
    mirror.wait_kept(digest)
    mirror.check_storage()


def test_resume_after_an_orderly_stop(make_mirror, fake):
    mirror = make_mirror(fake, REGISTRY_GRACEFUL_TIMEOUT="0")
    body = Noise(SIZE)
    digest = fake.add_blob(body)
    event = threading.Event()
    fake.script(digest, faults.stall(10 << 20, event, then_cut=True), method="GET")
    with mirror.client() as client:
        client.request(blob_path(digest))
        client.read_head()
        client.read_body(10 << 20)
        mirror.stop(signal.SIGTERM)
        event.set()
    mirror.start()
    mirror.check_right(digest, body)
    last = fake.matching(digest, "GET")[-1]
    assert int(last.range[6:].split("-")[0]) >= 8 << 20


def test_offline_after_a_restart(make_mirror, fake):
    """Everything pulled keeps working without the upstream, also by tag, marked stale."""
    mirror = make_mirror(fake, MIRROR_TAGS_CACHE_TTL="0")
    image = simple(layers=3)
    fake.add_image(image, "library/test", "latest")

    def pull():
        response = mirror.get(manifest_path("latest"))
        assert response.status == 200 and response.body == image.manifest
        for digest, body in image.blobs.items():
            mirror.check_right(digest, body)
        return response
    pull()
    for digest in list(image.blobs) + [image.digest]:
        mirror.wait_kept(digest)
    mirror.restart()
    fake.refuse()
    response = pull()
    assert "detail=stale" in response["cache-status"] and response["docker-content-digest"] == image.digest
    mirror.restart(kill=True)
    pull()


def test_start_needs_no_upstream(make_mirror):
    mirror = make_mirror("http://127.0.0.1:1")
    assert mirror.get("/v2/").status == 200
    assert mirror.get(manifest_path("latest")).status in (502, 503, 504)


def size_of(path):
    """0 for one that has gone since it was listed."""
    try:
        return os.path.getsize(path)
    except FileNotFoundError:
        return 0


def test_old_partial_files_are_swept(make_mirror, fake):
    mirror = make_mirror(fake, FILL_PARTIAL_MAX_AGE="1s")
    body = Noise(SIZE)
    digest = fake.add_blob(body)
    killed_in_the_middle(mirror, fake, digest, 8 << 20)
    assert mirror.partial_files()
    for path in mirror.partial_files():
        os.utime(path, (1000000000, 1000000000))
    mirror.start()
    wait_until(lambda: not any(size_of(path) > 1 << 20 for path in mirror.partial_files()), "old partial files are gone")
    mirror.wait_metric("mirrord_store_swept_total", 1)
    mirror.check_right(digest, body)


def test_two_daemons_on_two_storages_do_not_meet(tmp_path):
    """The harness itself: ports and folders are its own."""
    fakes = [FakeRegistry(), FakeRegistry()]
    mirrors = []
    for n, registry in enumerate(fakes):
        folder = tmp_path / str(n)
        folder.mkdir()
        mirrors.append(Mirror(folder, registry).start())
        registry.add_blob(Noise(1000, n))
    for n, mirror in enumerate(mirrors):
        mirror.check_right(Noise(1000, n).digest, Noise(1000, n))
        assert mirror.blob(Noise(1000, 1 - n).digest).status == 404
        mirror.stop()
        fakes[n].close()


def test_a_tag_never_moves_to_what_could_not_be_kept(make_mirror, fake):
    """The new manifest is served and cannot be stored: after a restart without the upstream the old one is there."""
    mirror = make_mirror(fake, MIRROR_TAGS_CACHE_TTL="0", MIRROR_STALE_RETRY="0", MIRROR_RETRIES_MAX=0)
    old, new = simple(1), simple(2)
    fake.add_image(old, "library/test", "latest")
    assert mirror.get(manifest_path("latest")).status == 200
    wait_until(lambda: volume.tag_digest(mirror.storage, "library/test", "latest") == old.digest, "the tag is stored")
    in_the_way = os.path.dirname(os.path.dirname(mirror.blob_file(new.digest)))
    assert not os.path.exists(in_the_way)
    with open(in_the_way, "w"):
        pass
    fake.add_image(new, "library/test", "latest")
    response = mirror.get(manifest_path("latest"))
    assert response.status == 200 and response["docker-content-digest"] == new.digest
    wait_until(lambda: "manifest not kept" in mirror.log(), "keeping has failed")
    fake.refuse()
    mirror.restart()
    response = mirror.get(manifest_path("latest"))
    assert response.status == 200 and response["docker-content-digest"] == old.digest
    os.unlink(in_the_way)
