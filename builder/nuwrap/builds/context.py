"""A build's context, on disk: what the plan names and nothing else, with the same times and modes everywhere."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

from nuwrap.builds.document import CONTEXT, DOCKERFILE
from nuwrap.errors import PlatformError
from nuwrap.spec.build import BuildPlan, ContextFile

EPOCH = 0  # times are no content


def write_context(folder: str, plan: BuildPlan) -> None:
    """Write the Dockerfile and the folder `context` beside it. Raises PlatformError, and neither is left then."""
    root = os.path.join(folder, CONTEXT)
    try:
        os.mkdir(root, 0o755)
        for file in plan.files:
            _write(root, file)
        for path in _all_folders(root):
            os.chmod(path, 0o755)  # noqa: S103 - what an image holds is for every uid
            os.utime(path, (EPOCH, EPOCH))
        with open(os.path.join(folder, DOCKERFILE), "w", encoding="utf-8") as stream:
            stream.write(plan.dockerfile)
    except OSError as exc:
        shutil.rmtree(root, ignore_errors=True)
        raise PlatformError(f"cannot write the build's context {root!r}: {exc.strerror}") from exc


def _write(root: str, file: ContextFile) -> None:
    path = os.path.join(root, file.path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if file.text is not None:
        with open(path, "w", encoding="utf-8", newline="") as stream:
            stream.write(file.text)
    elif os.path.islink(file.copied_from):
        os.symlink(os.readlink(file.copied_from), path)
        return
    else:
        shutil.copyfile(file.copied_from, path)
    os.chmod(path, 0o755 if file.is_executable else 0o644)
    os.utime(path, (EPOCH, EPOCH))


def _all_folders(root: str) -> Iterator[str]:
    for folder, _, _ in os.walk(root, topdown=False):
        yield folder
