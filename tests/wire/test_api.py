"""What a client of a registry asks: names, answers, header fields and errors of the pull side."""
import json
import os
import re
import threading
import urllib.parse
from time import monotonic

import pytest

from lib import faults
from lib.images import ALL_MANIFESTS, Index, Noise, digest_of, simple
from lib.mirror import blob_path, manifest_path
from lib.waiting import wait_until

ABSENT = "sha256:" + "0" * 64


@pytest.fixture
def image(fake):
    image = simple(layers=2)
    fake.add_image(image, "library/test", "latest")
    return image


def test_version_check(mirror, fake):
    """It never depends on the upstream."""
    fake.refuse()
    for method in ("GET", "HEAD"):
        response = mirror.get("/v2/", method)
        assert response.status == 200
        assert response["docker-distribution-api-version"] == "registry/2.0"
        assert response["content-type"].startswith("application/json")
    assert mirror.get("/v2/").body == b"{}"
    assert mirror.get("/v2").status in (200, 301, 307, 308, 404)


def test_manifest(mirror, fake, image):
    for reference in ("latest", image.digest, image.digest.replace(":", "%3A")):
        for method in ("GET", "HEAD"):
            response = mirror.get(manifest_path(reference), method, {"Accept": ALL_MANIFESTS})
            assert response.status == 200
            assert response["content-type"] == image.media_type
            assert response["docker-content-digest"] == image.digest
            assert response["etag"] == '"%s"' % image.digest
            assert response.length == len(image.manifest)
        assert mirror.get(manifest_path(reference)).body == image.manifest
    assert fake.count("/manifests/", "GET") == 1


def test_head_first(mirror, fake, image):
    """dockerd begins with HEAD of the tag."""
    assert mirror.head(manifest_path("latest"))["docker-content-digest"] == image.digest
    assert mirror.get(manifest_path(image.digest)).body == image.manifest
    assert fake.count("/manifests/", "GET") <= 1


def test_index_and_its_platforms(mirror, fake):
    index = Index([simple(1, "docker"), simple(2, "docker")], "docker")
    fake.add_image(index, "library/test", "latest")
    assert mirror.get(manifest_path("latest")).body == index.manifest
    for platform in index.images:
        response = mirror.get(manifest_path(platform.digest))
        assert response.body == platform.manifest and response["content-type"] == platform.media_type


def test_any_media_type_passes_untouched(mirror, fake):
    data = b'{ "schemaVersion" : 2,\t"x": [1,2 ] }\n\n'
    for n, media_type in enumerate(["application/vnd.example.thing.v1+json",
                                    "application/vnd.docker.distribution.manifest.v1+prettyjws"]):
        fake.add_manifest(data + b" " * n, media_type, "library/test", "tag-%d" % n)
        for _ in range(2):
            response = mirror.get(manifest_path("tag-%d" % n))
            assert response.body == data + b" " * n and response["content-type"] == media_type


def test_media_type_survives_a_restart(mirror, fake):
    """It may not be told by the body."""
    fake.add_manifest(b'{"schemaVersion":2}', "application/vnd.example.thing.v1+json", "library/test", "latest")
    assert mirror.get(manifest_path("latest")).status == 200
    digest = digest_of(b'{"schemaVersion":2}')
    mirror.wait_kept(digest)
    mirror.restart()
    fake.refuse()
    for reference in ("latest", digest):
        assert mirror.get(manifest_path(reference))["content-type"] == "application/vnd.example.thing.v1+json"


def test_manifest_not_modified(mirror, image):
    mirror.get(manifest_path("latest"))
    for reference in ("latest", image.digest):
        response = mirror.get(manifest_path(reference), fields={"If-None-Match": '"%s"' % image.digest})
        assert response.status == 304 and response["etag"] == '"%s"' % image.digest


def test_blob(mirror, fake, image):
    for digest, body in image.blobs.items():
        for method in ("GET", "HEAD", "GET"):
            response = mirror.get(blob_path(digest), method)
            assert response.status == 200 and response.length == body.size
            assert response["docker-content-digest"] == digest
            assert response["content-type"] == "application/octet-stream"
            assert response["accept-ranges"] == "bytes"
            assert "max-age" in response["cache-control"]
        assert mirror.blob(digest.replace(":", "%3A")).body == body.data


def test_cache_status(mirror, image):
    """RFC 9211."""
    digest = image.layers[0]["digest"]
    first = mirror.blob(digest)["cache-status"]
    mirror.wait_kept(digest)
    wait_until(lambda: mirror.metric("mirrord_fills_running") == 0, "the fill is over")
    second = mirror.blob(digest)["cache-status"]
    assert "fwd=" in first and "hit" not in first
    assert re.fullmatch(r"[^;,]+; ?hit.*", second)
    assert "fwd=" in mirror.get(manifest_path("latest"))["cache-status"]
    response = mirror.get(manifest_path("latest"))
    assert re.fullmatch(r"[^;,]+; ?hit.*", response["cache-status"])
    assert 0 <= int(response["age"]) < 60


def test_errors(mirror, image):
    for target, status, code in [
        (manifest_path("absent"), 404, "MANIFEST_UNKNOWN"),
        (manifest_path(ABSENT), 404, "MANIFEST_UNKNOWN"),
        (blob_path(ABSENT), 404, "BLOB_UNKNOWN"),
        ("/v2/library/absent/tags/list", 404, "NAME_UNKNOWN"),
        (manifest_path("sha256:short"), (400, 404), "DIGEST_INVALID"),
        (blob_path("sha256:" + "G" * 64), (400, 404), "DIGEST_INVALID"),
        (blob_path("md5:" + "0" * 32), (400, 404), "DIGEST_INVALID"),
        ("/v2/Library/test/manifests/latest", (400, 404), "NAME_INVALID"),
        ("/v2/../etc/manifests/latest", (400, 404), None),
        ("/v2/%2e%2e/etc/manifests/latest", (400, 404), None),
        ("/v2/a%2Fb%00/manifests/latest", (400, 404), None),
        ("/v2/" + "a" * 300 + "/manifests/latest", (400, 404), "NAME_INVALID"),
        (manifest_path("-x"), (400, 404), None),
        ("/v2/library/test/nothing", 404, None),
        ("/nothing", 404, None),
    ]:
        for method in ("GET", "HEAD"):
            response = mirror.get(target, method)
            assert response.status == status or response.status in (status if isinstance(status, tuple) else ()), target
            assert response["content-type"].startswith("application/json")
        assert code is None or mirror.get(target).error_code() == code, target


def test_bad_names_never_reach_the_upstream(mirror, fake):
    for target in ("/v2/../etc/manifests/latest", "/v2/a%2F..%2Fb/manifests/latest", "/v2/A/manifests/latest",
                   "/v2/library/test/manifests/a%2Fb", "/v2/a/blobs/sha256:..%2F", "/v2/a//b/manifests/latest"):
        assert mirror.get(target).status in (400, 404)
    assert fake.requests == []


def test_other_methods(mirror, fake):
    """What a resource does not know is refused; the answer says what it does know."""
    for method, target, allowed in [
            ("POST", manifest_path("latest"), "GET, HEAD, PUT, DELETE"), ("PUT", "/v2/library/test/tags/list", "GET, HEAD"),
            ("PUT", blob_path(ABSENT), "GET, HEAD, DELETE"), ("PATCH", blob_path(ABSENT), "GET, HEAD, DELETE"),
            ("GET", "/v2/library/test/blobs/uploads/", "POST"), ("OPTIONS", "/v2/", "GET, HEAD")]:
        response = mirror.get(target, method)
        assert response.status == 405 and response.error_code() == "UNSUPPORTED", (method, target)
        assert response["allow"] == allowed
    assert fake.requests == []


def test_legacy_pages(make_mirror, fake):
    """GET / tells the option issue, and pings say that this is a mirror."""
    mirror = make_mirror(fake)
    assert mirror.get("/").body == b'"\\"docker-registry server\\""'
    for path in ("/_ping", "/v1/_ping"):
        response = mirror.get(path)
        assert response.status == 200 and response.body == b"{}"
        assert response["x-docker-registry-standalone"] == "mirror"
        assert not response.all("x-docker-registry-config")
    debugging = make_mirror(fake, DEBUG="true")
    response = debugging.get("/_ping")
    assert response["x-docker-registry-config"] == "local"
    assert {"host", "launch", "versions"} <= set(response.json())
    assert os.path.basename(response.json()["launch"][0]) == "mirrord"
    alone = make_mirror(None, STANDALONE="true")
    assert alone.get("/_ping")["x-docker-registry-standalone"] == "True"


# --- lists ---------------------------------------------------------------------------------------

def test_tags(mirror, fake):
    image = simple()
    tags = sorted(["latest", "1.0", "1.1", "v2", "A"])
    for tag in tags:
        fake.add_image(image, "library/test", tag)
    response = mirror.get("/v2/library/test/tags/list")
    assert response.status == 200 and response["content-type"].startswith("application/json")
    assert response.json() == {"name": "library/test", "tags": tags}
    assert not response.all("link")


def follow(mirror, target):
    """All pages, by the links."""
    found, pages = [], 0
    while target is not None and pages < 50:
        response = mirror.get(target)
        assert response.status == 200, response.body
        names = response.json().get("tags", response.json().get("repositories"))
        found.append(names or [])
        links = response.all("link")
        target = None
        if links:
            match = re.fullmatch(r'<([^>]+)>; ?rel="?next"?', links[0])
            parts = urllib.parse.urlsplit(match[1])
            assert parts.netloc in ("", "mirror.test"), "a link leads to " + match[1]
            target = parts.path + "?" + parts.query
        pages += 1
    return found


@pytest.mark.parametrize("page_size", [None, 3])
def test_tags_in_pages(mirror, fake, page_size):
    """With the client's page size, and an upstream that makes its own pages."""
    fake.page_size = page_size
    image = simple()
    tags = sorted("tag-%02d" % n for n in range(10))
    for tag in tags:
        fake.add_image(image, "library/test", tag)
    assert sum(follow(mirror, "/v2/library/test/tags/list"), []) == tags
    pages = follow(mirror, "/v2/library/test/tags/list?n=4")
    assert sum(pages, []) == tags and max(len(page) for page in pages) <= 4
    assert sum(follow(mirror, "/v2/library/test/tags/list?n=4&last=tag-07"), []) == ["tag-08", "tag-09"]
    response = mirror.get("/v2/library/test/tags/list?n=0")
    assert response.status == 200 and not response.json()["tags"] and not response.all("link")
    assert mirror.get("/v2/library/test/tags/list?n=x").status in (200, 400)
    assert mirror.get("/v2/library/test/tags/list?n=-1").status in (200, 400)


def test_tags_of_here_are_merged(mirror, fake):
    """What was pulled stays listed when the upstream has dropped it."""
    image = simple()
    for tag in ("old", "new"):
        fake.add_image(image, "library/test", tag)
        assert mirror.get(manifest_path(tag)).status == 200
    del fake.tags["library/test", "old"]
    wait_until(lambda: mirror.get("/v2/library/test/tags/list").json()["tags"] == ["new", "old"], "both are listed")


def test_tags_without_the_upstream(mirror, fake, image):
    mirror.get(manifest_path("latest"))
    mirror.wait_kept(image.digest)
    fake.refuse()
    wait_until(lambda: mirror.get("/v2/library/test/tags/list").status == 200, "tags of here are listed")
    assert mirror.get("/v2/library/test/tags/list").json()["tags"] == ["latest"]
    assert mirror.get("/v2/library/other/tags/list").status in (404, 502, 503, 504)


def test_catalog(mirror, fake):
    """Of what is here."""
    assert mirror.get("/v2/_catalog").json() == {"repositories": []}
    image = simple()
    names = ["a", "a/b", "library/test", "x-y/z_1"]
    for name in names:
        fake.add_image(image, name, "latest")
        assert mirror.get(manifest_path("latest", name)).status == 200
    wait_until(lambda: mirror.get("/v2/_catalog").json() == {"repositories": names}, "all are listed")
    pages = follow(mirror, "/v2/_catalog?n=3")
    assert sum(pages, []) == names and [len(page) for page in pages] == [3, 1]
    assert fake.count("_catalog") == 0


# --- names ---------------------------------------------------------------------------------------

def test_no_library_for_other_upstreams(mirror, fake):
    image = simple()
    fake.add_image(image, "test", "latest")
    assert mirror.get(manifest_path("latest", "test")).status == 200
    assert fake.count("/library/") == 0


def test_namespace_of_containerd(mirror, fake, image):
    """?ns= of what is mirrored here is echoed."""
    response = mirror.get(manifest_path("latest") + "?ns=docker.io")
    assert response.status in (200, 404)
    if response.status == 200 and response.all("oci-namespace"):
        assert response["oci-namespace"] == "docker.io"


def test_client_credentials_stay_here(mirror, fake, image):
    """Authorization of a client is neither sent upstream nor logged."""
    secret = "Basic c2VjcmV0OnBhc3N3b3Jk"
    for target in (manifest_path("latest"), blob_path(image.layers[0]["digest"])):
        assert mirror.get(target, fields={"Authorization": secret, "Cookie": "session=geheim"}).status == 200
    assert all(request.get("authorization") is None and request.get("cookie") is None for request in fake.requests)
    assert "c2VjcmV0" not in mirror.log() and "geheim" not in mirror.log()


def test_requests_to_the_upstream(mirror, fake, image):
    """They ask for the bytes as they are, accept all manifest types, and say who they are."""
    mirror.get(manifest_path("latest"))
    mirror.blob(image.layers[0]["digest"])
    for request in fake.requests:
        assert request.get("accept-encoding", "identity") == "identity"
        assert request.get("user-agent", "").startswith("mirrord/")
        assert request.get("host") == "127.0.0.1:%d" % fake.port
    accepted = fake.matching("/manifests/")[0].get("accept")
    for media_type in ALL_MANIFESTS.split(", "):
        assert media_type in accepted


# --- the life of a tag ---------------------------------------------------------------------------

def test_tag_is_remembered(mirror, fake, image):
    for _ in range(3):
        mirror.get(manifest_path("latest"))
    assert fake.count("/manifests/") <= 2


def test_tag_moves(make_mirror, fake, image):
    """After its time a tag is revalidated by HEAD; GET follows only if it has moved."""
    mirror = make_mirror(fake, MIRROR_TAGS_CACHE_TTL="0")
    mirror.get(manifest_path("latest"))
    n = fake.count("/manifests/", "GET")
    assert mirror.get(manifest_path("latest")).body == image.manifest
    assert fake.count("/manifests/", "GET") == n and fake.count("/manifests/", "HEAD") >= 1
    other = simple(2)
    fake.add_image(other, "library/test", "latest")
    wait_until(lambda: mirror.get(manifest_path("latest")).body == other.manifest, "the tag has moved")
    assert fake.count("/manifests/", "GET") == n + 1
    assert mirror.get(manifest_path(image.digest)).body == image.manifest


def test_tag_expires(make_mirror, fake, image):
    """By the real clock; tests/wire/test_freshness.py tells what happens before."""
    mirror = make_mirror(fake, MIRROR_TAGS_CACHE_TTL="1s")
    mirror.get(manifest_path("latest"))
    other = simple(2)
    fake.add_image(other, "library/test", "latest")
    wait_until(lambda: mirror.get(manifest_path("latest")).body == other.manifest, "the tag has moved")


def test_stale_tag_when_the_upstream_fails(make_mirror, fake, image):
    mirror = make_mirror(fake, MIRROR_TAGS_CACHE_TTL="0", MIRROR_BACKOFF_BASE="5ms", MIRROR_BACKOFF_MAX="10ms",
                         MIRROR_HEADER_TIMEOUT="1s", MIRROR_BREAKER_FAILURES="1000")
    assert mirror.get(manifest_path("latest")).status == 200
    for behaviour in (faults.status(500), faults.status(503), faults.throttle(3600), faults.html(),
                      faults.no_challenge(), faults.silence(), faults.cut_head(), faults.redirect("/v2/loop"), None):
        if behaviour is None:
            fake.refuse()
        else:
            fake.behave_well()
            fake.always("/v2/", behaviour)
        response = mirror.get(manifest_path("latest"))
        assert response.status == 200 and response.body == image.manifest
        assert "detail=stale" in response["cache-status"]
    assert mirror.metric('mirrord_manifest_requests_total{result="stale"}') == 9


def test_tag_is_gone_upstream(make_mirror, fake, image):
    """The upstream says so: it is gone here too, as a tag; the digest still works."""
    mirror = make_mirror(fake, MIRROR_TAGS_CACHE_TTL="0", MIRROR_GONE_CONFIRM="0")
    mirror.get(manifest_path("latest"))
    del fake.tags["library/test", "latest"]
    assert mirror.get(manifest_path("latest")).status == 404
    assert mirror.get(manifest_path(image.digest)).status == 200


def test_tag_points_to_what_is_gone(mirror, fake, image):
    """A HEAD made it remembered; before anybody pulled, it moved, and what it pointed to was removed."""
    assert mirror.head(manifest_path("latest")).status == 200
    other = simple(2)
    fake.add_image(other, "library/test", "latest")
    del fake.manifest_bytes[image.digest]
    for _ in range(2):
        response = mirror.get(manifest_path("latest"))
        assert response.status == 200 and response.body == other.manifest
    n = fake.count("/manifests/")
    assert mirror.get(manifest_path("latest")).body == other.manifest
    assert fake.count("/manifests/") == n
    assert mirror.get(manifest_path(image.digest)).status == 404


def test_absence_is_remembered_for_a_short_time(make_mirror, fake, image, time):
    time.stop()
    mirror = make_mirror(fake, **time.settings, MIRROR_NEGATIVE_TTL="5s")
    for _ in range(5):
        assert mirror.get(manifest_path("new")).status == 404
        assert mirror.head(manifest_path("new")).status == 404
    assert fake.count("/manifests/new") <= 2
    fake.add_image(image, "library/test", "new")
    time.move(6)
    assert mirror.get(manifest_path("new")).status == 200


def test_absence_ends_by_itself(make_mirror, fake, image):
    """By the real clock."""
    mirror = make_mirror(fake, MIRROR_NEGATIVE_TTL="1s")
    assert mirror.get(manifest_path("new")).status == 404
    fake.add_image(image, "library/test", "new")
    wait_until(lambda: mirror.get(manifest_path("new")).status == 200, "the tag has come")


def test_upstream_quota_is_seen(mirror, fake, image):
    fake.extra_fields = [("ratelimit-limit", "100;w=21600"), ("ratelimit-remaining", "42;w=21600")]
    mirror.get(manifest_path("latest"))
    assert mirror.metric("mirrord_upstream_ratelimit_limit") == 100
    assert mirror.metric("mirrord_upstream_ratelimit_remaining") == 42


def test_breaker(make_mirror, fake, image):
    """After failures in a row the upstream is left alone for a while; then one request tries it."""
    mirror = make_mirror(fake, MIRROR_BREAKER_FAILURES=3, MIRROR_BREAKER_COOLDOWN="1s", MIRROR_RETRIES_MAX="0",
                         MIRROR_TAGS_CACHE_TTL="0", MIRROR_NEGATIVE_TTL="0")
    mirror.get(manifest_path("latest"))
    fake.always("/v2/", faults.status(503))
    wait_until(lambda: mirror.get(manifest_path("x")).status and mirror.metric("mirrord_upstream_breaker_open") == 1,
               "the breaker opens")
    n, begin = len(fake.requests), monotonic()
    for _ in range(20):
        assert mirror.get(manifest_path("latest")).body == image.manifest
        assert mirror.get(manifest_path("y")).status == 503
    # One try after each second, however many of them this machine needs.
    assert len(fake.requests) - n <= 2 + (monotonic() - begin)
    fake.behave_well()
    wait_until(lambda: mirror.get(manifest_path("latest"))["cache-status"].find("detail=stale") < 0,
               "it closes again")
    assert mirror.metric("mirrord_upstream_breaker_open") == 0


# --- the admin listener --------------------------------------------------------------------------

def test_admin(mirror, fake, image):
    assert mirror.admin("/healthz").status == 200
    metrics = mirror.admin("/metrics")
    assert metrics["content-type"].startswith("text/plain; version=0.0.4")
    text = metrics.body.decode()
    for name in re.findall(r"^(\w+)(?:\{|\s)", text, re.M):
        assert "# HELP %s " % name in text and "# TYPE %s " % name in text
    assert mirror.fills() == []
    for path in ("/metrics", "/healthz", "/fills"):
        assert mirror.get(path).status == 404, "an operator's page on the clients' listener"


def test_running_fills_are_listed(mirror, fake):
    body = Noise(4 << 20)
    digest = fake.add_blob(body)
    event = threading.Event()
    fake.script(digest, faults.stall(1 << 20, event))
    with mirror.client() as client:
        client.request(blob_path(digest))
        response = client.read_head()
        client.read_body(1 << 20)
        fill = mirror.fills()[0]
        assert fill["digest"] == digest and fill["size"] == body.size and fill["readers"] == 1
        assert fill["present"] >= 1 << 20
        event.set()
        client.read_body(response.length - (1 << 20))
    mirror.wait_no_fills()
    assert mirror.fills() == []


@pytest.mark.parametrize("form", ["combined", "json"])
def test_access_log(make_mirror, fake, image, form, tmp_path):
    """One line per request; what a client sends cannot write a second one."""
    path = tmp_path / "access.log"
    mirror = make_mirror(fake, REGISTRY_ACCESS_LOG_FILE=path, REGISTRY_ACCESS_LOG_FORMAT=form)
    mirror.get(manifest_path("latest"))
    mirror.get("/v2/?secret=geheim", fields={"User-Agent": 'quoted " and \\ and \x80 \t tab'})
    wait_until(lambda: path.exists() and path.read_bytes().count(b"\n") == 2, "two lines are written")
    # Each worker writes its own lines together: they may stand in another order.
    lines = sorted(path.read_bytes().decode("utf-8").splitlines(), key=lambda line: "/v2/ " in line or '"/v2/"' in line)
    assert "/v2/library/test/manifests/latest" in lines[0] and "200" in lines[0]
    assert "geheim" not in lines[1]
    for line in lines:
        assert not any(ord(character) < 32 for character in line)
        if form == "json":
            assert isinstance(json.loads(line), dict)
        else:
            assert re.fullmatch(r'\S+ \S+ \S+ \[[^]]+\] "(GET|HEAD) \S+ HTTP/1\.1" \d{3} \d+ "[^"]*" ".*".*', line)
