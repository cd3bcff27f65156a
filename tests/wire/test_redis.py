"""What mirrors share through Redis: tags, facts and absences, small objects, and the news of what has changed."""
import json
import os
import subprocess
import threading
import time

import pytest

from lib import faults
from lib.images import OCI_MANIFEST, simple
from lib.mirror import binary, manifest_path
from lib.pushing import Pusher
from lib.redis import wait_up
from lib.waiting import wait_until

REPOSITORY = "library/test"
LATEST = manifest_path("latest")
OLD, NEW, OURS = simple(1), simple(2), simple(3)


def tag_key(fake, tag="latest", repository=REPOSITORY):
    return "mirrord:1:127.0.0.1:%d:tag:%s:%s" % (fake.port, repository, tag)


def is_hearing(mirror):
    return "hearing what other processes change" in mirror.log()


def make(make_mirror, fake, redis, **settings):
    """A mirror whose connections stand, all of them: one per worker, and one to hear."""
    mirror = make_mirror(fake, **redis.settings(**settings))
    wait_up(mirror, n=mirror.n_workers + 1)
    wait_until(lambda: is_hearing(mirror), "it hears")
    return mirror


def make_told(make_mirror, fake, redis, **settings):
    """One that never had the tag, and shares Redis with one that has."""
    fake.add_image(OLD, REPOSITORY, "latest")
    first = make(make_mirror, fake, redis, **settings)
    assert digest_of(first) == OLD.digest
    wait_until(lambda: redis.value(tag_key(fake)), "the tag is shared")
    return make(make_mirror, fake, redis, **settings)


def make_second(make_mirror, fake, redis, first, **settings):
    """Another process on the same storage."""
    return make(make_mirror, fake, redis, STORAGE_PATH=first.storage, **settings)


def is_stored(mirror, tag="latest"):
    """The tag would be there after a restart, too."""
    path = os.path.join(mirror.storage, "docker/registry/v2/repositories", REPOSITORY, "_manifests/tags", tag)
    return os.path.exists(os.path.join(path, "current/link"))


def wait_stored(mirror, tag="latest"):
    wait_until(lambda: is_stored(mirror, tag), "the tag is stored")


def digest_of(mirror, target=LATEST, method="GET"):
    response = mirror.get(target, method)
    return response["docker-content-digest"] if response.status == 200 else response.status


# --- tags and facts ------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["tcp", "socket", "password and database", "host name"])
def test_tag_is_known_to_others(make_mirror, make_redis, fake, way):
    """A mirror with a storage of its own serves what another one has heard, without a question about the tag."""
    redis = make_redis(use_socket=way == "socket", password="se cret\"1" if way.startswith("password") else None)
    db = 3 if way.startswith("password") else 0
    more = {"CACHE_REDIS_DB": db} if db else {}
    if way == "host name":
        more["CACHE_REDIS_HOST"] = "localhost"
    fake.add_image(OLD, REPOSITORY, "latest")
    first, second = (make(make_mirror, fake, redis, **more) for _ in range(2))
    assert digest_of(first) == OLD.digest
    wait_until(lambda: redis.value(tag_key(fake), db), "the tag is shared")
    assert redis.value(tag_key(fake), db).decode().startswith("1 mirrored %s " % OLD.digest)
    assert 0 < redis.ask("TTL", tag_key(fake), db=db) <= 172800
    n_tags = fake.count("manifests/latest")
    response = second.get(LATEST)
    assert (response.status, response.body) == (200, OLD.manifest)
    assert fake.count("manifests/latest") == n_tags
    assert int(response["age"]) >= 0
    # It is kept there as if it had been asked for: also after a restart without Redis and upstream. Not the first time
    # perhaps: the news that the first one has stored it can come in between, and what was heard before that is dropped.
    second.wait_kept(OLD.digest)
    wait_until(lambda: digest_of(second) == OLD.digest and is_stored(second), "the tag is stored")
    redis.stop()
    fake.refuse()
    second.restart()
    assert digest_of(second) == OLD.digest


def test_facts_are_known_to_others(make_mirror, redis, fake):
    """HEAD of a tag, again and again, on both: the upstream hears of the first one only."""
    fake.add_image(OLD, REPOSITORY, "latest")
    first, second = (make(make_mirror, fake, redis) for _ in range(2))
    for mirror in (first, second) * 3:
        response = mirror.get(LATEST, "HEAD")
        assert (response.status, response["docker-content-digest"]) == (200, OLD.digest)
        assert (response["content-type"], response.length) == (OCI_MANIFEST, len(OLD.manifest))
    assert fake.count("/manifests/") == 1
    assert not second.has_blob(OLD.digest)


def test_facts_without_redis(mirror, fake):
    """The same in this process' memory."""
    fake.add_image(OLD, REPOSITORY, "latest")
    for _ in range(5):
        assert digest_of(mirror, method="HEAD") == OLD.digest
    assert fake.count("/manifests/") == 1


def test_absence_is_known_to_others(make_mirror, redis, fake):
    times = {"MIRROR_NEGATIVE_TTL": 0, "MIRROR_NEGATIVE_TTL_TAGS": 60}
    first, second = (make(make_mirror, fake, redis, **times) for _ in range(2))
    assert digest_of(first) == 404
    wait_until(lambda: redis.value(tag_key(fake)), "the absence is shared")
    assert 0 < redis.ask("TTL", tag_key(fake)) <= 60
    assert digest_of(second) == 404
    assert fake.count("manifests/latest") == 1
    # What is pushed counts, whatever the upstream said.
    Pusher(second.address).image(REPOSITORY, OURS, "latest")
    assert digest_of(second) == OURS.digest


def test_stale_words_are_not_believed(make_mirror, redis, fake):
    """What was confirmed longer ago than the TTL: as from the dump of an old Redis."""
    fake.add_image(OLD, REPOSITORY, "latest")
    fake.add_image(NEW, REPOSITORY, "latest")
    redis.ask("SET", tag_key(fake), "1 mirrored %s 1000 1000 -" % OLD.digest)
    mirror = make(make_mirror, fake, redis, MIRROR_TAGS_CACHE_TTL=60)
    assert digest_of(mirror) == NEW.digest


def test_pushed_tag_is_never_from_redis(make_mirror, redis, fake):
    """Whatever stands there, and however young it is."""
    fake.add_image(NEW, REPOSITORY, "latest")
    first = make(make_mirror, fake, redis)
    Pusher(first.address).image(REPOSITORY, OURS, "latest")
    for words in ("1 mirrored %s 4000000000 4000000000 -" % NEW.digest, "1 absent 4000000000"):
        redis.ask("SET", tag_key(fake), words)
        first.restart()
        wait_up(first, n=first.n_workers + 1)
        assert digest_of(first) == OURS.digest
    assert fake.count("/manifests/") == 0


def test_heard_of_what_is_nowhere(make_mirror, redis, fake):
    """Redis says present, and neither the storage nor the upstream has it: the tag is asked about after all."""
    fake.add_image(NEW, REPOSITORY, "latest")
    now = int(time.time())
    redis.ask("SET", tag_key(fake), "1 mirrored %s %d %d -" % (OURS.digest, now, now))
    mirror = make(make_mirror, fake, redis)
    for _ in range(3):
        assert digest_of(mirror) == NEW.digest


@pytest.mark.parametrize("how", [faults.status(503), faults.cut_head(0)])
def test_heard_of_what_cannot_be_fetched(make_mirror, redis, fake, how):
    """Another process has seen the tag move, and the upstream is away: what is here is served, as without Redis."""
    fake.add_image(OLD, REPOSITORY, "latest")
    mirror = make(make_mirror, fake, redis, MIRROR_TAGS_CACHE_TTL=1, MIRROR_RETRIES_MAX=0)
    assert digest_of(mirror) == OLD.digest
    mirror.wait_kept(OLD.digest)
    wait_stored(mirror)
    mirror.stop()
    mirror.settings["MIRROR_TAGS_CACHE_TTL"] = "60"
    now = int(time.time()) + 30
    wait_until(lambda: int(time.time()) > now - 29, "it is a little later")
    redis.ask("SET", tag_key(fake), "1 mirrored %s %d %d -" % (NEW.digest, now - 29, now - 29))
    fake.always("", how)
    mirror.settings["MIRROR_TAGS_CACHE_TTL"] = "1"
    mirror.start()
    wait_up(mirror, n=mirror.n_workers + 1)
    assert digest_of(mirror) == OLD.digest


# --- for how long --------------------------------------------------------------------------------


def life_of(redis, fake, tag):
    """Seconds that the key has left, once it is there."""
    name = tag_key(fake, tag)
    wait_until(lambda: redis.value(name), "the tag is shared")
    return redis.ask("TTL", name)


def test_life_follows_the_rules(make_mirror, redis, fake):
    """A key stands as long as the tag may be served without waiting for the upstream: ttl and grace of its own rule."""
    rules = "*:week=7d, *:short=100/0/forever, *:grace=100/5000/9000, *:always=0/0, *:background=0/700"
    lives = {"week": 7 * 86400 + 50, "short": 100, "grace": 5100, "background": 700, "other": 1050}
    for tag in (*lives, "always"):
        fake.add_image(OLD, REPOSITORY, tag)
    mirror = make(make_mirror, fake, redis, MIRROR_FRESHNESS=rules, MIRROR_TAGS_CACHE_TTL=1000, MIRROR_TAGS_GRACE=50)
    for tag in ("always", *lives):
        assert digest_of(mirror, manifest_path(tag)) == OLD.digest
    for tag, life in lives.items():
        # A slow machine takes its time between the two.
        assert life - 90 < life_of(redis, fake, tag) <= life
    assert redis.value(tag_key(fake, "always")) is None


def test_life_below_the_floor(make_mirror, redis, fake):
    """Little is left of the upstream's limit: what is told is good for longer, as what is remembered is."""
    fake.add_image(OLD, REPOSITORY, "latest")
    fake.extra_fields = [("ratelimit-limit", "100;w=21600"), ("ratelimit-remaining", "5;w=21600")]
    mirror = make(make_mirror, fake, redis, MIRROR_TAGS_CACHE_TTL=1000, MIRROR_QUOTA_FLOOR="10%", MIRROR_QUOTA_STRETCH=4)
    assert digest_of(mirror) == OLD.digest
    assert 1000 < life_of(redis, fake, "latest") <= 4000


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_within_grace_nobody_waits(make_mirror, redis, fake, time, method):
    """A mirror that never had the tag serves what another one has heard, and asks in the background; what comes of that
    is known to all."""
    second = make_told(make_mirror, fake, redis, MIRROR_FRESHNESS="*=100/5000", **time.settings)
    if method == "GET":
        assert digest_of(second, manifest_path(OLD.digest)) == OLD.digest
        second.wait_kept(OLD.digest)
    time.move(110)
    think = threading.Event()
    fake.script("/manifests/latest", faults.hold(think))
    n_asked = fake.count("/manifests/latest")
    response = second.get(LATEST, method)
    assert (response.status, response["docker-content-digest"]) == (200, OLD.digest)
    fake.wait_requests(1, "/manifests/latest", "HEAD")
    before = redis.value(tag_key(fake))
    think.set()
    wait_until(lambda: redis.value(tag_key(fake)) != before, "it is confirmed, and told")
    assert second.metric("mirrord_refreshes_total") == 1
    wait_until(lambda: "grace" not in second.get(LATEST, method)["cache-status"], "it is fresh")
    assert fake.count("/manifests/latest") == n_asked + 1


def test_beyond_grace_the_upstream_is_asked(make_mirror, redis, fake, time):
    second = make_told(make_mirror, fake, redis, MIRROR_FRESHNESS="*=100/50", **time.settings)
    time.move(200)
    n_asked = fake.count("/manifests/latest")
    assert digest_of(second) == OLD.digest
    assert fake.count("/manifests/latest") == n_asked + 1


# --- a warm memory front -------------------------------------------------------------------------


def wait_steady(mirror, name):
    """What follows a first pull in the background is over. Returns the metric."""
    seen = []

    def is_steady():
        seen.append(mirror.metric(name))
        return len(seen) > 50 and len(set(seen[-50:])) == 1
    wait_until(is_steady, "%s changes no more" % name)
    return seen[-1]


def test_warm_requests_do_not_touch_redis(make_mirror, redis, fake):
    fake.add_image(OLD, REPOSITORY, "latest")
    mirror = make(make_mirror, fake, redis)
    mirror.get(LATEST)
    mirror.wait_kept(OLD.digest)
    mirror.get(LATEST)
    name = 'mirrord_redis_requests_total{server="cache",result="sent"}'
    wait_until(lambda: redis.value(tag_key(fake)), "the tag is shared")
    wait_stored(mirror)
    before = wait_steady(mirror, name)
    for _ in range(50):
        for target in (LATEST, manifest_path(OLD.digest)):
            for method in ("GET", "HEAD"):
                assert digest_of(mirror, target, method) == OLD.digest
    assert mirror.metric(name) == before


# --- news ----------------------------------------------------------------------------------------


def test_push_reaches_the_other_process(make_mirror, redis, fake):
    """The other one remembers the tag from before, and remembers that there was none."""
    first = make(make_mirror, fake, redis)
    second = make_second(make_mirror, fake, redis, first)
    third = manifest_path("third")
    assert (digest_of(second), digest_of(second, third)) == (404, 404)
    pusher = Pusher(first.address)
    pusher.image(REPOSITORY, OLD, "latest", "third")
    for target in (LATEST, third):
        wait_until(lambda: digest_of(second, target) == OLD.digest, "the push is seen")
    pusher.image(REPOSITORY, NEW, "latest")
    wait_until(lambda: digest_of(second) == NEW.digest, "the second push is seen")
    assert digest_of(second, third) == OLD.digest


def test_delete_reaches_the_other_process(make_mirror, redis, fake):
    first = make(make_mirror, None, redis, DELETE_ENABLED="true")
    second = make_second(make_mirror, None, redis, first)
    pusher = Pusher(first.address)
    pusher.image(REPOSITORY, OLD, "latest", "other")
    by_digest = manifest_path(OLD.digest)
    for target in (LATEST, by_digest):
        assert digest_of(second, target) == OLD.digest
    assert pusher.delete(REPOSITORY, "manifests", "latest").status == 202
    wait_until(lambda: digest_of(second) == 404, "the tag is gone there, too")
    assert pusher.delete(REPOSITORY, "manifests", OLD.digest).status == 202
    wait_until(lambda: digest_of(second, by_digest) == 404, "and the manifest")
    assert digest_of(second, manifest_path("other")) == 404


def test_revalidation_reaches_the_other_process(make_mirror, redis, fake):
    """A tag that moved upstream, and was asked about by one of them, costs the upstream nothing for the other."""
    fake.add_image(OLD, REPOSITORY, "latest")
    first = make(make_mirror, fake, redis, DELETE_ENABLED="true")
    second = make_second(make_mirror, fake, redis, first)
    assert digest_of(first) == OLD.digest
    wait_until(lambda: redis.value(tag_key(fake)), "the tag is shared")
    wait_stored(first)
    assert digest_of(second) == OLD.digest
    fake.add_image(NEW, REPOSITORY, "latest")
    # What one of them removes, both ask about again; the first one that does so tells the other.
    assert Pusher(first.address).delete(REPOSITORY, "manifests", "latest").status == 202
    wait_until(lambda: digest_of(second) == NEW.digest, "the move is seen")
    wait_until(lambda: NEW.digest in (redis.value(tag_key(fake)) or b"").decode(), "and told")
    n_tags = fake.count("manifests/latest")
    wait_until(lambda: digest_of(first) == NEW.digest, "and by the other")
    assert fake.count("manifests/latest") == n_tags


def test_news_while_redis_was_away(make_mirror, make_redis, fake):
    """What could not be told is made up for when Redis is back."""
    redis = make_redis()
    first = make(make_mirror, fake, redis)
    second = make_second(make_mirror, fake, redis, first)
    pusher = Pusher(first.address)
    pusher.image(REPOSITORY, OLD, "latest")
    wait_until(lambda: digest_of(second) == OLD.digest, "the push is seen")
    redis.stop()
    for mirror in (first, second):
        wait_until(lambda: mirror.metric('mirrord_redis_connections{server="cache"}') == 0, "it is away")
    pusher.image(REPOSITORY, NEW, "latest")
    redis.start()
    wait_until(lambda: digest_of(second) == NEW.digest, "the push is seen")


def test_news_that_only_one_could_not_tell(make_mirror, redis, proxy, fake):
    """The listener's connection stood all the time."""
    first = make(make_mirror, fake, proxy)
    second = make_second(make_mirror, fake, redis, first)
    pusher = Pusher(first.address)
    pusher.image(REPOSITORY, OLD, "latest")
    wait_until(lambda: digest_of(second) == OLD.digest, "the push is seen")
    proxy.refuse()
    wait_until(lambda: first.metric('mirrord_redis_connections{server="cache"}') == 0, "it is away")
    pusher.image(REPOSITORY, NEW, "latest")
    first.wait_metric('mirrord_invalidations_total{direction="missed"}', 1)
    proxy.pass_on()
    wait_until(lambda: digest_of(second) == NEW.digest, "the push is seen")


def test_without_news_memory_is_read_again(make_mirror, redis, fake):
    """Redis never comes back: what others push shows after unheard_ttl."""
    first = make(make_mirror, fake, redis, CACHE_REDIS_UNHEARD_TTL="300ms")
    second = make_second(make_mirror, fake, redis, first, CACHE_REDIS_UNHEARD_TTL="300ms")
    pusher = Pusher(first.address)
    pusher.image(REPOSITORY, OLD, "latest")
    wait_until(lambda: digest_of(second) == OLD.digest, "the push is seen")
    redis.stop()
    pusher.image(REPOSITORY, NEW, "latest")
    wait_until(lambda: digest_of(second) == NEW.digest, "the push is seen")


# --- small objects -------------------------------------------------------------------------------


def objects(redis, **settings):
    return redis.settings("CACHE_LRU", CACHE_LRU_REDIS_USE="always", **settings)


def blob_key(image):
    return "mirrord:1:blob:" + image.digest


def test_manifests_are_kept_as_objects(make_mirror, redis, fake):
    """A mirror with a storage of its own finds the body there."""
    fake.add_image(OLD, REPOSITORY, "latest")
    first, second = (make_mirror(fake, **{**redis.settings(), **objects(redis)}) for _ in range(2))
    for mirror in (first, second):
        wait_up(mirror, n=mirror.n_workers + 1)
        wait_up(mirror, "cache_lru", mirror.n_workers)
    assert digest_of(first) == OLD.digest
    wait_until(lambda: redis.value(blob_key(OLD)) == OLD.manifest, "the body is there")
    wait_until(lambda: redis.value(tag_key(fake)), "and the tag")
    response = second.get(LATEST)
    assert (response.status, response.body, response["content-type"]) == (200, OLD.manifest, OCI_MANIFEST)
    assert fake.count("/manifests/") == 1
    second.wait_kept(OLD.digest)


@pytest.mark.parametrize("wrong", [b"{}", b"", OLD.manifest[:-1], OLD.manifest + b" ", NEW.manifest])
def test_wrong_object_is_dropped(make_mirror, redis, fake, wrong):
    fake.add_image(OLD, REPOSITORY, "latest")
    mirror = make_mirror(fake, **objects(redis))
    wait_up(mirror, "cache_lru", mirror.n_workers)
    assert digest_of(mirror) == OLD.digest
    mirror.wait_kept(OLD.digest)
    mirror.stop()
    redis.ask("SET", blob_key(OLD), wrong)
    mirror.start()
    wait_up(mirror, "cache_lru", mirror.n_workers)
    response = mirror.get(LATEST)
    assert (response.status, response.body) == (200, OLD.manifest)
    wait_until(lambda: redis.value(blob_key(OLD)) == OLD.manifest, "the right one is there again")
    if wrong:
        assert mirror.metric('mirrord_meta_lookups_total{cache="cache_lru",result="wrong"}') == 1


def test_large_objects_are_not_kept(make_mirror, redis, fake):
    fake.add_image(OLD, REPOSITORY, "latest")
    mirror = make_mirror(fake, **objects(redis, CACHE_LRU_REDIS_OBJECT_MAX_BYTES=len(OLD.manifest) - 1))
    wait_up(mirror, "cache_lru", mirror.n_workers)
    assert digest_of(mirror) == OLD.digest
    mirror.wait_kept(OLD.digest)
    assert redis.keys() == []


def test_auto_does_not_use_objects_for_local_storage(make_mirror, redis, fake):
    fake.add_image(OLD, REPOSITORY, "latest")
    mirror = make_mirror(fake, **redis.settings("CACHE_LRU"))
    assert digest_of(mirror) == OLD.digest
    mirror.wait_kept(OLD.digest)
    assert redis.keys() == [] and redis.n_clients() == 0
    assert "cache_lru is not used" in mirror.log()


# --- settings ------------------------------------------------------------------------------------


def test_host_without_port(make_mirror):
    for group in ("CACHE", "CACHE_LRU"):
        mirror = make_mirror(start=False, **{group + "_REDIS_HOST": "127.0.0.1"})
        done = subprocess.run([binary(), "check"], env=mirror.environment(), capture_output=True, text=True)
        assert done.returncode != 0
        assert "%s.port: not set, but %s.host is" % (group.lower(), group.lower()) in done.stderr + done.stdout


def test_health_tells(make_mirror, redis, fake):
    mirror = make(make_mirror, fake, redis)
    health = mirror.admin("/healthz").json()
    assert health["status"] == "ok"
    assert health["cache"] == {"server": "127.0.0.1:%d" % redis.port, "up": True, "connections": mirror.n_workers + 1}
    redis.stop()
    wait_until(lambda: not mirror.admin("/healthz").json()["cache"]["up"], "it is told")
    assert mirror.admin("/healthz").json()["status"] == "ok"


def test_password_is_not_told(make_mirror, make_redis, fake):
    redis = make_redis(password="very-secret")
    mirror = make(make_mirror, fake, redis)
    assert digest_of(mirror) == 404
    wrong = make_mirror(fake, **redis.settings(), **{"MIRROR_TAGS_CACHE_TTL": 60})
    wrong.stop()
    wrong.settings["CACHE_REDIS_PASSWORD"] = "other-secret"
    wrong.start()
    wrong.wait_for_log("redis cache.*it refuses: WRONGPASS")
    assert digest_of(wrong) == 404
    for text in (mirror.log(), wrong.log(), json.dumps(mirror.admin("/healthz").json())):
        assert "very-secret" not in text and "other-secret" not in text


def test_absence_elsewhere_takes_no_tag_away(make_mirror, redis, fake):
    """Another mirror, which never had the tag, is told 404 once: what is remembered here stays, fresh or old, with and
    without the upstream."""
    fake.add_image(OLD, REPOSITORY, "latest")
    first = make(make_mirror, fake, redis, MIRROR_NEGATIVE_TTL=3600)
    assert digest_of(first) == OLD.digest
    first.wait_kept(OLD.digest)
    wait_stored(first)
    redis.ask("FLUSHALL")
    fake.script("manifests/latest", faults.status(404))
    second = make(make_mirror, fake, redis, MIRROR_NEGATIVE_TTL=3600)
    assert digest_of(second) == 404
    wait_until(lambda: b" absent " in (redis.value(tag_key(fake)) or b""), "the absence is shared")
    n_asked = fake.count("manifests/latest")
    first.restart()
    wait_up(first, n=first.n_workers + 1)
    assert digest_of(first) == OLD.digest
    assert fake.count("manifests/latest") == n_asked
    fake.refuse()
    first.settings["MIRROR_TAGS_CACHE_TTL"] = "0"
    first.restart()
    wait_up(first, n=first.n_workers + 1)
    assert digest_of(first) == OLD.digest
