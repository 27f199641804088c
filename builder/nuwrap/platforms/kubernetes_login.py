"""The log-in of who follows a run: said once when it has run out, and once when there is another."""

from __future__ import annotations

from collections.abc import Callable

from nuwrap.cluster.client import Cluster


class LoginNews:
    """Tells who follows what became of the log-in; the run itself goes on all the while."""

    def __init__(self, cluster: Cluster, tell: Callable[[str], None]) -> None:
        self._cluster, self._tell = cluster, tell
        self._was_out = False

    def is_out(self) -> bool:
        """Tell whether there is none at present."""
        is_out = self._cluster.is_logged_out
        if is_out and not self._was_out:
            where = self._cluster.where
            self._tell(
                f"the log-in for {where.server} (context {where.context!r}, user {where.user!r}) has run out; log in "
                "again: the run goes on, and is followed again"
            )
        if self._was_out and not is_out:
            self._tell("logged in again: the run is followed again")
        self._was_out = is_out
        return is_out
