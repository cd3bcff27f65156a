"""Works on a store of very many blobs: how it starts, what it costs in memory, how it serves, and how it evicts."""
import json
import os
import signal
import subprocess
import time

from content import Failure
from lib import rawhttp
from lib.mirror import Mirror
from measure import Load, mean_rate, run_load, run_wrk, status_bytes, take_turns
from servers import Server
from table import MIB, Row
from works import MS, at_least, at_most

TARGET = "/v2/bench/r00000/manifests/v0"
UPSTREAM = "127.0.0.1:1"    # nobody: all that is asked for is here
FEW = 1000
WAIT_S = 3600
# Of what is there, this share goes in each round.
EVICTED = 0.15


class ManyServer(Server):
    """The daemon on a written store. Its limit stands in a file, so that it can be changed while it runs."""

    def __init__(self, folder, settings, name="mirrord"):
        self.limit_file = os.path.join(folder, "limit.yml")
        self.folder = folder
        self.set_limit(None)
        self.mirror = Mirror(folder, "http://" + UPSTREAM, ["-c", self.limit_file], **{
            "LOGLEVEL": "info", "REGISTRY_WORKERS": None,
            "REGISTRY_ACCESS_LOG_FILE": os.path.join(folder, "access.log"), **settings})
        super().__init__(name, self.mirror.port, None)

    def set_limit(self, n_bytes):
        with open(self.limit_file, "w") as output:
            output.write("local: {storage: local, cache_max_size: %s, cache_high_water: 100%%, cache_low_water: 99%%}\n" % (
                "~" if n_bytes is None else n_bytes))

    def start(self):
        """Returns how long it took from the start to the first answer about an image."""
        begin = time.monotonic()
        self.mirror.launch()
        self.process = self.mirror.process
        while True:
            try:
                if rawhttp.get(self.mirror.address, TARGET).status == 200:
                    return time.monotonic() - begin
                raise Failure("the store does not serve %s" % TARGET)
            except OSError:
                if not self.process.is_running() or time.monotonic() - begin > WAIT_S:
                    raise Failure("mirrord does not start:\n" + self.process.log()[-2000:])
                time.sleep(0.001)

    def stop(self):
        if not self.process.is_running():
            raise Failure("mirrord ended by itself:\n" + self.process.log()[-2000:])
        self.mirror.stop(timeout_s=WAIT_S)

    def ask(self, path):
        return json.loads(self.mirror.admin(path).body)

    def wait(self, path, is_so, every_s=0.05):
        """The first report of this kind that is so."""
        deadline = time.monotonic() + WAIT_S
        while True:
            report = self.ask(path)
            if is_so(report):
                return report
            if time.monotonic() > deadline:
                raise Failure("mirrord still says %r" % report)
            time.sleep(every_s)

    def wait_ready(self):
        """The ledger says what the storage says."""
        return self.wait("/ledger", lambda report: report["state"] == "ready")


def written(bench, name, n_blobs):
    """A folder with a store of so many blobs, made when a work first needs it: (folder, what is in it)."""
    stores = bench.__dict__.setdefault("stores", {})
    if name not in stores:
        folder = bench.new_folder(name)
        os.makedirs(folder)
        done = subprocess.run([bench.store, os.path.join(folder, "storage"), str(n_blobs), UPSTREAM],
                              capture_output=True, text=True)
        if done.returncode != 0:
            raise Failure("the store is not written: " + done.stderr)
        stores[name] = folder, json.loads(done.stdout)
        reindex(bench, name)
    return stores[name]


def reindex(bench, name):
    """The ledger is made from the storage, as at a first start. Kept for its row."""
    folder, store = bench.stores[name]
    server = ManyServer(folder, bench.settings)
    server.start()
    begin = time.monotonic()
    server.wait_ready()
    store["reindex_s"] = time.monotonic() - begin
    server.stop()


def many(bench):
    return written(bench, "many", bench.n_many)


def few(bench):
    return written(bench, "few", FEW)


def many_start(bench):
    """From the start of the process to an image, and what a blob costs in memory."""
    folder, store = many(bench)
    few_folder, _ = few(bench)
    title = "%d cached blobs: " % store["blobs"]
    start = Row(title + "from the start to the first image", "s", None, "< 1 s", lambda value: value < 1.0)
    indexing = Row(title + "the ledger made anew in the background", "s",
                   figures={"mirrord": [store["reindex_s"]]})
    comparing = Row(title + "the ledger compared with the storage in the background", "s")
    memory = Row(title + "own memory", "MiB")
    per_blob = Row(title + "own memory a blob", "B", None, "≤ 64 B", at_most(64.0),
                   note="what it has more than with %d blobs, after the ledger was compared" % FEW)
    for _ in range(bench.n_rounds if bench.n_many < 100000 else min(bench.n_rounds, 3)):
        own = {}
        for name, path in (("few", few_folder), ("many", folder)):
            server = ManyServer(path, bench.settings)
            took_s = server.start()
            begin = time.monotonic()
            server.wait_ready()
            own[name] = status_bytes(server, "RssAnon")
            if name == "many":
                start.add("mirrord", took_s)
                comparing.add("mirrord", time.monotonic() - begin)
                start.add_peak("mirrord", status_bytes(server, "VmHWM"))
            server.stop()
        memory.add("mirrord", own["many"] / MIB)
        per_blob.add("mirrord", max(0, own["many"] - own["few"]) / store["blobs"])
    yield from (start, indexing, comparing, memory, per_blob)


def many_warm(bench):
    """The same requests, warm, of a large and of a small store."""
    folder, store = many(bench)
    few_folder, few_store = few(bench)
    rates = {"few": Row("%d cached blobs: warm manifest" % few_store["blobs"], "requests/s"),
             "many": Row("%d cached blobs: warm manifest" % store["blobs"], "requests/s")}
    ratio = Row("many ÷ few", "", None, "≥ 0.95", at_least(0.95), note="median of one ratio per round")
    servers = {"few": ManyServer(few_folder, bench.settings), "many": ManyServer(folder, bench.settings)}
    try:
        for server in servers.values():
            server.start()
            server.wait_ready()
            run_wrk(server, TARGET, 32, bench.wrk_s)
        for n in range(bench.n_rounds):
            results = take_turns(servers, TARGET, 32, bench.wrk_s, n % 2 == 0)
            for name, found in results.items():
                for result in found:
                    rates[name].add("mirrord", result["rate"])
            ratio.add("mirrord", mean_rate(results["many"]) / mean_rate(results["few"]))
    finally:
        for server in servers.values():
            if server.process:
                server.stop()
    yield from (rates["few"], rates["many"], ratio)


def many_evict(bench):
    """The limit is lowered while it serves: how fast blobs go, and what a tiny request notices of it."""
    folder, store = many(bench)
    title = "%d cached blobs, limit lowered: " % store["blobs"]
    rate = Row(title + "evicted", "blobs/s", None, "≥ 5000", at_least(5000.0))
    alone = Row("GET /v2/ before that, p99", "ms")
    beside = {"/v2/": Row("GET /v2/ beside eviction, p99", "ms", None, "< 10 ms", lambda value: value < 10.0),
              TARGET: Row("manifest beside eviction, p99", "ms", None, "< 10 ms", lambda value: value < 10.0)}
    server = ManyServer(folder, bench.settings)
    server.start()
    try:
        server.wait_ready()
        rawhttp.get(server.mirror.admin_address, "/pins?image=bench/r00000", "POST", [("Content-Length", "0")])
        left = server.ask("/ledger")["bytes"]
        for _ in range(min(bench.n_rounds, 5)):
            alone.add("mirrord", run_load(bench.load, server, "/v2/", "-c4", "-n0", "-i0.005", "-d", bench.load_s)
                      ["request_s"]["p99"] * MS)
            before = server.ask("/evict")
            loads = {target: Load(bench.load, server, target, "-c4", "-n0", "-i0.005", "-d600") for target in beside}
            for load in loads.values():
                load.wait_started()
            left -= int(store["bytes"] * EVICTED)
            begin = time.monotonic()
            server.set_limit(left)
            server.process.send_signal(signal.SIGHUP)
            after = server.wait("/evict", lambda report: not report["running"]
                                and report["bytes_total"] > before["bytes_total"])
            took_s = time.monotonic() - begin
            for target, load in loads.items():
                beside[target].add("mirrord", load.stop()["request_s"]["p99"] * MS)
            rate.add("mirrord", (after["blobs_total"] - before["blobs_total"]) / took_s)
    finally:
        server.stop()
    yield from (rate, alone, *beside.values())


MANY = {"many-start": many_start, "many-warm": many_warm, "many-evict": many_evict}
