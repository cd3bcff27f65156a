"""HTTP/1.1 by hand: sends what a test says, reads strictly, and tells an orderly end from a reset."""
import json
import socket
import time

from .waiting import PATIENCE_S


class BrokenResponse(AssertionError):
    """The peer did not speak HTTP/1.1 as RFC 9112 wants it, or ended in the middle."""


class Response:
    def __init__(self, status, reason, fields, head):
        self.status = status
        self.reason = reason
        self.fields = fields    # [(name in lower case, value)]
        self.head = head        # the head's bytes
        self.body = b""

    def all(self, name):
        return [value for known, value in self.fields if known == name.lower()]

    def __getitem__(self, name):
        values = self.all(name)
        assert len(values) == 1, "%d fields %s in %r" % (len(values), name, self.head)
        return values[0]

    def get(self, name, default=None):
        values = self.all(name)
        assert len(values) <= 1, "%d fields %s in %r" % (len(values), name, self.head)
        return values[0] if values else default

    @property
    def length(self):
        value = self["content-length"]
        assert value.isdigit(), "Content-Length: %r" % value
        return int(value)

    @property
    def closes(self):
        tokens = [token.strip().lower() for value in self.all("connection") for token in value.split(",")]
        return "close" in tokens

    def json(self):
        return json.loads(self.body)

    def error_code(self):
        """The code of a registry's error body."""
        assert self["content-type"].split(";")[0] == "application/json"
        return self.json()["errors"][0]["code"]


def parse_head(head):
    if b"\n" in head.replace(b"\r\n", b"") or b"\r" in head.replace(b"\r\n", b""):
        raise BrokenResponse("bare CR or LF in %r" % head)
    lines = head[:-4].decode("latin-1").split("\r\n")
    version, _, rest = lines[0].partition(" ")
    status, _, reason = rest.partition(" ")
    if version != "HTTP/1.1" or len(status) != 3 or not status.isdigit():
        raise BrokenResponse("status line %r" % lines[0])
    fields = []
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip() or any(ord(c) < 32 or ord(c) == 127 for c in value):
            raise BrokenResponse("field line %r" % line)
        fields.append((name.lower(), value.strip()))
    return Response(int(status), reason, fields, head)


class Client:
    """One connection. `address` is (host, port) or the path of a unix socket."""

    def __init__(self, address, timeout_s=PATIENCE_S, receive_buffer=None):
        family = socket.AF_UNIX if isinstance(address, str) else (
            socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
        self.socket = socket.socket(family)
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(timeout_s)
        self.socket.connect(address)
        if family != socket.AF_UNIX:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.was_reset = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def reset(self):
        """Ends with RST instead of FIN."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.socket.close()

    def half_close(self):
        self.socket.shutdown(socket.SHUT_WR)

    def send(self, data):
        self.socket.sendall(data.encode("latin-1") if isinstance(data, str) else data)

    def request(self, target, method="GET", fields=(), host="mirror.test"):
        lines = ["%s %s HTTP/1.1" % (method, target), "Host: %s" % host]
        lines += ["%s: %s" % field for field in (fields.items() if isinstance(fields, dict) else fields)]
        self.send("\r\n".join(lines) + "\r\n\r\n")

    def receive(self, at_most=1 << 18):
        """Bytes, or b"" at an orderly end; a reset is remembered and raised."""
        if self.buffer:
            data, self.buffer = self.buffer[:at_most], self.buffer[at_most:]
            return data
        try:
            return self.socket.recv(at_most)
        except ConnectionResetError:
            self.was_reset = True
            raise

    def read_head(self):
        data = b""
        while b"\r\n\r\n" not in data:
            more = self.receive()
            if not more:
                raise BrokenResponse("connection ended in the head: %r" % data)
            data += more
            if len(data) > 1 << 20:
                raise BrokenResponse("endless head")
        head, _, rest = data.partition(b"\r\n\r\n")
        self.buffer = rest + self.buffer
        return parse_head(head + b"\r\n\r\n")

    def read_body(self, length, keep=True):
        """Exactly `length` bytes, or all there are when the connection ends before that."""
        parts, n = [], 0
        while n < length:
            data = self.receive(min(1 << 18, length - n))
            if not data:
                break
            n += len(data)
            if keep:
                parts.append(data)
        return b"".join(parts) if keep else n

    def read_slowly(self, length, piece, interval_s):
        """A client on a bad line: `piece` bytes every interval, whatever is ready."""
        data = b""
        while len(data) < length:
            more = self.read_body(min(piece, length - len(data)))
            if not more:
                break
            data += more
            time.sleep(interval_s)
        return data

    def read_response(self, method="GET", allow_short=False):
        """A whole final response; the body's framing must be a Content-Length."""
        response = self.read_head()
        if response.status // 100 == 1:
            raise BrokenResponse("interim response %r where a final one was due" % response.head)
        if response.all("transfer-encoding"):
            raise BrokenResponse("the mirror always knows the length: %r" % response.head)
        if method == "HEAD" or response.status in (204, 304):
            return response
        response.body = self.read_body(response.length)
        if len(response.body) != response.length and not allow_short:
            raise BrokenResponse("%d of %d body bytes" % (len(response.body), response.length))
        return response

    def get(self, target, method="GET", fields=(), allow_short=False):
        self.request(target, method, fields)
        return self.read_response(method, allow_short)

    def read_to_end(self):
        """Everything until the peer's FIN."""
        parts = []
        while True:
            data = self.receive()
            if not data:
                return b"".join(parts)
            parts.append(data)

    def is_closed(self, timeout_s=PATIENCE_S):
        """True when the peer has ended the connection in order and sent nothing more before."""
        return self.has_ended(timeout_s)

    def peek(self, for_s):
        """What is there to read within this time: bytes, b"" at an orderly end, None for nothing."""
        if self.buffer:
            return self.buffer
        before = self.socket.gettimeout()
        self.socket.settimeout(for_s)
        try:
            self.buffer = self.socket.recv(1)
            return self.buffer
        except (socket.timeout, BlockingIOError):
            return None
        finally:
            self.socket.settimeout(before)

    def is_quiet(self, for_s=0.3):
        """True when the connection is open and nothing arrives for a while."""
        return self.peek(for_s) is None

    def has_ended(self, within_s):
        """True when the peer has ended the connection in order, with nothing left to read."""
        return self.peek(within_s) == b""

    def drip(self, data, interval_s):
        """Sends a byte at a time; ends early, telling how many went out, when the peer closes."""
        for n, byte in enumerate(data):
            try:
                self.socket.sendall(bytes([byte]))
            except OSError:
                return n
            self.socket.settimeout(interval_s)
            try:
                self.buffer += self.socket.recv(4096) or b""
                return n + 1
            except socket.timeout:
                pass
            except OSError:
                return n + 1
        return len(data)


def get(address, target, method="GET", fields=(), allow_short=False, timeout_s=PATIENCE_S):
    """One request on a connection of its own."""
    with Client(address, timeout_s) as client:
        return client.get(target, method, fields, allow_short)


def timed_get(address, target, fields=()):
    """(response, seconds to the first byte, seconds to the last)."""
    with Client(address) as client:
        begin = time.monotonic()
        client.request(target, "GET", fields)
        response = client.read_head()
        first = time.monotonic() - begin
        response.body = client.read_body(response.length)
        return response, first, time.monotonic() - begin
