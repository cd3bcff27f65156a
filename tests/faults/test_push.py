"""What goes wrong while somebody pushes: clients that lie, stall or vanish, a disk that is full, a daemon that is killed."""
import json
import os
import signal
import socket
import threading

import pytest

from lib.images import OCI_MANIFEST, Noise, as_body, digest_of, noise, simple
from lib.mirror import Mirror, is_sanitized
from lib.pushing import OCTETS, Pusher, Upload, chunked, with_query
from lib.waiting import wait_until

REPOSITORY = "team/app"
SIZE = 4 << 20
WRITABLE = {"DELETE_ENABLED": "true", "LOGLEVEL": "info"}


@pytest.fixture
def registry(make_mirror):
    return make_mirror(**WRITABLE)


@pytest.fixture
def pusher(registry):
    return Pusher(registry.address)


def begin_patch(upload, length, data, fields=()):
    """A client in the middle of a PATCH that announced `length` bytes and has sent `data`."""
    client = upload.pusher.connect()
    announced = [("Transfer-Encoding", "chunked")] if length is None else [("Content-Length", str(length))]
    client.request(upload.target, "PATCH", [("Content-Type", OCTETS), *announced, *fields])
    client.send(data)
    return client


def wait_written(upload, size):
    """The status tells what a running request has written."""
    def is_written():
        upload.status()
        return upload.size >= size
    wait_until(is_written, lambda: "%d bytes are written, not %d" % (size, upload.size))


def finish(upload, body, digest=None):
    """Goes on where the registry says, as a client that comes back. Another request may still hold the upload."""
    def is_taken():
        upload.status()
        assert upload.size <= body.size
        response = upload.rest(body)
        assert response.status in (202, 409), (response.head, response.body)
        return response.status == 202
    wait_until(is_taken, "the upload goes on")
    assert upload.size == body.size
    response = upload.put(digest or body.digest)
    assert response.status == 201, (response.head, response.body)
    check_blob(upload.pusher, body)
    assert upload.is_gone()


def check_blob(pusher, body, repository=REPOSITORY):
    body = as_body(body)
    response = pusher.ask("GET", "/v2/%s/blobs/%s" % (repository, body.digest))
    assert response.status == 200 and response.length == body.size
    assert digest_of(response.body) == body.digest


def check_refused(response, *statuses):
    """With the error body of a registry."""
    assert response.status in statuses, (response.head, response.body)
    assert response.error_code()


# --- clients that lie ----------------------------------------------------------------------------

WAYS = ["single", "put", "patch", "chunks", "chunked"]


def push_by(way, pusher, body, digest):
    """The last answer of a push in this manner."""
    data = body.read(0, body.size)
    if way == "single":
        return pusher.single(REPOSITORY, body, digest), None
    upload = pusher.begin(REPOSITORY)
    if way == "put":
        return upload.put(digest, body), upload
    if way == "patch":
        assert upload.patch(body).status == 202
    if way == "chunks":
        for start in range(0, body.size, SIZE // 4):
            piece = data[start:start + SIZE // 4]
            assert upload.patch(piece, "%d-%d" % (start, start + len(piece) - 1)).status == 202
    if way == "chunked":
        with begin_patch(upload, None, chunked(data)) as client:
            assert upload.note(client.read_response()).status == 202
    assert upload.size == body.size
    return upload.put(digest), upload


@pytest.mark.parametrize("way", WAYS)
def test_wrong_digest(registry, pusher, way):
    """Refused, and nothing is kept: neither under the told digest nor under the true one."""
    body, told = Noise(SIZE), Noise(SIZE, 2).digest
    response, upload = push_by(way, pusher, body, told)
    check_refused(response, 400)
    assert response.error_code() == "DIGEST_INVALID"
    assert upload is None or upload.is_gone()
    for digest in (body.digest, told):
        assert not registry.has_blob(digest)
        assert pusher.ask("HEAD", "/v2/%s/blobs/%s" % (REPOSITORY, digest)).status == 404
    response, _ = push_by(way, pusher, body, body.digest)
    assert response.status == 201 and response["docker-content-digest"] == body.digest
    check_blob(pusher, body)
    wait_until(lambda: not registry.partial_files(), lambda: "left over: %r" % registry.partial_files())


def test_wrong_sha512(pusher):
    body = Noise(SIZE)
    digest = body.hash("sha512")
    check_refused(pusher.single(REPOSITORY, body, digest[:-1] + ("0" if digest[-1] != "0" else "1")), 400)
    assert pusher.single(REPOSITORY, body, digest).status == 201
    assert digest_of(pusher.ask("GET", "/v2/%s/blobs/%s" % (REPOSITORY, digest)).body, "sha512") == digest


@pytest.mark.parametrize("content_range", ["0-999", "0-1001", "0-", "-1000", "1-1000", "5-4", "x", "bytes=0-999999999999999999999"])
def test_range_that_is_not_the_body(pusher, content_range):
    """The body has 1000 bytes, of which none count when the range tells something else, but for 0-999."""
    upload, data = pusher.begin(REPOSITORY), noise(1000)
    response = upload.patch(data, content_range)
    if content_range == "0-999":
        assert response.status == 202
    else:
        check_refused(response, 400, 416)
        assert upload.status().status == 204 and upload.size == 0
    finish(upload, as_body(data))


@pytest.mark.parametrize("ending", ["fin", "reset"])
@pytest.mark.parametrize("method", ["PATCH", "PUT", "POST"])
def test_less_than_announced(registry, pusher, method, ending):
    """A body that ends too early finishes nothing."""
    body = Noise(SIZE)
    before = registry.fds()
    upload = pusher.begin(REPOSITORY)
    target = upload.target if method == "PATCH" else with_query(
        upload.target if method == "PUT" else "/v2/%s/blobs/uploads/" % REPOSITORY, digest=body.digest)
    client = pusher.connect()
    client.request(target, method, [("Content-Type", OCTETS), ("Content-Length", str(SIZE + 1))])
    client.send(body.read(0, SIZE))
    if method != "POST":
        wait_written(upload, SIZE)
    client.reset() if ending == "reset" else client.close()
    registry.check_no_leak(before)
    assert not registry.has_blob(body.digest)
    finish(upload, body)


@pytest.mark.parametrize("garbage", [b"zz\r\n", b"5\r\nabc\r\n0\r\n\r\n", b"ffffffffffffffffff\r\nabc"])
def test_broken_chunks(registry, pusher, garbage):
    """What came whole before the error counts, the rest does not."""
    body, upload = Noise(SIZE), pusher.begin(REPOSITORY)
    whole = b"%x\r\n%s\r\n" % (1000, body.read(0, 1000))
    with begin_patch(upload, None, whole) as client:
        wait_written(upload, 1000)
        client.send(garbage)
        client.half_close()
        while client.receive():
            pass
    assert upload.status().status == 204
    assert 1000 <= upload.size <= 1003
    if upload.size == 1000:
        finish(upload, body)
    else:
        assert upload.cancel().status == 204 and upload.is_gone()


# --- clients that vanish -------------------------------------------------------------------------

@pytest.mark.parametrize("ending", ["fin", "reset"])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_gone_in_the_middle_and_resumed(registry, pusher, framing, ending):
    body, upload = Noise(SIZE), pusher.begin(REPOSITORY)
    before = registry.fds()
    sent = SIZE // 2 + 7
    if framing == "chunked":
        client = begin_patch(upload, None, b"%x\r\n" % SIZE + body.read(0, sent))
    else:
        client = begin_patch(upload, SIZE, body.read(0, sent))
    wait_written(upload, sent)
    client.reset() if ending == "reset" else client.close()
    registry.check_no_leak(before)
    assert upload.status().status == 204 and upload.size == sent
    finish(upload, body)


def test_gone_again_and_again(registry, pusher):
    body, upload = Noise(SIZE), pusher.begin(REPOSITORY)
    before = registry.fds()
    for part in range(8):
        n = SIZE // 10

        def goes_on():
            upload.status()
            end = upload.size + n
            client = begin_patch(upload, SIZE - upload.size, body.read(upload.size, n),
                                 [("Content-Range", "%d-%d" % (upload.size, SIZE - 1))])
            wait_written(upload, end)
            client.reset() if part % 2 else client.close()
            return True
        wait_until(goes_on, "the upload goes on")
        registry.check_no_leak(before)
    finish(upload, body)


def test_second_request_on_a_held_upload(registry, pusher):
    """409 for whoever comes second, whatever it wants, but the status; the first is not disturbed."""
    body, upload = Noise(SIZE), pusher.begin(REPOSITORY)
    with begin_patch(upload, SIZE, body.read(0, SIZE // 2)) as client:
        wait_written(upload, SIZE // 2)
        half = Upload(pusher, upload.status(), REPOSITORY)
        check_refused(half.patch(body.read(SIZE // 2, 1000)), 409)
        check_refused(half.put(body.digest), 409)
        client.send(body.read(SIZE // 2, SIZE // 2))
        assert upload.note(client.read_response()).status == 202
    finish(upload, body)


def test_stalled_upload(make_mirror):
    """Who sends nothing for too long is let go, and what came counts."""
    registry = make_mirror(HTTP_BODY_TIMEOUT="2s", **WRITABLE)
    pusher, body = Pusher(registry.address), Noise(SIZE)
    upload = pusher.begin(REPOSITORY)
    before = registry.fds()
    with begin_patch(upload, SIZE, body.read(0, SIZE // 4)) as client:
        response = client.read_response()
        check_refused(response, 408)
        assert client.is_closed()
    registry.check_no_leak(before)
    assert upload.status().status == 204 and upload.size == SIZE // 4
    # A busy machine may need as long to send the rest.
    registry.settings.pop("HTTP_BODY_TIMEOUT")
    registry.restart()
    finish(upload, body)


def test_slow_upload_is_not_stalled(make_mirror):
    """The limit is for silence, not for the whole."""
    registry = make_mirror(HTTP_BODY_TIMEOUT="3s", **WRITABLE)
    body = Noise(1 << 10)
    upload = Pusher(registry.address).begin(REPOSITORY)
    with begin_patch(upload, body.size, b"") as client:
        waiting = threading.Event()
        for offset in range(0, body.size, 64):
            client.send(body.read(offset, 64))
            waiting.wait(0.25)
        assert upload.note(client.read_response()).status == 202
    finish(upload, body)


def test_many_slow_uploads(registry, pusher):
    """64 at once, in small pieces by turns: all are right, the daemon stays small, and others are served meanwhile."""
    n, size, piece = 64, 256 << 10, 16 << 10
    bodies = [Noise(size, seed) for seed in range(n)]
    uploads = [pusher.begin(REPOSITORY) for _ in range(n)]
    clients = [begin_patch(upload, size, b"") for upload in uploads]
    try:
        for offset in range(0, size, piece):
            for client, body in zip(clients, bodies):
                client.send(body.read(offset, piece))
            assert registry.get("/v2/").status == 200
        for upload, client in zip(uploads, clients):
            assert upload.note(client.read_response()).status == 202 and upload.size == size
    finally:
        for client in clients:
            client.close()
    for upload, body in zip(uploads, bodies):
        assert upload.put(body.digest).status == 201
        check_blob(pusher, body)
    if not is_sanitized():
        assert registry.peak_rss_bytes() < 64 << 20


def test_many_fast_uploads_stay_small(registry, pusher):
    """Clients that are faster than the hash are made to wait: neither memory nor the distance grows."""
    n, body = 16, Noise(16 << 20)
    digest, failures = body.digest, []

    def push():
        try:
            upload = pusher.begin(REPOSITORY)
            assert upload.patch(body).status == 202
            assert upload.put(digest).status == 201
        except BaseException as error:
            failures.append(error)
    threads = [threading.Thread(target=push) for _ in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures[0]
    check_blob(pusher, body)
    if not is_sanitized():
        assert registry.peak_rss_bytes() < 64 << 20


# --- the disk ------------------------------------------------------------------------------------

class Filler:
    """A file that takes what the disk has left, all of it or but for some bytes."""

    def __init__(self, folder, left=0):
        self.path = os.path.join(folder, "filler")
        self.file = os.open(self.path, os.O_WRONLY | os.O_CREAT, 0o600)
        with pytest.raises(OSError):
            while True:
                os.write(self.file, bytes(1 << 12))
        os.ftruncate(self.file, max(0, os.fstat(self.file).st_size - left))

    def remove(self):
        os.ftruncate(self.file, 0)
        os.close(self.file)


@pytest.fixture
def small(small_disk):
    """On a disk of 8 MiB."""
    registry = Mirror(small_disk, **WRITABLE)
    registry.start()
    yield registry
    registry.check_storage()
    registry.stop()


def test_disk_full_in_a_patch(small, small_disk):
    """Refused as a registry refuses, what was written counts, and it goes on when space has returned."""
    pusher, body = Pusher(small.address), Noise(SIZE)
    upload = pusher.begin(REPOSITORY)
    filler = Filler(small_disk, 1 << 20)
    before = small.fds()
    check_refused(upload.patch(body), 500, 507)
    assert upload.status().status == 204 and upload.size < SIZE
    kept = upload.size
    check_refused(upload.rest(body), 500, 507)
    assert upload.status().status == 204 and upload.size >= kept
    small.check_no_leak(before)
    assert small.get("/v2/").status == 200
    filler.remove()
    finish(upload, body)


def test_disk_full_and_a_restart(small, small_disk):
    """The half upload survives that, too."""
    pusher, body = Pusher(small.address), Noise(SIZE)
    upload = pusher.begin(REPOSITORY)
    filler = Filler(small_disk, 1 << 20)
    check_refused(upload.patch(body), 500, 507)
    small.restart(kill=True)
    assert upload.status().status == 204
    filler.remove()
    finish(upload, body)


def test_disk_full_in_a_put(small, small_disk):
    """The last piece comes with the PUT and does not fit."""
    pusher, body = Pusher(small.address), Noise(SIZE)
    upload = pusher.begin(REPOSITORY)
    assert upload.patch(body.read(0, SIZE // 2)).status == 202
    filler = Filler(small_disk, 1 << 20)
    check_refused(upload.put(body.digest, body.read(SIZE // 2, SIZE // 2)), 500, 507)
    assert not small.has_blob(body.digest)
    assert upload.status().status == 204 and SIZE // 2 <= upload.size < SIZE
    filler.remove()
    finish(upload, body)


def test_disk_full_in_one_post(small, small_disk):
    pusher, body = Pusher(small.address), Noise(SIZE)
    filler = Filler(small_disk, 1 << 20)
    check_refused(pusher.single(REPOSITORY, body), 500, 507)
    assert not small.has_blob(body.digest)
    filler.remove()
    assert pusher.single(REPOSITORY, body).status == 201
    check_blob(pusher, body)


def test_disk_full_and_everything_small(small, small_disk):
    """With not a block left: what is acknowledged all the same is there, the rest is refused and works afterwards."""
    pusher, image = Pusher(small.address), simple(layers=2)
    for body in image.blobs.values():
        pusher.blob(REPOSITORY, body)
    digest = next(iter(image.blobs))
    filler = Filler(small_disk)

    def tries():
        return {
            "post": pusher.ask("POST", "/v2/%s/blobs/uploads/" % REPOSITORY, b""),
            "mount": pusher.mount("team/other", digest, REPOSITORY),
            "manifest": pusher.put_manifest(REPOSITORY, "latest", image.manifest, image.media_type),
            "digest": pusher.put_manifest(REPOSITORY, image.digest, image.manifest, image.media_type),
        }
    for name, response in tries().items():
        assert response.status in (201, 202) or check_refused(response, 500, 507) is None, name
        if name == "mount" and response.status == 201:
            check_blob(pusher, image.blobs[digest], "team/other")
        if name in ("manifest", "digest") and response.status == 201:
            pusher.check_image(REPOSITORY, image, *(["latest"] if name == "manifest" else []))
    assert pusher.ask("GET", "/v2/%s/blobs/%s" % (REPOSITORY, digest)).status == 200
    filler.remove()
    assert {name: response.status for name, response in tries().items()} == {
        "post": 202, "mount": 201, "manifest": 201, "digest": 201}
    pusher.check_image(REPOSITORY, image, "latest")
    small.restart(kill=True)
    pusher.check_image(REPOSITORY, image, "latest")
    check_blob(pusher, image.blobs[digest], "team/other")


def test_uploads_are_swept_by_age(make_mirror):
    """Those to which nothing was added for too long, and only those."""
    registry = make_mirror(PUSH_UPLOAD_MAX_AGE="1h", **WRITABLE)
    pusher = Pusher(registry.address)
    old, young = pusher.begin(REPOSITORY), pusher.begin(REPOSITORY)
    for upload in (old, young):
        assert upload.patch(noise(100000)).status == 202
    registry.stop()
    folder = os.path.join(registry.storage, "docker/registry/v2/repositories", REPOSITORY, "_uploads")
    for name in (*os.listdir(os.path.join(folder, old.id)), ""):
        os.utime(os.path.join(folder, old.id, name), (1500000000, 1500000000))
    registry.start()
    wait_until(lambda: os.listdir(folder) == [young.id], "the old one is swept")
    assert old.is_gone()
    finish(young, as_body(noise(100000) + noise(1000, 2)))


def test_an_upload_ages_while_the_daemon_runs(make_mirror):
    registry = make_mirror(PUSH_UPLOAD_MAX_AGE="1s", **WRITABLE)
    upload = Pusher(registry.address).begin(REPOSITORY)
    assert upload.patch(noise(100000)).status == 202
    wait_until(upload.is_gone, "it is swept")
    folder = os.path.join(registry.storage, "docker/registry/v2/repositories", REPOSITORY, "_uploads", upload.id)
    wait_until(lambda: not os.path.exists(folder), "its files are gone")


# --- the daemon ends -----------------------------------------------------------------------------

@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_killed_in_the_middle_and_resumed(registry, pusher, framing):
    """All that the status told before is still there afterwards."""
    body, upload = Noise(SIZE), pusher.begin(REPOSITORY)
    data = body.read(0, SIZE // 2)
    client = begin_patch(upload, SIZE, data) if framing == "length" else begin_patch(
        upload, None, b"%x\r\n" % SIZE + data)
    wait_written(upload, SIZE // 4)
    told = upload.size
    registry.kill()
    client.close()
    registry.check_storage()
    registry.start()
    assert upload.status().status == 204 and told <= upload.size <= SIZE // 2
    finish(upload, body)


def test_killed_again_and_again(registry, pusher):
    body, upload = Noise(SIZE), pusher.begin(REPOSITORY)
    for part in range(1, 5):
        start = upload.size
        with begin_patch(upload, SIZE - start, body.read(start, SIZE // 5), [
                ("Content-Range", "%d-%d" % (start, SIZE - 1))]):
            wait_written(upload, start + 1)
            registry.kill()
        registry.start()
        assert upload.status().status == 204 and upload.size > start
    finish(upload, body)


@pytest.mark.parametrize("wait_s", [0, 0.002, 0.01, 0.03, 0.1])
def test_killed_while_it_finishes(registry, pusher, wait_s):
    """Unacknowledged: the blob is there and right, or the upload is and can go on, or it begins anew."""
    body = Noise(16 << 20)
    upload = pusher.begin(REPOSITORY)
    assert upload.patch(body).status == 202
    with pusher.connect() as client:
        client.request(with_query(upload.target, digest=body.digest), "PUT", [("Content-Length", "0")])
        client.peek(wait_s or 0.0001)
        registry.kill()
    registry.check_storage()
    registry.start()
    response = pusher.ask("HEAD", "/v2/%s/blobs/%s" % (REPOSITORY, body.digest))
    if response.status == 404:
        if upload.is_gone():
            pusher.blob(REPOSITORY, body)
        else:
            finish(upload, body)
    check_blob(pusher, body)


class Acknowledged:
    """The daemon is killed after each step that it has acknowledged, and asked about it when it is back."""

    def __init__(self, registry, seed):
        self.registry, self.pusher, self.seed = registry, Pusher(registry.address), seed
        self.image = simple(seed, layers=2)
        self.other = "team/other-%d" % seed

    def died(self, response, *statuses):
        self.registry.kill()
        assert response.status in statuses, (response.head, response.body)
        self.registry.start()
        return response

    def get(self, path, repository=REPOSITORY):
        return self.pusher.ask("GET", "/v2/%s/%s" % (repository, path))

    def blobs(self):
        body = Noise(300000, self.seed)
        upload = Upload(self.pusher, self.died(self.pusher.ask("POST", "/v2/%s/blobs/uploads/" % REPOSITORY, b""), 202),
                        REPOSITORY)
        assert upload.status().status == 204 and upload.size == 0
        for end in (100000, 200000):
            self.died(upload.patch(body.read(end - 100000, 100000)), 202)
            assert upload.status().status == 204 and upload.size == end
        self.died(upload.put(body.digest, body.read(200000, 100000)), 201)
        check_blob(self.pusher, body)
        assert upload.is_gone()
        single = Noise(50000, self.seed + 1000)
        self.died(self.pusher.single(REPOSITORY, single), 201)
        check_blob(self.pusher, single)
        self.died(self.pusher.mount(self.other, body.digest, REPOSITORY), 201)
        check_blob(self.pusher, body, self.other)
        return body, single

    def tag_is(self, tag, image):
        response = self.get("manifests/" + tag)
        assert response.status == 200 and response.body == image.manifest
        assert tag in self.pusher.tags(REPOSITORY)

    def manifests(self):
        image, tag = self.image, "tag-%d" % self.seed
        for body in image.blobs.values():
            self.pusher.blob(REPOSITORY, body)

        def put(reference, image, tags=()):
            return self.died(self.pusher.put_manifest(REPOSITORY, reference, image.manifest, image.media_type, tags), 201)
        put(image.digest, image)
        self.pusher.check_image(REPOSITORY, image)
        put(tag, image)
        self.tag_is(tag, image)
        put(image.digest, image, [tag + "-a", tag + "-b"])
        self.tag_is(tag + "-a", image)
        self.tag_is(tag + "-b", image)
        moved = simple(self.seed + 500)
        for body in moved.blobs.values():
            self.pusher.blob(REPOSITORY, body)
        put(tag, moved)
        self.tag_is(tag, moved)
        return tag

    def referrer(self):
        empty = b"{}"
        self.pusher.blob(REPOSITORY, empty)
        descriptor = {"mediaType": "application/vnd.oci.empty.v1+json", "size": 2, "digest": digest_of(empty)}
        data = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": "application/x-test",
                           "config": descriptor, "layers": [descriptor], "subject": {
                               "mediaType": self.image.media_type, "size": len(self.image.manifest),
                               "digest": self.image.digest}}).encode()
        response = self.died(self.pusher.put_manifest(REPOSITORY, digest_of(data), data, OCI_MANIFEST), 201)
        assert response["oci-subject"] == self.image.digest
        listed = self.get("referrers/" + self.image.digest).json()["manifests"]
        assert [entry["digest"] for entry in listed] == [digest_of(data)]
        self.died(self.pusher.delete(REPOSITORY, "manifests", digest_of(data)), 202)
        assert self.get("referrers/" + self.image.digest).json()["manifests"] == []

    def deletes(self, tag, body):
        self.died(self.pusher.delete(REPOSITORY, "manifests", tag + "-a"), 202)
        assert self.get("manifests/%s-a" % tag).status == 404
        assert tag + "-a" not in self.pusher.tags(REPOSITORY)
        self.tag_is(tag + "-b", self.image)
        self.died(self.pusher.delete(REPOSITORY, "manifests", self.image.digest), 202)
        assert self.get("manifests/" + self.image.digest).status == 404
        assert self.get("manifests/%s-b" % tag).status == 404
        self.died(self.pusher.delete(REPOSITORY, "blobs", body.digest), 202)
        assert self.get("blobs/" + body.digest).status == 404
        check_blob(self.pusher, body, self.other)
        upload = self.pusher.begin(REPOSITORY)
        self.died(upload.cancel(), 204)
        assert upload.is_gone()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_killed_right_after_every_acknowledged_answer(registry, seed):
    story = Acknowledged(registry, seed)
    body, single = story.blobs()
    tag = story.manifests()
    story.referrer()
    story.deletes(tag, body)
    check_blob(story.pusher, single)
    registry.check_storage()


def test_stopped_during_an_upload(registry, pusher):
    """The body under way may end in order, within the graceful time."""
    body, upload = Noise(SIZE), pusher.begin(REPOSITORY)
    with begin_patch(upload, SIZE, body.read(0, SIZE // 2)) as client:
        wait_written(upload, SIZE // 2)
        registry.process.send_signal(signal.SIGTERM)
        wait_until(lambda: is_refused(registry.address), "no more connections are accepted")
        client.send(body.read(SIZE // 2, SIZE // 2))
        response = client.read_response()
        assert response.status == 202 and response.closes
    registry.stop()
    registry.start()
    assert upload.status().status == 204 and upload.size == SIZE
    finish(upload, body)


def is_refused(address):
    try:
        socket.create_connection(address, timeout=1).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.parametrize("grace", ["0", "300ms"])
def test_stopped_and_the_client_does_not_go_on(make_mirror, grace):
    """It is not waited for longer than that; what came counts."""
    registry = make_mirror(REGISTRY_GRACEFUL_TIMEOUT=grace, **WRITABLE)
    pusher, body = Pusher(registry.address), Noise(SIZE)
    upload = pusher.begin(REPOSITORY)
    with begin_patch(upload, SIZE, body.read(0, SIZE // 2)) as client:
        wait_written(upload, SIZE // 2)
        registry.stop()
        try:
            client.read_to_end()
        except OSError:
            pass
    registry.start()
    assert upload.status().status == 204 and upload.size == SIZE // 2
    finish(upload, body)


def test_stopped_while_it_finishes(make_mirror):
    """A PUT that was taken is answered."""
    registry = make_mirror(**{**WRITABLE, "LOGLEVEL": "debug"})
    pusher, body = Pusher(registry.address), Noise(32 << 20)
    upload = pusher.begin(REPOSITORY)
    assert upload.patch(body).status == 202
    with pusher.connect() as client:
        client.request(with_query(upload.target, digest=body.digest), "PUT", [("Content-Length", "0")])
        registry.wait_for_log("-> committing")
        registry.process.send_signal(signal.SIGTERM)
        assert client.read_response().status == 201
    registry.stop()
    registry.start()
    check_blob(pusher, body)


