"""The works in which clients push: each round has a new server with an empty folder on the same file system."""
import hashlib
import json
import os
import subprocess

from content import BlobFile, Failure, fetch
from measure import cpu_s, reset_peak, status_bytes
from servers import MirrorServer, Registry
from table import GIB, MIB, Row

REPOSITORY = "bench/push"
SUFFIX_BYTES = 16    # what push.c makes blobs distinct with


def make_mirror(bench):
    return bench.start("push-mirror", lambda folder: MirrorServer(folder, None, bench.settings))


def make_registry(bench):
    return bench.start("push-registry", Registry)


def run_push(bench, server, path, connections, n_blobs):
    """The load generator's result, with the server's CPU time and peak memory beside it."""
    # What was written before must not be written out at the cost of this one.
    os.sync()
    reset_peak(server)
    before = cpu_s(server)
    done = subprocess.run([bench.push, "-c", str(connections), "-n", str(n_blobs), "127.0.0.1", str(server.port),
                           REPOSITORY, path], capture_output=True, text=True)
    if done.returncode > 1 or not done.stdout:
        raise Failure("push: " + done.stderr)
    result = json.loads(done.stdout)
    if result["errors"] or result["blobs"] != n_blobs:
        raise Failure("%s: %d of %d blobs were pushed: %s" % (server.name, result["blobs"], n_blobs, result["error"]))
    result["server_cpu_s"] = cpu_s(server) - before
    result["peak_bytes"] = status_bytes(server, "VmHWM")
    return result


def digests_of(path, n_blobs):
    with open(path, "rb") as base:
        common = hashlib.sha256()
        left = os.path.getsize(path) - SUFFIX_BYTES
        while left > 0:
            data = base.read(min(MIB, left))
            common.update(data)
            left -= len(data)
    found = []
    for number in range(n_blobs):
        hashed = common.copy()
        hashed.update(b"%0*x" % (SUFFIX_BYTES, number))
        found.append("sha256:" + hashed.hexdigest())
    return found


def check_kept(server, digests, size):
    """All are stored with their size; the last has the right bytes."""
    for digest in digests:
        path = server.blob_file(digest)
        if not os.path.exists(path) or os.path.getsize(path) != size:
            raise Failure("%s has not kept %s" % (server.name, digest))
    target = "/v2/%s/blobs/%s" % (REPOSITORY, digests[-1])
    if fetch(server.port, target)[1] != digests[-1]:
        raise Failure("%s keeps wrong bytes of %s" % (server.name, digests[-1]))


def compare(bench, blob, connections, n_blobs, rows):
    """Both servers in turns, into the rows of a pair; every push is checked after its time is taken."""
    digests = digests_of(blob.path, n_blobs)
    # A round takes seconds, not one: three of them give a median.
    for _ in range(min(bench.n_rounds, 3)):
        for make in (make_mirror, make_registry):
            server = make(bench)
            try:
                result = run_push(bench, server, blob.path, connections, n_blobs)
                check_kept(server, digests, blob.size)
            finally:
                server.stop()
                bench.forget(server)
            cpu = result["server_cpu_s"] / result["bytes"] * GIB
            rows[0].add(server.name, result["blobs"] / result["elapsed_s"] * (
                blob.size / MIB if rows[0].unit == "MiB/s" else 1), cpu)
            rows[0].add_peak(server.name, result["peak_bytes"])
            rows[1].add(server.name, cpu)
    return rows


def pair(work, unit):
    """The rate, and the CPU time that it takes."""
    return (Row(work, unit, "docker-registry", "≥ 2 × docker-registry", lambda value: value >= 2.0, "s per GiB"),
            Row(work + ", CPU time", "s per GiB", "docker-registry", "≤ 0.5 × docker-registry", lambda value: value <= 0.5))


def push_big(bench):
    """One large blob, one client."""
    blob = bench.push_file("huge")
    yield from compare(bench, blob, 1, 1, pair("push of one %s blob" % size_text(blob.size), "MiB/s"))


def push_small(bench):
    """Many small blobs over a few connections."""
    blob, n = bench.push_file("small"), bench.n_push_small
    yield from compare(bench, blob, 8, n, pair("push of %d blobs of %s, 8 connections" % (n, size_text(blob.size)),
                                               "blobs/s"))


def push_memory(bench):
    """Resident memory while many large blobs come at once. It hardly differs from round to round."""
    blob, n = bench.push_file("big"), bench.n_push_memory
    row = Row("resident memory, %d pushes of %s at once" % (n, size_text(blob.size)), "MiB", None, "≤ 64 MiB",
              lambda value: value <= 64.0, "s per GiB")
    server = make_mirror(bench)
    try:
        result = run_push(bench, server, blob.path, n, n)
        check_kept(server, digests_of(blob.path, n), blob.size)
    finally:
        server.stop()
        bench.forget(server)
    row.add(server.name, result["peak_bytes"] / MIB, result["server_cpu_s"] / result["bytes"] * GIB)
    row.note = "%.0f MiB/s" % (result["bytes"] / result["elapsed_s"] / MIB)
    yield row


def size_text(size):
    return "%d GiB" % (size // GIB) if size >= GIB else "%d MiB" % (size // MIB) if size >= MIB else "%d KiB" % (size >> 10)


def push_file(folder, name, size):
    os.makedirs(folder, exist_ok=True)
    return BlobFile(folder, "push-" + name, size, size)


PUSHES = {"push-big": push_big, "push-small": push_small, "push-memory": push_memory}
