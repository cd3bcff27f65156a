"""Parts of a blob that is not here, or not yet: small first-byte times for lazy pullers, without a byte fetched twice."""
import threading

import pytest

from lib import faults
from lib.images import Noise
from lib.mirror import blob_path, check_bytes
from lib.waiting import wait_until

SIZE = 16 << 20
MIB = 1 << 20


@pytest.fixture
def stalled(make_mirror, fake):
    """(mirror, fake, body, digest, event): a download that stands still at 1 MiB."""
    mirror = make_mirror(fake, FILL_NEAR_BYTES="256KiB")
    body = Noise(SIZE)
    digest = fake.add_blob(body)
    event = threading.Event()
    fake.script(digest, faults.stall(MIB, event), method="GET")
    yield mirror, fake, body, digest, event
    event.set()


def part(mirror, body, digest, start, end):
    response = mirror.blob(digest, fields={"Range": "bytes=%d-%d" % (start, end - 1)})
    assert response.status == 206
    assert response["content-range"] == "bytes %d-%d/%d" % (start, end - 1, body.size)
    assert response.length == end - start
    check_bytes(response.body, body, start)


def test_range_of_what_is_there(stalled):
    mirror, fake, body, digest, _ = stalled
    with mirror.client() as client:
        client.request(blob_path(digest))
        client.read_head()
        client.read_body(MIB)
        part(mirror, body, digest, 1000, 500000)
        assert fake.count(digest, "GET") == 1


def test_range_just_ahead_waits(stalled):
    mirror, fake, body, digest, event = stalled
    with mirror.client() as first, mirror.client() as second:
        first.request(blob_path(digest))
        first.read_head()
        first.read_body(MIB)
        second.request(blob_path(digest), fields={"Range": "bytes=%d-%d" % (MIB + 1000, MIB + 1999)})
        wait_until(lambda: mirror.metric("mirrord_fill_readers") == 2, "both wait")
        event.set()
        response = second.read_head()
        assert response.status == 206
        check_bytes(second.read_body(response.length), body, MIB + 1000)
        first.read_body(SIZE - MIB)
    assert fake.count(digest, "GET") == 1


def test_range_far_ahead_gets_its_own_fetch_and_is_kept(stalled):
    mirror, fake, body, digest, event = stalled
    with mirror.client() as first:
        first.request(blob_path(digest))
        response = first.read_head()
        data = first.read_body(MIB)
        part(mirror, body, digest, 12 * MIB, 12 * MIB + 100000)
        ranged = [request for request in fake.matching(digest, "GET") if request.range]
        assert len(ranged) == 1
        n = fake.count(digest, "GET")
        part(mirror, body, digest, 12 * MIB + 10, 12 * MIB + 99999)
        assert fake.count(digest, "GET") == n, "a range that is here is not fetched again"
        event.set()
        data += first.read_body(response.length - MIB)
        check_bytes(data, body)
        assert len(data) == SIZE
    mirror.wait_kept(digest)
    mirror.check_right(digest, body)
    mirror.check_storage()
    # What the kernel's buffers held when a request was ended early is the only waste.
    assert mirror.metric("mirrord_upstream_bytes_received_total") <= SIZE + 8 * MIB


def test_ranges_only(make_mirror, fake):
    """A lazy puller: small ranges all over a cold blob, each of them right, none of them twice."""
    mirror = make_mirror(fake, FILL_NEAR_BYTES="64KiB", FILL_CONTINUE="100%")
    body = Noise(SIZE)
    digest = fake.add_blob(body)
    part(mirror, body, digest, 0, 2)
    for start in (15 * MIB, 3 * MIB, 9 * MIB, 3 * MIB + 5000, 0):
        part(mirror, body, digest, start, start + 50000)
    response = mirror.blob(digest, fields={"Range": "bytes=-1000"})
    assert response.status == 206
    check_bytes(response.body, body, SIZE - 1000)
    mirror.wait_no_fills()
    assert not mirror.has_blob(digest) and fake.sent(digest) < SIZE
    mirror.check_right(digest, body)
    mirror.wait_kept(digest)
    mirror.check_storage()


def test_several_ranges_of_a_cold_blob(make_mirror, fake):
    mirror = make_mirror(fake)
    body = Noise(SIZE)
    digest = fake.add_blob(body)
    response = mirror.blob(digest, fields={"Range": "bytes=0-99,%d-%d" % (8 * MIB, 8 * MIB + 99)})
    assert response.status == 206 and response["content-type"].startswith("multipart/byteranges")
    assert body.read(8 * MIB, 100) in response.body and body.read(0, 100) in response.body


def test_unsatisfiable_range_of_a_cold_blob(make_mirror, fake):
    mirror = make_mirror(fake)
    body = Noise(SIZE)
    digest = fake.add_blob(body)
    response = mirror.blob(digest, fields={"Range": "bytes=%d-" % SIZE})
    assert response.status == 416 and response["content-range"] == "bytes */%d" % SIZE
    mirror.check_right(digest, body)


def test_upstream_without_ranges(stalled):
    """It answers 200 to a range: the part is cut out of the whole."""
    mirror, fake, body, digest, event = stalled
    fake.has_ranges = False
    with mirror.client() as first, mirror.client() as second:
        first.request(blob_path(digest))
        response = first.read_head()
        first.read_body(MIB)
        second.request(blob_path(digest), fields={"Range": "bytes=%d-%d" % (12 * MIB, 12 * MIB + 99)})
        fake.wait_requests(1, digest)
        event.set()
        answer = second.read_response()
        assert answer.status == 206
        check_bytes(answer.body, body, 12 * MIB)
        first.read_body(response.length - MIB)
    mirror.wait_no_fills()
    mirror.check_right(digest, body)
    mirror.check_storage()


def test_two_clients_at_different_offsets(make_mirror, fake):
    """From both ends of a cold blob at once."""
    mirror = make_mirror(fake)
    body = Noise(SIZE)
    digest = fake.add_blob(body)
    results = {}

    def pull(start):
        response = mirror.blob(digest, fields={"Range": "bytes=%d-" % start})
        results[start] = response
    threads = [threading.Thread(target=pull, args=(start,)) for start in (0, SIZE // 2, SIZE - 1000, 5, 11 * MIB)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for start, response in results.items():
        assert response.status == 206 and response.length == SIZE - start
        check_bytes(response.body, body, start)
    mirror.wait_kept(digest)
    mirror.check_storage()
    assert mirror.metric("mirrord_upstream_bytes_received_total") <= SIZE + 8 * MIB


def test_range_fetch_fails_and_the_rest_goes_on(stalled):
    """A broken side fetch hurts its reader only."""
    mirror, fake, body, digest, event = stalled
    with mirror.client() as first:
        first.request(blob_path(digest))
        response = first.read_head()
        data = first.read_body(MIB)
        fake.script(digest, faults.cut(100), faults.shift_range(50), method="GET")
        part(mirror, body, digest, 12 * MIB, 12 * MIB + 100000)
        event.set()
        data += first.read_body(response.length - MIB)
        check_bytes(data, body)
        assert len(data) == SIZE
    mirror.wait_kept(digest)
    mirror.check_storage()


def test_wrong_bytes_in_a_range_are_never_kept(make_mirror, fake):
    """The digest covers all segments, whoever brought them: the whole is thrown away and fetched again."""
    mirror = make_mirror(fake, FILL_NEAR_BYTES="64KiB", FILL_CONTINUE="100%", MIRROR_BACKOFF_BASE="5ms")
    body = Noise(SIZE)
    digest = fake.add_blob(body)
    fake.script(digest, faults.flip(9 * MIB + 5), method="GET")
    mirror.blob(digest, fields={"Range": "bytes=%d-%d" % (9 * MIB, 9 * MIB + 99)})
    mirror.wait_no_fills()
    fake.behave_well()
    wait_until(lambda: mirror.blob(digest, allow_short=True).body == body.read(0, SIZE), "it is right in the end")
    mirror.wait_kept(digest)
    mirror.check_storage()
