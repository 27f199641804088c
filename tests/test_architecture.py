"""The import rule of docs/architecture.md, and what else holds for the whole tree, read from the source itself."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from nuwrap.platforms import PLATFORMS
from nuwrap_runtime.host.sources import FETCHERS

ROOT = Path(__file__).parent.parent
PLACES = {"nuwrap_runtime": ROOT / "wrapper", "nuwrap": ROOT / "builder"}
RUNTIME, TOOLKIT = "wrapper/nuwrap_runtime", "builder/nuwrap"

# What stands beside worker and host: values, and what a function author imports.
VALUES = ("nuwrap_runtime", *(f"nuwrap_runtime.{path.stem}" for path in (ROOT / RUNTIME).glob("*.py")))

# Who may import what of ours; the longest row that fits a module counts, and a row may import what it names and below.
LAYERS: Mapping[str, tuple[str, ...]] = {
    "nuwrap_runtime": VALUES,
    "nuwrap_runtime.entities": (*VALUES, "nuwrap_runtime.worker"),
    "nuwrap_runtime.errors": (),
    "nuwrap_runtime.launch": ("nuwrap_runtime.errors", "nuwrap_runtime.schema"),
    "nuwrap_runtime.result": (),
    "nuwrap_runtime.schema": (),
    "nuwrap_runtime.worker": (*VALUES, "nuwrap_runtime.worker"),
    "nuwrap_runtime.host": (*VALUES, "nuwrap_runtime.worker", "nuwrap_runtime.host"),
    "nuwrap_runtime.host.sources": (
        "nuwrap_runtime.errors", "nuwrap_runtime.launch", "nuwrap_runtime.schema", "nuwrap_runtime.host",
    ),
    "nuwrap_runtime.host.stores": (*VALUES, "nuwrap_runtime.host"),
    "nuwrap": ("nuwrap.errors", "nuwrap.sdk"),
    "nuwrap.errors": ("nuwrap_runtime.errors",),
    "nuwrap.text": (),
    "nuwrap.command": ("nuwrap.errors",),
    "nuwrap.spec": ("nuwrap.errors", "nuwrap.spec"),
    "nuwrap.plan": ("nuwrap.errors", "nuwrap.spec", "nuwrap.plan"),
    "nuwrap.store": ("nuwrap.errors", "nuwrap.spec", "nuwrap.store"),
    "nuwrap.docker": ("nuwrap.errors", "nuwrap.command"),
    "nuwrap.cluster": ("nuwrap.errors", "nuwrap.text", "nuwrap.cluster"),
    "nuwrap.host": ("nuwrap.errors", "nuwrap.command", "nuwrap.platforms"),
    "nuwrap.registry": ("nuwrap.errors", "nuwrap.spec", "nuwrap.command", "nuwrap.registry"),
    "nuwrap.engines": (
        "nuwrap.errors", "nuwrap.spec", "nuwrap.command", "nuwrap.cluster", "nuwrap.docker", "nuwrap.registry",
        "nuwrap.engines", "nuwrap.plan.kubernetes",
    ),
    "nuwrap.platforms": (
        "nuwrap.errors", "nuwrap.spec", "nuwrap.plan", "nuwrap.command", "nuwrap.cluster", "nuwrap.docker",
        "nuwrap.platforms", "nuwrap.text",
    ),
    "nuwrap.builds": (
        "nuwrap.errors", "nuwrap.spec", "nuwrap.plan", "nuwrap.command", "nuwrap.cluster", "nuwrap.docker",
        "nuwrap.registry",
        "nuwrap.engines", "nuwrap.host", "nuwrap.platforms", "nuwrap.builds", "nuwrap.text",
    ),
    "nuwrap.runs": (
        "nuwrap.errors", "nuwrap.spec", "nuwrap.plan", "nuwrap.store", "nuwrap.command", "nuwrap.platforms",
        "nuwrap.builds", "nuwrap.runs",
    ),
    "nuwrap.sdk": (
        "nuwrap.errors", "nuwrap.spec", "nuwrap.plan", "nuwrap.store", "nuwrap.command", "nuwrap.engines",
        "nuwrap.platforms", "nuwrap.builds", "nuwrap.runs", "nuwrap.sdk", "nuwrap.text",
    ),
    "nuwrap.cli": ("nuwrap",),
}  # fmt: skip
# What the toolkit may import of the runtime; of its face, `handler`.
SHARED = {
    "nuwrap_runtime",
    *(f"nuwrap_runtime.{name}" for name in ("launch", "errors", "entities", "result", "result_lines", "schema")),
}
EVERYTHING = ("nuwrap",)  # rows that mean a package and all of it; a bare `nuwrap_runtime` means its `__init__`

# A third-party module belongs to one file of each distribution, or to one folder. The user's own libraries are
# imported inside functions alone: a worker without them must start.
OWNERS: Mapping[str, tuple[str, ...]] = {
    "backports": (f"{RUNTIME}/host/unpacking/streams.py", f"{TOOLKIT}/registry/unpacking.py"),
    "boto3": (f"{RUNTIME}/host/stores/s3_client.py",),
    "botocore": (f"{RUNTIME}/host/stores/s3_client.py",),
    "compression": (  # in the standard library from 3.14 on
        f"{RUNTIME}/host/unpacking/streams.py", f"{TOOLKIT}/registry/unpacking.py",
    ),
    "click": (f"{TOOLKIT}/cli/main.py", f"{TOOLKIT}/cli/commands/"),
    "git": (f"{RUNTIME}/host/sources/git.py",),
    "h11": (f"{RUNTIME}/host/service/parser_h11.py",),
    "httptools": (f"{RUNTIME}/host/service/parsers.py",),
    "jinja2": (f"{TOOLKIT}/plan/rendering.py",),
    "kubernetes": (f"{TOOLKIT}/cluster/connecting.py",),
    "msgpack": (f"{RUNTIME}/worker/msgpack.py",),
    "packaging": (
        f"{RUNTIME}/host/packages.py", f"{RUNTIME}/host/requirements.py", f"{TOOLKIT}/spec/requirements.py",
    ),
    "prometheus_client": (f"{RUNTIME}/host/service/metrics.py",),
    "pydantic": tuple(
        f"{TOOLKIT}/spec/{name}.py" for name in ("affinity", "checks", "function", "model", "shapes")
    ),
    "requests": (f"{TOOLKIT}/registry/client.py", f"{TOOLKIT}/sdk/invoke.py"),
    "rich": (f"{TOOLKIT}/cli/show.py",),
    "s3transfer": (f"{RUNTIME}/host/stores/s3_client.py",),
    "typing_extensions": (f"{TOOLKIT}/sdk/arguments.py",),
    "urllib3": (f"{RUNTIME}/host/stores/http_connections.py", f"{TOOLKIT}/cluster/transport.py"),
    "websocket": (f"{TOOLKIT}/cluster/sockets.py",),
    "yaml": (f"{TOOLKIT}/spec/document.py",),
}  # fmt: skip
USERS = {"matplotlib", "nuclio_sdk", "numpy", "orjson", "pandas", "polars", "pyarrow"}
USERS_IMPORTERS = (f"{RUNTIME}/entities.py", f"{RUNTIME}/worker/")
# GitPython starts git and hands its process back: that one file needs the type and the exception, and calls neither.
HANDED_A_PROCESS = f"{RUNTIME}/host/sources/git.py"
STARTERS = (f"{RUNTIME}/host/process.py", f"{RUNTIME}/host/workers.py", f"{TOOLKIT}/command.py")
REGISTRIES = [
    first + "." + last
    for first, last in [
        ("pypi", "org"), ("pypi", "python"), ("pythonhosted", "org"), ("npmjs", "org"), ("npmjs", "com"),
        ("anaconda", "org"), ("crates", "io"), ("golang", "org/simple"), ("proxy.golang", "org"), ("jfrog", "io"),
        ("mirrors", "aliyun"), ("tsinghua", "edu"), ("rubygems", "org"), ("maven", "org"),
    ]
]  # fmt: skip


@dataclass(frozen=True)
class Module:
    """A source file: its dotted name, its path from the root, its tree."""

    name: str
    path: str
    tree: ast.Module


@dataclass(frozen=True)
class Import:
    """One imported module; `early` when importing the file already imports it."""

    name: str
    early: bool


@cache
def modules() -> Mapping[str, Module]:
    found = {}
    for package, place in PLACES.items():
        for path in sorted((place / package).rglob("*.py")):
            relative = path.relative_to(place)
            parts = relative.parent.parts if path.name == "__init__.py" else relative.with_suffix("").parts
            if "compat" not in parts:  # what a user imports by another project's name; a distribution of its own
                name = ".".join(parts)
                found[name] = Module(name, path.relative_to(ROOT).as_posix(), ast.parse(path.read_text("utf-8")))
    return found


def imports(module: Module) -> list[Import]:
    return list(_imports(module.tree, early=True))


def _imports(node: ast.AST, *, early: bool) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        yield from (Import(alias.name, early) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"relative import of {node.module!r}; say the whole name"
        for name in {f"{node.module}.{alias.name}" for alias in node.names}:
            yield Import(name if name in modules() else str(node.module), early)
    later = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)) or _is_for_types(node)
    for child in ast.iter_child_nodes(node):
        yield from _imports(child, early=early and not later)


def _is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def is_below(name: str, row: str) -> bool:
    if name == row:
        return True
    return name.startswith(f"{row}.") and (row in EVERYTHING or row.count(".") > 0)


def ours(module: Module) -> list[Import]:
    return [one for one in imports(module) if one.name.split(".")[0] in PLACES]


def describe_breaches(module: Module) -> list[str]:
    row = max((one for one in LAYERS if module.name == one or module.name.startswith(f"{one}.")), key=len)
    breaches = []
    for one in ours(module):
        foreign = one.name.startswith("nuwrap_runtime") and module.name.split(".")[0] == "nuwrap"
        allowed = one.name in SHARED if foreign else any(is_below(one.name, name) for name in LAYERS[row])
        if not allowed:
            breaches.append(f"{module.path} imports {one.name}")
    return breaches


def reach(start: set[str], used: Mapping[str, set[str]]) -> set[str]:
    """What the names use, what that uses, and so on."""
    found: set[str] = set()
    new = set(start)
    while new:
        found |= new
        new = set().union(*(used[name] for name in new)) - found
    return found


def test_every_module_imports_only_what_its_layer_may() -> None:
    assert [line for module in modules().values() for line in describe_breaches(module)] == []


def test_the_worker_knows_no_host_and_the_runtime_no_toolkit() -> None:
    for module in modules().values():
        names = [one.name for one in ours(module)]
        if module.name.startswith("nuwrap_runtime.worker"):
            assert not [name for name in names if name.startswith("nuwrap_runtime.host")], module.path
        if module.name.startswith("nuwrap_runtime"):
            assert not [name for name in names if name.split(".")[0] == "nuwrap"], module.path


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = {module.name: {one.name for one in ours(module) if one.early} for module in modules().values()}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError with the cycle


def test_a_third_party_module_belongs_to_its_file() -> None:
    known = {*sys.stdlib_module_names, *PLACES}
    strangers = []
    for module in modules().values():
        for one in imports(module):
            name = one.name.split(".")[0]
            owners = USERS_IMPORTERS if name in USERS and not one.early else OWNERS.get(name, ())
            if name not in known and not module.path.startswith(owners or ("nobody's",)):
                strangers.append(f"{module.path} imports {name}")
    assert strangers == []


def test_a_worker_starts_with_the_standard_library_alone() -> None:
    for module in modules().values():
        if module.name.startswith("nuwrap_runtime") and not module.name.startswith("nuwrap_runtime.host"):
            early = {one.name.split(".")[0] for one in imports(module) if one.early}
            assert early <= {*sys.stdlib_module_names, "nuwrap_runtime"}, module.path


def test_no_owner_is_named_in_vain() -> None:
    used = {(one.name.split(".")[0], module.path) for module in modules().values() for one in imports(module)}
    owned = [(name, path) for name, paths in OWNERS.items() for path in paths]
    assert [one for one in owned if not any(name == one[0] and path.startswith(one[1]) for name, path in used)] == []


def test_programs_are_started_in_the_named_places_alone() -> None:
    for module in modules().values():
        names = {one.name.split(".")[0] for one in imports(module)} & {"subprocess", "pty", "multiprocessing"}
        assert module.path in (*STARTERS, HANDED_A_PROCESS) or not names, module.path


def test_who_is_handed_a_process_starts_none() -> None:
    tree = ast.parse((ROOT / HANDED_A_PROCESS).read_text("utf-8"))
    assert "subprocess" not in [
        alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    ]
    imported = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == "subprocess"]
    assert {alias.name for node in imported for alias in node.names} <= {"Popen", "TimeoutExpired"}
    assert not [alias for node in imported for alias in node.names if alias.asname]
    called = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert not called & {"Popen", "TimeoutExpired"}


def test_no_shell_is_started() -> None:
    for module in modules().values():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
                assert node.attr not in ("system", "popen"), f"{module.path}:{node.lineno}"
            if isinstance(node, ast.keyword) and node.arg == "shell":
                assert isinstance(node.value, ast.Constant), f"{module.path}:{node.value.lineno}"
                assert node.value.value is False, f"{module.path}:{node.value.lineno}"


@pytest.mark.parametrize(
    ("package", "table"),
    [("nuwrap_runtime.host.sources", FETCHERS), ("nuwrap.platforms", PLATFORMS)],
    ids=["sources", "platforms"],
)
def test_a_choice_is_a_sorted_row_and_a_file(package: str, table: Mapping[str, str]) -> None:
    rows = set(table.values())
    assert list(table) == sorted(table)
    assert rows <= set(modules()), "a row without a file"
    inside = {name for name in modules() if name.startswith(f"{package}.")}
    used = {name: {one.name for one in ours(modules()[name])} & inside for name in inside}
    assert inside <= reach(rows, used), "a file that no row names, nor a row's file uses"
    for name in rows:
        assert not used[name] & (rows - {name}), f"{name} knows its sibling"


def test_no_file_names_a_package_registry() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    found = []
    for name in filter(None, listed.stdout.decode().split("\0")):
        path = ROOT / name
        text = path.read_bytes().decode("utf-8", "replace").lower() if path.is_file() else ""
        found += [f"{name}: {host}" for host in REGISTRIES if host in text]
    assert found == []


def test_the_rules_see_the_tree() -> None:
    """The rules above hold of nothing when they read nothing."""
    found = modules()
    assert {"nuwrap.cli.main", "nuwrap_runtime.worker.main", "nuwrap_runtime.host.cli"} <= set(found)
    assert Import("subprocess", early=True) in imports(found["nuwrap.command"])
    assert Import("nuwrap.cli.run", early=False) in imports(found["nuwrap.cli.commands.running"])
    stranger = Module(
        "nuwrap.spec.x", "x.py", ast.parse("from nuwrap_runtime.host import cli\nimport nuwrap.plan.launch")
    )
    assert len(describe_breaches(stranger)) == 2
