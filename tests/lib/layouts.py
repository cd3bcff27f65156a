"""Images on disk, in the forms in which clients take them without a registry."""
import io
import json
import os
import tarfile


def descriptor_of(image):
    return {"mediaType": image.media_type, "size": len(image.manifest), "digest": image.digest}


def write_layout(image, folder, tag="latest"):
    """An OCI image layout with one Image or Index under a tag."""
    folder = str(folder)
    contents = {digest: body.data for digest, body in image.blobs.items()}
    contents.update({digest: data for digest, (_, data) in image.manifests().items()})
    os.makedirs(os.path.join(folder, "blobs", "sha256"))
    for digest, data in contents.items():
        with open(os.path.join(folder, "blobs", *digest.split(":")), "wb") as output:
            output.write(data)
    entry = {**descriptor_of(image), "annotations": {"org.opencontainers.image.ref.name": tag}}
    for name, value in (("oci-layout", {"imageLayoutVersion": "1.0.0"}),
                        ("index.json", {"schemaVersion": 2, "manifests": [entry]})):
        with open(os.path.join(folder, name), "w") as output:
            json.dump(value, output)
    return folder


def write_layout_archive(image, path, name):
    """The same as a tar. name: what the importing client shall call it."""
    path = str(path)
    folder = write_layout(image, path + ".layout", name)
    with tarfile.open(path, "w") as archive:
        for entry in sorted(os.listdir(folder)):
            archive.add(os.path.join(folder, entry), entry)
    return path


def write_docker_archive(image, path, name):
    """What docker save writes and docker load reads."""
    config = image.config["digest"].split(":")[1] + ".json"
    members = {config: image.blobs[image.config["digest"]].data}
    for layer in image.layers:
        members[layer["digest"].split(":")[1] + ".tar"] = image.blobs[layer["digest"]].data
    layers = [layer["digest"].split(":")[1] + ".tar" for layer in image.layers]
    members["manifest.json"] = json.dumps([{"Config": config, "RepoTags": [name], "Layers": layers}]).encode()
    with tarfile.open(str(path), "w") as archive:
        for member, data in members.items():
            entry = tarfile.TarInfo(member)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return str(path)
