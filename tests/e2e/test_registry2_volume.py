"""One storage folder, two programs: what registry:2 wrote is served by the mirror at once, and the other way round."""
import base64
import hashlib
import hmac
import json
import os
import re
import shutil
import subprocess

import pytest

from lib.clients import need
from lib.images import Index, Noise, digest_of, noise, simple
from lib.mirror import Mirror
from lib.pushing import Pusher, Upload, with_query
from lib.upstream import Upstream
from lib.waiting import wait_until

REPOSITORY = "team/app"
IMAGES = {"multi": Index([simple(1, layers=2), simple(2)]), "schema2": simple(3, "docker", layers=3),
          "list": Index([simple(4, "docker"), simple(5, "docker")], "docker")}
BODY = Noise(3 << 20, 7)
HALF = 1 << 20


class Volume:
    """The folder, and whichever program runs on it."""

    def __init__(self, folder):
        need("docker-registry")
        self.folder, self.storage = folder, folder / "mirror" / "storage"
        (folder / "mirror").mkdir()
        self.mirror = Mirror(folder / "mirror", DELETE_ENABLED="true")
        self.registry = Upstream(folder / "registry", storage=self.storage)

    def with_registry(self):
        self.mirror.stop()
        self.registry.start()
        return Pusher(("127.0.0.1", self.registry.port))

    def with_mirror(self):
        self.registry.stop()
        self.mirror.start()
        return Pusher(self.mirror.address)

    def stop(self):
        self.registry.stop()
        self.mirror.check_storage()
        self.mirror.stop()

    def collect(self):
        """What docker-registry's collector, which reads all links, would remove."""
        self.mirror.stop()
        done = subprocess.run(["docker-registry", "garbage-collect", "--dry-run", self.registry.config],
                              capture_output=True, text=True, env={"PATH": os.environ["PATH"]})
        assert done.returncode == 0, done.stdout + done.stderr
        return set(re.findall(r"^blob eligible for deletion: (\S+)", done.stdout, re.M))


@pytest.fixture
def volume(tmp_path):
    made = Volume(tmp_path)
    yield made
    made.stop()


@pytest.fixture
def old(tmp_path, volume):
    """An existing volume, copied under the mirror's storage path: images, and half an upload."""
    source = Upstream(tmp_path / "source").start()
    pusher = Pusher(("127.0.0.1", source.port))
    for tag, image in IMAGES.items():
        pusher.image(REPOSITORY, image, tag, tag + "-2")
    upload = pusher.begin(REPOSITORY)
    assert upload.patch(BODY.read(0, HALF)).status == 202
    source.stop()
    shutil.copytree(source.storage, volume.storage, dirs_exist_ok=True)
    return upload


def all_tags():
    return sorted([*IMAGES, *(tag + "-2" for tag in IMAGES)])


def check_all(pusher):
    assert sorted(pusher.tags(REPOSITORY)) == all_tags()
    for tag, image in IMAGES.items():
        pusher.check_image(REPOSITORY, image, tag, tag + "-2")


def resumed(pusher, repository, upload_id, query=None):
    """The upload of this id, as the registry tells about it."""
    target = "/v2/%s/blobs/uploads/%s" % (repository, upload_id)
    response = pusher.ask("GET", with_query(target, **query) if query else target)
    assert response.status == 204, response.head
    return Upload(pusher, response, repository)


def sealed_state(volume, repository, upload_id, size):
    """docker-registry trusts nobody but itself with how far an upload is."""
    folder = os.path.join(volume.storage, "docker/registry/v2/repositories", repository, "_uploads", upload_id)
    with open(os.path.join(folder, "startedat")) as started:
        state = json.dumps({"Name": repository, "UUID": upload_id, "Offset": size, "StartedAt": started.read()}).encode()
    seal = hmac.new(volume.registry.secret.encode(), state, hashlib.sha256).digest()
    return {"_state": base64.urlsafe_b64encode(seal + state).decode()}


def finish(upload):
    assert upload.size == HALF
    response = upload.rest(BODY)
    assert response.status == 202 and upload.size == BODY.size
    assert upload.put(BODY.digest).status == 201
    assert upload.pusher.ask("GET", "/v2/%s/blobs/%s" % (REPOSITORY, BODY.digest)).body == BODY.read(0, BODY.size)


def test_registry2_volume_is_served_at_once(volume, old):
    """Without an upstream, and nothing is converted: not a file of it changes."""
    def files():
        return {os.path.join(folder, name): os.stat(os.path.join(folder, name)).st_mtime_ns
                for folder, _, names in os.walk(volume.storage / "docker") for name in names}
    before = files()
    pusher = volume.with_mirror()
    check_all(pusher)
    assert {path: files().get(path) for path in before} == before
    assert pusher.ask("GET", "/v2/_catalog").json()["repositories"] == [REPOSITORY]


def test_upload_of_registry2_goes_on(volume, old):
    finish(resumed(volume.with_mirror(), REPOSITORY, old.id))


def test_registry2_volume_is_pushed_to_and_given_back(volume, old):
    """The same folder, under one program after the other; each serves what both have written."""
    pusher = volume.with_mirror()
    new, moved = simple(11, layers=2), Index([simple(12), simple(13, "docker")])
    pusher.image(REPOSITORY, new, "new")
    pusher.image(REPOSITORY, moved, "multi-2")
    borrowed = IMAGES["schema2"].layers[0]["digest"]
    assert pusher.mount("team/other", borrowed, REPOSITORY).status == 201
    pusher.image("team/other", simple(14), "1.0")
    assert pusher.delete(REPOSITORY, "manifests", "schema2-2").status == 202
    upload = pusher.begin(REPOSITORY)
    assert upload.patch(BODY.read(0, HALF)).status == 202

    def check(pusher):
        for tag, image in (*IMAGES.items(), ("multi-2", moved), ("new", new), ("list-2", IMAGES["list"])):
            pusher.check_image(REPOSITORY, image, tag)
        assert sorted(pusher.tags(REPOSITORY)) == sorted({*all_tags(), "new"} - {"schema2-2"})
        pusher.check_image("team/other", simple(14), "1.0")
        assert digest_of(pusher.ask("GET", "/v2/team/other/blobs/" + borrowed).body) == borrowed
        assert pusher.ask("GET", "/v2/_catalog").json()["repositories"] == [REPOSITORY, "team/other"]
    check(pusher)
    pusher = volume.with_registry()
    check(pusher)
    finish(resumed(pusher, REPOSITORY, upload.id, sealed_state(volume, REPOSITORY, upload.id, HALF)))
    pusher.image(REPOSITORY, simple(15), "new")
    pusher = volume.with_mirror()
    pusher.check_image(REPOSITORY, simple(15), "new")
    pusher.check_image(REPOSITORY, moved, "multi-2")
    assert pusher.ask("GET", "/v2/%s/blobs/%s" % (REPOSITORY, BODY.digest)).body == BODY.read(0, BODY.size)


def test_registry2_finds_all_links(volume):
    """Its collector follows what the mirror has linked, and finds as garbage only what nothing references."""
    pusher = volume.with_mirror()
    for tag, image in IMAGES.items():
        pusher.image(REPOSITORY, image, tag)
    lonely = pusher.blob(REPOSITORY, noise(100000, 21))
    assert volume.collect() == {lonely}


def test_other_digests_do_not_disturb_registry2(volume):
    """It knows no sha512; beside such content the rest is served."""
    pusher = volume.with_mirror()
    data = noise(50000, 22)
    digest = digest_of(data, "sha512")
    assert pusher.single(REPOSITORY, data, digest).status == 201
    pusher.image(REPOSITORY, IMAGES["multi"], "multi")
    pusher = volume.with_registry()
    pusher.check_image(REPOSITORY, IMAGES["multi"], "multi")
    assert pusher.tags(REPOSITORY) == ["multi"]
    pusher = volume.with_mirror()
    assert pusher.ask("GET", "/v2/%s/blobs/%s" % (REPOSITORY, digest)).body == data


def test_what_was_mirrored_is_given_back(make_upstream, volume):
    """Also what came from an upstream can be served by docker-registry afterwards."""
    upstream = make_upstream()
    upstream.push(IMAGES["multi"], "library/test", "latest")
    volume.mirror.settings["MIRROR_SOURCE"] = upstream.url
    pusher = volume.with_mirror()
    pusher.check_image("library/test", IMAGES["multi"], "latest")
    volume.mirror.wait_no_fills()

    def linked():
        """Links follow the answer."""
        root = volume.storage / "docker/registry/v2/repositories/library/test"
        wanted = ["_layers/sha256/" + digest.split(":")[1] for digest in IMAGES["multi"].blobs]
        wanted += ["_manifests/revisions/sha256/" + digest.split(":")[1] for digest in IMAGES["multi"].manifests()]
        return all((root / path / "link").exists() for path in [*wanted, "_manifests/tags/latest/current"])
    wait_until(linked, "everything is linked")
    upstream.stop()
    volume.with_registry().check_image("library/test", IMAGES["multi"], "latest")
