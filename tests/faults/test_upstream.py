"""An upstream that misbehaves, over real sockets. After each fault: no wrong byte was delivered as complete, nothing
wrong is kept, no descriptor is left, and the next request is right."""
import os
import shutil
import threading
import time

import pytest

from lib import faults
from lib.images import Noise, Zeros, simple
from lib.mirror import blob_path, check_bytes, is_sanitized, manifest_path
from lib.waiting import wait_until

SIZE = 3 << 20
QUICK = {"MIRROR_BACKOFF_BASE": "5ms", "MIRROR_BACKOFF_MAX": "50ms", "MIRROR_RETRIES_MAX": "3",
         "MIRROR_BREAKER_FAILURES": "1000", "MIRROR_NEGATIVE_TTL": "0"}
# Only for tests of deadlines: a busy machine may be as slow as a bad upstream.
DEADLINES = {"MIRROR_HEADER_TIMEOUT": "1s", "MIRROR_IDLE_TIMEOUT": "1s"}


class Setting:
    """A daemon, a fake upstream, one blob, and the questions every test asks at the end."""

    def __init__(self, make_mirror, fake, **settings):
        self.fake = fake
        self.mirror = make_mirror(fake, **QUICK, **settings)
        self.body = Noise(SIZE)
        self.digest = fake.add_blob(self.body)
        self.path = blob_path(self.digest)
        assert self.mirror.get("/v2/").status == 200
        self.fds = self.mirror.fds()

    def pull(self):
        """One try of a client: (response or None, whole). What came is compared byte by byte."""
        with self.mirror.client() as client:
            client.request(self.path)
            response = client.read_head()
            response.body = client.read_body(response.length)
            whole = len(response.body) == response.length
            if not whole:
                assert client.read_to_end() == b""    # FIN, not RST
            if response.status == 200:
                check_bytes(response.body, self.body)
                assert not whole or response.length == SIZE
            return response, response.status == 200 and whole

    def check_after(self):
        """The fault is over."""
        self.fake.behave_well()
        self.mirror.wait_no_fills()
        self.mirror.check_storage()
        wait_until(lambda: self.pull()[1], "the next request is right")
        self.mirror.wait_kept(self.digest)
        self.mirror.check_storage()
        self.mirror.check_no_leak(self.fds)
        n = self.fake.count(self.digest, "GET")
        assert self.pull()[1]
        assert self.fake.count(self.digest, "GET") == n, "what is here is not fetched again"


@pytest.fixture
def setting(make_mirror, fake):
    return Setting(make_mirror, fake)


@pytest.fixture
def hasty(make_mirror, fake):
    """With short deadlines."""
    return Setting(make_mirror, fake, **DEADLINES)


# --- faults that are mended while the client waits -----------------------------------------------

def by_name(value):
    return value.replace(" ", "-") if isinstance(value, str) else ""


def check_mended(setting, script):
    """The client sees nothing of it: one request, one whole and right answer."""
    setting.fake.script(setting.digest, *script)
    response, whole = setting.pull()
    assert whole, (response.head, len(response.body), setting.fake.requests)
    setting.check_after()


@pytest.mark.parametrize("name, script", [
    ("stall", [faults.stall(1000001)]),
    ("stall twice", [faults.stall(1000001), faults.stall(10)]),
    ("silent, then right", [faults.silence()]),
], ids=by_name)
def test_mended_after_a_deadline(hasty, name, script):
    check_mended(hasty, script)


@pytest.mark.parametrize("name, script", [
    ("cut at once", [faults.cut(0)]),
    ("cut at a byte", [faults.cut(1000001)]),
    ("cut twice", [faults.cut(1000001), faults.cut(500000)]),
    ("cut before the last byte", [faults.cut(SIZE - 1)]),
    ("reset at a byte", [faults.cut(1000001, "rst")]),
    ("many cuts with progress", [faults.cut(200000)] * 10),
    ("cut in the head", [faults.cut_head()]),
    ("503, then right", [faults.status(503), faults.status(503)]),
    ("500, then right", [faults.status(500)]),
    ("502 with HTML, then right", [faults.html(502)]),
    ("429 with Retry-After, then right", [faults.throttle(0)]),
    ("resume answered by 200", [faults.cut(1000001), faults.ignore_range()]),
    ("resume answered by 503", [faults.cut(1000001), faults.status(503)]),
    ("resume answered by a wrong range", [faults.cut(1000001), faults.shift_range(7)]),
    ("not HTTP", [faults.garbage()]),
    ("chunked, without a length", [faults.chunked()]),
    ("extra bytes behind the answer", [faults.send_more()]),
    ("206 to a request without a range", [faults.partial_unasked()]),
], ids=by_name)
def test_mended(setting, name, script):
    check_mended(setting, script)


def test_resume_asks_for_the_rest_only(setting):
    setting.fake.script(setting.digest, faults.cut(1000001))
    assert setting.pull()[1]
    first, second = setting.fake.matching(setting.digest, "GET")
    assert first.range is None or first.range == "bytes=0-"
    assert second.range is not None
    start = int(second.range[6:].split("-")[0])
    # What reached us before the cut is not fetched again; what was lost on the way is.
    assert 0 < start <= 1000001
    assert first.n_sent + second.n_sent <= SIZE + (1000001 - start)
    setting.check_after()


def test_429_is_absorbed_for_as_long_as_it_says(setting):
    setting.fake.script(setting.digest, faults.throttle(1))
    setting.mirror.stop()
    setting.mirror.settings["MIRROR_BACKOFF_MAX"] = "10s"
    setting.mirror.start()
    setting.fds = setting.mirror.fds()
    begin = time.monotonic()
    assert setting.pull()[1]
    assert time.monotonic() - begin > 0.9
    assert setting.mirror.metric("mirrord_upstream_throttled_total") == 1
    setting.check_after()


# --- faults that no waiting mends ----------------------------------------------------------------

@pytest.mark.parametrize("name, behaviour, statuses", [
    ("always cut", faults.cut(0), {502, 503, 504, 200}),
    ("always 503", faults.status(503), {502, 503}),
    ("HTML with 200", faults.html(), {502}),
    ("HTML with 404", faults.html(404), {404}),
    ("401 without challenge", faults.no_challenge(), {401, 403, 404, 502, 503}),
    ("challenge with a foreign realm", faults.challenge("http://192.0.2.1/token"), {401, 403, 404, 502, 503}),
    ("403", faults.status(403, error="DENIED"), {401, 403, 404, 502}),
    ("404", faults.status(404, error="BLOB_UNKNOWN"), {404}),
    ("always 429", faults.throttle(3600), {429, 503}),
    ("not HTTP", faults.garbage(), {502, 503}),
], ids=by_name)
def test_told(setting, name, behaviour, statuses):
    """The client is told at once or ends short, and nothing is remembered of it."""
    setting.fake.always(setting.digest, behaviour)
    response, whole = setting.pull()
    assert not whole
    assert response.status in statuses, response.head
    if response.status >= 400:
        assert response.error_code()
    setting.check_after()


def test_resume_answered_by_html(setting):
    """A log-in page in the middle of a download is never part of it: the body ends short, or the rest is right."""
    setting.fake.script(setting.digest, faults.cut(1000001), faults.html())
    response, _ = setting.pull()
    assert response.status == 200
    setting.check_after()


def test_cdn_answers_html(setting, cdn):
    cdn.script("/signed", faults.html())
    setting.fake.always(setting.digest, faults.redirect(cdn.add_file("/signed", setting.body)))
    response, whole = setting.pull()
    assert whole or response.status >= 500
    setting.check_after()


def test_html_is_never_a_blob(setting):
    """Not even when its length is right."""
    page = b"<html>" + bytes(SIZE - 6)
    setting.fake.always(setting.digest, faults.send_other(page, 200, "text/html"))
    response, whole = setting.pull()
    assert not whole and response.status >= 500
    setting.check_after()


@pytest.mark.parametrize("at", [0, 1000001, SIZE - 1])
def test_flipped_byte(setting, at):
    """The digest is checked before the last byte is shown: whoever reads a wrong body sees it end short."""
    setting.fake.always(setting.digest, faults.flip(at))
    with setting.mirror.client() as client:
        client.request(setting.path)
        response = client.read_head()
        if response.status == 200:
            data = client.read_body(response.length)
            assert len(data) < response.length, "a wrong body was delivered as complete"
        else:
            assert response.status >= 500
    setting.mirror.wait_no_fills()
    assert not setting.mirror.has_blob(setting.digest)
    metrics = setting.mirror.metrics()
    assert metrics['mirrord_fills_total{result="wrong_digest"}'] >= 1
    setting.check_after()


def test_byte_flipped_once(setting):
    """A client that comes again gets the right bytes: nothing of the wrong ones is resumed. The first one gets a body
    that ends short, or an error when all was found wrong before its head went out."""
    setting.fake.script(setting.digest, faults.flip(5))
    with setting.mirror.client() as client:
        client.request(setting.path)
        response = client.read_head()
        data = client.read_body(response.length)
        if response.status == 200 and len(data) == response.length:
            check_bytes(data, setting.body)
    setting.check_after()


@pytest.mark.parametrize("difference", [-100, 100, 1])
def test_length_is_a_lie(setting, difference):
    """Content-Length says less or more than the blob has."""
    setting.fake.always(setting.digest, faults.announce(difference))
    with setting.mirror.client() as client:
        client.request(setting.path)
        response = client.read_head()
        data = client.read_body(response.length)
        assert response.status >= 500 or len(data) < response.length
    assert not setting.mirror.has_blob(setting.digest)
    setting.check_after()


@pytest.mark.parametrize("other", [b"short", bytes(SIZE + 5), bytes(SIZE)], ids=["shorter", "longer", "same-length"])
def test_other_bytes(setting, other):
    """A well-formed answer with another body."""
    setting.fake.always(setting.digest, faults.send_other(other))
    with setting.mirror.client() as client:
        client.request(setting.path)
        response = client.read_head()
        data = client.read_body(response.length)
        assert response.status >= 500 or len(data) < response.length
    assert not setting.mirror.has_blob(setting.digest)
    setting.check_after()


@pytest.mark.parametrize("by", [-7, 7])
def test_bytes_of_a_wrong_range(hasty, by):
    """206 with the right Content-Range and other bytes, perhaps fewer: only the digest, or a deadline, can tell."""
    hasty.fake.script(hasty.digest, faults.cut(1000001), faults.lying_range(by))
    with hasty.mirror.client() as client:
        client.request(hasty.path)
        response = client.read_head()
        data = client.read_body(response.length)
        if response.status == 200 and len(data) == response.length:
            check_bytes(data, hasty.body)
    hasty.check_after()


def test_refused(setting):
    """Nobody listens. What is here is served; what is not is told within the retries."""
    known = setting.fake.add_blob(Noise(1000, 7))
    setting.mirror.check_right(known, Noise(1000, 7))
    setting.fake.refuse()
    response, _ = setting.pull()
    assert response.status in (502, 503, 504) and response.error_code()
    setting.mirror.check_right(known, Noise(1000, 7))
    setting.fake.listen()
    setting.check_after()


def test_refused_in_the_middle(setting):
    """The body ends short and in order, and the next client continues from there."""
    stalled = threading.Event()
    setting.fake.script(setting.digest, faults.stall(1000001, stalled, then_cut=True))
    with setting.mirror.client() as client:
        client.request(setting.path)
        response = client.read_head()
        data = client.read_body(500000)
        setting.fake.refuse()
        stalled.set()
        data += client.read_body(response.length - len(data))
        assert len(data) < SIZE
        check_bytes(data, setting.body)
        assert client.read_to_end() == b""
    setting.fake.listen()
    setting.check_after()
    last = setting.fake.matching(setting.digest, "GET")[-1]
    assert last.range is not None and not last.range.startswith("bytes=0-"), "the partial file is resumed"


@pytest.mark.slow
def test_never_answers(hasty):
    hasty.fake.always(hasty.digest, faults.silence())
    response, whole = hasty.pull()
    assert not whole and response.status in (502, 503, 504) and response.error_code()
    hasty.check_after()


def test_empty_blob(setting):
    empty = Noise(0)
    digest = setting.fake.add_blob(empty)
    for _ in range(2):
        setting.mirror.check_right(digest, empty)
    setting.mirror.wait_kept(digest)
    setting.check_after()


def test_blob_of_one_byte(setting):
    one = Noise(1)
    digest = setting.fake.add_blob(one)
    setting.mirror.check_right(digest, one)
    setting.mirror.wait_kept(digest)
    setting.check_after()


def test_sha512(setting):
    body = Noise(100000)
    digest = setting.fake.add_blob(body, body.hash("sha512"))
    setting.mirror.check_right(digest, body)
    setting.mirror.wait_kept(digest)
    setting.check_after()


@pytest.mark.slow
def test_nothing_adds_up(make_mirror, fake):
    """The same faults again and again leave as many descriptors as a few of them."""
    mirror = make_mirror(fake, LOGLEVEL="warning", **QUICK)

    def round_of_faults(n):
        body = Noise(100000, n)
        digest = fake.add_blob(body)
        fake.script(digest, faults.cut(5000, "rst"), faults.status(503), faults.cut(70000), method="GET")
        mirror.check_right(digest, body)
        wrong = fake.add_blob(Noise(100000, n), "sha256:%064x" % n)
        with mirror.client() as client:
            client.request(blob_path(wrong))
            client.read_body(client.read_head().length)
        with mirror.client() as client:
            client.request(blob_path(fake.add_blob(Noise(3000000, n))))
            client.read_head()

    def count():
        """All but blobs, and connections that wait to be used again: of these there are as many as there were at once."""
        mirror.wait_no_fills()
        n_idle = len(mirror.connections(lambda _, remote: remote == fake.port))
        assert n_idle <= 20 * mirror.n_workers
        return sum(1 for what in mirror.fds().values() if "/blobs/" not in what) - n_idle
    for n in range(20):
        round_of_faults(n)
    few = count()
    for n in range(20, 80):
        round_of_faults(n)
    wait_until(lambda: count() <= few + 2, lambda: "descriptors grow: %r" % mirror.fds())


# --- redirects -----------------------------------------------------------------------------------

def test_redirect_to_a_cdn(setting, cdn):
    """Followed for every download anew, without credentials, never remembered."""
    location = cdn.add_file("/signed", setting.body)
    setting.fake.require_token()
    setting.fake.always(setting.digest, faults.admitted(faults.redirect(location + "?secret=1")))
    assert setting.pull()[1]
    request = cdn.requests[-1]
    assert request.get("authorization") is None and request.get("cookie") is None
    assert "secret" not in setting.mirror.log()
    setting.fake.token = None
    setting.check_after()


def test_redirect_loop(setting):
    setting.fake.always(setting.digest, faults.redirect(lambda request: request.target))
    response, whole = setting.pull()
    assert not whole and response.status in (502, 503, 508)
    assert setting.fake.count(setting.digest) < 100
    setting.check_after()


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1/", "//", ""])
def test_redirect_to_somewhere_else_than_http(setting, target):
    setting.fake.always(setting.digest, faults.redirect(target))
    response, whole = setting.pull()
    assert not whole and response.status >= 500
    setting.check_after()


@pytest.mark.parametrize("name, behaviour", [
    ("503", faults.status(503)), ("403", faults.status(403)), ("410", faults.status(410)),
    ("cut", faults.cut(10))], ids=by_name)
def test_cdn_fails_once(setting, cdn, name, behaviour):
    """The blob's own address is asked again, and the new location is good."""
    check_cdn_fails_once(setting, cdn, behaviour)


def test_cdn_is_silent_once(hasty, cdn):
    check_cdn_fails_once(hasty, cdn, faults.silence())


def check_cdn_fails_once(setting, cdn, behaviour):
    location = cdn.add_file("/signed", setting.body)
    cdn.script("/signed", behaviour)
    setting.fake.always(setting.digest, faults.redirect(location))
    assert setting.pull()[1]
    setting.check_after()


def test_cdn_fails_always(setting, cdn):
    location = cdn.add_file("/signed", setting.body)
    cdn.always("/signed", faults.status(503))
    setting.fake.always(setting.digest, faults.redirect(location))
    response, whole = setting.pull()
    assert not whole and response.status in (502, 503)
    setting.check_after()


def test_cdn_refuses(setting, cdn):
    location = cdn.add_file("/signed", setting.body)
    cdn.refuse()
    setting.fake.always(setting.digest, faults.redirect(location))
    response, whole = setting.pull()
    assert not whole and response.status in (502, 503, 504)
    setting.check_after()


def test_signed_address_expires_in_the_middle(setting, cdn):
    """After a cut the old address answers 403: the registry is asked for a new one, and the rest comes from there."""
    old = cdn.add_file("/old", setting.body)
    new = cdn.add_file("/new", setting.body)
    cdn.script("/old", faults.cut(1000001), *[faults.status(403)] * 10)
    setting.fake.script(setting.digest, faults.redirect(old), *[faults.redirect(new)] * 10)
    assert setting.pull()[1]
    resumed = cdn.matching("/new", "GET")
    assert resumed and resumed[-1].range is not None and not resumed[-1].range.startswith("bytes=0-")
    setting.check_after()


# --- manifests -----------------------------------------------------------------------------------

@pytest.mark.parametrize("behaviour", [
    faults.html(), faults.flip(3), faults.announce(5), faults.send_other(b"{}", 200, "application/json"), faults.cut(20),
    faults.no_challenge(), faults.status(500), faults.send_other(bytes(5 << 20), 200, "application/json")],
    ids=["html", "flip", "longer", "other", "cut", "401", "500", "huge"])
def test_broken_manifest(setting, behaviour):
    """By digest it is verified; nothing of a broken answer is kept or served."""
    image = simple()
    setting.fake.add_image(image, "library/test", "latest")
    setting.fake.always("/manifests/", behaviour)
    response = setting.mirror.get(manifest_path(image.digest), allow_short=True)
    assert response.status >= 400
    setting.mirror.check_storage()
    setting.fake.behave_well()
    for reference in (image.digest, "latest"):
        wait_until(lambda: setting.mirror.get(manifest_path(reference)).status == 200, "the manifest is right")
        assert setting.mirror.get(manifest_path(reference)).body == image.manifest
    setting.check_after()


def test_html_is_never_a_tag(setting):
    image = simple()
    setting.fake.add_image(image, "library/test", "latest")
    setting.fake.always("/manifests/", faults.html())
    assert setting.mirror.get(manifest_path("latest")).status >= 500
    assert setting.mirror.head(manifest_path("latest")).status >= 500
    setting.fake.behave_well()
    assert setting.mirror.get(manifest_path("latest")).body == image.manifest
    setting.check_after()


# --- big -----------------------------------------------------------------------------------------

@pytest.mark.slow
def test_blob_of_more_than_4_gib(make_mirror, fake, tmp_path):
    """Beyond 32 bits in every length, cut behind that; memory stays small."""
    size = (4 << 30) + (32 << 20) + 12345
    if shutil.disk_usage(tmp_path).free < 2 * size:
        pytest.skip("%d bytes of disk are needed" % (2 * size))
    if is_sanitized():
        pytest.skip("too slow in an instrumented build")
    mirror = make_mirror(fake, LOGLEVEL="info", **QUICK)
    body = Zeros(size)
    digest = fake.add_blob(body)
    fake.script(digest, faults.cut((4 << 30) + 77))

    def pull(path, fields=()):
        with mirror.client() as client:
            client.request(path, fields=fields)
            response = client.read_head()
            n = 0
            while n < response.length:
                data = client.receive(1 << 20)
                if not data:
                    break
                if response.status == 200 and n % (64 << 20) < len(data):
                    check_bytes(data, body, n)
                n += len(data)
            return response, n
    try:
        response, n = pull(blob_path(digest))
        assert response.status == 200 and response.length == n == size
        mirror.wait_kept(digest)
        assert os.path.getsize(mirror.blob_file(digest)) == size
        with mirror.client() as client:
            response = client.get(blob_path(digest), fields={"Range": "bytes=%d-" % (size - 1000)})
            assert response["content-range"] == "bytes %d-%d/%d" % (size - 1000, size - 1, size)
            check_bytes(response.body, body, size - 1000)
            response = client.get(blob_path(digest), fields={"Range": "bytes=%d-%d" % (4 << 30, (4 << 30) + 9)})
            check_bytes(response.body, body, 4 << 30)
        assert fake.count(digest, "GET") == 2
        assert mirror.peak_rss_bytes() < 64 << 20
    finally:
        mirror.stop()
        shutil.rmtree(mirror.storage)
        os.makedirs(mirror.storage)
