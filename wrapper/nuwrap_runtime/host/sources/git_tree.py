"""From a checked-out repository to the code's folder: one subfolder or all, without `.git`, within its limits."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from nuwrap_runtime.host.sources import Source
from nuwrap_runtime.host.workspace import remove_tree


def deliver(source: Source, tree: str, subdir: str, into: str) -> None:
    """Move what is in the tree, or in its folder `subdir`, to `into`, on the same file system.

    `.git` goes, of submodules too, unless `keep_git`. Raises ValueError for a subdir that is not there, a link that
    leaves the code's folder and code over its limits; then nothing has been moved.
    """
    root = _find_root(tree, subdir)
    if not source.keep_git:
        _remove_git(root)
    _check(source, root)
    for name in os.listdir(root):
        os.rename(os.path.join(root, name), os.path.join(into, name))


def _find_root(tree: str, subdir: str) -> str:
    root = os.path.realpath(os.path.join(tree, subdir))
    if os.path.isdir(root) and os.path.commonpath([tree, root]) == tree:
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


def _check(source: Source, root: str) -> None:
    size = 0
    for files, entry in enumerate(_walk(root), start=1):
        size += entry.stat(follow_symlinks=False).st_size
        if files > source.limits.files:
            raise ValueError(f"has more than {source.limits.files} files (limits.files)")
        if size > source.limits.bytes:
            raise ValueError(f"has more than {source.limits.bytes} bytes (limits.bytes)")
        if entry.is_symlink():
            _check_link(root, entry.path)


def _walk(folder: str) -> Iterator[os.DirEntry[str]]:
    """Yield files and links below the folder, the repository's own excepted."""
    for entry in list(os.scandir(folder)):
        if entry.name == ".git":
            continue
        if stat.S_ISDIR(entry.stat(follow_symlinks=False).st_mode):
            yield from _walk(entry.path)
        else:
            yield entry


def _check_link(root: str, path: str) -> None:
    target = os.readlink(path)
    if os.path.isabs(target) or os.path.commonpath([root, os.path.realpath(path)]) != root:
        name = os.path.relpath(path, root)
        raise ValueError(f"the link {name!r} leads to {target!r}, out of the code's folder; allowed: links inside it")
