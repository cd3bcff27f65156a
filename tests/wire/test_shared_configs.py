"""Configurations of mirrored images in the shared cache of small objects: one mirror brings them, another one finds them
there; only when the repository has them, never what was pushed, and never wrong bytes."""
import os
import threading

import pytest

from lib import faults
from lib.images import simple
from lib.mirror import manifest_path
from lib.pushing import Pusher
from lib.redis import wait_up
from lib.waiting import wait_until

REPOSITORY = "library/test"
LATEST = manifest_path("latest")
IMAGE, OTHER, OURS = simple(1, layers=2), simple(2), simple(3)
HITS = 'mirrord_meta_lookups_total{cache="cache_lru",result="hit"}'
WRONG = 'mirrord_meta_lookups_total{cache="cache_lru",result="wrong"}'


def config_of(image):
    """Digest and bytes."""
    digest = image.config["digest"]
    return digest, image.blobs[digest].data


def key(digest):
    return "mirrord:1:blob:" + digest


def make(make_mirror, fake, redis, **settings):
    mirror = make_mirror(fake, **redis.settings("CACHE_LRU", CACHE_LRU_REDIS_USE="always", **settings))
    wait_up(mirror, "cache_lru", mirror.n_workers)
    return mirror


def pull_manifest(mirror, image, target=LATEST):
    response = mirror.get(target)
    assert (response.status, response["docker-content-digest"]) == (200, image.digest)
    mirror.wait_linked(image.config["digest"])


def check_config(mirror, image):
    digest, data = config_of(image)
    response = mirror.blob(digest)
    assert (response.status, response.body) == (200, data)
    mirror.wait_kept(digest)


def fill_redis(make_mirror, fake, redis, image=IMAGE, **settings):
    """A mirror that has brought the image, and told others its configuration."""
    fake.add_image(image, REPOSITORY, "latest")
    mirror = make(make_mirror, fake, redis, **settings)
    pull_manifest(mirror, image)
    check_config(mirror, image)
    digest, data = config_of(image)
    wait_until(lambda: redis.value(key(digest)) == data, "the configuration is shared")
    return mirror


@pytest.mark.parametrize("how", ["refuses", "silent", "503"])
def test_found_while_the_upstream_is_away(make_mirror, redis, fake, how):
    """On a mirror with a storage of its own, which keeps it as if it had come from the upstream."""
    fill_redis(make_mirror, fake, redis)
    second = make(make_mirror, fake, redis)
    pull_manifest(second, IMAGE)
    if how == "refuses":
        fake.refuse()
    else:
        fake.always("", faults.silence() if how == "silent" else faults.status(503))
    n_asked, n_hits = fake.count("/blobs/"), second.metric(HITS)
    check_config(second, IMAGE)
    assert second.metric(HITS) == n_hits + 1
    assert fake.count("/blobs/") == n_asked
    redis.stop()
    second.restart()
    check_config(second, IMAGE)


def test_found_for_all_who_wait(make_mirror, redis, fake):
    """Ranges, too, and while others ask for the whole."""
    fill_redis(make_mirror, fake, redis)
    second = make(make_mirror, fake, redis)
    pull_manifest(second, IMAGE)
    fake.refuse()
    digest, data = config_of(IMAGE)
    answers = []

    def ask(fields):
        response = second.blob(digest, fields=fields)
        answers.append((fields, response.status, response.body))

    ranged = [("Range", "bytes=10-19")]
    threads = [threading.Thread(target=ask, args=(fields,)) for fields in [ranged, [], ranged, []]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == len(threads)
    for fields, status, body in answers:
        assert (status, body) == ((206, data[10:20]) if fields else (200, data))


def test_found_after_it_was_lost(make_mirror, redis, fake):
    """The storage has the manifest and no longer its configuration, after a restart."""
    mirror = fill_redis(make_mirror, fake, redis)
    digest, _ = config_of(IMAGE)
    mirror.stop()
    os.remove(mirror.blob_file(digest))
    mirror.start()
    wait_up(mirror, "cache_lru", mirror.n_workers)
    pull_manifest(mirror, IMAGE)
    n_asked = fake.count("/blobs/")
    check_config(mirror, IMAGE)
    assert fake.count("/blobs/") == n_asked


@pytest.mark.parametrize("wrong", ["other", "short", "long", "empty", "list"])
def test_wrong_bytes_are_never_served(make_mirror, redis, fake, wrong):
    """The upstream is asked instead, and what it says takes their place."""
    fill_redis(make_mirror, fake, redis)
    digest, data = config_of(IMAGE)
    second = make(make_mirror, fake, redis)
    pull_manifest(second, IMAGE)
    redis.ask("DEL", key(digest))
    if wrong == "list":
        redis.ask("LPUSH", key(digest), data)
    else:
        redis.ask("SET", key(digest), {"other": data.replace(b"linux", b"minix"), "short": data[:-1], "long": data + b" ",
                                       "empty": b""}[wrong])
    n_asked = fake.count("/blobs/" + digest)
    check_config(second, IMAGE)
    assert fake.count("/blobs/" + digest) == n_asked + 1
    wait_until(lambda: redis.ask("TYPE", key(digest)) == b"string" and redis.value(key(digest)) == data, "it is right again")
    assert second.metric(WRONG) == (1 if wrong in ("other", "short", "long") else 0)


def test_only_small_configurations(make_mirror, redis, fake):
    """No layers, whatever their size, and nothing above the limit."""
    small, large = simple(1), simple(4, layers=3)
    limit = len(config_of(small)[1])
    assert len(config_of(large)[1]) > limit
    fake.add_image(large, REPOSITORY, "large")
    fake.add_image(small, REPOSITORY, "latest")
    mirror = make(make_mirror, fake, redis, CACHE_LRU_REDIS_OBJECT_MAX_BYTES=limit)
    for image, target in ((large, manifest_path("large")), (small, LATEST)):
        pull_manifest(mirror, image, target)
        for layer in image.layers:
            assert mirror.blob(layer["digest"]).status == 200
        check_config(mirror, image)
    wait_until(lambda: redis.keys(), "the small one is shared")
    assert redis.keys() == [key(config_of(small)[0])]


def test_not_through_another_repository(make_mirror, redis, fake):
    """Redis has it, and so does the upstream elsewhere: the upstream says whether it may be read here."""
    fill_redis(make_mirror, fake, redis)
    digest, data = config_of(IMAGE)
    second = make(make_mirror, fake, redis)
    pull_manifest(second, IMAGE)
    n_hits = second.metric(HITS)
    fake.always("library/other/blobs", faults.status(404, error="BLOB_UNKNOWN"))
    assert second.blob(digest, "library/other").status == 404
    assert fake.count("library/other/blobs/" + digest) >= 1
    assert not second.has_blob(digest)
    assert second.blob(digest, "library/third").body == data
    assert fake.count("library/third/blobs/" + digest) >= 1
    assert second.metric(HITS) == n_hits


def test_pushed_ones_are_never_there(make_mirror, redis, fake):
    """Nor their manifests: not when they are pushed, read, or read after a restart."""
    mirror = make(make_mirror, fake, redis)
    pusher = Pusher(mirror.address)
    pusher.image(REPOSITORY, OURS, "ours")
    for is_new in (False, True):
        if is_new:
            mirror.restart()
            wait_up(mirror, "cache_lru", mirror.n_workers)
        for reference in ("ours", OURS.digest):
            assert mirror.get(manifest_path(reference)).body == OURS.manifest
        check_config(mirror, OURS)
    # What is put there comes in order: after these, theirs would have come.
    fake.add_image(OTHER, REPOSITORY, "latest")
    pull_manifest(mirror, OTHER)
    check_config(mirror, OTHER)
    wait_until(lambda: len(redis.keys()) >= 2, "both are shared")
    assert redis.keys() == sorted([key(OTHER.digest), key(config_of(OTHER)[0])])


def test_pushed_one_is_not_replaced(make_mirror, redis, fake):
    """A pushed configuration that the storage has lost is a loss, whatever Redis says."""
    mirror = make(make_mirror, fake, redis)
    Pusher(mirror.address).image(REPOSITORY, OURS, "ours")
    digest, data = config_of(OURS)
    mirror.stop()
    os.remove(mirror.blob_file(digest))
    redis.ask("SET", key(digest), data)
    mirror.start()
    wait_up(mirror, "cache_lru", mirror.n_workers)
    assert mirror.get(manifest_path("ours")).status == 200
    assert mirror.blob(digest).status == 404
    assert fake.count("/blobs/" + digest) >= 1


def test_redis_keeps_silent(make_mirror, redis, proxy, fake):
    """The request waits for the timeout, then the upstream is asked. The next one does not wait."""
    fake.add_image(IMAGE, REPOSITORY, "latest")
    fake.add_image(OTHER, REPOSITORY, "other")
    mirror = make(make_mirror, fake, proxy, CACHE_REDIS_TIMEOUT="1", REGISTRY_WORKERS=1)
    pull_manifest(mirror, IMAGE)
    pull_manifest(mirror, OTHER, manifest_path("other"))
    proxy.stall()
    check_config(mirror, IMAGE)
    mirror.wait_for_log("no answer within 1000 ms")
    skipped = 'mirrord_redis_requests_total{server="cache_lru",result="skipped"}'
    before = mirror.metric(skipped)
    check_config(mirror, OTHER)
    assert mirror.metric(skipped) > before


def test_redis_is_dead(make_mirror, redis, fake):
    fake.add_image(IMAGE, REPOSITORY, "latest")
    mirror = make(make_mirror, fake, redis)
    pull_manifest(mirror, IMAGE)
    redis.stop()
    check_config(mirror, IMAGE)
