"""Many connections at once: idle ones cost almost nothing, slow ones disturb nobody."""
import resource
import threading
import time

import pytest

from lib.images import Noise
from lib.mirror import blob_path, check_bytes, is_sanitized
from lib.rawhttp import Client
from lib.waiting import wait_until

N_IDLE = 10000


@pytest.fixture
def many_descriptors():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = N_IDLE + 500
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip("the limit of descriptors is %d, %d are needed" % (hard, wanted))
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.slow
def test_10000_idle_connections(many_descriptors, make_mirror):
    mirror = make_mirror(HTTP_CONNECTIONS_MAX=N_IDLE + 100, HTTP_KEEPALIVE_TIMEOUT="600", HTTP_HEAD_TIMEOUT="600")
    before, rss = mirror.fds(), mirror.rss_bytes()
    clients = []
    try:
        for n in range(N_IDLE):
            client = Client(mirror.address)
            clients.append(client)
            if n % 10 == 0:
                assert client.get("/v2/").status == 200
        assert mirror.get("/v2/").status == 200
        # The last of them may wait in the kernel still, for the other worker.
        wait_until(lambda: mirror.metric("mirrord_http_connections_open") >= N_IDLE, "all are accepted")
        if not is_sanitized():
            per_connection = (mirror.rss_bytes() - rss) / N_IDLE
            assert per_connection < 2048, "an idle connection costs %d bytes" % per_connection
        for client in clients[::1000]:
            assert client.get("/v2/").status == 200
    finally:
        for client in clients:
            client.close()
    mirror.check_no_leak(before)
    assert mirror.get("/v2/").status == 200


def test_connection_limit(make_mirror):
    """Connections beyond the limit wait in the kernel's queue and are served when others end."""
    mirror = make_mirror(HTTP_CONNECTIONS_MAX=8)
    clients = [mirror.client() for _ in range(8)]
    for client in clients:
        assert client.get("/v2/").status == 200
    waiting = mirror.client()
    waiting.request("/v2/")
    for client in clients:
        client.close()
    assert waiting.read_response().status == 200
    waiting.close()


@pytest.mark.slow
def test_many_slow_downloads_of_one_blob(many_descriptors, make_mirror, fake):
    """Memory does not grow with clients times size."""
    mirror = make_mirror(fake)
    body = Noise(64 << 20)
    digest = fake.add_blob(body)
    mirror.check_right(digest, body)
    before = mirror.fds()
    clients = []
    try:
        for _ in range(1000):
            client = Client(mirror.address, receive_buffer=4096)
            clients.append(client)
            client.request(blob_path(digest))
        for client in clients:
            assert client.read_head().status == 200
            check_bytes(client.read_body(1000), body)
        if not is_sanitized():
            assert mirror.rss_bytes() < 40 << 20
    finally:
        for client in clients:
            client.close()
    mirror.check_no_leak(before)


def test_small_requests_beside_fast_downloads(make_mirror, fake):
    """Fairness: a bound that only who is starved exceeds, because the machine is shared; the benchmark has the strict one."""
    mirror = make_mirror(fake, LOGLEVEL="warning")
    body = Noise(64 << 20)
    digest = fake.add_blob(body)
    mirror.check_right(digest, body)
    stop = threading.Event()

    def download():
        with mirror.client() as client:
            while not stop.is_set():
                client.request(blob_path(digest))
                client.read_body(client.read_head().length, keep=False)
    threads = [threading.Thread(target=download) for _ in range(4)]
    for thread in threads:
        thread.start()
    took = []
    try:
        with mirror.client() as client:
            for _ in range(100):
                begin = time.monotonic()
                assert client.get("/v2/").status == 200
                took.append(time.monotonic() - begin)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert sorted(took)[50] < 5
