"""A function passed as an object: which code becomes of it, and what is refused."""

from __future__ import annotations

import functools
import linecache
import math
import os.path as places
import xml.dom.minidom
from collections import OrderedDict
from collections.abc import Callable, Iterator
from math import tau as whole_turn
from typing import Any, Optional

import pytest

from nuwrap.errors import UsageError
from nuwrap.sdk.source import take_code
from nuwrap_runtime import handler

RATE = 0.2


def area(radius: float) -> float:
    return math.pi * radius**2


@handler(outputs=["turns"])
def turns(angle: float, kind: Optional[type] = None) -> Any:
    return OrderedDict(n=angle / whole_turn, at=places.join("a", "b"), rate=RATE)


def parsed(text: str) -> str:
    return xml.dom.minidom.parseString(text).documentElement.tagName  # noqa: S318 - our own text


class Here:
    def method(self) -> None: ...

    @staticmethod
    def plain() -> None: ...


def run(functions: list[Any]) -> dict[str, Any]:
    scope: dict[str, Any] = {"__name__": "main"}
    exec(compile(take_code(functions).text, "main.py", "exec"), scope)  # noqa: S102
    return scope


def test_a_function_comes_with_the_imports_that_it_names_and_no_others() -> None:
    code = take_code([area])
    assert code.text == (
        "from __future__ import annotations\nimport math\n\n\n"
        "def area(radius: float) -> float:\n    return math.pi * radius**2\n"
    )
    assert code.lacking == ()
    assert run([area])["area"](1) == math.pi


def test_imports_of_other_names_submodules_and_decorators_come_along() -> None:
    lines = take_code([turns]).text.split("\n\n\n")[0].splitlines()
    assert lines == [
        "from __future__ import annotations",
        "from collections import OrderedDict",
        "from math import tau as whole_turn",
        "from nuwrap_runtime import handler",
        "from typing import Any",
        "from typing import Optional",
        "import posixpath as places",
    ]
    assert run([parsed])["parsed"]("<a/>") == "a"


def test_a_name_of_the_module_that_is_no_import_is_told() -> None:
    assert take_code([turns]).lacking == ("RATE",)


def test_two_functions_see_each_other() -> None:
    scope = run([area, parsed])
    assert scope["area"](0) == 0
    assert scope["parsed"]("<b/>") == "b"


def test_a_function_inside_another_is_dedented() -> None:
    def inner(x: int) -> int:
        return x + 1

    assert run([inner])["inner"](1) == 2


@pytest.fixture
def cell(request: pytest.FixtureRequest) -> Iterator[Callable[..., dict[str, Any]]]:
    """Run text as a notebook does: its lines are kept for tracebacks under the cell's name."""
    names = []

    def execute(text: str, scope: dict[str, Any]) -> dict[str, Any]:
        name = f"/tmp/ipykernel_1/{abs(hash(text))}.py"
        names.append(name)
        linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
        exec(compile(text, name, "exec", dont_inherit=True), scope)  # noqa: S102
        scope.setdefault("In", [""]).append(text)
        return scope

    yield execute
    for name in names:
        del linecache.cache[name]


def test_a_function_of_a_cell_has_the_imports_of_other_cells(cell: Callable[..., dict[str, Any]]) -> None:
    scope = cell("from math import pi\nimport json as j", {"__name__": "__main__"})
    cell("def f(x):\n    return j.dumps(pi * x)", scope)
    scope["In"].append("def broken(:")
    code = take_code([scope["f"]])
    assert code.text.startswith("from math import pi\nimport json as j\n\n\ndef f(x):")
    assert code.lacking == ()


def test_a_file_that_has_changed_since_its_import_is_told(tmp_path: Any) -> None:
    path = tmp_path / "mod.py"
    path.write_text("def f(x):\n    return x\n")
    scope: dict[str, Any] = {"__name__": "mod"}
    exec(compile(path.read_text(), str(path), "exec"), scope)  # noqa: S102
    path.write_text("def other(x, y):\n    return x\n")
    linecache.checkcache(str(path))
    with pytest.raises(UsageError, match="is no longer the source of 'f'; import or run it again"):
        take_code([scope["f"]])


def closure() -> Callable[[], int]:
    step = 2
    return lambda: step


def closing() -> Callable[[], int]:
    step = 2

    def inner() -> int:
        return step

    return inner


def typed_at_a_prompt() -> Any:
    scope: dict[str, Any] = {}
    exec("def f(): pass", scope)  # noqa: S102
    return scope["f"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (lambda x: x, "a lambda has no name to call it by"),
        (closing(), "'inner' uses step of the function around it"),
        (Here, "is a class, not a plain function"),
        (Here().method, "is a method, not a plain function"),
        (Here.method, "is a method, not a plain function"),
        (Here.plain, "is a method, not a plain function"),
        (len, "is of type builtin_function_or_method"),
        (functools.partial(area, 2), "is of type partial"),
        (typed_at_a_prompt(), "the source of 'f' is not to be had"),
    ],
    ids=["lambda", "closure", "class", "bound", "method", "static", "builtin", "partial", "prompt"],
)
def test_what_is_no_plain_function_is_refused(value: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        take_code([value])
