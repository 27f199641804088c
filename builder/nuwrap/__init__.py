"""nuwrap: one Python function as a job, as a service and as an image. `import nuwrap as dh` loads nothing else.

Each name is loaded when it is first used.
"""

from __future__ import annotations

TYPE_CHECKING = False  # what type checkers take for true; importing typing would cost 7 ms

if TYPE_CHECKING:
    from typing import Any

    from nuwrap.errors import NotFound, NuwrapError, PlatformError, RunFailed, SpecError, StoreError, UsageError
    from nuwrap.sdk.data import (
        delete_artifact,
        delete_dataitem,
        delete_model,
        get_artifact,
        get_artifact_versions,
        get_dataitem,
        get_dataitem_versions,
        get_model,
        get_model_versions,
        list_artifacts,
        list_dataitems,
        list_models,
        log_artifact,
        log_dataitem,
        log_model,
        new_artifact,
        new_dataitem,
        new_model,
    )
    from nuwrap.sdk.entities import Artifact, Dataitem, Model
    from nuwrap.sdk.functions import (
        Function,
        delete_function,
        get_function,
        get_function_versions,
        import_function,
        list_functions,
        new_function,
        update_function,
    )
    from nuwrap.sdk.projects import (
        Project,
        delete_project,
        get_or_create_project,
        get_project,
        import_project,
        list_projects,
        load_project,
        new_project,
        update_project,
    )
    from nuwrap.sdk.runs import Run, delete_run, get_run, list_runs
    from nuwrap.sdk.secrets import Secret, delete_secret, get_secret, list_secrets, new_secret
    from nuwrap_runtime import handler

__version__ = "0.1.0"
__all__ = [
    "Artifact",
    "Dataitem",
    "Function",
    "Model",
    "NotFound",
    "NuwrapError",
    "PlatformError",
    "Project",
    "Run",
    "RunFailed",
    "Secret",
    "SpecError",
    "StoreError",
    "UsageError",
    "delete_artifact",
    "delete_dataitem",
    "delete_function",
    "delete_model",
    "delete_project",
    "delete_run",
    "delete_secret",
    "get_artifact",
    "get_artifact_versions",
    "get_dataitem",
    "get_dataitem_versions",
    "get_function",
    "get_function_versions",
    "get_model",
    "get_model_versions",
    "get_or_create_project",
    "get_project",
    "get_run",
    "get_secret",
    "handler",
    "import_function",
    "import_project",
    "list_artifacts",
    "list_dataitems",
    "list_functions",
    "list_models",
    "list_projects",
    "list_runs",
    "list_secrets",
    "load_project",
    "log_artifact",
    "log_dataitem",
    "log_model",
    "new_artifact",
    "new_dataitem",
    "new_function",
    "new_model",
    "new_project",
    "new_secret",
    "update_function",
    "update_project",
]

_PLACES = {
    "nuwrap.errors": (
        "NotFound",
        "NuwrapError",
        "PlatformError",
        "RunFailed",
        "SpecError",
        "StoreError",
        "UsageError",
    ),
    "nuwrap.sdk.data": (
        "delete_artifact",
        "delete_dataitem",
        "delete_model",
        "get_artifact",
        "get_artifact_versions",
        "get_dataitem",
        "get_dataitem_versions",
        "get_model",
        "get_model_versions",
        "list_artifacts",
        "list_dataitems",
        "list_models",
        "log_artifact",
        "log_dataitem",
        "log_model",
        "new_artifact",
        "new_dataitem",
        "new_model",
    ),
    "nuwrap.sdk.entities": (
        "Artifact",
        "Dataitem",
        "Model",
    ),
    "nuwrap.sdk.functions": (
        "Function",
        "delete_function",
        "get_function",
        "get_function_versions",
        "import_function",
        "list_functions",
        "new_function",
        "update_function",
    ),
    "nuwrap.sdk.projects": (
        "Project",
        "delete_project",
        "get_or_create_project",
        "get_project",
        "import_project",
        "list_projects",
        "load_project",
        "new_project",
        "update_project",
    ),
    "nuwrap.sdk.runs": (
        "Run",
        "delete_run",
        "get_run",
        "list_runs",
    ),
    "nuwrap.sdk.secrets": (
        "Secret",
        "delete_secret",
        "get_secret",
        "list_secrets",
        "new_secret",
    ),
    "nuwrap_runtime": ("handler",),
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    for place, names in _PLACES.items():
        if name in names:
            return getattr(import_module(place), name)
    raise AttributeError(f"module 'nuwrap' has no {name!r}{_hint(name)}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


def _hint(name: str) -> str:
    if name.startswith("_"):
        return ""
    from nuwrap.sdk.absent import explain_absence
    from nuwrap_runtime.schema import did_you_mean

    return explain_absence(name) or did_you_mean(name, __all__)
