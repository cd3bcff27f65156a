"""A real redis-server for a test, what is said to it, and a proxy between it and the mirror that does it harm."""
import os
import socket
import threading

from .process import Process, can_connect, free_port
from .waiting import PATIENCE_S, wait_until

# A machine with busy cores is slow: only tests about that give the mirror a time that could be too short for it.
PATIENT = {"CACHE_REDIS_TIMEOUT": "10"}


class Redis:
    """One redis-server that keeps nothing on disk. With a socket it listens on a path, else on 127.0.0.1."""

    def __init__(self, folder, password=None, use_socket=False, arguments=()):
        self.folder = str(folder)
        os.makedirs(self.folder, exist_ok=True)
        self.password = password
        self.path = os.path.join(self.folder, "redis.sock") if use_socket else None
        self.port = 0 if use_socket else free_port()
        self.arguments = list(arguments)
        self.process = None

    def start(self):
        command = ["redis-server", "--port", self.port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
                   "--dir", self.folder, "--daemonize", "no"]
        if self.path:
            command += ["--unixsocket", self.path, "--unixsocketperm", "700"]
        if self.password:
            command += ["--requirepass", self.password]
        self.process = Process(command + self.arguments, os.path.join(self.folder, "redis.log"), cwd=self.folder)
        self.process.wait_ready(lambda: can_connect(self.address), "accepts connections")
        return self

    def stop(self):
        if self.process is not None:
            self.process.stop()
        self.process = None

    @property
    def address(self):
        return self.path or ("127.0.0.1", self.port)

    def settings(self, group="CACHE", **more):
        """The mirror's variables for this server."""
        found = {group + "_REDIS_HOST": self.path or "127.0.0.1", **PATIENT}
        if not self.path:
            found[group + "_REDIS_PORT"] = self.port
        if self.password:
            found[group + "_REDIS_PASSWORD"] = self.password
        return {**found, **more}

    def ask(self, *words, db=0):
        with Connection(self.address) as connection:
            if self.password:
                connection.ask("AUTH", self.password)
            if db:
                connection.ask("SELECT", db)
            return connection.ask(*words)

    def keys(self, pattern="*", db=0):
        return sorted(key.decode() for key in self.ask("KEYS", pattern, db=db))

    def value(self, key, db=0):
        return self.ask("GET", key, db=db)

    def n_clients(self):
        return len(self.ask("CLIENT", "LIST").splitlines()) - 1

    def n_subscribers(self, channel="mirrord:1:news"):
        return self.ask("PUBSUB", "NUMSUB", channel)[1]

    def n_commands(self, name):
        """How often a command was called since the start."""
        for line in self.ask("INFO", "commandstats").decode().splitlines():
            if line.startswith("cmdstat_%s:" % name.lower()):
                return int(line.split("calls=")[1].split(",")[0])
        return 0


class Refused(Exception):
    """The server answered with an error."""


class Connection:
    """Commands one after the other."""

    def __init__(self, address):
        self.sock = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
        self.sock.settimeout(PATIENCE_S)
        self.sock.connect(address)
        self.file = self.sock.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        self.sock.close()

    def ask(self, *words):
        encoded = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        self.sock.sendall(b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded))
        return self.answer()

    def answer(self):
        line = self.file.readline()
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            raise Refused(rest.decode())
        if kind == b"$":
            return None if rest == b"-1" else self.file.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return [self.answer() for _ in range(int(rest))]
        return int(rest) if kind == b":" else rest


class Proxy:
    """Between the mirror and something that listens. What it does to the server's words can be changed at any time:

    pass_on, stall (nothing is passed on any more), corrupt(function of the bytes), cut_after(number of bytes); `cut`
    ends the connections there are, `refuse` those to come as well.
    """

    def __init__(self, target):
        self.target = target
        self.port = free_port()
        self.listener = socket.create_server(("127.0.0.1", self.port))
        self.lock = threading.Lock()
        self.change = lambda data: data
        self.n_left = None
        self.is_refusing = False
        self.moves = threading.Event()
        self.moves.set()
        self.sockets = set()
        self.n_accepted = 0
        threading.Thread(target=self.accept, daemon=True).start()

    def settings(self, group="CACHE", **more):
        return {group + "_REDIS_HOST": "127.0.0.1", group + "_REDIS_PORT": self.port, **PATIENT, **more}

    # --- harm ------------------------------------------------------------------------------------

    def pass_on(self):
        self.change, self.n_left, self.is_refusing = lambda data: data, None, False
        self.moves.set()

    def stall(self):
        self.moves.clear()

    def corrupt(self, change):
        self.change = change

    def cut_after(self, n_bytes):
        """The server's words end after so many bytes, on every connection."""
        self.n_left = n_bytes

    def cut(self):
        with self.lock:
            sockets = list(self.sockets)
        for sock in sockets:
            self.drop(sock)

    def refuse(self):
        self.is_refusing = True
        self.cut()

    def close(self):
        self.is_refusing = True
        self.moves.set()
        self.listener.close()
        self.cut()

    # --- work ------------------------------------------------------------------------------------

    def drop(self, sock):
        with self.lock:
            self.sockets.discard(sock)
        try:
            sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        sock.close()

    def accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            self.n_accepted += 1
            far = socket.socket(socket.AF_UNIX if isinstance(self.target, str) else socket.AF_INET)
            try:
                if self.is_refusing:
                    raise OSError
                far.connect(self.target)
            except OSError:
                near.close()
                far.close()
                continue
            with self.lock:
                self.sockets |= {near, far}
            threading.Thread(target=self.pump, args=(near, far, False), daemon=True).start()
            threading.Thread(target=self.pump, args=(far, near, True), daemon=True).start()

    def pump(self, source, target, is_answer):
        n_passed = 0
        try:
            while data := source.recv(65536):
                if is_answer:
                    self.moves.wait()
                    data = self.change(data)
                    if self.n_left is not None:
                        data = data[:max(0, self.n_left - n_passed)]
                        n_passed += len(data)
                        if data:
                            target.sendall(data)
                        if n_passed >= self.n_left:
                            break
                        continue
                target.sendall(data)
        except OSError:
            pass
        self.drop(source)
        self.drop(target)


class Impostor:
    """Something that listens where a Redis should be, and says always the same to whoever speaks to it."""

    def __init__(self, words):
        self.words = words
        self.port = free_port()
        self.listener = socket.create_server(("127.0.0.1", self.port))
        self.n_accepted = 0
        threading.Thread(target=self.accept, daemon=True).start()

    def settings(self, group="CACHE", **more):
        return {group + "_REDIS_HOST": "127.0.0.1", group + "_REDIS_PORT": self.port, **PATIENT, **more}

    def accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.n_accepted += 1
            threading.Thread(target=self.speak, args=(sock,), daemon=True).start()

    def speak(self, sock):
        with sock:
            try:
                while sock.recv(65536):
                    sock.sendall(self.words)
            except OSError:
                pass

    def close(self):
        self.listener.close()


def wait_up(mirror, server="cache", n=1):
    """The mirror has so many connections, or more."""
    name = 'mirrord_redis_connections{server="%s"}' % server
    wait_until(lambda: mirror.metric(name) >= n, "%s >= %d" % (name, n))


def wait_down(mirror, server="cache"):
    name = 'mirrord_redis_connections{server="%s"}' % server
    wait_until(lambda: mirror.metric(name) == 0, "%s = 0" % name)
