"""How old what an upstream said may be: ttl, grace and keep, by what the upstream is asked; absences; a low quota. The
clock of the daemon is set, nobody waits for it."""
import threading
from time import monotonic

import pytest

from lib import clock, faults
from lib.images import digest_of, noise, simple
from lib.mirror import blob_path, manifest_path
from lib.pushing import Pusher
from lib.waiting import stays_so, wait_until

REPOSITORY = "library/test"
FIRST, SECOND = simple(1), simple(2)
RULE = "*=100/50/200"
ONE_TRY = {"MIRROR_RETRIES_MAX": "0", "MIRROR_BREAKER_FAILURES": "10000", "MIRROR_STALE_RETRY": "0"}
TAG = manifest_path("latest")


@pytest.fixture
def time(time):
    """It moves only when it is moved."""
    time.stop()
    return time


@pytest.fixture
def make(make_mirror, fake, time):
    """A daemon that follows the clock, in front of an image."""
    fake.add_image(FIRST, REPOSITORY, "latest")

    def begin(**settings):
        return make_mirror(fake, **{"MIRROR_FRESHNESS": RULE, **ONE_TRY, **time.settings, **settings})
    return begin


class Asked:
    """What the upstream has been asked since."""

    def __init__(self, fake):
        self.fake, self.n = fake, len(fake.requests)

    def requests(self):
        return [request.method for request in self.fake.requests[self.n:]]

    def settle(self, *methods):
        """Exactly these, and no more."""
        wait_until(lambda: len(self.requests()) >= len(methods), lambda: "%s are asked: %s" % (methods, self.requests()))
        assert self.requests() == list(methods)


def ttl_of(response):
    return int(response["cache-status"].split("ttl=")[1].split(";")[0])


# --- what is done about a tag --------------------------------------------------------------------

DOWN = faults.status(503)
THROTTLED = faults.throttle(3600)

@pytest.mark.parametrize("age, upstream, asked, status, cache", [
    (0, None, [], 200, "hit; ttl=100"),
    (60, None, [], 200, "hit; ttl=40"),
    (60, DOWN, [], 200, "hit; ttl=40"),
    (110, None, ["HEAD"], 200, "hit; ttl=-10; detail=grace"),
    (110, DOWN, ["HEAD"], 200, "hit; ttl=-10; detail=grace"),
    (110, THROTTLED, ["HEAD"], 200, "hit; ttl=-10; detail=grace"),
    (160, None, ["HEAD"], 200, "fwd=stale; ttl=100; detail=revalidated"),
    (160, DOWN, ["HEAD"], 200, "hit; ttl=-60; detail=stale"),
    (160, THROTTLED, ["HEAD"], 200, "hit; ttl=-60; detail=stale"),
    (280, DOWN, ["HEAD"], 200, "hit; ttl=-180; detail=stale"),
    (310, None, ["HEAD"], 200, "fwd=stale; ttl=100; detail=revalidated"),
    (310, DOWN, ["HEAD"], 503, None),
    (310, THROTTLED, ["HEAD"], 429, None),
    (-86400, None, ["HEAD"], 200, "fwd=stale; ttl=100; detail=revalidated"),
    (-86400, DOWN, ["HEAD"], 200, "hit; ttl=0; detail=stale"),
    (31536000, None, ["HEAD"], 200, "fwd=stale; ttl=100; detail=revalidated"),
], ids=lambda value: getattr(value, "__qualname__", None) and value.__qualname__.split(".")[0])
@pytest.mark.parametrize("restarts", [False, True], ids=["", "restarted"])
def test_ages(make, fake, time, age, upstream, asked, status, cache, restarts):
    mirror = make()
    assert mirror.get(TAG).status == 200
    mirror.wait_kept(FIRST.digest)
    if restarts:
        mirror.restart()
        mirror.get(manifest_path(FIRST.digest))
    time.move(age)
    if upstream:
        fake.always("/manifests/", upstream)
    since = Asked(fake)
    response = mirror.get(TAG)
    assert response.status == status, response.head
    since.settle(*asked)
    if status != 200:
        assert response.error_code()
        return
    assert response.body == FIRST.manifest and response["docker-content-digest"] == FIRST.digest
    assert response["cache-status"] == "mirrord; " + cache
    assert int(response["age"]) == (0 if "revalidated" in cache or age < 0 else age)
    assert (response.get("warning") is not None) == ("detail=stale" in cache)


def test_grace_asks_once_for_a_hundred_clients(make, fake, time):
    """All are served while the upstream thinks; the answer counts for all."""
    mirror = make()
    mirror.get(TAG)
    time.move(110)
    think = threading.Event()
    fake.script("/manifests/latest", faults.hold(think))
    since = Asked(fake)
    answers, lock = [], threading.Lock()

    def pull():
        response = mirror.get(TAG)
        with lock:
            answers.append(response)

    clients = [threading.Thread(target=pull) for _ in range(100)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert len(answers) == 100
    assert all(a.status == 200 and a.body == FIRST.manifest and "grace" in a["cache-status"] for a in answers)
    since.settle("HEAD")
    think.set()
    wait_until(lambda: "grace" not in mirror.get(TAG)["cache-status"], "it is fresh again")
    since.settle("HEAD")
    assert mirror.metric("mirrord_refreshes_total") == 1
    assert mirror.metric('mirrord_manifest_requests_total{result="grace"}') >= 100


def test_grace_finds_that_it_has_moved(make, fake, time):
    """The old one is served until the new one is here, whose GET is by digest and once."""
    mirror = make()
    mirror.get(TAG)
    fake.add_image(SECOND, REPOSITORY, "latest")
    time.move(110)
    arrive = threading.Event()
    fake.script("/manifests/" + SECOND.digest, faults.hold(arrive))
    since = Asked(fake)
    for _ in range(5):
        assert mirror.get(TAG).body == FIRST.manifest
    wait_until(lambda: fake.count(SECOND.digest, "GET") == 1, "the new one is asked for")
    for _ in range(5):
        assert mirror.get(TAG).body == FIRST.manifest
    arrive.set()
    wait_until(lambda: mirror.get(TAG).body == SECOND.manifest, "the tag has moved")
    since.settle("HEAD", "GET")
    assert ttl_of(mirror.get(TAG)) == 100
    assert mirror.metric("mirrord_refreshes_moved_total") == 1
    fake.refuse()
    mirror.restart()
    assert mirror.get(TAG).body == SECOND.manifest


def test_grace_moves_to_what_is_here(make, fake, time):
    """Without any GET."""
    mirror = make()
    fake.add_image(SECOND, REPOSITORY, "other")
    mirror.get(TAG)
    mirror.get(manifest_path("other"))
    fake.tags[REPOSITORY, "latest"] = SECOND.digest
    time.move(110)
    since = Asked(fake)
    wait_until(lambda: mirror.get(TAG).body == SECOND.manifest, "the tag has moved")
    since.settle("HEAD")


def test_grace_cannot_get_the_new_one(make, fake, time):
    """Then it stays, and nothing is asked in a loop."""
    mirror = make(MIRROR_STALE_RETRY="1h")
    mirror.get(TAG)
    fake.add_image(SECOND, REPOSITORY, "latest")
    fake.always("/manifests/" + SECOND.digest, DOWN)
    time.move(110)
    since = Asked(fake)
    mirror.get(TAG)
    since.settle("HEAD", "GET")
    mirror.wait_for_log("fetching -> over")
    for _ in range(20):
        assert mirror.get(TAG).body == FIRST.manifest
    assert stays_so(lambda: len(since.requests()) == 2, "it is asked again") is None


def test_a_client_that_leaves_takes_nothing_along(make, fake, time):
    mirror = make()
    mirror.get(TAG)
    fake.add_image(SECOND, REPOSITORY, "latest")
    time.move(110)
    think = threading.Event()
    fake.script("/manifests/latest", faults.hold(think))
    with mirror.client() as client:
        assert client.get(TAG).body == FIRST.manifest
    wait_until(lambda: fake.count("/manifests/latest", "HEAD") == 1, "it is asked")
    think.set()
    wait_until(lambda: mirror.get(TAG).body == SECOND.manifest, "the tag has moved")


def test_rules_by_pattern(make_mirror, fake, time):
    """The first that matches, by tag and by repository; then the defaults."""
    mirror = make_mirror(fake, **time.settings, **ONE_TRY, MIRROR_TAGS_CACHE_TTL="1000", MIRROR_TAGS_GRACE="100",
                         MIRROR_FRESHNESS="*:latest=10, team/*=5000 library/test:v*=30/0/forever")
    cases = {("library/test", "latest"): 10, ("library/test", "v1"): 30, ("library/test", "x"): 1000,
             ("team/app", "latest"): 10, ("team/app", "v1"): 5000, ("other/app", "v1"): 1000}
    for repository, tag in cases:
        fake.add_image(FIRST, repository, tag)
    for (repository, tag), ttl in cases.items():
        assert mirror.get(manifest_path(tag, repository)).status == 200
        assert ttl_of(mirror.get(manifest_path(tag, repository))) == ttl
    time.move(1050)
    states = {case: mirror.get(manifest_path(case[1], case[0]))["cache-status"].split("; ")[-1] for case in cases}
    assert states == {
        ("library/test", "latest"): "detail=revalidated", ("library/test", "v1"): "detail=revalidated",
        ("library/test", "x"): "detail=grace", ("team/app", "latest"): "detail=revalidated",
        ("team/app", "v1"): states["team/app", "v1"], ("other/app", "v1"): "detail=grace"}
    assert "ttl=" in states["team/app", "v1"]


def test_rules_are_checked(make_mirror, fake):
    mirror = make_mirror(fake, start=False, MIRROR_FRESHNESS="*:latest=soon")
    mirror.launch()
    mirror.wait_for_log("mirroring.freshness.*no ttl")
    wait_until(lambda: not mirror.process.is_running(), "it does not start")
    mirror.process = None


def test_reload(make, fake, time):
    mirror = make(MIRROR_FRESHNESS=None, MIRROR_TAGS_CACHE_TTL="172800")
    assert mirror.get(TAG).status == 200 and ttl_of(mirror.get(TAG)) == 172800
    time.move(172801)
    since = Asked(fake)
    assert "revalidated" in mirror.get(TAG)["cache-status"]
    since.settle("HEAD")


def test_digests_are_never_asked_about(make, fake, time):
    mirror = make()
    assert mirror.get(TAG).status == 200
    layer = FIRST.layers[0]["digest"]
    assert mirror.blob(layer).status == 200
    mirror.wait_kept(layer)
    time.move(10 * clock.YEAR)
    since = Asked(fake)
    for _ in range(3):
        assert mirror.get(manifest_path(FIRST.digest)).body == FIRST.manifest
        assert mirror.blob(layer).status == 200
    since.settle()


# --- an upstream that says that it is gone -------------------------------------------------------

GONE = faults.status(404, error="MANIFEST_UNKNOWN")


def test_gone_once(make, fake, time):
    """A 404 that comes once does not lose the tag."""
    mirror = make(MIRROR_GONE_CONFIRM="1h")
    mirror.get(TAG)
    time.move(160)
    fake.script("/manifests/latest", GONE)
    since = Asked(fake)
    response = mirror.get(TAG)
    assert response.status == 200 and response.body == FIRST.manifest
    assert "doubted" in response["cache-status"] and response["warning"].startswith("299 - ")
    # It is left alone for a while; a restart forgets that, and the upstream has found it again.
    for _ in range(5):
        assert "doubted" in mirror.get(TAG)["cache-status"]
    since.settle("HEAD")
    mirror.restart()
    response = mirror.get(TAG)
    assert response.body == FIRST.manifest and "revalidated" in response["cache-status"]


def test_gone_once_within_grace(make, fake, time):
    mirror = make(MIRROR_GONE_CONFIRM="1h")
    mirror.get(TAG)
    time.move(110)
    fake.script("/manifests/latest", GONE)
    since = Asked(fake)
    for _ in range(5):
        response = mirror.get(TAG)
        assert response.status == 200 and response.body == FIRST.manifest
        since.settle("HEAD")
    time.move(100)
    assert "doubted" in mirror.get(TAG)["cache-status"]
    since.settle("HEAD")


def test_gone_for_good(make, fake, time):
    """Said again after the delay it is believed."""
    mirror = make(MIRROR_GONE_CONFIRM="1s", MIRROR_NEGATIVE_TTL="1h")
    mirror.get(TAG)
    time.move(160)
    fake.always("/manifests/latest", GONE)
    since = Asked(fake)
    assert mirror.get(TAG).status == 200
    wait_until(lambda: mirror.get(TAG).status == 404, "it is believed")
    for _ in range(5):
        assert mirror.get(TAG).error_code() == "MANIFEST_UNKNOWN"
    since.settle("HEAD", "HEAD")
    assert mirror.get(manifest_path(FIRST.digest)).body == FIRST.manifest
    # It comes back.
    fake.behave_well()
    time.move(3601)
    assert mirror.get(TAG).body == FIRST.manifest


# --- absences ------------------------------------------------------------------------------------

OTHER = "sha256:" + "7" * 64
KINDS = {
    "TAGS": lambda mirror: mirror.get(manifest_path("none")),
    "MANIFESTS": lambda mirror: mirror.get(manifest_path(OTHER)),
    "BLOBS": lambda mirror: mirror.blob(OTHER),
    "LISTS": lambda mirror: mirror.get("/v2/library/none/tags/list"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_absences_by_kind(make, fake, kind):
    """One kind is remembered, the others are not."""
    settings = {"MIRROR_NEGATIVE_TTL_" + name: "1h" if name == kind else "0" for name in KINDS}
    mirror = make(MIRROR_NEGATIVE_TTL="0", **settings)
    for name, ask in KINDS.items():
        assert ask(mirror).status == 404
        since = Asked(fake)
        for _ in range(3):
            response = ask(mirror)
            assert response.status == 404 and response.error_code()
            told = "mirrord; hit; detail=negative" if name == kind else None
            assert response.get("cache-status") == told, response.head
        since.settle(*[] if name == kind else since.requests())
        assert (len(since.requests()) >= 3) == (name != kind)


def test_absence_of_a_blob_is_short(make, fake):
    """By the clock that nobody sets."""
    mirror = make(MIRROR_NEGATIVE_TTL_BLOBS="2s")
    data = noise(1000, 5)
    digest = digest_of(data)
    since, begin = Asked(fake), monotonic()
    for _ in range(5):
        assert mirror.blob(digest).status == 404
    assert 1 <= len(since.requests()) <= 1 + (monotonic() - begin) / 2
    fake.add_blob(data)
    wait_until(lambda: mirror.blob(digest).status == 200, "it is asked for again")


def test_absence_by_head_does_not_stop_get(make, fake):
    """Some registries answer HEAD with 404 for what GET gets."""
    mirror = make(MIRROR_NEGATIVE_TTL="1h")
    data = noise(1000, 6)
    digest = fake.add_blob(data)
    fake.script("/blobs/", faults.status(404, error="BLOB_UNKNOWN"), method="HEAD")
    since = Asked(fake)
    for _ in range(3):
        assert mirror.get(blob_path(digest), "HEAD").status == 404
    since.settle("HEAD")
    assert mirror.blob(digest).body == data


def test_a_push_ends_absences(make, fake):
    """At once, for every kind."""
    mirror = make(MIRROR_NEGATIVE_TTL="1h")
    pusher = Pusher(mirror.address)
    ours = simple(9)
    layer = ours.layers[0]["digest"]
    paths = [manifest_path("mine"), manifest_path(ours.digest), blob_path(layer)]
    for path in paths:
        for method in ("GET", "HEAD"):
            assert mirror.get(path, method).status == 404
    assert mirror.get("/v2/team/new/tags/list").status == 404
    pusher.image(REPOSITORY, ours, "mine")
    pusher.image("team/new", ours, "mine")
    since = Asked(fake)
    for path in paths:
        for method in ("GET", "HEAD"):
            assert mirror.get(path, method).status == 200
    assert mirror.get("/v2/team/new/tags/list").json()["tags"] == ["mine"]
    since.settle()


# --- little is left of the upstream's limit ------------------------------------------------------

def limit(fake, remaining, of=100):
    fake.extra_fields = [("ratelimit-limit", "%d;w=21600" % of), ("ratelimit-remaining", "%d;w=21600" % remaining)]


@pytest.mark.parametrize("floor, remaining, is_low", [
    ("10%", 9, True), ("10%", 10, False), ("20", 19, True), ("20", 20, False), ("0", 0, False)])
def test_ttls_stretch_below_the_floor(make, fake, time, floor, remaining, is_low):
    limit(fake, remaining)
    mirror = make(MIRROR_QUOTA_FLOOR=floor, MIRROR_QUOTA_STRETCH="3")
    mirror.get(TAG)
    assert mirror.metric("mirrord_upstream_quota_low") == is_low
    time.move(260)
    since = Asked(fake)
    response = mirror.get(TAG)
    assert response.body == FIRST.manifest
    since.settle(*[] if is_low else ["HEAD"])
    assert ("revalidated" in response["cache-status"]) != is_low
    time.move(100)
    mirror.get(TAG)
    since.settle(*["HEAD"] if is_low else ["HEAD", "HEAD"])


def test_no_get_in_the_background_below_the_floor(make, fake, time):
    """HEAD is free. Who waits is served."""
    limit(fake, 1)
    mirror = make(MIRROR_QUOTA_STRETCH="1", MIRROR_STALE_RETRY="1h")
    mirror.get(TAG)
    fake.add_image(SECOND, REPOSITORY, "latest")
    time.move(110)
    since = Asked(fake)
    assert mirror.get(TAG).body == FIRST.manifest
    since.settle("HEAD")
    mirror.wait_for_log("looking -> over")
    for _ in range(5):
        assert mirror.get(TAG).body == FIRST.manifest
    since.settle("HEAD")
    mirror.restart()
    time.move(100)
    assert mirror.get(TAG).body == SECOND.manifest
    since.settle("HEAD", "HEAD", "GET")


def test_throttled(make, fake, time):
    """429: what is here is served; what is not is told when to come again."""
    mirror = make()
    mirror.get(TAG)
    fake.always("/manifests/", THROTTLED)
    time.move(160)
    response = mirror.get(TAG)
    assert response.body == FIRST.manifest and "detail=stale" in response["cache-status"] and response["warning"]
    response = mirror.get(manifest_path("new"))
    assert response.status == 429 and int(response["retry-after"]) > 0


@pytest.mark.slow
def test_thousand_pulls_of_fifty_tags(make_mirror, fake, time):
    """In an hour: each manifest is fetched once, whatever is asked how often."""
    mirror = make_mirror(fake, **time.settings, MIRROR_FRESHNESS="*=5m/1h")
    images = [simple(n + 10) for n in range(50)]
    for n, image in enumerate(images):
        fake.add_image(image, REPOSITORY, "tag-%d" % n)
    with mirror.client() as client:
        for pull in range(1000):
            n = pull * 7 % 50
            assert client.get(manifest_path("tag-%d" % n)).body == images[n].manifest
            if pull % 10 == 9:
                time.move(36)
    assert fake.count("/manifests/", "GET") <= 50
