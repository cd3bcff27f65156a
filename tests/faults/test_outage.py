"""Every upstream is away, or may not be asked: all that is stored is served, byte by byte and field by field, also after
a start on the bare storage; what is not is told at once and in the registry's form."""
import json
import os
import shutil
import signal
import threading
import time

import pytest

from lib import faults, rawhttp, volume
from lib.images import OCI_MANIFEST, Index, digest_of, simple
from lib.mirror import blob_path, manifest_path
from lib.pushing import Pusher
from lib.redis import wait_up
from lib.waiting import wait_until

QUICK = {"MIRROR_STALE_WAIT": "300ms", "MIRROR_MISS_WAIT": "700ms", "MIRROR_BREAKER_FAILURES": "10000",
         "MIRROR_HEADER_TIMEOUT": "60s", "MIRROR_RETRIES_MAX": "1", "MIRROR_BACKOFF_BASE": "5ms",
         "MIRROR_TAGS_CACHE_TTL": "0", "MIRROR_REFERRERS_TTL": "0", "MIRROR_CONNECT_TIMEOUT": "60s"}
TOLD = ("content-type", "content-length", "docker-content-digest", "etag", "link", "oci-filters-applied", "accept-ranges",
        "docker-distribution-api-version", "x-mirrord-origin", "cache-control")
FIRST, SECOND, THIRD, OURS = simple(1, layers=2), simple(2, "docker"), simple(3), simple(4)
INDEX = Index([simple(5), simple(6)])
PARTLY = Index([simple(7), simple(8)])
ABSENT = "sha256:" + "0" * 64


def signature(subject):
    config = {"mediaType": "application/vnd.oci.empty.v1+json", "size": 2, "digest": digest_of(b"{}")}
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": "application/vnd.example.signature",
                       "config": config, "layers": [],
                       "subject": {"mediaType": OCI_MANIFEST, "size": 7, "digest": subject}}).encode()


class Corpus:
    """Single images, indexes, one that is here in part, referrers and pushed ones, in several repositories."""

    def __init__(self, mirror, fake):
        self.mirror = mirror
        pictures = {("library/one", "latest"): FIRST, ("library/one", "v1"): FIRST, ("library/one", "v2"): SECOND,
                    ("team/two", "latest"): THIRD, ("team/two", "all"): INDEX, ("team/three", "part"): PARTLY,
                    ("deep/er/four", "latest"): INDEX}
        self.paths = []
        for (repository, tag), image in pictures.items():
            fake.add_image(image, repository, tag)
            self.note(repository, tag, image)
        Pusher(mirror.address).image("team/ours", OURS, "latest")
        self.note("team/ours", "latest", OURS)
        # Of the second platform nothing is ever pulled.
        lost = [PARTLY.images[1].digest] + list(PARTLY.images[1].blobs)
        self.paths = [path for path in self.paths if not any(digest in path for digest in lost)]
        fake.referrers = {("library/one", FIRST.digest): [self.refer(fake, FIRST.digest)]}
        self.paths += ["/v2/library/one/referrers/" + FIRST.digest, "/v2/library/one/referrers/%s?artifactType=%s" % (
            FIRST.digest, "application%2Fvnd.example.signature"), "/v2/team/two/referrers/" + THIRD.digest]
        self.paths += ["/v2/%s/tags/list" % name for name, _ in pictures] + ["/v2/team/ours/tags/list"]
        self.paths = sorted(set(self.paths))
        for path in self.paths:
            # The mirror's patience is so short in these tests that a busy machine can exceed it.
            wait_until(lambda: self.ask(path)[0].status == 200, path)
        mirror.wait_no_fills()
        for repository, tag in [*pictures, ("library/one", "signature")]:
            wait_until(lambda: volume.tag_digest(mirror.storage, repository, tag), "%s is stored" % tag)
        # By now all is stored, and so are descriptors of ours, which are told instead of the upstream's.
        self.answers = {path: self.ask(path) for path in self.paths}

    def refer(self, fake, subject):
        manifest = signature(subject)
        digest = fake.add_manifest(manifest, OCI_MANIFEST, "library/one", "signature")
        fake.add_blob(b"{}")
        self.paths += [manifest_path("signature", "library/one"), manifest_path(digest, "library/one")]
        return {"mediaType": OCI_MANIFEST, "size": len(manifest), "digest": digest,
                "artifactType": "application/vnd.example.signature"}

    def note(self, repository, tag, image):
        self.paths.append(manifest_path(tag, repository))
        self.paths += [manifest_path(digest, repository) for digest in image.manifests()]
        self.paths += [blob_path(digest, repository) for digest in image.blobs]

    def ask(self, path):
        return self.mirror.get(path), self.mirror.get(path, "HEAD")

    def check(self):
        """Every byte and every field. Paths that were answered otherwise are told together."""
        wrong = []
        for path, before in self.answers.items():
            for old, new in zip(before, self.ask(path)):
                fields = [name for name in TOLD if old.get(name) != new.get(name)]
                if fields == ["x-mirrord-origin"] and new.get("x-mirrord-origin") is None:
                    # Memory was doubted in that moment, because Redis was lost or found: then it is not told, once.
                    again = self.ask(path)[0 if old is before[0] else 1]
                    fields = [name for name in TOLD if old.get(name) != again.get(name)]
                if new.status != 200 or old.body != new.body or fields:
                    wrong.append((path, new.status, [(name, old.get(name), new.get(name)) for name in fields]))
        assert not wrong, wrong

    def check_misses(self, statuses):
        lost = PARTLY.images[1]
        paths = [manifest_path("none", "library/one"), manifest_path(lost.digest, "team/three"),
                 blob_path(lost.layers[0]["digest"], "team/three"), blob_path(ABSENT, "library/one"),
                 manifest_path(ABSENT, "nobody/knows"), manifest_path("latest", "nobody/knows"),
                 "/v2/nobody/knows/tags/list"]
        for path in paths:
            for method in ("GET", "HEAD"):
                response = self.mirror.get(path, method)
                assert response.status in statuses, (path, response.head)
                assert method == "HEAD" or response.error_code(), response.body


def pull_tag(mirror, tag="latest"):
    wait_until(lambda: mirror.get(manifest_path(tag)).status == 200, "%s is pulled" % tag)


def forget(mirror):
    """What is not the truth is thrown away."""
    shutil.rmtree(mirror.storage + "/_mirrord", ignore_errors=True)


def black_hole(fake):
    """Takes connections and never answers."""
    fake.always("/", faults.silence())
    fake.cut_connections()


AWAYS = {"refused": lambda fake: fake.refuse(), "black hole": black_hole,
         "no such name": lambda fake: fake.refuse()}


@pytest.mark.slow
@pytest.mark.parametrize("away", AWAYS)
def test_all_that_is_stored_is_served(make_mirror, fake, away):
    mirror = make_mirror(fake, **QUICK)
    corpus = Corpus(mirror, fake)
    AWAYS[away](fake)
    corpus.check()
    mirror.stop()
    forget(mirror)
    if away == "no such name":
        mirror.settings["MIRROR_SOURCE"] = "http://registry.invalid:%d" % fake.port
    mirror.start()
    corpus.check()
    corpus.check_misses({502, 503, 504})
    corpus.check()


def n_heard(mirror):
    return mirror.log().count("hearing what other processes change")


def forget_ledger(mirror):
    names = [name for name in os.listdir(mirror.storage + "/_mirrord") if name.startswith("ledger.db")]
    assert "ledger.db" in names
    for name in names:
        os.remove(os.path.join(mirror.storage, "_mirrord", name))


@pytest.mark.parametrize("fate", ["flushed", "kept", "dead"])
@pytest.mark.parametrize("lose", [forget_ledger, forget], ids=["ledger lost", "all but the truth lost"])
def test_all_that_is_stored_is_served_without_redis(make_mirror, make_redis, fake, lose, fate):
    """What Redis and the ledger knew is not needed: both may be gone, and Redis may also say what it said before."""
    redis = make_redis()
    lru = redis.settings("CACHE_LRU", CACHE_LRU_REDIS_DB=1, CACHE_LRU_REDIS_USE="always")
    mirror = make_mirror(fake, **{**QUICK, **redis.settings(), **lru})
    wait_up(mirror, n=mirror.n_workers + 1)
    wait_up(mirror, "cache_lru", n=mirror.n_workers)
    wait_until(lambda: n_heard(mirror), "it hears")
    corpus = Corpus(mirror, fake)
    assert redis.keys() and redis.keys(db=1), "nothing was told to Redis"
    fake.refuse()
    corpus.check()
    redis.ask("FLUSHALL")
    corpus.check()
    mirror.stop()
    lose(mirror)
    if fate == "flushed":
        redis.ask("FLUSHALL")
    elif fate == "dead":
        redis.stop()
    n = n_heard(mirror)
    mirror.start()
    if fate != "dead":
        # Who begins to hear doubts what it remembers: an answer at that moment may not tell where a blob came from.
        wait_until(lambda: n_heard(mirror) > n, "it hears again")
    corpus.check()
    if fate != "dead":
        redis.ask("FLUSHALL")
        corpus.check()
    corpus.check_misses({502, 503, 504})
    wait_until(lambda: '"state":"ready"' in mirror.admin("/ledger").body.decode(), "the ledger is made anew")
    corpus.check()


@pytest.mark.slow
def test_silence_is_waited_for_once(make_mirror, fake):
    """An upstream that never answers costs one client its patience; a hundred tags do not cost a hundred."""
    mirror = make_mirror(fake, **{**QUICK, "MIRROR_STALE_WAIT": "2s", "MIRROR_STALE_RETRY": "1h"})
    tags = ["tag-%d" % n for n in range(100)]
    for tag in tags:
        fake.add_image(FIRST, "library/test", tag)
        pull_tag(mirror, tag)
    black_hole(fake)
    mirror.restart()
    # The question of the first is the one that is waited for: its client is told when the wait is over.
    response = mirror.get(manifest_path(tags[0]))
    assert response.status == 200 and "detail=stale" in response["cache-status"]
    # If these waited as long, they would take 198 seconds together.
    with mirror.client() as client:
        begin = time.monotonic()
        for tag in tags[1:]:
            response = client.get(manifest_path(tag))
            assert response.status == 200 and "detail=stale" in response["cache-status"]
        assert time.monotonic() - begin < 150
        assert client.get("/v2/library/test/tags/list").json()["tags"] == sorted(tags)
        assert client.get("/v2/library/test/referrers/" + FIRST.digest).status == 200
    # It answers again: that is noticed in the background.
    assert mirror.log().count("tag ask -> body load") <= 1 + len(tags)


def test_silence_ends_with_the_first_answer(make_mirror, fake):
    mirror = make_mirror(fake, **{**QUICK, "MIRROR_STALE_RETRY": "1s", "MIRROR_HEADER_TIMEOUT": "1s",
                                  "MIRROR_RETRIES_MAX": "0"})
    fake.add_image(FIRST, "library/test", "latest")
    pull_tag(mirror)
    black_hole(fake)
    assert "detail=stale" in mirror.get(manifest_path("latest"))["cache-status"]
    fake.behave_well()
    wait_until(lambda: "revalidated" in mirror.get(manifest_path("latest"))["cache-status"], "it is asked again")


def test_a_miss_does_not_hang(make_mirror, fake):
    """Who can be told nothing is told so in time, and the question goes on."""
    mirror = make_mirror(fake, **QUICK)
    fake.add_image(FIRST, "library/test", "latest")
    layer = FIRST.layers[0]["digest"]
    think = threading.Event()
    fake.always("/", faults.hold(think))
    for path in (manifest_path("latest"), manifest_path(FIRST.digest), blob_path(layer)):
        for method in ("GET", "HEAD"):
            response = mirror.get(path, method)
            assert response.status == 504, response.head
            assert method == "HEAD" or response.error_code()
    think.set()
    wait_until(lambda: mirror.get(manifest_path("latest")).status == 200, "it has come")
    wait_until(lambda: mirror.get(blob_path(layer)).status == 200, "the layer has come")


# --- offline -------------------------------------------------------------------------------------

def switch(mirror, value):
    with rawhttp.Client(mirror.admin_address) as client:
        client.request("/offline?value=" + value, "POST")
        return client.read_response()


@pytest.mark.parametrize("is_cold", [False, True], ids=["at run time", "cold"])
def test_offline(make_mirror, fake, is_cold):
    """Nothing is asked, not even a token."""
    mirror = make_mirror(fake, **QUICK)
    corpus = Corpus(mirror, fake)
    if is_cold:
        mirror.stop()
        forget(mirror)
        mirror.settings["MIRROR_OFFLINE"] = "true"
        mirror.start()
    else:
        assert switch(mirror, "true").json() == {"offline": True, "by": "operator"}
    assert mirror.metric("mirrord_offline") == 1
    n, n_connections = len(fake.requests), fake.n_connections
    corpus.check()
    corpus.check_misses({404})
    response = mirror.get(manifest_path("latest", "library/one"))
    assert "detail=offline" in response["cache-status"] and response["warning"].startswith("299 - ")
    assert mirror.get("/v2/").status == 200
    ours = simple(40)
    Pusher(mirror.address).image("team/new", ours, "latest")
    assert mirror.get(manifest_path("latest", "team/new")).body == ours.manifest
    assert (len(fake.requests), fake.n_connections) == (n, n_connections)
    # And back.
    assert switch(mirror, "false").json()["offline"] is False
    wait_until(lambda: "revalidated" in mirror.get(manifest_path("latest", "library/one"))["cache-status"], "it is asked")
    last = PARTLY.images[1]
    wait_until(lambda: mirror.get(manifest_path(last.digest, "team/three")).body == last.manifest, "the last one has come")


def test_offline_stops_what_is_under_way(make_mirror, fake):
    """A download that breaks is not taken up again, nothing is repeated."""
    mirror = make_mirror(fake, **{**QUICK, "MIRROR_RETRIES_MAX": "100", "MIRROR_BACKOFF_BASE": "20ms",
                                  "MIRROR_BACKOFF_MAX": "20ms", "MIRROR_MISS_WAIT": "60s"})
    fake.add_image(FIRST, "library/test", "latest")
    layer = FIRST.layers[0]["digest"]
    fake.always("/", faults.cut(10))
    answers = []
    client = threading.Thread(target=lambda: answers.append(mirror.get(blob_path(layer), allow_short=True)))
    client.start()
    fake.wait_requests(3, "/blobs/")
    switch(mirror, "true")
    client.join()
    mirror.wait_no_fills()
    n = len(fake.requests)
    for _ in range(5):
        assert mirror.get(blob_path(layer)).status == 404
    assert len(fake.requests) == n
    assert switch(mirror, "nonsense").status == 400
    switch(mirror, "setting")
    fake.behave_well()
    wait_until(lambda: mirror.get(blob_path(layer)).status == 200, "it is had again")


def test_offline_by_reload(make_mirror, fake, tmp_path):
    """The setting counts until an operator says otherwise."""
    path = tmp_path / "mirrord.yml"

    def write(value):
        path.write_text("local:\n  storage: local\n  mirroring:\n    source: %s\n    offline: %s\n    tags_cache_ttl: 0\n  "
                        "storage_path: _env:STORAGE_PATH\n" % (fake.url, value))
    write("false")
    mirror = make_mirror(fake, DOCKER_REGISTRY_CONFIG=str(path))
    fake.add_image(FIRST, "library/test", "latest")
    assert mirror.get(manifest_path("latest")).status == 200
    write("true")
    mirror.process.send_signal(signal.SIGHUP)
    mirror.wait_for_log("upstreams are not asked from now on, by mirroring.offline")
    assert "detail=offline" in mirror.get(manifest_path("latest"))["cache-status"]
    assert switch(mirror, "false").json() == {"offline": False, "by": "operator"}
    assert "revalidated" in mirror.get(manifest_path("latest"))["cache-status"]
    assert switch(mirror, "setting").json() == {"offline": True, "by": "setting"}
    assert mirror.get(manifest_path("new")).status == 404
