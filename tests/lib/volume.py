"""A storage folder as registry:2 writes it, by hand: what another program pushed there."""
import os

V2 = "docker/registry/v2"


def write(path, data):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path + ".new", "wb") as file:
        file.write(data)
    os.replace(path + ".new", path)


def put_blob(storage, digest, data):
    algorithm, value = digest.split(":")
    write(os.path.join(storage, V2, "blobs", algorithm, value[:2], value, "data"), data)


def repository_file(storage, repository, *parts):
    return os.path.join(storage, V2, "repositories", repository, *parts)


def tag_file(storage, repository, tag, name="current/link"):
    return repository_file(storage, repository, "_manifests/tags", tag, name)


def put_image(storage, repository, image, *tags):
    """An Image or Index with all that hangs on it, links after content."""
    for digest, body in image.blobs.items():
        put_blob(storage, digest, body.read(0, body.size))
        write(repository_file(storage, repository, "_layers", *digest.split(":"), "link"), digest.encode())
    for digest, (_, data) in image.manifests().items():
        put_blob(storage, digest, data)
        write(repository_file(storage, repository, "_manifests/revisions", *digest.split(":"), "link"), digest.encode())
    for tag in tags:
        name = os.path.join("index", *image.digest.split(":"), "link")
        write(tag_file(storage, repository, tag, name), image.digest.encode())
        write(tag_file(storage, repository, tag), image.digest.encode())


def tag_digest(storage, repository, tag):
    """What registry:2 would serve; None: no such tag."""
    try:
        with open(tag_file(storage, repository, tag)) as file:
            return file.read()
    except FileNotFoundError:
        return None
