"""The trees of the images as archives, the same bytes for the same checkout: what the Dockerfiles unpack."""

from __future__ import annotations

import gzip
import os
import shutil
import tarfile
from collections.abc import Mapping

from nuwrap.command import Command, run
from nuwrap.errors import BuildError
from nuwrap.spec.build import TREE
from nuwrap_runtime import __version__
from nuwrap_runtime.host.image_tree import MOMENT, settle

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
UV_LOCK = os.path.join(ROOT, "requirements", "uv.txt")
SECONDS = 900.0
ZIP_LEVEL = 6  # Docker's


def make_archive(path: str, python: str, platform: str, environ: Mapping[str, str], *, has_uv: bool) -> None:
    """Make the tree for images of that platform (`linux/amd64`) and pack it. Raises BuildError."""
    tree = f"{path}.tree"
    shutil.rmtree(tree, ignore_errors=True)
    uv = ["--uv-lock", UV_LOCK] if has_uv else []
    argv = [python, "-m", "nuwrap_runtime.host.tree", tree, "--no-bytecode", "--platform", platform, *uv]
    done = run(Command(argv, environ, cwd=ROOT), timeout_s=SECONDS)
    if done.returncode:
        raise BuildError(f"cannot make the tree of {path!r}: {done.errors.decode('utf-8', 'replace').strip()}")
    own = os.path.join(tree, "licenses", f"nuwrap-{__version__}")
    os.mkdir(own)
    shutil.copyfile(os.path.join(ROOT, "LICENSE"), os.path.join(own, "LICENSE"))
    settle(tree)
    pack(tree, path)
    shutil.rmtree(tree)


def pack(tree: str, path: str) -> None:
    """Write the archive that has the tree at /opt/nuwrap; root owns all, and nothing of this machine is in it."""
    place = TREE.strip("/")
    above = tarfile.TarInfo(os.path.dirname(place))
    above.type, above.mode, above.mtime = tarfile.DIRTYPE, 0o755, MOMENT
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(above)
        archive.add(tree, place, filter=_impersonal)  # which sorts


def compressed_bytes(path: str) -> int:
    """Return the bytes that the archive has as a layer in a registry."""
    counted = _Counted()
    with open(path, "rb") as source, gzip.GzipFile(fileobj=counted, mode="wb", compresslevel=ZIP_LEVEL) as target:
        shutil.copyfileobj(source, target, 1024 * 1024)
    return counted.total


class _Counted:
    """A file that only counts."""

    total = 0

    def write(self, data: bytes) -> int:
        """Count the bytes and forget them."""
        self.total += len(data)
        return len(data)

    def flush(self) -> None:
        """Have nothing to do."""


def _impersonal(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    return info
