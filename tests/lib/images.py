"""Images made by hand: layers, configurations, manifests and indexes, in both dialects, and big bodies without disk."""
import functools
import gzip
import hashlib
import io
import json
import random
import tarfile

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
ALL_MANIFESTS = ", ".join([OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST])
BLOCK = 1 << 20


class Bytes:
    """A body in memory."""

    def __init__(self, data):
        self.data = data
        self.size = len(data)

    def read(self, offset, length):
        return self.data[offset:offset + length]

    @functools.cached_property
    def digest(self):
        return "sha256:" + hashlib.sha256(self.data).hexdigest()


class Endless:
    """A body that is computed block by block: as large as a test wants and never anywhere as a whole."""

    def __init__(self, size):
        self.size = size

    def block(self, number):
        raise NotImplementedError

    def read(self, offset, length):
        end = min(offset + length, self.size)
        parts = []
        while offset < end:
            block = self.block(offset // BLOCK)
            part = block[offset % BLOCK:offset % BLOCK + end - offset]
            parts.append(part)
            offset += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def hash(self, algorithm):
        hashed = hashlib.new(algorithm)
        for offset in range(0, self.size, BLOCK):
            hashed.update(self.read(offset, BLOCK))
        return "%s:%s" % (algorithm, hashed.hexdigest())

    @functools.cached_property
    def digest(self):
        return self.hash("sha256")


class Noise(Endless):
    """Pseudo-random bytes, the same for the same seed."""

    def __init__(self, size, seed=1):
        super().__init__(size)
        self.seed = seed
        self.cached = functools.lru_cache(maxsize=64)(self.compute)

    def compute(self, number):
        return random.Random(self.seed * 1000003 + number).randbytes(min(BLOCK, self.size - number * BLOCK))

    def block(self, number):
        return self.cached(number)


class Zeros(Endless):
    """Zero bytes but for a mark at the start of each MiB, so that an offset mixed up is a byte wrong."""

    def __init__(self, size):
        super().__init__(size)
        self.last = -1, b""

    def block(self, number):
        known, data = self.last
        if known != number:
            data = number.to_bytes(8, "big") + bytes(BLOCK - 8)
            self.last = number, data
        return data


def noise(size, seed=1):
    return Noise(size, seed).read(0, size)


def as_body(data):
    return Bytes(data) if isinstance(data, (bytes, bytearray)) else data


def digest_of(data, algorithm="sha256"):
    return "%s:%s" % (algorithm, hashlib.new(algorithm, data).hexdigest())


def tar_of(files):
    """files: {path: bytes} or {path: (bytes, mode)}; a tar with fixed times and owners."""
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        folders = sorted({"/".join(path.split("/")[:n]) for path in files for n in range(1, path.count("/") + 1)})
        for folder in folders:
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(entry)
        for path, content in sorted(files.items()):
            data, mode = content if isinstance(content, tuple) else (content, 0o644)
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(data), mode
            archive.addfile(entry, io.BytesIO(data))
    return output.getvalue()


class Image:
    """One image of one platform. layers: a list of {path: content}."""

    def __init__(self, layers, dialect="oci", architecture="amd64", command=("/bin/sh",), annotations=None):
        is_oci = dialect == "oci"
        self.media_type = OCI_MANIFEST if is_oci else DOCKER_MANIFEST
        self.architecture = architecture
        self.blobs = {}
        self.layers, differences = [], []
        for files in layers:
            archive = tar_of(files)
            packed = gzip.compress(archive, 1, mtime=0)
            differences.append(digest_of(archive))
            self.layers.append(self.keep(packed, OCI_LAYER if is_oci else DOCKER_LAYER))
        configuration = json.dumps({
            "architecture": architecture, "os": "linux", "created": "2020-01-01T00:00:00Z",
            "config": {"Cmd": list(command), "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": differences},
            "history": [{"created": "2020-01-01T00:00:00Z", "created_by": "tests"} for _ in layers],
        }).encode()
        self.config = self.keep(configuration, OCI_CONFIG if is_oci else DOCKER_CONFIG)
        manifest = {"schemaVersion": 2, "mediaType": self.media_type, "config": self.config, "layers": self.layers}
        if annotations:
            manifest["annotations"] = annotations
        # Odd white space on purpose: whoever re-serialises it changes its digest.
        self.manifest = json.dumps(manifest, indent=3).encode() + b"\n"
        self.digest = digest_of(self.manifest)

    def keep(self, data, media_type):
        digest = digest_of(data)
        self.blobs[digest] = Bytes(data)
        return {"mediaType": media_type, "size": len(data), "digest": digest}

    def descriptor(self):
        return {"mediaType": self.media_type, "size": len(self.manifest), "digest": self.digest,
                "platform": {"architecture": self.architecture, "os": "linux"}}

    def manifests(self):
        return {self.digest: (self.media_type, self.manifest)}


class Index:
    """Several images under one name, one per platform."""

    def __init__(self, images, dialect="oci"):
        self.images = images
        self.media_type = OCI_INDEX if dialect == "oci" else DOCKER_LIST
        self.manifest = json.dumps({
            "schemaVersion": 2, "mediaType": self.media_type,
            "manifests": [image.descriptor() for image in images]}, indent=1).encode()
        self.digest = digest_of(self.manifest)
        self.blobs = {digest: body for image in images for digest, body in image.blobs.items()}

    def manifests(self):
        found = {self.digest: (self.media_type, self.manifest)}
        for image in self.images:
            found.update(image.manifests())
        return found


def simple(seed=1, dialect="oci", layers=1):
    """A small image whose content depends on the seed."""
    return Image([{"file-%d-%d" % (seed, n): noise(2000 + seed, seed * 31 + n)} for n in range(layers)], dialect)
