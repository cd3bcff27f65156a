"""Credentials towards the upstream: tokens, their cache, and whom they are shown to."""
import base64
import threading

import pytest

from lib import faults
from lib.images import Noise, simple
from lib.mirror import blob_path, manifest_path
from lib.waiting import wait_until

USER = {"MIRROR_SOURCE_USERNAME": "alice", "MIRROR_SOURCE_PASSWORD": "s3cret"}
BASIC = "Basic " + base64.b64encode(b"alice:s3cret").decode()


@pytest.fixture
def image(fake):
    image = simple(layers=3)
    fake.add_image(image, "library/test", "latest")
    return image


def pull(mirror, image, repository="library/test"):
    assert mirror.get(manifest_path("latest", repository)).body == image.manifest
    for digest, body in image.blobs.items():
        mirror.check_right(digest, body, repository)


def test_anonymous_token(mirror, fake, image):
    tokens = fake.require_token()
    pull(mirror, image)
    assert len(tokens.requests) == 1
    assert tokens.requests[0].query["scope"] == ["repository:library/test:pull"]
    assert tokens.requests[0].query["service"] == ["fake"]
    assert tokens.requests[0].get("authorization") is None
    assert mirror.metric("mirrord_upstream_token_requests_total") == 1


def test_token_with_credentials(make_mirror, fake, image):
    """The password goes to the token service, the token to the registry, and neither into the log."""
    tokens = fake.require_token(users={"alice": "s3cret"})
    mirror = make_mirror(fake, **USER)
    pull(mirror, image)
    assert [request.get("authorization") for request in tokens.requests] == [BASIC]
    for request in fake.requests:
        if request.path != "/token":
            assert request.get("authorization") in (None, "Bearer token-1")
    for secret in ("s3cret", BASIC[6:], "token-1"):
        assert secret not in mirror.log()


def test_wrong_password(make_mirror, fake, image):
    fake.require_token(users={"alice": "other"})
    mirror = make_mirror(fake, **USER)
    response = mirror.get(manifest_path("latest"))
    assert response.status in (401, 403, 502) and response.error_code()
    assert fake.count("/token") < 10


def test_basic_authentication(make_mirror, fake, image):
    """A registry that wants the password itself."""
    def behave(exchange):
        if exchange.request.get("authorization") == BASIC:
            exchange.behave()
        else:
            exchange.error(401, "UNAUTHORIZED", {"WWW-Authenticate": 'Basic realm="registry"'})
    fake.always("/v2/", behave)
    pull(make_mirror(fake, **USER), image)
    assert make_mirror(fake).get(manifest_path("latest")).status in (401, 403, 404, 502)


def test_one_token_for_many_waiters(make_mirror, fake):
    """However many wait for a token of one scope, it is fetched once per process or at most once per worker."""
    tokens = fake.require_token()
    mirror = make_mirror(fake, REGISTRY_WORKERS=1)
    bodies = [Noise(1000, n) for n in range(40)]
    barrier = faults.Barrier(then=tokens.give)
    fake.always("/token", barrier)
    clients = []
    for body in bodies:
        fake.add_blob(body)
        client = mirror.client()
        client.request(blob_path(body.digest))
        clients.append(client)
    fake.wait_requests(1, "/token")
    wait_until(lambda: mirror.metric("mirrord_fills_running") == 40, "all are waiting")
    barrier.release()
    for client, body in zip(clients, bodies):
        assert client.read_response().body == body.read(0, 1000)
        client.close()
    assert len(tokens.requests) == 1


def test_one_token_per_repository(mirror, fake, image):
    tokens = fake.require_token()
    fake.add_image(image, "library/other", "latest")
    pull(mirror, image)
    assert mirror.get(manifest_path("latest", "library/other")).status == 200
    assert sorted(request.query["scope"][0] for request in tokens.requests) == [
        "repository:library/other:pull", "repository:library/test:pull"]


def test_token_is_revoked(mirror, fake, image):
    """A token that is refused is thrown away, and another is fetched once."""
    tokens = fake.require_token()
    assert mirror.get(manifest_path("latest")).status == 200
    tokens.revoke()
    pull(mirror, image)
    assert len(tokens.requests) == 2


def test_token_expires(make_mirror, fake, image):
    """Lives shorter than a minute count as a minute; without expires_in, too."""
    for expires_in in (1, None):
        tokens = fake.require_token(expires_in=expires_in)
        mirror = make_mirror(fake)
        pull(mirror, image)
        assert len(tokens.requests) == 1


def test_revoked_in_the_middle_of_a_download(mirror, fake):
    """The connection is cut and the token is void: the rest comes with a new one."""
    body = Noise(4 << 20)
    digest = fake.add_blob(body)
    tokens = fake.require_token()
    event = threading.Event()
    fake.script(digest, faults.admitted(faults.ok()), faults.admitted(faults.stall(1 << 20, event, then_cut=True)),
                method="GET")
    with mirror.client() as client:
        client.request(blob_path(digest))
        response = client.read_head()
        data = client.read_body(1 << 20)
        tokens.revoke()
        event.set()
        data += client.read_body(response.length - len(data))
        assert data == body.read(0, body.size)
    assert len(tokens.requests) == 2


@pytest.mark.parametrize("user", [{}, USER], ids=["anonymous", "user"])
def test_foreign_realm_gets_no_credentials(make_mirror, fake, cdn, image, user):
    """A registry cannot point the mirror's password at another host."""
    seen = []

    def collect(exchange):
        seen.append(exchange.request)
        exchange.error(401, "UNAUTHORIZED")
    cdn.always("/", collect)
    fake.always("/v2/", faults.challenge(cdn.url.replace("127.0.0.1", "localhost") + "/token"))
    mirror = make_mirror(fake, **user)
    assert mirror.get(manifest_path("latest")).status >= 400
    assert all(request.get("authorization") is None for request in seen)
    assert "s3cret" not in mirror.log()


def test_trusted_realm(make_mirror, fake, cdn, image):
    """A token service on a host of its own, allowed by a setting."""
    location = cdn.url.replace("127.0.0.1", "localhost")
    tokens = fake.require_token(users={"alice": "s3cret"}, realm=location + "/token")
    cdn.always("/token", lambda exchange: tokens.give(exchange))
    mirror = make_mirror(fake, MIRROR_REALMS="localhost:%d" % cdn.port, **USER)
    pull(mirror, image)
    assert len(tokens.requests) == 1


@pytest.mark.parametrize("behaviour", [
    faults.html(), faults.status(500), faults.send_other(b"{}", 200, "application/json"),
    faults.send_other(b'{"token": 5}', 200, "application/json"),
    faults.send_other(b'{"token": "a\\r\\nX-Evil: yes"}', 200, "application/json"),
    faults.send_other(b'{"token":"' + b"x" * (2 << 20) + b'"}', 200, "application/json"),
    faults.cut_head(), faults.garbage()],
    ids=["html", "500", "empty", "number", "injection", "huge", "cut", "garbage"])
def test_broken_token_service(make_mirror, fake, image, behaviour):
    tokens = fake.require_token()
    fake.always("/token", behaviour)
    mirror = make_mirror(fake, MIRROR_BACKOFF_BASE="5ms", MIRROR_BACKOFF_MAX="10ms", MIRROR_BREAKER_FAILURES="1000")
    assert mirror.get(manifest_path("latest")).status >= 400
    assert all("x-evil" not in request.fields for request in fake.requests)
    fake.behave_well()
    wait_until(lambda: mirror.get(manifest_path("latest")).status == 200, "it works again")
    assert tokens.requests


def test_silent_token_service(make_mirror, fake, image):
    fake.require_token()
    fake.script("/token", faults.silence())
    mirror = make_mirror(fake, MIRROR_BACKOFF_BASE="5ms", MIRROR_HEADER_TIMEOUT="1s")
    wait_until(lambda: mirror.get(manifest_path("latest")).status == 200, "it works again")


@pytest.mark.parametrize("fate", ["away", "404"])
def test_token_service_has_moved(make_mirror, fake, cdn, image, fate):
    """The registry names another one; the old one, which is known from before, is of no use any more."""
    fake.add_image(image, "library/other", "latest")
    old = fake.require_token(realm=cdn.url + "/token")
    cdn.always("/token", lambda exchange: old.give(exchange))
    mirror = make_mirror(fake, MIRROR_BACKOFF_BASE="5ms", MIRROR_BACKOFF_MAX="10ms")
    pull(mirror, image)
    assert len(old.requests) == 1
    new = fake.require_token()
    if fate == "away":
        cdn.refuse()
    else:
        cdn.behave_well()
    pull(mirror, image, "library/other")
    assert len(new.requests) == 1 and len(old.requests) == 1


def test_realm_redirect_gets_no_credentials(make_mirror, fake, cdn, image):
    fake.require_token(users={"alice": "s3cret"})
    fake.always("/token", faults.redirect(cdn.url + "/token"))
    cdn.always("/", faults.status(401))
    mirror = make_mirror(fake, MIRROR_RETRIES_MAX=1, **USER)
    assert mirror.get(manifest_path("latest")).status >= 400
    assert all(request.get("authorization") is None for request in cdn.requests)
