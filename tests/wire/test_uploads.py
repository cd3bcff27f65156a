"""Uploads of blobs, request by request: what the OCI distribution-spec asks for, and what Docker's clients expect beside it."""
import json
import re
import threading

import pytest

from lib.images import Noise, as_body, digest_of, noise
from lib.pushing import Pusher, Upload, chunked, send_request, with_query
from lib.waiting import PATIENCE_S, wait_until

REPOSITORY = "team/app"
UPLOADS = "/v2/%s/blobs/uploads/" % REPOSITORY
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
ABSENT_ID = "01234567-89ab-4cde-8f01-23456789abcd"
EMPTY = digest_of(b"")


@pytest.fixture
def registry(make_mirror):
    """Without an upstream."""
    return make_mirror()


@pytest.fixture
def pusher(registry):
    return Pusher(registry.address)


def blob_target(digest, repository=REPOSITORY):
    return "/v2/%s/blobs/%s" % (repository, digest)


def check_created(response, digest, repository=REPOSITORY):
    assert response.status == 201, (response.head, response.body)
    assert response["location"] == blob_target(digest, repository)
    assert response["docker-content-digest"] == digest
    assert response.length == 0
    assert response["docker-distribution-api-version"] == "registry/2.0"


def check_error(response, status, code):
    assert response.status == status, (response.head, response.body)
    assert response.error_code() == code
    return response


def check_where(response, upload, size):
    """An answer tells where the upload goes on."""
    assert response["location"] == UPLOADS + upload.id
    assert response["range"] == "0-%d" % max(0, size - 1)
    assert response["docker-upload-uuid"] == upload.id
    return response


def check_content(pusher, data, repository=REPOSITORY, digest=None):
    digest = digest or digest_of(data)
    response = pusher.ask("GET", blob_target(digest, repository))
    assert response.status == 200 and response.body == data
    assert pusher.ask("HEAD", blob_target(digest, repository)).length == len(data)


def check_usable(pusher, upload, data=b"tail"):
    """Whatever went wrong, the upload can be finished."""
    so_far = upload.status()
    assert so_far.status == 204
    begin = upload.size
    response = upload.patch(data, "%d-%d" % (begin, begin + len(data) - 1))
    assert response.status == 202, (response.head, response.body)
    return begin


# --- POST ----------------------------------------------------------------------------------------

def test_begin(pusher):
    response = pusher.ask("POST", UPLOADS, b"")
    assert response.status == 202 and response.length == 0
    assert re.fullmatch(UUID, response["docker-upload-uuid"])
    assert response["location"] == UPLOADS + response["docker-upload-uuid"]
    assert response["range"] == "0-0"
    assert response["docker-distribution-api-version"] == "registry/2.0"
    assert response.get("oci-chunk-min-length") is None
    assert pusher.ask("POST", UPLOADS, b"")["docker-upload-uuid"] != response["docker-upload-uuid"]
    assert pusher.ask("POST", UPLOADS[:-1], b"").status == 202
    assert pusher.ask("POST", UPLOADS).status == 202, "no body, no length"


def test_least_chunk_is_told(make_mirror):
    pusher = Pusher(make_mirror(PUSH_CHUNK_MIN_BYTES="64KiB").address)
    response = pusher.ask("POST", UPLOADS, b"")
    assert response["oci-chunk-min-length"] == "65536"
    upload = Upload(pusher, response, REPOSITORY)
    assert upload.patch(b"small", "0-4").status == 202, "asked for, not enforced"


@pytest.mark.parametrize("data", [b"", b"x", noise(300000)], ids=["empty", "byte", "some"])
@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_single_post(registry, pusher, data, algorithm):
    digest = digest_of(data, algorithm)
    check_created(pusher.single(REPOSITORY, data, digest), digest)
    check_content(pusher, data, digest=digest)
    target = with_query(UPLOADS, digest=digest)
    with pusher.connect() as client:
        client.request(target, "POST", {"Transfer-Encoding": "chunked"})
        client.send(chunked(data))
        check_created(client.read_response(), digest)
    wait_until(lambda: not registry.partial_files(), "nothing is left behind")


def test_single_post_wrong(registry, pusher):
    data = noise(100000)
    told = digest_of(b"other")
    response = check_error(pusher.single(REPOSITORY, data, told), 400, "DIGEST_INVALID")
    assert response.json()["errors"][0]["detail"] == {"found": digest_of(data)}
    for digest in (told, digest_of(data)):
        assert pusher.ask("HEAD", blob_target(digest)).status == 404
    wait_until(lambda: not registry.partial_files(), "nothing is left behind")
    for digest in ("sha256:short", "md5:" + "0" * 32, "sha256:" + "G" * 64, "", "%00", "x" * 1000):
        with pusher.connect() as client:
            send_request(client, "POST", UPLOADS + "?digest=" + digest, as_body(b"x"))
            check_error(client.read_response("POST"), 400, "DIGEST_INVALID")
            assert client.get("/v2/").status == 200
    wait_until(lambda: not registry.partial_files(), "nothing is left behind")


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_algorithm_is_announced(pusher, algorithm):
    data = noise(70000)
    for final in ("sha256", "sha512"):
        upload = pusher.begin(REPOSITORY, **{"digest-algorithm": algorithm})
        upload.patch(data)
        digest = digest_of(data, final)
        check_created(upload.put(digest), digest)


def test_unknown_algorithm(pusher):
    for algorithm in ("md5", "", "SHA256", "sha256x", "%00", "x" * 500):
        response = pusher.ask("POST", UPLOADS + "?digest-algorithm=" + algorithm, b"")
        check_error(response, 400, "DIGEST_INVALID")


# --- PATCH and PUT -------------------------------------------------------------------------------

def test_streamed(pusher):
    data = noise(1 << 20)
    upload = pusher.begin(REPOSITORY)
    with pusher.connect() as client:
        client.request(upload.target, "PATCH", {"Transfer-Encoding": "chunked"})
        client.send(chunked(data, 7))
        response = client.read_response()
    assert response.status == 202 and response.length == 0
    check_where(response, upload, len(data))
    check_where(upload.status(), upload, len(data))
    check_created(upload.put(digest_of(data)), digest_of(data))
    assert upload.is_gone()
    check_content(pusher, data)


def test_chunks_in_order(pusher):
    data = noise(250000)
    upload = pusher.begin(REPOSITORY)
    for form, start in (("%d-%d", 0), ("bytes %d-%d", 100000), ("bytes %d-%d/*", 200000)):
        piece = data[start:start + 100000]
        response = upload.patch(piece, form % (start, start + len(piece) - 1))
        assert response.status == 202
        check_where(response, upload, start + len(piece))
    check_created(upload.put(digest_of(data)), digest_of(data))
    check_content(pusher, data)


def test_chunks_without_ranges(pusher):
    upload = pusher.begin(REPOSITORY)
    for piece in (b"abc", b"", b"d", b"efg"):
        assert upload.patch(piece).status == 202
    assert upload.size == 7
    check_created(upload.put(digest_of(b"abcdefg")), digest_of(b"abcdefg"))


def test_last_chunk_with_put(pusher):
    for content_range, expected in ((None, 201), ("3-6", 201), ("0-3", 416), ("4-7", 416), ("3-7", 400)):
        upload = pusher.begin(REPOSITORY)
        upload.patch(b"abc")
        fields = [("Content-Range", content_range)] if content_range else []
        digest = digest_of(b"abcdefg")
        response = pusher.ask("PUT", with_query(upload.target, digest=digest), b"defg", fields)
        assert response.status == expected
        if expected != 201:
            check_where(response, upload, 3)
            assert check_usable(pusher, upload, b"defg") == 3
            response = upload.put(digest)
        check_created(response, digest)


def test_whole_body_with_put(pusher):
    """As containerd pushes."""
    data = noise(200000)
    upload = pusher.begin(REPOSITORY)
    check_created(upload.put(digest_of(data), data), digest_of(data))
    upload = pusher.begin(REPOSITORY)
    with pusher.connect() as client:
        client.request(with_query(upload.target, digest=digest_of(data)), "PUT", {"Transfer-Encoding": "chunked"})
        client.send(chunked(data))
        check_created(client.read_response(), digest_of(data))


def test_empty_blob(pusher):
    upload = pusher.begin(REPOSITORY)
    check_created(upload.put(EMPTY), EMPTY)
    upload = pusher.begin(REPOSITORY)
    assert upload.patch(b"").status == 202
    check_created(upload.put(EMPTY), EMPTY)
    check_content(pusher, b"")


def test_forms_of_the_digest_parameter(pusher):
    """Escaped or not, and behind what a client finds in a Location."""
    digest = digest_of(b"abc")
    for query in ("?digest=" + digest, "?digest=" + digest.replace(":", "%3A"), "?_state=x%2Fy&digest=" + digest,
                  "?a&&b=&digest=%s&z" % digest):
        upload = pusher.begin(REPOSITORY)
        assert pusher.ask("PATCH", upload.target + "?_state=1", b"abc").status == 202
        check_created(pusher.ask("PUT", upload.target + query, b""), digest)


def test_digest_missing_or_invalid(pusher):
    upload = pusher.begin(REPOSITORY)
    upload.patch(b"abc")
    for query in ("", "?digest", "?digest=", "?digest=sha256:abc", "?digest=md5:" + "0" * 32, "?digest=sha256:" + "A" * 64,
                  "?Digest=" + digest_of(b"abc"), "?digest=%zz", "?digest=" + "x" * 900):
        check_error(pusher.ask("PUT", upload.target + query, b"junk"), 400, "DIGEST_INVALID")
        assert upload.status().status == 204 and upload.size == 3, "the upload stays, the body is not taken"
    check_created(upload.put(digest_of(b"abc")), digest_of(b"abc"))


def test_wrong_digest_ends_the_upload(registry, pusher):
    upload = pusher.begin(REPOSITORY)
    upload.patch(b"abc")
    check_error(upload.put(digest_of(b"other")), 400, "DIGEST_INVALID")
    assert upload.is_gone()
    check_error(upload.put(digest_of(b"abc")), 404, "BLOB_UPLOAD_UNKNOWN")
    assert pusher.ask("HEAD", blob_target(digest_of(b"abc"))).status == 404


def test_put_twice(pusher):
    """The second is told that there is no such upload; what the first made stays."""
    upload = pusher.begin(REPOSITORY)
    upload.patch(b"abc")
    check_created(upload.put(digest_of(b"abc")), digest_of(b"abc"))
    check_error(upload.put(digest_of(b"abc")), 404, "BLOB_UPLOAD_UNKNOWN")
    check_error(pusher.ask("PATCH", upload.target, b"abc"), 404, "BLOB_UPLOAD_UNKNOWN")
    check_content(pusher, b"abc")


def test_same_blob_again(pusher):
    data = noise(5000)
    for repository in (REPOSITORY, REPOSITORY, "other"):
        upload = pusher.begin(repository)
        upload.patch(data)
        check_created(upload.put(digest_of(data)), digest_of(data), repository)
        check_content(pusher, data, repository)


def test_put_and_put_at_once(pusher):
    """Two requests finish one upload: one does, the other is told busy or gone, and neither hangs."""
    for n in range(20):
        upload = pusher.begin(REPOSITORY)
        data = b"%d" % n + noise(20000)
        upload.patch(data)
        answers = []
        threads = [threading.Thread(target=lambda: answers.append(upload.put(digest_of(data)))) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(answer.status for answer in answers) in ([201, 404], [201, 409])
        check_content(pusher, data)


# --- ranges that do not fit ----------------------------------------------------------------------

@pytest.mark.parametrize("content_range", ["3-5", "5-9", "11-15", "0-4", "100-104"])
def test_out_of_order_or_overlapping(pusher, content_range):
    """Ten bytes are there."""
    upload = pusher.begin(REPOSITORY)
    upload.patch(b"0123456789", "0-9")
    first, last = map(int, content_range.split("-"))
    response = pusher.ask("PATCH", upload.target, b"x" * (last - first + 1), [("Content-Range", content_range)])
    check_where(check_error(response, 416, "BLOB_UPLOAD_INVALID"), upload, 10)
    assert check_usable(pusher, upload, b"ab") == 10
    check_created(upload.put(digest_of(b"0123456789ab")), digest_of(b"0123456789ab"))


def test_first_chunk_out_of_order(pusher):
    upload = pusher.begin(REPOSITORY)
    response = pusher.ask("PATCH", upload.target, b"x" * 5, [("Content-Range", "5-9")])
    check_where(check_error(response, 416, "BLOB_UPLOAD_INVALID"), upload, 0)
    assert check_usable(pusher, upload) == 0


@pytest.mark.parametrize("content_range", [
    "", "x", "0", "0-", "-4", "4-0", "0--1", "bytes */5", "0-4,5-9", "lines 0-4", "0-99999999999999999999", "0-4/3"])
def test_malformed_range(pusher, content_range):
    upload = pusher.begin(REPOSITORY)
    response = pusher.ask("PATCH", upload.target, b"x" * 5, [("Content-Range", content_range)])
    check_where(check_error(response, 400, "BLOB_UPLOAD_INVALID"), upload, 0)
    assert check_usable(pusher, upload) == 0


def test_length_that_is_not_the_range(pusher):
    upload = pusher.begin(REPOSITORY)
    for content_range, data in (("0-4", b"1234"), ("0-4", b"123456"), ("0-4", b"")):
        response = pusher.ask("PATCH", upload.target, data, [("Content-Range", content_range)])
        check_where(check_error(response, 400, "SIZE_INVALID"), upload, 0)
    with pusher.connect() as client:
        client.request(upload.target, "PATCH", {"Content-Range": "0-4"})
        check_error(client.read_response(), 400, "SIZE_INVALID")
    assert check_usable(pusher, upload) == 0


def test_chunked_body_that_is_not_the_range(pusher):
    """Its length is known in the end; what came stays, up to the range's."""
    for data, kept in ((b"1234", {4}), (b"123456", {0, 5}), (b"12345", {5})):
        upload = pusher.begin(REPOSITORY)
        with pusher.connect() as client:
            client.request(upload.target, "PATCH", {"Content-Range": "0-4", "Transfer-Encoding": "chunked"})
            client.send(chunked(data, 1))
            response = client.read_response()
        if len(data) == 5:
            assert response.status == 202
        else:
            check_error(response, 400, "SIZE_INVALID")
        assert check_usable(pusher, upload) in kept


# --- who else -------------------------------------------------------------------------------------

def begin_body(upload, length, data=b"", method="PATCH", fields=(), query=""):
    client = upload.pusher.connect()
    client.request(upload.target + query, method, [("Content-Length", str(length)), *fields])
    client.send(data)
    return client


def wait_size(upload, size):
    wait_until(lambda: upload.status().status == 204 and upload.size == size, "%d bytes are there" % size)


def test_two_at_once(pusher):
    upload = pusher.begin(REPOSITORY)
    with begin_body(upload, 10, b"01234") as first:
        wait_size(upload, 5)
        for method, query in (("PATCH", ""), ("PUT", "?digest=" + EMPTY), ("DELETE", "")):
            response = check_error(pusher.ask(method, upload.target + query, b"x"), 409, "BLOB_UPLOAD_INVALID")
            assert int(response["retry-after"]) >= 1
        check_where(upload.status(), upload, 5)
        first.send(b"56789")
        check_where(first.read_response(), upload, 10)
    check_created(upload.put(digest_of(b"0123456789")), digest_of(b"0123456789"))


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_status(pusher, method):
    upload = pusher.begin(REPOSITORY)
    for data, size in ((b"", 0), (b"a", 1), (b"bc", 3)):
        upload.patch(data)
        response = pusher.ask(method, upload.target)
        assert response.status == 204 and not response.all("content-length")
        check_where(response, upload, size)


def test_cancel(registry, pusher):
    upload = pusher.begin(REPOSITORY)
    upload.patch(b"abc")
    response = upload.cancel()
    assert response.status == 204 and response["docker-upload-uuid"] == upload.id
    for method in ("GET", "HEAD", "PATCH", "DELETE"):
        assert pusher.ask(method, upload.target).status == 404
    check_error(upload.put(digest_of(b"abc")), 404, "BLOB_UPLOAD_UNKNOWN")
    check_error(upload.cancel(), 404, "BLOB_UPLOAD_UNKNOWN")


def test_unknown_uploads(registry, pusher):
    """And ids that would be paths."""
    known = pusher.begin(REPOSITORY)
    known.patch(b"abc")
    ids = [ABSENT_ID, ABSENT_ID[:-1], ABSENT_ID.upper(), ABSENT_ID + "0", known.id.upper(), "x", "-", ".", "..", "%2e%2e", "..%00",
           "_uploads", "x" * 300, "%00", "%2e", known.id + "%00", known.id + ".", known.id + "%20", "data", "%"]
    for bad in ids:
        for method, query in (("GET", ""), ("HEAD", ""), ("PATCH", ""), ("PUT", "?digest=" + EMPTY), ("DELETE", "")):
            response = pusher.ask(method, UPLOADS + bad + query, b"x" if method in ("PATCH", "PUT") else None)
            assert response.status in (404, 400), (bad, method, response.head)
            if method != "HEAD" and "%" not in bad:
                check_error(response, 404, "BLOB_UPLOAD_UNKNOWN")
    for target in (UPLOADS + known.id + "/", UPLOADS + "../uploads/" + known.id, UPLOADS + known.id + "/data",
                   UPLOADS + "..%2f_uploads%2f" + known.id, "/v2/other/blobs/uploads/" + known.id):
        for method in ("GET", "PATCH", "DELETE"):
            assert pusher.ask(method, target, b"x" if method == "PATCH" else None).status in (400, 404, 405), target
    assert known.status().status == 204 and known.size == 3
    assert pusher.ask("GET", UPLOADS + known.id.replace("-", "%2D")).status == 204, "an escape is the character"


@pytest.mark.parametrize("name", ["../etc", "a/../b", "a//b", "A", "a/", "/a", "a/.", "_uploads", "%2e%2e", "a%2fb", "a%00", "a" * 300,
                                  "a/_layers", "a\x7f"])
def test_names_that_are_none(registry, pusher, name):
    response = pusher.ask("POST", "/v2/%s/blobs/uploads/" % name, b"")
    assert response.status in (400, 404), response.head
    wait_until(lambda: not registry.partial_files(), lambda: "left behind: %r" % registry.partial_files())


def test_other_methods(pusher):
    upload = pusher.begin(REPOSITORY)
    for target, methods in ((UPLOADS, ("GET", "HEAD", "PUT", "PATCH", "DELETE")), (upload.target, ("POST", "OPTIONS"))):
        for method in methods:
            response = pusher.ask(method, target, b"x" if method in ("PUT", "PATCH", "POST") else None)
            assert response.status == 405 and response["allow"]
    assert upload.status().status == 204


# --- mounts ---------------------------------------------------------------------------------------

def test_mount(registry, pusher):
    data = noise(5000)
    pusher.blob("origin/app", data)
    digest = digest_of(data)
    assert pusher.ask("HEAD", blob_target(digest)).status == 404
    check_created(pusher.mount(REPOSITORY, digest, "origin/app"), digest)
    check_content(pusher, data)
    check_created(pusher.mount(REPOSITORY, digest, "origin/app"), digest)
    check_created(pusher.mount(REPOSITORY, digest, REPOSITORY), digest)
    registry.restart(kill=True)
    check_content(Pusher(registry.address), data)


def test_anonymous_mount(pusher):
    data = noise(5000)
    pusher.blob("origin/app", data)
    check_created(pusher.mount(REPOSITORY, digest_of(data)), digest_of(data))
    check_content(pusher, data)


def test_mount_of_what_is_not_there(pusher):
    """An upload begins instead."""
    data = noise(5000)
    digest = digest_of(data)
    pusher.blob("origin/app", data)
    for query in ("?mount=%s&from=empty/app" % digest, "?mount=%s&from=origin/app" % EMPTY, "?mount=" + EMPTY,
                  "?mount=%s&from=" % digest, "?mount=%s&from=../origin/app" % digest, "?mount=%s&from=Origin" % digest,
                  "?mount=%s&from=%s" % (digest, "x" * 400), "?mount=%s&from=%%00" % digest, "?mount=nonsense&from=origin/app",
                  "?mount=&from=origin/app", "?mount=md5:" + "0" * 32):
        response = pusher.ask("POST", UPLOADS + query, b"")
        assert response.status == 202, query
        upload = Upload(pusher, response, REPOSITORY)
        assert upload.size == 0 and upload.cancel().status == 204
    assert pusher.ask("HEAD", blob_target(digest)).status == 404, "nothing of it was linked"


def test_mount_that_falls_back_to_the_body(pusher):
    """With digest= the body is the blob, when there is nothing to mount."""
    data = noise(3000)
    digest = digest_of(data)
    target = with_query(UPLOADS, mount=digest, digest=digest, **{"from": "origin/app"})
    check_created(pusher.ask("POST", target, data), digest)
    check_content(pusher, data)


def test_mount_from_a_mirrored_repository(make_mirror, fake):
    body = Noise(50000)
    fake.add_blob(body)
    mirror = make_mirror(fake)
    pusher = Pusher(mirror.address)
    assert pusher.mount(REPOSITORY, body.digest, "library/test").status == 202, "not here yet"
    assert mirror.blob(body.digest).status == 200
    mirror.wait_kept(body.digest)
    wait_until(lambda: pusher.mount(REPOSITORY, body.digest, "library/test").status == 201, "it is linked there")
    fake.refuse()
    check_content(pusher, body.read(0, body.size))


# --- the connection -------------------------------------------------------------------------------

def test_everything_on_one_connection(pusher):
    """Errors included: a small body that nobody wants is skipped."""
    with pusher.connect() as client:
        upload = pusher.begin(REPOSITORY, client)
        for ask, expected in [
                (lambda: upload.patch(b"abc", "0-2", client), 202),
                (lambda: pusher.ask("PATCH", upload.target, b"abc", [("Content-Range", "0-2")], client), 416),
                (lambda: pusher.ask("PATCH", upload.target, b"abc", [("Content-Range", "x")], client), 400),
                (lambda: pusher.ask("PATCH", upload.target, b"abc", [("Content-Range", "3-9")], client), 400),
                (lambda: pusher.ask("PATCH", UPLOADS + ABSENT_ID, b"abc", [], client), 404),
                (lambda: pusher.ask("PATCH", UPLOADS + "..", b"abc", [], client), 404),
                (lambda: pusher.ask("PUT", upload.target, b"abc", [], client), 400),
                (lambda: pusher.ask("POST", UPLOADS + "?digest=x", b"abc", [], client), 400),
                (lambda: pusher.ask("GET", upload.target, None, [], client), 204),
                (lambda: pusher.ask("POST", with_query(UPLOADS, digest=EMPTY), b"abc", [], client), 400),
                (lambda: upload.put(digest_of(b"abcdef"), b"def", client), 201),
                (lambda: upload.put(digest_of(b"abcdef"), b"def", client), 404),
                (lambda: pusher.ask("GET", blob_target(digest_of(b"abcdef")), None, [], client), 200)]:
            response = ask()
            assert response.status == expected, (response.head, response.body)
            assert not response.closes


def test_chunked_errors_on_one_connection(pusher):
    with pusher.connect() as client:
        upload = pusher.begin(REPOSITORY, client)
        for fields, expected in (({"Content-Range": "5-7"}, 416), ({"Content-Range": "x"}, 400), ({}, 202)):
            client.request(upload.target, "PATCH", {"Transfer-Encoding": "chunked", **fields})
            client.send(chunked(b"abc"))
            response = client.read_response()
            assert response.status == expected and not response.closes
        check_created(upload.put(digest_of(b"abc"), b"", client), digest_of(b"abc"))


def test_pipelined(pusher):
    """A whole push in one go, as far as the id is known; answers come in order."""
    upload = pusher.begin(REPOSITORY)
    request = "%s %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s"
    with pusher.connect() as client:
        client.send(request % ("PATCH", upload.target, 3, "abc") + request % ("PATCH", upload.target, 3, "def") +
                    "PATCH %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nghi\r\n0\r\n\r\n" % upload.target +
                    "GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % upload.target +
                    request % ("PUT", with_query(upload.target, digest=digest_of(b"abcdefghijkl")), 3, "jkl") +
                    "GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % blob_target(digest_of(b"abcdefghijkl")))
        for status in (202, 202, 202, 204, 201, 200):
            response = client.read_response()
            assert response.status == status, (response.head, response.body)
        assert response.body == b"abcdefghijkl"


@pytest.mark.parametrize("n_behind", [20000, 60000, 1 << 20])
@pytest.mark.parametrize("status", [202, 416])
def test_much_behind_a_chunked_body(pusher, n_behind, status):
    """A little is kept for later. Much may cost the connection, but only behind the answer."""
    upload, behind = pusher.begin(REPOSITORY), noise(n_behind)
    fields = {"Content-Range": "9-11"} if status == 416 else {}
    with pusher.connect() as client:
        client.request(upload.target, "PATCH", {"Transfer-Encoding": "chunked", **fields})
        client.send(b"3\r\nab")
        try:
            client.send(b"c\r\n0\r\n\r\n")
            client.request(with_query(UPLOADS, digest=digest_of(behind)), "POST", {"Content-Length": str(n_behind)})
            client.send(behind)
        except (BrokenPipeError, ConnectionResetError):
            assert n_behind > 1 << 16
        assert client.read_response().status == status
        if n_behind < 1 << 16 or not client.has_ended(PATIENCE_S):
            check_created(client.read_response(), digest_of(behind))


def test_large_unwanted_body(pusher):
    """Too much to skip: the answer arrives, and the connection ends in order."""
    upload = pusher.begin(REPOSITORY)
    for target, fields, status in ((upload.target, [("Content-Range", "5-67108868")], 416), (UPLOADS + ABSENT_ID, [], 404)):
        with pusher.connect() as client:
            client.request(target, "PATCH", [("Content-Length", str(1 << 26)), *fields])
            client.send(b"x" * 100000)
            response = client.read_response()
            assert response.status == status and response.closes
            client.half_close()
            assert client.is_closed()
    assert check_usable(pusher, upload) == 0


def test_continue_is_only_said_to_wanted_bodies(pusher):
    upload = pusher.begin(REPOSITORY)
    expect = ("Expect", "100-continue")
    with pusher.connect() as client:
        client.request(upload.target, "PATCH", [expect, ("Content-Length", "3")])
        assert client.read_head().status == 100
        client.send(b"abc")
        assert client.read_response().status == 202
    for target, fields, status in ((upload.target, [("Content-Range", "9-11")], 416), (UPLOADS + ABSENT_ID, [], 404),
                                   (UPLOADS + "?digest=x", [], 400)):
        with pusher.connect() as client:
            method = "POST" if status == 400 else "PATCH"
            client.request(target, method, [expect, ("Content-Length", "3"), *fields])
            assert client.read_response().status == status, "and no 100 before it"


@pytest.mark.parametrize("ending", ["close", "reset", "half_close"])
@pytest.mark.parametrize("is_chunked", [False, True])
def test_gone_in_the_middle(registry, pusher, ending, is_chunked):
    """What came stays and is told; the next request goes on."""
    data = noise(300000)
    before = registry.fds()
    upload = pusher.begin(REPOSITORY)
    if is_chunked:
        client = pusher.connect()
        client.request(upload.target, "PATCH", {"Transfer-Encoding": "chunked"})
        client.send(b"%x\r\n%s" % (len(data), data[:200000]))
    else:
        client = begin_body(upload, len(data), data[:200000])
    wait_size(upload, 200000)
    getattr(client, ending)()
    wait_until(lambda: pusher.ask("PATCH", upload.target, b"", []).status == 202, "it is given back")
    client.close()
    check_where(upload.status(), upload, 200000)
    assert upload.patch(data[200000:], "200000-299999").status == 202
    check_created(upload.put(digest_of(data)), digest_of(data))
    check_content(pusher, data)
    registry.check_no_leak(before)


def test_gone_before_the_end_of_a_single_post(registry, pusher):
    data = noise(300000)
    client = pusher.connect()
    client.request(with_query(UPLOADS, digest=digest_of(data)), "POST", {"Content-Length": str(len(data))})
    client.send(data[:-1])
    wait_until(lambda: registry.partial_files(), "it is on its way")
    client.close()
    wait_until(lambda: not registry.partial_files(), "nothing is left behind")
    assert pusher.ask("HEAD", blob_target(digest_of(data))).status == 404


def test_broken_chunks(pusher):
    """400; what came before is kept, and the connection ends."""
    upload = pusher.begin(REPOSITORY)
    with pusher.connect() as client:
        client.request(upload.target, "PATCH", {"Transfer-Encoding": "chunked"})
        client.send(b"3\r\nabc\r\n")
        wait_size(upload, 3)
        client.send(b"zz\r\n")
        response = client.read_response()
        check_where(check_error(response, 400, "BLOB_UPLOAD_INVALID"), upload, 3)
        assert response.closes
    assert check_usable(pusher, upload, b"def") == 3
    check_created(upload.put(digest_of(b"abcdef")), digest_of(b"abcdef"))


def test_body_timeout(make_mirror):
    pusher = Pusher(make_mirror(HTTP_BODY_TIMEOUT="2s").address)
    upload = pusher.begin(REPOSITORY)
    with begin_body(upload, 10, b"abc") as client:
        response = client.read_response()
        check_where(check_error(response, 408, "BLOB_UPLOAD_INVALID"), upload, 3)
        assert response.closes
    assert check_usable(pusher, upload) == 3


def test_restart_between_requests(registry, pusher):
    data = noise(400000)
    upload = pusher.begin(REPOSITORY)
    upload.patch(data[:150000])
    registry.restart(kill=True)
    upload.pusher = pusher = Pusher(registry.address)
    check_where(upload.status(), upload, 150000)
    assert upload.patch(data[150000:], "150000-399999").status == 202
    registry.restart()
    upload.pusher = pusher = Pusher(registry.address)
    check_created(upload.put(digest_of(data)), digest_of(data))
    check_content(pusher, data)


def test_stop_lets_bodies_finish(registry, pusher):
    data = noise(300000)
    upload = pusher.begin(REPOSITORY)
    with begin_body(upload, len(data), data[:1000], "PUT", query="?digest=" + digest_of(data)) as client:
        wait_size(upload, 1000)
        stopping = threading.Thread(target=registry.stop)
        stopping.start()
        registry.wait_for_log("stopping: ")
        client.send(data[1000:])
        response = client.read_response()
        check_created(response, digest_of(data))
        assert response.closes
        stopping.join()
    registry.start()
    check_content(Pusher(registry.address), data)


# --- bounds -----------------------------------------------------------------------------------------

def test_blob_too_large(make_mirror):
    registry = make_mirror(PUSH_BLOB_MAX_BYTES="1000")
    pusher = Pusher(registry.address)
    upload = pusher.begin(REPOSITORY)
    assert upload.patch(b"x" * 600).status == 202
    for length in (401, 1 << 40):
        with begin_body(upload, length, fields=[("Expect", "100-continue")]) as client:
            check_where(check_error(client.read_response(), 413, "SIZE_INVALID"), upload, 600)
    with begin_body(upload, 5, fields=[("Content-Range", "600-1099"), ("Transfer-Encoding", "chunked")][:1]) as client:
        assert client.read_response().status == 400, "the length is wrong in the first place"
    with pusher.connect() as client:
        client.request(upload.target, "PATCH", {"Transfer-Encoding": "chunked"})
        client.send(chunked(b"x" * 401, 1))
        check_error(client.read_response(), 413, "SIZE_INVALID")
    with pusher.connect() as client:
        client.request(with_query(UPLOADS, digest=EMPTY), "POST", {"Content-Length": "1001", "Expect": "100-continue"})
        check_error(client.read_response(), 413, "SIZE_INVALID")
    assert upload.status().status == 204
    left = b"x" * (1000 - upload.size)
    check_created(upload.put(digest_of(b"x" * 1000), left), digest_of(b"x" * 1000))
    assert pusher.single(REPOSITORY, b"y" * 1000).status == 201


# --- what is told ---------------------------------------------------------------------------------

def test_access_line_and_metrics(make_mirror, tmp_path):
    registry = make_mirror(REGISTRY_ACCESS_LOG_FILE=str(tmp_path / "access"), REGISTRY_ACCESS_LOG_FORMAT="json")
    pusher = Pusher(registry.address)
    data = noise(1234)
    upload = pusher.begin(REPOSITORY)
    upload.patch(data)
    upload.put(digest_of(data))
    pusher.mount("other", digest_of(data), REPOSITORY)
    assert registry.metric("mirrord_push_mounts_total") == 1
    assert registry.metric("mirrord_upload_bytes_total") == len(data)
    registry.stop()
    lines = [json.loads(line) for line in (tmp_path / "access").read_text().splitlines()]
    pushes = [line for line in lines if "/blobs/uploads/" in json.dumps(line)]
    assert len(pushes) == 4
    assert all('"push"' in json.dumps(line) for line in pushes), pushes
    assert not any("digest=" in json.dumps(line) for line in pushes), "no queries in the log"
