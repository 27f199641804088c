"""Decide what to ask a git server for: from the names it lists and the ref that is wanted to ways of fetching."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

ABBREVIATION: Final = 7  # as git shows commits itself; fewer digits are soon ambiguous

_BRANCHES, _TAGS = "+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"
# A dumb HTTP server cannot filter, and git then starts itself anew for each missing file without end (seen with 2.39).
# So all history is asked for as a depth, which git refuses at once there; the number is its "infinite" (shallow.h).
_WITHOUT_FILES = ("--filter=blob:none", "--depth=2147483647")
_SHOWN_NAMES: Final = 10


@dataclass(frozen=True)
class Way:
    """One `git fetch`: its options and refspecs; without files it is only good for looking names up."""

    refs: tuple[str, ...]
    options: tuple[str, ...] = ()
    has_files: bool = True


@dataclass(frozen=True)
class Target:
    """`name` means the commit once one of `ways`, tried in their order, has succeeded; `shown` is for messages."""

    name: str
    shown: str
    ways: tuple[Way, ...]
    is_abbreviated: bool = False


def parse_refs(listing: str) -> dict[str, str]:
    """Return name → object of each branch and tag in the output of `git ls-remote`; a name may hold U+2028."""
    pairs = [line.split("\t", 1) for line in listing.split("\n") if "\t" in line]
    return {name: oid for oid, name in pairs if not name.endswith("^{}")}


def choose(ref: str, refs: Mapping[str, str]) -> Target:
    """Return how to get at the ref, "" for the default branch: full commit, branch, tag, `refs/…`, abbreviation.

    Raises ValueError, with the names that are there, for a ref that is none of these.
    """
    if ref in ("", "HEAD"):
        return _named("the default branch", "HEAD")
    if re.fullmatch(r"[0-9a-fA-F]{40}|[0-9a-fA-F]{64}", ref):
        return commit_target(ref.lower())
    for name in (f"refs/heads/{ref}", f"refs/tags/{ref}", f"refs/{ref}"):
        if name in refs:
            return _named(f"ref {ref!r}", name)
    if ref.startswith("refs/"):  # a server has more than it lists to us: pull requests, say
        return _named(f"ref {ref!r}", ref)
    if re.fullmatch(rf"[0-9a-fA-F]{{{ABBREVIATION},63}}", ref):
        ways = (Way((_BRANCHES, _TAGS), _WITHOUT_FILES, has_files=False), Way((_BRANCHES, _TAGS)))
        return Target(ref.lower(), f"ref {ref!r}", ways, is_abbreviated=True)
    raise ValueError(
        f"ref {ref!r} is neither a branch nor a tag nor a commit's first {ABBREVIATION} or more digits; "
        + describe_refs(refs)
    )


def commit_target(commit: str) -> Target:
    """Return how to get at a full commit: alone, else, when the server gives only what it lists, with everything."""
    ways = (Way((commit,), ("--depth=1",)), Way(("+refs/*:refs/nuwrap/*",)))
    return Target(commit, f"commit {commit!r}", ways)


def find_commit(target: Target, listing: str) -> str:
    """Return the commit that the target means, as far as the output of `git ls-remote` tells, else ""."""
    name = target.ways[0].refs[0].lstrip("+").partition(":")[0]
    listed = {name: oid for oid, _, name in (line.partition("\t") for line in listing.split("\n"))}
    if name == target.name:  # a full commit
        return name
    return listed.get(f"{name}^{{}}") or listed.get(name, "")


def describe_refs(refs: Mapping[str, str]) -> str:
    """Return the branches and tags that are there, the first ten of each, for an error message."""
    return f"branches: {_names(refs, 'refs/heads/')}; tags: {_names(refs, 'refs/tags/')}"


def _named(shown: str, name: str) -> Target:
    spec = name
    if name.startswith("refs/heads/"):
        spec = f"+{name}:refs/remotes/origin/{name[len('refs/heads/') :]}"
    elif name.startswith("refs/tags/"):
        spec = f"+{name}:{name}"
    return Target("FETCH_HEAD", shown, (Way((spec,), ("--depth=1",)), Way((spec,))))


def _names(refs: Mapping[str, str], prefix: str) -> str:
    found = sorted(name[len(prefix) :] for name in refs if name.startswith(prefix))
    more = f" and {len(found) - _SHOWN_NAMES} more" if len(found) > _SHOWN_NAMES else ""
    return (", ".join(found[:_SHOWN_NAMES]) or "none") + more
