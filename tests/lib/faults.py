"""What an upstream can do wrong: behaviours for FakeRegistry.script and .always."""
import threading
import time

from .images import as_body


def ok():
    return lambda exchange: exchange.behave()


def silence():
    """Takes the request and never answers."""
    def behave(exchange):
        exchange.fake.is_closing.wait()
        exchange.hang_up()
    return behave


def hold(event, then=None):
    """Waits for the event before it answers."""
    def behave(exchange):
        event.wait()
        (then or ok())(exchange)
    return behave


def cut(n_bytes, how="fin"):
    """Announces all and ends the connection after n_bytes of the body."""
    def behave(exchange):
        body, fields = exchange.content()
        start, end = exchange.send_content_head(body, fields)
        exchange.send_body(body, start, min(start + n_bytes, end))
        exchange.hang_up(how)
    return behave


def cut_head(n_bytes=20, how="fin"):
    """Ends the connection in the middle of the head."""
    def behave(exchange):
        exchange.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n"[:n_bytes])
        exchange.hang_up(how)
    return behave


def stall(n_bytes, event=None, then_cut=False):
    """Sends n_bytes of the body, then nothing until the event is set (never, without one)."""
    def behave(exchange):
        body, fields = exchange.content()
        start, end = exchange.send_content_head(body, fields)
        middle = min(start + n_bytes, end)
        exchange.send_body(body, start, middle)
        (event or exchange.fake.is_closing).wait()
        if then_cut or event is None:
            exchange.hang_up()
        exchange.send_body(body, middle, end)
    return behave


def slow(bytes_per_s, piece=16384, event=None):
    """At this pace; ends early when the event is set."""
    def behave(exchange):
        body, fields = exchange.content()
        start, end = exchange.send_content_head(body, fields)
        begin = time.monotonic()
        for offset in range(start, end, piece):
            exchange.send_body(body, offset, min(offset + piece, end))
            ahead = begin + (offset + piece - start) / bytes_per_s - time.monotonic()
            if ahead > 0:
                time.sleep(ahead)
            if event is not None and event.is_set():
                exchange.hang_up()
    return behave


def flip(at):
    """One bit of the byte at this offset of the blob is wrong."""
    def change(offset, data):
        if not offset <= at < offset + len(data):
            return data
        wrong = bytearray(data)
        wrong[at - offset] ^= 1
        return bytes(wrong)

    def behave(exchange):
        body, fields = exchange.content()
        start, end = exchange.send_content_head(body, fields)
        exchange.send_body(body, start, end, change)
    return behave


def announce(difference, then="fin"):
    """Content-Length is off by this much, the body is the true one; then the connection ends."""
    def behave(exchange):
        body, fields = exchange.content()
        start, end = exchange.send_content_head(body, fields, length=exchange_length(exchange, body) + difference)
        if exchange.request.method != "HEAD":
            exchange.send_body(body, start, end)
        exchange.hang_up(then)
    return behave


def exchange_length(exchange, body):
    start, end = exchange.span(body) or (0, body.size)
    return end - start


def send_other(data, status=200, content_type="application/octet-stream"):
    """A well-formed answer with other bytes: longer, shorter, or different."""
    def behave(exchange):
        exchange.answer(status, (), data, content_type)
    return behave


def send_more(extra=b"more than was announced"):
    """The right answer, and bytes behind it that no request asked for."""
    def behave(exchange):
        exchange.behave()
        exchange.send(extra)
    return behave


def ignore_range():
    """200 with the whole body, whatever was asked."""
    def behave(exchange):
        body, fields = exchange.content()
        exchange.send_head(200, list(fields) + [("Content-Length", str(body.size))])
        exchange.send_body(body, 0, body.size)
    return behave


def shift_range(by):
    """206 with a range that was not asked for, and the bytes of that wrong range."""
    def behave(exchange):
        body, fields = exchange.content()
        start, end = exchange.span(body) or (0, body.size)
        start, end = max(0, start + by), min(body.size, end + by)
        exchange.send_head(206, list(fields) + [
            ("Content-Length", str(end - start)), ("Content-Range", "bytes %d-%d/%d" % (start, end - 1, body.size))])
        exchange.send_body(body, start, end)
    return behave


def lying_range(by):
    """206 whose Content-Range is the right one, with the bytes of another."""
    def behave(exchange):
        body, fields = exchange.content()
        start, end = exchange.send_content_head(body, fields)
        exchange.send_body(body, max(0, start + by), min(body.size, max(0, start + by) + end - start))
    return behave


def partial_unasked():
    """206 to a request without Range: only the first half."""
    def behave(exchange):
        body, fields = exchange.content()
        half = body.size // 2
        exchange.send_head(206, list(fields) + [
            ("Content-Length", str(half)), ("Content-Range", "bytes 0-%d/%d" % (half - 1, body.size))])
        exchange.send_body(body, 0, half)
    return behave


def html(status=200):
    """A hotel's log-in page."""
    page = b"<!DOCTYPE html><html><body>Please accept our terms of use.</body></html>"
    return send_other(page, status, "text/html; charset=utf-8")


def status(code, fields=None, error="UNAVAILABLE"):
    return lambda exchange: exchange.error(code, error, fields or {})


def throttle(retry_after_s, n_limit=100):
    fields = {"Retry-After": str(retry_after_s), "ratelimit-limit": "%d;w=21600" % n_limit,
              "ratelimit-remaining": "0;w=21600"}
    return lambda exchange: exchange.error(429, "TOOMANYREQUESTS", fields)


def no_challenge():
    return lambda exchange: exchange.error(401, "UNAUTHORIZED")


def challenge(realm, service="fake", scope="repository:any:pull"):
    fields = {"WWW-Authenticate": 'Bearer realm="%s",service="%s",scope="%s"' % (realm, service, scope)}
    return lambda exchange: exchange.error(401, "UNAUTHORIZED", fields)


def admitted(then):
    """Asks for a token as the registry does, and behaves like this for those who have one."""
    def behave(exchange):
        if exchange.fake.token.admits(exchange):
            then(exchange)
    return behave


def redirect(location, code=307):
    """location: a URL, or a function of the request that makes one."""
    def behave(exchange):
        target = location(exchange.request) if callable(location) else location
        exchange.answer(code, {"Location": target}, b"", "text/plain")
    return behave


def chunked(n_pieces=4):
    """The right body without a length."""
    def behave(exchange):
        body, fields = exchange.content()
        exchange.send_head(200, list(fields) + [("Transfer-Encoding", "chunked")])
        step = max(1, body.size // n_pieces)
        for offset in range(0, body.size, step):
            data = body.read(offset, min(step, body.size - offset))
            exchange.send(b"%x\r\n" % len(data))
            exchange.send_body(as_body(data), 0, len(data))
            exchange.send(b"\r\n")
        exchange.send(b"0\r\n\r\n")
    return behave


def garbage():
    """Not HTTP at all."""
    def behave(exchange):
        exchange.send(b"SSH-2.0-OpenSSH_9.2p1\r\n")
        exchange.hang_up()
    return behave


class Barrier:
    """A behaviour that holds every request it meets until release()."""

    def __init__(self, then=None):
        self.event = threading.Event()
        self.then = then

    def __call__(self, exchange):
        hold(self.event, self.then)(exchange)

    def release(self):
        self.event.set()
