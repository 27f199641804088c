"""Fields of an entity as attributes: `function.spec.handler`, `run.status.message`, `item.metadata.labels`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from nuwrap_runtime import entities
from nuwrap_runtime.schema import did_you_mean

Change = Callable[[str, Any], None]


class Fields(entities.Fields):
    """A mapping whose keys are attributes too. A name that is not there is an error that says what is."""

    __slots__ = ("_change",)
    _change: Change | None

    def __init__(self, values: Mapping[str, Any], change: Change | None = None) -> None:
        super().__init__(values)
        object.__setattr__(self, "_change", change)

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return self[name]
        raise AttributeError(self._unknown(name))

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self:
            raise AttributeError(self._unknown(name))
        self[name] = value

    def __setitem__(self, name: str, value: Any) -> None:
        if self._change is None:
            raise AttributeError(f"{name} cannot be set: it is read from the history")
        self._change(name, value)
        super().__setitem__(name, value)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self]

    def __repr__(self) -> str:
        return json.dumps(self, indent=1, default=str, ensure_ascii=False)

    def to_dict(self) -> dict[str, Any]:
        """Return a plain copy."""
        return dict(self)

    def _unknown(self, name: str) -> str:
        return f"no field {name!r}{did_you_mean(name, list(self))}; there is: {', '.join(self) or 'nothing'}"
