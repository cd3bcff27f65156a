"""The daemon as a process: configuration, listeners, signals, and the storage it shares with other programs."""
import os
import shutil
import signal
import socket
import subprocess
import threading
import time

import pytest

from lib import faults, rawhttp
from lib.images import Image, Index, Noise, noise, simple
from lib.mirror import Mirror, binary, blob_path, check_bytes, is_sanitized, manifest_path
from lib.process import can_connect, free_port
from lib.upstream import Upstream
from lib.waiting import PATIENCE_S, wait_until

DATA = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "data")
LEGACY = os.path.join(DATA, "legacy")


def run(*arguments, folder, **settings):
    """(exit status, output) of the program with only these settings."""
    result = subprocess.run([binary(), *map(str, arguments)], cwd=folder, stdin=subprocess.DEVNULL, timeout=PATIENCE_S,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            env={"PATH": os.environ["PATH"], **{name: str(value) for name, value in settings.items()}})
    return result.returncode, result.stdout


# --- configuration -------------------------------------------------------------------------------

def test_no_file_at_all(tmp_path, fake):
    """Environment variables alone, as the documentation says."""
    body = Noise(100000)
    digest = fake.add_blob(body)
    mirror = Mirror(tmp_path, fake, REGISTRY_WORKERS=None, LOGLEVEL=None)
    mirror.start()
    mirror.check_right(digest, body)
    mirror.stop()


@pytest.mark.parametrize("name, flavor", [
    ("config_sample.yml", "local"), ("config_sample.yml", "dev"), ("config_mirror.yml", "dev"),
    ("config_mirror.yml", None), ("config_sample.yml", "test")])
def test_legacy_files_start_unchanged(tmp_path, fake, name, flavor):
    """What belongs to parts that are not built is named in one warning."""
    storage = tmp_path / "elsewhere"
    mirror = Mirror(tmp_path, fake if "sample" in name else None, arguments=["-c", os.path.join(LEGACY, name)],
                    SETTINGS_FLAVOR=flavor, STORAGE_PATH=storage)
    mirror.storage = str(storage)
    mirror.start()
    assert mirror.get("/v2/").status == 200
    assert len([line for line in mirror.log().splitlines() if "no effect" in line]) <= 1
    mirror.stop()


def test_sample_file_is_a_configuration(tmp_path, fake):
    """Our own sample starts the daemon and equals what is compiled in."""
    sample = os.path.join(os.path.dirname(os.path.dirname(DATA)), "deploy", "config_sample.yml")
    settings = dict(SETTINGS_FLAVOR="local", STORAGE_PATH=tmp_path / "storage", MIRROR_SOURCE=fake.url)
    with_file = run("check", "-c", sample, folder=tmp_path, **settings)
    without = run("check", folder=tmp_path, **settings)
    assert with_file[0] == without[0] == 0, with_file[1]

    def values(text):
        return [line.split(" # ")[0].rstrip() for line in text.splitlines() if not line.startswith("#")]
    assert values(with_file[1]) == values(without[1])


def test_check_prints_what_would_run(tmp_path):
    status, output = run("check", folder=tmp_path, SETTINGS_FLAVOR="local", STORAGE_PATH=tmp_path,
                         MIRROR_SOURCE="https://registry.example", MIRROR_SOURCE_USERNAME="alice",
                         MIRROR_SOURCE_PASSWORD="s3cret", REGISTRY_PORT=5999)
    assert status == 0
    assert "https://registry.example" in output and "5999" in output and "alice" in output
    assert "s3cret" not in output


@pytest.mark.parametrize("text, words", [
    ("local:\n  no_such_option: 1\n", ["no_such_option", ":2"]),
    ("common: &common\n  http:\n    no_such_option: 1\nlocal:\n  <<: *common\n", ["no_such_option", ":3"]),
    ("local:\n  storage_path: /x\n  loglevel: loud\n", ["loglevel", ":3", "debug"]),
    ("local:\n  http:\n    headers_max: many\n", ["headers_max", ":3"]),
    ("local:\n  registry:\n    port: 70000\n", ["port", ":3", "65535"]),
    ("local:\n  mirroring:\n    source: ftp://x\n", ["source", ":3"]),
    ("local:\n  mirroring: 5\n", ["mirroring", ":2"]),
    ("local:\n\tstorage_path: /x\n", [":2"]),
    ("local: [\n", []),
    ("- a\n- b\n", []),
    ("other:\n  storage: local\n", ["local"]),
    ("local:\n  mirroring:\n    upstreams:\n      a.io: http://a\n      a.io: http://b\n", ["a.io", ":5", "twice"]),
])
def test_bad_files_stop_the_start(tmp_path, text, words):
    """File, line, key, and what is allowed; exit status 2."""
    path = tmp_path / "config.yml"
    path.write_text(text)
    for arguments in (["-c", path], ["check", "-c", path]):
        status, output = run(*arguments, folder=tmp_path, SETTINGS_FLAVOR="local", ADMIN_LISTEN="off")
        assert status == 2, output
        assert str(path) in output
        for word in words:
            assert word in output, (word, output)


@pytest.mark.parametrize("settings, word", [
    ({"REGISTRY_PORT": "tcp://10.0.0.1:5000"}, "REGISTRY_PORT"), ({"LOGLEVEL": "loud"}, "LOGLEVEL"),
    ({"HTTP_HEAD_TIMEOUT": "soon"}, "HTTP_HEAD_TIMEOUT"), ({"MIRROR_SOURCE": "not a url"}, "MIRROR_SOURCE"),
    ({"SETTINGS_FLAVOR": "nowhere"}, "nowhere"), ({"ADMIN_LISTEN": "here"}, "ADMIN_LISTEN"),
    ({"DOCKER_REGISTRY_CONFIG": "/does/not/exist.yml"}, "/does/not/exist.yml")])
def test_bad_variables_stop_the_start(tmp_path, settings, word):
    settings = {"SETTINGS_FLAVOR": "local", "STORAGE_PATH": tmp_path, "REGISTRY_PORT": 0, "ADMIN_LISTEN": "off", **settings}
    status, output = run(folder=tmp_path, **settings)
    assert status == 2 and word in output, output


def test_doubled_keys_are_told(tmp_path):
    """They stop nothing, as they never did."""
    path = tmp_path / "config.yml"
    path.write_text("local:\n  storage: local\n  storage_path: /x\n  loglevel: info\n  loglevel: warn\n")
    status, output = run("check", "-c", path, folder=tmp_path, SETTINGS_FLAVOR="local")
    assert status == 0 and f"{path}:5: loglevel: stands on line 4, too; the last one counts\n" in output


def test_usage(tmp_path):
    for option in ("-h", "--help"):
        status, output = run(option, folder=tmp_path)
        assert status == 0 and "check" in output
    for option in ("-V", "--version"):
        status, output = run(option, folder=tmp_path)
        assert status == 0 and output.startswith("mirrord ")
    names = [line.split()[0] for line in run("-h", folder=tmp_path)[1].split("commands:\n")[1].splitlines()]
    assert {"run", "check", "gc", "verify", "ls", "pin"} <= set(names)
    for name in names:
        status, output = run(name, "--help", folder=tmp_path)
        assert status == 0 and output.startswith("usage: mirrord %s" % name), output
        assert ("--json" in output) == (name in ("ls", "pin", "unpin", "evict")), output
    assert run("-x", folder=tmp_path)[0] == 2
    status, output = run("frobnicate", folder=tmp_path)
    assert status == 2 and "no command `frobnicate`" in output


def test_port_is_taken(tmp_path, fake):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        status, output = run(folder=tmp_path, SETTINGS_FLAVOR="local", STORAGE_PATH=tmp_path, REGISTRY_HOST="127.0.0.1",
                             REGISTRY_PORT=port, ADMIN_LISTEN="off", MIRROR_SOURCE=fake.url)
    assert status == 1 and str(port) in output


# --- listeners -----------------------------------------------------------------------------------

def test_unix_socket(make_mirror, fake, tmp_path):
    path, admin = str(tmp_path / "s"), str(tmp_path / "admin")
    mirror = make_mirror(fake, REGISTRY_LISTEN="unix:" + path, ADMIN_LISTEN="unix:" + admin)
    assert rawhttp.get(path, "/v2/").status == 200
    assert rawhttp.get(admin, "/metrics").status == 200
    body = Noise(3 << 20)
    assert rawhttp.get(path, blob_path(fake.add_blob(body))).body == body.read(0, body.size)
    mirror.restart()
    assert rawhttp.get(path, "/v2/").status == 200, "a socket file that was left does not stop the start"
    mirror.kill()
    mirror.start()
    assert rawhttp.get(path, "/v2/").status == 200


def test_ipv6(make_mirror, fake):
    try:
        free_port("::1")
    except OSError as why:
        pytest.skip("no ::1 here: %s" % why)
    mirror = make_mirror(fake, host="::1")
    assert mirror.get("/v2/").status == 200
    port = free_port("::1")
    both = make_mirror(fake, REGISTRY_LISTEN="[::1]:%d" % port)
    wait_until(lambda: can_connect(("::1", port)), "the second listener is there")
    assert rawhttp.get(("::1", port), "/v2/").status == 200 and both.get("/v2/").status == 200


def test_admin_is_off(make_mirror, fake):
    mirror = make_mirror(fake, ADMIN_LISTEN="off")
    assert mirror.get("/v2/").status == 200
    assert not can_connect(mirror.admin_address)


def test_listen_fds(tmp_path, fake):
    """Socket activation: the listener is descriptor 3, and the daemon makes none of its own."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    port = listener.getsockname()[1]
    mirror = Mirror(tmp_path, fake)
    # LISTEN_PID is known after the fork only: a shell moves the listener to 3, sets it and becomes the daemon.
    command = 'exec 3<&%d; exec env LISTEN_FDS=1 LISTEN_PID=$$ "$0"' % listener.fileno()
    with open(tmp_path / "log", "wb") as log:
        process = subprocess.Popen(["/bin/bash", "-c", command, binary()], env=mirror.environment(), cwd=tmp_path,
                                   pass_fds=(listener.fileno(),), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        with rawhttp.Client(("127.0.0.1", port)) as client:
            assert client.get("/v2/").status == 200
        assert not can_connect(mirror.address)
    finally:
        process.terminate()
        assert process.wait(PATIENCE_S) == 0, (tmp_path / "log").read_text()
        listener.close()


def test_all_workers_serve(make_mirror, fake):
    mirror = make_mirror(fake, REGISTRY_WORKERS=4)
    body = Noise(1 << 20)
    digest = fake.add_blob(body)
    clients = [mirror.client() for _ in range(64)]
    for client in clients:
        client.request(blob_path(digest))
    for client in clients:
        assert client.read_response().body == body.read(0, body.size)
        client.close()
    assert fake.count(digest, "GET") == 1


# --- signals -------------------------------------------------------------------------------------

@pytest.fixture
def downloading(make_mirror, fake):
    """(mirror, client, release, finish): a client in the middle of a download."""
    mirror = make_mirror(fake)
    body = Noise(8 << 20)
    digest = fake.add_blob(body)
    event = threading.Event()
    fake.script(digest, faults.stall(1 << 20, event))
    client = mirror.client()
    client.request(blob_path(digest))
    length = client.read_head().length
    data = client.read_body(1 << 20)

    def finish():
        check_bytes(data + client.read_body(length - len(data)), body)
        assert client.is_closed()
        client.close()
    yield mirror, client, event, finish
    event.set()


def test_term_drains(downloading):
    """No new connections, but what runs is finished; then it ends by itself."""
    mirror, _, event, finish = downloading
    mirror.process.send_signal(signal.SIGTERM)
    wait_until(lambda: not can_connect(mirror.address), "no connection is accepted")
    assert mirror.process.is_running()
    event.set()
    finish()
    assert mirror.process.wait() == 0


def test_term_has_a_limit(make_mirror, fake):
    mirror = make_mirror(fake, REGISTRY_GRACEFUL_TIMEOUT="500ms")
    body = Noise(8 << 20)
    digest = fake.add_blob(body)
    event = threading.Event()
    fake.script(digest, faults.stall(1 << 20, event))
    with mirror.client() as client:
        client.request(blob_path(digest))
        length = client.read_head().length
        begin = time.monotonic()
        mirror.process.send_signal(signal.SIGTERM)
        data = client.read_body(length)
        assert len(data) < length and client.read_to_end() == b"", "it ends short and in order"
        assert mirror.process.wait() == 0
        assert time.monotonic() - begin > 0.3
    event.set()


def test_term_ends_idle_connections_at_once(make_mirror, fake):
    mirror = make_mirror(fake)
    with mirror.client() as idle, mirror.client() as silent:
        assert idle.get("/v2/").status == 200
        mirror.stop()
        assert idle.is_closed() and silent.is_closed()


def test_interrupt_ends_it_too(make_mirror, fake):
    mirror = make_mirror(fake)
    mirror.stop(signal.SIGINT)


def test_second_signal_does_not_wait(downloading):
    mirror, client, _, _ = downloading
    mirror.process.send_signal(signal.SIGTERM)
    wait_until(lambda: not can_connect(mirror.address), "no connection is accepted")
    mirror.process.send_signal(signal.SIGTERM)
    assert mirror.process.wait() == 0
    client.close()


def test_hup_reads_the_file_again(tmp_path, fake):
    """What can be changed is; downloads go on; a broken file changes nothing."""
    path = tmp_path / "config.yml"

    def write(ttl, issue):
        path.write_text("local:\n  storage: local\n  storage_path: %s\n  issue: %s\n  mirroring:\n    source: %s\n"
                        "    tags_cache_ttl: %s\n" % (tmp_path / "storage", issue, fake.url, ttl))
    write(3600, "first")
    mirror = Mirror(tmp_path, None, arguments=["-c", str(path)], STORAGE_PATH=None)
    image = simple()
    fake.add_image(image, "library/test", "latest")
    mirror.start()
    assert mirror.get("/").body == b'"first"'
    assert mirror.get(manifest_path("latest")).body == image.manifest
    with mirror.client() as client:
        assert client.get("/v2/").status == 200
        other = simple(2)
        fake.add_image(other, "library/test", "latest")
        assert mirror.get(manifest_path("latest")).body == image.manifest
        write(0, "second")
        mirror.process.send_signal(signal.SIGHUP)
        wait_until(lambda: mirror.get("/").body == b'"second"', "the file was read again")
        wait_until(lambda: mirror.get(manifest_path("latest")).body == other.manifest, "the tag has moved")
        path.write_text("local:\n  no_such_option: 1\n")
        mirror.process.send_signal(signal.SIGHUP)
        mirror.wait_for_log("no_such_option")
        assert client.get("/").body == b'"second"'
    mirror.stop()


def test_hup_opens_logs_again(make_mirror, fake, tmp_path):
    """So that logs can be rotated."""
    path = tmp_path / "access.log"
    mirror = make_mirror(fake, REGISTRY_ACCESS_LOG_FILE=path)
    mirror.get("/v2/")
    wait_until(lambda: path.exists() and "/v2/" in path.read_text(), "a line is written")
    path.rename(tmp_path / "access.log.1")
    mirror.process.send_signal(signal.SIGHUP)
    wait_until(path.exists, "a new file is there")
    mirror.get("/_ping")
    wait_until(lambda: "/_ping" in path.read_text(), "a line is written")


def test_pipe_and_stray_signals(make_mirror, fake):
    mirror = make_mirror(fake)
    for number in (signal.SIGPIPE, signal.SIGURG, signal.SIGWINCH, signal.SIGCONT):
        mirror.process.send_signal(number)
    assert mirror.get("/v2/").status == 200


def test_small_at_rest(make_mirror, fake):
    if is_sanitized():
        pytest.skip("an instrumented build tells nothing about memory")
    mirror = make_mirror(fake)
    assert mirror.get("/v2/").status == 200
    assert mirror.rss_bytes() <= 12 << 20


# --- storage shared with registry:2 --------------------------------------------------------------

def images():
    return {"library/one": simple(1, layers=2),
            "team/app/web": Index([simple(2, "docker"), simple(3, "docker")], "docker")}


def check_served(address, made):
    for repository, image in made.items():
        for reference in ("latest", image.digest):
            response = rawhttp.get(address, manifest_path(reference, repository), fields={"Accept": image.media_type})
            assert response.status == 200 and response.body == image.manifest
            assert response["content-type"] == image.media_type
        for digest, (media_type, data) in image.manifests().items():
            response = rawhttp.get(address, manifest_path(digest, repository), fields={"Accept": media_type})
            assert response.body == data and response["content-type"] == media_type
        for digest, body in image.blobs.items():
            assert rawhttp.get(address, blob_path(digest, repository)).body == body.data


def test_volume_of_registry_2_is_served(make_upstream, tmp_path):
    """Copied under the storage path, without conversion, without any upstream."""
    upstream = make_upstream()
    made = images()
    for repository, image in made.items():
        upstream.push(image, repository, "latest")
    upstream.stop()
    mirror = Mirror(tmp_path, None)
    shutil.copytree(upstream.storage, mirror.storage, dirs_exist_ok=True)
    mirror.start()
    check_served(mirror.address, made)
    assert mirror.get("/v2/library/one/tags/list").json()["tags"] == ["latest"]
    assert mirror.get("/v2/_catalog").json()["repositories"] == sorted(made)
    mirror.stop()


def test_what_was_in_the_volume_is_served_before_the_upstream(make_upstream, make_mirror, tmp_path, fake):
    """Somebody put that tag there: it is ours, and the upstream's of the same name does not replace it."""
    upstream = make_upstream()
    own, theirs = simple(1), simple(2)
    upstream.push(own, "library/test", "latest")
    upstream.stop()
    mirror = make_mirror(fake, start=False, MIRROR_TAGS_CACHE_TTL="0")
    shutil.copytree(upstream.storage, mirror.storage, dirs_exist_ok=True)
    fake.add_image(theirs, "library/test", "latest")
    fake.add_image(theirs, "library/test", "other")
    mirror.start()
    for _ in range(2):
        assert mirror.get(manifest_path("latest")).body == own.manifest
        assert mirror.get(manifest_path("other")).body == theirs.manifest


def test_storage_is_served_by_registry_2(make_mirror, fake, tmp_path):
    """The other program can be pointed back at it."""
    made = images()
    for repository, image in made.items():
        fake.add_image(image, repository, "latest")
    mirror = make_mirror(fake)
    check_served(mirror.address, made)
    for image in made.values():
        for digest in list(image.blobs) + list(image.manifests()):
            mirror.wait_kept(digest)
    mirror.stop()
    other = Upstream(tmp_path / "other")
    shutil.copytree(mirror.storage, other.storage)
    other.start()
    try:
        check_served(("127.0.0.1", other.port), made)
        tags = rawhttp.get(("127.0.0.1", other.port), "/v2/library/one/tags/list").json()
        assert tags["tags"] == ["latest"]
        catalog = rawhttp.get(("127.0.0.1", other.port), "/v2/_catalog").json()
        assert catalog["repositories"] == sorted(made)
    finally:
        other.stop()


def test_start_does_not_walk_the_disk(make_mirror, fake, tmp_path):
    """A big storage does not slow the start: nothing below the blobs is looked at."""
    mirror = make_mirror(fake, start=False)
    root = os.path.join(mirror.storage, "docker/registry/v2/blobs/sha256")
    for n in range(20000):
        os.makedirs(os.path.join(root, "%02x" % (n % 256), "%064x" % n))
    begin = time.monotonic()
    mirror.start()
    assert mirror.get("/v2/").status == 200
    assert time.monotonic() - begin < 30


def test_large_image_through_a_real_registry(make_upstream, make_mirror):
    """Real proxies on both sides of 64 MiB, first cold, then warm."""
    upstream = make_upstream()
    image = Image([{"big": noise(64 << 20)}])
    upstream.push(image, "library/big", "latest")
    mirror = make_mirror(upstream)
    for digest, body in image.blobs.items():
        for _ in range(2):
            mirror.check_right(digest, body, "library/big")
    upstream.check_gets(image.layers[0]["digest"], 1)
