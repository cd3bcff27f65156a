"""Measuring: the load generators, CPU time and memory of a server's processes, medians."""
import json
import os
import re
import statistics
import subprocess

from content import Failure
from lib.images import ALL_MANIFESTS

TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")
UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}
ACCEPT = "Accept: " + ALL_MANIFESTS


def cpu_s(server):
    """User and system time so far of all its processes."""
    total = 0
    for pid in server.pids():
        with open("/proc/%d/stat" % pid) as stat:
            words = stat.read().rpartition(")")[2].split()
        total += int(words[11]) + int(words[12])
    return total * TICK_S


def status_bytes(server, field):
    total = 0
    for pid in server.pids():
        with open("/proc/%d/status" % pid) as status:
            total += int(re.search(r"^%s:\s+(\d+)" % field, status.read(), re.M)[1]) * 1024
    return total


def reset_peak(server):
    """Peak resident memory counts anew from here."""
    for pid in server.pids():
        with open("/proc/%d/clear_refs" % pid, "w") as clear:
            clear.write("5")


class Load:
    """The load generator, running: connections to one target of one server."""

    def __init__(self, program, server, target, *options):
        self.server, self.target = server, target
        self.child = subprocess.Popen([program, *map(str, options), "-H", ACCEPT, "127.0.0.1", str(server.port), target],
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def wait_started(self):
        """Every connection has got the first byte of a body."""
        line = self.child.stdout.readline()
        if line != "started\n":
            raise Failure("%s: the load did not start: %s" % (self.server.name, line + self.child.stderr.read()))

    def result(self):
        output, errors = self.child.communicate()
        lines = output.splitlines()
        if not lines or not lines[-1].startswith("{"):
            raise Failure("load: " + errors)
        result = json.loads(lines[-1])
        if result["errors"]:
            raise Failure("%s, %s: %d failed, the first: %s" % (
                self.server.name, self.target, result["errors"], result["error"]))
        return result

    def stop(self):
        self.child.terminate()
        return self.result()


def run_load(program, server, target, *options):
    """The load generator's result, with the server's CPU time beside it."""
    before = cpu_s(server)
    result = Load(program, server, target, *options).result()
    result["server_cpu_s"] = cpu_s(server) - before
    return result


def in_seconds(text):
    found = re.fullmatch(r"([\d.]+)([a-z]+)", text)
    if not found:
        raise Failure("wrk says of a time: " + text)
    return float(found[1]) * UNITS[found[2]]


def run_wrk(server, target, connections, duration_s):
    """Requests per second, latency and the server's CPU time."""
    before = cpu_s(server)
    done = subprocess.run(["wrk", "-t2", "-c%d" % connections, "-d%gs" % duration_s, "--latency", "-H", ACCEPT,
                           "http://127.0.0.1:%d%s" % (server.port, target)], capture_output=True, text=True)
    spent = cpu_s(server) - before
    if done.returncode != 0 or re.search(r"Non-2xx|Socket errors: (?!connect 0, read 0, write 0)", done.stdout):
        raise Failure("%s, %s: %s" % (server.name, target, done.stdout + done.stderr))
    return {
        "rate": float(re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)[1]),
        "requests": int(re.search(r"(\d+) requests in", done.stdout)[1]),
        "p99_s": in_seconds(re.search(r"^\s*99%\s+(\S+)$", done.stdout, re.M)[1]),
        "server_cpu_s": spent,
    }


def take_turns(servers, target, connections, duration_s, is_odd):
    """{key: results} of two servers, in the order A, B, B, A, or the other way round: what grows or fades meanwhile, and
    what comes first, is the same for both."""
    one, two = servers if is_odd else reversed(servers)
    results = {one: [], two: []}
    for key in (one, two, two, one):
        results[key].append(run_wrk(servers[key], target, connections, duration_s))
    return results


def mean_rate(results):
    return sum(result["rate"] for result in results) / len(results)


def median(values):
    return statistics.median(values) if values else None
