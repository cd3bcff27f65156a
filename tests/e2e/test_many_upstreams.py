"""Real clients pull the images of several registries through one mirror, each in the way that is its own."""
import json
import os

import pytest

from lib.clients import Containerd, Skopeo, machine_architecture, runnable
from lib.waiting import wait_until

NAMES = ("one.test/org/app:v1", "two.test/org/app:v1", "docker.io/library/app:v1")


class DefaultContainerd(Containerd):
    """One hosts.toml for all registries; containerd says in ns= which one it wants."""

    def start(self):
        super().start()
        os.rename(self.path("hosts", "docker.io"), self.path("hosts", "_default"))
        with open(self.path("hosts", "_default", "hosts.toml"), "w") as config:
            config.write('[host."%s"]\n  capabilities = ["pull", "resolve"]\n' % self.url)

    def pull(self, name, *arguments):
        self.ctr("images", "pull", "--snapshotter", "native", "--hosts-dir", self.path("hosts"), *arguments, name)


class LocatedSkopeo(Skopeo):
    """registries.conf puts the mirror's name in front of the registry's."""

    def start(self):
        super().start()
        with open(self.path("registries.conf"), "w") as config:
            for host in ("one.test", "two.test", "docker.io"):
                config.write('[[registry]]\nprefix = "%s"\nlocation = "127.0.0.1:1"\ninsecure = true\n'
                             '[[registry.mirror]]\nlocation = "%s/%s"\ninsecure = true\n' % (host, self.location, host))

    def pull(self, name, *arguments):
        self.skopeo(*arguments, "copy", "--all", "docker://" + name, "oci:%s:latest" % self.scratch())


@pytest.fixture
def registries(make_upstream):
    """A registry for each host, with its own image under the same name."""
    made = {}
    for seed, name in enumerate(NAMES):
        host, _, repository = name.partition("/")
        made[host] = make_upstream()
        made[host].push(runnable(machine_architecture(), "oci", 20 + seed), *repository.split(":"))
    return made


@pytest.mark.parametrize("make_client", [DefaultContainerd, LocatedSkopeo], ids=["containerd", "skopeo"])
def test_clients(make_mirror, registries, make_client):
    mirror = make_mirror(None, MIRROR_UPSTREAMS=json.dumps({host: upstream.url for host, upstream in registries.items()}))
    client = make_client(mirror.url)
    try:
        client.fresh()
        for name in NAMES:
            client.pull(name)
        for name in NAMES:
            folder = os.path.join(mirror.storage, "docker/registry/v2/repositories", name.rsplit(":", 1)[0])
            wait_until(lambda: os.path.isdir(folder), "%s is kept" % name)
        mirror.wait_no_fills()
        mirror.check_storage()
        # All of them are away, and we too for a moment.
        for upstream in registries.values():
            upstream.stop()
        mirror.restart()
        client.fresh()
        for name in NAMES:
            client.pull(name)
    finally:
        client.stop()
