"""Limits that change while a mirror runs, what it says of its ledger and its evictions, and the commands of an operator."""
import json
import os
import signal
import subprocess

from . import rawhttp
from .images import ALL_MANIFESTS, as_body
from .mirror import binary, blob_path, check_bytes, manifest_path
from .waiting import wait_until

LIMITS = ("cache_max_size", "cache_high_water", "cache_low_water", "cache_min_free", "cache_max_age")


def limit_file(mirror):
    return os.path.join(mirror.folder, "limits.yml")


def write_limits(mirror, **limits):
    assert set(limits) <= set(LIMITS), limits
    with open(limit_file(mirror), "w") as output:
        output.write("local: {%s}\n" % ", ".join(
            ["storage: local"] + ["%s: %s" % (name, "~" if value is None else value) for name, value in limits.items()]))


def with_limits(make_mirror, upstream, settings=(), **limits):
    """A running mirror whose limits stand in a file, so that set_limits can change them."""
    mirror = make_mirror(upstream, start=False, **dict(settings))
    write_limits(mirror, **limits)
    mirror.arguments = ["-c", limit_file(mirror)]
    return mirror.start()


def set_limits(mirror, **limits):
    """At run time; returns when they are in force."""
    before = mirror.log().count("configuration read again")
    write_limits(mirror, **limits)
    mirror.process.send_signal(signal.SIGHUP)
    wait_until(lambda: mirror.log().count("configuration read again") > before, "the configuration was read again")


# --- what it says --------------------------------------------------------------------------------


def ask(mirror, path, method="GET"):
    """(status, JSON) of its admin listener."""
    response = rawhttp.get(mirror.admin_address, path, method, [] if method == "GET" else [("Content-Length", "0")], timeout_s=60)
    return response.status, response.json()


def report(mirror):
    return ask(mirror, "/evict")[1]


def wait_ready(mirror, timeout_s=60):
    """The ledger has been compared with the storage: only then is anything evicted."""
    wait_until(lambda: mirror.metric("mirrord_ledger_state") == 2, "the ledger is ready", timeout_s)


def images(mirror, pattern=None):
    """All that it lists, over all pages: {"repository:tag" or "repository@digest": what it says}."""
    found, path = {}, "/images?n=3" + ("&pattern=" + pattern if pattern else "")
    while path:
        response = rawhttp.get(mirror.admin_address, path)
        assert response.status == 200, (response.head, response.body)
        for image in response.json()["images"]:
            name = "%s%s%s" % (image["repository"], ":" if image["tag"] else "@", image["tag"] or image["digest"])
            assert name not in found, "%s is listed twice" % name
            found[name] = image
        link = response.get("link")
        path = link[link.index("<") + 1:link.index(">")] if link else None
    return found


def wait_image(mirror, name, is_so=bool):
    """It is listed, with what is_so wants of it."""
    return wait_until(lambda: is_so(images(mirror).get(name)), "%s is listed as it should be" % name)


def wait_gone(mirror, *digests):
    wait_until(lambda: not [digest for digest in digests if mirror.has_blob(digest)],
               lambda: "these are not evicted: %s; %s" % ([d for d in digests if mirror.has_blob(d)], report(mirror)))


def stored_bytes(mirror):
    """What lies under final names, as the limit counts it."""
    total = 0
    for digest in mirror.kept_digests():
        try:
            total += os.path.getsize(mirror.blob_file(digest))
        except FileNotFoundError:
            pass    # evicted meanwhile
    return total


def command(mirror, *words):
    """(status, standard output, standard error) of the daemon's program, run as an operator would."""
    done = subprocess.run([binary(), *words], env=mirror.environment(), capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


def command_json(mirror, *words):
    status, output, errors = command(mirror, words[0], "--json", *words[1:])
    assert status == 0, (words, errors)
    return json.loads(output)


# --- clients -------------------------------------------------------------------------------------


def pull(mirror, image, repository, reference, children=None):
    """All of an image, by one client: every answer is whole and right. children: of an index, only these are pulled."""
    with mirror.client(timeout_s=60) as client:
        fetch(client, manifest_path(reference, repository), image.manifest, [("Accept", ALL_MANIFESTS)])
        for child in image.images if hasattr(image, "images") and children is None else children or []:
            fetch(client, manifest_path(child.digest, repository), child.manifest, [("Accept", ALL_MANIFESTS)])
        blobs = image.blobs if children is None else {
            digest: body for child in children for digest, body in child.blobs.items()}
        for digest, body in blobs.items():
            fetch(client, blob_path(digest, repository), body)


def fetch(client, path, body, fields=()):
    response = client.get(path, fields=fields)
    assert response.status == 200, (path, response.head, response.body[:200])
    body = as_body(body)
    assert response.length == body.size
    check_bytes(response.body, body)


def all_digests(image):
    return {*image.manifests(), *image.blobs}


def keep(mirror, image, repository, reference):
    """Pulls it and waits until all of it is under its final names, and linked."""
    pull(mirror, image, repository, reference)
    for digest in all_digests(image):
        mirror.wait_settled(digest, repository)


def size_of(image):
    return sum(len(data) for _, data in image.manifests().values()) + sum(body.size for body in image.blobs.values())
