"""The code of a function that a person passes as an object: its own source, and the imports of the names it uses.

Nothing else of its module comes along: a person hears which of the names it uses are left behind.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import linecache
import symtable
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import CodeType, FunctionType, ModuleType
from typing import Any

from nuwrap.errors import UsageError

_FUTURE_ANNOTATIONS = "from __future__ import annotations"
_FUTURE_FLAG = 0x1000000  # CO_FUTURE_ANNOTATIONS, which inspect does not name
_INSTEAD = "put it into a file (code_src=…) or give it as text (code=…)"


@dataclass(frozen=True)
class Code:
    """A module's text, and the names that its functions use and that it does not have."""

    text: str
    lacking: tuple[str, ...] = ()


def take_code(functions: Sequence[Any]) -> Code:
    """Return a module with these functions, as they stand in a notebook's cell, a script or a module.

    Raises UsageError for what is no plain function, for one that uses variables of a function around it, and for one
    whose source is not to be had.
    """
    plain = [_plain_function(one) for one in functions]
    texts = [_source(one) for one in plain]
    there = {one.__name__ for one in plain}
    imports: set[str] = set()
    lacking: list[str] = []
    for function, text in zip(plain, texts, strict=True):
        statements = _imports_around(function)
        for name in _names_used(text):
            if name in there or hasattr(builtins, name):
                continue
            found = _import_of(name, function.__globals__, statements, text)
            imports.update(found)
            if not found and name not in lacking:
                lacking.append(name)
    future = [_FUTURE_ANNOTATIONS] if any(one.__code__.co_flags & _FUTURE_FLAG for one in plain) else []
    head = "\n".join([*future, *sorted(imports)])
    return Code("\n\n\n".join([head, *texts] if head else texts), tuple(lacking))


def _plain_function(value: Any) -> FunctionType:
    function = inspect.unwrap(value) if callable(value) else value
    if not isinstance(function, FunctionType) or _is_in_class(function):
        raise UsageError(f"{value!r} is {_kind(value)}, not a plain function; {_INSTEAD}")
    if function.__name__ == "<lambda>":
        raise UsageError(f"a lambda has no name to call it by; write it with def, or {_INSTEAD}")
    if function.__code__.co_freevars:
        names = ", ".join(function.__code__.co_freevars)
        raise UsageError(
            f"{function.__name__!r} uses {names} of the function around it, which a run does not have; make it "
            f"a parameter, or {_INSTEAD}"
        )
    return function


def _is_in_class(function: FunctionType) -> bool:
    around = function.__qualname__.rpartition(".")[0]
    return around != "" and not around.endswith("<locals>")


def _kind(value: Any) -> str:
    if inspect.isclass(value):
        return "a class"
    if inspect.ismethod(value) or isinstance(value, FunctionType):
        return "a method"
    return f"of type {type(value).__name__}"


def _source(function: FunctionType) -> str:
    """Return the function's own lines; those of another function, of a file that has changed since, are refused."""
    try:
        text = textwrap.dedent(inspect.getsource(function))
        tree = ast.parse(text)
    except (OSError, TypeError, SyntaxError) as exc:
        raise UsageError(f"the source of {function.__name__!r} is not to be had ({exc}); {_INSTEAD}") from exc
    first = tree.body[0] if tree.body else None
    if not isinstance(first, (ast.FunctionDef, ast.AsyncFunctionDef)) or _arguments(first) != _names(function.__code__):
        place = f"{function.__code__.co_filename}:{function.__code__.co_firstlineno}"
        raise UsageError(f"{place} is no longer the source of {function.__name__!r}; import or run it again")
    return text.rstrip() + "\n"


def _arguments(tree: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    given = tree.args
    return [tree.name, *(one.arg for one in [*given.posonlyargs, *given.args, *given.kwonlyargs])]


def _names(code: CodeType) -> list[str]:
    return [code.co_name, *code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]]


def _names_used(text: str) -> list[str]:
    """Return the names that the text takes from its module, decorators, defaults and annotations too."""
    found: dict[str, None] = {}
    tables = [symtable.symtable(text, "<function>", "exec")]
    while tables:
        table = tables.pop()
        for symbol in table.get_symbols():
            is_outer = symbol.is_global() or (table.get_type() == "module" and not symbol.is_assigned())
            if symbol.is_referenced() and is_outer:
                found[symbol.get_name()] = None
        tables += table.get_children()
    return list(found)


def _imports_around(function: FunctionType) -> Mapping[str, str]:
    """Return the import statement of each name that the function's file or notebook imports at its top level."""
    texts = ["".join(linecache.getlines(function.__code__.co_filename, function.__globals__))]
    cells = function.__globals__.get("In")  # IPython's own list of what was typed
    if isinstance(cells, list):
        texts += [cell for cell in cells if isinstance(cell, str)]
    return {name: line for text in texts for name, line in _imports(text)}


def _imports(text: str) -> Iterator[tuple[str, str]]:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return
    for node in tree.body:
        if isinstance(node, ast.Import):
            for one in node.names:
                yield one.asname or one.name.split(".")[0], ast.unparse(ast.Import([one]))
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module != "__future__":
            for one in node.names:
                yield one.asname or one.name, ast.unparse(ast.ImportFrom(node.module, [one], 0))


def _import_of(name: str, scope: Mapping[str, Any], statements: Mapping[str, str], text: str) -> list[str]:
    """Return what imports the name: as it was written, else what its value tells."""
    value = scope.get(name)
    if isinstance(value, ModuleType):
        direct = f"import {name}" if value.__name__ == name else f"import {value.__name__} as {name}"
        submodules = [f"import {one}" for one in _submodules(name, text)] if value.__name__ == name else []
        return [direct, *submodules]
    if name in statements:
        return [statements[name]]
    module, own = getattr(value, "__module__", None), getattr(value, "__name__", None)
    if not isinstance(module, str) or not isinstance(own, str) or module in ("__main__", scope.get("__name__")):
        return []
    if getattr(sys.modules.get(module), own, None) is not value:
        return []
    return [f"from {module} import {own}" + (f" as {name}" if own != name else "")]


def _submodules(name: str, text: str) -> list[str]:
    """Return the modules below `name` that the text reaches by attributes, as in `xml.dom.minidom.parse`."""
    dotted = {ast.unparse(one) for one in ast.walk(ast.parse(text)) if isinstance(one, ast.Attribute)}
    return sorted(one for one in dotted if one.startswith(f"{name}.") and one in sys.modules)
