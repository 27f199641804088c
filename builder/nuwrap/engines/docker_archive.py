"""An archive of `docker save` written as an OCI layout (opencontainers/image-spec image-layout.md), by any Docker.

The archive's `manifest.json` names config and layers: in files of its own form before Docker 25, in blobs of a layout
since then. Layers stay as they are, packed or not.
"""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from typing import IO, Any, Final

from nuwrap.errors import BuildError

PIECE: Final = 1024 * 1024
GZIP: Final = b"\x1f\x8b"
MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
CONFIG: Final = "application/vnd.oci.image.config.v1+json"
LAYER: Final = "application/vnd.oci.image.layer.v1.tar"


def write_layout(archive: str, folder: str, *, name: str) -> str:
    """Write the image as a layout into the folder, under that name, and return its manifest's digest.

    Raises BuildError for an archive that is none, or a folder that cannot be written.
    """
    try:
        os.makedirs(os.path.join(folder, "blobs", "sha256"), exist_ok=True)
        with tarfile.open(archive) as tar:
            return _write(tar, folder, name)
    except OSError as exc:
        kind = "disk" if exc.errno == 28 else "engine"
        raise BuildError(f"the image cannot be written to {folder!r}: {exc.strerror or exc}", kind) from exc
    except (tarfile.TarError, KeyError, IndexError, ValueError) as exc:
        raise BuildError(f"docker save has not written what can be read: {exc}") from exc


def _write(tar: tarfile.TarFile, folder: str, name: str) -> str:
    listed = json.load(_open(tar, "manifest.json"))[0]
    config = {"mediaType": CONFIG, **_store(_open(tar, listed["Config"]), folder)}
    layers = [_layer(_open(tar, one), folder) for one in listed["Layers"]]
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers}
    text = json.dumps(manifest).encode()
    about = {"digest": f"sha256:{hashlib.sha256(text).hexdigest()}", "size": len(text)}
    _write_file(_blob(folder, about["digest"]), text)
    tagged = {"mediaType": MANIFEST, **about, "annotations": {"org.opencontainers.image.ref.name": name}}
    _write_file(os.path.join(folder, "oci-layout"), b'{"imageLayoutVersion": "1.0.0"}')
    _write_file(os.path.join(folder, "index.json"), json.dumps({"schemaVersion": 2, "manifests": [tagged]}).encode())
    return str(about["digest"])


def _layer(source: IO[bytes], folder: str) -> dict[str, Any]:
    is_packed = source.read(len(GZIP)) == GZIP
    source.seek(0)
    return {"mediaType": f"{LAYER}+gzip" if is_packed else LAYER, **_store(source, folder)}


def _store(source: IO[bytes], folder: str) -> dict[str, Any]:
    """Write a blob under its digest and return digest and size."""
    digest, size = hashlib.sha256(), 0
    path = os.path.join(folder, f".new-{os.getpid()}")
    with open(path, "wb") as target:
        while piece := source.read(PIECE):
            target.write(piece)
            digest.update(piece)
            size += len(piece)
    name = f"sha256:{digest.hexdigest()}"
    os.replace(path, _blob(folder, name))
    return {"digest": name, "size": size}


def _open(tar: tarfile.TarFile, name: str) -> IO[bytes]:
    found = tar.extractfile(name)
    if found is None:
        raise ValueError(f"{name!r} is no file")
    return found


def _blob(folder: str, digest: object) -> str:
    return os.path.join(folder, "blobs", "sha256", str(digest).partition(":")[2])


def _write_file(path: str, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)
