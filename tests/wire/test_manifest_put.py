"""Pushing manifests: what is accepted, what is refused and why, and that nothing is ever half done."""
import json
import os
import re
import shutil
import threading

import pytest

from lib import faults
from lib.images import OCI_INDEX, OCI_MANIFEST, Index, digest_of, noise, simple
from lib.mirror import blob_path
from lib.pushing import Pusher, chunked
from lib.waiting import PATIENCE_S, wait_until

REPO = "library/test"
ABSENT = "sha256:" + "0" * 64
EXAMPLE = "application/vnd.example.thing.v1+json"


@pytest.fixture
def home(make_mirror):
    """A daemon without upstream."""
    return make_mirror()


@pytest.fixture
def pusher(home):
    return Pusher(home.address)


@pytest.fixture
def image(pusher):
    """Its blobs are pushed, its manifest is not."""
    image = simple(layers=2)
    for body in image.blobs.values():
        pusher.blob(REPO, body)
    return image


def as_json(value):
    return json.dumps(value).encode()


def put(pusher, data, media_type=OCI_MANIFEST, reference="latest", repository=REPO, query=""):
    """media_type None: without the field."""
    if isinstance(data, dict):
        data = as_json(data)
    fields = [("Content-Type", media_type)] if media_type is not None else []
    return pusher.ask("PUT", "/v2/%s/manifests/%s%s" % (repository, reference, query), data, fields)


def get(pusher, reference, repository=REPO, method="GET"):
    return pusher.ask(method, "/v2/%s/manifests/%s" % (repository, reference))


def refused(response, status, code):
    assert response.status == status and response.error_code() == code, (response.head, response.body)
    detail = response.json()["errors"][0].get("detail", {})
    return " ".join(str(value) for value in detail.values())


def changed(image, **members):
    manifest = json.loads(image.manifest)
    manifest.update(members)
    return {name: value for name, value in manifest.items() if value is not None}


def link_record(mirror, repository, digest, kind="_layers"):
    algorithm, value = digest.split(":")
    return os.path.join(mirror.storage, "docker/registry/v2/repositories", repository, kind, algorithm, value,
                        "mirrord.json")


def is_pushed_layer(mirror, repository, digest):
    record = link_record(mirror, repository, digest)
    return os.path.exists(os.path.join(os.path.dirname(record), "link")) and not os.path.exists(record)


# --- what is well --------------------------------------------------------------------------------


def test_by_tag_and_by_digest(home, pusher, image):
    response = put(pusher, image.manifest)
    assert response.status == 201 and response.body == b""
    assert response["location"] == "/v2/%s/manifests/%s" % (REPO, image.digest)
    assert response["docker-content-digest"] == image.digest
    assert response.get("oci-tag") is None and response.get("oci-subject") is None
    pusher.check_image(REPO, image, "latest")
    assert get(pusher, "latest")["content-type"] == OCI_MANIFEST

    other = simple(5)
    assert pusher.image(REPO, other) == other.digest
    assert pusher.tags(REPO) == ["latest"], "a push by digest makes no tag"
    pusher.check_image(REPO, other)
    home.restart(kill=True)
    pusher = Pusher(home.address)
    pusher.check_image(REPO, image, "latest")
    pusher.check_image(REPO, other)


def test_tag_parameters(pusher, image):
    response = put(pusher, image.manifest, reference=image.digest, query="?tag=a&tag=B.2&tag=c%5Fd&other=x")
    assert response.status == 201
    assert response.all("oci-tag") == ["a", "B.2", "c_d"]
    assert sorted(pusher.tags(REPO)) == ["B.2", "a", "c_d"]
    response = put(pusher, image.manifest, reference="main", query="?tag=more")
    assert response.status == 201 and response.all("oci-tag") == ["more"]
    for tag in ("a", "B.2", "c_d", "main", "more"):
        assert get(pusher, tag).body == image.manifest


def test_wrong_tag_parameters(make_mirror):
    home = make_mirror(PUSH_TAGS_MAX="3")
    pusher = Pusher(home.address)
    image = simple()
    pusher.image(REPO, image)
    for query in ("?tag=.x", "?tag=", "?tag=a&tag=b%2fc", "?tag=" + "x" * 129, "?tag=%zz"):
        refused(put(pusher, image.manifest, reference=image.digest, query=query), 400, "TAG_INVALID")
    refused(put(pusher, image.manifest, reference=image.digest, query="?tag=1&tag=2&tag=3&tag=4"), 414, "TAG_INVALID")
    refused(put(pusher, image.manifest, reference="0", query="?tag=1&tag=2&tag=3"), 414, "TAG_INVALID")
    assert pusher.tags(REPO) == []


PATH_TRICKS = ["..", ".", "../../x", "..%2f..%2fx", "%2e%2e%2fx", "%2e%2e", "a/../../x", "a%5cb", "a%00", ".x", "-x",
               "a\x7f", "_manifests/tags/x", "//x", "%c0%ae%c0%ae"]


@pytest.mark.parametrize("where", ["tag", "parameter", "name"])
@pytest.mark.parametrize("trick", PATH_TRICKS)
def test_path_tricks(pusher, image, tmp_path, where, trick):
    """What would be a path, or is no name, changes nothing on the disk, in the storage and beside it."""
    put(pusher, image.manifest)

    def everything():
        """But for what the daemon does for itself, a little later."""
        paths = [os.path.join(folder, name) for folder, names, files in os.walk(tmp_path) for name in names + files]
        return sorted(path for path in paths if not re.search("/_mirrord/(ledger.db|scrub.json)", path))
    before = everything()
    if where == "tag":
        responses = [put(pusher, image.manifest, reference=trick),
                     pusher.ask("DELETE", "/v2/%s/manifests/%s" % (REPO, trick))]
    elif where == "parameter":
        responses = [put(pusher, image.manifest, reference=reference, query="?tag=%s" % trick)
                     for reference in (image.digest, "other")]
    else:
        repository = REPO + "/" + trick
        responses = [put(pusher, image.manifest, repository=repository),
                     pusher.ask("POST", "/v2/%s/blobs/uploads/" % repository, b""),
                     pusher.ask("POST", "/v2/%s/blobs/uploads/?digest=%s" % (repository, digest_of(b"x")), b"x")]
    for response in responses:
        assert response.status in (400, 404, 405), response.head
    wait_until(lambda: everything() == before, lambda: "there is more: %s" % (set(everything()) - set(before)))
    assert pusher.tags(REPO) == ["latest"]


def test_sha512(home, pusher, image):
    digest = digest_of(image.manifest, "sha512")
    response = put(pusher, image.manifest, reference=digest, query="?tag=latest")
    assert response.status == 201 and response["docker-content-digest"] == digest
    for reference in (digest, "latest"):
        assert get(pusher, reference)["docker-content-digest"] == digest
    home.restart(kill=True)
    assert get(Pusher(home.address), digest).body == image.manifest
    refused(put(pusher, image.manifest, reference="sha512:" + "0" * 128), 400, "DIGEST_INVALID")


def test_index(pusher):
    images = [simple(1), simple(2)]
    index = Index(images)
    assert pusher.image(REPO, index, "latest") == index.digest
    nested = as_json({"schemaVersion": 2, "manifests": [
        {"mediaType": OCI_INDEX, "digest": index.digest, "size": len(index.manifest)}]})
    assert put(pusher, nested, OCI_INDEX, "nested").status == 201
    pusher.check_image(REPO, index, "latest")
    assert get(pusher, "nested").body == nested


def test_subject(pusher, image):
    for subject in (ABSENT, image.digest):
        manifest = changed(image, subject={"mediaType": OCI_MANIFEST, "digest": subject, "size": 5})
        response = put(pusher, manifest)
        assert response.status == 201 and response["oci-subject"] == subject


def test_unknown_types_are_kept_as_they_are(home, pusher):
    for n, data in enumerate([b'{ "a" : [ 1,{} ] }\n\n', b'{"layers":[1,2],"config":"x"}', b"{}"]):
        reference = "thing-%d" % n
        assert put(pusher, data, EXAMPLE + "; charset=utf-8", reference).status == 201
        response = get(pusher, reference)
        assert response.body == data and response["content-type"] == EXAMPLE
    home.restart()
    assert get(Pusher(home.address), "thing-1")["content-type"] == EXAMPLE


def test_type_of_the_body(pusher, image):
    """A client that tells no type: "mediaType", else the shape."""
    assert put(pusher, image.manifest, None, "said").status == 201
    assert get(pusher, "said")["content-type"] == OCI_MANIFEST
    assert put(pusher, changed(image, mediaType=None), None, "shape").status == 201
    assert get(pusher, "shape")["content-type"] == OCI_MANIFEST
    refused(put(pusher, b"{}", None), 400, "MANIFEST_INVALID")


def test_escaped_type_is_the_same(pusher, image):
    """As some encoders write it."""
    data = image.manifest.replace(b"v1+json", b"v1\\u002Bjson", 1)
    assert data != image.manifest
    assert put(pusher, data).status == 201
    assert get(pusher, "latest").body == data


def test_chunked_body(pusher, image):
    with pusher.connect() as client:
        client.request("/v2/%s/manifests/latest" % REPO, "PUT",
                       [("Content-Type", OCI_MANIFEST), ("Transfer-Encoding", "chunked")])
        client.send(chunked(image.manifest))
        assert client.read_response("PUT").status == 201
    assert get(pusher, "latest").body == image.manifest


def test_foreign_layers_may_lie_elsewhere(pusher, image):
    foreign = {"mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "digest": ABSENT, "size": 3,
               "urls": ["https://example.com/layer"]}
    assert put(pusher, changed(image, layers=image.layers + [foreign])).status == 201


def test_index_of_blobs(pusher):
    """As build caches have them."""
    digest = pusher.blob(REPO, noise(1000))
    index = {"schemaVersion": 2, "manifests": [{"mediaType": "application/vnd.buildkit.cacheconfig.v0",
                                                "digest": digest, "size": 1000}]}
    assert put(pusher, index, OCI_INDEX, "cache").status == 201


# --- what is not ---------------------------------------------------------------------------------


def test_wrong_digest(pusher, image):
    assert image.digest in refused(put(pusher, image.manifest, reference=ABSENT), 400, "DIGEST_INVALID")
    refused(put(pusher, image.manifest, reference="sha256:baddigest"), 400, "DIGEST_INVALID")
    assert get(pusher, ABSENT).status == 404


@pytest.mark.parametrize("data, why", [
    (b"", "early end"),
    (b"hello", "JSON"),
    (b"[]", "object"),
    (b'{"schemaVersion":2', "early end"),
    (b'{"annotations":' + b'{"a":' * 10000, "deep"),
    (b'{"annotations":' + b"[" * 10000 + b"]" * 10000 + b"}", "deep"),
    (b'{"config":{"digest":"sha256:%s","size":-1}}' % (b"0" * 64), "size"),
    (b'{"config":{"digest":"sha256:%s","size":"1"}}' % (b"0" * 64), "size"),
    (b'{"config":{"digest":"sha256:%s","size":1e400}}' % (b"0" * 64), "size"),
    (b'{"config":{"digest":"sha256:%s","size":1.5}}' % (b"0" * 64), "size"),
    (b'{"config":{"digest":7}}', "digest"),
    (b'{"config":{"size":7}}', "digest"),
    (b'{"config":{"digest":"sha256:%s","\\u0064igest":"sha256:%s"}}' % (b"0" * 64, b"1" * 64), "twice"),
    (b'{"layers":[],"Layers":[]}', "case"),
    (b'{"layers":[]}', "config"),
    (b'{"manifests":[],"config":null}', "something else"),
], ids=lambda value: value if isinstance(value, str) else "")
def test_no_manifest(pusher, data, why):
    assert why in refused(put(pusher, data), 400, "MANIFEST_INVALID")
    assert pusher.tags(REPO) in (None, [])


def test_depth_of_unknown_types(make_mirror):
    pusher = Pusher(make_mirror(PUSH_MANIFEST_DEPTH_MAX="8").address)
    for depth, status in ((8, 201), (9, 400)):
        data = b'{"a":' * depth + b"1" + b"}" * depth
        assert put(pusher, data, EXAMPLE).status == status
    refused(put(pusher, b'{"a":' * 10000, EXAMPLE), 400, "MANIFEST_INVALID")


def test_type_against_body(pusher, image):
    assert "differ" in refused(put(pusher, image.manifest, OCI_INDEX), 400, "MANIFEST_INVALID")
    assert "differ" in refused(put(pusher, image.manifest, EXAMPLE), 400, "MANIFEST_INVALID")
    refused(put(pusher, image.manifest, "nonsense"), 400, "MANIFEST_INVALID")
    refused(put(pusher, changed(image, mediaType=None), OCI_INDEX), 400, "MANIFEST_INVALID")


def test_signed_schema_1(pusher):
    data = {"schemaVersion": 1, "fsLayers": [], "signatures": []}
    for media_type in ("application/vnd.docker.distribution.manifest.v1+prettyjws", None):
        assert "schema 1" in refused(put(pusher, data, media_type), 400, "MANIFEST_INVALID")


def test_size_that_lies(pusher, image):
    layers = [dict(image.layers[0], size=image.layers[0]["size"] + 1), image.layers[1]]
    assert layers[0]["digest"] in refused(put(pusher, changed(image, layers=layers)), 400, "MANIFEST_INVALID")
    assert put(pusher, image.manifest).status == 201
    child = {"mediaType": OCI_MANIFEST, "digest": image.digest, "size": len(image.manifest) - 1}
    refused(put(pusher, {"schemaVersion": 2, "manifests": [child]}, OCI_INDEX), 400, "MANIFEST_INVALID")


def test_missing_references(home, pusher, image):
    layers = image.layers + [dict(image.layers[0], digest=ABSENT)]
    assert ABSENT in refused(put(pusher, changed(image, layers=layers)), 400, "MANIFEST_BLOB_UNKNOWN")
    config = dict(image.config, digest=ABSENT)
    assert ABSENT in refused(put(pusher, changed(image, config=config)), 400, "MANIFEST_BLOB_UNKNOWN")
    child = {"mediaType": OCI_MANIFEST, "digest": image.digest, "size": len(image.manifest)}
    told = refused(put(pusher, {"schemaVersion": 2, "manifests": [child]}, OCI_INDEX), 400, "MANIFEST_BLOB_UNKNOWN")
    assert image.digest in told
    # Here, but in another repository: knowing a digest is no permission.
    for digest in image.blobs:
        assert digest in refused(put(pusher, image.manifest, repository="library/other"), 400, "MANIFEST_BLOB_UNKNOWN")
    # Linked, but its bytes are gone.
    os.unlink(home.blob_file(image.layers[1]["digest"]))
    home.restart()
    pusher = Pusher(home.address)
    told = refused(put(pusher, image.manifest), 400, "MANIFEST_BLOB_UNKNOWN")
    assert image.layers[1]["digest"] in told and image.layers[0]["digest"] not in told
    assert get(pusher, "latest").status == 404 and get(pusher, image.digest).status == 404


def test_many_missing(pusher):
    """The answer stays short."""
    layers = [{"mediaType": "x/y", "digest": digest_of(b"%d" % n), "size": 1} for n in range(2000)]
    response = put(pusher, {"schemaVersion": 2, "config": layers[0], "layers": layers})
    refused(response, 400, "MANIFEST_BLOB_UNKNOWN")
    assert len(response.body) < 4096


def test_sparse(make_mirror):
    pusher = Pusher(make_mirror(SPARSE_MANIFESTS="true").address)
    image = simple()
    index = Index([image])
    assert put(pusher, image.manifest).status == 201
    assert put(pusher, index.manifest, OCI_INDEX, "index").status == 201
    assert get(pusher, "latest").body == image.manifest
    # What is here still has to be what is told.
    digest = pusher.blob(REPO, noise(100))
    layers = [{"mediaType": "x/y", "digest": digest, "size": 99}]
    refused(put(pusher, changed(image, layers=layers)), 400, "MANIFEST_INVALID")


def test_too_large(home, pusher, image):
    """From what is announced, before a byte is read; else when it has come."""
    large = changed(image, annotations={"a": "x" * (5 << 20)})
    refused(put(pusher, large), 413, "SIZE_INVALID")
    with pusher.connect() as client:
        client.request("/v2/%s/manifests/latest" % REPO, "PUT",
                       [("Content-Type", OCI_MANIFEST), ("Content-Length", str(5 << 20)), ("Expect", "100-continue")])
        assert client.read_response("PUT").status == 413
    with pusher.connect() as client:
        client.request("/v2/%s/manifests/latest" % REPO, "PUT",
                       [("Content-Type", OCI_MANIFEST), ("Transfer-Encoding", "chunked")])
        try:
            client.send(chunked(as_json(large), 50))
        except (BrokenPipeError, ConnectionResetError):
            pass
        refused(client.read_response("PUT"), 413, "SIZE_INVALID")
    fits = changed(image, annotations={"a": "x" * ((4 << 20) - 2000)})
    assert put(pusher, fits).status == 201
    assert get(pusher, "latest").body == as_json(fits)
    assert home.metric('mirrord_push_manifests_total{result="refused"}') == 3


def test_larger_than_what_is_mirrored(make_mirror):
    """What was accepted can be read for ever."""
    home = make_mirror(PUSH_MANIFEST_MAX_BYTES="8MiB", MIRROR_MANIFEST_MAX_BYTES="1MiB")
    data = as_json({"a": "x" * (5 << 20)})
    assert put(Pusher(home.address), data, EXAMPLE).status == 201
    home.restart(kill=True)
    assert get(Pusher(home.address), "latest").body == data


def test_memory_is_bounded(make_mirror):
    """Many who send slowly; when they have left others are served. One alone always is."""
    home = make_mirror(PUSH_MANIFESTS_MEMORY="1MiB")
    pusher = Pusher(home.address)
    large = as_json({"schemaVersion": 2, "pad": "x" * (3 << 20)})
    assert put(pusher, large, EXAMPLE, "alone").status == 201
    clients = []
    for _ in range(3):
        client = home.client()
        client.request("/v2/%s/manifests/slow" % REPO, "PUT", [("Content-Length", "400000"), ("Content-Type", EXAMPLE)])
        client.send(b"{" + b" " * 390000)
        clients.append(client)
    wait_until(lambda: sum(client.peek(0.05) is not None for client in clients) == 1, "one is refused")
    refused_one = next(client for client in clients if client.peek(0.05) is not None)
    response = refused_one.read_response()
    refused(response, 503, "UNAVAILABLE")
    assert response["retry-after"] == "1"
    refused(put(pusher, large, EXAMPLE), 503, "UNAVAILABLE")
    assert put(pusher, {"schemaVersion": 2}, EXAMPLE, "small").status == 201
    for client in clients:
        client.close()
    wait_until(lambda: put(pusher, large, EXAMPLE).status == 201, "there is room again")


def test_not_everywhere(make_mirror):
    home = make_mirror(PUSH_REPOSITORIES="mine/*")
    pusher = Pusher(home.address)
    refused(put(pusher, b"{}", EXAMPLE), 403, "DENIED")
    assert put(pusher, b"{}", EXAMPLE, repository="mine/x").status == 201


def test_upstream_only(make_mirror, fake):
    home = make_mirror(fake, MIRROR_PRECEDENCE="library/*=upstream-only,mine/x:latest=upstream-only")
    pusher = Pusher(home.address)
    refused(put(pusher, b"{}", EXAMPLE), 403, "DENIED")
    refused(put(pusher, b"{}", EXAMPLE, repository="mine/x"), 403, "DENIED")
    refused(put(pusher, b"{}", EXAMPLE, digest_of(b"{}"), "mine/x", "?tag=a&tag=latest"), 403, "DENIED")
    assert put(pusher, b"{}", EXAMPLE, "other", "mine/x").status == 201


# --- beside an upstream --------------------------------------------------------------------------


def built_upon(base, seed=9):
    """An image with the layers of another one and one of its own: what has to be pushed, and its manifest."""
    own = simple(seed)
    manifest = changed(base, config=own.config, layers=base.layers + own.layers)
    return own.blobs, as_json(manifest)


def test_base_is_only_upstream(mirror, fake):
    """The client asked for the layers of the base, was told that they can be had, and did not upload them."""
    base = simple(1, layers=3)
    fake.add_image(base, REPO, "base")
    pusher = Pusher(mirror.address)
    for layer in base.layers:
        assert mirror.head(blob_path(layer["digest"], REPO)).status == 200
    blobs, manifest = built_upon(base)
    for body in blobs.values():
        pusher.blob(REPO, body)
    assert not any(mirror.has_blob(layer["digest"]) for layer in base.layers)
    response = put(pusher, manifest, reference="mine")
    assert response.status == 201, response.body
    assert all(mirror.has_blob(layer["digest"]) for layer in base.layers)
    assert all(is_pushed_layer(mirror, REPO, layer["digest"]) for layer in base.layers)
    fake.refuse()
    mirror.restart(kill=True)
    pusher = Pusher(mirror.address)
    assert get(pusher, "mine").body == manifest
    for digest, body in list(base.blobs.items()):
        if digest in manifest.decode():
            assert pusher.ask("GET", blob_path(digest, REPO)).body == body.data


def test_base_is_mirrored(mirror, fake):
    """What was mirrored becomes pushed with what references it."""
    base = simple(1, layers=2)
    fake.add_image(base, REPO, "base")
    pusher = Pusher(mirror.address)
    pusher.check_image(REPO, base, "base")
    mirror.wait_no_fills()
    digest = base.layers[0]["digest"]
    wait_until(lambda: os.path.exists(link_record(mirror, REPO, digest)), "the layer has a mirrored link")
    blobs, manifest = built_upon(base)
    for body in blobs.values():
        pusher.blob(REPO, body)
    n_asked = fake.count("/blobs/")
    assert put(pusher, manifest, reference="mine").status == 201
    assert fake.count("/blobs/") == n_asked, "nothing is asked for that is here"
    assert all(is_pushed_layer(mirror, REPO, layer["digest"]) for layer in base.layers)
    config = base.config["digest"]
    assert os.path.exists(link_record(mirror, REPO, config)), "what is not referenced stays mirrored"


def test_index_of_mirrored_images(mirror, fake):
    """As `docker buildx imagetools create` makes them: the children, and what of theirs is here, become pushed."""
    images = [simple(1), simple(2)]
    for n, image in enumerate(images):
        fake.add_image(image, REPO, "base-%d" % n)
    pusher = Pusher(mirror.address)
    pusher.check_image(REPO, images[0], "base-0")
    mirror.wait_no_fills()
    index = Index(images)
    assert put(pusher, index.manifest, OCI_INDEX, "both").status == 201
    for image in images:
        with open(link_record(mirror, REPO, image.digest, "_manifests/revisions")) as record:
            assert "upstream" not in record.read(), "a pushed revision"
    assert is_pushed_layer(mirror, REPO, images[0].layers[0]["digest"])
    assert not mirror.has_blob(images[1].layers[0]["digest"]), "a push is no download of all platforms"
    fake.refuse()
    for image in images:
        assert get(pusher, image.digest).body == image.manifest


def test_upstream_denies_the_base(mirror, fake):
    base = simple(1)
    fake.add_image(base, "library/secret", "base")
    fake.always("/v2/%s/" % REPO, faults.status(404, error="BLOB_UNKNOWN"))
    pusher = Pusher(mirror.address)
    pusher.check_image("library/secret", base, "base")
    told = refused(put(pusher, base.manifest), 400, "MANIFEST_BLOB_UNKNOWN")
    assert base.layers[0]["digest"] in told
    assert get(pusher, base.digest).status == 404


def test_upstream_is_away(mirror, fake):
    """It cannot be told whether the upstream has it; a client should come again."""
    base = simple(1)
    fake.refuse()
    response = put(Pusher(mirror.address), base.manifest)
    assert response.status in (503, 504) and response.error_code() == "UNAVAILABLE"


@pytest.mark.parametrize("kind, media_type", [("layers", OCI_MANIFEST), ("manifests", OCI_INDEX)])
@pytest.mark.parametrize("is_away", [False, True])
def test_upstream_is_spared(mirror, fake, kind, media_type, is_away):
    """One request of a client does not become thousands of ours."""
    references = [{"mediaType": "x/y", "digest": digest_of(b"%d" % n), "size": 1} for n in range(1000)]
    config = {"config": references[0]} if kind == "layers" else {}
    if is_away:
        fake.always("/v2/%s/" % REPO, faults.status(500))
    response = put(Pusher(mirror.address), {"schemaVersion": 2, kind: references, **config}, media_type)
    assert response.status in (400, 502, 503), response.head
    assert fake.count("/v2/%s/" % REPO) < 60


def test_the_same_layer_many_times(mirror, fake):
    """A mirrored layer becomes a pushed one once, however often it is named."""
    base = simple(1)
    fake.add_image(base, REPO, "base")
    pusher = Pusher(mirror.address)
    pusher.check_image(REPO, base, "base")
    layer = base.layers[0]
    assert put(pusher, changed(base, layers=[layer] * 20000), reference="many").status == 201
    assert is_pushed_layer(mirror, REPO, layer["digest"])


def test_upstream_must_not_be_asked(make_mirror, fake):
    mirror = make_mirror(fake, MIRROR_PRECEDENCE="library/*=local-only")
    base = simple(1)
    fake.add_image(base, REPO, "base")
    refused(put(Pusher(mirror.address), base.manifest), 400, "MANIFEST_BLOB_UNKNOWN")
    assert fake.count("/v2/library/") == 0


def test_base_with_a_size_that_lies(mirror, fake):
    base = simple(1)
    fake.add_image(base, REPO, "base")
    layers = [dict(base.layers[0], size=1)]
    assert layers[0]["digest"] in refused(put(Pusher(mirror.address), changed(base, layers=layers)), 400,
                                          "MANIFEST_INVALID")
    assert not mirror.has_blob(layers[0]["digest"]), "not worth the fetch"


def test_client_leaves_while_the_base_is_fetched(mirror, fake):
    base = simple(1)
    fake.add_image(base, REPO, "base")
    released = threading.Event()
    fake.always("/blobs/", faults.hold(released), method="GET")
    pusher = Pusher(mirror.address)
    client = pusher.connect()
    client.request("/v2/%s/manifests/mine" % REPO, "PUT",
                   [("Content-Type", OCI_MANIFEST), ("Content-Length", str(len(base.manifest)))])
    client.send(base.manifest)
    fake.wait_requests(1, "/blobs/", "GET")
    client.reset()
    mirror.wait_for_log("fetching -> over")
    released.set()
    fake.behave_well()
    assert put(pusher, base.manifest, reference="mine").status == 201


def test_push_takes_a_mirrored_tag_over(mirror, fake):
    theirs, ours = simple(1), simple(2)
    fake.add_image(theirs, REPO, "latest")
    pusher = Pusher(mirror.address)
    assert get(pusher, "latest").body == theirs.manifest
    pusher.image(REPO, ours, "latest")
    for _ in range(4):
        assert get(pusher, "latest").body == ours.manifest
    mirror.restart(kill=True)
    assert get(Pusher(mirror.address), "latest").body == ours.manifest


def test_push_ends_a_negative_answer(mirror, fake):
    pusher = Pusher(mirror.address)
    image = simple(3)
    for reference in ("new", image.digest):
        assert get(pusher, reference).status == 404
    pusher.image(REPO, image, "new")
    for reference in ("new", image.digest):
        assert get(pusher, reference).body == image.manifest


# --- many at once, and sudden ends ---------------------------------------------------------------


def test_one_tag_from_many(make_mirror):
    """The last one wins, and no reader ever sees something torn or nothing."""
    home = make_mirror(REGISTRY_WORKERS="4")
    pusher = Pusher(home.address)
    bodies = [as_json({"n": n, "pad": "x" * (n * 97 % 5000)}) for n in range(40)]
    assert put(pusher, bodies[0], EXAMPLE).status == 201
    wrong, stop = [], threading.Event()

    def write(part):
        with pusher.connect() as client:
            for body in part:
                response = pusher.ask("PUT", "/v2/%s/manifests/latest" % REPO, body, [("Content-Type", EXAMPLE)],
                                      client)
                if response.status != 201:
                    wrong.append(response.head)

    def read():
        with pusher.connect() as client:
            while not stop.is_set():
                response = pusher.ask("GET", "/v2/%s/manifests/latest" % REPO, client=client)
                if response.status != 200 or response.body not in bodies or \
                        digest_of(response.body) != response["docker-content-digest"]:
                    wrong.append(response.head)

    writers = [threading.Thread(target=write, args=(bodies[n::8],)) for n in range(8)]
    readers = [threading.Thread(target=read) for _ in range(3)]
    for thread in writers + readers:
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    for thread in readers:
        thread.join()
    assert wrong == []
    assert put(pusher, bodies[7], EXAMPLE).status == 201
    seen = [get(pusher, "latest").body for _ in range(12)]
    home.restart(kill=True)
    assert set(seen) == {bodies[7]} and get(Pusher(home.address), "latest").body == bodies[7]


def test_kill_after_each_answer(home, image):
    """Whatever was answered 201 is there; no tag points to nothing."""
    for n in range(6):
        pusher = Pusher(home.address)
        data = as_json(changed(image, annotations={"n": str(n)}))
        assert put(pusher, data, reference="tag-%d" % n, query="?tag=latest").status == 201
        home.restart(kill=True)
        pusher = Pusher(home.address)
        for reference in ("tag-%d" % n, "latest", digest_of(data)):
            assert get(pusher, reference).body == data


def test_kill_while_pushing(home, image):
    for n in range(4):
        address, answered = home.address, []
        started = threading.Event()

        def push(part, address=address, n=n):
            pusher = Pusher(address)
            for k in range(part, 4000, 4):
                data = as_json(changed(image, annotations={"n": "%d-%d" % (n, k)}))
                try:
                    if put(pusher, data, reference="t%d" % part).status == 201:
                        answered.append((part, data))
                        started.set()
                except (OSError, AssertionError):
                    return

        threads = [threading.Thread(target=push, args=(part,)) for part in range(4)]
        for thread in threads:
            thread.start()
        assert started.wait(PATIENCE_S)
        home.kill()
        for thread in threads:
            thread.join()
        home.start()
        pusher = Pusher(home.address)
        for _, data in answered:
            assert get(pusher, digest_of(data)).body == data
        for tag in pusher.tags(REPO):
            assert get(pusher, tag).status == 200, "a tag that points to nothing"


def test_storage_refuses(make_mirror):
    """Nothing is told to be there that is not."""
    home = make_mirror()
    pusher = Pusher(home.address)
    assert put(pusher, b"{}", EXAMPLE, "first").status == 201
    folder = os.path.join(home.storage, "docker/registry/v2/repositories", REPO, "_manifests/tags")
    shutil.rmtree(os.path.join(folder, "first"))
    os.rmdir(folder)
    with open(folder, "w"):
        pass
    response = put(pusher, b'{"a":1}', EXAMPLE, "second")
    assert response.status == 500 and response.error_code() == "UNKNOWN"
    os.unlink(folder)
    assert put(pusher, b'{"a":1}', EXAMPLE, "second").status == 201
    assert get(pusher, "second").body == b'{"a":1}'
