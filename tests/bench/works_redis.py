"""The work that shows what Redis costs where it is not needed: warm manifests with a Redis server, beside the same daemon
without one."""
import os

from content import Failure, verify
from lib.redis import Redis, wait_up
from measure import mean_rate, run_wrk, take_turns
from servers import MirrorServer
from table import Row

SENT = 'mirrord_redis_requests_total{server="cache",result="sent"}'
CPU_UNIT = "s per million requests"


def start(bench, targets, settings):
    """A young daemon that has all of it in memory, and has been asked for a while."""
    server = bench.start("mirror", lambda folder: MirrorServer(folder, bench.upstream, {**bench.settings, **settings}))
    if settings:
        wait_up(server.mirror, n=(os.cpu_count() or 1) + 1)
    verify(server, targets, bench.content.expected())
    server.wait_kept(bench.content.image.digest)
    for target in targets:
        run_wrk(server, target, bench.connections[0], bench.wrk_s)
    return server


def check_warm(server, before):
    """What was measured is memory, with Redis there: nothing was asked of it but by the clock."""
    metrics = server.mirror.metrics()
    if not metrics['mirrord_redis_connections{server="cache"}'] or metrics[SENT] != before:
        raise Failure("the mirror with Redis was not warm, or had lost it")


def measure_round(bench, settings, is_odd, rows):
    """Both daemons are new in each round: where one of them happens to lie in memory is not what is measured."""
    targets = [target for target, _ in rows]
    servers = {}
    for is_on in (is_odd, not is_odd):
        servers[is_on] = start(bench, targets, settings if is_on else {})
    before = servers[True].mirror.metric(SENT)
    for target, row in rows:
        results = take_turns(servers, target, bench.connections[0], bench.wrk_s, is_odd)
        for is_on, found in results.items():
            for result in found:
                row[is_on].add("mirrord", result["rate"], result["server_cpu_s"] / result["requests"] * 1e6)
        row["ratio"].add("mirrord", mean_rate(results[True]) / mean_rate(results[False]))
    check_warm(servers[True], before)
    for server in servers.values():
        server.stop()
        bench.forget(server)


def rows_of(bench, what):
    title = "warm manifest by %s, %d connections, " % (what, bench.connections[0])
    return {True: Row(title + "Redis on", "requests/s", cpu_unit=CPU_UNIT),
            False: Row(title + "without Redis", "requests/s", cpu_unit=CPU_UNIT),
            "ratio": Row(title + "Redis on ÷ without", "", None, "≥ 0.95", lambda value: value >= 0.95,
                         note="median of one ratio per round")}


def redis_front(bench):
    redis = Redis(bench.new_folder("redis")).start()
    settings = {name: str(value) for name, value in redis.settings().items()}
    rows = [(bench.content.by_tag, rows_of(bench, "tag")), (bench.content.by_digest, rows_of(bench, "digest"))]
    try:
        for n in range(bench.n_rounds):
            measure_round(bench, settings, n % 2 == 0, rows)
    finally:
        redis.stop()
    return [row for _, made in rows for row in made.values()]


REDIS = {"redis": redis_front}
