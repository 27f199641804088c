"""From `module:function` to the object, each module executed once and known to sys.modules."""

from __future__ import annotations

import importlib
import importlib.machinery
import os
import sys
from types import MethodType
from typing import Any, Callable

from nuwrap_runtime.errors import LoadError
from nuwrap_runtime.worker.paths import standard_paths


def load_callable(
    reference: str, *, default_module: str, root: str, what: str = "handler", make_instance: bool = True
) -> Callable[..., Any]:
    """Return what `reference` (`fn`, `pkg.mod:fn`, `mod:Class.method`, `mod:object`) names.

    A plain method's class is made once, without arguments; without `make_instance` nothing of the user's is called,
    and the method is good for a look at its signature alone. Raises LoadError for what is not there or not callable;
    what the user's module raises comes out as it is.
    """
    module_name, _, name = reference.rpartition(":")
    module = load_module(module_name or default_module, root=root, what=what, reference=reference)
    target: Any = module
    for part in name.split("."):
        target = _attribute(target, part, f"{what} {reference!r}", root=root, make_instance=make_instance)
    if not callable(target):
        where = _place(module, root)
        raise LoadError(f"{what} {reference!r}: {name!r} in {where} is {type(target).__name__}, not a function")
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
            f"rename {(_entry(root, top) or top)!r} and the handler with it"
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


def shadowed(folder: str) -> list[str]:
    """Return files and folders here that user code cannot import, because the standard library's win."""
    if not os.path.isdir(folder):
        return []
    with os.scandir(folder) as entries:
        return sorted(one.name for one in entries if _is_module(one) and is_standard(one.name.partition(".")[0]))


def is_standard(name: str) -> bool:
    """Tell whether the standard library has a top-level module of this name."""
    if name in sys.builtin_module_names:
        return True
    paths = [path for path in standard_paths() if os.path.isdir(path)]
    spec = importlib.machinery.PathFinder.find_spec(name, paths)
    return spec is not None and spec.origin is not None  # a folder such as site-packages is no module


def _is_module(entry: os.DirEntry[str]) -> bool:
    return entry.name.endswith(".py") or os.path.isfile(os.path.join(entry.path, "__init__.py"))


def _attribute(target: Any, name: str, what: str, *, root: str, make_instance: bool) -> Any:
    kind = target if isinstance(target, type) else None
    static = next((vars(one)[name] for one in kind.__mro__ if name in vars(one)), None) if kind else None
    if kind and static is not None and not isinstance(static, (staticmethod, classmethod, type)):
        if not make_instance:
            return MethodType(static, kind) if callable(static) else static
        target = _instance(kind, what)
    try:
        return getattr(target, name)
    except AttributeError as exc:
        where = f"class {kind.__name__}" if kind else _place(target, root)
        raise LoadError(f"{what}: {name!r} not found in {where}; it defines: {_names(kind or target)}") from exc


def _instance(kind: type, what: str) -> Any:
    import inspect

    try:
        inspect.signature(kind).bind()
    except TypeError as exc:
        raise LoadError(f"{what}: {kind.__name__} cannot be made without arguments: {exc}") from exc
    except ValueError:  # a class of a C extension has no signature to look at
        pass
    return kind()


def _place(module: Any, root: str) -> str:
    """Return the module's file, relative to the source root where it lies there."""
    file = str(getattr(module, "__file__", None) or getattr(module, "__name__", type(module).__name__))
    return os.path.relpath(file, root) if file.startswith(os.path.join(root, "")) else file


def _names(target: Any) -> str:
    own = target.__module__ if isinstance(target, type) else getattr(target, "__name__", None)
    found = [
        name
        for name, value in (vars(target).items() if hasattr(target, "__dict__") else ())
        if callable(getattr(value, "__func__", value))  # a static or class method is callable from 3.10 on alone
        and not name.startswith("_")
        and getattr(getattr(value, "__func__", value), "__module__", own) == own
    ]
    return ", ".join(found[:20]) or "no function"


def _entry(root: str, name: str) -> str:
    return next((one for one in (f"{name}.py", name) if os.path.exists(os.path.join(root, one))), "")


def _listing(root: str) -> str:
    entries = [entry for entry in sorted(os.listdir(root)) if not entry.startswith(".") and entry != "__pycache__"]
    more = f" and {len(entries) - 20} more" if len(entries) > 20 else ""
    return (", ".join(entries[:20]) or "nothing") + more
