"""Which manifests refer to another: those of here, those of the upstream, and both."""
import json
import os
import re
import threading
import time

import pytest

from lib import faults
from lib.images import OCI_INDEX, OCI_MANIFEST, Bytes, digest_of, simple
from lib.mirror import manifest_path
from lib.pushing import Pusher
from lib.waiting import PATIENCE_S, wait_until

REPOSITORY = "library/test"
SUBJECT = digest_of(b"subject")
EMPTY = "application/vnd.oci.empty.v1+json"
SBOM, SIGNATURE = "application/vnd.example.sbom.v1+json", "application/vnd.example.signature"
HASTY = {"MIRROR_RETRIES_MAX": 0, "MIRROR_BACKOFF_BASE": "5ms", "MIRROR_BREAKER_FAILURES": 1000}


def referrers_path(subject=SUBJECT, query="", repository=REPOSITORY):
    return "/v2/%s/referrers/%s%s" % (repository, subject, query)


def listed(mirror, query="", subject=SUBJECT, repository=REPOSITORY):
    """(response, descriptors) of a good answer."""
    response = mirror.get(referrers_path(subject, query, repository))
    assert response.status == 200, (response.head, response.body)
    assert response["content-type"] == OCI_INDEX
    index = response.json()
    assert index["schemaVersion"] == 2 and index["mediaType"] == OCI_INDEX
    digests = [descriptor["digest"] for descriptor in index["manifests"]]
    assert digests == sorted(set(digests))
    return response, index["manifests"]


def digests_of(mirror, query="", **names):
    return [descriptor["digest"] for descriptor in listed(mirror, query, **names)[1]]


def artifact(n, artifact_type=SBOM, subject=SUBJECT, **members):
    """The manifest of a referrer."""
    config = {"mediaType": EMPTY, "size": 2, "digest": digest_of(b"{}")}
    return json.dumps({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": artifact_type, "config": config,
        "layers": [], "subject": {"mediaType": OCI_MANIFEST, "size": 7, "digest": subject},
        "annotations": {"n": str(n), "\u00e4": "\u20ac"}, **members}, indent=2).encode()


def described(manifest):
    """Its descriptor, as a registry tells it."""
    known = json.loads(manifest)
    return {"mediaType": OCI_MANIFEST, "size": len(manifest), "digest": digest_of(manifest),
            "artifactType": known["artifactType"], "annotations": known["annotations"]}


def store(mirror, manifest, repository=REPOSITORY):
    """As another program, which writes the same storage, would."""
    digest = digest_of(manifest)
    root = os.path.join(mirror.storage, "docker/registry/v2")
    link = os.path.join(root, "repositories", repository, "_manifests/revisions/sha256", digest[7:], "link")
    for path, data in ((mirror.blob_file(digest), manifest), (link, digest.encode())):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)
    return digest


def push(mirror, manifest, reference=None, repository=REPOSITORY):
    pusher = Pusher(mirror.address)
    pusher.blob(repository, b"{}")
    response = pusher.put_manifest(repository, reference or digest_of(manifest), manifest, OCI_MANIFEST)
    assert response.status == 201, (response.head, response.body)
    return response


def next_target(response):
    """Where a page says that the list goes on."""
    link = response.get("link")
    if link is None:
        return None
    match = re.fullmatch(r'<(/v2/[^>]+)>; rel="next"', link)
    assert match is not None, link
    return match[1]


def all_pages(mirror, target):
    pages = []
    while target is not None:
        response = mirror.get(target)
        assert response.status == 200
        pages.append(response.json()["manifests"])
        target = next_target(response)
    return pages


@pytest.fixture
def upstream(fake):
    """It has the API."""
    fake.referrers = {}
    return fake


# --- what is here --------------------------------------------------------------------------------

def test_none(make_mirror):
    """Never 404."""
    mirror = make_mirror()
    for subject in (SUBJECT, "sha512:" + "0" * 128):
        response, found = listed(mirror, subject=subject)
        assert found == [] and response.get("link") is None and response.get("oci-filters-applied") is None
    head = mirror.head(referrers_path())
    assert head.status == 200 and head["content-type"] == OCI_INDEX and head.length == response.length
    assert not os.path.exists(os.path.join(mirror.storage, "docker/registry/v2/repositories", REPOSITORY))


def test_wrong_requests(make_mirror):
    mirror = make_mirror()
    for path, status, code in (
            (referrers_path("latest"), 400, "DIGEST_INVALID"),
            (referrers_path("sha256:00"), 400, "DIGEST_INVALID"),
            (referrers_path("md5:" + "0" * 32), 400, "DIGEST_INVALID"),
            (referrers_path(query="?n=x"), 400, "PAGINATION_NUMBER_INVALID"),
            (referrers_path(query="?last=x"), 400, "PAGINATION_NUMBER_INVALID"),
            (referrers_path(repository="A"), 400, "NAME_INVALID")):
        response = mirror.get(path)
        assert response.status == status and response.error_code() == code, path
    assert mirror.get(referrers_path(), "PUT").status == 405
    assert listed(mirror, "?n=0")[1] == []
    for query in ("?artifactType=%zz", "?artifactType=" + "x" * 300):
        response, found = listed(mirror, query)
        assert found == [] and response["oci-filters-applied"] == "artifactType"


def test_descriptors(make_mirror):
    mirror = make_mirror()
    manifests = [artifact(n) for n in range(3)]
    for manifest in manifests:
        store(mirror, manifest)
    store(mirror, artifact(9, subject=digest_of(b"another")))
    _, found = listed(mirror)
    assert found == sorted(map(described, manifests), key=lambda descriptor: descriptor["digest"])


def test_filter(make_mirror):
    """Types have a plus; some clients encode it, some do not."""
    mirror = make_mirror()
    sbom, signature = store(mirror, artifact(1, SBOM)), store(mirror, artifact(2, SIGNATURE))
    assert digests_of(mirror) == sorted([sbom, signature])
    for query, wanted in (("?artifactType=" + SBOM, [sbom]),
                          ("?artifactType=" + SBOM.replace("+", "%2B").replace("/", "%2F"), [sbom]),
                          ("?ns=docker.io&artifactType=" + SIGNATURE, [signature]),
                          ("?artifactType=" + SBOM.replace("+", "%20"), []),
                          ("?artifactType=x/y", [])):
        response, found = listed(mirror, query)
        assert [descriptor["digest"] for descriptor in found] == wanted, query
        assert response["oci-filters-applied"] == "artifactType"
    assert listed(mirror, "?artifactType=")[0].get("oci-filters-applied") is None


def test_config_type_counts(make_mirror):
    mirror = make_mirror()
    config = {"mediaType": "application/vnd.example.config+json", "size": 2, "digest": digest_of(b"{}")}
    store(mirror, artifact(1, None, config=config))
    response, found = listed(mirror, "?artifactType=" + config["mediaType"])
    assert len(found) == 1 and found[0]["artifactType"] == config["mediaType"]


def test_three_pages(make_mirror):
    mirror = make_mirror(HTTP_LIST_ENTRIES_MAX=4)
    digests = sorted(store(mirror, artifact(n, SBOM if n < 10 else SIGNATURE)) for n in range(15))
    pages = all_pages(mirror, referrers_path())
    assert [len(page) for page in pages] == [4, 4, 4, 3]
    assert [descriptor["digest"] for page in pages for descriptor in page] == digests
    pages = all_pages(mirror, referrers_path(query="?artifactType=" + SBOM))
    assert [len(page) for page in pages] == [4, 4, 2]
    pages = all_pages(mirror, referrers_path(query="?n=5"))
    assert [len(page) for page in pages] == [4, 4, 4, 3]
    pages = all_pages(mirror, referrers_path(query="?n=1&artifactType=" + SIGNATURE))
    assert [len(page) for page in pages] == [1] * 5


def test_pages_by_bytes(make_mirror):
    """No page is larger than clients read."""
    mirror = make_mirror()
    for n in range(7):
        store(mirror, artifact(n, annotations={"%d" % n: "y" * (1 << 20)}))
    target, sizes, n_found = referrers_path(), [], 0
    while target is not None:
        response = mirror.get(target)
        sizes.append(len(response.body))
        n_found += len(response.json()["manifests"])
        target = next_target(response)
    assert n_found == 7 and len(sizes) == 3 and max(sizes) <= (4 << 20) + 200


def test_pushed_and_deleted(make_mirror):
    mirror = make_mirror(DELETE_ENABLED="true")
    first, second = artifact(1), artifact(2)
    assert push(mirror, first)["oci-subject"] == SUBJECT
    assert digests_of(mirror) == [digest_of(first)]
    push(mirror, second, "tagged")
    assert digests_of(mirror) == sorted([digest_of(first), digest_of(second)])
    assert digests_of(mirror, repository="library/other") == []
    pusher = Pusher(mirror.address)
    assert pusher.delete(REPOSITORY, "manifests", digest_of(first)).status == 202
    assert digests_of(mirror) == [digest_of(second)]
    push(mirror, first)
    assert digests_of(mirror) == sorted([digest_of(first), digest_of(second)])
    mirror.restart(kill=True)
    assert digests_of(mirror) == sorted([digest_of(first), digest_of(second)])
    assert mirror.metric('mirrord_referrers_requests_total{result="hit"}') >= 1


# --- what the upstream has -----------------------------------------------------------------------

def test_upstream(mirror, upstream):
    manifests = [artifact(n) for n in range(3)]
    upstream.referrers[REPOSITORY, SUBJECT] = [dict(described(manifest), data="e30=") for manifest in manifests]
    response, found = listed(mirror)
    assert found == sorted(upstream.referrers[REPOSITORY, SUBJECT], key=lambda descriptor: descriptor["digest"])
    assert "fwd=miss" in response["cache-status"]
    response, again = listed(mirror, "?artifactType=" + SBOM)
    assert again == found and "; hit" in response["cache-status"]
    assert listed(mirror, "?artifactType=x/y")[1] == []
    assert upstream.count("/referrers/") == 1
    request, = upstream.matching("/referrers/")
    assert request.get("accept") == OCI_INDEX and request.query == {}


def test_none_upstream_is_remembered(mirror, upstream):
    """Without a file per subject that anybody asks about."""
    for _ in range(3):
        assert listed(mirror)[1] == []
    assert upstream.count("/referrers/") == 1
    assert not os.path.exists(os.path.join(mirror.storage, "docker/registry/v2/repositories", REPOSITORY))


def test_upstream_changes(make_mirror, upstream):
    mirror = make_mirror(upstream, MIRROR_REFERRERS_TTL=0)
    first, second = described(artifact(1)), described(artifact(2))
    for known in ([first], [first, second], [second], [], [first]):
        upstream.referrers[REPOSITORY, SUBJECT] = known
        assert sorted(digests_of(mirror)) == sorted(descriptor["digest"] for descriptor in known)


def test_upstream_pages(mirror, upstream):
    """Followed to their end, whatever form the link has."""
    upstream.page_size = 3
    upstream.referrers[REPOSITORY, SUBJECT] = [described(artifact(n)) for n in range(8)]
    assert len(listed(mirror)[1]) == 8
    assert [request.query for request in upstream.matching("/referrers/")] == [{}, {"start": ["3"]}, {"start": ["6"]}]
    for n, link in enumerate(('<?start=2>; rel=next', '<%s/v2/x/referrers/%s?start=2>; x="a,b;c"; rel="prev next"',
                              '</a>; rel="prev", <%s/v2/x/referrers/%s?start=2#f> ; REL="next"')):
        subject = digest_of(b"%d" % n)
        if "%s" in link:
            link = link % (upstream.url, subject.replace(":", "%3A"))
        upstream.page_size = None
        upstream.referrers[REPOSITORY, subject] = [described(artifact(n)) for n in range(3)]
        body = json.dumps({"manifests": [described(artifact(9))]}).encode()
        upstream.script(subject, lambda exchange, link=link: exchange.answer(200, {"Link": link}, body, OCI_INDEX))
        assert digests_of(mirror, subject=subject) == sorted(digest_of(artifact(n)) for n in (2, 9))


def test_merge(make_mirror, upstream):
    """In order, each once; what is here wins."""
    mirror = make_mirror(upstream, HTTP_LIST_ENTRIES_MAX=4)
    manifests = [artifact(n) for n in range(12)]
    for manifest in manifests[:7]:
        store(mirror, manifest)
    upstream.referrers[REPOSITORY, SUBJECT] = [
        dict(described(manifest), annotations={"from": "upstream"}) for manifest in manifests[5:]]
    pages = all_pages(mirror, referrers_path())
    assert [len(page) for page in pages] == [4, 4, 4]
    found = [descriptor for page in pages for descriptor in page]
    assert [descriptor["digest"] for descriptor in found] == sorted(map(digest_of, manifests))
    here = {digest_of(manifest) for manifest in manifests[:7]}
    for descriptor in found:
        assert ("from" in descriptor["annotations"]) == (descriptor["digest"] not in here)
    assert upstream.count("/referrers/") == 1


def test_tag_schema(mirror, fake):
    """The upstream has no such API."""
    known = [described(artifact(n)) for n in range(2)]
    index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": known}).encode()
    fake.add_manifest(index, OCI_INDEX, REPOSITORY, SUBJECT.replace(":", "-"))
    assert digests_of(mirror) == sorted(descriptor["digest"] for descriptor in known)
    assert digests_of(mirror) == sorted(descriptor["digest"] for descriptor in known)
    assert fake.count("/referrers/") == 1 and fake.count("/manifests/") == 1
    # The tag was kept: clients that know only the schema find it, too.
    fake.refuse()
    assert mirror.get(manifest_path(SUBJECT.replace(":", "-"))).body == index


def test_tag_schema_of_sha512(mirror, fake):
    subject = "sha512:" + "ab" * 64
    index = json.dumps({"manifests": [described(artifact(1))]}).encode()
    fake.add_manifest(index, OCI_INDEX, REPOSITORY, "sha512-" + "ab" * 32)
    assert digests_of(mirror, subject=subject) == [digest_of(artifact(1))]


def refuse_with(status, content_type="application/json", body=b'{"errors":[]}'):
    return lambda exchange: exchange.answer(status, {}, body, content_type)


@pytest.mark.parametrize("behave", [
    refuse_with(404), refuse_with(404, "text/plain", b"404 page not found\n"), refuse_with(405), refuse_with(400),
    refuse_with(403), refuse_with(501), refuse_with(200, "text/html", b"<html>welcome</html>"),
    refuse_with(200, OCI_INDEX, b"<html>")], ids=["404", "404-text", "405", "400", "403", "501", "page", "hidden-page"])
def test_no_api(make_mirror, fake, behave):
    """Registries say in many ways that they have no such API; the tag schema decides."""
    mirror = make_mirror(fake, **HASTY)
    fake.always("/referrers/", behave)
    assert listed(mirror)[1] == []
    index = json.dumps({"manifests": [described(artifact(1))]}).encode()
    fake.add_manifest(index, OCI_INDEX, REPOSITORY, digest_of(b"other").replace(":", "-"))
    assert digests_of(mirror, subject=digest_of(b"other")) == [digest_of(artifact(1))]


def test_one_question(mirror, upstream):
    """However many ask at once."""
    release = threading.Event()
    upstream.referrers[REPOSITORY, SUBJECT] = [described(artifact(1))]
    upstream.script("/referrers/", faults.hold(release))
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(listed(mirror))) for _ in range(20)]
    for thread in threads:
        thread.start()
    upstream.wait_requests(1, "/referrers/")
    wait_until(lambda: mirror.log().count("listing -> asking") == 20, "all of them wait")
    release.set()
    for thread in threads:
        thread.join()
    assert len(answers) == 20 and all(len(found) == 1 for _, found in answers)
    assert upstream.count("/referrers/") == 1


def test_clients_leave(make_mirror, upstream):
    """The question goes on, and its answer is kept."""
    mirror = make_mirror(upstream)
    release = threading.Event()
    upstream.referrers[REPOSITORY, SUBJECT] = [described(artifact(1))]
    upstream.script("/referrers/", faults.hold(release))
    for _ in range(5):
        with mirror.client() as client:
            client.request(referrers_path())
            upstream.wait_requests(1, "/referrers/")
    release.set()
    assert len(listed(mirror)[1]) == 1
    assert upstream.count("/referrers/") == 1


def test_too_many_questions(make_mirror, upstream):
    """Those that nobody waits for are dropped."""
    mirror = make_mirror(upstream, MIRROR_QUESTIONS_MAX=0)
    upstream.referrers[REPOSITORY, SUBJECT] = [described(artifact(1))]
    is_dropped = threading.Event()

    def wait_for_the_end(exchange):
        assert exchange.socket.recv(1) == b""
        is_dropped.set()
        exchange.hang_up()
    upstream.script("/referrers/", wait_for_the_end)
    client = mirror.client()
    client.request(referrers_path())
    upstream.wait_requests(1, "/referrers/")
    # Who only ends what it sends may still wait for its answer.
    client.reset()
    assert is_dropped.wait(PATIENCE_S)
    assert len(listed(mirror)[1]) == 1, "the upstream is asked anew"
    assert upstream.count("/referrers/") == 2


def test_local_only(make_mirror, upstream):
    mirror = make_mirror(upstream, MIRROR_PRECEDENCE="library/*=local-only")
    upstream.referrers[REPOSITORY, SUBJECT] = upstream.referrers["other/x", SUBJECT] = [described(artifact(1))]
    here = store(mirror, artifact(2))
    assert digests_of(mirror) == [here]
    assert upstream.count("/referrers/") == 0
    assert digests_of(mirror, repository="other/x") == [digest_of(artifact(1))]


# --- the upstream fails --------------------------------------------------------------------------

def check_stale(response):
    assert "detail=stale" in response["cache-status"] and response["warning"].startswith("299 ")


def test_offline(make_mirror, upstream):
    """What the upstream said is told, also after a restart."""
    mirror = make_mirror(upstream, MIRROR_REFERRERS_TTL=0, MIRROR_STALE_RETRY=0, **HASTY)
    upstream.referrers[REPOSITORY, SUBJECT] = [described(artifact(n)) for n in range(3)]
    response, found = listed(mirror)
    assert response.get("warning") is None
    upstream.refuse()
    mirror.restart()
    for _ in range(2):
        response, again = listed(mirror)
        assert again == found
        check_stale(response)
    store(mirror, artifact(7))
    assert len(listed(mirror)[1]) == 4
    assert mirror.metric('mirrord_referrers_requests_total{result="stale"}') == 3


def test_offline_within_ttl(make_mirror, upstream):
    mirror = make_mirror(upstream, **HASTY)
    upstream.referrers[REPOSITORY, SUBJECT] = [described(artifact(1))]
    listed(mirror)
    upstream.refuse()
    mirror.restart()
    response, found = listed(mirror)
    assert len(found) == 1 and response.get("warning") is None


def test_failing_and_nothing_kept(make_mirror, upstream):
    """The subject, or a referrer, is here: that much is told. Else the client learns that it is not known."""
    mirror = make_mirror(upstream, MIRROR_STALE_RETRY=0, **HASTY)
    upstream.always("/referrers/", lambda exchange: exchange.error(503, "UNAVAILABLE"))
    response = mirror.get(referrers_path())
    assert response.status == 503 and response.error_code() == "UNAVAILABLE" and response.get("retry-after")
    here = store(mirror, artifact(1))
    response, found = listed(mirror)
    assert [descriptor["digest"] for descriptor in found] == [here]
    check_stale(response)
    image = simple()
    upstream.add_image(image, REPOSITORY, "latest")
    mirror.get(manifest_path("latest"))
    wait_until(lambda: mirror.get(referrers_path(image.digest)).status == 200, "the subject is here")
    response, found = listed(mirror, subject=image.digest)
    assert found == []
    check_stale(response)
    upstream.behave_well()
    assert listed(mirror)[0].get("warning") is None


def test_slow(make_mirror, upstream):
    """Who can be told something does not wait for long, and others after him not at all."""
    mirror = make_mirror(upstream, MIRROR_REFERRERS_TTL=0, MIRROR_STALE_WAIT="300ms", MIRROR_STALE_RETRY=60)
    upstream.referrers[REPOSITORY, SUBJECT] = [described(artifact(1))]
    listed(mirror)
    release = threading.Event()
    upstream.script("/referrers/", faults.hold(release))
    start = time.monotonic()
    response, found = listed(mirror)
    assert len(found) == 1 and 0.2 < time.monotonic() - start
    check_stale(response)
    check_stale(listed(mirror)[0])
    assert upstream.count("/referrers/") == 2
    release.set()


def test_denied(make_mirror, fake):
    mirror = make_mirror(fake, **HASTY)
    fake.always("", lambda exchange: exchange.error(403, "DENIED"))
    response = mirror.get(referrers_path())
    assert response.status == 403 and response.error_code() == "DENIED"


def index_of(*manifests, **members):
    return json.dumps({"schemaVersion": 2, "manifests": list(manifests), **members}).encode()


HOSTILE = {
    "huge": index_of(*[dict(described(artifact(n)), annotations={"x": "y" * 50000}) for n in range(100)]),
    "long": index_of(*[described(artifact(1))] * 20000),
    "not JSON": b"{" * 1000,
    "nothing": b"",
    "an array": b"[]",
    "no manifests": b'{"schemaVersion":2}',
    "manifests are an object": b'{"manifests":{}}',
    "deep": b'{"manifests":' + b"[" * 100000 + b"]" * 100000 + b"}",
    "cut": index_of(described(artifact(1)))[:-1],
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("by_tag", [False, True], ids=["api", "tag"])
def test_hostile(make_mirror, upstream, name, by_tag):
    mirror = make_mirror(upstream, MIRROR_STALE_RETRY=0, **HASTY)
    if by_tag:
        upstream.referrers = None
        upstream.add_manifest(HOSTILE[name], OCI_INDEX, REPOSITORY, SUBJECT.replace(":", "-"))
    else:
        upstream.always("/referrers/", lambda exchange: exchange.answer(200, {}, HOSTILE[name], OCI_INDEX))
    response = mirror.get(referrers_path())
    assert response.status == 502, (response.head, response.body[:300])
    here = store(mirror, artifact(3))
    response, found = listed(mirror)
    assert [descriptor["digest"] for descriptor in found] == [here]
    check_stale(response)


def test_memory_is_bounded(make_mirror, upstream):
    """Who asks while others' lists fill the room is told to come again; one list alone always fits."""
    mirror = make_mirror(upstream, MIRROR_REFERRERS_MEMORY="64KiB", MIRROR_STALE_RETRY=0, **HASTY)
    other, release = digest_of(b"other"), threading.Event()
    for subject in (SUBJECT, other):
        upstream.referrers[REPOSITORY, subject] = [
            dict(described(artifact(n, subject=subject)), annotations={"x": "y" * 100000}) for n in range(2)]
    upstream.page_size = 1

    def hold_second_page(exchange):
        if "start" in exchange.request.query:
            release.wait()
        exchange.behave()

    upstream.always("/referrers/", hold_second_page)
    client = mirror.client()
    client.request(referrers_path())
    wait_until(lambda: upstream.count("/referrers/") == 2, "the first page is here")
    response = mirror.get(referrers_path(other))
    assert response.status == 503 and response.error_code() == "UNAVAILABLE" and response.get("retry-after")
    release.set()
    assert len(client.read_response().json()["manifests"]) == 2
    client.close()
    wait_until(lambda: mirror.get(referrers_path(other)).status == 200, "there is room again")


def test_poison(mirror, upstream):
    """A descriptor that clients cannot decode would hide all others."""
    good = described(artifact(1))
    upstream.referrers[REPOSITORY, SUBJECT] = [
        good, 1, None, {}, dict(good, digest="x"), dict(described(artifact(2)), size="1"),
        dict(described(artifact(3)), annotations={"a": 1}), dict(described(artifact(4)), Annotations=[])]
    assert listed(mirror)[1] == [good]


def endless(exchange):
    n = int(exchange.request.query.get("n", ["0"])[0])
    link = '<%s?n=%d>; rel="next"' % (exchange.request.path, n + 1)
    exchange.answer(200, {"Link": link}, index_of(), OCI_INDEX)


def astray(where):
    def behave(exchange):
        if "referrers" in exchange.request.path:
            exchange.answer(200, {"Link": '<%s>; rel="next"' % where}, index_of(described(artifact(1))), OCI_INDEX)
    return behave


@pytest.mark.parametrize("behave", [
    endless, astray("/v2/x/referrers/%s?a=b" % digest_of(b"y")), astray("http://127.0.0.1:1/secret?a=b"),
    astray(referrers_path()), astray("?" + "x" * 5000)], ids=["endless", "subject", "elsewhere", "no query", "long"])
def test_links_astray(make_mirror, upstream, behave):
    mirror = make_mirror(upstream, MIRROR_REFERRERS_PAGES_MAX=5, **HASTY)
    upstream.always("/referrers/", behave)
    assert mirror.get(referrers_path()).status == 502
    assert upstream.count("/referrers/") == (5 if behave is endless else 1)


def test_second_page_fails(make_mirror, upstream):
    """Half a list is none."""
    mirror = make_mirror(upstream, MIRROR_REFERRERS_TTL=0, MIRROR_STALE_RETRY=0, **HASTY)
    upstream.page_size = 2
    upstream.referrers[REPOSITORY, SUBJECT] = [described(artifact(n)) for n in range(3)]
    for n in range(2):
        upstream.script("/referrers/", faults.ok(), lambda exchange: exchange.error(404, "NAME_UNKNOWN"))
        assert mirror.get(referrers_path()).status == 502
    assert len(listed(mirror)[1]) == 3


def test_kept_answer_is_damaged(make_mirror, upstream):
    mirror = make_mirror(upstream)
    upstream.referrers[REPOSITORY, SUBJECT] = [described(artifact(1))]
    listed(mirror)
    kept = os.path.join(mirror.storage, "docker/registry/v2/repositories", REPOSITORY, "_referrers/sha256",
                        SUBJECT[7:], "upstream.json")
    with open(kept) as file:
        text = file.read()
    for n, damaged in enumerate((text.replace('"manifests"', '"manifest"'), text[:-20], "", "x" * 100)):
        with open(kept, "w") as file:
            file.write(damaged)
        assert len(listed(mirror)[1]) == 1
        assert upstream.count("/referrers/") == 2 + n


def test_head(mirror, upstream):
    upstream.referrers[REPOSITORY, SUBJECT] = [described(artifact(n)) for n in range(3)]
    head = mirror.head(referrers_path(query="?n=2"))
    response = mirror.get(referrers_path(query="?n=2"))
    assert head.status == 200 and head.length == len(response.body) and head["link"] == response["link"]


def test_mirrored_referrers_are_found(mirror, fake):
    """What was pulled stays known when the tag that listed it is gone."""
    manifest = artifact(1)
    fake.add_manifest(manifest, OCI_MANIFEST, REPOSITORY, "signature")
    fake.blobs[digest_of(b"{}")] = Bytes(b"{}")
    assert mirror.get(manifest_path("signature")).status == 200
    wait_until(lambda: digests_of(mirror) == [digest_of(manifest)], "the referrer is kept")
    assert listed(mirror)[1] == [described(manifest)]
