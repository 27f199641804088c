"""The begin of a log that the cluster has no more, from where its host keeps it, and where the two meet."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Final

from nuwrap_runtime.result_lines import LOG_BEGINS

COMPARED: Final = 100  # lines that must be the same where they meet

Tell = Callable[[bytes], None]


class Earlier:
    """`find` makes a file with what is kept so far and returns its path, "" for nothing."""

    def __init__(self, find: Callable[[], str]) -> None:
        self._find = find

    def tell(self, first: Sequence[bytes], tell: Tell) -> tuple[int, int, int | None]:
        """Tell the lines before the first ones that the cluster gives, and those that are kept of these too.

        Return how many lines and bytes they are, and how many of the cluster's lines are among them: None where it does
        not give the next one. (0, 0, 0) where the cluster gives the log from its begin, or nothing is kept.
        """
        path = "" if any(line.startswith(LOG_BEGINS.encode()) for line in first) else self._find()
        if not path:
            return 0, 0, 0
        known: list[int] = []
        size = 0
        with open(path, "rb") as kept:
            for line in kept:
                text = line.removesuffix(b"\n")
                size += len(line)
                tell(text)
                known.append(hash(text))
        os.unlink(path)
        return len(known), size, _overlap(known, [hash(line) for line in first[:COMPARED]])


def _overlap(known: Sequence[int], first: Sequence[int]) -> int | None:
    """Return how many of the known lines at the end are those that begin with `first`, None where they are not."""
    for at in range(len(known) - 1, -1, -1):
        if known[at] == first[0] and list(known[at : at + len(first)]) == list(first[: len(known) - at]):
            return len(known) - at
    return None
