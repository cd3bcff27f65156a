"""Real clients push into a running mirror that also mirrors an upstream; others pull it back, and what is mirrored
meanwhile."""
import threading

import pytest

from lib import clients
from lib.clients import machine_architecture, other_architecture, runnable
from lib.images import ALL_MANIFESTS, Index, digest_of
from lib.waiting import wait_until

MIRRORED = ["library/plain:latest", "library/multi:latest"]
PULLING = {clients.Docker: clients.Containerd, clients.Containerd: clients.Podman, clients.Podman: clients.Buildah,
           clients.Buildah: clients.Docker, clients.Skopeo: clients.Containerd}


def single(seed):
    return runnable(machine_architecture(), "oci", seed)


def multi(seed):
    return Index([single(seed), runnable(other_architecture(), "oci", seed + 1)])


@pytest.fixture
def stage(make_upstream, make_mirror):
    upstream = make_upstream()
    upstream.push(single(1), "library/plain", "latest")
    upstream.push(multi(2), "library/multi", "latest")
    return upstream, make_mirror(upstream)


@pytest.fixture
def make_client(stage):
    """make_client(kind): a client of the mirror, ended after the test."""
    made = []

    def make(kind):
        made.append(kind(stage[1].url))
        return made[-1].fresh()
    yield make
    for client in made:
        client.stop()


class Meanwhile:
    """Pulls of what is mirrored, again and again until the block ends; at least all of it once."""

    def __init__(self, client, names=MIRRORED):
        self.client, self.names, self.is_over, self.failures = client, names, threading.Event(), []
        self.thread = threading.Thread(target=self.work)

    def work(self):
        try:
            while True:
                for name in self.names:
                    self.client.pull(name)
                if self.is_over.is_set():
                    return
        except BaseException as error:
            self.failures.append(error)

    def __enter__(self):
        self.thread.start()

    def __exit__(self, kind, *_):
        self.is_over.set()
        self.thread.join()
        if kind is None and self.failures:
            raise self.failures[0]


def check_whole(mirror, name):
    """All that hangs on a tag is here and has the digest and the size that it is named with. Returns the tag's digest
    and the number of manifests."""
    repository, tag = name.split(":")

    def get(kind, reference):
        response = mirror.get("/v2/%s/%s/%s" % (repository, kind, reference), fields={"Accept": ALL_MANIFESTS})
        assert response.status == 200, (kind, reference, response.head)
        return response

    response = get("manifests", tag)
    top, left, n_manifests = digest_of(response.body), [response.json()], 0
    assert response["docker-content-digest"] == top
    while left:
        manifest = left.pop()
        n_manifests += 1
        wanted = [("blobs", entry) for entry in [manifest.get("config"), *manifest.get("layers", [])] if entry]
        wanted += [("manifests", entry) for entry in manifest.get("manifests", [])]
        for kind, entry in wanted:
            response = get(kind, entry["digest"])
            assert digest_of(response.body) == entry["digest"] and len(response.body) == entry["size"]
            if kind == "manifests":
                left.append(response.json())
    return top, n_manifests


def check_runs(client, name, seed):
    client.pull(name)
    output = client.run(name, "/bin/busybox", "cat", "/etc/motd")
    assert isinstance(client, clients.Skopeo) or "seed %d" % seed in output


@pytest.mark.parametrize("kind", clients.ALL, ids=lambda kind: kind.__name__.lower())
def test_push_and_pull_back_with_another(stage, make_client, kind):
    upstream, mirror = stage
    client, name = make_client(kind), "team/%s:1" % kind.__name__.lower()
    image = single(11)
    with Meanwhile(make_client(clients.Skopeo)):
        client.push(image, name)
        digest, _ = check_whole(mirror, name)
        other = make_client(PULLING[kind])
        check_runs(other, name, 11)
    # The others write a manifest of their own.
    assert kind is not clients.Containerd or digest == image.digest
    upstream.stop()
    mirror.restart()
    assert check_whole(mirror, name)[0] == digest
    check_runs(other.fresh(), name, 11)
    assert not [line for line in upstream.requests() if any('"%s ' % method in line for method in ("POST", "PATCH", "PUT"))
                and "/team/" in line]


@pytest.mark.parametrize("kind", clients.ALL, ids=lambda kind: kind.__name__.lower())
def test_push_all_platforms(stage, make_client, kind):
    mirror, image, name = stage[1], multi(21), "team/multi:1"
    client = make_client(kind)
    with Meanwhile(make_client(clients.Podman)):
        client.push_all(image, name)
        digest, n_manifests = check_whole(mirror, name)
        assert n_manifests == 3
        # The others write a manifest of their own.
        assert kind not in (clients.Containerd, clients.Skopeo) or digest == image.digest
        check_runs(make_client(PULLING[kind]), name, 21)


@pytest.mark.parametrize("format", ["oci", "v2s2"])
def test_skopeo_writes_both_dialects(stage, make_client, format):
    mirror, name = stage[1], "team/dialect:%s" % format
    make_client(clients.Skopeo).push(multi(31), name, "--all", "--format", format)
    assert check_whole(mirror, name)[1] == 3
    media_type = mirror.get("/v2/team/dialect/manifests/" + format, fields={"Accept": ALL_MANIFESTS})["content-type"]
    assert ("vnd.oci" in media_type) == (format == "oci")
    check_runs(make_client(clients.Podman), name, 31)


def test_docker_mounts_what_it_has_pushed(stage, make_client):
    """The second repository costs no upload."""
    mirror, image = stage[1], single(41)
    client = make_client(clients.Docker)
    client.push(image, "team/first:1")
    written = client.push(image, "team/second:1")
    assert written.count("Mounted from team/first") == len(image.layers), written
    assert check_whole(mirror, "team/second:1")[0] == check_whole(mirror, "team/first:1")[0]


def test_pushed_tag_wins_over_the_mirrored_one(stage, make_client):
    """A push takes a mirrored tag over, for all clients and for good; what is beside it stays mirrored."""
    upstream, mirror = stage
    client = make_client(clients.Podman)
    check_runs(client, "library/plain:latest", 1)
    client.push(single(51), "library/plain:latest")
    digest, _ = check_whole(mirror, "library/plain:latest")
    upstream.push(single(52), "library/plain", "latest", "other")
    mirror.restart()
    assert check_whole(mirror, "library/plain:latest")[0] == digest
    check_runs(make_client(clients.Containerd), "library/plain:latest", 51)
    check_runs(client.fresh(), "library/plain:other", 52)


def test_all_push_and_pull_at_once(stage, make_client):
    """Five clients push the same layers to five repositories while the same five kinds pull."""
    mirror, image, failures = stage[1], single(61), []

    def push(client):
        try:
            client.push(image, "crowd/%s:1" % type(client).__name__.lower())
        except BaseException as error:
            failures.append(error)

    def pull(client):
        try:
            for name in MIRRORED:
                client.pull(name)
        except BaseException as error:
            failures.append(error)
    threads = [threading.Thread(target=work, args=(make_client(kind),)) for kind in clients.ALL for work in (push, pull)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures[0]
    for kind in clients.ALL:
        check_whole(mirror, "crowd/%s:1" % kind.__name__.lower())
    wait_until(lambda: mirror.metric("mirrord_fills_running") == 0, "no fill runs")
