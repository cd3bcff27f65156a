"""The wall clock jumps back by a day and forward by a year, while the daemon runs and over a restart: nothing wrong is
served, nothing is asked in a loop, ages make sense."""
import pytest

from lib import clock, evicting, faults, rawhttp
from lib.images import noise, simple
from lib.mirror import blob_path, manifest_path
from lib.pushing import Pusher
from lib.waiting import stays_so, wait_until

REPOSITORY = "library/test"
THEIRS, OURS = simple(1), simple(2)
LAYER = THEIRS.layers[0]["digest"]
JUMPS = {"back a day": -clock.DAY, "forward a year": clock.YEAR}


@pytest.fixture
def make(make_mirror, fake, time):
    fake.add_image(THEIRS, REPOSITORY, "latest")
    fake.referrers = {}

    def begin(**settings):
        mirror = make_mirror(fake, **{**time.settings, "MIRROR_FRESHNESS": "*=1h/10m", "MIRROR_RETRIES_MAX": "0",
                                      "DELETE_ENABLED": "true", **settings})
        Pusher(mirror.address).image("team/ours", OURS, "latest")
        assert mirror.get(manifest_path("latest")).status == 200
        assert mirror.blob(LAYER).status == 200
        assert mirror.get("/v2/%s/referrers/%s" % (REPOSITORY, THEIRS.digest)).status == 200
        assert mirror.get(manifest_path("none")).status == 404
        mirror.wait_kept(LAYER)
        mirror.wait_kept(THEIRS.digest)
        return mirror
    return begin


def check(mirror, fake):
    """All that is here is served, each thing is asked about once at most."""
    n = len(fake.requests)
    for _ in range(5):
        response = mirror.get(manifest_path("latest"))
        assert response.status == 200 and response.body == THEIRS.manifest
        assert 0 <= int(response["age"]) <= 2 * clock.YEAR
        assert mirror.get(manifest_path(THEIRS.digest)).body == THEIRS.manifest
        assert mirror.blob(LAYER).status == 200
        response = mirror.get(manifest_path("latest", "team/ours"))
        assert response.body == OURS.manifest and response.get("age") is None
        assert mirror.get("/v2/%s/referrers/%s" % (REPOSITORY, THEIRS.digest)).status == 200
        assert mirror.get(manifest_path("none")).status == 404
    paths = [(request.method, request.path) for request in fake.requests[n:]]
    # The referrers are asked for twice: by the API, or by the tag that stands in for it.
    assert all(paths.count(path) <= 2 for path in paths), paths
    return paths


def test_nothing_is_too_old_by_a_jump(make_mirror, fake, time):
    """Forward a year, and back: what nobody has used for cache_max_age is told by the time that has passed."""
    fake.add_image(THEIRS, REPOSITORY, "latest")
    mirror = evicting.with_limits(make_mirror, fake, time.settings, cache_max_age="30d")
    evicting.keep(mirror, THEIRS, REPOSITORY, "latest")
    evicting.wait_ready(mirror)
    evicting.wait_image(mirror, REPOSITORY + ":latest", lambda image: image and image["whole"])
    for seconds, age_s in ((clock.YEAR, 29 * clock.DAY), (-clock.YEAR, 28 * clock.DAY)):
        time.move(seconds)
        mirror.wait_for_log("the clock has been set by %s[0-9]+ seconds" % ("-" if seconds < 0 else ""))
        evicting.set_limits(mirror, cache_max_age="%ds" % age_s)
        wait_until(lambda: abs(evicting.report(mirror)["max_age_s"] - age_s - max(seconds, 0)) < 60 and
                   not evicting.report(mirror)["running"], lambda: "it knows of the jump: %s" % evicting.report(mirror))
        assert evicting.report(mirror)["images_total"] == 0
        assert all(mirror.has_blob(digest) for digest in evicting.all_digests(THEIRS))
    time.move(20 * clock.DAY)
    mirror.wait_for_log("the clock has been set by 17[0-9]+ seconds")
    evicting.set_limits(mirror, cache_max_age="1s")
    evicting.wait_gone(mirror, *evicting.all_digests(THEIRS))


@pytest.mark.parametrize("jump", JUMPS)
@pytest.mark.parametrize("restarts", [False, True], ids=["running", "restarted"])
def test_jump(make, fake, time, jump, restarts):
    """And back again to where it was."""
    mirror = make()
    for seconds in (JUMPS[jump], -JUMPS[jump]):
        if restarts:
            mirror.stop()
        time.move(seconds)
        if restarts:
            mirror.start()
        paths = check(mirror, fake)
        assert ("GET", manifest_path("latest")) not in paths and ("GET", blob_path(LAYER)) not in paths
        n = len(fake.requests)
        stays_so(lambda: len(fake.requests) == n, "nobody has asked for anything")
        # What is fresh by the new clock is served unasked.
        assert "detail" not in mirror.get(manifest_path("latest"))["cache-status"]
    mirror.check_storage()


@pytest.mark.parametrize("jump", JUMPS)
@pytest.mark.parametrize("restarts", [False, True], ids=["running", "restarted"])
def test_jump_while_the_upstream_is_away(make, fake, time, jump, restarts):
    mirror = make(MIRROR_TAGS_CACHE_TTL="1h", MIRROR_STALE_RETRY="1h")
    if restarts:
        mirror.stop()
    time.move(JUMPS[jump])
    fake.refuse()
    if restarts:
        mirror.start()
    for _ in range(5):
        response = mirror.get(manifest_path("latest"))
        assert response.status == 200 and response.body == THEIRS.manifest
        assert "detail=stale" in response["cache-status"] and 0 <= int(response["age"]) <= 2 * clock.YEAR
        assert mirror.blob(LAYER).status == 200
        assert mirror.get(manifest_path("latest", "team/ours")).body == OURS.manifest


@pytest.mark.parametrize("jump", JUMPS)
def test_jump_in_the_middle_of_a_push(make, fake, time, jump):
    """What was brought a moment ago is not garbage, whatever the clock says now."""
    mirror = make(GC_GRACE="1d")
    pusher = Pusher(mirror.address)
    image = simple(9)
    for digest, body in image.blobs.items():
        assert pusher.blob("team/app", body.data) == digest
    upload = pusher.begin("team/app")
    assert upload.patch(noise(1000)).status == 202
    time.move(JUMPS[jump])
    with rawhttp.Client(mirror.admin_address) as admin:
        admin.request("/gc", "POST")
        assert admin.read_response().status == 202
    mirror.wait_metric('mirrord_gc_runs_total{result="done"}', 1)
    assert pusher.put_manifest("team/app", "latest", image.manifest, image.media_type).status == 201
    pusher.check_image("team/app", image, "latest")
    assert upload.patch(noise(1000)).status == 202
    assert mirror.get(manifest_path("latest")).status == 200


@pytest.mark.parametrize("jump", JUMPS)
def test_jump_in_the_middle_of_a_pull(make, fake, time, jump):
    mirror = make(MIRROR_RETRIES_MAX="4", MIRROR_BACKOFF_BASE="5ms")
    data = noise(300000, 8)
    digest = fake.add_blob(data)
    fake.script("/blobs/", faults.cut(100000), faults.cut(50000))
    with mirror.client() as client:
        client.request(blob_path(digest))
        response = client.read_head()
        time.move(JUMPS[jump])
        assert client.read_body(response.length) == data
    mirror.wait_kept(digest)
    mirror.check_storage()


def test_it_jumps_all_the_time(make, fake, time):
    """A clock that is set to and fro makes questions, one each time, and nothing else."""
    mirror = make()
    n = fake.count("/manifests/latest")
    for turn in range(10):
        time.move(clock.DAY if turn % 2 else -clock.DAY)
        for _ in range(3):
            response = mirror.get(manifest_path("latest"))
            assert response.status == 200 and response.body == THEIRS.manifest
    assert fake.count("/manifests/latest") - n <= 10
    assert fake.count("/manifests/latest", "GET") == 1
