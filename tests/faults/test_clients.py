"""Clients that leave, crawl, or come from two sides; and one fetch for all of them."""
import threading

import pytest

from lib import faults
from lib.images import Noise
from lib.mirror import blob_path, check_bytes
from lib.waiting import wait_until

SIZE = 8 << 20
HALF = SIZE // 2


class Running:
    """A fill that the upstream has stopped in the middle, until release()."""

    def __init__(self, make_mirror, fake, **settings):
        self.fake = fake
        self.mirror = make_mirror(fake, **settings)
        self.body = Noise(SIZE)
        self.digest = fake.add_blob(self.body)
        self.path = blob_path(self.digest)
        self.event = threading.Event()
        fake.script(self.digest, faults.stall(HALF, self.event), method="GET")
        assert self.mirror.get("/v2/").status == 200
        self.fds = self.mirror.fds()

    def client(self, n_bytes=1000, **options):
        """A client that has the head and the first bytes."""
        client = self.mirror.client(**options)
        client.request(self.path)
        client.response = client.read_head()
        assert client.response.status == 200 and client.response.length == SIZE
        client.data = client.read_body(n_bytes)
        assert len(client.data) == n_bytes
        return client

    def finish(self, client):
        client.data += client.read_body(SIZE - len(client.data))
        assert len(client.data) == SIZE
        check_bytes(client.data, self.body)
        client.close()

    def release(self):
        self.event.set()

    def check_after(self, n_gets=1):
        self.mirror.wait_no_fills()
        self.mirror.check_storage()
        self.mirror.check_right(self.digest, self.body)
        assert self.fake.count(self.digest, "GET") == n_gets
        self.mirror.check_no_leak(self.fds)
        assert self.mirror.metric("mirrord_fill_readers") == 0


@pytest.fixture
def running(make_mirror, fake):
    setting = Running(make_mirror, fake)
    yield setting
    setting.release()


def test_first_byte_comes_before_the_upstream_is_done(running):
    """Headers and bytes arrive while the upstream holds the second half."""
    client = running.client(HALF)
    check_bytes(client.data, running.body)
    assert client.is_quiet()
    running.release()
    running.finish(client)
    running.check_after()


def test_second_client_gets_what_is_there_at_once(running):
    first = running.client()
    second = running.client(HALF)
    check_bytes(second.data, running.body)
    running.release()
    running.finish(first)
    running.finish(second)
    running.check_after()


@pytest.mark.parametrize("leaving", ["first", "last"])
@pytest.mark.parametrize("how", ["fin", "rst"])
def test_one_client_leaves(running, leaving, how):
    """The other gets everything from the one download."""
    first, second = running.client(), running.client()
    gone, stays = (first, second) if leaving == "first" else (second, first)
    gone.close() if how == "fin" else gone.reset()
    wait_until(lambda: running.mirror.metric("mirrord_fill_readers") == 1, "one reader is left")
    running.release()
    running.finish(stays)
    running.check_after()


def test_all_clients_leave_and_the_download_goes_on(running):
    for client in (running.client(), running.client()):
        client.close()
    wait_until(lambda: running.mirror.metric("mirrord_fill_readers") == 0, "no reader is left")
    running.release()
    running.mirror.wait_kept(running.digest)
    running.check_after()


def test_all_clients_leave_and_the_download_stops(make_mirror, fake):
    """With fill.continue at 100 % nothing goes on alone; the next client continues, byte for byte."""
    setting = Running(make_mirror, fake, FILL_CONTINUE="100%")
    # Unread bytes make the end of a client unmistakable: a mere FIN could be half of a close.
    setting.client(HALF - 1000).close()
    setting.mirror.wait_no_fills()
    setting.release()
    assert not setting.mirror.has_blob(setting.digest)
    setting.mirror.check_right(setting.digest, setting.body)
    last = setting.fake.matching(setting.digest, "GET")[-1]
    assert last.range is not None and not last.range.startswith("bytes=0-")
    setting.check_after(n_gets=2)


def test_client_leaves_before_the_head(make_mirror, fake):
    """The upstream has not even answered yet."""
    mirror = make_mirror(fake)
    body = Noise(SIZE)
    digest = fake.add_blob(body)
    barrier = faults.Barrier()
    fake.script(digest, barrier)
    before = mirror.fds()
    client = mirror.client()
    client.request(blob_path(digest))
    fake.wait_requests(1, digest)
    client.close()
    barrier.release()
    mirror.wait_kept(digest)
    mirror.check_right(digest, body)
    assert fake.count(digest, "GET") == 1
    mirror.check_no_leak(before)


def test_half_a_head_and_gone(mirror):
    before = mirror.fds()
    for part in (b"", b"G", b"GET /v2/ HTT", b"GET /v2/ HTTP/1.1\r\nHost: a\r\n"):
        for end in ("close", "reset", "half_close"):
            client = mirror.client()
            client.send(part)
            getattr(client, end)()
            if end == "half_close":
                client.read_to_end()
                client.close()
    mirror.check_no_leak(before)
    assert mirror.get("/v2/").status == 200


def test_slow_reader_slows_nobody(make_mirror, fake):
    """One client takes a byte now and then; another is done meanwhile, and so is the download."""
    mirror = make_mirror(fake)
    body = Noise(32 << 20)
    digest = fake.add_blob(body)
    before = mirror.fds()
    with mirror.client(receive_buffer=4096) as slow:
        slow.request(blob_path(digest))
        assert slow.read_head().length == body.size
        assert slow.read_body(1) == body.read(0, 1)
        mirror.check_right(digest, body)
        mirror.wait_kept(digest)
        for n in range(1, 50):
            assert slow.read_body(1) == body.read(n, 1)
        check_bytes(slow.read_body(body.size - 50), body, 50)
    assert fake.count(digest, "GET") == 1
    mirror.check_no_leak(before)


def test_reader_of_a_byte_per_second_is_not_cut(make_mirror, fake):
    """Slow progress is progress: the send deadline runs while nothing at all is taken."""
    mirror = make_mirror(fake, HTTP_SEND_TIMEOUT="4s")
    body = Noise(4 << 20)
    digest = fake.add_blob(body)
    with mirror.client(receive_buffer=4096) as client:
        client.request(blob_path(digest))
        client.read_head()
        data = client.read_slowly(600000, 20000, 0.2)
        data += client.read_body(body.size - len(data))
        check_bytes(data, body)
        assert len(data) == body.size


def test_500_clients_one_fetch(make_mirror, fake):
    """They come before the upstream has answered, on all workers."""
    mirror = make_mirror(fake, LOGLEVEL="warning")
    body = Noise(1 << 20)
    digest = fake.add_blob(body)
    barrier = faults.Barrier()
    fake.script(digest, barrier)
    before = mirror.fds()
    clients = [mirror.client() for _ in range(500)]
    for client in clients:
        client.request(blob_path(digest))
    wait_until(lambda: mirror.metric("mirrord_fill_readers") == 500, "all are waiting")
    barrier.release()
    for client in clients:
        response = client.read_response()
        assert response.status == 200
        check_bytes(response.body, body)
        assert len(response.body) == body.size
        client.close()
    assert fake.count(digest, "GET") == 1 and fake.sent(digest) == body.size
    metrics = mirror.metrics()
    assert metrics['mirrord_blob_requests_total{result="miss"}'] == 1
    assert metrics['mirrord_blob_requests_total{result="collapsed"}'] == 499
    mirror.check_no_leak(before)


def test_fault_in_the_middle_reaches_all_readers(make_mirror, fake):
    """A wrong body: every reader, early or late, ends short and in order."""
    mirror = make_mirror(fake, MIRROR_BACKOFF_BASE="5ms", MIRROR_BACKOFF_MAX="20ms")
    body = Noise(SIZE)
    digest = fake.add_blob(body)
    event = threading.Event()

    def flipped(exchange):
        faults.hold(event, faults.flip(SIZE - 5))(exchange)
    fake.always(digest, flipped)
    clients = [mirror.client() for _ in range(20)]
    for client in clients:
        client.request(blob_path(digest))
    wait_until(lambda: mirror.metric("mirrord_fill_readers") == 20, "all are waiting")
    event.set()
    for client in clients:
        response = client.read_head()
        if response.status == 200:
            assert len(client.read_body(response.length)) < SIZE
            assert client.read_to_end() == b""
        else:
            assert response.status >= 500
        client.close()
    assert not mirror.has_blob(digest)
    fake.behave_well()
    wait_until(lambda: mirror.blob(digest, allow_short=True).body == body.read(0, SIZE), "it is right again")


def test_head_request_fetches_nothing(make_mirror, fake):
    """HEAD of a cold blob is answered from the upstream's head, without its body."""
    mirror = make_mirror(fake)
    body = Noise(SIZE)
    digest = fake.add_blob(body)
    response = mirror.head(blob_path(digest))
    assert response.status == 200 and response.length == SIZE
    assert response["docker-content-digest"] == digest
    assert fake.sent(digest) < SIZE or fake.count(digest, "GET") == 1
    mirror.check_right(digest, body)
    assert fake.count(digest, "GET") == 1
