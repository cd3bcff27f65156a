"""The servers that are measured: the mirror, nginx, docker-registry as a proxy, and what stands in front of an upstream."""
import os
import shutil
import subprocess

from content import Failure
from lib.mirror import Mirror
from lib.process import Process, can_connect, free_port
from lib.upstream import Upstream
from lib.waiting import wait_until

# These are nginx's own words, or the connection's: they are not copied from the mirror's answers.
OWN_FIELDS = ("date", "server", "connection", "keep-alive", "content-length", "content-type", "last-modified",
              "accept-ranges")

NGINX = """
{user}
daemon off;
worker_processes {workers};
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{
    worker_connections 8192;
}}
http {{
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server_tokens off;
    sendfile on;
    tcp_nopush on;
    tcp_nodelay on;
    keepalive_requests 100000000;
    keepalive_timeout 75s;
{http}
    server {{
        listen 127.0.0.1:{port} backlog=4096 reuseport;
{server}
    }}
}}
"""


class Server:
    """A name for the table, a port, and the processes that do its work."""

    def __init__(self, name, port, process):
        self.name, self.port, self.process = name, port, process

    def pids(self):
        """The process and its children."""
        found = [self.process.pid]
        with open("/proc/%d/task/%d/children" % (self.process.pid, self.process.pid)) as children:
            found += [int(word) for word in children.read().split()]
        return found

    def stop(self):
        self.process.stop()


def start_nginx(folder, name, http, server, workers=2):
    os.makedirs(folder, exist_ok=True)
    port = free_port()
    config = os.path.join(folder, "nginx.conf")
    with open(config, "w") as output:
        # Started as root, its workers would otherwise be a user who may not read the temporary folder.
        output.write(NGINX.format(folder=folder, port=port, http=http, server=server, workers=workers,
                                  user="user root;" if os.geteuid() == 0 else ""))
    process = Process(["nginx", "-e", os.path.join(folder, "error.log"), "-c", config], os.path.join(folder, "log"))
    process.wait_ready(lambda: can_connect(("127.0.0.1", port)), "accepts connections")
    return Server(name, port, process)


def quoted(value):
    return "'%s'" % value.replace("\\", "\\\\").replace("'", "\\'")


def location_like(target, fields):
    """A static file that is answered with the fields that the mirror gave."""
    given = {name.lower(): value for name, value in fields}
    lines = ["types { }", "default_type %s;" % quoted(given.get("content-type", "application/octet-stream")),
             "etag off;"]
    if "accept-ranges" not in given:
        lines.append("max_ranges 0;")
    if "last-modified" not in given:
        lines.append("add_header Last-Modified '';")
    lines += ["add_header %s %s;" % (name, quoted(value)) for name, value in fields
              if name.lower() not in OWN_FIELDS]
    return "location = %s {\n%s\n}\n" % (target, "\n".join(lines))


def start_static(folder, content, heads):
    """nginx with the same bytes and head fields under the same paths. heads: what the mirror answered."""
    root = os.path.join(folder, "root")
    files = {blob.target: blob.path for blob in content.blobs.values()}
    for target in heads:
        path = root + target
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if target in files:
            shutil.copyfile(files[target], path)
        else:
            with open(path, "wb") as output:
                output.write(content.image.manifest)
    locations = "".join(location_like(target, fields) for target, fields in heads.items())
    return start_nginx(folder, "nginx", """
    access_log {folder}/access.log combined buffer=64k flush=1s;
    open_file_cache max=1000 inactive=60s;
    open_file_cache_valid 30s;
""".format(folder=folder), """
    root {root};
    {locations}
    location = /v2/ {{
        default_type application/json;
        return 200 '{{}}';
    }}
""".format(root=root, locations=locations))


class Front(Server):
    """nginx before a real upstream: it holds the rate of each download and counts what was asked for."""

    def __init__(self, folder, upstream, rate_bytes=0):
        self.log = os.path.join(folder, "access.log")
        made = start_nginx(folder, "upstream", """
    log_format counted '$request_method $status $body_bytes_sent $uri';
    access_log {log} counted;
    proxy_buffers 16 64k;
    proxy_max_temp_file_size 0;
""".format(log=self.log), """
    location / {{
        proxy_pass {url};
        proxy_set_header Host $http_host;
        limit_rate {rate};
    }}
""".format(url=upstream.url, rate=rate_bytes))
        super().__init__("upstream", made.port, made.process)
        self.url = "http://127.0.0.1:%d" % self.port
        self.n_seen = 0

    def new_requests(self, target):
        """(GETs of the target, their body bytes) since the last call; waits until there is one."""
        def lines():
            with open(self.log) as log:
                return [line.split(None, 3) for line in log.read().splitlines()[self.n_seen:]]
        found = wait_until(lambda: [line for line in lines() if line[0] == "GET" and line[3] == target],
                           "the upstream was asked for %s" % target)
        self.n_seen += len(lines())
        return len(found), sum(int(line[2]) for line in found)


class Registry(Server):
    """Debian's docker-registry, to which is pushed."""

    def __init__(self, folder, upstream=None):
        self.registry = Upstream(folder, proxy_of=upstream.url if upstream else None)
        self.registry.start()
        super().__init__("docker-registry", self.registry.port, self.registry.process)

    def blob_file(self, digest):
        value = digest.split(":")[1]
        return os.path.join(self.registry.storage, "docker/registry/v2/blobs/sha256", value[:2], value, "data")

    def stop(self):
        self.registry.stop()


class Proxy(Registry):
    """The same, mirroring."""

    def wait_kept(self, digest):
        """It answers first and stores behind that."""
        path = self.blob_file(digest)
        wait_until(lambda: os.path.exists(path), "docker-registry has stored %s" % digest, 60)


class MirrorServer(Server):
    """The daemon, set up as its users have it: one worker per core, an access log in a file."""

    def __init__(self, folder, upstream, settings):
        os.makedirs(folder, exist_ok=True)
        self.mirror = Mirror(folder, upstream, **{
            "LOGLEVEL": "info", "REGISTRY_WORKERS": None,
            "REGISTRY_ACCESS_LOG_FILE": os.path.join(folder, "access.log"), **settings})
        self.mirror.start()
        super().__init__("mirrord", self.mirror.port, self.mirror.process)

    def blob_file(self, digest):
        return self.mirror.blob_file(digest)

    def wait_kept(self, digest):
        self.mirror.wait_kept(digest, 60)

    def stop(self):
        """What it was measured for is over: its downloads need not end in order."""
        if not self.process.is_running():
            raise Failure("mirrord ended by itself:\n" + self.process.log()[-2000:])
        self.mirror.kill()


def versions():
    """What was compared, for the report."""
    def first_line(*command):
        done = subprocess.run(command, capture_output=True, text=True)
        return (done.stdout + done.stderr).strip().splitlines()[0]
    return {"nginx": first_line("nginx", "-v"), "docker-registry": first_line("docker-registry", "--version"),
            "wrk": first_line("wrk", "-v")}
