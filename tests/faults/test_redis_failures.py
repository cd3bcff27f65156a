"""Redis is slow, wrong, full, restarting, flushed or dead, under load: nobody is told an error, and nobody waits longer
than the timeout. Every request of the load is one that asks Redis: a tag that this process does not remember."""
import os
import signal
import threading

import pytest

from lib.images import simple
from lib.mirror import is_sanitized, manifest_path
from lib.redis import Impostor, wait_down, wait_up
from lib.waiting import PATIENCE_S, wait_until

IMAGES = [simple(seed) for seed in range(3)]
REPOSITORY = "library/test"
N_CLIENTS = 4
N_TAGS = 120    # more than memory holds in these tests
SENT = 'mirrord_redis_requests_total{server="cache",result="sent"}'
SKIPPED = 'mirrord_redis_requests_total{server="cache",result="skipped"}'


def failures(reason, server="cache"):
    return 'mirrord_redis_failures_total{server="%s",reason="%s"}' % (server, reason)


def wrong(cache="cache"):
    return 'mirrord_meta_lookups_total{cache="%s",result="wrong"}' % cache


class Load:
    """Clients that ask for tags, one after the other, until they are told to stop. Memory holds few tags, so most
    requests go to the slower tiers; the upstream has every tag. What is wrong is kept for `check`."""

    def __init__(self, mirror, n_tags=N_TAGS):
        self.mirror, self.n_tags = mirror, n_tags
        self.is_over = threading.Event()
        self.wrong, self.n, self.lock = [], 0, threading.Lock()
        self.threads = [threading.Thread(target=self.run, args=(n,), daemon=True) for n in range(N_CLIENTS)]
        for thread in self.threads:
            thread.start()

    def run(self, start):
        n = start
        while not self.is_over.is_set():
            tag = n % self.n_tags
            image = IMAGES[tag % len(IMAGES)]
            try:
                response = self.mirror.get(manifest_path("t%d" % tag), ("GET", "HEAD")[n // 7 % 2])
                right = response.status == 200 and response["docker-content-digest"] == image.digest
                if not right:
                    self.wrong.append((tag, response.status, response.head[-300:]))
            except Exception as e:
                self.wrong.append((tag, repr(e)))
            with self.lock:
                self.n += 1
            n += N_CLIENTS

    def go_on(self, n=60):
        """So many more requests are answered."""
        goal = self.n + n
        wait_until(lambda: self.n >= goal or self.wrong, "the load goes on")
        assert not self.wrong, self.wrong[:3]

    def stop(self):
        self.is_over.set()
        for thread in self.threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive(), "a request is not answered"
        assert not self.wrong, self.wrong[:3]


@pytest.fixture
def under_load(make_mirror, fake):
    """under_load(settings of a Redis): (mirror, load), when all is well. The load is checked in the end."""
    made = []
    for tag in range(N_TAGS):
        fake.add_image(IMAGES[tag % len(IMAGES)], REPOSITORY, "t%d" % tag)

    def start(settings, n_up=3, **more):
        mirror = make_mirror(fake, LOGLEVEL="info", STORE_METADATA_MEMORY="64KiB", **{**settings, **more})
        if n_up:
            wait_up(mirror, n=n_up)
        load = Load(mirror)
        made.append(load)
        load.go_on()
        return mirror, load

    yield start
    for load in made:
        load.stop()


def n_stored_tags(mirror):
    """They would be there after a restart, too."""
    folder = os.path.join(mirror.storage, "docker/registry/v2/repositories", REPOSITORY, "_manifests/tags")
    return sum(os.path.exists(os.path.join(folder, tag, "current/link")) for tag in os.listdir(folder))


def check_recovers(mirror, load, n=3):
    """All connections come back and are used."""
    wait_up(mirror, n=n)
    before = mirror.metric(SENT)
    wait_until(lambda: mirror.metric(SENT) > before + 10, "Redis is asked again")
    load.go_on()


def test_slow(under_load, proxy):
    """It takes everything and answers nothing: one timeout per connection, then it is left alone."""
    mirror, load = under_load(proxy.settings(CACHE_REDIS_TIMEOUT="300ms", CACHE_REDIS_RETRY_MAX="100ms"))
    proxy.stall()
    mirror.wait_metric(failures("timeout"), 1)
    wait_down(mirror)
    skipped = mirror.metric(SKIPPED)
    load.go_on()
    # Nobody but those who asked first has waited: others did not ask.
    assert mirror.metric(SKIPPED) > skipped
    # The kernel goes on accepting; the greeting is not answered, so it does not count as being there.
    n_accepted = proxy.n_accepted
    wait_until(lambda: proxy.n_accepted > n_accepted, "it is tried again")
    assert mirror.metric('mirrord_redis_connections{server="cache"}') == 0
    proxy.pass_on()
    check_recovers(mirror, load)


def test_a_request_waits_as_long_as_the_timeout(make_mirror, redis, proxy, fake):
    """With the first question after a stall, and no further ones: the request that asked is answered all the same."""
    fake.add_image(IMAGES[0], REPOSITORY, "latest")
    mirror = make_mirror(fake, **proxy.settings(CACHE_REDIS_TIMEOUT="1", REGISTRY_WORKERS=1))
    wait_up(mirror, n=2)
    proxy.stall()
    response = mirror.get(manifest_path("latest"))
    assert response.status == 200
    assert "no answer within 1000 ms" in mirror.log() or "subscription is not answered" in mirror.log()


@pytest.mark.parametrize("words", [
    b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
    b"220 mail.example ESMTP\r\n",
    b"\x16\x03\x01\x00\x05hello",
    b"-ERR unknown command\r\n",
    b"+PONG\r\n" * 50,
    b"+PONG\r\n+OK\r\n",
    b":1\r\n",
    b"$-1\r\n",
    b"*-1\r\n",
    b"$1000000000\r\n",
    b"*1000000000\r\n",
    b"*3\r\n$7\r\nmessage\r\n$14\r\nmirrord:1:news\r\n$1\r\nx\r\n",
    b"*2\r\n" * 2000,
    b"\0" * 70000,
], ids=["http", "smtp", "tls", "error", "many", "two", "number", "nil", "no array", "large", "large array", "message", "deep",
        "zeros"])
def test_not_redis(under_load, words):
    impostor = Impostor(words)
    try:
        mirror, load = under_load(impostor.settings(CACHE_REDIS_RETRY_MAX="50ms", CACHE_REDIS_TIMEOUT="50ms"), n_up=0)
        wait_until(lambda: impostor.n_accepted > 6, "it is tried again and again")
        load.go_on()
        assert mirror.rss_bytes() < (1 << 30 if is_sanitized() else 200 << 20)
    finally:
        impostor.close()


def test_wrong_password(under_load, make_redis):
    redis = make_redis(password="secret")
    settings = redis.settings(CACHE_REDIS_RETRY_MAX="50ms")
    mirror, load = under_load({**settings, "CACHE_REDIS_PASSWORD": "another"}, n_up=0)
    mirror.wait_for_log("it refuses: WRONGPASS")
    load.go_on()
    # Made right while it runs.
    redis.ask("CONFIG", "SET", "requirepass", "another")
    check_recovers(mirror, load)


def test_no_such_database(under_load, redis):
    mirror, load = under_load(redis.settings(CACHE_REDIS_DB=999, CACHE_REDIS_RETRY_MAX="50ms"), n_up=0)
    mirror.wait_for_log("it refuses: ERR")
    load.go_on()


@pytest.mark.parametrize("kind", ["hash", "garbage", "empty", "large"])
def test_wrong_values(under_load, redis, fake, kind):
    """Keys of another type, and values that nobody of ours wrote."""
    mirror, load = under_load(redis.settings(CACHE_REDIS_BUFFER="64KiB"))
    values = {"garbage": b"\xff\0 1 mirrored x", "empty": b"", "large": b"1 mirrored " + b"x" * 200000}

    def spoil():
        # In one piece, or the mirrors' own words get in between.
        if kind == "hash":
            script = "for i=0,119 do local k=ARGV[1]..i redis.call('DEL',k) redis.call('HSET',k,'a','b') end"
        else:
            script = "for i=0,119 do redis.call('SET',ARGV[1]..i,ARGV[2]) end"
        redis.ask("EVAL", script, 0, "mirrord:1:127.0.0.1:%d:tag:%s:t" % (fake.port, REPOSITORY), values.get(kind, b""))

    metric = {"hash": failures("refused"), "large": failures("lost")}.get(kind, wrong())
    before = mirror.metric(metric)

    def is_noticed():
        spoil()
        return mirror.metric(metric) > before

    wait_until(is_noticed, "it is noticed")
    load.go_on()
    redis.ask("FLUSHALL")
    check_recovers(mirror, load)


def test_corrupted_answers(under_load, proxy):
    """Bits turn over on the way, in every place of an answer."""
    mirror, load = under_load(proxy.settings(CACHE_REDIS_RETRY_MAX="20ms", CACHE_REDIS_TIMEOUT="300ms"))
    seen = [0]

    def flip(data):
        seen[0] += 1
        if not data:
            return data
        at = seen[0] * 7 % len(data)
        return data[:at] + bytes([data[at] ^ (1 << seen[0] % 8)]) + data[at + 1:]

    proxy.corrupt(flip)
    wait_until(lambda: seen[0] > 300, "a good many are spoiled")
    load.go_on()
    proxy.pass_on()
    check_recovers(mirror, load)


@pytest.mark.slow
def test_truncated_answers(under_load, proxy):
    """Connections end in the middle of an answer: of the greeting, and later."""
    mirror, load = under_load(proxy.settings(CACHE_REDIS_RETRY_MAX="20ms"))
    for n_bytes in (0, 1, 3, 7, 8, 20, 100, 1000):
        proxy.cut_after(n_bytes)
        proxy.cut()
        before = proxy.n_accepted
        wait_until(lambda: proxy.n_accepted > before + 2, "new connections are cut, too")
        load.go_on(20)
    proxy.pass_on()
    check_recovers(mirror, load)


@pytest.mark.parametrize("server", ["cache", "cache_lru"])
def test_full(under_load, redis, server):
    """maxmemory is reached and nothing may be evicted: writing is refused, reading goes on."""
    settings = redis.settings(server.upper(), **({} if server == "cache" else {"CACHE_LRU_REDIS_USE": "always"}))
    n_links, keys = {"cache": (3, "*:tag:*"), "cache_lru": (2, "*:blob:*")}[server]
    mirror, load = under_load(settings, n_up=0)
    wait_up(mirror, server, n_links)
    redis.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
    redis.ask("CONFIG", "SET", "maxmemory", "1")
    redis.ask("FLUSHALL")
    mirror.wait_metric(failures("refused", server), 1)
    mirror.wait_for_log("redis %s: .*OOM" % server)
    load.go_on()
    assert mirror.metric('mirrord_redis_connections{server="%s"}' % server) == n_links
    redis.ask("CONFIG", "SET", "maxmemory", "0")
    wait_until(lambda: redis.keys(keys), "it is written again")


def test_restarting(under_load, redis):
    """Again and again; while it is away its port refuses."""
    mirror, load = under_load(redis.settings(CACHE_REDIS_RETRY_MAX="100ms"))
    for _ in range(3):
        redis.stop()
        wait_down(mirror)
        load.go_on(20)
        redis.start()
        wait_up(mirror, n=3)
        load.go_on(20)
    check_recovers(mirror, load)


def test_loading(under_load, make_redis):
    """Just started, it says so to everybody until it has read its file: then it does not count as being there."""
    redis = make_redis()
    redis.ask("EVAL", "for i=1,200000 do redis.call('SET','k'..i,i) end", 0)
    redis.ask("SAVE")
    redis.stop()
    # Minutes, if nobody ended it.
    redis.arguments += ["--key-load-delay", "1500", "--loading-process-events-interval-bytes", "1024"]
    redis.start()
    mirror, load = under_load(redis.settings(CACHE_REDIS_RETRY_MAX="50ms"), n_up=0)
    mirror.wait_for_log("it refuses: LOADING")
    load.go_on()
    assert mirror.metric('mirrord_redis_connections{server="cache"}') == 0


def test_flushed(under_load, redis, fake):
    """What was there is missing, and nothing else: no connection fails, nothing counts as wrong. The upstream is away, too;
    the storage has all of it."""
    mirror, load = under_load(redis.settings())
    wait_until(lambda: n_stored_tags(mirror) == N_TAGS, "all tags are stored")
    wait_until(lambda: all(mirror.has_blob(image.digest) for image in IMAGES), "and their manifests")
    fake.refuse()
    misses = 'mirrord_meta_lookups_total{cache="cache",result="miss"}'
    for _ in range(20):
        redis.ask("FLUSHALL")
        before = mirror.metric(misses)
        load.go_on(10)
        wait_until(lambda: mirror.metric(misses) > before, "something is missing")
    assert mirror.metric(wrong()) == 0
    assert mirror.metric('mirrord_redis_connections{server="cache"}') == 3
    for reason in ("refused", "timeout", "lost"):
        assert mirror.metric(failures(reason)) == 0


def test_slow_at_times(under_load, redis):
    """Slower than usual, and quicker than the timeout: answers are waited for, no connection is given up."""
    mirror, load = under_load(redis.settings())
    before = mirror.metric(SENT)
    for _ in range(20):
        redis.ask("CLIENT", "PAUSE", 30)
        load.go_on(10)
    assert mirror.metric(SENT) > before
    assert mirror.metric(failures("timeout")) == 0
    assert mirror.metric('mirrord_redis_connections{server="cache"}') == 3


def test_dead(under_load, redis):
    """Killed in the midst of it, and away for long: as long as it is, nothing is asked of it."""
    mirror, load = under_load(redis.settings(CACHE_REDIS_RETRY_MAX="100ms"))
    redis.process.send_signal(signal.SIGKILL)
    redis.process.wait()
    wait_down(mirror)
    sent, skipped = mirror.metric(SENT), mirror.metric(SKIPPED)
    load.go_on(200)
    assert mirror.metric(SENT) == sent
    assert mirror.metric(SKIPPED) > skipped
    assert mirror.admin("/healthz").json()["status"] == "ok"
    redis.stop()
    redis.start()
    check_recovers(mirror, load)


def test_dead_at_the_start(under_load, redis):
    """The daemon starts without it and picks it up later."""
    redis.stop()
    mirror, load = under_load(redis.settings(CACHE_REDIS_RETRY_MAX="100ms"), n_up=0)
    load.go_on()
    assert mirror.admin("/healthz").json()["status"] == "ok"
    redis.start()
    check_recovers(mirror, load)


def test_frozen(under_load, redis):
    """The process is stopped (SIGSTOP): the kernel takes connections, nobody answers."""
    mirror, load = under_load(redis.settings(CACHE_REDIS_TIMEOUT="300ms", CACHE_REDIS_RETRY_MAX="100ms"))
    redis.process.send_signal(signal.SIGSTOP)
    try:
        wait_down(mirror)
        load.go_on()
    finally:
        redis.process.send_signal(signal.SIGCONT)
    check_recovers(mirror, load)


def test_unknown_host(under_load):
    """The name cannot be looked up, or that takes for ever: it is nobody's business."""
    mirror, load = under_load({"CACHE_REDIS_HOST": "redis.invalid", "CACHE_REDIS_PORT": 6379,
                               "CACHE_REDIS_RETRY_MAX": "50ms"}, n_up=0)
    mirror.wait_for_log("redis cache: redis.invalid: ")
    load.go_on()


@pytest.mark.slow
def test_objects_fail(under_load, proxy):
    """The same for small objects, where the body of a manifest is looked for."""
    mirror, load = under_load(proxy.settings("CACHE_LRU", CACHE_LRU_REDIS_USE="always", CACHE_REDIS_TIMEOUT="300ms",
                                             CACHE_REDIS_RETRY_MAX="50ms"), n_up=0)
    for harm in (proxy.stall, proxy.cut, lambda: proxy.corrupt(lambda data: data[::-1]), proxy.refuse):
        wait_up(mirror, "cache_lru", 2)
        harm()
        load.go_on()
        proxy.pass_on()
    wait_up(mirror, "cache_lru", 2)


@pytest.mark.parametrize("harm", ["stall", "cut", "corrupt", "refuse", "die"])
def test_configurations_while_objects_fail(make_mirror, fake, redis, proxy, harm):
    """Each is asked for once, while Redis, which has them all, fails in the midst of it: found there or not, all are right."""
    images = [simple(seed) for seed in range(100, 160)]
    for n, image in enumerate(images):
        fake.add_image(image, REPOSITORY, "t%d" % n)
        data = image.blobs[image.config["digest"]].data
        redis.ask("SET", "mirrord:1:blob:" + image.config["digest"], data)
    mirror = make_mirror(fake, **proxy.settings("CACHE_LRU", CACHE_LRU_REDIS_USE="always", CACHE_REDIS_TIMEOUT="300ms",
                                                CACHE_REDIS_RETRY_MAX="50ms"))
    wait_up(mirror, "cache_lru", 2)
    for n, image in enumerate(images):
        assert mirror.get(manifest_path("t%d" % n)).status == 200
        mirror.wait_linked(image.config["digest"])
    harms = {"stall": proxy.stall, "cut": proxy.cut, "corrupt": lambda: proxy.corrupt(lambda data: data[::-1]),
             "refuse": proxy.refuse, "die": redis.stop}
    todo, wrong, lock = list(images), [], threading.Lock()

    def run():
        while True:
            with lock:
                if not todo:
                    return
                image = todo.pop()
                if len(todo) == len(images) // 2:
                    harms[harm]()
            digest = image.config["digest"]
            try:
                response = mirror.blob(digest)
                if (response.status, response.body) != (200, image.blobs[digest].data):
                    wrong.append((digest, response.status, response.body[:100]))
            except Exception as e:
                wrong.append((digest, repr(e)))

    found = 'mirrord_meta_lookups_total{cache="cache_lru",result="hit"}'
    while mirror.metric(found) == 0:
        assert mirror.blob(todo.pop().config["digest"]).status == 200
    threads = [threading.Thread(target=run) for _ in range(N_CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
        assert not thread.is_alive(), "a request is not answered"
    assert not wrong, wrong[:3]
    # Cut connections are there again at once.
    assert harm == "cut" or fake.count("/blobs/") > 0


def test_few_in_flight(under_load, redis):
    """More is asked than may be under way: the rest goes on without Redis."""
    mirror, load = under_load(redis.settings(CACHE_REDIS_IN_FLIGHT_MAX=1))
    mirror.wait_metric(SKIPPED, 1)
    load.go_on()


@pytest.mark.parametrize("is_stalled", [False, True])
def test_stop_while_redis_is_asked(make_mirror, fake, redis, proxy, is_stalled):
    """An orderly end with questions under way, under load."""
    for tag in range(N_TAGS):
        fake.add_image(IMAGES[tag % len(IMAGES)], REPOSITORY, "t%d" % tag)
    mirror = make_mirror(fake, LOGLEVEL="info", STORE_METADATA_MEMORY="64KiB",
                         **{**proxy.settings(), **proxy.settings("CACHE_LRU")}, CACHE_LRU_REDIS_USE="always")
    wait_up(mirror, n=3)
    wait_up(mirror, "cache_lru", 2)
    if is_stalled:
        proxy.stall()
    clients = []
    for tag in range(40):
        client = mirror.client()
        client.request(manifest_path("t%d" % tag))
        clients.append(client)
    mirror.wait_metric(SENT, 10)
    mirror.process.send_signal(signal.SIGTERM)
    mirror.wait_for_log("stopping: ")
    mirror.stop()
    for client in clients:
        client.close()
