"""`nuwrap-host cache ls|clean`: what is kept for later starts, and its removal. What a living process uses stays."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, Final

from nuwrap_runtime.host import environments, kept_trees, source_cache, workspace
from nuwrap_runtime.host.cache import cache_folder
from nuwrap_runtime.host.holds import claim
from nuwrap_runtime.host.kept import Kept, is_in_use, leftover, remove, size_of

DAYS: Final = 30.0
SECONDS_OF_DAY: Final = 86_400


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Do what follows the word `cache` and print one JSON document. Raises PlatformError."""
    options = _parse(argv)
    cache = cache_folder(environ)
    document = _list(cache) if options.command == "ls" else _clean(cache, options)
    print(json.dumps(document))
    return 0


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="nuwrap-host cache", description=__doc__, allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("ls", help="print what is kept")
    clean = commands.add_parser("clean", help="remove what was not used for long, and what killed starts have left")
    clean.add_argument("--older-than", type=_days, default=DAYS, metavar="DAYS", help="days since its last use; 30")
    clean.add_argument("--all", action="store_true", help="remove all that no process uses")
    clean.add_argument("--dry-run", action="store_true", help="only tell what would go")
    return parser.parse_args(list(argv))


def _days(text: str) -> float:
    try:
        days = float(text)
    except ValueError:
        days = -1.0
    if not 0 <= days < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of days; allowed: 0 and more")
    return days


def _list(cache: str) -> dict[str, Any]:
    found: dict[str, list[dict[str, Any]]] = {"sources": [], "environments": [], "trees": []}
    for kept in [*_find(cache), *kept_trees.find_kept(_trees(cache))]:
        used = datetime.fromtimestamp(kept.used, timezone.utc).isoformat(timespec="seconds")
        in_use = is_in_use(kept) or (kept.kind == "tree" and kept_trees.is_needed(kept))
        found[f"{kept.kind}s"].append({**_describe(kept), "used": used, "in_use": in_use})
    return {"folder": cache, **found, "bytes": sum(one["bytes"] for kind in found.values() for one in kind)}


def _find(cache: str) -> list[Kept]:
    return [*source_cache.find_kept(_sources(cache)), *environments.find_kept(cache)]


def _describe(kept: Kept) -> dict[str, Any]:
    return {"key": kept.key, "what": kept.what, "bytes": size_of(kept.path)}


def _clean(cache: str, options: argparse.Namespace) -> dict[str, Any]:
    before = time.time() - (0 if options.all else options.older_than * SECONDS_OF_DAY)
    cleaning = _Cleaning(before, options.dry_run)
    cleaning.remove_all(source_cache.find_leftovers(_sources(cache)))
    cleaning.remove_all(environments.find_leftovers(cache))
    cleaning.remove_all([leftover(path) for path in workspace.find_leftovers()])
    cleaning.remove_all(_find(cache))
    _clean_trees(_trees(cache), cleaning)
    if not options.dry_run:
        source_cache.forget(_sources(cache), before)
        environments.forget(cache, before)
    freed = sum(one["bytes"] for one in cleaning.gone)
    return {"folder": cache, "dry_run": options.dry_run, "removed": cleaning.gone, "bytes": freed}


def _clean_trees(trees: str, cleaning: _Cleaning) -> None:
    """Remove trees, and packages that no tree needs then, unless another start makes one just now."""
    claimed = claim(os.path.join(trees, kept_trees.LOCK))
    if claimed is None:
        return
    try:
        cleaning.remove_all(kept_trees.find_leftovers(trees))
        for kept in kept_trees.find_kept(trees):  # packages come last
            if not kept_trees.is_needed(kept, [one["key"] for one in cleaning.gone]):
                cleaning.remove_all([kept])
    finally:
        os.close(claimed)


class _Cleaning:
    """What has gone so far: all that is useless, or was last used `before` then, and that nobody uses."""

    def __init__(self, before: float, dry_run: bool) -> None:  # noqa: FBT001
        self.gone: list[dict[str, Any]] = []
        self._before, self._dry_run = before, dry_run

    def remove_all(self, found: Sequence[Kept]) -> None:
        """Remove what is due."""
        for kept in found:
            if kept.is_useless or kept.used <= self._before:
                record = {"kind": kept.kind, **_describe(kept)}
                if remove(kept, only_look=self._dry_run):
                    self.gone.append(record)


def _sources(cache: str) -> str:
    return os.path.join(cache, "sources")


def _trees(cache: str) -> str:
    return os.path.join(cache, "trees")
