"""Fields of an entity as attributes: `function.spec.handler`, `run.status.message`, `item.metadata.labels`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from nuwrap_runtime.schema import did_you_mean

Change = Callable[[str, Any], None]


class Fields(Mapping[str, Any]):
    """A mapping whose keys are attributes too. A name that is not there is an error that says what is."""

    __slots__ = ("_change", "_values")

    def __init__(self, values: Mapping[str, Any], change: Change | None = None) -> None:
        object.__setattr__(self, "_values", dict(values))
        object.__setattr__(self, "_change", change)

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # what copy, pickle and notebooks ask for
            raise AttributeError(name)
        try:
            return self._values[name]
        except KeyError:
            raise AttributeError(self._unknown(name)) from None

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self._values:
            raise AttributeError(self._unknown(name))
        if self._change is None:
            raise AttributeError(f"{name} cannot be set: it is read from the history")
        self._change(name, value)
        self._values[name] = value

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._values]

    def __repr__(self) -> str:
        return json.dumps(self._values, indent=1, default=str, ensure_ascii=False)

    def to_dict(self) -> dict[str, Any]:
        """Return a plain copy."""
        return dict(self._values)

    def _unknown(self, name: str) -> str:
        names = list(self._values)
        return f"no field {name!r}{did_you_mean(name, names)}; there is: {', '.join(names) or 'nothing'}"
