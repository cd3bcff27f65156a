"""The power goes right after each acknowledged answer, and the disk has kept nothing that was not synced."""
import json
import signal
import threading

import pytest

from lib import power
from lib.images import OCI_MANIFEST, Noise, as_body, digest_of, noise, simple
from lib.mirror import is_sanitized
from lib.pushing import Pusher

REPOSITORY = "team/app"


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    if is_sanitized():
        pytest.skip("a sanitizer wants to be preloaded first")
    return power.build(tmp_path_factory.mktemp("power"))


@pytest.fixture
def disk(make_mirror, library, tmp_path):
    mirror = make_mirror(start=False, DELETE_ENABLED="true", LOGLEVEL="info", GC_GRACE="0", GC_INTERVAL="0")
    made = power.Disk(mirror, library, tmp_path)
    mirror.start()
    return made


@pytest.fixture
def pusher(disk):
    return Pusher(disk.mirror.address)


def check_there(pusher, digest, repository=REPOSITORY, kind="blobs"):
    response = pusher.ask("GET", "/v2/%s/%s/%s" % (repository, kind, digest))
    assert response.status == 200, (response.head, response.body)
    assert digest_of(response.body, digest.split(":")[0]) == digest


def check_gone(pusher, kind, reference, repository=REPOSITORY):
    assert pusher.ask("GET", "/v2/%s/%s/%s" % (repository, kind, reference)).status == 404


def test_the_disk_forgets(disk, pusher):
    """The harness itself: nothing is there afterwards but what was synced, and what was sent without an end."""
    digest = pusher.blob(REPOSITORY, noise(100000))
    disk.cut(forgets_all=True)
    check_gone(pusher, "blobs", digest)
    assert disk.mirror.kept_digests() == []
    upload = pusher.begin(REPOSITORY)
    assert upload.patch(noise(100000)).status == 202
    disk.cut()
    if not upload.is_gone():
        assert upload.status().status == 204 and upload.size <= 100000


@pytest.mark.parametrize("size", [0, 1, 100000, 5 << 20])
def test_blobs(disk, pusher, size):
    first, second = as_body(noise(size, 1)), as_body(noise(size, 2))
    pusher.blob(REPOSITORY, first)
    disk.cut()
    check_there(pusher, first.digest)
    assert pusher.single(REPOSITORY, second).status == 201
    disk.cut()
    for digest in {first.digest, second.digest}:
        check_there(pusher, digest)
    # The same bytes again, into a repository that is new.
    pusher.blob("team/third", first)
    disk.cut()
    check_there(pusher, first.digest, "team/third")


def test_other_digest(disk, pusher):
    data = noise(100000)
    digest = digest_of(data, "sha512")
    assert pusher.single(REPOSITORY, data, digest).status == 201
    disk.cut()
    check_there(pusher, digest)


def test_mounts(disk, pusher):
    """Into a repository that is there, and into one that begins with it."""
    digest = pusher.blob(REPOSITORY, noise(100000))
    for repository in ("team/other", "another/deep/place", "team/other"):
        assert pusher.mount(repository, digest, REPOSITORY).status == 201
        disk.cut()
        check_there(pusher, digest, repository)


def kill_after(disk, n_answers, work):
    """Runs work(number) in eight threads until so many things were acknowledged, which it yields one by one, and cuts the
    power with others under way. Returns all that was acknowledged."""
    acknowledged, begin, is_enough = [], threading.Barrier(8), threading.Event()

    def run(number):
        begin.wait()
        try:
            for what in work(number):
                acknowledged.append(what)
                if len(acknowledged) >= n_answers:
                    is_enough.set()
        except (AssertionError, OSError):
            pass    # the daemon is gone
    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    assert is_enough.wait(60)
    disk.mirror.process.send_signal(signal.SIGKILL)
    for thread in threads:
        thread.join()
    disk.cut()
    return acknowledged


@pytest.mark.parametrize("n_answers", [1, 2, 5, 20, 40])
def test_many_at_once(disk, pusher, n_answers):
    """Folders that several make at the same time are durable for each of them, not only for who came first."""
    bodies = [Noise(1 << 12, seed) for seed in range(40)]
    for body in bodies:
        assert body.digest

    def work(number):
        for n in range(number, len(bodies), 8):
            repository = "team/app-%d" % (n % 3)
            assert pusher.single(repository, bodies[n]).status == 201
            yield repository, bodies[n].digest
    for repository, digest in kill_after(disk, n_answers, work):
        check_there(pusher, digest, repository)


@pytest.mark.parametrize("n_answers", [1, 2, 5, 20])
def test_many_manifests_at_once(disk, pusher, n_answers):
    """The same for repositories and tags."""
    images = [simple(seed) for seed in range(24)]
    for image in images:
        for body in image.blobs.values():
            pusher.blob("team/store", body)

    def work(number):
        for n in range(number, len(images), 8):
            image, repository = images[n], "crowd/app-%d" % (n % 2)
            for digest in image.blobs:
                assert pusher.mount(repository, digest, "team/store").status == 201
            response = pusher.put_manifest(repository, "tag-%d" % n, image.manifest, image.media_type)
            assert response.status == 201
            yield repository, "tag-%d" % n, image
    for repository, tag, image in kill_after(disk, n_answers, work):
        pusher.check_image(repository, image, tag)


def test_manifests(disk, pusher):
    """By digest, by tag, with further tags, and a tag that moves."""
    image, moved = simple(1, layers=2), simple(2)
    for body in (*image.blobs.values(), *moved.blobs.values()):
        pusher.blob(REPOSITORY, body)

    def put(reference, image, tags=()):
        response = pusher.put_manifest(REPOSITORY, reference, image.manifest, image.media_type, tags)
        assert response.status == 201, response.body
        disk.cut()
    put(image.digest, image)
    pusher.check_image(REPOSITORY, image)
    put("latest", image)
    pusher.check_image(REPOSITORY, image, "latest")
    put(image.digest, image, ["a", "b"])
    pusher.check_image(REPOSITORY, image, "a", "b", "latest")
    put("latest", moved)
    pusher.check_image(REPOSITORY, moved, "latest")
    assert sorted(pusher.tags(REPOSITORY)) == ["a", "b", "latest"]
    put("latest", image)
    pusher.check_image(REPOSITORY, image, "latest")


def test_referrers(disk, pusher):
    image = simple(1)
    pusher.image(REPOSITORY, image, "latest")
    pusher.blob(REPOSITORY, b"{}")
    entry = {"mediaType": "application/vnd.oci.empty.v1+json", "size": 2, "digest": digest_of(b"{}")}
    data = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": "application/x-test",
                       "config": entry, "layers": [entry], "subject": {
                           "mediaType": image.media_type, "size": len(image.manifest), "digest": image.digest}}).encode()

    def listed():
        response = pusher.ask("GET", "/v2/%s/referrers/%s" % (REPOSITORY, image.digest))
        return [found["digest"] for found in response.json()["manifests"]]
    assert pusher.put_manifest(REPOSITORY, digest_of(data), data, OCI_MANIFEST).status == 201
    disk.cut()
    assert listed() == [digest_of(data)]
    assert pusher.delete(REPOSITORY, "manifests", digest_of(data)).status == 202
    disk.cut()
    assert listed() == []
    check_gone(pusher, "manifests", digest_of(data))


def test_deletes(disk, pusher):
    """What was deleted does not come back."""
    image, body = simple(1, layers=2), as_body(noise(100000))
    pusher.image(REPOSITORY, image, "a", "b")
    pusher.blob(REPOSITORY, body)
    assert pusher.delete(REPOSITORY, "manifests", "a").status == 202
    disk.cut()
    check_gone(pusher, "manifests", "a")
    assert pusher.tags(REPOSITORY) == ["b"]
    pusher.check_image(REPOSITORY, image, "b")
    assert pusher.delete(REPOSITORY, "manifests", image.digest).status == 202
    disk.cut()
    check_gone(pusher, "manifests", image.digest)
    check_gone(pusher, "manifests", "b")
    assert pusher.delete(REPOSITORY, "blobs", body.digest).status == 202
    disk.cut()
    check_gone(pusher, "blobs", body.digest)


def test_pushed_anew_after_the_collector(disk, pusher):
    """What was removed and comes again is as durable as the first time."""
    body = as_body(noise(100000))
    pusher.blob(REPOSITORY, body)
    assert pusher.delete(REPOSITORY, "blobs", body.digest).status == 202
    pusher.blob(REPOSITORY, body)
    disk.cut()
    check_there(pusher, body.digest)


def test_tag_taken_over(make_mirror, library, tmp_path, fake):
    """A push over a mirrored tag."""
    mirrored, pushed = simple(1), simple(2)
    fake.add_image(mirrored, "library/test", "latest")
    mirror = make_mirror(fake, start=False, LOGLEVEL="info")
    disk = power.Disk(mirror, library, tmp_path)
    mirror.start()
    pusher = Pusher(mirror.address)
    pusher.check_image("library/test", mirrored, "latest")
    mirror.wait_no_fills()
    pusher.image("library/test", pushed, "latest")
    disk.cut()
    pusher.check_image("library/test", pushed, "latest")
    fake.refuse()
    pusher.check_image("library/test", pushed, "latest")
