"""Packages that tests make: wheels, source archives, a folder of them in the place of an index."""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
import zipfile
from pathlib import Path


def wheel(folder: Path, name: str, version: str, *metadata: str) -> Path:
    """Write a wheel with one module; `metadata` are further lines, as `Requires-Dist: leaf>=2`."""
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": f"VERSION = {version!r}\n",
        f"{info}/METADATA": "\n".join(["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *metadata, ""]),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = [f"{path},sha256={_digest(text)},{len(text)}" for path, text in files.items()] + [f"{info}/RECORD,,", ""]
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for one, text in {**files, f"{info}/RECORD": "\n".join(record)}.items():
            archive.writestr(one, text)
    return path


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


def sdist(folder: Path, name: str, *backend: str) -> None:
    """Write a source archive whose build runs the lines of `backend`, then builds a wheel."""
    made = wheel(folder, name, "1.0")
    head = "import base64, os, sys\n" + "\n".join(backend)
    content = base64.b64encode(made.read_bytes())
    build = f"def build_wheel(folder, *more):\n    name, data = {made.name!r}, {content!r}\n"
    build += "    open(os.path.join(folder, name), 'wb').write(base64.b64decode(data))\n    return name\n"
    made.unlink()
    project = f"[project]\nname = '{name}'\nversion = '1.0'\n"
    project += "[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n"
    info = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
    with tarfile.open(folder / f"{name}-1.0.tar.gz", "w:gz") as archive:
        for path, text in {"pyproject.toml": project, "backend.py": f"{head}\n{build}", "PKG-INFO": info}.items():
            member = tarfile.TarInfo(f"{name}-1.0/{path}")
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))


def make_links(folder: Path) -> None:
    """Fill the folder: leaf 1 and 2; twig 0.9 takes any leaf, twig 1 needs leaf 2."""
    wheel(folder, "leaf", "1.0")
    wheel(folder, "leaf", "2.0")
    wheel(folder, "setuptools", "1.0")
    wheel(folder, "twig", "0.9", "Requires-Dist: leaf")
    wheel(folder, "twig", "1.0", "Requires-Dist: leaf>=2")
    wheel(folder, "tree", "1.0", "Provides-Extra: more", "Requires-Dist: leaf>=2; extra == 'more'")
