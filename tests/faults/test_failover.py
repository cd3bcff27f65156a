"""An upstream with several URLs: the next one takes over when one fails, at the byte that was reached, and nobody notices."""
import base64
import json
from time import monotonic

import pytest

from lib import faults
from lib.images import Noise, simple
from lib.mirror import check_bytes, manifest_path
from lib.waiting import wait_until

REPOSITORY = "one.test/org/app"


@pytest.fixture
def first(make_fake):
    return make_fake()


@pytest.fixture
def second(make_fake):
    return make_fake()


@pytest.fixture
def image(first, second):
    image = simple(layers=2)
    for registry in (first, second):
        registry.add_image(image, "org/app", "latest")
    return image


@pytest.fixture
def make(make_mirror, first, second):
    def make(*urls, **settings):
        entry = {"url": list(urls) or [first.url, second.url]}
        return make_mirror(MIRROR_UPSTREAMS=json.dumps({"one.test": entry}), **settings)
    return make


def pull(mirror, image):
    response = mirror.get(manifest_path("latest", REPOSITORY))
    assert response.status == 200 and response.body == image.manifest
    for digest, body in image.blobs.items():
        mirror.check_right(digest, body, REPOSITORY)


def resting(mirror, registry):
    return mirror.metric("mirrord_upstream_breaker_open", upstream="127.0.0.1:%d" % registry.port)


WRONG = {
    "500": faults.status(500), "503": faults.status(503, {"Retry-After": "0"}), "429": faults.throttle(0),
    "429-long": faults.throttle(3600), "head": faults.cut_head(), "reset": faults.cut_head(how="rst"),
    "page": faults.send_other(b"<html>hello</html>", content_type="text/html"), "teapot": faults.status(418),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_first_fails(make, first, second, image, wrong):
    mirror = make()
    first.always("/org/app/", WRONG[wrong])
    pull(mirror, image)
    assert first.count("/org/app/") >= 1
    assert second.count("/manifests/latest") == 1
    assert mirror.metric("mirrord_upstream_failovers_total") >= 1


def test_first_refuses_connections(make, first, second, image):
    mirror = make()
    first.refuse()
    pull(mirror, image)
    assert second.count("/manifests/latest") == 1


def test_first_is_silent(make, first, second, image):
    mirror = make(MIRROR_HEADER_TIMEOUT="2s")
    first.always("/org/app/", faults.silence())
    pull(mirror, image)


def test_order(make, first, second, image):
    """As long as the first is well nobody asks the second."""
    mirror = make()
    pull(mirror, image)
    assert second.requests == [] and mirror.metric("mirrord_upstream_failovers_total") == 0


@pytest.mark.parametrize("code, status", [(404, 404), (403, 403), (401, 502)])
def test_a_no_of_the_first_counts(make, first, second, image, code, status):
    first.always("/org/app/", faults.status(code, {"WWW-Authenticate": 'Basic realm="x"'} if code == 401 else None))
    mirror = make()
    assert mirror.get(manifest_path("latest", REPOSITORY)).status == status
    assert mirror.blob(next(iter(image.blobs)), REPOSITORY).status == status
    assert second.requests == []


@pytest.mark.parametrize("code", [404, 403, 401])
def test_a_no_of_the_second_does_not(make, first, second, image, code):
    """It may be a mirror of a part: that it has no such thing does not mean that there is none."""
    mirror = make(MIRROR_RETRIES_MAX=1, MIRROR_BACKOFF_BASE="1ms", MIRROR_TAGS_CACHE_TTL="0", MIRROR_STALE_RETRY="0")
    pull(mirror, image)
    first.always("/org/app/", faults.status(503))
    second.always("/org/app/", faults.status(code))
    response = mirror.get(manifest_path("latest", REPOSITORY))
    assert response.status == 200 and "detail=stale" in response["cache-status"]
    response = mirror.get(manifest_path("other", REPOSITORY))
    assert response.status == 503 and response.error_code() == "UNAVAILABLE"
    # Nothing was learned from it: it is there again with the first.
    first.behave_well()
    first.add_image(image, "org/app", "other")
    wait_until(lambda: mirror.get(manifest_path("other", REPOSITORY)).status == 200, "the first has it")


def test_round_again(make, first, second, image):
    """A short trouble of both is waited out, as it would be of one."""
    mirror = make(MIRROR_BACKOFF_BASE="10ms")
    first.script("/manifests/", faults.status(500), faults.status(502))
    second.script("/manifests/", faults.status(500), faults.status(404))
    assert mirror.get(manifest_path("latest", REPOSITORY)).body == image.manifest
    assert first.count("/manifests/") == 3 and second.count("/manifests/") == 2


def test_all_fail(make, first, second, image):
    mirror = make(MIRROR_RETRIES_MAX=2, MIRROR_BACKOFF_BASE="1ms", MIRROR_BREAKER_FAILURES=1000)
    for registry in (first, second):
        registry.always("/org/app/", faults.status(500))
    assert mirror.get(manifest_path("latest", REPOSITORY)).status == 503
    assert first.count("/manifests/") == second.count("/manifests/") == 3


# --- in the middle of a blob ---------------------------------------------------------------------

BODY = Noise(3000000)


def add_body(*registries):
    for registry in registries:
        digest = registry.add_blob(BODY)
    return digest


@pytest.mark.parametrize("how", ["fin", "rst"])
def test_first_dies_in_mid_blob(make, first, second, how):
    """What came is not fetched again, and the client sees one answer."""
    digest = add_body(first, second)
    mirror = make()

    def die(exchange):
        faults.cut(1000000, how)(Dying(exchange))
    first.script("/blobs/", die)
    mirror.check_right(digest, BODY, REPOSITORY)
    request, = second.matching("/blobs/", "GET")
    start = int(request.range[len("bytes="):].split("-")[0])
    assert 0 < start <= 1000000 and request.n_sent == BODY.size - start
    mirror.wait_kept(digest)


class Dying:
    """An exchange whose end is the end of its registry."""

    def __init__(self, exchange):
        self.exchange = exchange

    def __getattr__(self, name):
        return getattr(self.exchange, name)

    def hang_up(self, how="fin"):
        self.exchange.fake.refuse_more()
        self.exchange.hang_up(how)


def test_first_stalls_in_mid_blob(make, first, second):
    digest = add_body(first, second)
    mirror = make(MIRROR_IDLE_TIMEOUT="2s")
    first.always("/blobs/", faults.stall(700000))
    first.script("/blobs/", faults.stall(700000))
    mirror.check_right(digest, BODY, REPOSITORY)
    assert second.sent("/blobs/") > 0


def test_second_has_another_blob(make, first, second):
    """Of another size: it is not taken for the rest of the first one's."""
    digest = add_body(first)
    second.add_blob(Noise(2000000), digest)
    mirror = make(MIRROR_RETRIES_MAX=1, MIRROR_BACKOFF_BASE="1ms")
    first.script("/blobs/", faults.cut(1000000), faults.status(503), faults.status(503))
    response = mirror.blob(digest, REPOSITORY, allow_short=True)
    check_bytes(response.body, BODY) if len(response.body) == BODY.size else None
    assert response.length == BODY.size
    assert response.body == BODY.read(0, len(response.body))
    first.behave_well()
    mirror.check_right(digest, BODY, REPOSITORY)


def test_second_without_ranges(make, first, second):
    digest = add_body(first, second)
    second.has_ranges = False
    mirror = make()
    first.script("/blobs/", faults.cut(500000), faults.status(503), faults.status(503))
    mirror.check_right(digest, BODY, REPOSITORY)


# --- health --------------------------------------------------------------------------------------

def test_first_is_left_alone_and_comes_back(make, first, second, image):
    mirror = make(MIRROR_BREAKER_FAILURES=2, MIRROR_BREAKER_COOLDOWN="1s", MIRROR_TAGS_CACHE_TTL="0")
    first.always("/v2/", faults.status(503))
    wait_until(lambda: mirror.get(manifest_path("latest", REPOSITORY)).status == 200 and resting(mirror, first) == 1,
               "the first is given up")
    assert resting(mirror, second) == 0
    n, begin = len(first.requests), monotonic()
    for _ in range(20):
        response = mirror.get(manifest_path("latest", REPOSITORY))
        assert response.status == 200 and "detail=stale" not in response["cache-status"]
    # One try after each second, however many of them this machine needs.
    assert len(first.requests) - n <= 2 + (monotonic() - begin)
    first.behave_well()
    wait_until(lambda: mirror.get(manifest_path("latest", REPOSITORY)).status == 200 and resting(mirror, first) == 0,
               "the first is asked again")
    n = second.count("/manifests/")
    assert mirror.get(manifest_path("latest", REPOSITORY)).status == 200
    assert second.count("/manifests/") == n


def test_throttling_first_is_left_alone(make, first, second, image):
    mirror = make(MIRROR_TAGS_CACHE_TTL="0")
    first.always("/manifests/", faults.throttle(3600))
    for _ in range(5):
        assert mirror.get(manifest_path("latest", REPOSITORY)).status == 200
    assert first.count("/manifests/") == 1 and second.count("/manifests/") >= 5
    assert resting(mirror, first) == 1


@pytest.mark.parametrize("is_low", [True, False])
@pytest.mark.parametrize("wrong", ["503", "429-long"])
def test_quota_of_the_url_in_use(make, first, second, image, time, wrong, is_low):
    """What is left at a URL that is not asked now does not matter; what is left at the one that is asked does."""
    mirror = make(MIRROR_TAGS_CACHE_TTL="100", MIRROR_QUOTA_FLOOR="10%", MIRROR_QUOTA_STRETCH="4", MIRROR_BREAKER_FAILURES=1,
                  MIRROR_BREAKER_COOLDOWN="1h", **time.settings)
    other = simple(7)
    for registry, remaining in ((first, 90 if is_low else 1), (second, 1 if is_low else 90)):
        registry.extra_fields = [("ratelimit-limit", "100;w=21600"), ("ratelimit-remaining", "%d;w=21600" % remaining)]
        registry.add_image(other, "org/app", "other")
    assert mirror.get(manifest_path("latest", REPOSITORY)).status == 200
    first.always("/v2/", WRONG[wrong])
    assert mirror.get(manifest_path("other", REPOSITORY)).body == other.manifest
    assert resting(mirror, first) == 1
    time.move(200)
    n = second.count("/manifests/latest")
    response = mirror.get(manifest_path("latest", REPOSITORY))
    assert response.status == 200 and ("revalidated" in response["cache-status"]) != is_low
    assert second.count("/manifests/latest") == n + (not is_low)


def test_all_throttle(make, first, second, image):
    """Everybody says 429: so do we, with the time that the first told."""
    mirror = make(MIRROR_RETRIES_MAX=0)
    for registry in (first, second):
        registry.always("/manifests/", faults.throttle(1000))
    for _ in range(2):
        response = mirror.get(manifest_path("latest", REPOSITORY))
        assert response.status == 429 and 900 < int(response["retry-after"]) <= 1000
    assert first.count("/manifests/") == second.count("/manifests/") == 1


def test_token_service_of_the_first_fails(make, first, second, image):
    first.require_token()
    first.always("/token", faults.status(503))
    mirror = make()
    pull(mirror, image)


# --- credentials ---------------------------------------------------------------------------------

def basic(name, password):
    return "Basic " + base64.b64encode(("%s:%s" % (name, password)).encode()).decode()


def shown(registry):
    return {request.get("authorization") for request in registry.requests} - {None}


def test_credentials_of_the_entry_are_the_first_urls(make_mirror, first, second, image):
    """The fallback, which is somebody else's, sees neither the password nor a token, whatever it asks for."""
    second.require_token()
    first.always("/v2/", faults.status(503))
    mirror = make_mirror(MIRROR_UPSTREAMS=json.dumps(
        {"one.test": {"url": [first.url, second.url], "username": "alice", "password": "s3cret"}}))
    pull(mirror, image)
    assert second.token.requests and all(value.startswith("Bearer token-") for value in shown(second))
    second.token = None
    second.always("/v2/", faults.status(401, {"WWW-Authenticate": 'Basic realm="give"'}))
    mirror.get(manifest_path("other", REPOSITORY))
    assert not any(value.startswith("Basic") for value in shown(second))


def test_each_url_its_own_credentials(make_mirror, first, second, image):
    for registry, user in ((first, "alice"), (second, "bob")):
        registry.require_token(users={user: "pw-" + user})
    mirror = make_mirror(MIRROR_UPSTREAMS=json.dumps({"one.test": [
        {"url": first.url, "username": "alice", "password": "pw-alice"},
        {"url": second.url, "username": "bob", "password": "pw-bob"}]}))
    assert mirror.get(manifest_path("latest", REPOSITORY)).status == 200
    first.script("/v2/", faults.status(503), faults.status(503))
    pull(mirror, image)
    first.always("/v2/", faults.status(503))
    assert mirror.get(manifest_path("other", REPOSITORY)).status == 503
    assert {value for value in shown(first) if "Basic" in value} == {basic("alice", "pw-alice")}
    assert {value for value in shown(second) if "Basic" in value} == {basic("bob", "pw-bob")}
    assert mirror.metric("mirrord_upstream_ratelimit_limit", credential="bob") == -1


def test_source_with_a_fallback(make_mirror, first, second, image):
    """An entry for the source's own host says more about the source."""
    host = "127.0.0.1:%d" % first.port
    mirror = make_mirror(first, MIRROR_SOURCE_USERNAME="u", MIRROR_SOURCE_PASSWORD="p", MIRROR_UPSTREAMS=json.dumps(
        {host: [first.url, second.url]}))
    first.always("/org/app/", faults.status(500))
    assert mirror.get(manifest_path("latest", "org/app")).body == image.manifest
    assert shown(second) == set()
    told = json.loads(mirror.admin("/upstreams").body)
    assert len(told) == 1 and told[0]["default"] and [url["anonymous"] for url in told[0]["urls"]] == [False, True]
