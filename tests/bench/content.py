"""What is served and fetched: an image with a manifest of ordinary size, and blobs of known digests, in an upstream."""
import hashlib
import http.client
import os
import random

from lib.images import ALL_MANIFESTS, Image, noise

REPOSITORY = "bench/image"
TAG = "latest"
MIB = 1 << 20
LAYERS = 12    # makes a manifest of about 3 KB, as common images have


class Failure(Exception):
    """Something did not run as it must, or a server sent wrong bytes."""


class BlobFile:
    """Pseudo-random bytes in a file."""

    def __init__(self, folder, name, size, seed):
        self.name, self.size = name, size
        self.path = os.path.join(folder, name)
        generator, hashed = random.Random(seed), hashlib.sha256()
        with open(self.path, "wb") as output:
            for offset in range(0, size, MIB):
                data = generator.randbytes(min(MIB, size - offset))
                hashed.update(data)
                output.write(data)
        self.digest = "sha256:" + hashed.hexdigest()
        self.target = "/v2/%s/blobs/%s" % (REPOSITORY, self.digest)


class Content:
    """All of it, written once per run."""

    def __init__(self, folder, sizes):
        os.makedirs(folder)
        self.image = Image([{"file": noise(600, seed)} for seed in range(LAYERS)])
        self.blobs = {name: BlobFile(folder, name, size, seed) for seed, (name, size) in enumerate(sizes.items())}
        self.by_tag = "/v2/%s/manifests/%s" % (REPOSITORY, TAG)
        self.by_digest = "/v2/%s/manifests/%s" % (REPOSITORY, self.image.digest)

    def push(self, upstream):
        upstream.push(self.image, REPOSITORY, TAG)
        for blob in self.blobs.values():
            _, fields, _ = upstream.call("POST", "/v2/%s/blobs/uploads/" % REPOSITORY, b"")
            location = fields["Location"]
            location += ("&" if "?" in location else "?") + "digest=" + blob.digest
            with open(blob.path, "rb") as body:
                upstream.call("PUT", location, body, {
                    "Content-Type": "application/octet-stream", "Content-Length": str(blob.size)})

    def expected(self):
        """{target: digest of what must come}"""
        found = {self.by_tag: self.image.digest, self.by_digest: self.image.digest}
        found.update({blob.target: blob.digest for blob in self.blobs.values()})
        return found


def fetch(port, target):
    """One GET: (head fields as a list, digest of the body)."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request("GET", target, headers={"Accept": ALL_MANIFESTS})
        response = connection.getresponse()
        hashed = hashlib.sha256()
        while data := response.read(MIB):
            hashed.update(data)
        if response.status != 200:
            raise Failure("port %d answers %d to GET %s" % (port, response.status, target))
        return response.getheaders(), "sha256:" + hashed.hexdigest()
    except (OSError, http.client.HTTPException) as error:
        raise Failure("GET %s of port %d: %r" % (target, port, error)) from error
    finally:
        connection.close()


def verify(server, targets, expected):
    """Every target has the bytes that its digest names. Returns {target: head fields}."""
    heads = {}
    for target in targets:
        heads[target], digest = fetch(server.port, target)
        if digest != expected[target]:
            raise Failure("%s sends wrong bytes for %s" % (server.name, target))
    return heads
