"""An upstream behind TLS and HTTP/2, as the public registries are: nginx before a real registry."""
import os

import pytest

from lib import clients
from lib.images import Image, noise
from lib.process import Process, can_connect, free_port
from lib.tls import make_certificate
from lib.waiting import wait_until

CONFIGURATION = """
daemon off;
worker_processes 1;
pid %(folder)s/pid;
error_log stderr;
events { worker_connections 256; }
http {
    log_format protocol '$request_method $uri $server_protocol $status';
    access_log %(folder)s/requests protocol;
    client_body_temp_path %(folder)s/t1; proxy_temp_path %(folder)s/t2; fastcgi_temp_path %(folder)s/t3;
    uwsgi_temp_path %(folder)s/t4; scgi_temp_path %(folder)s/t5;
    server {
        listen 127.0.0.1:%(port)d ssl http2;
        ssl_certificate %(folder)s/server.crt;
        ssl_certificate_key %(folder)s/server.key;
        location / { proxy_pass %(upstream)s; proxy_set_header Host $http_host; proxy_buffering off; }
    }
}
"""


class Front:
    """nginx with TLS before an upstream."""

    def __init__(self, folder, upstream):
        self.folder = str(folder)
        os.makedirs(self.folder)
        self.port = free_port()
        self.url = "https://127.0.0.1:%d" % self.port
        self.certificate = make_certificate(self.folder, "server")
        path = os.path.join(self.folder, "nginx.conf")
        with open(path, "w") as output:
            output.write(CONFIGURATION % {"folder": self.folder, "port": self.port, "upstream": upstream.url})
        self.process = Process(["nginx", "-c", path, "-p", self.folder], os.path.join(self.folder, "log"))
        self.process.wait_ready(lambda: can_connect(("127.0.0.1", self.port)), "accepts connections")

    def requests(self):
        with open(os.path.join(self.folder, "requests")) as log:
            return log.read().splitlines()


@pytest.fixture
def front(tmp_path, make_upstream):
    clients.need("nginx")
    upstream = make_upstream()
    image = Image([{"data": noise(3000000, seed)} for seed in range(3)])
    upstream.push(image, "library/test", "latest")
    made = Front(tmp_path / "front", upstream)
    made.image = image
    yield made
    made.process.stop()


def test_pull_over_tls(front, make_mirror):
    mirror = make_mirror(front, MIRROR_CA_FILE=front.certificate)
    manifest = mirror.get("/v2/library/test/manifests/latest")
    assert manifest.status == 200 and manifest.body == front.image.manifest
    for digest, body in front.image.blobs.items():
        mirror.check_right(digest, body)
        mirror.wait_kept(digest)
    # nginx writes the line of a request a moment after its last byte.
    wait_until(lambda: len([line for line in front.requests() if "/blobs/" in line]) >= len(front.image.blobs), "all are told")
    requests = front.requests()
    assert [line for line in requests if "/manifests/" in line and "HTTP/2.0 200" in line]
    assert len([line for line in requests if "/blobs/" in line]) == len(front.image.blobs)


def test_unknown_authority_is_refused(front, make_mirror, tmp_path):
    """Nothing is asked of a server whose certificate is not trusted, and nothing of it is kept."""
    mirror = make_mirror(front, MIRROR_CA_FILE=make_certificate(str(tmp_path), "other"), MIRROR_RETRIES_MAX="0")
    digest = front.image.layers[0]["digest"]
    assert mirror.get("/v2/library/test/manifests/latest").status in (502, 503)
    assert mirror.blob(digest).status in (502, 503)
    assert front.requests() == [] and mirror.kept_digests() == []


def test_verification_can_be_switched_off(front, make_mirror):
    mirror = make_mirror(front, MIRROR_TLS_VERIFY="false")
    assert mirror.get("/v2/library/test/manifests/latest").status == 200
