"""The daemon under test: started, watched from outside, ended, and inspected for what it must never leave behind."""
import hashlib
import json
import os
import re
import signal

from . import rawhttp
from .process import Process, can_connect, free_port
from .waiting import PATIENCE_S, stays_so, wait_until

SANITIZER_COMPLAINTS = re.compile(
    r"ERROR: (Address|Leak)Sanitizer|WARNING: ThreadSanitizer|runtime error:|CHECK failed|check failed")
KEPT_ENVIRONMENT = ("PATH", "HOME", "LANG", "TMPDIR", "ASAN_OPTIONS", "LSAN_OPTIONS", "TSAN_OPTIONS", "UBSAN_OPTIONS")


def binary():
    path = os.environ.get("MIRRORD")
    assert path and os.access(path, os.X_OK), "MIRRORD must name the daemon's program (tests/run sets it)"
    return path


def is_sanitized():
    """True in a build whose memory figures and speed say nothing about the product."""
    return bool(os.environ.get("MIRRORD_SANITIZED"))


class Mirror:
    """One storage folder and the processes that run on it, one after the other.

    Settings are the daemon's environment variables. `upstream` is anything with a url, or None.
    """

    def __init__(self, folder, upstream=None, arguments=(), host="127.0.0.1", **settings):
        self.folder = str(folder)
        self.storage = os.path.join(self.folder, "storage")
        os.makedirs(self.storage, exist_ok=True)
        self.host = host
        self.port = free_port(host)
        self.admin_port = free_port()
        self.arguments = list(arguments)
        self.settings = {
            "SETTINGS_FLAVOR": "local", "STORAGE_PATH": self.storage, "REGISTRY_HOST": host,
            "REGISTRY_PORT": str(self.port), "REGISTRY_WORKERS": "2", "LOGLEVEL": "debug",
            "ADMIN_LISTEN": "127.0.0.1:%d" % self.admin_port,
        }
        if upstream is not None:
            self.settings["MIRROR_SOURCE"] = upstream if isinstance(upstream, str) else upstream.url
        self.settings.update({name: str(value) for name, value in settings.items() if value is not None})
        for name in [name for name, value in settings.items() if value is None]:
            self.settings.pop(name, None)
        self.n_starts = 0
        self.process = None

    # --- life ------------------------------------------------------------------------------------

    def environment(self):
        kept = {name: os.environ[name] for name in KEPT_ENVIRONMENT if name in os.environ}
        return {**kept, **self.settings}

    def start(self):
        """Starts it and waits until it serves."""
        self.launch()
        self.wait_ready()
        return self

    def launch(self):
        """Starts it and does not wait."""
        assert self.process is None or not self.process.is_running()
        command = [binary()] + self.arguments
        self.n_starts += 1
        log = os.path.join(self.folder, "mirrord-%d.log" % self.n_starts)
        self.process = Process(command, log, env=self.environment(), cwd=self.folder)

    def is_ready(self):
        """All its listeners answer."""
        addresses = [self.address]
        if self.settings.get("ADMIN_LISTEN") == "127.0.0.1:%d" % self.admin_port:
            addresses.append(self.admin_address)
        for name in ("ADMIN_LISTEN", "REGISTRY_LISTEN"):
            value = self.settings.get(name, "")
            if value.startswith("unix:"):
                addresses.append(value[len("unix:"):])
        return all(can_connect(address) for address in addresses)

    def wait_ready(self):
        self.process.wait_ready(self.is_ready, "accepts connections")

    def stop(self, number=signal.SIGTERM, timeout_s=PATIENCE_S, status=0):
        """An orderly end. A wrong exit status or a sanitizer's complaint fails the test."""
        if self.process is None:
            return
        ended = self.process.stop(number, timeout_s)
        text = self.process.log()
        self.process = None
        assert not SANITIZER_COMPLAINTS.search(text), text[-8000:]
        assert ended == status, "exit status %s:\n%s" % (ended, text[-4000:])

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        text = self.process.log()
        self.process = None
        assert not SANITIZER_COMPLAINTS.search(text), text[-8000:]

    def restart(self, kill=False):
        self.kill() if kill else self.stop()
        return self.start()

    # --- asking ----------------------------------------------------------------------------------

    @property
    def address(self):
        return self.host, self.port

    @property
    def admin_address(self):
        return "127.0.0.1", self.admin_port

    @property
    def name(self):
        """host:port as clients write it."""
        return "%s:%d" % (self.host, self.port)

    @property
    def url(self):
        return "http://" + self.name

    def client(self, **options):
        return rawhttp.Client(self.address, **options)

    def get(self, target, method="GET", fields=(), allow_short=False, timeout_s=PATIENCE_S):
        return rawhttp.get(self.address, target, method, fields, allow_short, timeout_s)

    def head(self, target, fields=()):
        return self.get(target, "HEAD", fields)

    def blob(self, digest, repository="library/test", fields=(), allow_short=False):
        return self.get(blob_path(digest, repository), "GET", fields, allow_short)

    def admin(self, path):
        response = rawhttp.get(self.admin_address, path)
        assert response.status == 200, response.head
        return response

    def metrics(self):
        """{'name' or 'name{labels}': value}"""
        found = {}
        for line in self.admin("/metrics").body.decode().splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                found[name] = float(value)
        return found

    def metric(self, name, **labels):
        """Of what has labels, the only one, or the only one with these."""
        found = self.metrics()
        if name not in found:
            wanted = ['%s="%s"' % pair for pair in labels.items()]
            found = {line: value for line, value in found.items()
                     if line.startswith(name + "{") and all(label in line for label in wanted)}
            assert len(found) == 1, "%s of %s: %s" % (name, labels, found)
            return found.popitem()[1]
        return found[name]

    def wait_metric(self, name, value, timeout_s=PATIENCE_S):
        wait_until(lambda: self.metric(name) >= value, "%s >= %s" % (name, value), timeout_s)

    def fills(self):
        return json.loads(self.admin("/fills").body)

    def wait_no_fills(self, timeout_s=PATIENCE_S):
        wait_until(lambda: self.metric("mirrord_fills_running") == 0, "no fill runs", timeout_s)

    def log(self):
        """What all processes so far have written."""
        text = ""
        for n in range(1, self.n_starts + 1):
            with open(os.path.join(self.folder, "mirrord-%d.log" % n), errors="replace") as log:
                text += log.read()
        return text

    def wait_for_log(self, pattern, timeout_s=PATIENCE_S):
        return wait_until(lambda: re.search(pattern, self.log()), "log has %r" % pattern, timeout_s)

    # --- looking from outside --------------------------------------------------------------------

    def fds(self):
        """{number: what it is}"""
        folder = "/proc/%d/fd" % self.process.pid
        found = {}
        for number in os.listdir(folder):
            try:
                found[int(number)] = os.readlink(os.path.join(folder, number))
            except FileNotFoundError:
                pass
        return found

    def status(self, field):
        with open("/proc/%d/status" % self.process.pid) as status:
            return int(re.search(r"^%s:\s+(\d+)" % field, status.read(), re.M)[1])

    def rss_bytes(self):
        return self.status("VmRSS") * 1024

    def peak_rss_bytes(self):
        return self.status("VmHWM") * 1024

    # --- what must hold after every test ---------------------------------------------------------

    def blob_file(self, digest):
        algorithm, value = digest.split(":")
        return os.path.join(self.storage, "docker/registry/v2/blobs", algorithm, value[:2], value, "data")

    def has_blob(self, digest):
        return os.path.exists(self.blob_file(digest))

    def wait_kept(self, digest, timeout_s=PATIENCE_S):
        wait_until(lambda: self.has_blob(digest), "%s is kept" % digest, timeout_s)

    def is_linked(self, digest, repository):
        root = os.path.join(self.storage, "docker/registry/v2/repositories", repository)
        return any(os.path.exists(os.path.join(root, kind, *digest.split(":"), "link"))
                   for kind in ("_layers", "_manifests/revisions"))

    def wait_linked(self, digest, repository="library/test"):
        """The repository has this blob or manifest: the manifest that names it is kept, it was pulled or pushed. It may not be
        here itself."""
        wait_until(lambda: self.is_linked(digest, repository), "%s is linked into %s" % (digest, repository))

    def wait_settled(self, digest, repository="library/test"):
        """It is kept, the fill that brought it is over, and it is linked: all that comes a moment after its file is seen."""
        self.wait_kept(digest)
        wait_until(lambda: digest not in [fill["digest"] for fill in self.fills()], "the fill of %s is over" % digest)
        self.wait_linked(digest, repository)

    def kept_digests(self):
        root = os.path.join(self.storage, "docker/registry/v2/blobs")
        found = []
        for folder, _, files in os.walk(root):
            if "data" in files:
                algorithm, _, value = os.path.relpath(folder, root).split("/")
                found.append("%s:%s" % (algorithm, value))
        return found

    def check_storage(self):
        """Every file under a final name has the digest that it is named by."""
        for digest in self.kept_digests():
            hashed = hashlib.new(digest.split(":")[0])
            try:
                with open(self.blob_file(digest), "rb") as blob:
                    while data := blob.read(1 << 20):
                        hashed.update(data)
            except FileNotFoundError:
                continue    # evicted or collected since it was listed
            assert digest.endswith(":" + hashed.hexdigest()), "wrong bytes are kept under " + digest

    def partial_files(self):
        """Regular files that are neither under a final name of the layout nor the storage's lock, its ledger, its pins, or the
        place of the scrub."""
        found = []
        for folder, _, files in os.walk(self.storage):
            if "/docker/registry/v2/" not in folder + "/":
                found += [os.path.join(folder, name) for name in files]
        own = tuple(os.path.join(self.storage, "_mirrord", name) for name in ("lock", "ledger.db", "pins/", "scrub.json"))
        return [path for path in found if not path.startswith(own)]

    def leaks(self, before):
        """What is open that was not before and has no reason to be: clients' connections and files of fills. Blobs and
        uploads that wait for their next request stay open on purpose, idle upstream connections for reuse, and each
        worker's HTTP client has a pair of sockets that it wakes itself with; all these are bounded."""
        known = list(before.values())
        files = []
        for what in self.fds().values():
            if what in known:
                known.remove(what)
            elif not what.startswith(("socket:", "anon_inode:")) and not re.search("/_mirrord/(lock$|ledger.db)", what) and (
                    "/blobs/" not in what and "/_uploads/" not in what or what.endswith("(deleted)")):
                files.append(what)
        ports = (self.port, self.admin_port)
        clients = ["client on port %d" % local for local, _ in self.connections(lambda local, _: local in ports)]
        n_other = sum(1 for what in self.fds().values() if what.startswith("socket:")) - len(clients)
        n_known = sum(1 for what in before.values() if what.startswith("socket:"))
        surplus = max(0, n_other - n_known - 20 * self.n_workers)
        return files + clients + ["other socket"] * surplus

    @property
    def n_workers(self):
        return int(self.settings.get("REGISTRY_WORKERS", os.cpu_count()))

    def check_no_leak(self, before, timeout_s=PATIENCE_S):
        wait_until(lambda: not self.leaks(before), lambda: "something is left open: %r" % self.leaks(before), timeout_s)

    def connections(self, wanted):
        inodes = {what[8:-1] for what in self.fds().values() if what.startswith("socket:[")}
        found = []
        for table in ("tcp", "tcp6"):
            try:
                with open("/proc/%d/net/%s" % (self.process.pid, table)) as lines:
                    next(lines)
                    for line in lines:
                        words = line.split()
                        local, remote = (int(words[n].rsplit(":", 1)[1], 16) for n in (1, 2))
                        if words[9] in inodes and words[3] != "0A" and wanted(local, remote):
                            found.append((local, remote))
            except FileNotFoundError:
                pass
        return found

    def check_right(self, digest, body, repository="library/test"):
        """The next request for it is answered whole and right."""
        response = self.blob(digest, repository)
        assert response.status == 200, (response.head, response.body[:300])
        assert response.length == body.size
        check_bytes(response.body, body)


def check_bytes(data, body, offset=0):
    """Compares without printing megabytes when it fails."""
    expected = body.read(offset, len(data))
    if data != expected:
        first = next((n for n, (a, b) in enumerate(zip(data, expected)) if a != b), min(len(data), len(expected)))
        raise AssertionError("bytes differ at offset %d (lengths %d and %d)" % (
            offset + first, len(data), len(expected)))


def blob_path(digest, repository="library/test"):
    return "/v2/%s/blobs/%s" % (repository, digest)


def manifest_path(reference, repository="library/test"):
    return "/v2/%s/manifests/%s" % (repository, reference)


__all__ = ["Mirror", "binary", "blob_path", "check_bytes", "is_sanitized", "manifest_path", "stays_so"]
