"""What a run's container begins with, in its own Python: takes variables, files and secrets from standard input, then
becomes the host. So nothing of them stands in the container's settings, which `docker inspect` shows.

The toolkit hands this file's text to the interpreter: any image of ours does, whatever its age. Standard input is a
tar archive; `docker_given` writes it.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tarfile
from typing import IO, Any

START = "start.json"  # the last member: without it the start was called off
REFUSED, STOPPED = 10, 143
BUFFER_BYTES = 1024 * 1024


def main(host: list[str]) -> None:
    """Put each member where its name says, from the root, and become the host. Exits with 143 when called off."""
    try:
        with tarfile.open(fileobj=sys.stdin.buffer, mode="r|", bufsize=BUFFER_BYTES) as stream:
            start = receive(stream)
    except tarfile.ReadError:  # cut off: who started this is gone, or has stopped it
        sys.exit(STOPPED)
    except OSError as exc:
        print(f"nuwrap  error: the container cannot take the run's files: {exc}", file=sys.stderr, flush=True)
        sys.exit(REFUSED)
    become(host, start)


def receive(stream: tarfile.TarFile) -> dict[str, Any]:
    """Make the files and return the document of the last member."""
    for member in stream:
        content = stream.extractfile(member) if member.isreg() else None  # of a link in a stream it would raise
        if member.name == START and content:
            return dict(json.load(content))
        put(member, content, os.path.join(os.sep, member.name))
    sys.exit(STOPPED)


def put(member: tarfile.TarInfo, content: IO[bytes] | None, path: str) -> None:
    """Make one file, folder or link."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if member.isdir():
        os.makedirs(path, exist_ok=True)
    elif member.issym():
        os.symlink(member.linkname, path)
    elif content:
        target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, member.mode | 0o200)
        with open(target, "wb") as file:
            shutil.copyfileobj(content, file, BUFFER_BYTES)
        os.chmod(path, member.mode)


def become(host: list[str], start: dict[str, Any]) -> None:
    """Become the host, in the environment and folder that the document says, with an empty standard input."""
    environ = {name: value for name, value in os.environ.items() if name not in start["without"]}
    environ.update(start["environ"])
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    try:
        os.chdir(start["folder"])
        os.execve(host[0], host, environ)  # noqa: S606 - a shell is what we avoid
    except OSError as exc:
        print(f"nuwrap  error: {host[0]} cannot be started in this image: {exc}", file=sys.stderr, flush=True)
        sys.exit(REFUSED)


if __name__ == "__main__":
    main(sys.argv[1:])
