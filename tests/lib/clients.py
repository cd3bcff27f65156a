"""Real clients, each with a storage folder of its own, pointed at a mirror of docker.io.

A client whose program is not installed, or which this machine does not permit, skips its test and says why.
"""
import functools
import json
import os
import platform
import secrets
import shutil
import subprocess
import tempfile

import pytest

from .images import Image, noise
from .layouts import write_docker_archive, write_layout, write_layout_archive
from .process import Process

# What clients say when the machine keeps them from making containers, whatever the mirror does.
LIMITS = ["remount /, flags", "error setting rlimit", "mount /, flags", "cgroup mountpoint does not exist"]
BUSYBOX = "/bin/busybox"


def run_to_the_end(command, env=None, timeout_s=300):
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    return subprocess.run([str(word) for word in command], env={**kept, **(env or {})}, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout_s)


def succeeds(command, env=None):
    return run_to_the_end(command, env).returncode == 0


def run(command, env=None, timeout_s=300):
    """Output of a command; a failure shows all it said."""
    result = run_to_the_end(command, env, timeout_s)
    if result.returncode != 0:
        for limit in LIMITS:
            if limit in result.stdout:
                pytest.skip("this machine does not permit it: " + result.stdout[-200:].strip())
        raise AssertionError("%s: status %d\n%s" % (" ".join(map(str, command)), result.returncode, result.stdout))
    return result.stdout


def need(*programs):
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip("%s is not installed" % program)


def busybox():
    """The program of runnable images."""
    if not os.access(BUSYBOX, os.X_OK):
        pytest.skip("busybox-static is not installed")
    with open(BUSYBOX, "rb") as program:
        return program.read(), 0o755


@functools.lru_cache(maxsize=None)
def runnable(architecture="amd64", dialect="oci", seed=1):
    """Several layers, the first of which holds a program. Made once; whoever gets it leaves it as it is."""
    program = busybox()
    return Image([{"bin/busybox": program, "bin/sh": program}, {"etc/motd": b"seed %d\n" % seed},
                  {"data/noise": noise(3000000, seed)}], dialect, architecture, ("/bin/busybox", "cat", "/etc/motd"))


def machine_architecture():
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def other_architecture():
    return "arm64" if machine_architecture() == "amd64" else "amd64"


def mounts_below(folder):
    """What a client has mounted and not unmounted, the innermost first."""
    with open("/proc/self/mounts") as mounts:
        points = [line.split()[1] for line in mounts]
    return sorted((point for point in points if point.startswith(folder + "/")), reverse=True)


class Client:
    def __init__(self, mirror_url):
        self.url = mirror_url
        self.location = mirror_url.split("://")[1]
        self.state = None
        self.process = None
        self.n_scratch = 0

    def fresh(self):
        """Forgets everything: a new storage folder, a new daemon. Paths of sockets must be short."""
        self.stop()
        # podman calls an image of a folder like the folder, which not every name permits.
        self.state = os.path.join(tempfile.gettempdir(), "mirrord-" + secrets.token_hex(4))
        os.mkdir(self.state, 0o700)
        self.start()
        return self

    def path(self, *parts):
        return os.path.join(self.state, *parts)

    def start(self):
        pass

    def target(self, name):
        """A name of the mirror itself, to which is pushed."""
        return "%s/%s" % (self.location, name)

    def scratch(self):
        """A path below the storage folder that is not in use."""
        self.n_scratch += 1
        return self.path("scratch-%d" % self.n_scratch)

    def stop(self):
        if self.process is not None:
            self.process.stop()
            self.process = None
        if self.state is not None:
            for point in mounts_below(self.state):
                subprocess.run(["umount", "-l", point], capture_output=True)
            shutil.rmtree(self.state, ignore_errors=True)
            self.state = None


class Docker(Client):
    """dockerd with --registry-mirror."""

    def start(self):
        need("dockerd", "docker")
        if os.geteuid() != 0:
            pytest.skip("dockerd wants root")
        self.environment = {"DOCKER_HOST": "unix://" + self.path("s"), "DOCKER_CONFIG": self.path("config")}
        self.process = Process([
            "dockerd", "--host=unix://" + self.path("s"), "--data-root=" + self.path("data"),
            "--exec-root=" + self.path("x"), "--pidfile=" + self.path("pid"), "--bridge=none", "--iptables=false",
            "--ip-forward=false", "--ip-masq=false", "--storage-driver=vfs", "--registry-mirror=" + self.url,
            "--insecure-registry=127.0.0.0/8"], self.path("log"))
        try:
            self.process.wait_ready(lambda: succeeds(["docker", "version"], self.environment), "answers")
        except AssertionError:
            if "permission denied" in self.process.log() or "operation not permitted" in self.process.log():
                pytest.skip("dockerd is not permitted here: " + self.process.log()[-300:])
            raise

    def docker(self, *arguments):
        return run(["docker", *arguments], self.environment)

    def pull(self, name):
        self.docker("pull", name)

    def push(self, image, name):
        """Loads an image from a file, pushes it, and tells what docker said."""
        self.docker("load", "-i", write_docker_archive(image, self.scratch(), self.target(name)))
        return self.docker("push", self.target(name))

    def push_all(self, image, name):
        """Its images one by one, then the manifest list of them, which only the command line knows."""
        parts = ["%s-%s" % (name, child.architecture) for child in image.images]
        for child, part in zip(image.images, parts):
            self.push(child, part)
        self.docker("manifest", "create", "--insecure", self.target(name), *map(self.target, parts))
        return self.docker("manifest", "push", "--insecure", self.target(name))

    def run(self, name, *command):
        return self.docker("run", "--rm", "--network", "none", name, *command)


class Containerd(Client):
    """ctr with --hosts-dir; it sends ?ns=docker.io."""

    def start(self):
        need("containerd", "ctr")
        if os.geteuid() != 0:
            pytest.skip("containerd wants root")
        disabled = ["io.containerd.grpc.v1.cri"] + ["io.containerd.snapshotter.v1." + name for name in (
            "devmapper", "zfs", "btrfs", "aufs")] + ["io.containerd.internal.v1.opt"]
        with open(self.path("config.toml"), "w") as config:
            config.write('version = 2\nroot = "%s"\nstate = "%s"\ndisabled_plugins = %s\n[grpc]\naddress = "%s"\n' % (
                self.path("root"), self.path("state"), json.dumps(disabled), self.path("s")))
        hosts = self.path("hosts", "docker.io")
        os.makedirs(hosts)
        with open(os.path.join(hosts, "hosts.toml"), "w") as config:
            # Port 1 refuses: a pull that works came through the mirror.
            config.write('server = "http://127.0.0.1:1"\n[host."%s"]\n  capabilities = ["pull", "resolve"]\n' % self.url)
        self.process = Process(["containerd", "-c", self.path("config.toml")], self.path("log"))
        # It tells its own version also when nobody answers; then it fails.
        self.process.wait_ready(lambda: succeeds(["ctr", "-a", self.path("s"), "version"]), "answers")

    def ctr(self, *arguments):
        return run(["ctr", "-a", self.path("s"), *arguments])

    def pull(self, name, *arguments):
        self.ctr("images", "pull", "--snapshotter", "native", "--hosts-dir", self.path("hosts"), *arguments,
                 "docker.io/" + name)

    def push(self, image, name):
        """All platforms of it."""
        self.ctr("images", "import", "--all-platforms", "--no-unpack",
                 write_layout_archive(image, self.scratch(), self.target(name)))
        return self.ctr("images", "push", "--plain-http", self.target(name))

    push_all = push

    def run(self, name, *command):
        """What it prints goes into a file: from a program that ends at once, ctr may lose it on its way through pipes.

        runc knows the containers of all containerds of the machine by their ids only.
        """
        output = self.scratch()
        self.ctr("run", "--rm", "--snapshotter", "native", "--log-uri", "file://" + output, "docker.io/" + name,
                 os.path.basename(self.state), *command)
        with open(output) as written:
            return written.read()


class Podman(Client):
    """podman with a registries.conf."""
    program = "podman"

    def start(self):
        need(self.program)
        with open(self.path("registries.conf"), "w") as config:
            config.write('[[registry]]\nprefix = "docker.io"\nlocation = "127.0.0.1:1"\ninsecure = true\n'
                         '[[registry.mirror]]\nlocation = "%s"\ninsecure = true\n' % self.location)
        with open(self.path("policy.json"), "w") as policy:
            json.dump({"default": [{"type": "insecureAcceptAnything"}]}, policy)
        self.environment = {"CONTAINERS_REGISTRIES_CONF": self.path("registries.conf")}
        self.storage = ["--root", self.path("root"), "--runroot", self.path("run"), "--storage-driver", "vfs"]

    def podman(self, *arguments):
        return run(["podman", *self.storage, "--runtime", "runc", "--cgroup-manager", "cgroupfs", *arguments], self.environment)

    def pull(self, name, *arguments):
        self.podman("pull", "-q", "--signature-policy", self.path("policy.json"), *arguments, "docker.io/" + name)

    def push(self, image, name):
        loaded = self.podman("pull", "-q", "--signature-policy", self.path("policy.json"),
                             "oci:%s:latest" % write_layout(image, self.scratch())).split()[-1]
        return self.podman("push", "--signature-policy", self.path("policy.json"), "--tls-verify=false", loaded,
                           "docker://" + self.target(name))

    def push_all(self, image, name):
        """As a manifest list of its own, with all platforms."""
        listed = self.podman("manifest", "create", self.target(name)).split()[-1]
        self.podman("manifest", "add", "--all", listed, "oci:%s:latest" % write_layout(image, self.scratch()))
        return self.podman("manifest", "push", "--all", "--tls-verify=false", listed, "docker://" + self.target(name))

    def run(self, name, *command):
        return self.podman("run", "--rm", "--network", "none", "--ulimit", "nofile=1024:1024", "--ulimit",
                           "nproc=1024:1024", "docker.io/" + name, *command)


class Buildah(Podman):
    program = "buildah"

    def buildah(self, *arguments):
        return run(["buildah", *self.storage, *arguments], self.environment)

    def pull(self, name, *arguments):
        self.buildah("pull", "-q", "--signature-policy", self.path("policy.json"), *arguments, "docker.io/" + name)

    def push(self, image, name):
        """As a manifest list of its own, with all platforms."""
        listed = self.buildah("manifest", "create", self.target(name)).split()[-1]
        self.buildah("manifest", "add", "--all", listed, "oci:%s:latest" % write_layout(image, self.scratch()))
        return self.buildah("manifest", "push", "--signature-policy", self.path("policy.json"), "--all",
                            "--tls-verify=false", listed, "docker://" + self.target(name))

    push_all = push

    def run(self, name, *command):
        """A build on top of it: the commands of its layer can be used."""
        with open(self.path("Containerfile"), "w") as recipe:
            recipe.write("FROM docker.io/%s\nRUN %s\n" % (name, json.dumps(list(command))))
        return run(["buildah", *self.storage, "bud", "--isolation", "chroot", "--signature-policy",
                    self.path("policy.json"), "-f", self.path("Containerfile"), self.state], self.environment)


class Skopeo(Podman):
    program = "skopeo"

    def skopeo(self, *arguments):
        return run(["skopeo", "--policy", self.path("policy.json"), "--registries-conf", self.path("registries.conf"),
                    *arguments], self.environment)

    def pull(self, name, *arguments):
        shutil.rmtree(self.path("layout"), ignore_errors=True)
        self.skopeo(*arguments, "copy", "--all", "docker://docker.io/" + name, "oci:%s:latest" % self.path("layout"))

    def push(self, image, name, *arguments):
        return self.skopeo("copy", "--dest-tls-verify=false", *arguments,
                           "oci:%s:latest" % write_layout(image, self.scratch()), "docker://" + self.target(name))

    def push_all(self, image, name):
        return self.push(image, name, "--all")

    def run(self, name, *command):
        """It runs nothing: what it has written is looked at instead."""
        with open(self.path("layout", "index.json")) as index:
            return json.dumps(json.load(index))


ALL = [Docker, Containerd, Podman, Buildah, Skopeo]
