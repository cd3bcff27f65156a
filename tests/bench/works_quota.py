"""The work that counts what pulls cost of an upstream's quota: manifest GETs, which registries count, and HEADs, which they
do not."""
import concurrent.futures
import random

from content import Failure
from lib import rawhttp
from lib.fake import FakeRegistry
from lib.images import ALL_MANIFESTS, simple
from servers import MirrorServer
from table import Row

N_PULLS, N_TAGS, N_CLIENTS = 1000, 50, 8
ACCEPT = [("Accept", ALL_MANIFESTS)]


def ask(address, method, target):
    response = rawhttp.get(address, target, method, ACCEPT)
    if response.status != 200:
        raise Failure("%s %s was answered %s" % (method, target, response.status))
    return response


def pull(address, image, tag):
    """As containerd does it: the tag by HEAD, the manifest by digest, what it references."""
    found = ask(address, "HEAD", "/v2/library/app/manifests/" + tag)["docker-content-digest"]
    wanted = {"/v2/library/app/manifests/" + found: image.manifest}
    wanted.update({"/v2/library/app/blobs/" + digest: body.data for digest, body in image.blobs.items()})
    for target, data in wanted.items():
        if found != image.digest or ask(address, "GET", target).body != data:
            raise Failure("%s: wrong bytes of %s" % (tag, target))


def pull_all(address, images):
    """Every tag equally often, in an order that nobody planned, by several clients at once."""
    tags = [n % N_TAGS for n in range(N_PULLS)]
    random.Random(1).shuffle(tags)
    with concurrent.futures.ThreadPoolExecutor(N_CLIENTS) as clients:
        for done in [clients.submit(pull, address, images[n], "v%d" % n) for n in tags]:
            done.result()


def count(bench, images, ttl):
    """(GETs, HEADs) of manifests that reached the upstream."""
    upstream = FakeRegistry()
    try:
        for n, image in enumerate(images):
            upstream.add_image(image, "library/app", "v%d" % n)
        server = bench.start("mirror", lambda folder: MirrorServer(
            folder, upstream, {**bench.settings, **({} if ttl is None else {"MIRROR_TAGS_CACHE_TTL": ttl})}))
        try:
            pull_all(server.mirror.address, images)
        finally:
            server.stop()
            bench.forget(server)
        return upstream.count("/manifests/", "GET"), upstream.count("/manifests/", "HEAD")
    finally:
        upstream.close()


def quota(bench):
    """The hour is not waited for: with a ttl of 0 every pull finds its tag too old, which no hour and no ttl can exceed."""
    images = [simple(5000 + n) for n in range(N_TAGS)]
    for what, ttl in (("all of them past tags_cache_ttl", "0"), ("preset tags_cache_ttl", None)):
        title = "%d pulls of %d tags, %s: upstream manifest " % (N_PULLS, N_TAGS, what)
        rows = (Row(title + "GETs", "", None, "≤ %d" % N_TAGS, lambda value: value <= N_TAGS), Row(title + "HEADs", ""))
        for row, n in zip(rows, count(bench, images, ttl)):
            row.add("mirrord", n)
        yield from rows


QUOTA = {"quota": quota}
