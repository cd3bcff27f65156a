"""Real clients pull real images through the mirror from a real registry; then the registry is stopped and they pull
again, with nothing in their own storage."""
import threading

import pytest

from lib import clients
from lib.clients import machine_architecture, other_architecture, runnable
from lib.images import Image, Index, noise
from lib.upstream import PASSWORD, USER
from lib.waiting import wait_until

CREDENTIALS = {"MIRROR_SOURCE_USERNAME": USER, "MIRROR_SOURCE_PASSWORD": PASSWORD}


@pytest.fixture
def images():
    """{name: Image or Index}"""
    here, there = machine_architecture(), other_architecture()
    return {
        "library/oci:latest": runnable(here, "oci", 1),
        "library/docker:1.0": runnable(here, "docker", 2),
        "library/multi:latest": Index([runnable(here, "oci", 3), runnable(there, "oci", 4)]),
        "somebody/list:v1": Index([runnable(there, "docker", 5), runnable(here, "docker", 6)], "docker"),
    }


def push_all(upstream, images):
    for name, image in images.items():
        repository, tag = name.split(":")
        upstream.push(image, repository, tag)


@pytest.fixture(params=[None, "htpasswd", "token"], ids=["open", "htpasswd", "token"])
def stage(request, make_upstream, make_mirror, images):
    """(upstream, mirror) with all images upstream."""
    upstream = make_upstream(request.param)
    push_all(upstream, images)
    return upstream, make_mirror(upstream, **(CREDENTIALS if request.param else {}))


@pytest.fixture(params=clients.ALL, ids=lambda client: client.__name__.lower())
def client(request, stage):
    made = request.param(stage[1].url)
    yield made
    made.stop()


def test_pull_run_and_pull_again_without_the_upstream(stage, client, images):
    upstream, mirror = stage
    client.fresh()
    for name in images:
        client.pull(name)
    output = client.run("library/oci:latest", "/bin/busybox", "echo", "it runs")
    if not isinstance(client, clients.Skopeo):
        assert "it runs" in output
    mirror.wait_no_fills()
    mirror.check_storage()
    sent = mirror.metric("mirrord_upstream_bytes_received_total")
    assert sent > 3000000
    # Warm: a second, forgetful client costs the upstream nothing.
    client.fresh()
    client.pull("library/oci:latest")
    assert mirror.metric("mirrord_upstream_bytes_received_total") == sent
    # Offline, also after a restart.
    upstream.stop()
    mirror.restart()
    client.fresh()
    for name in images:
        client.pull(name)
    assert isinstance(client, clients.Skopeo) or "it runs" in client.run(
        "somebody/list:v1", "/bin/busybox", "echo", "it runs")
    assert mirror.metric("mirrord_upstream_gets_total{kind=\"blob\"}") == 0


def test_docker_search_is_refused_politely(make_mirror, fake):
    assert make_mirror(fake).get("/v1/search?q=x").status == 404


def test_all_clients_at_once_cost_one_download(make_upstream, make_mirror):
    """Five different clients, one blob each: the upstream sees one GET per digest."""
    upstream = make_upstream()
    image = runnable(machine_architecture())
    upstream.push(image, "library/test", "latest")
    mirror = make_mirror(upstream)
    started = [kind(mirror.url).fresh() for kind in clients.ALL]
    failures = []

    def pull(client):
        try:
            client.pull("library/test:latest")
        except BaseException as error:
            failures.append(error)
    threads = [threading.Thread(target=pull, args=(client,)) for client in started]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        for client in started:
            client.stop()
    assert not failures, failures[0]
    for digest in image.blobs:
        upstream.check_gets("/blobs/" + digest, 1)
    wait_until(lambda: set(image.blobs) <= set(mirror.kept_digests()), "all is kept")


def test_tag_moves_for_a_real_client(make_upstream, make_mirror):
    upstream = make_upstream()
    upstream.push(runnable(machine_architecture(), seed=1), "library/test", "latest")
    mirror = make_mirror(upstream, MIRROR_TAGS_CACHE_TTL="0")
    client = clients.Podman(mirror.url).fresh()
    client.pull("library/test:latest")
    assert "seed 1" in client.run("library/test:latest", "/bin/busybox", "cat", "/etc/motd")
    upstream.push(runnable(machine_architecture(), seed=2), "library/test", "latest")
    client.pull("library/test:latest")
    assert "seed 2" in client.run("library/test:latest", "/bin/busybox", "cat", "/etc/motd")
    client.stop()


def test_skopeo_inspects_and_lists(make_upstream, make_mirror):
    clients.need("skopeo")
    upstream = make_upstream()
    image = runnable(machine_architecture())
    upstream.push(image, "library/test", "b", "a", "c")
    mirror = make_mirror(upstream)
    output = clients.run(["skopeo", "inspect", "--tls-verify=false", "docker://%s/library/test:a" % mirror.name])
    assert image.digest in output and '"a",' in output and '"c"' in output


def test_lazy_puller(make_upstream, make_mirror):
    """The pattern of the stargz snapshotter: a probe of two bytes, HEAD, then several small ranges per request."""
    upstream = make_upstream()
    image = Image([{"data": noise(5000000)}])
    upstream.push(image, "library/lazy", "latest")
    mirror = make_mirror(upstream)
    layer = image.layers[0]
    body = image.blobs[layer["digest"]].data
    path = "/v2/library/lazy/blobs/" + layer["digest"]
    with mirror.client() as client:
        probe = client.get(path, fields={"Range": "bytes=0-1", "Accept-Encoding": "identity"})
        assert probe.status == 206 and probe["content-range"] == "bytes 0-1/%d" % len(body)
        assert client.get(path, "HEAD").length == len(body)
        footer = client.get(path, fields={"Range": "bytes=%d-%d" % (len(body) - 51, len(body) - 1)})
        assert footer.status == 206 and footer.body == body[-51:]
        for n in range(10):
            begin = n * 400000
            response = client.get(path, fields={"Accept-Encoding": "identity", "Range": "bytes=%d-%d,%d-%d" % (
                begin, begin + 49999, begin + 200000, begin + 249999)})
            assert response.status == 206
            assert body[begin:begin + 50000] in response.body and body[begin + 200000:begin + 250000] in response.body
    mirror.wait_no_fills()
    mirror.check_storage()


def test_estargz_image(make_upstream, make_mirror):
    """An image converted by the stargz tools goes through unchanged."""
    clients.need("ctr-remote")
    upstream = make_upstream()
    upstream.push(runnable(machine_architecture()), "library/plain", "latest")
    mirror = make_mirror(upstream)
    client = clients.Containerd(mirror.url).fresh()
    try:
        client.pull("library/plain:latest")
        target = upstream.name + "/library/lazy:latest"
        clients.run(["ctr-remote", "-a", client.path("s"), "images", "convert", "--estargz", "--oci",
                     "docker.io/library/plain:latest", target])
        client.ctr("images", "push", "--plain-http", target)
        client.fresh()
        client.pull("library/lazy:latest")
        assert "it runs" in client.run("library/lazy:latest", "/bin/busybox", "echo", "it runs")
    finally:
        client.stop()
