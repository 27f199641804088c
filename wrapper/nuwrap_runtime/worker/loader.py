"""From `module:function` to the object, each module executed once and known to sys.modules."""

from __future__ import annotations

import importlib
import importlib.machinery
import os
import sys
from typing import Any, Callable

from nuwrap_runtime.errors import LoadError
from nuwrap_runtime.worker.paths import standard_paths


def load_callable(reference: str, *, default_module: str, root: str, what: str = "handler") -> Callable[..., Any]:
    """Return what `reference` (`fn`, `pkg.mod:fn`, `mod:Class.method`, `mod:object`) names.

    A plain method's class is made once, without arguments. Raises LoadError for what is not there or not callable;
    what the user's module raises comes out as it is.
    """
    module_name, _, name = reference.rpartition(":")
    module = load_module(module_name or default_module, root=root, what=what, reference=reference)
    target: Any = module
    for part in name.split("."):
        target = _attribute(target, part, what=what, reference=reference)
    if not callable(target):
        raise LoadError(f"{what} {reference!r}: {name!r} in {_file(module)} is {type(target).__name__}, not a function")
    found: Callable[..., Any] = target
    return found


def load_module(name: str, *, root: str, what: str, reference: str) -> Any:
    """Import the module from the source root, or from the user's packages.

    Raises LoadError when it is not there or has the name of a module of the standard library, which would win.
    """
    top = name.partition(".")[0]
    if is_standard(top):
        raise LoadError(
            f"{what} {reference!r}: module {top!r} is one of Python's standard library, which is imported first; "
            f"rename {_entry(root, top) or top!r} and the handler with it"
        )
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as exc:
        missing = exc.name or ""
        if missing != name and not name.startswith(missing + "."):
            raise
        raise LoadError(
            f"{what} {reference!r}: module {missing!r} not found; the source's root holds: {_listing(root)}"
        ) from exc


def shadowed(root: str) -> list[str]:
    """Return files and folders of the root that user code cannot import, because the standard library's win."""
    names = []
    for entry in sorted(os.listdir(root)):
        stem, suffix = os.path.splitext(entry)
        is_package = os.path.isfile(os.path.join(root, entry, "__init__.py"))
        if (suffix == ".py" or is_package) and is_standard(stem):
            names.append(entry)
    return names


def is_standard(name: str) -> bool:
    """Tell whether the standard library has a top-level module of this name."""
    if name in sys.builtin_module_names:
        return True
    paths = [path for path in standard_paths() if os.path.isdir(path)]
    spec = importlib.machinery.PathFinder.find_spec(name, paths)
    return spec is not None and spec.origin is not None  # a folder such as site-packages is no module


def _attribute(target: Any, name: str, *, what: str, reference: str) -> Any:
    if isinstance(target, type):
        static = next((vars(one)[name] for one in target.__mro__ if name in vars(one)), None)
        if static is not None and not isinstance(static, (staticmethod, classmethod, type)):
            target = _instance(target, what=what, reference=reference)
    try:
        return getattr(target, name)
    except AttributeError as exc:
        where = _file(target) if hasattr(target, "__file__") else f"class {type(target).__name__}"
        raise LoadError(f"{what} {reference!r}: {name!r} not found in {where}; it defines: {_names(target)}") from exc


def _instance(kind: type, *, what: str, reference: str) -> Any:
    import inspect

    try:
        inspect.signature(kind).bind()
    except TypeError as exc:
        raise LoadError(f"{what} {reference!r}: {kind.__name__} cannot be made without arguments: {exc}") from exc
    except ValueError:  # a class of a C extension has no signature to look at
        pass
    return kind()


def _file(module: Any) -> str:
    return os.path.basename(str(getattr(module, "__file__", None) or getattr(module, "__name__", "module")))


def _names(target: Any) -> str:
    own = getattr(target, "__name__", None)
    found = [
        name
        for name, value in sorted(vars(target).items() if hasattr(target, "__dict__") else ())
        if callable(value) and not name.startswith("_") and getattr(value, "__module__", own) == own
    ]
    return ", ".join(found[:20]) or "no function"


def _entry(root: str, name: str) -> str:
    found = [entry for entry in (f"{name}.py", name) if os.path.exists(os.path.join(root, entry))]
    return repr(found[0]) if found else ""


def _listing(root: str) -> str:
    entries = [entry for entry in sorted(os.listdir(root)) if not entry.startswith(".") and entry != "__pycache__"]
    more = f" and {len(entries) - 20} more" if len(entries) > 20 else ""
    return (", ".join(entries[:20]) or "nothing") + more
