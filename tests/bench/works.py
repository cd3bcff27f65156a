"""The works: each measures one thing on all servers it concerns, in turns, and gives rows of the table."""




import time

from content import Failure, verify
from measure import Load, cpu_s, median, reset_peak, run_load, run_wrk, status_bytes
from servers import Front
from table import GIB, MIB, Row

MS = 1000.0
AT_LEAST_NGINX = "≥ 1.0 × nginx"
NO_MORE_CPU = "≤ 1.0 × nginx"


def at_least(limit):
    return lambda value: value >= limit


def at_most(limit):
    return lambda value: value <= limit


def rounds(bench, servers, row, step):
    """step(server) → (figure, cpu) for each server in turns, round by round; memory peaks go to the row."""
    for server in servers:
        reset_peak(server)
    for _ in range(bench.n_rounds):
        for server in servers:
            row.add(server.name, *step(server))
    for server in servers:
        row.add_peak(server.name, status_bytes(server, "VmHWM"))
    return row


# --- warm ----------------------------------------------------------------------------------------


def manifest(bench):
    """A manifest that is here, by tag and by digest."""
    servers = [bench.mirror, bench.nginx]
    for what, target in (("tag", bench.content.by_tag), ("digest", bench.content.by_digest)):
        for connections in bench.connections:
            row = Row("warm manifest by %s, %d connections" % (what, connections), "requests/s", "nginx",
                      AT_LEAST_NGINX, at_least(1.0), "s per million requests")
            is_first = what == "tag" and connections == bench.connections[0]

            def step(server):
                result = run_wrk(server, target, connections, bench.wrk_s)
                return result["rate"], result["server_cpu_s"] / result["requests"] * 1e6

            yield rounds(bench, servers + ([bench.proxy] if is_first else []), row, step)


def cpu_row(row, work):
    """CPU time as a row of its own, where a goal asks for it."""
    return Row(work, row.cpu_unit, "nginx", NO_MORE_CPU, at_most(1.0), figures=row.cpu)


def small_blob(bench):
    """A blob of 64 KiB, kept-alive connections."""
    row = Row("warm 64 KiB blob, 32 connections", "requests/s", "nginx", AT_LEAST_NGINX, at_least(1.0),
              "s per GiB")

    def step(server):
        result = run_load(bench.load, server, bench.content.blobs["small"].target, "-c32", "-n0", "-d", bench.load_s)
        return result["requests"] / result["elapsed_s"], result["server_cpu_s"] / result["bytes"] * GIB

    yield rounds(bench, [bench.mirror, bench.nginx, bench.proxy], row, step)
    yield cpu_row(row, "warm 64 KiB blob, CPU time")


def big_blob(bench):
    """A large blob to several clients at once, again and again."""
    blob = bench.content.blobs["big"]
    row = Row("warm %d MiB blob, 8 clients" % (blob.size // MIB), "MiB/s", "nginx", AT_LEAST_NGINX, at_least(1.0),
              "s per GiB")

    def step(server):
        result = run_load(bench.load, server, blob.target, "-c8", "-n0", "-d", bench.load_s)
        return result["bytes"] / result["elapsed_s"] / MIB, result["server_cpu_s"] / result["bytes"] * GIB

    yield rounds(bench, [bench.mirror, bench.nginx, bench.proxy], row, step)
    yield cpu_row(row, "warm %d MiB blob, CPU time" % (blob.size // MIB))


# --- cold ----------------------------------------------------------------------------------------


def begin_pull(bench, server):
    """Every pull begins with the manifest: then the server knows its upstream, as a client that asks directly does."""
    verify(server, [bench.content.by_tag], bench.content.expected())


def cold_get(bench, make, blob, row):
    """One client, one blob, on a server that has nothing yet. Returns the server's name and the load's result, with the
    time and the CPU time until the blob is under its final name, too."""
    server = make()
    try:
        begin_pull(bench, server)
        spent, begin = cpu_s(server), time.monotonic()
        result = run_load(bench.load, server, blob.target)
        row.add_peak(server.name, status_bytes(server, "VmHWM"))
        server.wait_kept(blob.digest)
        result["kept_s"], result["kept_cpu_s"] = time.monotonic() - begin, cpu_s(server) - spent
        return server.name, result
    finally:
        server.stop()
        bench.forget(server)


def verify_cold(bench, upstream, blob, connections):
    """What a cold download delivers is compared byte by byte once, where no time is taken."""
    server = bench.cold_mirror(upstream)
    try:
        run_load(bench.load, server, blob.target, "-c", connections, "-m", blob.path)
        server.wait_kept(blob.digest)
        verify(server, [blob.target], bench.content.expected())
    finally:
        server.stop()
        bench.forget(server)


def cold_limited(bench):
    """A cold blob whose upstream is held to 1 Gbit/s, beside the direct download."""
    blob = bench.content.blobs["big"]
    front = Front(bench.new_folder("front"), bench.upstream, 125000000)
    work = "cold %d MiB blob, upstream at 1 Gbit/s" % (blob.size // MIB)
    whole = Row(work, "s", "upstream", "≤ 1.05 × direct", at_most(1.05), "s per GiB")
    first = Row("first byte of it", "ms")
    later = Row("first byte later than the upstream's", "ms", None, "≤ 5 ms", at_most(5.0))
    try:
        verify_cold(bench, front, blob, 1)
        for _ in range(bench.n_rounds):
            direct = run_load(bench.load, front, blob.target)
            _, result = cold_get(bench, lambda: bench.cold_mirror(front), blob, whole)
            whole.add("upstream", direct["request_s"]["max"])
            whole.add("mirrord", result["request_s"]["max"], result["server_cpu_s"] / result["bytes"] * GIB)
            first.add("upstream", direct["first_byte_s"]["p50"] * MS)
            first.add("mirrord", result["first_byte_s"]["p50"] * MS)
        later.add("mirrord", first.median("mirrord") - first.median("upstream"))
    finally:
        front.stop()
    yield from (whole, first, later)


def cold_unlimited(bench):
    """A cold blob as fast as loopback brings it, beside docker-registry's proxy."""
    blob = bench.content.blobs["big"]
    work = "cold %d MiB blob, upstream unlimited, " % (blob.size // MIB)
    row = Row(work + "client", "MiB/s", "docker-registry", "≥ 2 × docker-registry", at_least(2.0), "s per GiB")
    kept = Row(work + "until kept", "MiB/s", "docker-registry", "≥ 2 × docker-registry", at_least(2.0), "s per GiB")

    def rate(result):
        return result["bytes"] / result["elapsed_s"] / MIB

    for _ in range(bench.n_rounds):
        for make in (lambda: bench.cold_mirror(bench.upstream), bench.cold_proxy):
            name, result = cold_get(bench, make, blob, row)
            row.add(name, rate(result), result["server_cpu_s"] / result["bytes"] * GIB)
            kept.add(name, blob.size / result["kept_s"] / MIB, result["kept_cpu_s"] / blob.size * GIB)
        row.add("upstream", rate(run_load(bench.load, bench.upstream_server, blob.target)))
    yield from (row, kept)


def stampede(bench):
    """Many clients at once on a cold blob: one fetch, and hardly later than when it is warm."""
    blob, n = bench.content.blobs["middle"], bench.n_stampede
    front = Front(bench.new_folder("front"), bench.upstream)
    size = "%d clients at once, %d MiB blob, " % (n, blob.size // MIB)
    last = Row(size + "cold ÷ warm, last client", "", None, "≤ 1.2", at_most(1.2))
    cold = Row(size + "cold: last client", "s", cpu_unit="s per GiB")
    warm = Row(size + "warm: last client", "s", cpu_unit="s per GiB")
    gets = Row("upstream GETs for the cold one", "", None, "= 1", lambda value: value == 1)
    sent = Row("upstream bytes ÷ blob bytes", "", None, "= 1", lambda value: value == 1)

    def run(server, row):
        result = run_load(bench.load, server, blob.target, "-c", n)
        row.add(server.name, result["request_s"]["max"], result["server_cpu_s"] / result["bytes"] * GIB)
        row.add_peak(server.name, status_bytes(server, "VmHWM"))

    try:
        verify_cold(bench, front, blob, min(n, 50))
        front.new_requests(blob.target)
        for _ in range(bench.n_rounds):
            server = bench.cold_mirror(front)
            begin_pull(bench, server)
            run(server, cold)
            server.wait_kept(blob.digest)
            run(server, warm)
            server.stop()
            bench.forget(server)
            run(bench.nginx, warm)
            n_gets, n_bytes = front.new_requests(blob.target)
            gets.add("mirrord", n_gets)
            sent.add("mirrord", n_bytes / blob.size)
    finally:
        front.stop()
    # Not a median: it must be so every time.
    gets.figures["mirrord"] = [max(gets.figures["mirrord"])]
    sent.figures["mirrord"] = [max(sent.figures["mirrord"], key=lambda value: abs(value - 1))]
    last.add("mirrord", cold.median("mirrord") / warm.median("mirrord"))
    yield from (cold, warm, last, gets, sent)


# --- memory --------------------------------------------------------------------------------------


def memory(bench):
    """Resident memory, idle and with many slow downloads."""
    own = []
    start = Row("resident memory after the start", "MiB", None, "≤ 10 MiB", at_most(10.0))
    used = Row("resident memory after the first requests", "MiB", None, "≤ 10 MiB", at_most(10.0))
    title = "resident memory, %d slow downloads, " % bench.n_slow
    warm = Row(title + "warm", "MiB", None, "≤ 40 MiB", at_most(40.0))
    cold = Row(title + "cold", "MiB", None, "≤ 40 MiB", at_most(40.0))
    # It hardly differs from round to round.
    n_rounds = min(bench.n_rounds, 3)
    for _ in range(n_rounds):
        server = bench.cold_mirror(bench.upstream)
        try:
            start.add("mirrord", status_bytes(server, "VmRSS") / MIB)
            verify(server, bench.content.expected(), bench.content.expected())
            for blob in bench.content.blobs.values():
                server.wait_kept(blob.digest)
            used.add("mirrord", status_bytes(server, "VmRSS") / MIB)
            own.append(status_bytes(server, "RssAnon") / MIB)
        finally:
            server.stop()
            bench.forget(server)
        warm.add("mirrord", slow_peak(bench, bench.mirror) / MIB)
        warm.add("nginx", slow_peak(bench, bench.nginx) / MIB)
    used.note = "%.1f MiB of it are its own, the rest are pages of the program and of shared libraries" % median(own)
    for _ in range(n_rounds):
        cold.add("mirrord", cold_slow_peak(bench) / MIB)
    yield from (start, used, warm, cold)


def slow_peak(bench, server):
    """The most resident memory while every one of many slow clients is in the middle of the big blob."""
    reset_peak(server)
    load = Load(bench.load, server, bench.content.blobs["big"].target, "-c", bench.n_slow, "-n1", "-r", 200000, "-b", 65536)
    load.wait_started()
    time.sleep(bench.slow_s)
    result = load.stop()
    if result["requests"]:
        raise Failure("slow downloads of %s ended before they were measured" % server.name)
    return status_bytes(server, "VmHWM")


def cold_slow_peak(bench):
    """The same of a new mirror, while the blob is still on its way there."""
    front = Front(bench.new_folder("front"), bench.upstream, 10 * MIB)
    server = bench.cold_mirror(front)
    try:
        return slow_peak(bench, server)
    finally:
        server.stop()
        front.stop()
        bench.forget(server)


# --- fairness ------------------------------------------------------------------------------------


def latency(bench):
    """A tiny request beside downloads at full speed."""
    blob = bench.content.blobs["big"]
    names = {"/v2/": "GET /v2/", bench.content.by_tag: "manifest"}
    ranks = ("p50", "p99", "max")
    rows = {(target, rank): Row("%s beside 8 downloads, %s" % (names[target], rank), "ms")
            for target in names for rank in ranks}
    for target in names:
        rows[target, "p99"].goal, rows[target, "p99"].is_met = "< 10 ms", lambda value: value < 10.0
    alone = Row("GET /v2/ alone, p99", "ms", note="what the machine itself delays")
    beside = Row("those downloads", "MiB/s", "nginx", cpu_unit="s per GiB")

    def ask(server, target):
        return run_load(bench.load, server, target, "-c4", "-n0", "-i0.005", "-d", bench.load_s)

    for _ in range(bench.n_rounds):
        for server in (bench.mirror, bench.nginx):
            alone.add(server.name, ask(server, "/v2/")["request_s"]["p99"] * MS)
            before = cpu_s(server)
            downloads = Load(bench.load, server, blob.target, "-c8", "-n0", "-d600")
            downloads.wait_started()
            for target in names:
                result = ask(server, target)
                for rank in ranks:
                    rows[target, rank].add(server.name, result["request_s"][rank] * MS)
            result = downloads.stop()
            beside.add(server.name, result["bytes"] / result["elapsed_s"] / MIB,
                       (cpu_s(server) - before) / result["bytes"] * GIB)
    yield alone
    yield from rows.values()
    yield beside


WORKS = {
    "manifest": manifest, "small-blob": small_blob, "big-blob": big_blob, "cold-limited": cold_limited,
    "cold-unlimited": cold_unlimited, "stampede": stampede, "memory": memory, "latency": latency,
}
