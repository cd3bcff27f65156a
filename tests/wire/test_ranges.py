"""Parts of a blob that is here (RFC 9110 section 14)."""
import re

import pytest

from lib.images import Noise
from lib.mirror import blob_path, check_bytes

SIZE = 300000


@pytest.fixture
def hot(mirror, fake):
    """(mirror, body, path): a blob that is complete and on disk."""
    body = Noise(SIZE)
    digest = fake.add_blob(body)
    mirror.check_right(digest, body)
    mirror.wait_settled(digest)
    return mirror, body, blob_path(digest)


def parts_of(response):
    """[(start, end, bytes)] of a multipart/byteranges body, taken apart strictly."""
    match = re.fullmatch(r'multipart/byteranges; ?boundary="?([A-Za-z0-9\'()+_,./=?-]{1,70})"?', response["content-type"])
    assert match, response["content-type"]
    boundary = b"--" + match[1].encode()
    body = response.body
    assert body.startswith((boundary, b"\r\n" + boundary)) and body.rstrip(b"\r\n").endswith(boundary + b"--")
    found = []
    for piece in (b"\r\n" + body.lstrip(b"\r\n")).split(b"\r\n" + boundary)[1:-1]:
        head, _, data = piece.partition(b"\r\n\r\n")
        span = re.search(rb"(?i)\r\ncontent-range: bytes (\d+)-(\d+)/(\d+)", head)
        assert span and re.search(rb"(?i)\r\ncontent-type: \S+", head)
        assert int(span[3]) == SIZE
        found.append((int(span[1]), int(span[2]) + 1, data))
    return found


@pytest.mark.parametrize("value, start, end", [
    ("bytes=0-0", 0, 1), ("bytes=0-1", 0, 2), ("bytes=100-199", 100, 200), ("bytes=100-", 100, SIZE),
    ("bytes=0-", 0, SIZE), ("bytes=-1", SIZE - 1, SIZE), ("bytes=-1000", SIZE - 1000, SIZE),
    ("bytes=-999999999", 0, SIZE), ("bytes=299999-", SIZE - 1, SIZE), ("bytes=299990-999999999", 299990, SIZE),
    ("BYTES=5-9", 5, 10), ("bytes= 5-9 ", 5, 10), ("bytes=5-99999999999999999", 5, SIZE), ("bytes=5-9,", 5, 10),
    ("bytes=5-9,900000-", 5, 10),
])
def test_one_range(hot, value, start, end):
    mirror, body, path = hot
    response = mirror.get(path, fields={"Range": value})
    assert response.status == 206
    assert response["content-range"] == "bytes %d-%d/%d" % (start, end - 1, SIZE)
    assert response.length == end - start
    check_bytes(response.body, body, start)
    assert response["docker-content-digest"] == body.digest


@pytest.mark.parametrize("value", [
    "bytes=", "bytes=a-b", "bytes=5", "bytes=-", "bytes=5-9;6", "bytes 5-9", "lines=1-2", "bytes=1-2-3",
    "bytes=+1-2", "bytes=0x1-2", "bytes=1-2,9-8x", "bytes=--1",
])
def test_malformed_or_unknown_ranges_are_ignored(hot, value):
    mirror, body, path = hot
    response = mirror.get(path, fields={"Range": value})
    assert response.status == 200 and response.length == SIZE
    check_bytes(response.body, body)


@pytest.mark.parametrize("value", ["bytes=300000-", "bytes=300000-300001", "bytes=-0", "bytes=999999999-",
                                   "bytes=99999999999999999999-", "bytes=400000-,500000-600000", "bytes=5-4"])
def test_unsatisfiable(hot, value):
    mirror, _, path = hot
    response = mirror.get(path, fields={"Range": value})
    assert response.status == 416
    assert response["content-range"] == "bytes */%d" % SIZE


@pytest.mark.parametrize("value, spans", [
    ("bytes=0-0,10-19", [(0, 1), (10, 20)]),
    ("bytes=0-99, 200-299 ,-100", [(0, 100), (200, 300), (SIZE - 100, SIZE)]),
    ("bytes=200-299,0-99", [(200, 300), (0, 100)]),
    ("bytes=0-49999,100000-149999,200000-249999", [(0, 50000), (100000, 150000), (200000, 250000)]),
    ("bytes=0-99,900000-,200-299", [(0, 100), (200, 300)]),
])
def test_several_ranges(hot, value, spans):
    mirror, body, path = hot
    response = mirror.get(path, fields={"Range": value})
    assert response.status == 206
    assert response.all("content-range") == []
    found = parts_of(response)
    assert [(start, end) for start, end, _ in found] == spans
    for start, end, data in found:
        assert len(data) == end - start
        check_bytes(data, body, start)


def test_several_ranges_on_a_kept_connection(hot):
    """The length of a multipart body is exact."""
    mirror, body, path = hot
    with mirror.client() as client:
        for n in range(20):
            response = client.get(path, fields={"Range": "bytes=%d-%d,%d-%d" % (n, n + 9, 1000 + n, 1000 + 11 * n)})
            assert len(parts_of(response)) == 2
        assert client.get(path).body == body.read(0, SIZE)


def test_too_many_ranges(hot):
    """A client cannot make the mirror send a blob many times over with one request."""
    mirror, _, path = hot
    response = mirror.get(path, fields={"Range": "bytes=" + ",".join(["0-"] * 1000)})
    assert response.status in (200, 206, 400, 416)
    assert len(response.body) <= 2 * SIZE


def test_head_ignores_range(hot):
    """Range is defined for GET only (RFC 9110 section 14.2)."""
    mirror, _, path = hot
    response = mirror.get(path, "HEAD", {"Range": "bytes=0-9"})
    assert response.status == 200 and response.length == SIZE


def test_ranges_are_announced(hot):
    mirror, body, path = hot
    response = mirror.get(path, "HEAD")
    assert response["accept-ranges"] == "bytes"
    assert response["etag"] == '"%s"' % body.digest
    assert response["docker-content-digest"] == body.digest


def test_if_range(hot):
    mirror, body, path = hot
    right, wrong = '"%s"' % body.digest, '"sha256:%s"' % ("0" * 64)
    for value, status in [(right, 206), (wrong, 200), ("W/" + right, 200), ("Tue, 01 Jan 2030 00:00:00 GMT", 200)]:
        response = mirror.get(path, fields={"Range": "bytes=10-19", "If-Range": value})
        assert response.status == status, value
        check_bytes(response.body, body, 10 if status == 206 else 0)


def test_if_none_match(hot):
    mirror, body, path = hot
    right, wrong = '"%s"' % body.digest, '"sha256:%s"' % ("0" * 64)
    for value, status in [(right, 304), ("W/" + right, 304), ("*", 304), (wrong, 200), (wrong + ", " + right, 304)]:
        with mirror.client() as client:
            response = client.get(path, fields={"If-None-Match": value})
            assert response.status == status, value
            assert response["etag"] == right
            assert client.get("/v2/").status == 200


def test_if_none_match_comes_before_range(hot):
    mirror, body, path = hot
    response = mirror.get(path, fields={"If-None-Match": '"%s"' % body.digest, "Range": "bytes=0-9"})
    assert response.status == 304


def test_ranges_of_an_empty_blob(mirror, fake):
    body = Noise(0)
    digest = fake.add_blob(body)
    mirror.check_right(digest, body)
    for value in ("bytes=0-0", "bytes=0-", "bytes=-1"):
        response = mirror.blob(digest, fields={"Range": value})
        assert response.status in (200, 416) and (response.status == 416 or response.length == 0)
