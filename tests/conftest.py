"""Fixtures for all tests. What a test starts ends with it, and is asked on the way out whether all was well."""
import os
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import pytest

from lib import clock
from lib.fake import FakeRegistry
from lib.mirror import Mirror, is_sanitized
from lib.process import release_ports
from lib.redis import Proxy, Redis
from lib.upstream import Upstream


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    """Slow tests come first, on each worker its share, so that none of them runs alone in the end. To each of its n workers
    xdist gives the next (number of tests) / 4n of the list, and more only when that is done."""
    slow = [item for item in items if item.get_closest_marker("slow")]
    others = [item for item in items if not item.get_closest_marker("slow")]
    n_workers = getattr(config, "workerinput", {}).get("workercount", 1)
    size = max(len(items) // n_workers // 4, 2)
    mixed = []
    for number in range(n_workers):
        share = slow[number::n_workers]
        mixed += share + others[:max(0, size - len(share))]
        del others[:max(0, size - len(share))]
    items[:] = mixed + others


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    """A failing test prints the end of every daemon's log."""
    report = (yield).get_result()
    if report.failed and report.when in ("call", "teardown"):
        for mirror in getattr(item, "mirrors", []):
            if mirror.n_starts:
                report.sections.append(("log of mirrord", mirror.log()[-6000:]))


@pytest.fixture(autouse=True)
def ports():
    """Ports are kept until all that the test has started is gone."""
    yield
    release_ports()


@pytest.fixture
def fake():
    """A programmable upstream."""
    registry = FakeRegistry()
    yield registry
    registry.close()


@pytest.fixture
def make_fake():
    """make_fake(**options): one more programmable upstream."""
    made = []

    def make(**options):
        made.append(FakeRegistry(**options))
        return made[-1]

    yield make
    for registry in made:
        registry.close()


@pytest.fixture
def cdn(make_fake):
    """A second server, where redirects lead to."""
    return make_fake()


@pytest.fixture
def make_mirror(request, tmp_path):
    """make_mirror(upstream, **settings): a running daemon, stopped and examined after the test."""
    made = request.node.mirrors = []

    def make(upstream=None, start=True, **settings):
        folder = tmp_path / ("mirror-%d" % (len(made) + 1))
        folder.mkdir()
        mirror = Mirror(folder, upstream, **settings)
        made.append(mirror)
        return mirror.start() if start else mirror

    yield make
    for mirror in made:
        mirror.check_storage()
        mirror.stop()


@pytest.fixture
def mirror(make_mirror, fake):
    """A daemon in front of the fake registry."""
    return make_mirror(fake)


@pytest.fixture(scope="session")
def clock_library(tmp_path_factory):
    if is_sanitized():
        pytest.skip("a sanitizer wants to be preloaded first")
    return clock.build(tmp_path_factory.mktemp("clock"))


@pytest.fixture
def time(tmp_path, clock_library):
    """A wall clock that can be set, for daemons with time.settings."""
    return clock.Clock(tmp_path, clock_library)


@pytest.fixture
def make_upstream(tmp_path):
    """make_upstream(auth): a running docker-registry."""
    made = []

    def make(auth=None, **options):
        upstream = Upstream(tmp_path / ("upstream-%d" % (len(made) + 1)), auth, **options)
        made.append(upstream)
        return upstream.start()

    yield make
    for upstream in made:
        upstream.stop()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 8 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m,mode=700", "mirrord-test", str(folder)]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        pytest.skip("no file system of its own can be mounted: " + result.stderr.strip())
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def make_redis(tmp_path):
    """make_redis(password, use_socket): a running redis-server."""
    made = []

    def make(**options):
        redis = Redis(tmp_path / ("redis-%d" % (len(made) + 1)), **options)
        made.append(redis)
        return redis.start()

    yield make
    for redis in made:
        redis.stop()


@pytest.fixture
def redis(make_redis):
    return make_redis()


@pytest.fixture
def proxy(redis):
    """Between a mirror and the redis-server."""
    between = Proxy(redis.address)
    yield between
    between.close()
