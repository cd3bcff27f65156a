"""Pushing by the protocol, one step at a time, to whatever registry listens at an address."""
import urllib.parse

from . import rawhttp
from .images import as_body, digest_of
from .waiting import PATIENCE_S

OCTETS = "application/octet-stream"
PIECE = 1 << 18


def target_of(location):
    """Path and query of a Location, which may be absolute."""
    parts = urllib.parse.urlsplit(location)
    return parts.path + ("?" + parts.query if parts.query else "")


def with_query(target, **words):
    return target + ("&" if "?" in target else "?") + urllib.parse.urlencode(words)


def send_request(client, method, target, body=None, fields=()):
    """The head and the whole body. A peer that answers early and closes is no failure: its answer is still to be read."""
    lines = list(fields.items() if isinstance(fields, dict) else fields)
    if body is not None:
        lines.append(("Content-Length", str(body.size)))
    client.request(target, method, lines)
    try:
        for offset in range(0, body.size if body is not None else 0, PIECE):
            client.send(body.read(offset, PIECE))
    except (BrokenPipeError, ConnectionResetError):
        pass


def chunked(data, n_pieces=3):
    """The same bytes in the chunked coding."""
    size = max(1, -(-len(data) // n_pieces))
    pieces = [data[n:n + size] for n in range(0, len(data), size)] + [b""]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)


class Pusher:
    """Each request is on a connection of its own, unless a client is given."""

    def __init__(self, address, timeout_s=PATIENCE_S):
        self.address, self.timeout_s = address, timeout_s

    def connect(self):
        return rawhttp.Client(self.address, self.timeout_s)

    def ask(self, method, target, body=None, fields=(), client=None):
        if client is None:
            with self.connect() as client:
                return self.ask(method, target, body, fields, client)
        send_request(client, method, target, None if body is None else as_body(body), fields)
        return client.read_response(method)

    def begin(self, repository, client=None, **query):
        """POST; its answer stands in the upload."""
        target = "/v2/%s/blobs/uploads/" % repository
        response = self.ask("POST", with_query(target, **query) if query else target, b"", client=client)
        assert response.status == 202, (response.head, response.body)
        return Upload(self, response, repository)

    def mount(self, repository, digest, source=None):
        query = {"mount": digest, **({"from": source} if source else {})}
        return self.ask("POST", with_query("/v2/%s/blobs/uploads/" % repository, **query), b"")

    def single(self, repository, data, digest=None):
        """One POST with all of it."""
        body = as_body(data)
        target = with_query("/v2/%s/blobs/uploads/" % repository, digest=digest or body.digest)
        return self.ask("POST", target, body, [("Content-Type", OCTETS)])

    def blob(self, repository, data):
        """POST, PATCH, PUT, as docker pushes."""
        upload = self.begin(repository)
        response = upload.patch(data)
        assert response.status == 202, (response.head, response.body)
        response = upload.put(as_body(data).digest)
        assert response.status == 201, (response.head, response.body)
        return as_body(data).digest

    def put_manifest(self, repository, reference, data, media_type, tags=()):
        target = "/v2/%s/manifests/%s" % (repository, reference)
        if tags:
            target += "?" + urllib.parse.urlencode([("tag", tag) for tag in tags])
        return self.ask("PUT", target, data, [("Content-Type", media_type)])

    def delete(self, repository, kind, reference):
        """kind: blobs or manifests."""
        return self.ask("DELETE", "/v2/%s/%s/%s" % (repository, kind, reference))

    def image(self, repository, image, *tags):
        """An Image or Index with all that hangs on it; manifests of platforms first."""
        for body in image.blobs.values():
            self.blob(repository, body)
        for digest, (media_type, data) in image.manifests().items():
            if digest != image.digest:
                assert self.put_manifest(repository, digest, data, media_type).status == 201
        for reference in tags or (image.digest,):
            response = self.put_manifest(repository, reference, image.manifest, image.media_type)
            assert response.status == 201, (response.head, response.body)
        return image.digest

    def check_image(self, repository, image, *tags):
        """It can be pulled, byte for byte: by its tags, its digests, and all its blobs."""
        wanted = {("manifests", reference): image.manifest for reference in tags}
        wanted.update({("manifests", digest): data for digest, (_, data) in image.manifests().items()})
        wanted.update({("blobs", digest): body.data for digest, body in image.blobs.items()})
        accept = [("Accept", ", ".join({media_type for media_type, _ in image.manifests().values()}))]
        for (kind, reference), data in wanted.items():
            response = self.ask("GET", "/v2/%s/%s/%s" % (repository, kind, reference), fields=accept)
            assert response.status == 200, (kind, reference, response.head, response.body[:300])
            assert response["docker-content-digest"] == digest_of(data)
            assert response.body == data, "%s %s has other bytes" % (kind, reference)

    def tags(self, repository):
        response = self.ask("GET", "/v2/%s/tags/list" % repository)
        return response.json()["tags"] if response.status == 200 else None


class Upload:
    """One upload under way: where it is to go on, and how far it is as the registry said last."""

    def __init__(self, pusher, response, repository):
        self.pusher, self.repository = pusher, repository
        self.id = response["docker-upload-uuid"]
        self.size = 0
        self.note(response)

    def note(self, response):
        if response.status in (202, 204):
            first, _, last = response["range"].partition("-")
            assert first == "0" and last.isdigit(), response["range"]
            # An empty upload and one of a single byte look the same.
            self.size = int(last) + 1 if int(last) else 0
            self.target = target_of(response["location"])
        return response

    def patch(self, data, content_range=None, client=None):
        fields = [("Content-Type", OCTETS)]
        if content_range is not None:
            fields.append(("Content-Range", content_range))
        return self.note(self.pusher.ask("PATCH", self.target, data, fields, client))

    def rest(self, body):
        """PATCH with what is not there yet. A range cannot say that this is nothing."""
        if self.size == body.size:
            return self.patch(b"")
        return self.patch(body.read(self.size, body.size - self.size),
                          "%d-%d" % (self.size, body.size - 1) if self.size else None)

    def put(self, digest, data=b"", client=None):
        return self.pusher.ask("PUT", with_query(self.target, digest=digest), data, [("Content-Type", OCTETS)], client)

    def status(self):
        return self.note(self.pusher.ask("GET", self.target))

    def cancel(self):
        return self.pusher.ask("DELETE", self.target)

    def is_gone(self):
        return self.pusher.ask("GET", self.target).status == 404
