"""Many things are asked for by clients that do not stay: what goes on for nobody has a limit."""
import hashlib

import pytest

from lib import faults
from lib.images import Noise
from lib.mirror import blob_path, is_sanitized, manifest_path
from lib.waiting import stays_so, wait_until

N_MAX = 8
N_CLIENTS = 5 * N_MAX


def ask(mirror, targets):
    """One client for each."""
    clients = []
    for target in targets:
        client = mirror.client()
        client.request(target)
        clients.append(client)
    return clients


def test_blobs_that_nobody_waits_for(make_mirror, fake):
    mirror = make_mirror(fake, FILL_RUNNING_MAX=N_MAX)
    digests = ["sha256:" + hashlib.sha256(b"%d" % n).hexdigest() for n in range(N_CLIENTS)]
    fake.always("/blobs/", faults.silence())
    before = mirror.fds()
    clients = ask(mirror, [blob_path(digest) for digest in digests])
    wait_until(lambda: mirror.metric("mirrord_fills_running") == N_CLIENTS, "all are asked for")
    for client in clients:
        client.reset()
    wait_until(lambda: mirror.metric("mirrord_fills_running") <= N_MAX, "no more go on than may")
    stays_so(lambda: mirror.metric("mirrord_fills_running") == N_MAX, "as many go on as may")
    wait_until(lambda: len([what for what in mirror.leaks(before) if what.endswith(".part")]) == N_MAX, "no more is open")

    fake.behave_well()
    body = Noise(100000)
    mirror.check_right(fake.add_blob(body), body)


def n_dropped(mirror):
    return mirror.log().count("asking -> answered")


def test_questions_that_nobody_waits_for(make_mirror, fake):
    mirror = make_mirror(fake, MIRROR_QUESTIONS_MAX=N_MAX)
    fake.always("/manifests/", faults.silence())
    clients = ask(mirror, [manifest_path("v%d" % n) for n in range(N_CLIENTS)])
    wait_until(lambda: mirror.log().count("-> tag ask") == N_CLIENTS, "all are asked for")
    for client in clients:
        client.reset()
    wait_until(lambda: n_dropped(mirror) >= N_CLIENTS - N_MAX, "the others are dropped")
    stays_so(lambda: n_dropped(mirror) == N_CLIENTS - N_MAX, "as many go on as may")

    fake.behave_well()
    fake.add_manifest(b"{}", "application/vnd.oci.image.manifest.v1+json", "library/test", "well")
    assert mirror.get(manifest_path("well")).status == 200


@pytest.mark.skipif(is_sanitized(), reason="memory of an instrumented build says nothing")
def test_manifests_of_a_million_objects(make_mirror, fake):
    """A few megabytes of the smallest objects are as large in memory as on the wire."""
    mirror = make_mirror(fake)
    digests = []
    for n in range(8):
        data = b'{"schemaVersion":2,"n":%d,"manifests":[' % n + b"{}," * 1300000 + b"{}]}"
        digests.append(fake.add_manifest(data, "application/vnd.oci.image.index.v1+json", "library/test", "t%d" % n))
    clients = ask(mirror, [manifest_path(digest) for digest in digests])
    for client in clients:
        response = client.read_response()
        assert response.status == 200
        client.close()
    assert mirror.peak_rss_bytes() < 200 << 20
