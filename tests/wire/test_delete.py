"""Deleting tags, manifests and blobs; and what a mirrored repository shows afterwards."""
import threading

import pytest

from lib.images import Index, digest_of, noise, simple
from lib.mirror import blob_path, manifest_path
from lib.pushing import Pusher

REPO, OTHER = "library/test", "library/other"
ABSENT = "sha256:" + "0" * 64


@pytest.fixture
def home(make_mirror):
    """A daemon without upstream, in which things can be deleted."""
    return make_mirror(DELETE_ENABLED="true", REGISTRY_WORKERS="4")


@pytest.fixture
def pusher(home):
    return Pusher(home.address)


def get(pusher, reference, repository=REPO):
    return pusher.ask("GET", manifest_path(reference, repository))


def gone(pusher, path, code):
    """On every worker: connections go to any of them."""
    for method in ("GET", "HEAD") * 6:
        response = pusher.ask(method, path)
        assert response.status == 404, (method, response.head)
        if method == "GET":
            assert response.error_code() == code


def refused(response, status, code):
    assert response.status == status and response.error_code() == code, (response.head, response.body)
    return response


def warm(pusher, path):
    for _ in range(8):
        assert pusher.ask("GET", path).status == 200


def test_tag(home, pusher):
    image = simple()
    pusher.image(REPO, image, "one", "two")
    warm(pusher, manifest_path("one", REPO))
    response = pusher.delete(REPO, "manifests", "one")
    assert response.status == 202 and response.body == b""
    gone(pusher, manifest_path("one", REPO), "MANIFEST_UNKNOWN")
    assert pusher.tags(REPO) == ["two"]
    pusher.check_image(REPO, image, "two")
    refused(pusher.delete(REPO, "manifests", "one"), 404, "MANIFEST_UNKNOWN")
    home.restart(kill=True)
    pusher = Pusher(home.address)
    gone(pusher, manifest_path("one", REPO), "MANIFEST_UNKNOWN")
    pusher.check_image(REPO, image, "two")


def test_manifest(home, pusher):
    """Its tags go with it, those of others stay; the blobs stay."""
    image, other = simple(1), simple(2)
    pusher.image(REPO, image, "one", "two")
    pusher.image(REPO, other, "three")
    pusher.image(OTHER, image, "one")
    for reference in ("one", "two", image.digest):
        warm(pusher, manifest_path(reference, REPO))
    assert pusher.delete(REPO, "manifests", image.digest).status == 202
    for reference in ("one", "two", image.digest):
        gone(pusher, manifest_path(reference, REPO), "MANIFEST_UNKNOWN")
    assert pusher.tags(REPO) == ["three"]
    pusher.check_image(REPO, other, "three")
    pusher.check_image(OTHER, image, "one")
    refused(pusher.delete(REPO, "manifests", image.digest), 404, "MANIFEST_UNKNOWN")
    assert home.metric("mirrord_deletes_total") == 1
    home.restart(kill=True)
    pusher = Pusher(home.address)
    gone(pusher, manifest_path(image.digest, REPO), "MANIFEST_UNKNOWN")
    # It can come again.
    pusher.image(REPO, image, "one")
    pusher.check_image(REPO, image, "one")


def test_blob(home, pusher):
    """Through one repository; another that has it keeps it."""
    data = noise(5000)
    digest = pusher.blob(REPO, data)
    pusher.blob(OTHER, data)
    warm(pusher, blob_path(digest, REPO))
    assert pusher.delete(REPO, "blobs", digest).status == 202
    gone(pusher, blob_path(digest, REPO), "BLOB_UNKNOWN")
    refused(pusher.delete(REPO, "blobs", digest), 404, "BLOB_UNKNOWN")
    assert pusher.ask("GET", blob_path(digest, OTHER)).body == data
    home.restart(kill=True)
    pusher = Pusher(home.address)
    gone(pusher, blob_path(digest, REPO), "BLOB_UNKNOWN")
    assert pusher.ask("GET", blob_path(digest, OTHER)).body == data
    # Its digest alone brings it back for nobody.
    response = pusher.mount(REPO, digest, "library/none")
    assert response.status == 202
    pusher.blob(REPO, data)
    assert pusher.ask("GET", blob_path(digest, REPO)).body == data


def test_sha512(pusher):
    data = b'{"a":"sha512"}'
    digest = digest_of(data, "sha512")
    assert pusher.put_manifest(REPO, digest, data, "application/vnd.example+json", ["latest"]).status == 201
    assert pusher.delete(REPO, "manifests", digest).status == 202
    for reference in (digest, "latest"):
        gone(pusher, manifest_path(reference, REPO), "MANIFEST_UNKNOWN")


def test_what_is_not_there(pusher):
    pusher.image(REPO, simple(), "one")
    refused(pusher.delete(REPO, "manifests", "two"), 404, "MANIFEST_UNKNOWN")
    refused(pusher.delete(REPO, "manifests", ABSENT), 404, "MANIFEST_UNKNOWN")
    refused(pusher.delete(REPO, "blobs", ABSENT), 404, "BLOB_UNKNOWN")
    for kind, reference in (("manifests", "one"), ("manifests", ABSENT), ("blobs", ABSENT)):
        refused(pusher.delete("library/none", kind, reference), 404, "NAME_UNKNOWN")
    for kind, reference in (("manifests", "sha256:abc"), ("blobs", "sha256:abc"), ("blobs", "one")):
        refused(pusher.delete(REPO, kind, reference), 400, "DIGEST_INVALID")
    refused(pusher.delete("library/../etc", "manifests", "one"), 400, "NAME_INVALID")


def test_switched_off(make_mirror):
    pusher = Pusher(make_mirror().address)
    image = simple()
    pusher.image(REPO, image, "one")
    for kind, reference, allow in (("manifests", "one", "GET, HEAD, PUT"), ("manifests", image.digest, "GET, HEAD, PUT"),
                                   ("blobs", image.config["digest"], "GET, HEAD"), ("blobs", ABSENT, "GET, HEAD")):
        response = refused(pusher.delete(REPO, kind, reference), 405, "UNSUPPORTED")
        assert response["allow"] == allow
    pusher.check_image(REPO, image, "one")


def test_not_everywhere(make_mirror):
    home = make_mirror(DELETE_ENABLED="true", PUSH_REPOSITORIES="mine/*")
    pusher = Pusher(home.address)
    refused(pusher.delete(REPO, "manifests", "one"), 403, "DENIED")
    digest = pusher.blob("mine/x", noise(10))
    assert pusher.delete("mine/x", "blobs", digest).status == 202


def test_mirrored_shows_the_upstream_again(make_mirror, fake):
    mirror = make_mirror(fake, DELETE_ENABLED="true")
    pusher = Pusher(mirror.address)
    theirs, ours = simple(1), simple(2)
    fake.add_image(theirs, REPO, "latest")
    pusher.image(REPO, ours, "latest")
    assert get(pusher, "latest").body == ours.manifest
    assert pusher.delete(REPO, "manifests", "latest").status == 202
    for _ in range(6):
        assert get(pusher, "latest").body == theirs.manifest
    # What was only mirrored is asked for anew.
    n_asked = fake.count("/manifests/latest")
    assert pusher.delete(REPO, "manifests", "latest").status == 202
    assert get(pusher, "latest").body == theirs.manifest
    assert fake.count("/manifests/latest") == n_asked + 1
    # It may still be on its way to the storage.
    assert pusher.delete(REPO, "manifests", theirs.digest).status == 202
    assert get(pusher, theirs.digest).body == theirs.manifest
    layer = theirs.layers[0]["digest"]
    body = theirs.blobs[layer].data
    assert pusher.ask("GET", blob_path(layer, REPO)).body == body
    mirror.wait_no_fills()
    assert pusher.delete(REPO, "blobs", layer).status == 202
    assert pusher.ask("GET", blob_path(layer, REPO)).body == body
    # And where the upstream has nothing there is nothing.
    assert pusher.delete(REPO, "manifests", ours.digest).status == 202
    gone(pusher, manifest_path(ours.digest, REPO), "MANIFEST_UNKNOWN")


def test_child_of_an_index(pusher):
    """The index stays as it is; the child is gone."""
    images = [simple(1), simple(2)]
    index = Index(images)
    pusher.image(REPO, index, "latest")
    assert pusher.delete(REPO, "manifests", images[0].digest).status == 202
    gone(pusher, manifest_path(images[0].digest, REPO), "MANIFEST_UNKNOWN")
    assert get(pusher, "latest").body == index.manifest
    assert get(pusher, images[1].digest).body == images[1].manifest


@pytest.mark.slow
def test_pushes_and_deletes_of_one_manifest(home, pusher):
    """No tag is left that points to nothing, whatever the order."""
    media_type = "application/vnd.example+json"
    data = b'{"a":1}'
    digest = digest_of(data)
    stop = threading.Event()
    statuses = set()

    def push(tag):
        while not stop.is_set():
            statuses.add(pusher.put_manifest(REPO, tag, data, media_type).status)

    def delete():
        for _ in range(60):
            statuses.add(pusher.delete(REPO, "manifests", digest).status)

    pushers = [threading.Thread(target=push, args=("t%d" % n,)) for n in range(4)]
    deleters = [threading.Thread(target=delete) for _ in range(2)]
    for thread in pushers + deleters:
        thread.start()
    for thread in deleters:
        thread.join()
    stop.set()
    for thread in pushers:
        thread.join()
    assert statuses <= {201, 202, 404}
    for tag in pusher.tags(REPO):
        assert get(pusher, tag).body == data
    pusher.delete(REPO, "manifests", digest)
    assert pusher.tags(REPO) == []
    home.restart(kill=True)
    assert Pusher(home.address).tags(REPO) == []


@pytest.mark.slow
def test_kill_while_deleting(home, pusher):
    """After the kill a manifest is there with its tags, or its tags point to nothing no more."""
    for n in range(4):
        pusher = Pusher(home.address)
        image = simple(20 + n)
        tags = ["t%d-%d" % (n, k) for k in range(30)]
        pusher.image(REPO, image)
        for first in range(0, 30, 10):
            pusher.put_manifest(REPO, image.digest, image.manifest, image.media_type, tags[first:first + 10])
        answered = []

        def delete(pusher=pusher, image=image, answered=answered):
            try:
                answered.append(pusher.delete(REPO, "manifests", image.digest).status)
            except (OSError, AssertionError):
                pass

        thread = threading.Thread(target=delete)
        thread.start()
        thread.join(0.002 * n)
        home.kill()
        thread.join()
        home.start()
        pusher = Pusher(home.address)
        left = [tag for tag in pusher.tags(REPO) if tag.startswith("t%d-" % n)]
        assert all(get(pusher, tag).body == image.manifest for tag in left)
        if answered == [202]:
            assert left == [] and get(pusher, image.digest).status == 404
