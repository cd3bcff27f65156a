"""What an operator does with images: the pages of the admin listener, and the commands that speak to them."""
import json
import os
import shutil
import subprocess

import pytest

from lib import evicting, rawhttp
from lib.evicting import all_digests, ask, command, command_json, keep, size_of, wait_image
from lib.images import Image, noise, simple
from lib.mirror import binary
from lib.process import free_port
from lib.pushing import Pusher
from lib.waiting import wait_until

REPOSITORY = "library/test"


@pytest.fixture
def stocked(mirror, fake):
    """A mirror with three mirrored images in two repositories and a pushed one, all of them in the ledger."""
    base = {"base": noise(30000, 7)}
    mirror.images = {
        "library/test:v1": Image([base, {"own": noise(10000, 1)}]),
        "library/test:v2": Image([base, {"own": noise(20000, 2)}]),
        "team/app:v1": simple(3),
        "team/own:mine": simple(4, layers=2),
    }
    for name, image in list(mirror.images.items())[:3]:
        repository, tag = name.split(":")
        fake.add_image(image, repository, tag)
        keep(mirror, image, repository, tag)
    Pusher(mirror.address).image("team/own", mirror.images["team/own:mine"], "mine")
    evicting.wait_ready(mirror)
    wait_until(lambda: set(evicting.images(mirror)) == set(mirror.images), lambda: "listed: %s" % evicting.images(mirror))
    return mirror


# --- listing --------------------------------------------------------------------------------------


def test_list(stocked):
    """Names, sizes, what is shared, where it is from; page by page, and by pattern."""
    listed = evicting.images(stocked)
    for name, image in stocked.images.items():
        said = listed[name]
        assert said["digest"] == image.digest and said["size"] == size_of(image), said
        assert said["origin"] == ("pushed" if name == "team/own:mine" else "mirrored")
        assert said["pinned"] is False and said["whole"] is True
    shared = stocked.images["library/test:v1"].layers[0]["size"]
    assert listed["library/test:v1"]["shared"] == listed["library/test:v2"]["shared"] == shared
    assert listed["team/app:v1"]["shared"] == 0
    for pattern, wanted in [
            ("library/test", {"library/test:v1", "library/test:v2"}), ("library/test:v2", {"library/test:v2"}),
            ("*:v1", {"library/test:v1", "team/app:v1"}), ("team/*", {"team/app:v1", "team/own:mine"}),
            ("nothing", set()), ("*@" + stocked.images["team/app:v1"].digest, {"team/app:v1"})]:
        assert set(evicting.images(stocked, pattern)) == wanted, pattern
    assert len(ask(stocked, "/images?n=2")[1]["images"]) == 2


def test_names_of_registries(stocked, fake):
    """To list, to pin and to evict: a registry's name in front means its images, in patterns, too."""
    source = "127.0.0.1:%d" % fake.port
    tests = {"library/test:v1", "library/test:v2"}
    for pattern in ("library/test", source + "/library/test", source + "/library/*", source + "/*/test:*"):
        assert set(evicting.images(stocked, pattern)) == tests, pattern
    assert set(evicting.images(stocked, source + "/*")) == set(stocked.images)
    assert evicting.images(stocked, "127.0.0.1:1/*") == {}
    assert ask(stocked, "/images?pattern=127.0.0.1:1/library/test")[0] == 400
    pinned = ask(stocked, "/pins?image=%s/library/test:v*" % source, "POST")[1]["images"]
    assert {image["repository"] + ":" + image["tag"] for image in pinned} == tests
    assert set(ask(stocked, "/pins?image=%s/library/*" % source, "DELETE")[1]["pins"]) == tests
    gone = ask(stocked, "/evict?dry_run=1&image=%s/library/test:v?" % source, "POST")[1]["images"]
    assert {image["repository"] + ":" + image["tag"] for image in gone} == tests


@pytest.mark.parametrize("path, method", [
    ("/images?n=0", "GET"), ("/images?n=x", "GET"), ("/images?last=x", "GET"), ("/images?pattern=A", "GET"),
    ("/images?pattern=%zz", "GET"), ("/pins", "POST"), ("/pins?image=", "POST"), ("/pins?image=a:b:c%20d", "POST"),
    ("/pins", "DELETE"), ("/pins?n=-1", "GET"), ("/evict", "POST"), ("/evict?image=a@sha256:12", "POST"),
    ("/evict?image=" + "a" * 600, "POST")])
def test_refused(mirror, path, method):
    status, said = ask(mirror, path, method)
    assert status == 400 and said["error"], (path, said)


def test_methods(mirror):
    """What can be done with each page."""
    for path, allow in [("/images", "GET, HEAD"), ("/pins", "GET, HEAD, POST, DELETE"), ("/evict", "GET, HEAD, POST")]:
        response = rawhttp.get(mirror.admin_address, path, "PATCH", [("Content-Length", "0")])
        assert response.status == 405 and response["allow"] == allow, response.head
    assert rawhttp.get(mirror.admin_address, "/images", "DELETE").status == 405


@pytest.mark.parametrize("origin", ["http://evil.test", "https://127.0.0.1.evil.test", "null", "http://"])
def test_pages_of_others(mirror, origin):
    """What a browser posts for a page of somebody else is refused, whatever it is."""
    own = "127.0.0.1:%d" % mirror.admin_port
    for path, method in [("/evict?image=*", "POST"), ("/pins?image=a:b", "POST"), ("/pins?image=*", "DELETE"),
                         ("/offline?value=true", "POST"), ("/gc", "POST"), ("/ledger", "POST"), ("/scrub", "POST")]:
        with rawhttp.Client(mirror.admin_address) as client:
            client.request(path, method, [("Origin", origin), ("Content-Length", "0")], own)
            assert client.read_response(method).status == 403, path
    with rawhttp.Client(mirror.admin_address) as client:
        client.request("/pins?image=a:b", "POST", [("Origin", "http://" + own), ("Content-Length", "0")], own)
        assert client.read_response("POST").status == 200
        client.request("/pins", "GET", [("Origin", origin)], own)
        assert client.read_response("GET").json() == {"pins": ["a:b"]}
    assert ask(mirror, "/offline")[1]["offline"] is False


# --- pins -----------------------------------------------------------------------------------------


def pins(mirror):
    return ask(mirror, "/pins")[1]["pins"]


def test_pins(stocked):
    """By tag, digest and pattern; of what is not here, too; listed page by page; taken away again."""
    digest = stocked.images["team/app:v1"].digest
    for image in ("library/test:v1", "team/app@" + digest, "team/later:v9"):
        assert ask(stocked, "/pins?image=" + image, "POST") == (200, {"pins": [image]})
    assert ask(stocked, "/pins?image=library/test:v1", "POST")[0] == 200
    assert pins(stocked) == ["library/test:v1", "team/app@" + digest, "team/later:v9"]
    wait_image(stocked, "library/test:v1", lambda image: image["pinned"])
    wait_image(stocked, "team/app:v1", lambda image: image["pinned"])
    assert not evicting.images(stocked)["library/test:v2"]["pinned"]
    response = rawhttp.get(stocked.admin_address, "/pins?n=2")
    link = response["link"]
    assert len(response.json()["pins"]) == 2
    assert ask(stocked, link[1:link.index(">")])[1]["pins"] == ["team/later:v9"]
    assert ask(stocked, "/pins?image=library/*", "GET")[1]["pins"] == ["library/test:v1"]

    status, said = ask(stocked, "/pins?image=library/test", "POST")
    assert status == 200 and {image["tag"] for image in said["images"]} == {"v1", "v2"}
    wait_image(stocked, "library/test:v2", lambda image: image["pinned"])
    assert ask(stocked, "/pins?image=library/test:v2", "DELETE") == (200, {"pins": ["library/test:v2"]})
    wait_image(stocked, "library/test:v2", lambda image: not image["pinned"])
    assert ask(stocked, "/pins?image=library/test:v2", "DELETE")[0] == 404
    assert len(ask(stocked, "/pins?image=*", "DELETE")[1]["pins"]) == 3
    assert pins(stocked) == []


def test_pins_outlive(stocked):
    """A restart, and the loss of the ledger."""
    ask(stocked, "/pins?image=library/test:v1", "POST")
    stocked.stop()
    for name in os.listdir(os.path.join(stocked.storage, "_mirrord")):
        if name.startswith("ledger"):
            os.unlink(os.path.join(stocked.storage, "_mirrord", name))
    stocked.start()
    assert pins(stocked) == ["library/test:v1"]
    evicting.wait_ready(stocked)
    wait_image(stocked, "library/test:v1", lambda image: image["pinned"])
    status, said = ask(stocked, "/evict?image=library/*", "POST")
    assert status == 200 and said["evicted"] == 1 and said["kept"] == 1 and said["why_kept"] == "pinned", said
    assert set(evicting.images(stocked)) == {"library/test:v1", "team/app:v1", "team/own:mine"}


# --- evicting -------------------------------------------------------------------------------------


def test_evict(stocked):
    """By name and pattern; what was pushed stays; a dry run only tells."""
    before = set(stocked.kept_digests())
    status, said = ask(stocked, "/evict?image=*&dry_run=1", "POST")
    assert status == 200 and said["dry_run"] is True, said
    assert {image["repository"] + ":" + image["tag"] for image in said["images"]} == set(stocked.images) - {"team/own:mine"}
    assert said["evicted"] == 3 and said["kept"] == 1 and said["why_kept"] == "pushed"
    assert set(stocked.kept_digests()) == before

    first = stocked.images["library/test:v1"]
    status, said = ask(stocked, "/evict?image=library/test:v1", "POST")
    only = all_digests(first) - all_digests(stocked.images["library/test:v2"])
    assert status == 200 and said["evicted"] == 1 and said["blobs"] == len(only), said
    assert set(stocked.kept_digests()) == before - only
    assert ask(stocked, "/evict?image=library/test:v1", "POST")[1]["evicted"] == 0
    status, said = ask(stocked, "/evict?image=*", "POST")
    assert status == 200 and said["evicted"] == 2 and said["kept"] == 1, said
    assert set(stocked.kept_digests()) == all_digests(stocked.images["team/own:mine"])
    assert stocked.metric('mirrord_evicted_images_total{reason="command"}') == 3
    for name, image in stocked.images.items():
        evicting.pull(stocked, image, *name.split(":"))


# --- commands -------------------------------------------------------------------------------------


def test_commands(stocked):
    """As a person sees it, and as JSON."""
    listed = command_json(stocked, "ls")["images"]
    assert [image["last_use"] for image in listed] == sorted((image["last_use"] for image in listed), reverse=True)
    assert {image["repository"] + ":" + image["tag"] for image in listed} == set(stocked.images)
    status, output, _ = command(stocked, "ls", "library/*")
    lines = output.splitlines()
    assert status == 0 and lines[0].split()[:3] == ["IMAGE", "DIGEST", "SIZE"] and len(lines) == 3
    assert "KiB" in lines[1] and "mirrored" in lines[1]
    again = command(stocked, "ls", "library/*", "library/test", "library/test:v1")[1].splitlines()
    assert sorted(line.split()[0] for line in again) == sorted(line.split()[0] for line in lines)

    status, output, _ = command(stocked, "pin", "library/test:v1", "team/app")
    assert status == 0 and output.split() == ["library/test:v1", "team/app:v1"]
    wait_image(stocked, "team/app:v1", lambda image: image["pinned"])
    assert "pinned" in command(stocked, "ls", "library/test:v1")[1]
    assert command(stocked, "pin")[1].split() == ["library/test:v1", "team/app:v1"]
    assert command_json(stocked, "pin")["pins"] == ["library/test:v1", "team/app:v1"]
    for word in ("libary/*", "libary/test"):
        status, output, errors = command(stocked, "pin", word)
        assert status == 1 and not output and errors.startswith("mirrord pin: %s: nothing that is here matches" % word)
    status, output, _ = command(stocked, "evict", "--dry-run", "*")
    assert status == 0 and output.splitlines()[0] == "library/test:v2"
    assert output.splitlines()[-1].startswith("would go: 1 images, ") and "3 stay" in output
    assert command_json(stocked, "unpin", "*")["pins"] == ["library/test:v1", "team/app:v1"]
    wait_image(stocked, "team/app:v1", lambda image: not image["pinned"])
    said = command_json(stocked, "evict", "library/test:v1", "team/app")
    assert said["evicted"] == 2 and said["bytes"] > 0 and said["dry_run"] is False
    assert {image["repository"] for image in said["images"]} == {"library/test", "team/app"}
    assert set(evicting.images(stocked)) == {"library/test:v2", "team/own:mine"}
    status, output, errors = command(stocked, "unpin", "library/test:v1")
    assert status == 1 and not output and "library/test:v1" in errors and "no such pin" in errors


def test_command_line(mirror):
    """What is wrong is told, with the status of a wrong command line and how it should be."""
    for words, why in [
            (["unpin"], "no image is named"), (["evict"], "no image is named"), (["ls", "--dry-run"], "takes no --dry-run"),
            (["pin", "--dry-run", "a:b"], "takes no --dry-run"), (["check", "--json"], "takes no --json"),
            (["gc", "--rate", "5"], "takes no --rate"), (["reindex", "all"], "what is `all` for?"),
            (["ls", "--jsn"], "unknown option --jsn"), (["ls", "--json=1"], "unknown option --json=1"),
            (["ls", "-y"], "unknown option -y"), (["verify", "--rate"], "--rate wants a value"), (["ls", "-c"], "-c wants a value")]:
        status, output, errors = command(mirror, *words)
        assert status == 2 and not output, words
        assert errors.startswith("mirrord %s: %s\nusage: mirrord %s " % (words[0], why, words[0])), errors
    status, _, errors = command(mirror, "pin", "A:b")
    assert status == 1 and "A:b" in errors and "repository" in errors


def run(words, **settings):
    done = subprocess.run([binary(), *words], capture_output=True, text=True, timeout=60,
                          env={"SETTINGS_FLAVOR": "local", **settings})
    return done.returncode, done.stderr


def test_nobody_answers(tmp_path):
    """Nor is there anybody to ask."""
    for address, word in [("off", "off"), ("127.0.0.1:0", "port 0"), ("127.0.0.1:%d" % free_port(), "nobody answers"),
                          ("unix:%s/none" % tmp_path, "nobody answers")]:
        for words in (["ls"], ["pin", "a:b"], ["unpin", "a:b"], ["evict", "a:b"]):
            status, errors = run(words, ADMIN_LISTEN=address, STORAGE_PATH=str(tmp_path))
            assert status == 1 and word in errors and "admin_listen" in errors, (words, errors)


def test_unix_socket(make_mirror, fake, tmp_path):
    """The address is read from the same configuration."""
    folder = tmp_path / "admin"
    folder.mkdir()
    mirror = make_mirror(fake, ADMIN_LISTEN="unix:%s/socket" % folder)
    assert command_json(mirror, "pin", "library/test:v1") == {"pins": ["library/test:v1"]}
    status, output, errors = command(mirror, "ls")
    assert status == 0 and output.startswith("IMAGE"), errors
    assert json.loads(command(mirror, "unpin", "--json", "*")[1])["pins"] == ["library/test:v1"]
    shutil.rmtree(folder)
