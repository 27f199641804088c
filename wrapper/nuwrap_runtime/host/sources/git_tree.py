"""From a checked-out repository to the code's folder: one subfolder or all, without `.git`, within its limits."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator

from nuwrap_runtime.host.sources import DEPTH, Source
from nuwrap_runtime.host.workspace import remove_tree
from nuwrap_runtime.launch import Limits


def deliver(source: Source, tree: str, subdir: str, into: str) -> None:
    """Move what is in the tree, or in its folder `subdir`, to `into`, on the same file system.

    `.git` goes, of submodules too, unless `keep_git`. Raises ValueError for a subdir that is not there, a link that
    leaves the code's folder and code over its limits; then nothing has been moved.
    """
    root = _find_root(tree, subdir)
    _check(source.limits, root)
    if not source.keep_git:
        _remove_git(root)
    for name in os.listdir(root):
        os.rename(os.path.join(root, name), os.path.join(into, name))


def check_listing(limits: Limits, blocks: Iterable[bytes]) -> None:
    """See that what `git ls-tree -r -l -z` lists is within the limits, reading no further than that takes.

    A few kilobytes of trees that hold each other many times list files without end. Raises ValueError.
    """
    files, size, rest = 0, 0, b""
    for block in blocks:
        *records, rest = (rest + block).split(b"\0")
        for record in records:
            head, _, path = record.partition(b"\t")
            length = head.split()[-1]  # "-" for a submodule
            files, size = files + 1, size + (int(length) if length.isdigit() else 0)
            _check_sums(limits, files, size, path.count(b"/"))


def _check_sums(limits: Limits, files: int, size: int, depth: int) -> None:
    if files > limits.files:
        raise ValueError(f"has more than {limits.files} files (limits.files)")
    if size > limits.bytes:
        raise ValueError(f"has more than {limits.bytes} bytes (limits.bytes)")
    if depth > DEPTH:
        raise ValueError(f"has folders in more than {DEPTH} levels, the most that is allowed")


def _find_root(tree: str, subdir: str) -> str:
    root = os.path.realpath(os.path.join(tree, subdir))
    is_inside = os.path.commonpath([tree, root]) == tree
    if is_inside and os.path.isdir(root) and ".git" not in os.path.relpath(root, tree).lower().split(os.sep):
        return root
    folders = sorted(entry.name for entry in os.scandir(tree) if entry.is_dir() and entry.name != ".git")
    raise ValueError(f"subdir {subdir!r} is no folder of the repository; its folders: {', '.join(folders) or 'none'}")


def _remove_git(root: str) -> None:
    for path, folders, files in os.walk(root):
        if ".git" in folders:
            folders.remove(".git")
            remove_tree(os.path.join(path, ".git"))
        if ".git" in files:
            os.unlink(os.path.join(path, ".git"))


def _check(limits: Limits, root: str) -> None:
    size = 0
    for files, (entry, depth) in enumerate(_walk(root), start=1):
        size += entry.stat(follow_symlinks=False).st_size
        _check_sums(limits, files, size, depth)
        if entry.is_symlink():
            _check_link(root, entry.path)


def _walk(folder: str) -> Iterator[tuple[os.DirEntry[str], int]]:
    """Yield files and links below the folder with their depth in it, the repository's own excepted."""
    waiting = [(folder, 0)]
    while waiting:
        path, depth = waiting.pop()
        for entry in list(os.scandir(path)):
            if entry.name == ".git":
                continue
            if stat.S_ISDIR(entry.stat(follow_symlinks=False).st_mode):
                waiting.append((entry.path, depth + 1))
            else:
                yield entry, depth


def _check_link(root: str, path: str) -> None:
    target = os.readlink(path)
    if os.path.isabs(target) or os.path.commonpath([root, os.path.realpath(path)]) != root:
        name = os.path.relpath(path, root)
        raise ValueError(f"the link {name!r} leads to {target!r}, out of the code's folder; allowed: links inside it")
