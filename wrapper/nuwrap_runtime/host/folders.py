"""Folders that were fetched: their digest, their parts, and how they come into place."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator

BLOCK_BYTES = 1024 * 1024


def file_digest(path: str) -> str:
    """Return the SHA-256 of the file, in hex."""
    total = hashlib.sha256()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(BLOCK_BYTES), b""):
            total.update(block)
    return total.hexdigest()


def entry_digest(path: str) -> bytes:
    """Return a digest of a file's content, or of what a link says."""
    if os.path.islink(path):
        return b"link" + hashlib.sha256(os.fsencode(os.readlink(path))).digest()
    return b"file" + bytes.fromhex(file_digest(path))


def walk_files(root: str) -> Iterator[str]:
    """Yield the paths of all files and links below the root, relative, folder by folder, in order."""
    for folder, folders, files in os.walk(root):
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        folders.sort()
        yield from (os.path.relpath(os.path.join(folder, name), root) for name in sorted([*files, *links]))


def find_folder(tree: str, subdir: str) -> str:
    """Return the tree's folder of that name, whose links all stay in it: the rest of the tree goes.

    Raises ValueError that names the folders that are there, or the link.
    """
    whole = os.path.realpath(tree)
    root = os.path.realpath(os.path.join(tree, subdir))
    if not os.path.isdir(root) or not _is_in(whole, root):
        there = sorted(entry.name for entry in os.scandir(tree) if entry.is_dir(follow_symlinks=False))
        raise ValueError(f"subdir {subdir!r} is no folder of it; its folders: {', '.join(there[:20]) or 'none'}")
    for path in walk_files(root):
        link = os.path.join(root, path)
        if os.path.islink(link) and not _is_in(root, os.path.realpath(link)):
            raise ValueError(f"the link {path!r} leads to {os.readlink(link)!r}, out of the subdir {subdir!r}")
    return root


def _is_in(root: str, path: str) -> bool:
    return os.path.commonpath([root, path]) == root


def move_all(root: str, into: str) -> None:
    """Move what is in a folder into another one of the same file system."""
    for name in os.listdir(root):
        os.rename(os.path.join(root, name), os.path.join(into, name))
