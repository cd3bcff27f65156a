"""A real upstream: Debian's docker-registry, open, with htpasswd or with tokens."""
import base64
import crypt
import json
import os
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request

from .process import Process, can_connect, free_port
from .waiting import stays_so, wait_until

USER, PASSWORD = "alice", "s3cret"
ISSUER = "tests"


class Upstream:
    """auth: None, "htpasswd" or "token"; folder keeps its storage over stop() and start(), unless that lies elsewhere."""

    def __init__(self, folder, auth=None, proxy_of=None, storage=None, secret="tests"):
        self.folder = str(folder)
        os.makedirs(self.folder, exist_ok=True)
        self.auth = auth
        self.port = free_port()
        self.storage = str(storage or os.path.join(self.folder, "registry"))
        self.secret = secret    # seals the state of uploads
        self.process = self.tokens = None
        config = {
            "version": "0.1", "log": {"level": "info"},
            "storage": {"filesystem": {"rootdirectory": self.storage}, "delete": {"enabled": True}},
            "http": {"addr": "127.0.0.1:%d" % self.port, "secret": secret},
        }
        if proxy_of is not None:
            config["proxy"] = {"remoteurl": proxy_of}
        if auth == "htpasswd":
            config["auth"] = {"htpasswd": {"realm": "upstream", "path": self.write_password()}}
        if auth == "token":
            config["auth"] = {"token": self.prepare_tokens()}
        self.config = os.path.join(self.folder, "registry.yml")
        with open(self.config, "w") as output:
            json.dump(config, output)    # YAML reads JSON

    def write_password(self):
        path = os.path.join(self.folder, "htpasswd")
        hashed = crypt.crypt(PASSWORD, crypt.mksalt(crypt.METHOD_BLOWFISH, rounds=16))
        with open(path, "w") as output:
            output.write("%s:%s\n" % (USER, hashed))
        return path

    def prepare_tokens(self):
        self.token_port = free_port()
        self.key, self.certificate = (os.path.join(self.folder, name) for name in ("token.key", "token.crt"))
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", self.key, "-out",
                        self.certificate, "-days", "30", "-subj", "/CN=tokens"], check=True, capture_output=True)
        return {"realm": "http://127.0.0.1:%d/token" % self.token_port, "service": "upstream", "issuer": ISSUER,
                "rootcertbundle": self.certificate}

    @property
    def url(self):
        return "http://127.0.0.1:%d" % self.port

    @property
    def name(self):
        return "127.0.0.1:%d" % self.port

    def start(self):
        # Variables that point at private certificates make docker-registry's S3 driver panic.
        environment = {"PATH": os.environ["PATH"], "HOME": self.folder}
        if self.auth == "token":
            script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "tokend.py")
            self.tokens = Process([sys.executable, script, self.token_port, self.key, self.certificate, ISSUER, USER,
                                   PASSWORD], os.path.join(self.folder, "tokend.log"), env=environment)
            self.tokens.wait_ready(lambda: can_connect(("127.0.0.1", self.token_port)), "gives tokens")
        self.process = Process(["docker-registry", "serve", self.config],
                               os.path.join(self.folder, "registry.log"), env=environment)
        self.process.wait_ready(lambda: can_connect(("127.0.0.1", self.port)), "accepts connections")
        return self

    def stop(self):
        for process in (self.process, self.tokens):
            if process is not None:
                process.stop()
        self.process = self.tokens = None

    def requests(self, pattern=""):
        """Lines of its access log that contain the pattern."""
        log = self.process.log() if self.process else open(os.path.join(self.folder, "registry.log")).read()
        return [line for line in log.splitlines() if '" ' in line and "HTTP/1" in line and pattern in line]

    def check_gets(self, pattern, n):
        """So many were answered. It writes the line of a request a moment after its last byte."""
        def count():
            return len([line for line in self.requests(pattern) if '"GET ' in line])
        wait_until(lambda: count() >= n, "%d GETs of %s are logged" % (n, pattern))
        stays_so(lambda: count() == n, "there are more than %d GETs of %s" % (n, pattern))

    # --- pushing, by the protocol ----------------------------------------------------------------

    def call(self, method, path, data=None, fields=None, repository=""):
        url = path if path.startswith("http") else self.url + path
        request = urllib.request.Request(url, data=data, method=method, headers=dict(fields or {}))
        if self.auth == "htpasswd":
            pair = base64.b64encode(("%s:%s" % (USER, PASSWORD)).encode()).decode()
            request.add_header("Authorization", "Basic " + pair)
        if self.auth == "token":
            request.add_header("Authorization", "Bearer " + self.token("repository:%s:pull,push" % repository))
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=60) as response:
            return response.status, dict(response.headers), response.read()

    def token(self, scope):
        pair = base64.b64encode(("%s:%s" % (USER, PASSWORD)).encode()).decode()
        query = urllib.parse.urlencode({"service": "upstream", "scope": scope})
        request = urllib.request.Request("http://127.0.0.1:%d/token?%s" % (self.token_port, query),
                                         headers={"Authorization": "Basic " + pair})
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=60) as response:
            return json.load(response)["token"]

    def push_blob(self, body, repository):
        _, fields, _ = self.call("POST", "/v2/%s/blobs/uploads/" % repository, b"", repository=repository)
        location = fields["Location"]
        location += ("&" if "?" in location else "?") + urllib.parse.urlencode({"digest": body.digest})
        self.call("PUT", location, body.read(0, body.size), {"Content-Type": "application/octet-stream"}, repository)
        return body.digest

    def push(self, image, repository, *tags):
        """An Image or Index with all that hangs on it; manifests of platforms first."""
        for body in image.blobs.values():
            self.push_blob(body, repository)
        for digest, (media_type, data) in image.manifests().items():
            if digest != image.digest:
                self.call("PUT", "/v2/%s/manifests/%s" % (repository, digest), data, {"Content-Type": media_type},
                          repository)
        for tag in tags or (image.digest,):
            self.call("PUT", "/v2/%s/manifests/%s" % (repository, tag), image.manifest,
                      {"Content-Type": image.media_type}, repository)
        return image.digest
