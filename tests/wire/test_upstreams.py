"""Many upstreams: which registry a request means, under which name its content is kept, and what never leaks between them."""
import base64
import json
import re
import os
import threading

import pytest

from lib import faults, rawhttp
from lib.images import Noise, digest_of, simple
from lib.mirror import blob_path, check_bytes, manifest_path
from lib.process import free_port
from lib.pushing import Pusher, with_query
from lib.tls import make_certificate, server_context
from lib.waiting import wait_until

NAME, REPOSITORY = "one.test", "org/app"


@pytest.fixture
def one(make_fake):
    return make_fake()


@pytest.fixture
def two(make_fake):
    return make_fake()


@pytest.fixture
def images(fake, one, two):
    """Another image under the same name in each of them."""
    images = {}
    for registry in (fake, one, two):
        images[registry] = simple(layers=1, seed=registry.port)
        registry.add_image(images[registry], REPOSITORY, "latest")
    return images


def upstreams(**entries):
    return json.dumps({name.replace("_", "."): entry for name, entry in entries.items()})


@pytest.fixture
def mirror(make_mirror, fake, one, two):
    return make_mirror(fake, MIRROR_UPSTREAMS=upstreams(
        one_test={"url": one.url, "aliases": ["alias.test"], "hosts": ["one.lan"]},
        two_test={"url": [two.url], "prefix": "mirrors/two"}))


def read(mirror, path, image, host="mirror.test", fields=()):
    with mirror.client() as client:
        client.request(path, "GET", fields, host)
        response = client.read_response("GET")
    assert response.status == 200, response.head
    assert response.body == image.manifest
    return response


def stored(mirror, repository, tag="latest"):
    return os.path.isdir(os.path.join(mirror.storage, "docker/registry/v2/repositories", repository,
                                      "_manifests/tags", tag))


# --- which registry ------------------------------------------------------------------------------

@pytest.mark.parametrize("path, host, ns", [
    ("/v2/one.test/org/app/manifests/latest", "mirror.test", None),
    ("/v2/alias.test/org/app/manifests/latest", "mirror.test", None),
    ("/one.test/v2/org/app/manifests/latest", "mirror.test", None),
    ("/alias.test/v2/org/app/manifests/latest", "mirror.test", None),
    ("/v2/org/app/manifests/latest?ns=one.test", "mirror.test", "one.test"),
    ("/v2/org/app/manifests/latest?ns=ONE.test", "mirror.test", "one.test"),
    ("/v2/org/app/manifests/latest?x=y&ns=alias.test", "mirror.test", "alias.test"),
    ("/v2/org/app/manifests/latest", "one.lan", None),
    ("/v2/org/app/manifests/latest", "One.LAN:5000", None),
    # The earlier way decides.
    ("/mirrors/two/v2/org/app/manifests/latest?ns=one.test", "nothing.lan", "one.test"),
    ("/mirrors/two/v2/org/app/manifests/latest", "one.lan", None),
    ("/one.test/v2/one.test/org/app/manifests/latest?ns=one.test", "mirror.test", "one.test"),
])
def test_ways(mirror, fake, one, two, images, path, host, ns):
    response = read(mirror, path, images[one], host)
    assert response.get("oci-namespace") == ns
    assert response["x-mirrord-origin"] == "mirrored; upstream=one.test"
    assert fake.requests == [] and two.requests == []
    assert one.count("/v2/org/app/manifests/latest") == 1
    assert all("ns" not in request.query for request in one.requests)
    assert "one.lan" not in repr([request.fields for request in one.requests])
    wait_until(lambda: stored(mirror, "one.test/org/app"), "the tag is kept under the registry's name")
    # All ways lead to the same.
    read(mirror, "/v2/one.test/org/app/manifests/latest", images[one])
    assert one.count("/manifests/") == 1


def test_default_and_prefix(mirror, fake, one, two, images):
    read(mirror, manifest_path("latest", REPOSITORY), images[fake])
    read(mirror, "/mirrors/two/v2/org/app/manifests/latest", images[two])
    assert mirror.get("/two.test/v2/org/app/manifests/latest").status == 404
    assert one.requests == []
    own = "127.0.0.1:%d" % fake.port
    read(mirror, manifest_path("latest", REPOSITORY) + "?ns=" + own, images[fake])
    read(mirror, manifest_path("latest", own + "/" + REPOSITORY), images[fake])
    assert read(mirror, manifest_path("latest", REPOSITORY) + "?ns=docker.io",
                images[fake])["oci-namespace"] == "docker.io"
    assert fake.count("/manifests/") == 1


def test_all_resources(mirror, one, images):
    """Manifests by digest, blobs, tags, referrers, HEAD: all of them go the same way."""
    image = images[one]
    one.referrers = {}
    for base in ("/one.test/v2/org/app", "/v2/one.test/org/app"):
        assert mirror.get("%s/manifests/%s" % (base, image.digest)).body == image.manifest
        assert mirror.head("%s/manifests/latest" % base)["docker-content-digest"] == image.digest
        for digest, body in image.blobs.items():
            response = mirror.get("%s/blobs/%s" % (base, digest))
            check_bytes(response.body, body)
            assert mirror.head("%s/blobs/%s" % (base, digest)).status == 200
        assert json.loads(mirror.get(base + "/tags/list").body)["tags"] == ["latest"]
        assert mirror.get("%s/referrers/%s" % (base, image.digest)).status == 200


def test_roots(mirror):
    for path in ("/v2/", "/v2", "/one.test/v2/", "/one.test/v2", "/mirrors/two/v2/", "/v2/?ns=one.test"):
        assert mirror.get(path).status == 200, path
    for path in ("/nothing/v2/", "/one.test/", "/one.test/v1/_ping", "/v2/?ns=nothing"):
        assert mirror.get(path).status == 404, path


def test_unknown_first_component(make_mirror, fake, one):
    """Docker Hub has no names with a dot in front; another registry may."""
    image = simple(layers=1)
    fake.add_image(image, "other.test/app", "latest")
    mirror = make_mirror(fake, MIRROR_UPSTREAMS=upstreams(one_test=one.url))
    read(mirror, manifest_path("latest", "other.test/app"), image)
    digest = Pusher(mirror.address).image("one.test.evil/app", simple(layers=1, seed=3), "v1")
    assert mirror.get(manifest_path("v1", "one.test.evil/app"))["docker-content-digest"] == digest


# --- ns ------------------------------------------------------------------------------------------

ABSURD = ["other.test", "127.0.0.1:1", "localhost", "localhost:5001", "169.254.169.254", "[::1]:80", "metadata.google.internal",
          "", "one.test.", "one.test/", "https://one.test", "user:pw@one.test", "one.test%00", "one.test%0d%0aSet-Cookie:%20a=b",
          "%zz", "%", "one.test&ns=one.test", "one.test&ns=two.test", "a" * 300, "%61" * 500, "..", "*", "%E2%80%AE"]


@pytest.mark.parametrize("ns", ABSURD)
def test_ns_that_is_nobody(mirror, fake, one, two, images, ns):
    """In the registry's own form of 404; nobody is dialled, nothing is told back."""
    digest = next(iter(images[one].blobs))
    for path in ("/v2/org/app/manifests/latest", "/v2/org/app/blobs/" + digest, "/v2/org/app/tags/list",
                 "/v2/org/app/referrers/" + digest, "/one.test/v2/org/app/manifests/latest", "/v2/_catalog"):
        response = mirror.get(path + "?ns=" + ns)
        assert response.status == 404 and response.error_code() == "NAME_UNKNOWN", path
        assert response.get("oci-namespace") is None and response.get("set-cookie") is None
    assert not fake.requests and not one.requests and not two.requests
    assert mirror.metric("mirrord_upstream_requests_total") == 0


def test_internal_ns_is_not_dialled(mirror, make_fake, fake, images):
    inner = make_fake()
    inner.add_image(images[fake], REPOSITORY, "latest")
    assert mirror.get("/v2/org/app/manifests/latest?ns=127.0.0.1:%d" % inner.port).status == 404
    assert mirror.get("/v2/127.0.0.1:%d/org/app/manifests/latest" % inner.port).status == 400
    assert inner.n_connections == 0


def test_pushes_do_not_look_at_ns(mirror, one, two):
    image = simple(layers=1, seed=9)
    pusher = Pusher(mirror.address)
    pusher.image("org/pushed", image, "v1")
    response = pusher.ask("PUT", "/v2/org/pushed/manifests/v2?ns=one.test", image.manifest,
                          [("Content-Type", image.media_type)])
    assert response.status == 201 and response.get("oci-namespace") is None
    assert mirror.get(manifest_path("v2", "org/pushed")).body == image.manifest
    assert not stored(mirror, "one.test/org/pushed", "v2")


# --- names ---------------------------------------------------------------------------------------

def test_push_under_a_registry(mirror, one, images):
    """What is pushed under its name is served before the registry's own."""
    mine = simple(layers=1, seed=77)
    Pusher(mirror.address).image("one.test/org/app", mine, "latest")
    read(mirror, "/v2/org/app/manifests/latest?ns=one.test", mine)
    read(mirror, "/one.test/v2/org/app/manifests/latest", mine)
    assert one.count("/manifests/") == 0


def test_longest_names(make_mirror, fake, one):
    """What one way reaches, every way reaches: a name is as long as its registry lets it be, wherever the host stands."""
    host = ("a" * 60 + ".") * 2 + "x.test"
    assert len(host) == 128
    longest = "org/" + "n" * 200 + "/" + "m" * 50
    assert len(longest) == 255
    image = simple(layers=1, seed=5)
    one.add_image(image, longest, "latest")
    mirror = make_mirror(fake, MIRROR_UPSTREAMS=json.dumps({host: one.url}), DELETE_ENABLED="true")

    def bases(name):
        return ("/v2/%s/%s%%s" % (host, name), "/v2/%s%%s?ns=%s" % (name, host), "/%s/v2/%s%%s" % (host, name))

    digest, body = next(iter(image.blobs.items()))
    for base in bases(longest):
        read(mirror, base % "/manifests/latest", image)
        check_bytes(mirror.get(base % ("/blobs/" + digest)).body, body)
        assert json.loads(mirror.get(base % "/tags/list").body)["tags"] == ["latest"]
        assert mirror.get(base % ("/referrers/" + image.digest)).status == 200
        assert mirror.get(base % "/manifests/nothing").status == 404
    assert one.count("/manifests/latest") == 1
    for name in (longest + "m", longest + "/m"):
        for base in bases(name):
            response = mirror.get(base % "/manifests/latest")
            assert response.status == 400 and response.error_code() == "NAME_INVALID", base
    name = host + "/" + longest
    Pusher(mirror.address).image(name, simple(layers=1, seed=6), "mine")
    wait_until(lambda: stored(mirror, name), "the tag is kept")
    assert json.loads(mirror.get("/v2/_catalog?last=%s" % name[:-1]).body)["repositories"] == [name]
    assert json.loads(mirror.get("/%s/v2/_catalog" % host).body)["repositories"] == [longest]
    mirror.restart()
    read(mirror, manifest_path("latest", name), image)
    pinned = rawhttp.get(mirror.admin_address, "/pins?image=%s:mine" % name, "POST")
    assert pinned.status == 200 and pinned.json()["pins"] == [name + ":mine"]
    assert {tag["tag"] for tag in rawhttp.get(mirror.admin_address, "/tags?repository=" + name).json()["tags"]} == {"latest", "mine"}
    assert Pusher(mirror.address).ask("DELETE", manifest_path("mine", name), b"").status == 202


def test_links_keep_the_address(mirror, one, images):
    for tag in ("a", "b", "c"):
        one.add_image(images[one], REPOSITORY, tag)
    for first, kept in (("/one.test/v2/org/app/tags/list?n=1", "</one.test/v2/org/app/tags/list?"),
                        ("/v2/org/app/tags/list?n=1&ns=one.test", "ns=one.test"),
                        ("/v2/one.test/org/app/tags/list?n=1", "</v2/one.test/org/app/tags/list?")):
        path, seen = first, []
        while path:
            response = mirror.get(path)
            seen += json.loads(response.body)["tags"]
            link = response.get("link")
            assert link is None or kept in link
            path = link and link[link.index("<") + 1:link.index(">")]
        assert seen == ["a", "b", "c", "latest"], first


def test_locations_keep_the_address(mirror):
    pusher = Pusher(mirror.address)
    begun = pusher.ask("POST", "/one.test/v2/org/new/blobs/uploads/", b"")
    assert begun.status == 202 and begun["location"].startswith("/one.test/v2/org/new/blobs/uploads/")
    body = b"x" * 100
    digest = digest_of(body)
    done = pusher.ask("PUT", with_query(begun["location"], digest=digest), body)
    assert done.status == 201 and done["location"] == "/one.test/v2/org/new/blobs/" + digest
    assert mirror.get("/v2/one.test/org/new/blobs/" + digest).body == body
    assert mirror.get("/v2/org/new/blobs/" + digest).status == 404


def test_catalog(mirror, fake, one, images):
    for repository in ("org/app", "a/b", "z"):
        one.add_image(images[one], repository, "latest")
        mirror.get("/one.test/v2/%s/manifests/latest" % repository)
    mirror.get(manifest_path("latest", REPOSITORY))
    everything = ["one.test/a/b", "one.test/org/app", "one.test/z", "org/app"]
    wait_until(lambda: json.loads(mirror.get("/v2/_catalog").body)["repositories"] == everything, "all are kept")
    for path in ("/one.test/v2/_catalog", "/v2/_catalog?ns=one.test", "/one.test/v2/_catalog?n=1", "/v2/_catalog?n=1&ns=one.test"):
        seen = []
        while path:
            response = mirror.get(path)
            seen += json.loads(response.body)["repositories"]
            link = response.get("link")
            path = link and link[link.index("<") + 1:link.index(">")]
        assert seen == ["a/b", "org/app", "z"]
    assert json.loads(mirror.get("/v2/_catalog?ns=docker.io").body)["repositories"] == ["org/app"]


# --- Docker Hub ----------------------------------------------------------------------------------

def test_hub_aliases(make_mirror, fake):
    """All its names are one; the short names of its library are the long ones."""
    image = simple(layers=1)
    fake.add_image(image, "library/nginx", "latest")
    mirror = make_mirror(None, MIRROR_UPSTREAMS=json.dumps({"registry-1.docker.io": fake.url}))
    for path in ("/v2/docker.io/library/nginx", "/v2/docker.io/nginx", "/v2/index.docker.io/nginx",
                 "/v2/registry-1.docker.io/library/nginx", "/docker.io/v2/nginx", "/index.docker.io/v2/library/nginx"):
        read(mirror, path + "/manifests/latest", image)
    for ns in ("docker.io", "index.docker.io", "registry-1.docker.io"):
        assert read(mirror, "/v2/nginx/manifests/latest?ns=" + ns, image)["oci-namespace"] == ns
    assert fake.count("/manifests/") == 1
    wait_until(lambda: stored(mirror, "docker.io/library/nginx"), "one name in the storage")
    # Without a source nobody is asked by default.
    assert mirror.get("/v2/library/nginx/manifests/latest").status == 404


# --- the storage is shared, the right to read is not ----------------------------------------------

def test_same_blob_of_two(mirror, fake, one, two):
    body = Noise(200000)
    for registry in (one, two):
        digest = registry.add_blob(body)
    mirror.check_right(digest, body, "one.test/org/app")
    mirror.wait_kept(digest)
    mirror.wait_no_fills()
    # The other upstream confirms its own with one byte.
    mirror.check_right(digest, body, "two.test/other/app")
    wait_until(lambda: two.sent() == 1, "one byte was sent")
    # One that does not have it says no, and so do we.
    assert mirror.blob(digest, "org/app").status == 404
    assert fake.count("/blobs/") == 1
    two.always("/secret/", faults.status(404, error="BLOB_UNKNOWN"))
    assert mirror.blob(digest, "two.test/secret/app").status == 404
    found = [folder for folder, _, files in os.walk(os.path.join(mirror.storage, "docker/registry/v2/blobs"))
             if digest.split(":")[1] in folder and "data" in files]
    assert len(found) == 1
    # A known upstream that is away cannot lend its right to another's repository.
    one.refuse()
    check_bytes(mirror.blob(digest, "one.test/org/app").body, body)
    assert mirror.blob(digest, "one.test/never/asked").status in (502, 503, 504)


def test_fill_of_one_is_not_read_through_another(mirror, one, two):
    """Also while it is on its way."""
    body, gate = Noise(200000), threading.Event()
    digest = one.add_blob(body)
    one.script("/blobs/", faults.stall(1000, gate))
    with mirror.client() as client:
        client.request(blob_path(digest, "one.test/org/app"))
        one.wait_sent(1000, "/blobs/")
        assert mirror.blob(digest, "two.test/org/app").status == 404
        gate.set()
        check_bytes(client.read_response().body, body)


# --- credentials ---------------------------------------------------------------------------------

def basic(name, password):
    return "Basic " + base64.b64encode(("%s:%s" % (name, password)).encode()).decode()


def test_credentials_stay_with_their_registry(make_mirror, fake, one, two, images):
    for registry in (fake, one, two):
        registry.require_token(users={"u%d" % registry.port: "p%d" % registry.port})
    mirror = make_mirror(
        fake, MIRROR_SOURCE_USERNAME="u%d" % fake.port, MIRROR_SOURCE_PASSWORD="p%d" % fake.port,
        MIRROR_UPSTREAMS=json.dumps({
            "one.test": {"url": one.url, "username": "u%d" % one.port, "password": "p%d" % one.port},
            "two.test": {"url": [{"url": two.url, "username": "u%d" % two.port, "password": "p%d" % two.port}]}}))
    read(mirror, manifest_path("latest", REPOSITORY), images[fake],
         fields=[("Authorization", basic("client", "own"))])
    read(mirror, manifest_path("latest", "one.test/" + REPOSITORY), images[one])
    read(mirror, manifest_path("latest", "two.test/" + REPOSITORY), images[two])
    for registry in (fake, one, two):
        own = basic("u%d" % registry.port, "p%d" % registry.port)
        shown = {request.get("authorization") for request in registry.requests} - {None}
        assert {value for value in shown if value.startswith("Basic")} == {own}
        assert all(value == own or value.startswith("Bearer token-") for value in shown)
    for registry in (fake, one, two):
        assert "p%d" % registry.port not in mirror.log()
        assert "p%d" % registry.port not in mirror.admin("/upstreams").body.decode()


def test_wrong_credentials(make_mirror, one, fake):
    """401 for all: what is here is served, the rest is no 404 but our own fault, and somebody is told."""
    image = simple(layers=1)
    one.add_image(image, REPOSITORY, "latest")
    name = "one.test/" + REPOSITORY
    settings = {"MIRROR_TAGS_CACHE_TTL": "0", "MIRROR_STALE_RETRY": "0", "MIRROR_UPSTREAMS": json.dumps(
        {"one.test": {"url": one.url, "username": "u", "password": "pa55-w0rd"}})}
    mirror = make_mirror(fake, **settings)
    read(mirror, manifest_path("latest", name), image)
    for digest, body in image.blobs.items():
        mirror.check_right(digest, body, name)
        mirror.wait_kept(digest)
    alarm = dict(registry="one.test", credential="u")
    assert mirror.metric("mirrord_upstream_credentials_refused", **alarm) == 0
    one.always("/v2/", faults.status(401, fields=[("WWW-Authenticate", 'Basic realm="x"')], error="UNAUTHORIZED"))
    response = read(mirror, manifest_path("latest", name), image)
    assert "detail=stale" in response["cache-status"]
    for digest in image.blobs:
        assert mirror.blob(digest, name).status == 200
    for path in (manifest_path("new", name), blob_path("sha256:" + "1" * 64, name), "/v2/one.test/other/app/manifests/x"):
        response = mirror.get(path)
        assert response.status == 502 and response.error_code() == "UNAUTHORIZED", path
    assert mirror.metric("mirrord_upstream_credentials_refused", **alarm) == 1
    assert mirror.metric("mirrord_upstream_credentials_refused_total") >= 3
    assert "refuses the configured credentials of u" in mirror.log() and "pa55-w0rd" not in mirror.log()
    assert mirror.log().count("refuses the configured credentials") == 1
    assert json.loads(mirror.admin("/upstreams").body)[1]["urls"][0]["credentials_refused"] is True
    # All is well again when it accepts them.
    one.behave_well()
    one.script("/v2/", faults.status(401, fields=[("WWW-Authenticate", 'Basic realm="x"')]))
    wait_until(lambda: "revalidated" in mirror.get(manifest_path("latest", name))["cache-status"], "it is asked again")
    assert mirror.metric("mirrord_upstream_credentials_refused", **alarm) == 0


# --- what is told --------------------------------------------------------------------------------

def test_metrics_and_list(mirror, fake, one, two, images):
    one.extra_fields = [("ratelimit-limit", "100;w=21600"), ("ratelimit-remaining", "42;w=21600")]
    read(mirror, manifest_path("latest", "one.test/" + REPOSITORY), images[one])
    labels = dict(registry="one.test", upstream="127.0.0.1:%d" % one.port, credential="anonymous")
    assert mirror.metric("mirrord_upstream_ratelimit_limit", **labels) == 100
    assert mirror.metric("mirrord_upstream_ratelimit_remaining", **labels) == 42
    assert mirror.metric("mirrord_upstream_ratelimit_limit", registry="two.test") == -1
    told = json.loads(mirror.admin("/upstreams").body)
    assert [(item["registry"], item["default"], item["prefix"]) for item in told] == [
        ("127.0.0.1:%d" % fake.port, True, ""), ("one.test", False, "one.test/"), ("two.test", False, "two.test/")]
    assert told[1]["urls"][0]["ratelimit"]["remaining"] == 42


# --- listeners -----------------------------------------------------------------------------------

def test_by_listener(make_mirror, fake, one, images):
    """A port of its own stands for a registry, whatever the client calls it."""
    port = free_port()
    mirror = make_mirror(fake, MIRROR_UPSTREAMS=upstreams(one_test={"url": one.url, "listen": "127.0.0.1:%d" % port}))
    with rawhttp.Client(("127.0.0.1", port)) as client:
        for path in ("/v2/org/app/manifests/latest", "/v2/one.test/org/app/manifests/latest"):
            client.request(path, host="whatever.lan")
            assert client.read_response().body == images[one].manifest
        client.request("/v2/org/app/manifests/latest?ns=docker.io", host="whatever.lan")
        assert client.read_response().body == images[fake].manifest
    read(mirror, "/v2/org/app/manifests/latest", images[fake])
    assert one.count("/manifests/") == 1


def test_mount_from_the_same_address(mirror):
    """The repository that is mounted from is named as the one that is mounted into."""
    pusher = Pusher(mirror.address)
    body = b"m" * 1000
    digest = digest_of(body)
    assert pusher.single("one.test/org/base", body).status == 201
    target = with_query("/one.test/v2/org/new/blobs/uploads/", mount=digest, **{"from": "org/base"})
    assert pusher.ask("POST", target, b"").status == 201
    assert mirror.get("/v2/one.test/org/new/blobs/" + digest).body == body
    # The default has no such repository.
    assert pusher.mount("org/new", digest, "org/base").status == 202
    assert pusher.mount("org/new", digest, "one.test/org/base").status == 201


# --- TLS ------------------------------------------------------------------------------------------

def test_tls_options_of_each(make_mirror, make_fake, tmp_path):
    """Whom an entry trusts is its own affair: nothing is inherited, nor used because a connection is open already."""
    ours, theirs = make_certificate(tmp_path, "ours"), make_certificate(tmp_path, "theirs")
    one, two = make_fake(tls=server_context(ours)), make_fake(tls=server_context(theirs))
    image = simple(layers=1)
    for registry in (one, two):
        registry.add_image(image, REPOSITORY, "latest")
    mirror = make_mirror(one, MIRROR_CA_FILE=ours, MIRROR_RETRIES_MAX="0", MIRROR_UPSTREAMS=upstreams(
        ours_test={"url": one.url, "ca_file": ours}, theirs_test={"url": two.url, "ca_file": theirs},
        bare_test=one.url, wrong_test={"url": one.url, "ca_file": theirs},
        open_test={"url": [one.url], "tls_verify": False}))
    for name in ("", "ours.test/", "theirs.test/", "open.test/"):
        read(mirror, manifest_path("latest", name + REPOSITORY), image)
    assert one.count("/manifests/") == 3 and two.count("/manifests/") == 1
    for name in ("bare.test/", "wrong.test/"):
        for _ in range(2):
            assert mirror.get(manifest_path("latest", name + REPOSITORY)).status in (502, 503)
    assert one.count("/manifests/") == 3


# --- times ---------------------------------------------------------------------------------------

def test_times_of_a_registry(make_mirror, fake, one, two, images):
    """One is asked every time, for the other a tag is good for an hour; and what is absent of one is forgotten at once."""
    mirror = make_mirror(fake, MIRROR_TAGS_CACHE_TTL="1h", MIRROR_NEGATIVE_TTL="1h", MIRROR_UPSTREAMS=upstreams(
        one_test={"url": one.url, "ttl": 0, "negative_ttl": 0}, two_test=two.url))
    for name, registry in (("one.test", one), ("two.test", two)):
        for _ in range(4):
            read(mirror, "/v2/%s/org/app/manifests/latest" % name, images[registry])
            assert mirror.get("/v2/%s/org/app/manifests/absent" % name).status == 404
    assert one.count("/manifests/latest") == 4 and one.count("/manifests/absent") == 4
    assert two.count("/manifests/latest") == 1 and two.count("/manifests/absent") == 1


def test_patterns_name_registries(make_mirror, fake, one, two, images):
    """By any of their names, the default one, too; and then they are about that registry only."""
    own = "127.0.0.1:%d" % fake.port
    settings = dict(MIRROR_TAGS_CACHE_TTL="1h", MIRROR_UPSTREAMS=upstreams(
        one_test={"url": one.url, "aliases": ["alias.test"]}, two_test=two.url))
    mirror = make_mirror(fake, **settings, MIRROR_FRESHNESS="%s/org/*:latest=5m, alias.test/*=7m" % own,
                         PUSH_REPOSITORIES="!%s/org/app, *" % own, MIRROR_PRECEDENCE="alias.test/team/*=local-only")
    for name, ttl in (("", 300), ("one.test/", 420), ("two.test/", 3600)):
        path = manifest_path("latest", name + REPOSITORY)
        assert mirror.get(path).status == 200
        assert ttl - 60 < int(re.search("ttl=([0-9]+)", mirror.get(path)["cache-status"])[1]) <= ttl
    image = simple(layers=1, seed=4)
    assert Pusher(mirror.address).ask("POST", "/v2/%s/blobs/uploads/" % REPOSITORY, b"").status == 403
    Pusher(mirror.address).image("one.test/" + REPOSITORY, image, "mine")
    n = len(one.requests)
    assert mirror.get(manifest_path("v1", "one.test/team/app")).status == 404 and len(one.requests) == n


def test_metrics_can_be_read(make_mirror, fake, one):
    """In the text format of Prometheus, whatever the configuration: no series twice, each under its type, labels
    escaped as it wants them."""
    registries = {"one.test": [one.url + "/a", one.url + "/b", one.url],
                  "two.test": {"url": one.url, "username": 'a\tb"c\\d\né', "password": "hidden"}}
    mirror = make_mirror(fake, MIRROR_UPSTREAMS=json.dumps(registries))
    mirror.get("/v2/one.test/org/app/manifests/latest")
    text = mirror.admin("/metrics").body.decode()
    kind, seen, ended = None, set(), set()
    for line in text.split("\n"):
        if line.startswith("# TYPE "):
            ended.add(kind)
            kind = line.split(" ")[2]
            assert kind not in ended, line
        elif line and not line.startswith("#"):
            match = re.fullmatch(r'(\w+)(\{(\w+="([^"\\\n]|\\[\\"n])*",?)+\})? -?[0-9.e+]+', line)
            assert match and match[1] in (kind, kind + "_bucket", kind + "_sum", kind + "_count"), line
            series = line.rpartition(" ")[0]
            assert series not in seen, line
            seen.add(series)
    name = "127.0.0.1:%d" % one.port
    for nth in ("", "#2", "#3"):
        labels = '{registry="one.test",upstream="%s%s",credential="anonymous"}' % (name, nth)
        assert "mirrord_upstream_breaker_open" + labels in seen
    assert "hidden" not in text and "hidden" not in mirror.log()
