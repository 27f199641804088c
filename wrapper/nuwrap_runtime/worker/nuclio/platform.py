"""`context.platform` under a processor: nuclio-sdk's own, with the processor's control socket behind it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable, Optional

Send = Callable[[Mapping[str, Any]], None]


class Platform:
    """Callbacks that a function sets, kept here; all else is nuclio_sdk's Platform, made when it is first asked for.

    Importing the SDK costs 40 ms, and most functions never ask.
    """

    def __init__(self, kind: str, namespace: str, send: Optional[Send]) -> None:
        self.kind = kind
        self.namespace = namespace
        self._send = send
        self._callbacks: dict[str, Callable[[], Any]] = {}
        self._sdk: Any = None

    def set_drain_callback(self, callback: Callable[[], Any]) -> None:
        """Have `callback()` called when a stream's partitions are about to move; events are refused until they have."""
        self._callbacks["drain"] = callback

    def set_termination_callback(self, callback: Callable[[], Any]) -> None:
        """Have `callback()` called before the worker ends."""
        self._callbacks["termination"] = callback

    async def explicit_ack(self, qualified_offset: Any) -> None:
        """Tell the processor that the event of this offset is done (`nuclio_sdk.QualifiedOffset.from_event(event)`)."""
        if self._send is None:
            raise RuntimeError("explicit acknowledgements need a processor of 1.9 or later, with a control socket")
        self._send(qualified_offset.compile_explicit_ack_message())

    def callback(self, name: str) -> Optional[Callable[[], Any]]:
        """Return what the function has set for `drain` or `termination`."""
        return self._callbacks.get(name)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if self._sdk is None:
            from nuclio_sdk import Platform as Sdk

            self._sdk = Sdk(self.kind, namespace=self.namespace)
        return getattr(self._sdk, name)
