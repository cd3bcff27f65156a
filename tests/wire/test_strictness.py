"""What a request may not look like, and what becomes of the connection: one test per row of the strictness list
in docs/design/strict-http.md, each with a request behind the bad one that must never be answered."""
import socket
import threading
import time

import pytest

from lib.faults import stall
from lib.images import Noise, simple
from lib.mirror import blob_path, manifest_path
from lib.waiting import PATIENCE_S

HEAD = b"GET /v2/ HTTP/1.1\r\nHost: mirror.test\r\n"
SMUGGLED = b"GET /v2/smuggled/tags/list HTTP/1.1\r\nHost: mirror.test\r\n\r\n"


def exchange(mirror, data):
    """(responses, ended in order): everything that comes back until the peer ends or falls silent."""
    responses = []
    with mirror.client() as client:
        client.send(data)
        while True:
            responses.append(client.read_response())
            if responses[-1].closes or client.has_ended(0.5):
                return responses, client.is_closed()
            if client.is_quiet(0):
                return responses, False


def check_refused(mirror, data, status=400):
    responses, is_closed = exchange(mirror, data)
    assert [response.status for response in responses] == [status]
    assert responses[0].closes and is_closed
    assert responses[0]["content-type"].startswith("application/json") and responses[0].json()["errors"]


def check_accepted(mirror, data, n=1):
    """n answers, and the connection stays usable."""
    with mirror.client() as client:
        client.send(data)
        for _ in range(n):
            assert client.read_response().status == 200
        assert client.get("/v2/").status == 200


# --- framing -------------------------------------------------------------------------------------

@pytest.mark.parametrize("fields", [
    b"Content-Length: 5\r\nContent-Length: 6\r\n",
    b"Content-Length: 5\r\nContent-Length: 5\r\n",
    b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    b"Content-Length: +5\r\n",
    b"Content-Length: -5\r\n",
    b"Content-Length: 5,5\r\n",
    b"Content-Length: 5 5\r\n",
    b"Content-Length: 0x5\r\n",
    b"Content-Length: 99999999999999999999\r\n",
    b"Content-Length: 18446744073709551616\r\n",
    b"Content-Length:\r\n",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: chunked, chunked\r\n",
    b"Transfer-Encoding: identity\r\n",
    b"Transfer-Encoding: xchunked\r\n",
    b"Transfer-Encoding: \x0bchunked\r\n",
], ids=repr)
def test_ambiguous_length_is_refused(mirror, fields):
    with mirror.client() as client:
        client.send(HEAD + fields + b"\r\nhello" + SMUGGLED)
        response = client.read_response()
        # A coding we do not know may also be told as 501 (RFC 9112 section 6.1).
        assert response.status == 400 or (b"ncoding" in fields and response.status == 501)
        assert response.closes and client.is_closed()


def chunked(data):
    return HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + data


@pytest.mark.parametrize("body", [
    b"+5\r\nhello\r\n0\r\n\r\n",
    b"0x5\r\nhello\r\n0\r\n\r\n",
    b"5 junk\r\nhello\r\n0\r\n\r\n",
    b"\r\nhello\r\n0\r\n\r\n",
    b"5\nhello\r\n0\r\n\r\n",
    b"5\r\nhello0\r\n\r\n",
    b"5\r\nhelloXX0\r\n\r\n",
    b"5\r\nhello\n0\r\n\r\n",
    b"11111111111111111\r\nhello\r\n0\r\n\r\n",
    b"-1\r\nhello\r\n0\r\n\r\n",
], ids=repr)
def test_broken_chunk_is_refused(mirror, body):
    check_refused(mirror, chunked(body) + SMUGGLED)
    check_refused(mirror, chunked(body).replace(b"GET /v2/", b"POST /v2/a/blobs/uploads/") + SMUGGLED)


def test_chunk_that_breaks_later_ends_the_connection(mirror):
    """The answer is out before the body is; what follows a broken chunk is never taken for a request."""
    with mirror.client() as client:
        client.send(chunked(b"5\r\nhel"))
        assert client.read_response().status == 200
        client.send(b"loXX0\r\n\r\n" + SMUGGLED)
        assert client.read_to_end() == b""


def test_chunk_extension_is_ignored(mirror):
    check_accepted(mirror, chunked(b'5;ext=1\r\nhello\r\n3;a="b;c"\r\nyou\r\n0\r\n\r\n') + HEAD + b"\r\n", 2)


def test_chunk_of_4_gib_is_not_buffered(mirror):
    """A body nobody asked for is discarded within bounds; then the connection ends."""
    before = mirror.rss_bytes()
    with mirror.client() as client:
        client.send(chunked(b"100000000\r\n"))
        sent = 0
        try:
            while sent < 1 << 30:
                client.send(bytes(1 << 20))
                sent += 1 << 20
        except OSError:
            pass
        assert sent < 1 << 30, "a body that nobody wants was read to its end"
    assert mirror.rss_bytes() - before < 16 << 20
    assert mirror.get("/v2/").status == 200


# --- lines and fields ----------------------------------------------------------------------------

@pytest.mark.parametrize("data", [
    b"GET /v2/ HTTP/1.1\nHost: mirror.test\n\n",
    b"GET /v2/ HTTP/1.1\r\nHost: mirror.test\n\r\n",
    b"GET /v2/ HTTP/1.1\nHost: mirror.test\r\n\r\n",
    b"GET /v2/ HTTP/1.1\r\nHost: mirror.test\r\nA: b\rc\r\n\r\n",
    HEAD + b"A: b\0c\r\n\r\n",
    HEAD + b"A: b\x01c\r\n\r\n",
    HEAD + b"A: b\x7fc\r\n\r\n",
    HEAD + b"A : b\r\n\r\n",
    HEAD + b"A\t: b\r\n\r\n",
    HEAD + b": b\r\n\r\n",
    HEAD + b"A b\r\n\r\n",
    HEAD + b"A(: b\r\n\r\n",
    HEAD + b"A: b\r\n folded\r\n\r\n",
    HEAD + b"A: b\r\n\tfolded\r\n\r\n",
    b"GET /v2/ HTTP/1.1\r\n\r\n",
    b"GET /v2/ HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
    b"GET /v2/ HTTP/1.1\r\nHost: a b\r\n\r\n",
    b"GET /v2/ HTTP/1.1\r\n Host: a\r\n\r\n",
    b"GET  /v2/ HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /v2/  HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /v2/ HTTP/1.1 \r\nHost: a\r\n\r\n",
    b"GET /v2/ HTTP/1.1x\r\nHost: a\r\n\r\n",
    b"GET /v2/ http/1.1\r\nHost: a\r\n\r\n",
    b"GET /v2/\r\nHost: a\r\n\r\n",
    b"GET v2/ HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /v2/\x01 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"G(T /v2/ HTTP/1.1\r\nHost: a\r\n\r\n",
    b"\r\n\r\nGET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n",
], ids=repr)
def test_malformed_head_is_refused(mirror, data):
    check_refused(mirror, data + SMUGGLED)


def test_other_versions_are_refused(mirror):
    for version in (b"HTTP/2.0", b"HTTP/0.9", b"HTTP/1.2"):
        with mirror.client() as client:
            client.send(b"GET /v2/ %s\r\nHost: a\r\n\r\n" % version)
            response = client.read_response()
            assert response.status in ((200,) if version == b"HTTP/1.2" else (400, 505)), version


def test_http_1_0(mirror):
    """No Host needed, closes unless asked to stay."""
    with mirror.client() as client:
        client.send(b"GET /v2/ HTTP/1.0\r\n\r\n")
        assert client.read_response().status == 200
        assert client.is_closed()


def test_one_leading_empty_line_is_tolerated(mirror):
    check_accepted(mirror, b"\r\n" + HEAD + b"\r\n")


def test_absolute_form(mirror):
    check_accepted(mirror, b"GET http://other.test/v2/ HTTP/1.1\r\nHost: other.test\r\n\r\n")


@pytest.mark.parametrize("value, stays", [
    ("keep-alive, close", False), ("close", False), ("Close", False), ("foo,close,bar", False),
    ("keep-alive", True), ("foo", True), ("closed", True)])
def test_connection_is_a_list_of_tokens(mirror, value, stays):
    with mirror.client() as client:
        response = client.get("/v2/", fields={"Connection": value})
        assert response.status == 200
        assert response.closes == (not stays)
        if stays:
            assert client.get("/v2/").status == 200
        else:
            assert client.is_closed()


def test_long_target_and_long_head(mirror):
    check_refused(mirror, b"GET /v2/" + b"a" * 70000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414)
    check_refused(mirror, HEAD + b"A: " + b"a" * 70000 + b"\r\n\r\n", 431)
    check_refused(mirror, HEAD + b"".join(b"A%d: b\r\n" % n for n in range(200)) + b"\r\n", 431)


def test_head_without_an_end_is_refused(mirror):
    """The limit holds before the end of the head has come."""
    with mirror.client() as client:
        client.send(HEAD + b"A: " + b"a" * 40000)
        response = client.read_response()
        assert response.status == 431 and response.closes


def test_unknown_method(mirror):
    for method in ("BREW", "TRACE", "CONNECT", "get"):
        with mirror.client() as client:
            client.send("%s /v2/ HTTP/1.1\r\nHost: a\r\n\r\n" % method)
            response = client.read_response()
            assert response.status in (400, 501) or (response.status == 405 and response["allow"]), method


# --- HEAD ----------------------------------------------------------------------------------------

def test_head_answers_with_the_head_of_get(mirror, fake):
    image = simple()
    fake.add_image(image, "library/test", "latest")
    digest = image.layers[0]["digest"]
    own = ("date", "age", "cache-status", "connection")
    for target, fields in [("/v2/", {}), (manifest_path("latest"), {}), (manifest_path(image.digest), {}),
                           (blob_path(digest), {}), (manifest_path("absent"), {}), ("/v2/_catalog", {}), ("/", {})]:
        got = mirror.get(target, fields=fields)
        with mirror.client() as client:
            asked = client.get(target, "HEAD", fields)
            assert client.is_quiet(), "a body followed the answer to HEAD " + target
            assert client.get("/v2/").status == 200
        assert asked.status == got.status
        assert [field for field in asked.fields if field[0] not in own] == [
            field for field in got.fields if field[0] not in own], target


def test_head_with_a_body(mirror):
    """The body is discarded, or the connection ends; it is never the next request."""
    body = SMUGGLED
    with mirror.client() as client:
        client.send(b"HEAD /v2/ HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body + HEAD + b"\r\n")
        first = client.read_response("HEAD")
        assert first.status == 200
        if first.closes:
            assert client.is_closed()
        else:
            response = client.read_response()
            assert response.status == 200 and response.body == b"{}"
            assert client.is_quiet()


# --- Expect, early answers, pipelines ------------------------------------------------------------

def test_expect_and_refusal(mirror):
    """The final status comes at once, without 100 Continue."""
    with mirror.client() as client:
        client.request("/v2/library/test/tags/list", "PUT",
                       {"Expect": "100-continue", "Content-Length": "1000000"})
        response = client.read_response()
        assert response.status == 405
        assert "GET" in response["allow"] and response.error_code() == "UNSUPPORTED"


def test_unknown_expectation(mirror):
    check_refused(mirror, HEAD + b"Expect: a-miracle\r\n\r\n", 417)


def test_early_answer_reaches_a_client_that_is_still_sending(mirror):
    """Lingering close: reading goes on for a while, so that no reset destroys the answer on its way."""
    with mirror.client() as client:
        client.request("/v2/library/test/tags/list", "POST", {"Content-Length": str(1 << 30)})
        stopped = []

        def send():
            try:
                while True:
                    client.socket.sendall(bytes(1 << 16))
            except OSError as error:
                stopped.append(error)
        sender = threading.Thread(target=send)
        sender.start()
        try:
            response = client.read_response()
            assert response.status == 405 and response.closes
            sender.join(PATIENCE_S)
            assert stopped, "the mirror read a body that it had refused"
        finally:
            client.close()
            sender.join()


def test_small_unread_body_keeps_the_connection(mirror):
    with mirror.client() as client:
        client.request("/v2/library/test/tags/list", "POST", {"Content-Length": "1000"})
        client.send(b"G" * 1000)
        assert client.read_response().status == 405
        assert client.get("/v2/").status == 200


def test_pipelined_requests_are_answered_in_order(mirror, fake):
    body = Noise(3 << 20)
    digest = fake.add_blob(body)
    with mirror.client() as client:
        for _ in range(3):
            client.request(blob_path(digest))
            client.request("/v2/")
            client.request(blob_path(digest), "HEAD")
        for _ in range(3):
            assert client.read_response().body == body.read(0, body.size)
            assert client.read_response().body == b"{}"
            assert client.read_response("HEAD").length == body.size


def test_pipeline_behind_a_close(mirror):
    with mirror.client() as client:
        client.send(HEAD + b"Connection: close\r\n\r\n" + SMUGGLED)
        assert client.read_response().status == 200
        assert client.read_to_end() == b""


def test_head_in_pieces(mirror):
    """One byte per packet is slow, but it is a request."""
    with mirror.client() as client:
        for byte in HEAD + b"A: b\r\n\r\n":
            client.send(bytes([byte]))
        assert client.read_response().status == 200


def test_half_closed_client_gets_its_answer(mirror, fake):
    body = Noise(2 << 20)
    digest = fake.add_blob(body)
    with mirror.client() as client:
        client.request(blob_path(digest))
        client.half_close()
        assert client.read_response().body == body.read(0, body.size)
        assert client.is_closed()


def test_flood_during_a_response_is_not_read(mirror, fake):
    """While one answer is under way nothing more is read than the buffer of one head."""
    body = Noise(4 << 20)
    digest = fake.add_blob(body)
    release = threading.Event()
    fake.script("/blobs/", stall(1 << 20, release))
    with mirror.client() as client:
        client.request(blob_path(digest))
        response = client.read_head()
        before = mirror.rss_bytes()
        client.socket.settimeout(0.5)
        flood = SMUGGLED * 1000
        n_sent = 0
        with pytest.raises(socket.timeout):
            while n_sent < 256 << 20:
                n_sent += client.socket.send(flood)
        assert n_sent < 64 << 20
        assert mirror.rss_bytes() - before < 4 << 20
        release.set()
        client.socket.settimeout(PATIENCE_S)
        assert client.read_body(response.length) == body.read(0, body.size)


# --- deadlines -----------------------------------------------------------------------------------

def test_head_deadline(make_mirror):
    """It runs from the first byte, whatever drips in."""
    mirror = make_mirror(HTTP_HEAD_TIMEOUT="500ms")
    with mirror.client() as client:
        begin = time.monotonic()
        client.drip(HEAD + b"A: " + b"a" * 10000, 0.05)
        assert time.monotonic() - begin > 0.4
        answer = client.read_to_end()
        assert answer == b"" or answer.startswith(b"HTTP/1.1 408 ")


def test_idle_deadline(make_mirror):
    mirror = make_mirror(HTTP_KEEPALIVE_TIMEOUT="1s", HTTP_HEAD_TIMEOUT="2s")
    with mirror.client() as client, mirror.client() as silent:
        begin = time.monotonic()
        assert client.get("/v2/").status == 200
        assert client.is_closed() and client.buffer == b""
        assert time.monotonic() - begin > 0.8
        assert silent.is_closed(), "a client that never says anything stays for ever"


def test_body_deadline(make_mirror):
    """A body that is discarded must come too."""
    mirror = make_mirror(HTTP_BODY_TIMEOUT="300ms", HTTP_LINGER_TIMEOUT="300ms", HTTP_KEEPALIVE_TIMEOUT="300ms")
    with mirror.client() as client:
        client.request("/v2/library/test/tags/list", "POST", {"Content-Length": "1000"})
        client.send(b"x")
        assert client.read_response().status == 405
        assert client.is_closed()


def test_send_deadline(make_mirror, fake):
    """Who takes nothing for that long is let go, and others are not disturbed."""
    mirror = make_mirror(fake, HTTP_SEND_TIMEOUT="2s")
    body = Noise(32 << 20)
    digest = fake.add_blob(body)
    mirror.check_right(digest, body)
    before = mirror.fds()
    with mirror.client(receive_buffer=4096) as client:
        client.request(blob_path(digest))
        assert client.read_head().status == 200
        mirror.check_right(digest, body)
        mirror.check_no_leak(before)


def test_send_deadline_does_not_run_while_we_are_slow(make_mirror, fake):
    mirror = make_mirror(fake, HTTP_SEND_TIMEOUT="2s", HTTP_KEEPALIVE_TIMEOUT="2s", HTTP_BODY_TIMEOUT="2s")
    body = Noise(2 << 20)
    digest = fake.add_blob(body)
    release = threading.Event()
    fake.script("/blobs/", stall(1 << 20, release))
    with mirror.client() as client:
        client.request(blob_path(digest))
        response = client.read_head()
        part = client.read_body(1 << 19)
        threading.Timer(3, release.set).start()
        assert part + client.read_body(response.length - len(part)) == body.read(0, body.size)


def test_requests_per_connection(make_mirror):
    mirror = make_mirror(HTTP_REQUESTS_MAX=3)
    with mirror.client() as client:
        assert [client.get("/v2/").closes for _ in range(3)] == [False, False, True]
        assert client.is_closed()
