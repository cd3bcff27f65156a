"""Who may push: repositories, networks and precedence, and settings of them that are wrong."""
import re
import signal
import socket
import subprocess

import pytest

from lib.images import digest_of
from lib.mirror import Mirror, binary
from lib.pushing import Pusher
from lib.rawhttp import Client
from lib.waiting import PATIENCE_S, wait_until

REPOSITORY = "team/app"
UPLOADS = "/v2/%s/blobs/uploads/" % REPOSITORY
ABSENT_ID = "01234567-89ab-4cde-8f01-23456789abcd"
EMPTY = digest_of(b"")
WRITES = [("POST", UPLOADS), ("POST", UPLOADS + "?digest=" + EMPTY), ("POST", UPLOADS + "?mount=" + EMPTY),
          ("PATCH", UPLOADS + ABSENT_ID), ("PUT", UPLOADS + ABSENT_ID + "?digest=" + EMPTY), ("DELETE", UPLOADS + ABSENT_ID)]


def check_error(response, status, code):
    assert response.status == status, (response.head, response.body)
    assert response.error_code() == code
    return response


def check_denied(registry, reason, address=None):
    for method, target in WRITES:
        with Client(address or registry.address) as client:
            client.request(target, method, {"Content-Length": "1000", "Expect": "100-continue"})
            response = check_error(client.read_response(), 403, "DENIED")
            assert response.json()["errors"][0]["detail"] == {"reason": reason}
    wait_until(lambda: not registry.partial_files(), lambda: "left behind: %r" % registry.partial_files())


def test_repositories_that_accept_nothing(make_mirror):
    registry = make_mirror(PUSH_REPOSITORIES="!team/app,team/*")
    check_denied(registry, "repository")
    pusher = Pusher(registry.address)
    assert pusher.ask("POST", "/v2/team/other/blobs/uploads/", b"").status == 202
    assert pusher.ask("POST", "/v2/teams/blobs/uploads/", b"").status == 403
    assert registry.metric('mirrord_push_denied_total{reason="repository"}') == len(WRITES) + 1
    assert registry.get("/v2/").status == 200


def test_repositories_of_the_upstream_only(make_mirror):
    registry = make_mirror(MIRROR_PRECEDENCE="team/*=upstream-only")
    pusher = Pusher(registry.address)
    for method, target in WRITES:
        if method != "DELETE":
            response = check_error(pusher.ask(method, target, b""), 403, "DENIED")
            assert response.json()["errors"][0]["detail"] == {"reason": "precedence"}
    assert pusher.ask("DELETE", UPLOADS + ABSENT_ID).status == 404
    assert pusher.ask("POST", "/v2/other/blobs/uploads/", b"").status == 202


def test_networks_that_may_not_push(make_mirror, tmp_path):
    registry = make_mirror(PUSH_NETWORKS="10.0.0.0/8,::1")
    check_denied(registry, "network")
    assert registry.metric('mirrord_push_denied_total{reason="network"}') == len(WRITES)


def test_unix_sockets_are_local(make_mirror, tmp_path):
    path = str(tmp_path / "s")
    local = make_mirror(REGISTRY_LISTEN="unix:" + path, PUSH_NETWORKS="127.0.0.1")
    assert Pusher(path).ask("POST", UPLOADS, b"").status == 202
    path += "2"
    foreign = make_mirror(REGISTRY_LISTEN="unix:" + path, PUSH_NETWORKS="192.168.0.0/16")
    check_denied(foreign, "network", path)
    local.stop()


def test_mapped_addresses(tmp_path):
    """An IPv4 client of a socket for both families, which systemd may hand over, is an IPv4 client."""
    if not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    listener = socket.create_server(("::ffff:127.0.0.1", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    address = "127.0.0.1", listener.getsockname()[1]
    mirror = Mirror(tmp_path, PUSH_NETWORKS="127.0.0.0/8")
    command = 'exec 3<&%d; exec env LISTEN_FDS=1 LISTEN_PID=$$ "$0"' % listener.fileno()
    with open(tmp_path / "log", "wb") as log:
        process = subprocess.Popen(["/bin/bash", "-c", command, binary()], env=mirror.environment(), cwd=tmp_path,
                                   pass_fds=(listener.fileno(),), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        assert Pusher(address).ask("POST", UPLOADS, b"").status == 202
    finally:
        process.terminate()
        assert process.wait(PATIENCE_S) == 0, (tmp_path / "log").read_text()
        listener.close()


def test_permissions_are_reloaded(make_mirror, tmp_path):
    config = tmp_path / "config.yml"
    text = "local: {storage: local, storage_path: %s, push: {repositories: ['%s'], networks: [%s]}}\n"

    def write(repositories, networks):
        config.write_text(text % (registry.storage, repositories, networks))
    registry = make_mirror(start=False, DOCKER_REGISTRY_CONFIG=str(config))
    write("*", "127.0.0.1")
    registry.start()
    pusher = Pusher(registry.address)
    upload = pusher.begin(REPOSITORY)
    for n, (repositories, networks, status) in enumerate([("!*", "127.0.0.1", 403), ("team/*", "127.0.0.1", 202),
                                                          ("team/*", "10.0.0.0/8", 403), ("*", "127.0.0.0/8", 202)]):
        write(repositories, networks)
        registry.process.send_signal(signal.SIGHUP)
        wait_until(lambda: registry.log().count("configuration read again") == n + 1, "it is read again")
        wait_until(lambda: upload.patch(b"x").status == status, "the new settings count")


@pytest.mark.parametrize("name, value, words", [
    ("PUSH_NETWORKS", "10.0.0.0/33", "no prefix length from 0 to 32"),
    ("PUSH_NETWORKS", "10.0.0.1/8", "bits behind the prefix"),
    ("PUSH_NETWORKS", "localhost", "no IPv4 or IPv6 address"),
    ("PUSH_REPOSITORIES", "team/*,Team", "a character that no name of a repository has"),
    ("PUSH_REPOSITORIES", "!", "no pattern"),
])
def test_settings_that_are_wrong(tmp_path, name, value, words):
    config = tmp_path / "config.yml"
    key = name.replace("_", ": {", 1).lower()
    config.write_text("local:\n  storage: local\n  storage_path: %s\n  %s: '%s'}\n" % (tmp_path, key, value))
    for environment, place in (({"DOCKER_REGISTRY_CONFIG": str(config)}, r"config\.yml:4: "),
                               ({name: value, "STORAGE_PATH": str(tmp_path)}, name + "=")):
        done = subprocess.run([binary(), "check"], env={"SETTINGS_FLAVOR": "local", **environment}, capture_output=True, text=True)
        assert done.returncode != 0
        assert words in done.stderr + done.stdout and re.search(place, done.stderr + done.stdout), done.stderr
        assert key.replace(": {", ".") in done.stderr + done.stdout


def test_manifests_and_deletes_are_pushes(make_mirror):
    registry = make_mirror(PUSH_REPOSITORIES="!team/app,*", DELETE_ENABLED="true")
    pusher = Pusher(registry.address)
    for method, path in (("PUT", "manifests/x"), ("PUT", "manifests/" + EMPTY), ("DELETE", "manifests/x"),
                         ("DELETE", "manifests/" + EMPTY), ("DELETE", "blobs/" + EMPTY)):
        response = pusher.ask(method, "/v2/%s/%s" % (REPOSITORY, path), b"{}" if method == "PUT" else None)
        assert check_error(response, 403, "DENIED").json()["errors"][0]["detail"] == {"reason": "repository"}
        response = pusher.ask(method, "/v2/other/" + path, b"{}" if method == "PUT" else None)
        assert response.status in (400, 404)


def test_tags_of_the_upstream_only(make_mirror):
    """Whether the path names them or a parameter, in whatever place."""
    registry = make_mirror(MIRROR_PRECEDENCE="team/app:stable*=upstream-only")
    pusher = Pusher(registry.address)
    for reference, status in (("stable", 403), ("stable-1", 403), ("other", 400), (EMPTY + "?tag=stable", 403),
                              (EMPTY + "?tag=" + "x" * 200 + "&tag=%zz&tag=a&tag=stable", 403), (EMPTY, 400), (EMPTY + "?tag=a", 400)):
        response = pusher.ask("PUT", "/v2/%s/manifests/%s" % (REPOSITORY, reference), b"{}")
        assert response.status == status, (reference, response.body)
        assert status != 403 or response.json()["errors"][0]["detail"] == {"reason": "precedence"}
