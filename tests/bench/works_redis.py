"""The work that shows what Redis costs where it is not needed: warm manifests with a Redis server, beside the same daemon
without one."""
from content import Failure
from lib.redis import Redis, wait_up
from measure import run_wrk
from servers import MirrorServer
from table import Row

SENT = 'mirrord_redis_requests_total{server="cache",result="sent"}'


def with_redis(bench, redis):
    """A mirror whose connections stand, warm."""
    settings = {name: str(value) for name, value in redis.settings().items()}
    server = bench.start("mirror", lambda folder: MirrorServer(
        folder, bench.upstream, {**bench.settings, **settings}))
    wait_up(server.mirror)
    return bench.warmed(server)


def check_warm(server, before):
    """What was measured is memory, with Redis there: nothing was asked of it but by the clock."""
    metrics = server.mirror.metrics()
    if not metrics['mirrord_redis_connections{server="cache"}'] or metrics[SENT] != before:
        raise Failure("the mirror with Redis was not warm, or had lost it")


def redis_front(bench):
    """In turns: the daemon with Redis, and without."""
    redis = Redis(bench.new_folder("redis")).start()
    try:
        server = with_redis(bench, redis)
        for what, target in (("tag", bench.content.by_tag), ("digest", bench.content.by_digest)):
            title = "warm manifest by %s, %d connections, " % (what, bench.connections[0])
            rows = {True: Row(title + "Redis on", "requests/s", cpu_unit="s per million requests"),
                    False: Row(title + "without Redis", "requests/s", cpu_unit="s per million requests")}
            ratio = Row(title + "Redis on ÷ without", "", None, "≥ 0.95", lambda value: value >= 0.95)
            before = server.mirror.metric(SENT)
            for n in range(bench.n_rounds):
                turns = [(True, server), (False, bench.mirror)]
                for is_on, measured in turns if n % 2 == 0 else reversed(turns):
                    result = run_wrk(measured, target, bench.connections[0], bench.wrk_s)
                    rows[is_on].add("mirrord", result["rate"], result["server_cpu_s"] / result["requests"] * 1e6)
            check_warm(server, before)
            ratio.add("mirrord", rows[True].median("mirrord") / rows[False].median("mirrord"))
            yield from (rows[True], rows[False], ratio)
    finally:
        redis.stop()


REDIS = {"redis": redis_front}
