"""A programmable upstream registry: HTTP/1.1 on raw sockets, so that every fault can be made at the byte it is wanted.

    fake = FakeRegistry()
    digest = fake.add_blob(b"...")
    fake.script("/blobs/" + digest, cut(1000), stall(500, release), ok())

Each request whose path contains the first argument takes the next behaviour of the script; after the last of them,
and for all other requests, the registry behaves well. Every request is kept in fake.requests with what was sent.
"""
import base64
import json
import re
import socket
import threading
import time
import urllib.parse

from .images import OCI_INDEX, as_body
from .process import free_port
from .waiting import PATIENCE_S, wait_until

PIECE = 1 << 18


class Request:
    """One request as it came, and what became of it."""

    def __init__(self, method, target, fields, connection):
        self.method = method
        self.target = target
        parts = urllib.parse.urlsplit(target)
        self.path = urllib.parse.unquote(parts.path)
        self.query = urllib.parse.parse_qs(parts.query, keep_blank_values=True)
        self.fields = fields
        self.connection = connection    # number of the connection it came on
        self.time = time.monotonic()
        self.status = None
        self.n_sent = 0                 # body bytes that went out, or are about to
        self.is_done = False            # answered, or given up

    def get(self, name, default=None):
        return self.fields.get(name.lower(), default)

    @property
    def range(self):
        return self.get("range")

    def __repr__(self):
        return "<%s %s range=%s status=%s sent=%d>" % (self.method, self.target, self.range, self.status, self.n_sent)


class Hangup(Exception):
    """Ends the connection from inside a behaviour."""


class Exchange:
    """One request being answered: what a behaviour works with."""

    def __init__(self, fake, sock, request):
        self.fake = fake
        self.socket = sock
        self.request = request

    def send(self, data):
        self.socket.sendall(data)

    def send_head(self, status, fields):
        self.request.status = status
        lines = ["HTTP/1.1 %d %s" % (status, "Whatever")]
        lines += ["%s: %s" % field for field in fields]
        self.send(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))

    def send_body(self, body, start, end, change=None):
        """Body bytes [start, end); change(offset, data) may alter a piece before it goes out."""
        offset = start
        while offset < end:
            data = body.read(offset, min(PIECE, end - offset))
            if change is not None:
                data = change(offset, data)
            # Counted first: who has received them all finds them counted.
            self.request.n_sent += len(data)
            try:
                self.send(data)
            except OSError:
                self.request.n_sent -= len(data)
                raise
            offset += len(data)

    def answer(self, status, fields=(), data=b"", content_type="application/json"):
        """A small answer with a length."""
        fields = list(fields.items() if isinstance(fields, dict) else fields)
        fields += [("Content-Type", content_type), ("Content-Length", str(len(data)))]
        self.send_head(status, fields)
        if self.request.method != "HEAD":
            self.send_body(as_body(data), 0, len(data))

    def error(self, status, code, fields=()):
        self.answer(status, fields, json.dumps({"errors": [{"code": code, "message": "so it is"}]}).encode())

    def hang_up(self, how="fin"):
        if how == "rst":
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        raise Hangup()

    def content(self):
        """What is asked for: (body, fields) or (None, None)."""
        return self.fake.find(self.request)

    def span(self, body):
        """[start, end) that the request's Range asks for, or None."""
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.request.range or "")
        if match is None or int(match[1]) >= body.size:
            return None
        return int(match[1]), min(int(match[2]) + 1 if match[2] else body.size, body.size)

    def send_content_head(self, body, fields, length=None):
        """The right head for this request; returns the [start, end) to send."""
        span = self.span(body) if self.fake.has_ranges else None
        start, end = span or (0, body.size)
        fields = list(fields) + [("Content-Length", str(end - start if length is None else length))]
        if span:
            fields.append(("Content-Range", "bytes %d-%d/%d" % (start, end - 1, body.size)))
        self.send_head(206 if span else 200, fields)
        return start, end

    def behave(self):
        """The good behaviour."""
        body, fields = self.content()
        if body is None:
            return self.fake.answer_other(self)
        start, end = self.send_content_head(body, fields)
        if self.request.method != "HEAD":
            self.send_body(body, start, end)


class FakeRegistry:
    def __init__(self, port=0, tls=None):
        self.tls = tls           # an SSLContext: it speaks HTTPS
        self.lock = threading.RLock()
        self.blobs = {}          # digest -> body; served under every repository
        self.manifest_bytes = {} # digest -> (media type, bytes)
        self.tags = {}           # (repository, tag) -> digest
        self.files = {}          # plain path -> body (a CDN)
        self.requests = []
        self.scripts = []        # [pattern, [behaviour, ...], lasting]
        self.extra_fields = []   # on every answer with content: ratelimit-* and the like
        self.has_ranges = True
        self.page_size = None    # tags or referrers per page at most
        self.referrers = None    # (repository, subject) -> descriptors; None: it has no such API
        self.token = None
        self.n_connections = 0
        self.is_closing = threading.Event()
        self.sockets = set()
        self.listener = None
        self.port = port or free_port()
        self.listen()

    # --- the socket ------------------------------------------------------------------------------

    def listen(self):
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(1024)
        with self.lock:
            self.listener = listener
        threading.Thread(target=self.accept, args=(listener,), daemon=True).start()

    def refuse(self):
        """From now on connections are refused, and those there were are cut."""
        self.refuse_more()
        self.cut_connections()

    def refuse_more(self):
        """From now on connections are refused; those there are stay."""
        with self.lock:
            listener, self.listener = self.listener, None
        if listener is not None:
            try:
                listener.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            listener.close()

    def cut_connections(self):
        with self.lock:
            sockets = list(self.sockets)
        for sock in sockets:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self.is_closing.set()
        self.refuse()

    def accept(self, listener):
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.lock:
                if self.listener is not listener:
                    sock.close()    # it was accepted in the moment of refuse()
                    return
                self.sockets.add(sock)
                self.n_connections += 1
                number = self.n_connections
            threading.Thread(target=self.serve, args=(sock, number), daemon=True).start()

    def shake_hands(self, sock):
        secured = self.tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        with self.lock:
            self.sockets.discard(sock)
            self.sockets.add(secured)
        return secured

    def serve(self, sock, number):
        buffer = b""
        try:
            if self.tls is not None:
                sock = self.shake_hands(sock)
                sock.do_handshake()
            while True:
                while b"\r\n\r\n" not in buffer:
                    data = sock.recv(65536)
                    if not data:
                        return
                    buffer += data
                head, _, buffer = buffer.partition(b"\r\n\r\n")
                lines = head.decode("latin-1").split("\r\n")
                method, target, _ = lines[0].split(" ")
                fields = {}
                for line in lines[1:]:
                    name, _, value = line.partition(":")
                    name = name.lower()
                    fields[name] = fields[name] + ", " + value.strip() if name in fields else value.strip()
                length = int(fields.get("content-length", "0"))
                while len(buffer) < length:
                    data = sock.recv(65536)
                    if not data:
                        return
                    buffer += data
                request = Request(method, target, fields, number)
                request.body, buffer = buffer[:length], buffer[length:]
                self.handle(sock, request)
        except (Hangup, OSError):
            pass
        finally:
            with self.lock:
                self.sockets.discard(sock)
            sock.close()

    def handle(self, sock, request):
        with self.lock:
            self.requests.append(request)
            behaviour = self.next_behaviour(request)
        exchange = Exchange(self, sock, request)
        try:
            if behaviour is not None:
                behaviour(exchange)
            elif self.token is None or self.token.admits(exchange):
                exchange.behave()
        finally:
            request.is_done = True

    # --- scripts ---------------------------------------------------------------------------------

    def script(self, pattern, *behaviours, method=None):
        """The next requests whose path contains the pattern behave like this, one behaviour each."""
        with self.lock:
            self.scripts.append([pattern, method, list(behaviours), False])

    def always(self, pattern, behaviour, method=None):
        with self.lock:
            self.scripts.append([pattern, method, [behaviour], True])

    def behave_well(self):
        with self.lock:
            self.scripts.clear()

    def next_behaviour(self, request):
        for pattern, method, behaviours, is_lasting in self.scripts:
            if pattern in request.path and method in (None, request.method) and behaviours:
                return behaviours[0] if is_lasting else behaviours.pop(0)
        return None

    # --- content ---------------------------------------------------------------------------------

    @property
    def address(self):
        return "127.0.0.1", self.port

    @property
    def url(self):
        return "%s://127.0.0.1:%d" % ("https" if self.tls else "http", self.port)

    def add_blob(self, data, digest=None):
        """Returns its digest; a digest given is taken as it is, right or wrong."""
        body = as_body(data)
        digest = digest or body.digest
        self.blobs[digest] = body
        return digest

    def add_file(self, path, data):
        self.files[path] = as_body(data)
        return self.url + path

    def add_image(self, image, repository, tag=None):
        """An Image or Index with all that hangs on it."""
        self.blobs.update(image.blobs)
        self.manifest_bytes.update(image.manifests())
        if tag is not None:
            self.tags[repository, tag] = image.digest
        return image.digest

    def add_manifest(self, data, media_type, repository, tag):
        digest = as_body(data).digest
        self.manifest_bytes[digest] = media_type, data
        self.tags[repository, tag] = digest
        return digest

    def find(self, request):
        """(body, fields) of what a request names."""
        if request.path in self.files:
            return self.files[request.path], [("Content-Type", "application/octet-stream")]
        match = re.fullmatch(r"/v2/(.+)/(blobs|manifests)/([^/]+)", request.path)
        if match is None:
            return None, None
        repository, kind, reference = match.groups()
        if kind == "blobs":
            body = self.blobs.get(reference)
            if body is None:
                return None, None
            fields = [("Content-Type", "application/octet-stream"), ("Docker-Content-Digest", reference)]
            return body, fields + self.extra_fields
        digest = self.tags.get((repository, reference), reference)
        if digest not in self.manifest_bytes:
            return None, None
        media_type, data = self.manifest_bytes[digest]
        fields = [("Content-Type", media_type), ("Docker-Content-Digest", digest), ("ETag", '"%s"' % digest)]
        return as_body(data), fields + self.extra_fields

    def answer_other(self, exchange):
        request = exchange.request
        if request.path == "/v2/":
            return exchange.answer(200, {"Docker-Distribution-Api-Version": "registry/2.0"}, b"{}")
        match = re.fullmatch(r"/v2/(.+)/tags/list", request.path)
        if match is not None:
            return self.answer_tags(exchange, match[1])
        match = re.fullmatch(r"/v2/(.+)/referrers/([^/]+)", request.path)
        if match is not None and self.referrers is not None:
            return self.answer_referrers(exchange, match[1], match[2])
        code = "MANIFEST_UNKNOWN" if "/manifests/" in request.path else "BLOB_UNKNOWN"
        return exchange.error(404, code)

    def answer_tags(self, exchange, repository):
        query = exchange.request.query
        tags = sorted(tag for known, tag in self.tags if known == repository)
        if not tags:
            return exchange.error(404, "NAME_UNKNOWN")
        last = query.get("last", [""])[0]
        limit = int(query["n"][0]) if "n" in query else len(tags)
        if self.page_size is not None:
            limit = min(limit, self.page_size)
        rest = [tag for tag in tags if tag > last]
        page, fields = rest[:limit], {}
        if len(rest) > len(page) and page:
            link = urllib.parse.urlencode({"last": page[-1], "n": limit})
            fields["Link"] = '</v2/%s/tags/list?%s>; rel="next"' % (repository, link)
        return exchange.answer(200, fields, json.dumps({"name": repository, "tags": page}).encode())

    def answer_referrers(self, exchange, repository, subject):
        start = int(exchange.request.query.get("start", ["0"])[0])
        known = self.referrers.get((repository, subject), [])
        end = start + (self.page_size or len(known) + 1)
        fields = {}
        if end < len(known):
            fields["Link"] = '</v2/%s/referrers/%s?start=%d>; rel="next"' % (repository, subject, end)
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": known[start:end]}
        return exchange.answer(200, fields, json.dumps(index).encode(), OCI_INDEX)

    # --- looking ---------------------------------------------------------------------------------

    def matching(self, pattern="", method=None):
        with self.lock:
            return [request for request in self.requests
                    if pattern in request.path and method in (None, request.method)]

    def count(self, pattern="", method=None):
        return len(self.matching(pattern, method))

    def sent(self, pattern=""):
        """Body bytes that went out for requests of this pattern."""
        return sum(request.n_sent for request in self.matching(pattern))

    def wait_requests(self, n, pattern="", method=None, timeout_s=PATIENCE_S):
        wait_until(lambda: self.count(pattern, method) >= n,
                   "%d requests %s; there were %r" % (n, pattern, self.requests), timeout_s)
        return self.matching(pattern, method)

    def wait_sent(self, n, pattern="", timeout_s=PATIENCE_S):
        wait_until(lambda: self.sent(pattern) >= n, "%d bytes of %s sent" % (n, pattern), timeout_s)

    def require_token(self, users=None, expires_in=300, realm=None, service="fake"):
        self.token = TokenService(self, users, expires_in, realm, service)
        return self.token


class TokenService:
    """Bearer tokens for a FakeRegistry: /token of the same server gives them, every other path wants one."""

    def __init__(self, fake, users, expires_in, realm, service):
        self.fake = fake
        self.users = users              # {name: password}, or None: everybody
        self.expires_in = expires_in    # None: the field is left out
        self.realm = realm or fake.url + "/token"
        self.service = service
        self.valid = {}                 # token -> scope
        self.requests = []

    def admits(self, exchange):
        """True when the request may go on; otherwise it was answered."""
        request = exchange.request
        if request.path == "/token":
            self.give(exchange)
            return False
        if request.path in self.fake.files:
            return True
        scheme, _, token = request.get("authorization", "").partition(" ")
        scope = self.scope_of(request)
        if scheme.lower() == "bearer" and token in self.valid and scope in (None, self.valid[token]):
            return True
        challenge = 'Bearer realm="%s",service="%s"' % (self.realm, self.service)
        if scope is not None:
            challenge += ',scope="%s"' % scope
        exchange.error(401, "UNAUTHORIZED", {"WWW-Authenticate": challenge})
        return False

    def scope_of(self, request):
        match = re.fullmatch(r"/v2/(.+)/(?:blobs|manifests|tags)/[^/]+", request.path)
        return "repository:%s:pull" % match[1] if match else None

    def give(self, exchange):

        request = exchange.request
        self.requests.append(request)
        if self.users is not None:
            scheme, _, value = request.get("authorization", "").partition(" ")
            name, _, password = base64.b64decode(value or b"").decode().partition(":")
            if scheme.lower() != "basic" or self.users.get(name) != password:
                return exchange.error(401, "UNAUTHORIZED")
        scope = request.query.get("scope", [None])[0]
        with self.fake.lock:
            token = "token-%d" % (len(self.valid) + 1)
            self.valid[token] = scope
        answer = {"token": token, "access_token": token}
        if self.expires_in is not None:
            answer["expires_in"] = self.expires_in
        return exchange.answer(200, (), json.dumps(answer).encode())

    def revoke(self):
        """All tokens given so far are worth nothing."""
        with self.fake.lock:
            self.valid.clear()


