"""An orderly end in the middle of things: it comes soon, nothing is left behind, and what was fetched is kept."""
import os
import signal

import pytest

from lib import faults
from lib.images import Noise
from lib.mirror import blob_path, manifest_path
from lib.waiting import wait_until

SIZE = 1 << 20
PATIENT = {"MIRROR_BACKOFF_BASE": "20", "MIRROR_BACKOFF_MAX": "60", "MIRROR_RETRIES_MAX": "50",
           "MIRROR_BREAKER_FAILURES": "1000"}


def stop_at_once(mirror):
    """Two signals: the second one cuts who is still connected."""
    mirror.process.send_signal(signal.SIGTERM)
    mirror.wait_for_log("stopping: ")
    mirror.stop()


def test_stop_while_fetches_back_off(make_mirror, fake):
    """Who waits for the next try is ended, too; what is here is continued by the next process."""
    mirror = make_mirror(fake, **PATIENT)
    body = Noise(SIZE)
    digest = fake.add_blob(body)
    fake.script(digest, faults.cut(1000))
    fake.always("", faults.status(503))
    clients = [mirror.client(), mirror.client()]
    clients[0].request(blob_path(digest))
    assert clients[0].read_head().status == 200
    clients[1].request(manifest_path("latest"))
    mirror.wait_for_log("blob .*try . in")
    mirror.wait_for_log("manifest .*try . in")
    stop_at_once(mirror)
    for client in clients:
        client.close()
    assert {os.path.splitext(path)[1] for path in mirror.partial_files()} == {".part", ".map"}

    fake.behave_well()
    mirror.start()
    mirror.check_right(digest, body)
    assert fake.matching(digest, "GET")[-1].range == "bytes=1000-"


@pytest.mark.parametrize("n_bytes", [400000, 1000])
def test_stop_while_manifests_are_verified(make_mirror, fake, n_bytes):
    """The pool hands an answer to a worker that is about to end."""
    mirror = make_mirror(fake)
    text = b'{"schemaVersion":2,"layers":[' + b",".join([b'{"size":1}'] * (n_bytes // 11)) + b"]}"
    clients = []
    for n in range(16):
        fake.add_manifest(text + b" " * n, "application/vnd.oci.image.manifest.v1+json", "library/test", "v%d" % n)
        client = mirror.client()
        client.request(manifest_path("v%d" % n))
        clients.append(client)
    wait_until(lambda: "-> verifying" in mirror.log(), "a manifest is being verified")
    stop_at_once(mirror)
    for client in clients:
        client.close()


def test_stop_while_blobs_come(make_mirror, fake):
    """Fills of all ages, with and without readers."""
    mirror = make_mirror(fake)
    bodies = [Noise(SIZE, seed) for seed in range(12)]
    digests = [fake.add_blob(body) for body in bodies]
    clients = []
    for n, digest in enumerate(digests):
        fake.script(digest, faults.stall(n * SIZE // len(digests)))
        client = mirror.client()
        client.request(blob_path(digest))
        clients.append(client)
    fake.wait_requests(len(digests), "/blobs/")
    for client in clients[::2]:
        client.close()
    stop_at_once(mirror)
    fake.behave_well()
    mirror.start()
    for digest, body in zip(digests, bodies):
        mirror.check_right(digest, body)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_until_the_very_end(make_mirror, fake, number):
    """None of them turns an orderly end into a violent one."""
    mirror = make_mirror(fake)
    digest = fake.add_blob(Noise(SIZE))
    fake.script(digest, faults.stall(1000))
    client = mirror.client()
    client.request(blob_path(digest))
    assert client.read_head().status == 200
    mirror.process.send_signal(signal.SIGTERM)
    # Two that have not been taken yet are one for the kernel.
    mirror.wait_for_log("stopping: ")
    mirror.process.send_signal(signal.SIGTERM)
    while mirror.process.is_running():
        mirror.process.send_signal(number)
    mirror.stop()
    client.close()
