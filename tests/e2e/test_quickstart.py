"""The first command of the README, with the daemon that is built already: what it prints, serves and how it ends."""
import os
import re
import signal
import subprocess

import pytest

from lib import clients, rawhttp
from lib.images import Noise
from lib.mirror import binary, blob_path
from lib.process import Process, can_connect, free_port
from lib.waiting import PATIENCE_S

ROOT = os.environ.get("MIRRORD_SOURCE_ROOT") or os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SCRIPT = os.path.join(ROOT, "deploy", "quickstart")


def environment(**settings):
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    return {**kept, "MIRRORD_BUILD": os.path.dirname(os.path.dirname(binary())),
            **{name: str(value) for name, value in settings.items()}}


@pytest.fixture
def permitted():
    if os.geteuid() != 0:
        pytest.skip("it may ask for sudo")


def test_demo(permitted):
    """Of all that is shown, only the first pull costs the upstream anything."""
    clients.need("docker-registry", "curl")
    result = subprocess.run([SCRIPT, "--demo"], env=environment(), stdin=subprocess.DEVNULL, capture_output=True,
                            text=True, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr
    rows = re.findall(r"^(\w+): .*?(\d+) +(\d+) +[\d.]+ ms +(\w+)$", result.stdout, re.M)
    assert [row[0] for row in rows] == ["first", "second", "third", "pushed"], result.stdout
    assert all(row[3] == "ok" for row in rows)
    assert int(rows[0][1]) > 0 and int(rows[0][2]) > 5000000
    assert [row[1:3] for row in rows[1:]] == [("0", "0")] * 3


def test_run(permitted, tmp_path, fake):
    """It tells how to point clients at it, serves, and ends on Ctrl-C; the second time nothing is built."""
    body = Noise(100000)
    digest = fake.add_blob(body)
    port = free_port()
    process = Process([SCRIPT, "--port", port, "--host=127.0.0.1", "--storage", tmp_path / "storage"], tmp_path / "log",
                      env=environment(MIRROR_SOURCE=fake.url, ADMIN_LISTEN="off"))
    process.wait_ready(lambda: can_connect(("127.0.0.1", port)), "serves")
    assert rawhttp.get(("127.0.0.1", port), blob_path(digest)).body == body.read(0, body.size)
    log = process.log()
    assert "Building" not in log
    for name in ("dockerd:", "containerd:", "podman:"):
        line = next(line for line in log.splitlines() if line.strip().startswith(name))
        assert "127.0.0.1:%d" % port in line
    assert process.stop(signal.SIGINT) == 0
    assert (tmp_path / "storage" / "docker").is_dir()


def test_mistakes_are_told(permitted, tmp_path):
    def run(*arguments, **settings):
        return subprocess.run([SCRIPT, *map(str, arguments)], env=environment(**settings), stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=PATIENCE_S)
    assert run("--help").returncode == 0
    assert run("--no-such-option").returncode == 2
    assert run("--port").returncode == 1
    assert "number" in run("--port", "x").stderr
    assert "number" in run(REGISTRY_PORT="tcp://10.0.0.1:5000").stderr
    with rawhttp.socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        result = run("--port", port, "--storage", tmp_path)
        assert result.returncode == 1 and str(port) in result.stderr
