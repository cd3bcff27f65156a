"""Reading through links: a blob is read through a repository that has a link to it, or whose upstream confirms it."""
import os
import shutil

import pytest

from lib import faults
from lib.images import Noise, digest_of, simple
from lib.mirror import blob_path, check_bytes, manifest_path
from lib.pushing import Pusher
from lib.waiting import wait_until

BODY = Noise(300000)
FIRST, SECOND, THIRD = "library/first", "library/second", "library/third"
ABSENT = faults.status(404, error="BLOB_UNKNOWN")


def link_file(mirror, repository, digest, name="link"):
    algorithm, value = digest.split(":")
    return os.path.join(mirror.storage, "docker/registry/v2/repositories", repository, "_layers", algorithm, value, name)


def pulled(mirror, fake, repository=FIRST):
    """A blob that is kept, and linked into this repository."""
    digest = fake.add_blob(BODY)
    mirror.check_right(digest, BODY, repository)
    mirror.wait_kept(digest)
    mirror.wait_no_fills()
    wait_until(lambda: os.path.exists(link_file(mirror, repository, digest)), "the link is written")
    return digest


def read(mirror, digest, repository):
    response = mirror.blob(digest, repository)
    assert response.status == 200
    check_bytes(response.body, BODY)
    return response


def away(fake):
    """The network is gone."""
    fake.refuse()


def test_another_repository_is_confirmed_once(mirror, fake):
    digest = pulled(mirror, fake)
    assert fake.count(blob_path(digest, FIRST)) == 1
    first = read(mirror, digest, SECOND)
    assert "revalidated" in first["cache-status"]
    for _ in range(3):
        assert read(mirror, digest, SECOND)["x-mirrord-origin"].startswith("mirrored; upstream=")
        assert mirror.head(blob_path(digest, SECOND)).status == 200
    question, = fake.matching(blob_path(digest, SECOND))
    assert question.method == "GET" and question.range == "bytes=0-0" and question.n_sent == 1
    assert mirror.get(blob_path(digest, SECOND), fields=[("Range", "bytes=5-9")]).status == 206


def test_another_repository_is_denied(make_mirror, fake):
    mirror = make_mirror(fake, MIRROR_NEGATIVE_TTL_BLOBS="0")
    digest = pulled(mirror, fake)
    fake.always("/%s/" % SECOND, ABSENT)
    for method in ("GET", "HEAD", "GET"):
        response = mirror.get(blob_path(digest, SECOND), method)
        assert response.status == 404
        assert method == "HEAD" or response.error_code() == "BLOB_UNKNOWN"
    assert fake.sent("/%s/" % SECOND) < 1000
    assert not os.path.exists(link_file(mirror, SECOND, digest))
    # The one that has it keeps it.
    read(mirror, digest, FIRST)
    # What the upstream says later counts.
    fake.behave_well()
    read(mirror, digest, SECOND)


@pytest.mark.parametrize("code, error, status", [(429, "TOOMANYREQUESTS", 429), (403, "DENIED", 403), (500, "UNKNOWN", 502)])
def test_question_that_fails(make_mirror, fake, code, error, status):
    mirror = make_mirror(fake, MIRROR_RETRIES_MAX=0, MIRROR_HEADER_TIMEOUT="2s")
    digest = pulled(mirror, fake)
    fake.always("/%s/" % SECOND, faults.status(code, error=error))
    response = mirror.get(blob_path(digest, SECOND))
    assert response.status in (status, 503)
    assert not os.path.exists(link_file(mirror, SECOND, digest))
    fake.behave_well()
    read(mirror, digest, FIRST)


def test_head_is_confirmed_too(mirror, fake):
    digest = pulled(mirror, fake)
    response = mirror.head(blob_path(digest, SECOND))
    assert response.status == 200 and int(response["content-length"]) == BODY.size
    assert [request.method for request in fake.matching(blob_path(digest, SECOND))] == ["GET"]
    away(fake)
    read(mirror, digest, SECOND)


def test_head_of_what_is_not_here_makes_no_link(mirror, fake):
    digest = fake.add_blob(BODY)
    head = mirror.head(blob_path(digest, FIRST))
    assert head.status == 200
    assert [request.method for request in fake.matching(blob_path(digest))] == []
    assert [request.method for request in fake.matching(blob_path(digest, FIRST))] == ["HEAD"]
    assert not os.path.exists(link_file(mirror, FIRST, digest))
    body = mirror.blob(digest, FIRST)
    for name in ("x-mirrord-origin", "docker-content-digest", "etag", "content-type", "content-length", "accept-ranges"):
        assert head[name] == body[name], name


def test_upstream_that_ignores_ranges(mirror, fake):
    """It would send all of the blob to say yes; it is cut off."""
    body = Noise(64 << 20)
    digest = fake.add_blob(body)
    mirror.check_right(digest, body, FIRST)
    mirror.wait_kept(digest)
    fake.always("/%s/" % SECOND, faults.ignore_range())
    assert mirror.get(blob_path(digest, SECOND), fields=[("Range", "bytes=0-9")]).status == 206
    request, = fake.matching("/%s/" % SECOND)
    wait_until(lambda: request.is_done, "it has noticed")
    assert request.n_sent < 32 << 20


def test_empty_blob(mirror, fake):
    """There is no first byte of it."""
    digest = fake.add_blob(b"")
    for repository in (FIRST, SECOND, SECOND):
        response = mirror.blob(digest, repository)
        assert response.status == 200 and response.body == b""
    assert fake.count(blob_path(digest, SECOND)) == 1


def test_many_clients_one_question(mirror, fake):
    digest = pulled(mirror, fake)
    barrier = faults.Barrier()
    fake.always("/%s/" % SECOND, barrier)
    clients = []
    for n in range(100):
        client = mirror.client()
        client.request(blob_path(digest, SECOND), "GET" if n % 3 else "HEAD")
        clients.append(client)
    fake.wait_requests(1, "/%s/" % SECOND)
    wait_until(lambda: mirror.log().count("turn of the upstream") >= 100, "all wait for it")
    barrier.release()
    for n, client in enumerate(clients):
        response = client.read_response("GET" if n % 3 else "HEAD")
        assert response.status == 200
        client.close()
    assert fake.count("/%s/" % SECOND) == 1


def test_client_leaves_while_it_is_asked(mirror, fake):
    digest = pulled(mirror, fake)
    barrier = faults.Barrier()
    fake.always("/%s/" % SECOND, barrier)
    before = mirror.fds()
    client = mirror.client()
    client.request(blob_path(digest, SECOND))
    fake.wait_requests(1, "/%s/" % SECOND)
    client.reset()
    wait_until(lambda: "confirming -> answered" in mirror.log(), "it has left")
    barrier.release()
    # Its question is answered all the same.
    wait_until(lambda: os.path.exists(link_file(mirror, SECOND, digest)), "the link is written")
    away(fake)
    read(mirror, digest, SECOND)
    mirror.check_no_leak(before)


def test_running_fill_of_another_repository(mirror, fake):
    """It is joined when the upstream has confirmed it, and only then."""
    digest = fake.add_blob(BODY)
    go_on = faults.Barrier()
    fake.script("/%s/" % FIRST, faults.stall(100000, go_on.event))
    fake.always("/%s/" % THIRD, ABSENT)
    clients = [mirror.client() for _ in range(2)]
    clients[0].request(blob_path(digest, FIRST))
    fake.wait_sent(100000, "/%s/" % FIRST)
    clients[1].request(blob_path(digest, SECOND))
    fake.wait_requests(1, "/%s/" % SECOND)
    assert mirror.blob(digest, THIRD).status == 404
    go_on.release()
    for client in clients:
        response = client.read_response()
        assert response.status == 200
        check_bytes(response.body, BODY)
        client.close()
    assert fake.count("/%s/" % FIRST) == 1
    assert [request.range for request in fake.matching("/%s/" % SECOND)] == ["bytes=0-0"]


def test_partial_file_of_another_repository(make_mirror, fake):
    """What came through one repository before is not shown through another that the upstream denies."""
    mirror = make_mirror(fake, FILL_CONTINUE="100", MIRROR_NEGATIVE_TTL_BLOBS="0")
    digest = fake.add_blob(BODY)
    fake.script("/%s/" % FIRST, faults.stall(200000))
    client = mirror.client()
    client.request(blob_path(digest, FIRST))
    wait_until(lambda: mirror.fills() and mirror.fills()[0]["present"] >= 200000, "most of it is here")
    client.reset()
    mirror.wait_no_fills()
    assert mirror.partial_files()
    fake.always("/%s/" % SECOND, ABSENT)
    response = mirror.blob(digest, SECOND, allow_short=True)
    assert response.status == 404
    check = mirror.get(blob_path(digest, SECOND), fields=[("Range", "bytes=0-99")])
    assert check.status == 404
    # Whoever asks while the download is being denied is denied with it.
    mirror.wait_no_fills()
    fake.behave_well()
    read(mirror, digest, SECOND)
    assert fake.sent("/%s/" % SECOND) < 150000, "it went on where the first one stopped"


def test_image_is_linked_whole(mirror, fake):
    """A layer that came through another repository is readable offline, after a restart, through this one."""
    image = simple(layers=3)
    fake.add_image(image, FIRST, "latest")
    fake.add_image(image, SECOND, "latest")
    for digest in image.blobs:
        assert mirror.blob(digest, FIRST).status == 200
    for repository in (FIRST, SECOND):
        assert mirror.get(manifest_path("latest", repository)).status == 200
        for digest in image.blobs:
            wait_until(lambda: os.path.exists(link_file(mirror, repository, digest)), "the link is written")
    mirror.wait_no_fills()
    away(fake)
    mirror.restart()
    for repository in (FIRST, SECOND):
        assert mirror.get(manifest_path("latest", repository)).status == 200
        for digest, body in image.blobs.items():
            response = mirror.blob(digest, repository)
            assert response.status == 200
            check_bytes(response.body, body)
    assert fake.count("/%s/blobs/" % SECOND) == 0
    assert mirror.blob(next(iter(image.blobs)), THIRD).status in (502, 503)


def test_unlinked_on_disk(mirror, fake):
    digest = pulled(mirror, fake)
    read(mirror, digest, SECOND)
    wait_until(lambda: os.path.exists(link_file(mirror, SECOND, digest)), "the link is written")
    assert b'"origin":"mirrored"' in open(link_file(mirror, SECOND, digest, "mirrord.json"), "rb").read()
    mirror.stop()
    shutil.rmtree(os.path.dirname(link_file(mirror, SECOND, digest)))
    mirror.start()
    read(mirror, digest, FIRST)
    assert fake.count("/%s/" % SECOND) == 1
    read(mirror, digest, SECOND)
    assert fake.count("/%s/" % SECOND) == 2


def test_without_an_upstream(make_mirror):
    """Only the repository that was pushed to has it."""
    mirror = make_mirror(None)
    digest = Pusher(mirror.address).blob(FIRST, BODY)
    assert read(mirror, digest, FIRST)["x-mirrord-origin"] == "pushed"
    for method in ("GET", "HEAD"):
        assert mirror.get(blob_path(digest, SECOND), method).status == 404
    mirror.restart()
    read(mirror, digest, FIRST)
    assert mirror.get(blob_path(digest, SECOND)).status == 404


def test_local_only(make_mirror, fake):
    """The upstream is not asked about what is ours, be it here or not."""
    mirror = make_mirror(fake, MIRROR_PRECEDENCE="%s=local-only" % SECOND)
    digest = pulled(mirror, fake)
    for wanted in (digest, digest_of(b"nowhere")):
        assert mirror.blob(wanted, SECOND).status == 404
        assert mirror.head(blob_path(wanted, SECOND)).status == 404
    assert fake.count("/%s/" % SECOND) == 0


def test_pushed_over_mirrored(mirror, fake):
    """A push into a repository takes the mirrored link over, for ever."""
    digest = pulled(mirror, fake)
    Pusher(mirror.address).blob(FIRST, BODY)
    assert read(mirror, digest, FIRST)["x-mirrord-origin"] == "pushed"
    assert not os.path.exists(link_file(mirror, FIRST, digest, "mirrord.json"))
    mirror.restart()
    assert read(mirror, digest, FIRST)["x-mirrord-origin"] == "pushed"
