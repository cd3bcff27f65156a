"""Pushed or mirrored: who wins, who is asked, and what is told about it."""
import json
import subprocess
import threading

import pytest

from lib import faults, rawhttp, volume
from lib.images import OCI_MANIFEST, simple
from lib.mirror import binary, blob_path, manifest_path
from lib.pushing import Pusher
from lib.waiting import wait_until

REPOSITORY = "library/test"
LATEST = manifest_path("latest")
OURS, THEIRS, LATER = simple(1), simple(2), simple(3)
RULES = ("local-first", "upstream-first", "local-only", "upstream-only")


def by_files(mirror, image, *tags, repository=REPOSITORY):
    """As another program puts it into the storage."""
    volume.put_image(mirror.storage, repository, image, *tags)


def by_http(mirror, image, *tags, repository=REPOSITORY):
    Pusher(mirror.address).image(repository, image, *tags)


def mirrored_from(fake):
    return "mirrored; upstream=127.0.0.1:%d" % fake.port


def check(mirror, image, origin, target=LATEST, cache=None):
    """All workers say so, whichever a connection comes to."""
    for method in ("GET", "HEAD") * 4:
        response = mirror.get(target, method)
        assert response.status == 200, (method, response.head, response.body)
        assert response["docker-content-digest"] == image.digest
        assert response["x-mirrord-origin"] == origin
        assert method == "HEAD" or response.body == image.manifest
        assert cache is None or cache in response["cache-status"], response["cache-status"]
    return response


def tags_of(mirror, repository=REPOSITORY):
    response = mirror.get("/v2/%s/tags/list" % repository)
    return response.json()["tags"] if response.status == 200 else response.status


def tag_record(mirror, tag="latest", repository=REPOSITORY):
    page = mirror.admin("/tags?repository=" + repository).json()
    assert page["name"] == repository
    found = [row for row in page["tags"] if row["tag"] == tag]
    return found[0] if found else None


def next_of(page):
    link = page.get("link")
    return link[1:].split(">")[0] if link else None


def wait_stored(mirror, digest, tag="latest"):
    """The link that registry:2 reads says so."""
    wait_until(lambda: volume.tag_digest(mirror.storage, REPOSITORY, tag) == digest, "the tag is stored")


# --- pushed wins -----------------------------------------------------------------------------------


@pytest.mark.parametrize("push", [by_files, by_http])
def test_pushed_wins_for_ever(make_mirror, fake, push):
    """The upstream is not even asked, whatever it has, and whatever the TTL."""
    mirror = make_mirror(fake, MIRROR_TAGS_CACHE_TTL="0")
    fake.add_image(THEIRS, REPOSITORY, "latest")
    push(mirror, OURS, "latest")
    check(mirror, OURS, "pushed", cache="hit")
    mirror.restart()
    response = check(mirror, OURS, "pushed", cache="hit")
    assert response.get("age") is None, "it has its origin here"
    assert fake.count("/manifests/") == 0
    assert volume.tag_digest(mirror.storage, REPOSITORY, "latest") == OURS.digest


@pytest.mark.parametrize("kill", [False, True])
def test_a_push_takes_a_mirrored_tag_over(make_mirror, fake, kill):
    mirror = make_mirror(fake, MIRROR_TAGS_CACHE_TTL="0")
    fake.add_image(THEIRS, REPOSITORY, "latest")
    check(mirror, THEIRS, mirrored_from(fake))
    wait_stored(mirror, THEIRS.digest)
    by_http(mirror, OURS, "latest")
    n_asked = fake.count("/manifests/latest")
    check(mirror, OURS, "pushed")
    fake.add_image(LATER, REPOSITORY, "latest")
    check(mirror, OURS, "pushed")
    assert fake.count("/manifests/latest") == n_asked
    assert volume.tag_digest(mirror.storage, REPOSITORY, "latest") == OURS.digest
    mirror.restart(kill)
    check(mirror, OURS, "pushed")
    row = tag_record(mirror)
    assert (row["origin"], row["digest"], row["pushed"], row["mirrored"]) == (
        "pushed", OURS.digest, OURS.digest, THEIRS.digest)


def test_the_upstreams_own_digest_pushed(make_mirror, fake):
    """Pushing what was mirrored makes it pushed: it stays when the upstream moves on."""
    mirror = make_mirror(fake, MIRROR_TAGS_CACHE_TTL="0")
    fake.add_image(THEIRS, REPOSITORY, "latest")
    check(mirror, THEIRS, mirrored_from(fake))
    by_http(mirror, THEIRS, "latest")
    fake.add_image(LATER, REPOSITORY, "latest")
    check(mirror, THEIRS, "pushed")
    mirror.restart()
    check(mirror, THEIRS, "pushed")


def test_a_push_ends_remembered_absence(make_mirror, fake):
    """Of the tag, and of the digest."""
    mirror = make_mirror(fake, MIRROR_NEGATIVE_TTL="3600")
    for target in (LATEST, manifest_path(OURS.digest)):
        assert [mirror.get(target).status for _ in range(3)] == [404] * 3
        assert fake.count(target) == 1
    by_http(mirror, OURS, "latest")
    check(mirror, OURS, "pushed")
    check(mirror, OURS, "pushed", manifest_path(OURS.digest))


def test_a_push_while_the_upstream_is_asked(mirror, fake):
    """Who asked before the push may get what the upstream says; the tag is pushed all the same."""
    fake.add_image(THEIRS, REPOSITORY, "latest")
    event = threading.Event()
    fake.script("/manifests/latest", faults.hold(event))
    with mirror.client() as client:
        client.request(LATEST)
        fake.wait_requests(1, "/manifests/latest")
        by_http(mirror, OURS, "latest")
        event.set()
        response = client.read_response()
    assert response.status == 200
    check(mirror, OURS, "pushed")
    mirror.restart()
    check(mirror, OURS, "pushed")


# --- the rules -------------------------------------------------------------------------------------


def served(rule, upstream_has, is_away=False):
    """What a tag says that was pushed here; upstream_has: the tag is there, too."""
    if rule == "upstream-only":
        return (THEIRS, "mirrored") if upstream_has and not is_away else None
    if rule == "upstream-first" and upstream_has and not is_away:
        return THEIRS, "mirrored"
    return OURS, "pushed"


@pytest.mark.parametrize("is_away", [False, True])
@pytest.mark.parametrize("upstream_has", [False, True])
@pytest.mark.parametrize("rule", RULES)
def test_rules(make_mirror, fake, rule, upstream_has, is_away):
    mirror = make_mirror(fake, MIRROR_PRECEDENCE="other/*=local-only,library/*=" + rule)
    if upstream_has:
        fake.add_image(THEIRS, REPOSITORY, "latest")
    by_files(mirror, OURS, "latest")
    if is_away:
        fake.refuse()
    wanted = served(rule, upstream_has, is_away)
    if wanted is None:
        assert mirror.get(LATEST).status == (503 if is_away else 404)
    else:
        check(mirror, wanted[0], "pushed" if wanted[1] == "pushed" else mirrored_from(fake))
    if rule in ("local-first", "local-only") and not is_away:
        assert fake.count("/manifests/") == 0
    # registry:2 goes on serving what was pushed.
    assert volume.tag_digest(mirror.storage, REPOSITORY, "latest") == OURS.digest
    row = tag_record(mirror)
    assert row["rule"] == rule and row["pushed"] == OURS.digest


@pytest.mark.parametrize("rule", RULES)
def test_who_may_push(make_mirror, fake, rule):
    mirror = make_mirror(fake, MIRROR_PRECEDENCE="*=" + rule)
    response = Pusher(mirror.address).single(REPOSITORY, b"some bytes")
    assert response.status == (403 if rule == "upstream-only" else 201), response.head
    response = Pusher(mirror.address).put_manifest(REPOSITORY, "latest", OURS.manifest, OCI_MANIFEST)
    assert (response.status == 403) == (rule == "upstream-only"), response.head


def test_upstream_first_follows_the_upstream(make_mirror, fake):
    """With TTL and revalidation; when it is away its half is served, stale; when it has none any more, ours."""
    mirror = make_mirror(fake, MIRROR_TAGS_CACHE_TTL="0", MIRROR_NEGATIVE_TTL="0", MIRROR_STALE_RETRY="0",
                         MIRROR_PRECEDENCE="*=upstream-first", MIRROR_GONE_CONFIRM="0")
    by_http(mirror, OURS, "latest")
    check(mirror, OURS, "pushed")
    fake.add_image(THEIRS, REPOSITORY, "latest")
    check(mirror, THEIRS, mirrored_from(fake))
    fake.add_image(LATER, REPOSITORY, "latest")
    check(mirror, LATER, mirrored_from(fake))
    wait_until(lambda: (tag_record(mirror) or {})["mirrored"] == LATER.digest, "the move is stored")
    fake.always("/manifests/latest", faults.status(503))
    check(mirror, LATER, mirrored_from(fake), cache="detail=stale")
    mirror.restart()
    check(mirror, LATER, mirrored_from(fake), cache="detail=stale")
    fake.behave_well()
    fake.always("/manifests/latest", faults.status(404, error="MANIFEST_UNKNOWN"))
    mirror.restart()  # the upstream was left alone after so many failures
    check(mirror, OURS, "pushed", cache="hit")
    row = tag_record(mirror)
    assert row["pushed"] == OURS.digest and volume.tag_digest(mirror.storage, REPOSITORY, "latest") == OURS.digest


def test_local_only_never_asks(make_mirror, fake):
    """Not for tags, digests, blobs or lists; what was mirrored before the rule is not served by tag."""
    mirror = make_mirror(fake)
    for tag in ("latest", "both"):
        fake.add_image(THEIRS, REPOSITORY, tag)
        assert mirror.get(manifest_path(tag)).status == 200
        wait_stored(mirror, THEIRS.digest, tag)
    fake.add_image(LATER, REPOSITORY, "later")
    by_http(mirror, OURS, "both")
    mirror.settings["MIRROR_PRECEDENCE"] = REPOSITORY + "=local-only"
    mirror.restart()
    n_asked = len(fake.matching())
    check(mirror, OURS, "pushed", manifest_path("both"))
    for tag in ("latest", "later"):
        assert mirror.get(manifest_path(tag)).status == 404
    assert mirror.get(manifest_path(LATER.digest)).status == 404
    assert mirror.blob(LATER.layers[0]["digest"]).status == 404
    assert tags_of(mirror) == ["both"]
    for tag in ("both", "latest"):
        assert mirror.get("/v2/%s/tags/list?n=1" % REPOSITORY).json()["tags"] == ["both"]
    assert len(fake.matching()) == n_asked


def test_upstream_only_lists_its_tags(make_mirror, fake):
    mirror = make_mirror(fake, MIRROR_PRECEDENCE="*=upstream-only")
    fake.add_image(THEIRS, REPOSITORY, "latest")
    by_files(mirror, OURS, "latest", "pushed")
    assert tags_of(mirror) == ["latest"]
    assert mirror.get(manifest_path("pushed")).status == 404
    fake.refuse()
    assert tags_of(mirror) == [], "nothing of it is remembered"


def test_rules_for_tags(make_mirror, fake):
    """A pattern with a colon is about tags only; the list follows it."""
    mirror = make_mirror(fake, MIRROR_PRECEDENCE="library/test:v*=local-only,library/test:u*=upstream-only")
    for tag in ("v1", "v2", "u1", "latest"):
        fake.add_image(THEIRS, REPOSITORY, tag)
    by_files(mirror, OURS, "v1", "u2", "latest", "x")
    check(mirror, OURS, "pushed", manifest_path("v1"))
    assert mirror.get(manifest_path("v2")).status == 404
    assert mirror.get(manifest_path("u2")).status == 404
    check(mirror, THEIRS, mirrored_from(fake), manifest_path("u1"))
    check(mirror, OURS, "pushed")
    assert tags_of(mirror) == ["latest", "u1", "v1", "x"]
    names, target = [], "/v2/%s/tags/list?n=2" % REPOSITORY
    while target:
        page = mirror.get(target)
        names += page.json()["tags"]
        target = next_of(page)
    assert names == ["latest", "u1", "v1", "x"], "pages may be short, nothing is lost"


def test_a_wrong_rule_stops_the_start(tmp_path):
    ended = subprocess.run([binary(), "check"], capture_output=True, text=True, timeout=60, env={
        "SETTINGS_FLAVOR": "local", "STORAGE_PATH": str(tmp_path), "MIRROR_PRECEDENCE": "internal/*=local"})
    assert ended.returncode != 0 and "MIRROR_PRECEDENCE" in ended.stderr and "local-only" in ended.stderr


# --- digests ---------------------------------------------------------------------------------------


def test_a_digest_is_read_through_its_repository(make_mirror, fake):
    """The upstream is asked whether another one has it, too; a yes is remembered."""
    mirror = make_mirror(fake)
    by_http(mirror, OURS, "latest")
    target = manifest_path(OURS.digest, "library/other")
    fake.always("/library/other/", faults.status(404, error="MANIFEST_UNKNOWN"))
    assert mirror.get(target).status == 404
    assert [request.method for request in fake.matching(target)] == ["HEAD"], "the body is here"
    fake.behave_well()
    fake.add_image(OURS, "library/third", "any")
    target = manifest_path(OURS.digest, "library/third")
    response = mirror.get(target)
    assert response.status == 200 and response.body == OURS.manifest
    assert response["x-mirrord-origin"] == mirrored_from(fake) and "revalidated" in response["cache-status"]
    link = volume.repository_file(mirror.storage, "library/third", "_manifests/revisions",
                                  *OURS.digest.split(":"), "link")
    wait_until(lambda: open_or_none(link) == OURS.digest, "the link is written")
    mirror.restart()
    check(mirror, OURS, mirrored_from(fake), target, cache="hit")
    assert fake.count(target) == 1


def open_or_none(path):
    try:
        with open(path) as file:
            return file.read()
    except FileNotFoundError:
        return None


def test_without_an_upstream_only_links_count(make_mirror):
    mirror = make_mirror(None)
    by_http(mirror, OURS, "latest")
    check(mirror, OURS, "pushed", manifest_path(OURS.digest))
    assert mirror.get(manifest_path(OURS.digest, "library/other")).status == 404


def test_a_digest_while_the_upstream_is_away(make_mirror, fake):
    """What a repository has is served; what it may have is not."""
    mirror = make_mirror(fake)
    fake.add_image(THEIRS, REPOSITORY, "latest")
    assert mirror.get(LATEST).status == 200
    fake.refuse()
    check(mirror, THEIRS, mirrored_from(fake), manifest_path(THEIRS.digest))
    assert mirror.get(manifest_path(THEIRS.digest, "library/other")).status == 503


def test_a_mirrored_tag_links_what_is_here_already(make_mirror, fake):
    """HEAD by tag finds the manifest here, for another repository's sake: then this one has it, too."""
    mirror = make_mirror(fake)
    fake.add_image(THEIRS, REPOSITORY, "latest")
    fake.add_image(THEIRS, "library/second", "latest")
    assert mirror.get(LATEST).status == 200
    assert mirror.head(manifest_path("latest", "library/second")).status == 200
    fake.refuse()
    check(mirror, THEIRS, mirrored_from(fake), manifest_path(THEIRS.digest, "library/second"))


# --- what is told ----------------------------------------------------------------------------------


def test_blobs_tell_it_too(make_mirror, fake):
    mirror = make_mirror(fake)
    fake.add_image(THEIRS, REPOSITORY, "latest")
    by_http(mirror, OURS, "ours")
    assert mirror.get(LATEST).status == 200
    for _ in range(2):
        assert mirror.blob(THEIRS.layers[0]["digest"])["x-mirrord-origin"] == mirrored_from(fake)
        assert mirror.blob(OURS.layers[0]["digest"])["x-mirrord-origin"] == "pushed"


@pytest.mark.parametrize("form", ["combined", "json"])
def test_access_line(make_mirror, fake, form, tmp_path):
    path = tmp_path / "access.log"
    mirror = make_mirror(fake, REGISTRY_ACCESS_LOG_FILE=path, REGISTRY_ACCESS_LOG_FORMAT=form)
    fake.add_image(THEIRS, REPOSITORY, "theirs")
    by_files(mirror, OURS, "ours")
    targets = [manifest_path(reference) for reference in ("theirs", "ours", "none", OURS.digest)] + [
        blob_path(OURS.layers[0]["digest"])]
    for target in targets:
        mirror.get(target)
    name = "127.0.0.1:%d" % fake.port
    wanted = [("mirrored", name), ("pushed", ""), ("", ""), ("pushed", ""), ("pushed", "")]
    for target, (origin, upstream) in zip(targets, wanted):
        wait_until(lambda: path.exists() and target in path.read_text(), "the line is written")
        line, = [line for line in path.read_text().splitlines() if target in line]
        if form == "json":
            fields = json.loads(line)
            assert (fields["origin"], fields["upstream"]) == (origin, upstream)
        else:
            assert line.split(" ")[-1] == (origin + (":" + upstream if upstream else "") or "-")


def test_admin_listing(make_mirror, fake):
    mirror = make_mirror(fake, MIRROR_PRECEDENCE="library/test:first=upstream-first")
    for tag in ("theirs", "both", "first"):
        fake.add_image(THEIRS, REPOSITORY, tag)
        assert mirror.get(manifest_path(tag)).status == 200
    by_http(mirror, OURS, "ours", "both", "first")
    by_http(mirror, OURS, "v1", repository="team/app")
    wait_stored(mirror, THEIRS.digest, "theirs")
    rows = {row["tag"]: row for row in mirror.admin("/tags?repository=" + REPOSITORY).json()["tags"]}
    told = {tag: (row["origin"], row["digest"], row["pushed"], row["mirrored"], row["rule"])
            for tag, row in rows.items()}
    assert told == {
        "both": ("pushed", OURS.digest, OURS.digest, THEIRS.digest, "local-first"),
        "first": ("mirrored", THEIRS.digest, OURS.digest, THEIRS.digest, "upstream-first"),
        "ours": ("pushed", OURS.digest, OURS.digest, None, "local-first"),
        "theirs": ("mirrored", THEIRS.digest, None, THEIRS.digest, "local-first"),
    }
    for tag, row in rows.items():
        assert (row["pushed_at"] is not None) == (tag != "theirs")
        assert row["upstream"] == (None if tag == "ours" else "127.0.0.1:%d" % fake.port)
        assert (row["fetched_at"] is None) == (row["checked_at"] is None) == (tag == "ours")

    def pages(target):
        while target:
            page = mirror.admin(target)
            yield page.json()
            target = next_of(page)

    assert [[row["tag"] for row in page["tags"]] for page in pages("/tags?n=3&repository=" + REPOSITORY)] == [
        ["both", "first", "ours"], ["theirs"]]
    assert [page["repositories"] for page in pages("/repositories?n=1")] == [[REPOSITORY], ["team/app"]]
    assert mirror.admin("/repositories").json()["repositories"] == [REPOSITORY, "team/app"]


@pytest.mark.parametrize("target, status", [
    ("/tags", 400), ("/tags?repository=", 400), ("/tags?repository=../x", 400), ("/tags?repository=A", 400),
    ("/tags?repository=a&n=0", 400), ("/tags?repository=a&n=x", 400), ("/tags?repository=none", 404),
    ("/repositories?n=99999999999999999999", 400), ("/repositories?last=" + "a" * 400, 400)])
def test_admin_refusals(mirror, target, status):
    response = rawhttp.get(mirror.admin_address, target)
    assert response.status == status and "error" in response.json()
    assert rawhttp.get(mirror.admin_address, target, "POST").status == 405


def test_the_old_record_is_still_read(make_mirror, fake):
    """As mirrord 0.1 wrote it: mirrored, and to be asked about when it is old."""
    mirror = make_mirror(fake, start=False, MIRROR_TAGS_CACHE_TTL="1h")
    volume.put_image(mirror.storage, REPOSITORY, OURS, "latest")
    volume.write(volume.tag_file(mirror.storage, REPOSITORY, "latest", "mirrord.json"), json.dumps({
        "origin": "mirrored", "digest": OURS.digest, "fetched_at": 1000, "checked_at": 2000}).encode())
    fake.add_image(THEIRS, REPOSITORY, "latest")
    mirror.start()
    assert tag_record(mirror)["fetched_at"] == 1000
    check(mirror, THEIRS, mirrored_from(fake))
    wait_stored(mirror, THEIRS.digest)


def test_a_deleted_tag_is_the_upstreams_again(make_mirror, fake):
    mirror = make_mirror(fake, DELETE_ENABLED="true", MIRROR_TAGS_CACHE_TTL="0")
    fake.add_image(THEIRS, REPOSITORY, "latest")
    check(mirror, THEIRS, mirrored_from(fake))
    by_http(mirror, OURS, "latest")
    assert Pusher(mirror.address).delete(REPOSITORY, "manifests", "latest").status == 202
    assert tag_record(mirror) is None, "both halves are gone"
    check(mirror, THEIRS, mirrored_from(fake))
