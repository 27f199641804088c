"""What a function author may import: `handler` and the entities. Importing it loads nothing else of nuwrap."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nuwrap_runtime.decorator import handler
    from nuwrap_runtime.entities import Artifact, Dataitem, Model, Project, Run

__version__ = "0.1.0"
__all__ = ["Artifact", "Dataitem", "Model", "Project", "Run", "handler"]


def __getattr__(name: str) -> Any:
    if name == "handler":
        from nuwrap_runtime.decorator import handler

        return handler
    if name in __all__:
        from nuwrap_runtime import entities

        return getattr(entities, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it offers {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
