"""Files that the disk has damaged are found: none of them is served as a good one afterwards, what was mirrored comes back,
what was pushed is told to the operator."""
import json
import os
import pathlib
import subprocess
import threading
import time

import pytest

from lib import faults, rawhttp
from lib.images import noise, simple
from lib.mirror import binary
from lib.process import free_port
from lib.pushing import Pusher
from lib.waiting import stays_so, wait_until

# Nothing by itself; what is asked for is done at once.
ASKED = {"MIRROR_SCRUB_RATE": "1GiB", "MIRROR_SCRUB_INTERVAL": "0", "GC_INTERVAL": "0", "LOGLEVEL": "info"}
BAD_PUSHED = "mirrord_scrub_damaged_pushed"


def post(mirror, path="/scrub"):
    return rawhttp.get(mirror.admin_address, path, "POST", [("Content-Length", "0")])


def report(mirror):
    return json.loads(mirror.admin("/scrub").body)


def scrub(mirror):
    """A whole pass that begins after this call."""
    n_before = mirror.metric("mirrord_scrub_passes_total")
    wait_until(lambda: not report(mirror)["running"], "nothing runs")
    assert post(mirror).status == 202
    wait_until(lambda: mirror.metric("mirrord_scrub_passes_total") > n_before, lambda: "the pass ends: %s" % report(mirror))
    wait_until(lambda: not report(mirror)["running"], "the pass is told")
    return report(mirror)


def verify(mirror, *words):
    """mirrord verify: (status, {what: [digest, …]}, last line, standard error)."""
    result = subprocess.run([binary(), "verify", *words], env=mirror.environment(), capture_output=True, text=True, timeout=60)
    told = {}
    lines = result.stdout.splitlines()
    for line in lines:
        if len(line.split()) > 1 and line.split()[1].startswith("sha"):
            told.setdefault(line.split()[0], []).append(line.split()[1])
    return result.returncode, told, lines[-1] if lines else "", result.stderr


# --- what disks do -------------------------------------------------------------------------------

def flip(path):
    with open(path, "r+b") as file:
        file.seek(os.path.getsize(path) // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))


def shorten(path):
    os.truncate(path, os.path.getsize(path) - 1)


def empty(path):
    os.truncate(path, 0)


def lengthen(path):
    with open(path, "ab") as file:
        file.write(b"\0")


def zero(path):
    size = os.path.getsize(path)
    with open(path, "r+b") as file:
        file.write(bytes(size))


DAMAGES = [flip, shorten, empty, lengthen, zero]


def aside(mirror):
    folder = os.path.join(mirror.storage, "_mirrord/damaged")
    return sorted(name.replace("-", ":", 1) for name in os.listdir(folder)) if os.path.isdir(folder) else []


def check_not_served(mirror, target, data):
    """Whatever is answered, it is not another body that looks whole."""
    response = mirror.get(target, allow_short=True)
    assert response.status != 200 or response.body == data, "wrong bytes were served as good ones"
    return response


# --- mirrored ------------------------------------------------------------------------------------

@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("is_stopped", [False, True], ids=["running", "stopped"])
def test_mirrored_blob_comes_back(make_mirror, fake, damage, is_stopped):
    """It is removed and fetched once, without a client; then it is served from here."""
    data = noise(300_000, 11)
    digest = fake.add_blob(data)
    mirror = make_mirror(fake, **ASKED)
    assert mirror.blob(digest).body == data
    mirror.wait_settled(digest)
    if is_stopped:
        mirror.stop()
    damage(mirror.blob_file(digest))
    if is_stopped:
        mirror.start()
    n_before = fake.count(r"/blobs/" + digest, "GET")
    found = scrub(mirror)
    assert (found["damaged"], found["removed"], found["refetched"], found["damaged_pushed"]) == (1, 1, 1, 0), found
    mirror.wait_kept(digest)
    wait_until(lambda: "was fetched again" in mirror.log(), "it came back")
    assert fake.count(r"/blobs/" + digest, "GET") == n_before + 1
    response = mirror.blob(digest)
    assert response.status == 200 and response.body == data
    assert fake.count(r"/blobs/" + digest, "GET") == n_before + 1, "it was fetched for the client"
    assert aside(mirror) == []
    assert scrub(mirror)["damaged"] == 0


def test_mirrored_image_comes_back(make_mirror, fake):
    """Its manifest, too; after a restart, so that nothing of it is in memory."""
    image = simple(21)
    fake.add_image(image, "library/test", "v1")
    mirror = make_mirror(fake, **ASKED)
    assert mirror.get("/v2/library/test/manifests/v1").status == 200
    for digest in image.blobs:
        assert mirror.blob(digest).status == 200
        mirror.wait_settled(digest)
    mirror.wait_settled(image.digest)
    mirror.stop()
    for digest in (image.digest, *image.blobs):
        zero(mirror.blob_file(digest))
    mirror.start()
    found = scrub(mirror)
    n = 1 + len(image.blobs)
    assert (found["damaged"], found["removed"], found["refetched"]) == (n, n, n), found
    for digest in (image.digest, *image.blobs):
        mirror.wait_kept(digest)
    wait_until(lambda: mirror.log().count("was fetched again") == n, "all came back")
    fake.close()
    Pusher(mirror.address).check_image("library/test", image, "v1")


def test_refetched_by_the_next_client(make_mirror, fake):
    """The upstream is away when it is found; the next client after that brings it back."""
    data = noise(50_000, 31)
    digest = fake.add_blob(data)
    mirror = make_mirror(fake, MIRROR_RETRIES_MAX=0, MIRROR_BREAKER_FAILURES=1000, **ASKED)
    assert mirror.blob(digest).body == data
    mirror.wait_settled(digest)
    flip(mirror.blob_file(digest))
    fake.refuse()
    scrub(mirror)
    wait_until(lambda: "could not be fetched again" in mirror.log(), "it was tried")
    assert mirror.blob(digest).status >= 500
    fake.listen()
    wait_until(lambda: mirror.blob(digest).body == data, "the next client gets it")
    mirror.wait_kept(digest)


def keep_and_damage(mirror, fake, n):
    """So many mirrored blobs that are damaged now, of an upstream that was asked for a manifest, too."""
    image = simple(32)
    fake.add_image(image, "library/test", "v1")
    bodies = {fake.add_blob(data): data for data in (noise(40_000, 320 + k) for k in range(n))}
    assert mirror.get("/v2/library/test/manifests/v1").status == 200
    mirror.wait_settled(image.digest)
    for digest, data in bodies.items():
        assert mirror.blob(digest).body == data
        mirror.wait_settled(digest)
        flip(mirror.blob_file(digest))
    return bodies


def offline(mirror, value):
    assert post(mirror, "/offline?value=" + value).status == 200


def test_not_refetched_offline(make_mirror, fake):
    """Damaged ones go as ever; nobody is asked for them until a client wants them and may have them."""
    mirror = make_mirror(fake, **ASKED)
    bodies = keep_and_damage(mirror, fake, 3)
    offline(mirror, "true")
    n_before, n_connections = len(fake.requests), fake.n_connections
    found = scrub(mirror)
    assert (found["damaged"], found["removed"], found["refetched"]) == (3, 3, 0), found
    assert scrub(mirror)["damaged"] == 0
    assert [mirror.blob(digest).status for digest in bodies] == [404] * 3
    assert (len(fake.requests), fake.n_connections) == (n_before, n_connections)
    offline(mirror, "setting")
    assert [mirror.blob(digest).body for digest in bodies] == list(bodies.values())


def test_offline_empties_the_queue(make_mirror, fake):
    """What waits to be fetched again when the mirror goes offline is not asked for, now or later."""
    mirror = make_mirror(fake, **ASKED)
    bodies = keep_and_damage(mirror, fake, 4)
    n_before = fake.count("/blobs/")
    think = threading.Event()
    fake.always("/blobs/", faults.hold(think))
    assert scrub(mirror)["refetched"] == 4
    fake.wait_requests(n_before + 1, "/blobs/")
    offline(mirror, "true")
    think.set()
    wait_until(lambda: mirror.log().count("is left to the next client") == 3, "the others are given up")
    offline(mirror, "setting")
    assert scrub(mirror)["refetched"] == 0
    assert fake.count("/blobs/") == n_before + 1
    assert [mirror.blob(digest).body for digest in bodies] == list(bodies.values())


def test_not_refetched_below_the_floor(make_mirror, fake):
    """What is left of the upstream's limit is for clients who wait."""
    mirror = make_mirror(fake, **ASKED, MIRROR_QUOTA_FLOOR="10%")
    fake.extra_fields = [("ratelimit-limit", "100;w=21600"), ("ratelimit-remaining", "9;w=21600")]
    bodies = keep_and_damage(mirror, fake, 2)
    n_before = len(fake.requests)
    found = scrub(mirror)
    assert (found["damaged"], found["removed"], found["refetched"]) == (2, 2, 0), found
    assert len(fake.requests) == n_before
    assert [mirror.blob(digest).body for digest in bodies] == list(bodies.values())


# --- pushed --------------------------------------------------------------------------------------

@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_pushed_blob_raises_an_alarm(make_mirror, fake, damage):
    """It is kept aside, never served, told in every way until it is pushed again."""
    image = simple(41)
    mirror = make_mirror(fake, **ASKED)
    pusher = Pusher(mirror.address)
    pusher.image("team/app", image, "v1")
    digest, data = next(iter(image.blobs.items()))
    damage(mirror.blob_file(digest))
    found = scrub(mirror)
    assert (found["damaged"], found["removed"], found["refetched"], found["damaged_pushed"]) == (1, 0, 0, 1), found
    assert found["pushed"] == [digest] and aside(mirror) == [digest]
    assert mirror.metric(BAD_PUSHED) == 1
    assert "%s was pushed" % digest in mirror.log()
    assert fake.count(r"/blobs/", "GET") == 0, "the upstream was told about a pushed blob"
    check_not_served(mirror, "/v2/team/app/blobs/" + digest, data.data)
    # The alarm is still there after a restart, before any pass.
    mirror.restart()
    wait_until(lambda: mirror.metric(BAD_PUSHED) == 1, "the alarm is back")
    assert aside(mirror) == [digest]
    # Clients are told that it is not here, and bring it again.
    assert pusher.ask("HEAD", "/v2/team/app/blobs/" + digest).status == 404
    pusher.image("team/app", image, "v1")
    found = scrub(mirror)
    assert (found["healed"], found["damaged_pushed"], found["pushed"]) == (1, 0, []), found
    assert aside(mirror) == [] and mirror.metric(BAD_PUSHED) == 0
    pusher.check_image("team/app", image, "v1")


def test_pushed_manifest(make_mirror):
    """While it is in memory it is stored again; when it is not, it raises the alarm, and keeps what it may reference."""
    image = simple(51)
    mirror = make_mirror(**{**ASKED, "GC_GRACE": "1s"})
    pusher = Pusher(mirror.address)
    pusher.image("team/app", image, "v1")
    assert pusher.ask("GET", "/v2/team/app/manifests/v1").body == image.manifest
    flip(mirror.blob_file(image.digest))
    found = scrub(mirror)
    assert (found["damaged"], found["healed"], found["damaged_pushed"]) == (1, 1, 0), found
    mirror.check_storage()
    mirror.stop()
    flip(mirror.blob_file(image.digest))
    mirror.start()
    found = scrub(mirror)
    assert found["damaged_pushed"] == 1 and found["pushed"] == [image.digest], found
    for reference in ("v1", image.digest):
        assert check_not_served(mirror, "/v2/team/app/manifests/" + reference, image.manifest).status == 404

    def collect():
        assert rawhttp.get(mirror.admin_address, "/gc", "POST", [("Content-Length", "0")]).status == 202
        wait_until(lambda: not json.loads(mirror.admin("/gc").body)["running"], "the collection ends")
        return json.loads(mirror.admin("/gc").body)
    # Younger than the grace period nothing goes anyway; after it, the collector says why nothing goes.
    wait_until(lambda: "is damaged" in collect()["problem"], "the collector refuses")
    assert set(image.blobs) <= set(mirror.kept_digests())
    pusher.put_manifest("team/app", "v1", image.manifest, image.media_type)
    assert scrub(mirror)["damaged_pushed"] == 0
    pusher.check_image("team/app", image, "v1")


def test_operator_repairs(make_mirror):
    """A good copy that is put beside comes back under its name, with its links."""
    data = noise(70_000, 61)
    image = simple(61)
    mirror = make_mirror(**ASKED)
    pusher = Pusher(mirror.address)
    pusher.image("team/app", image, "v1")
    digest = pusher.blob("team/app", data)
    flip(mirror.blob_file(digest))
    assert scrub(mirror)["damaged_pushed"] == 1
    path = os.path.join(mirror.storage, "_mirrord/damaged", digest.replace(":", "-"))
    with open(path, "wb") as file:
        file.write(data)
    assert scrub(mirror)["damaged_pushed"] == 0
    assert aside(mirror) == []
    assert mirror.blob(digest, "team/app").body == data


def test_pushed_and_mirrored(make_mirror, fake):
    """What was pushed into one repository and is mirrored in another is fetched from there, which ends the alarm."""
    data = noise(80_000, 71)
    digest = fake.add_blob(data)
    mirror = make_mirror(fake, **ASKED)
    assert mirror.blob(digest).body == data
    mirror.wait_settled(digest)
    Pusher(mirror.address).blob("team/app", data)
    flip(mirror.blob_file(digest))
    found = scrub(mirror)
    assert (found["damaged"], found["removed"], found["refetched"], found["damaged_pushed"]) == (1, 0, 1, 1), found
    mirror.wait_kept(digest)
    wait_until(lambda: "was fetched again" in mirror.log(), "it came back")
    found = scrub(mirror)
    assert found["damaged_pushed"] == 0 and aside(mirror) == [], found
    assert mirror.blob(digest, "team/app").body == data


def test_referenced_by_a_pushed_manifest(make_mirror, fake):
    """A mirrored layer that a pushed manifest references counts as pushed: it is told, and comes with the next client."""
    image = simple(81)
    fake.add_image(image, "library/test", "v1")
    mirror = make_mirror(fake, **ASKED)
    assert mirror.get("/v2/library/test/manifests/v1").status == 200
    for digest in image.blobs:
        assert mirror.blob(digest).status == 200
        mirror.wait_settled(digest)
    response = Pusher(mirror.address).put_manifest("library/test", "mine", image.manifest, image.media_type)
    assert response.status == 201, response.head
    victim = next(iter(image.blobs))
    flip(mirror.blob_file(victim))
    found = scrub(mirror)
    assert (found["damaged"], found["removed"], found["damaged_pushed"]) == (1, 0, 1), found
    assert mirror.blob(victim).body == image.blobs[victim].data
    mirror.wait_kept(victim)
    found = scrub(mirror)
    assert (found["damaged_pushed"], found["healed"]) == (0, 1), found


# --- links ---------------------------------------------------------------------------------------

def test_links(make_mirror):
    """A damaged link is written again; a manifest that is linked and not here is told."""
    image = simple(91)
    mirror = make_mirror(**ASKED)
    pusher = Pusher(mirror.address)
    pusher.image("team/app", image, "v1")
    mirror.stop()
    root = os.path.join(mirror.storage, "docker/registry/v2/repositories/team/app")
    victim = next(iter(image.blobs))
    links = [os.path.join(root, "_layers/sha256", victim[7:], "link"),
             os.path.join(root, "_manifests/revisions/sha256", image.digest[7:], "link")]
    empty(links[0])
    with open(links[1], "w") as link:
        link.write("sha256:" + "0" * 64)
    gone = "sha256:" + "ab" * 32
    folder = os.path.join(root, "_manifests/revisions/sha256", gone[7:])
    os.makedirs(folder)
    with open(os.path.join(folder, "link"), "w") as link:
        link.write(gone)
    mirror.start()
    found = scrub(mirror)
    assert (found["links_repaired"], found["missing"], found["damaged"]) == (2, 1, 0), found
    assert gone in mirror.log()
    pusher = Pusher(mirror.address)
    pusher.check_image("team/app", image, "v1")
    assert scrub(mirror)["links_repaired"] == 0


# --- tags ----------------------------------------------------------------------------------------

def tag_file(mirror, name, file):
    repository, tag = name.split(":")
    return os.path.join(mirror.storage, "docker/registry/v2/repositories", repository, "_manifests/tags", tag, file)


def halve(path):
    os.truncate(path, os.path.getsize(path) // 2)


def scribble(path):
    with open(path, "w") as file:
        file.write("{}")


DAMAGES_OF_TEXT = [empty, zero, halve, scribble]


@pytest.fixture
def tagged(make_mirror, fake):
    """A mirrored tag and a pushed one, stopped."""
    mirror = make_mirror(fake, **{**ASKED, "MIRROR_TAGS_CACHE_TTL": "1h"})
    mirror.mirrored, mirror.pushed = simple(96), simple(97)
    fake.add_image(mirror.mirrored, "library/test", "v1")
    assert mirror.get("/v2/library/test/manifests/v1").status == 200
    wait_until(lambda: os.path.exists(tag_file(mirror, "library/test:v1", "current/link")), "the tag is kept")
    Pusher(mirror.address).image("team/app", mirror.pushed, "v1")
    mirror.stop()
    return mirror


def check_tags(found, **wanted):
    names = {"tags": 2, "links_repaired": 0, "tags_removed": 0, "damaged_tags": 0, "unreadable": 0, **wanted}
    assert {name: found[name] for name in names} == names, found


def check_pulls(mirror):
    assert mirror.get("/v2/library/test/manifests/v1").body == mirror.mirrored.manifest
    assert mirror.get("/v2/team/app/manifests/v1").body == mirror.pushed.manifest


@pytest.mark.parametrize("damage", DAMAGES_OF_TEXT, ids=lambda damage: damage.__name__)
def test_tag_links_are_mended(tagged, fake, damage):
    """The record says what the link should: nobody is asked, not even before a pass, and nothing is lost."""
    for name in ("library/test:v1", "team/app:v1"):
        damage(tag_file(tagged, name, "current/link"))
    n_before = len(fake.requests)
    tagged.start()
    check_pulls(tagged)
    found = scrub(tagged)
    check_tags(found, links_repaired=2)
    assert tagged.metric(BAD_PUSHED) == 0
    for name, image in (("library/test:v1", tagged.mirrored), ("team/app:v1", tagged.pushed)):
        with open(tag_file(tagged, name, "current/link")) as link:
            assert link.read() == image.digest
    check_tags(scrub(tagged))
    tagged.restart()
    check_pulls(tagged)
    assert len(fake.requests) == n_before


@pytest.mark.parametrize("damage", DAMAGES_OF_TEXT, ids=lambda damage: damage.__name__)
def test_tag_records(tagged, fake, damage):
    """Whose the tag was, its manifest's link tells: mirrored, it is mirrored again; pushed, it raises the alarm and stays."""
    for name in ("library/test:v1", "team/app:v1"):
        damage(tag_file(tagged, name, "mirrord.json"))
    tagged.start()
    found = scrub(tagged)
    check_tags(found, links_repaired=1, damaged_tags=1)
    assert found["pushed_tags"] == ["tag team/app:v1: its record is damaged"]
    assert tagged.metric(BAD_PUSHED) == 1
    assert "team/app:v1: its record is damaged; it was pushed" in tagged.log()
    check_pulls(tagged)
    response = tagged.get("/v2/library/test/manifests/v1")
    assert response["x-mirrord-origin"].startswith("mirrored; upstream="), response.head
    # Beyond its ttl the upstream is asked about the one, and never about the other.
    tagged.restart()
    wait_until(lambda: tagged.metric(BAD_PUSHED) == 1, "the alarm is back")
    tagged.settings["MIRROR_TAGS_CACHE_TTL"] = "0"
    tagged.restart()
    n_before = len(fake.requests)
    check_pulls(tagged)
    assert {request.path for request in fake.requests[n_before:]} == {"/v2/library/test/manifests/v1"}
    Pusher(tagged.address).image("team/app", tagged.pushed, "v1")
    found = scrub(tagged)
    check_tags(found)
    assert found["pushed_tags"] == [] and tagged.metric(BAD_PUSHED) == 0


def test_tags_of_which_nothing_is_left(tagged, fake):
    """Mirrored: it goes, and the next pull asks the upstream. Pushed: it stays as it is, and raises the alarm."""
    for name in ("library/test:v1", "team/app:v1"):
        for file in ("current/link", "mirrord.json"):
            zero(tag_file(tagged, name, file))
    status, told, last, _ = verify(tagged, "--dry-run")
    assert status == 1 and "2 tags, would be removed 1, pushed and damaged 1" in last, last
    assert os.path.exists(tag_file(tagged, "library/test:v1", "current/link"))
    tagged.start()
    found = scrub(tagged)
    check_tags(found, tags_removed=1, damaged_tags=1)
    assert found["pushed_tags"] == ["tag team/app:v1: its link is damaged"]
    assert tagged.metric(BAD_PUSHED) == 1 and tagged.metric("mirrord_scrub_tags_removed_total") == 1
    assert not os.path.exists(tag_file(tagged, "library/test:v1", "current/link"))
    assert os.path.exists(tag_file(tagged, "team/app:v1", "current/link"))
    n_before = fake.count("/v2/library/test/manifests/v1")
    assert tagged.get("/v2/library/test/manifests/v1").body == tagged.mirrored.manifest
    assert fake.count("/v2/library/test/manifests/v1") == n_before + 1
    Pusher(tagged.address).image("team/app", tagged.pushed, "v1")
    check_tags(scrub(tagged))
    check_pulls(tagged)


def test_tag_without_its_manifest(tagged, fake):
    """Pushed, only the operator can bring it back; mirrored, the next client does."""
    for image in (tagged.mirrored, tagged.pushed):
        os.unlink(tagged.blob_file(image.digest))
    tagged.start()
    found = scrub(tagged)
    check_tags(found, damaged_tags=1)
    assert found["pushed_tags"] == ["tag team/app:v1: the manifest that it points to is not here"]
    assert tagged.metric(BAD_PUSHED) == 1
    assert tagged.get("/v2/library/test/manifests/v1").body == tagged.mirrored.manifest
    assert tagged.get("/v2/team/app/manifests/v1").status == 404
    Pusher(tagged.address).image("team/app", tagged.pushed, "v1")
    found = scrub(tagged)
    check_tags(found)
    assert tagged.metric(BAD_PUSHED) == 0


def test_tag_that_cannot_be_read(tagged):
    """Told, counted, and left alone."""
    link = tag_file(tagged, "team/app:v1", "current/link")
    os.unlink(link)
    os.symlink("link", link)
    tagged.start()
    found = scrub(tagged)
    check_tags(found, unreadable=1)
    assert "tag team/app:v1: " in found["problem"], found
    assert os.path.islink(link)
    os.unlink(link)


def test_tags_of_another_program(make_mirror):
    """A link without a record was pushed by somebody, and is well."""
    image = simple(98)
    mirror = make_mirror(**ASKED)
    Pusher(mirror.address).image("team/app", image, "v1")
    mirror.stop()
    os.unlink(tag_file(mirror, "team/app:v1", "mirrord.json"))
    status, told, last, _ = verify(mirror)
    assert (status, told) == (0, {}) and "1 tags, removed 0" in last, last
    empty(tag_file(mirror, "team/app:v1", "current/link"))
    status, told, last, _ = verify(mirror)
    assert status == 1 and "pushed and damaged 1" in last, last
    mirror.start()
    assert mirror.get("/v2/team/app/manifests/v1").status == 404
    Pusher(mirror.address).image("team/app", image, "v1")


# --- how fast, how far ---------------------------------------------------------------------------

def fill_storage(mirror, n, size, seed=100):
    pusher = Pusher(mirror.address)
    return [pusher.blob("team/app", noise(size, seed + k)) for k in range(n)]


def test_rate(make_mirror):
    """No more is read than the rate allows, from the beginning of the pass to any moment."""
    rate = 200_000
    mirror = make_mirror(**{**ASKED, "MIRROR_SCRUB_RATE": rate})
    fill_storage(mirror, 20, 100_000)
    begin = time.monotonic()
    assert post(mirror).status == 202
    for goal in (100_000, 300_000, 500_000):
        wait_until(lambda: report(mirror)["bytes"] >= goal, "it reads on")
        n = report(mirror)["bytes"]
        # A turn may be ahead by what it read at once: one piece.
        assert n <= rate * (time.monotonic() - begin) + 2 * 262_144, "it reads faster than it may"
    assert report(mirror)["running"] and report(mirror)["bytes"] < 2_000_000


def test_off(make_mirror):
    mirror = make_mirror(**{**ASKED, "MIRROR_SCRUB_RATE": 0, "MIRROR_SCRUB_INTERVAL": "1s"})
    fill_storage(mirror, 1, 1000)
    assert post(mirror).status == 409
    stays_so(lambda: mirror.metric("mirrord_scrub_bytes_total") == 0, "nothing is read")


def test_by_itself(make_mirror):
    mirror = make_mirror(**{**ASKED, "MIRROR_SCRUB_INTERVAL": "1s"})
    fill_storage(mirror, 3, 1000)
    wait_until(lambda: mirror.metric("mirrord_scrub_passes_total") >= 2, "it runs again and again")


@pytest.mark.slow
@pytest.mark.parametrize("kill", [False, True], ids=["stopped", "killed"])
def test_goes_on_after_a_restart(make_mirror, kill):
    """A pass goes on where it was: of what was read before, only the blob under way, or the last few seconds, is read again."""
    mirror = make_mirror(**{**ASKED, "MIRROR_SCRUB_RATE": 200_000})
    fill_storage(mirror, 40, 100_000)
    state = os.path.join(mirror.storage, "_mirrord/scrub.json")

    def place():
        return json.loads(pathlib.Path(state).read_bytes()) if os.path.exists(state) else {}
    assert post(mirror).status == 202
    wait_until(lambda: report(mirror)["blobs"] >= 5, "it is under way")
    if kill:
        wait_until(lambda: place().get("after"), "its place is written down")
    before = report(mirror)
    mirror.kill() if kill else mirror.stop()
    saved = place()
    assert saved["after"] in mirror.kept_digests() and saved["blobs"] >= (1 if kill else 5)
    mirror.settings["MIRROR_SCRUB_RATE"] = "1GiB"
    mirror.start()
    wait_until(lambda: mirror.metric("mirrord_scrub_passes_total") == 1, "the pass ends")
    found = report(mirror)
    assert found["started_at"] == before["started_at"] and found["complete"], found
    assert found["blobs"] == 40, found
    assert mirror.metric("mirrord_scrub_blobs_total") == 40 - saved["blobs"]
    # The next one begins anew.
    assert scrub(mirror)["blobs"] == 40


@pytest.mark.parametrize("content", [b"", b"{", b"\0" * 100, b'{"after":"sha256:zz","next_at":-5,"blobs":"x"}',
                                     b'{"next_at":99999999999999,"after":17}', b"x" * 100_000])
def test_damaged_state(make_mirror, content):
    """Whatever stands in its file: it starts, and looks at everything."""
    mirror = make_mirror(**{**ASKED, "MIRROR_SCRUB_INTERVAL": "1s"})
    fill_storage(mirror, 3, 1000)
    mirror.stop()
    with open(os.path.join(mirror.storage, "_mirrord/scrub.json"), "wb") as file:
        file.write(content)
    mirror.start()
    wait_until(lambda: mirror.metric("mirrord_scrub_passes_total") >= 1, "a pass comes to its end")
    wait_until(lambda: report(mirror)["blobs"] == 3, "all were looked at")


# --- beside everything else ----------------------------------------------------------------------

def test_beside_pushes_pulls_and_collections(make_mirror, fake):
    """Passes, damage, pulls, pushes and the collector at once: nobody gets wrong bytes, and all is well in the end."""
    mirror = make_mirror(fake, **{**ASKED, "GC_GRACE": "1s"})
    blobs = {fake.add_blob(data): data for data in (noise(40_000, 700 + n) for n in range(12))}
    for digest, data in blobs.items():
        assert mirror.blob(digest).body == data
        mirror.wait_settled(digest)
    stop, failures, counts = threading.Event(), [], [0, 0]

    def watch(work):
        try:
            while not stop.is_set():
                work()
        except BaseException as error:
            failures.append(error)

    def pull():
        for digest, data in blobs.items():
            # Before it is found, a damaged file is served as what it is; its body is wrong only then.
            response = mirror.blob(digest, allow_short=True)
            assert response.status in (200, 404, 502), response.head
            counts[0] += 1

    def push():
        counts[1] += 1
        image = simple(1000 + counts[1])
        pusher = Pusher(mirror.address)
        pusher.image("team/app", image, "v%d" % counts[1])
        pusher.check_image("team/app", image, "v%d" % counts[1])

    def collect():
        rawhttp.get(mirror.admin_address, "/gc", "POST", [("Content-Length", "0")])

    threads = [threading.Thread(target=watch, args=(work,)) for work in (pull, push, collect)]
    for thread in threads:
        thread.start()
    for n, digest in enumerate(blobs):
        try:
            DAMAGES[n % len(DAMAGES)](mirror.blob_file(digest))
        except FileNotFoundError:
            pass
        scrub(mirror)
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures, failures
    assert counts[0] > 0 and counts[1] > 0
    found = scrub(mirror)
    assert found["damaged_pushed"] == 0, found
    for digest, data in blobs.items():
        assert mirror.blob(digest).body == data
    assert mirror.metric("mirrord_scrub_damaged_total") >= len(DAMAGES)


def test_one_blob_at_once(make_mirror, fake):
    data = noise(90_000, 75)
    digest = fake.add_blob(data)
    mirror = make_mirror(fake, **ASKED)
    assert mirror.blob(digest).body == data
    mirror.wait_settled(digest)
    flip(mirror.blob_file(digest))
    assert post(mirror, "/scrub?digest=nonsense").status == 400
    assert post(mirror, "/scrub?digest=sha256:" + "0" * 64).status == 202
    assert post(mirror, "/scrub?digest=" + digest).status == 202
    wait_until(lambda: "was fetched again" in mirror.log(), "it is found and fetched")
    assert mirror.metric("mirrord_scrub_passes_total") == 0
    assert mirror.blob(digest).body == data


# --- mirrord verify ------------------------------------------------------------------------------

def prepare(mirror, fake):
    """Both kinds, stopped: (mirrored digest, pushed digest)."""
    data = noise(60_000, 85)
    mirrored = fake.add_blob(data)
    assert mirror.blob(mirrored).body == data
    mirror.wait_settled(mirrored)
    pushed = Pusher(mirror.address).blob("team/app", noise(60_000, 86))
    return mirrored, pushed


def test_verify_clean(make_mirror, fake):
    mirror = make_mirror(fake, **ASKED)
    prepare(mirror, fake)
    mirror.stop()
    for words in ((), ("--dry-run",), ("--jobs", "4"), ("--rate", "100MiB", "--jobs", "2")):
        status, told, last, text = verify(mirror, *words)
        assert (status, told, text) == (0, {}, ""), (words, last, text)
        assert last.startswith("clean: 2 blobs, 120000 bytes"), last
    mirror.start()


def test_verify_finds_damage(make_mirror, fake):
    """First without changing anything, then for good; the daemon brings back the rest."""
    mirror = make_mirror(fake, **ASKED)
    mirrored, pushed = prepare(mirror, fake)
    mirror.stop()
    flip(mirror.blob_file(mirrored))
    shorten(mirror.blob_file(pushed))
    for _ in range(2):
        status, told, last, _ = verify(mirror, "--dry-run", "--jobs", "3")
        assert status == 1 and last.startswith("not clean"), last
        assert set(told.pop("damaged")) == {mirrored, pushed}
        assert told == {"removed": [mirrored], "pushed": [pushed]}
        assert mirror.has_blob(mirrored) and mirror.has_blob(pushed) and aside(mirror) == []
    status, told, last, _ = verify(mirror)
    assert status == 1 and told["removed"] == [mirrored] and told["pushed"] == [pushed], (told, last)
    assert not mirror.has_blob(mirrored) and not mirror.has_blob(pushed) and aside(mirror) == [pushed]
    # What is kept aside is told again until it is back.
    status, told, last, _ = verify(mirror)
    assert status == 1 and told == {"pushed": [pushed]}, (told, last)
    mirror.start()
    wait_until(lambda: mirror.metric(BAD_PUSHED) == 1, "the daemon tells it, too")
    assert mirror.blob(mirrored).body == noise(60_000, 85)
    Pusher(mirror.address).blob("team/app", noise(60_000, 86))
    mirror.stop()
    status, told, last, _ = verify(mirror)
    assert told == {"healed": [pushed]}, (told, last)
    assert verify(mirror)[0] == 0
    mirror.start()


def test_verify_beside_a_daemon(make_mirror, fake):
    """It reads only, and the daemon, which is told, acts."""
    mirror = make_mirror(fake, **ASKED)
    mirrored, pushed = prepare(mirror, fake)
    status, _, _, text = verify(mirror)
    assert status == 0 and "is told of what is damaged" in text and "damaged blobs" not in text, text
    flip(mirror.blob_file(mirrored))
    flip(mirror.blob_file(pushed))
    assert verify(mirror, "--dry-run")[0] == 1
    assert mirror.metric("mirrord_scrub_damaged_total") == 0, "a dry run changes nothing"
    status, told, _, text = verify(mirror)
    assert status == 1 and sorted(told["damaged"]) == sorted([mirrored, pushed]), told
    assert "is told of 2 damaged blobs\n" in text, text
    wait_until(lambda: report(mirror)["pushed"] == [pushed], "the daemon raises the alarm")
    mirror.wait_kept(mirrored)
    assert mirror.metric("mirrord_scrub_passes_total") == 0, "it has looked at these only"
    Pusher(mirror.address).blob("team/app", noise(60_000, 86))
    wait_until(lambda: verify(mirror)[1].get("damaged") is None, "the daemon has repaired them")


@pytest.mark.slow
def test_verify_tells_more_than_the_daemon_takes(make_mirror):
    """At most so many are asked for one by one; then it looks at all."""
    mirror = make_mirror(**{**ASKED, "MIRROR_SCRUB_RATE": "192KiB"})
    blobs = fill_storage(mirror, 120, 3000)
    for digest in blobs:
        flip(mirror.blob_file(digest))
    status, told, _, text = verify(mirror)
    assert status == 1 and sorted(told["damaged"]) == sorted(blobs)
    assert "is told of 120 damaged blobs, and looks at all" in text, text
    wait_until(lambda: report(mirror)["damaged_pushed"] == 120, "the daemon finds all of them")


@pytest.mark.parametrize("way", ["off", "nobody", "forbidden"])
def test_verify_beside_a_daemon_that_cannot_be_told(make_mirror, fake, way):
    """It reports, and says that the daemon does not know."""
    mirror = make_mirror(fake, **{**ASKED, **({"MIRROR_SCRUB_RATE": 0} if way == "forbidden" else {})})
    mirrored, _ = prepare(mirror, fake)
    flip(mirror.blob_file(mirrored))
    listen = mirror.settings["ADMIN_LISTEN"]
    if way != "forbidden":
        mirror.settings["ADMIN_LISTEN"] = "off" if way == "off" else "127.0.0.1:%d" % free_port()
    status, told, last, text = verify(mirror)
    mirror.settings["ADMIN_LISTEN"] = listen
    assert status == 1 and told["damaged"] == [mirrored] and last.startswith("not clean"), (told, last)
    assert "the daemon is not told of what is damaged: " in text, text
    assert {"off": "admin listener is off", "nobody": "nobody answers at", "forbidden": "scrub.rate is 0"}[way] in text, text
    assert mirror.has_blob(mirrored) and mirror.metric("mirrord_scrub_damaged_total") == 0
    flip(mirror.blob_file(mirrored))


def test_verify_wrong_words(make_mirror):
    mirror = make_mirror(**ASKED)
    assert verify(mirror, "--rate=100MiB", "--jobs=2")[0] == 0
    for words in (("--jobs", "0"), ("--jobs", "x"), ("--rate", "fast"), ("--rate", "0"), ("more",), ("--json",)):
        assert verify(mirror, *words)[0] == 2, words
    mirror.settings["STORAGE_PATH"] = os.path.join(mirror.folder, "nowhere")
    status, _, _, text = verify(mirror)
    assert status == 1 and "nowhere" in text
    mirror.settings["STORAGE_PATH"] = mirror.storage
