"""What Docker's own store has of an image that may be in no registry: its configuration, and what its files tell.

Its files are read from a container that is made and never started: a plan runs nothing of a foreign image, one for
another architecture is read too, and an image without a shell is no exception.
"""

from __future__ import annotations

import json
import os
import posixpath
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final

from nuwrap.docker import ask, inspect_image, last_words
from nuwrap.engines.docker_client import base_environ
from nuwrap.errors import PlatformError
from nuwrap.spec.build import LABEL_API, LABEL_PYTHON, ImageFacts, Layer

USUAL_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
FILE_BYTES = 4 * 1024 * 1024
HOPS: Final = 40  # of links, as Linux allows
ELF_BYTES: Final = 4096  # a program's head, which names its loader
MINORS: Final = range(6, 20)
_VERSIONED: Final = re.compile(r"(?:platform-)?python(3\.\d+)m?")
_LOADER: Final = re.compile(rb"/(ld-musl-|ld-linux|ld64\.so)[\w.-]*\0")
_LOADERS: Final = (
    ("/lib64/ld-linux-x86-64.so.2", "glibc"),
    ("/lib/ld-linux-aarch64.so.1", "glibc"),
    ("/lib/ld-musl-x86_64.so.1", "musl"),
    ("/lib/ld-musl-aarch64.so.1", "musl"),
)


def read_local(
    environ: Mapping[str, str], reference: str, *, has_files: bool = True, has_history: bool = True, cache: str = ""
) -> ImageFacts | None:
    """Return what is known of an image that Docker has, None when it has not, or there is no Docker.

    `digest` is its registry's where Docker knows that, else the image's id. `layers` are one for each line of the
    history, without a digest, their bytes unpacked. Without `has_files` neither Python nor libc is looked for,
    without `has_history` no layer is told; what files told is remembered in the folder `cache`. Raises PlatformError
    for a Docker that breaks off.
    """
    environ = base_environ(environ, "")
    try:
        document = inspect_image(environ, reference)
    except PlatformError:
        return None
    if not document:
        return None
    config: Mapping[str, Any] = document.get("Config") or {}
    labels = {str(name): str(value) for name, value in (config.get("Labels") or {}).items()}
    env = {name: value for name, _, value in (one.partition("=") for one in config.get("Env") or ())}
    told = labels.get(LABEL_PYTHON, "") if LABEL_API in labels else ""
    found = (told, "", False)
    if has_files:
        found = _look(environ, document["Id"], env.get("PATH") or USUAL_PATH, told, cache)
    pinned, digest = _pin(reference, document)
    rows = read_history(environ, document["Id"]) if has_history else []
    return ImageFacts(
        reference=reference,
        pinned=pinned or document["Id"],
        digest=digest or document["Id"],
        architecture=document.get("Architecture") or "",
        python=found[0],
        libc=found[1],
        user=config.get("User") or "",
        looked=found[2],
        env=env,
        entrypoint=tuple(config.get("Entrypoint") or ()),
        command=tuple(config.get("Cmd") or ()),
        labels=labels,
        history=[text for text, _ in rows],
        layers=[Layer("", size) for _, size in rows],
        is_local=not digest,
    )


def _pin(reference: str, document: Mapping[str, Any]) -> tuple[str, str]:
    """Return the reference by its registry's digest, and that; "" where the image was neither pulled nor pushed."""
    place = reference.partition("@")[0]
    folder, slash, last = place.rpartition("/")
    name = f"{folder}{slash}{last.partition(':')[0]}"
    for one in document.get("RepoDigests") or ():
        there, _, digest = str(one).partition("@")
        if there == name:
            return f"{name}@{digest}", digest
    return "", ""


def _look(environ: Mapping[str, str], image: str, path: str, told: str, cache: str) -> tuple[str, str, bool]:
    """Return what the image's files tell, from the cache where they were looked at before: an id stands for all."""
    kept = os.path.join(cache, f"docker-{image.replace(':', '-')}.json")
    if cache:
        with suppress(OSError, ValueError, TypeError), open(kept, encoding="utf-8") as stream:
            python, libc, looked = json.load(stream)
            return str(python), str(libc), bool(looked)
    with _container(environ, image) as container:
        found = _Files(environ, container).look(path, told)
    if cache:
        with suppress(OSError):  # the next plan looks again
            os.makedirs(cache, mode=0o700, exist_ok=True)
            write_text(kept, json.dumps(found))
    return found


def write_text(path: str, text: str) -> None:
    """Write the file in one step: others read it meanwhile."""
    made, temporary = tempfile.mkstemp(prefix=".new-", dir=os.path.dirname(path))
    with open(made, "w", encoding="utf-8") as stream:
        stream.write(text)
    os.replace(temporary, path)


def read_history(environ: Mapping[str, str], reference: str) -> list[tuple[str, int]]:
    """Return each line of an image's history with the bytes that it added, the oldest first. Raises PlatformError."""
    form = ["--no-trunc", "--human=false", "--format", "{{json .}}"]
    answer = ask(environ, ["history", *form, reference])
    if answer.returncode:
        raise PlatformError(f"docker cannot tell the history of {reference!r}: {last_words(answer)}")
    rows = [json.loads(line) for line in answer.output.splitlines() if line.strip()]
    return [(str(row["CreatedBy"]), int(row["Size"])) for row in reversed(rows)]


@contextmanager
def _container(environ: Mapping[str, str], image: str) -> Iterator[str]:
    """Give a container of the image that never runs; it is gone afterwards. Raises PlatformError."""
    made = ask(environ, ["create", "--network", "none", image, "-"])  # a command, as the image may have none
    if made.returncode:
        raise PlatformError(f"docker cannot look into {image!r}: {last_words(made)}")
    container = made.output.decode().strip()
    try:
        yield container
    finally:
        ask(environ, ["rm", "--force", "--volumes", container])


class _Files:
    """Files of a container, copied one by one into a folder that is thrown away."""

    def __init__(self, environ: Mapping[str, str], container: str) -> None:
        self._environ = environ
        self._container = container

    def look(self, path: str, told: str) -> tuple[str, str, bool]:
        """Return Python's minor version, the libc, and whether the files have told; `told` is what a label says."""
        with tempfile.TemporaryDirectory() as folder:
            program = os.path.join(folder, "program")
            python, has_program, libc = told, bool(told), ""
            if not told:
                python, has_program = self._find_python(path, program)
                libc = _libc_of(program)
            return python, libc or self._find_libc(folder), bool(python) or not has_program

    def _find_python(self, path: str, target: str) -> tuple[str, bool]:
        """Return the version of the first `python3` on PATH, and whether there is one; `target` gets the program."""
        for place in path.split(":"):
            version = self._follow(posixpath.join(place, "python3"), target) if place.startswith("/") else None
            if version is not None:
                return version, True
        return "", False

    def _follow(self, path: str, target: str) -> str | None:
        """Return the version of a program, None when there is none at the end of the links.

        The name of one of them usually tells it, else its library does.
        """
        version = ""
        for _ in range(HOPS):
            if not self.copy(path, target):
                return None
            found = _VERSIONED.fullmatch(posixpath.basename(path))
            version = version or (found[1] if found else "")
            if not os.path.islink(target):
                return version or self._find_library(posixpath.dirname(posixpath.dirname(path)), f"{target}-library")
            path = posixpath.normpath(posixpath.join(posixpath.dirname(path), os.readlink(target)))
        return None

    def _find_library(self, prefix: str, target: str) -> str:
        found = [minor for minor in MINORS if self.copy(f"{prefix}/lib/python3.{minor}/os.py", target)]
        return f"3.{found[0]}" if len(found) == 1 else ""

    def _find_libc(self, folder: str) -> str:
        target = os.path.join(folder, "loader")
        return next((name for path, name in _LOADERS if self.copy(path, target)), "")

    def copy(self, path: str, target: str) -> bool:
        """Copy a file, a link as a link; tell whether it is there."""
        if os.path.lexists(target):
            os.unlink(target)
        return ask(self._environ, ["cp", f"{self._container}:{path}", target]).returncode == 0


def _libc_of(program: str) -> str:
    """Return the libc that a program's loader belongs to, "" for what is no such program."""
    if os.path.islink(program) or not os.path.isfile(program):
        return ""
    with open(program, "rb") as file:
        found = _LOADER.search(file.read(ELF_BYTES))
    return "" if not found else "musl" if found[1] == b"ld-musl-" else "glibc"


def read_file(environ: Mapping[str, str], image: str, path: str) -> bytes | None:
    """Return a small file of an image that Docker has, None when the image has no such file. Raises PlatformError."""
    with _container(environ, image) as container, tempfile.TemporaryDirectory() as folder:
        target = os.path.join(folder, "file")
        if not _Files(environ, container).copy(path, target) or not os.path.isfile(target):
            return None
        with open(target, "rb") as stream:
            return stream.read(FILE_BYTES)
