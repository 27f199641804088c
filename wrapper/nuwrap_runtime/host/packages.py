"""Put requirements into an environment: by uv, else by pip. Knows both command lines and their messages.

The interpreter's own packages are kept: they are constraints, less those that the user names (his pins win) and less
the tools below, which its base brings without choosing. With uv in two steps: resolve against a view of what the base
has, then install exactly what is new.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Callable

from nuwrap_runtime.errors import PlatformError, RequirementsError
from nuwrap_runtime.host import environments, index
from nuwrap_runtime.host.interpreter import Interpreter
from nuwrap_runtime.host.process import Command, Completed, run
from nuwrap_runtime.host.uv import find_uv
from nuwrap_runtime.host.workspace import remove_tree
from nuwrap_runtime.launch import Launch

TOOLS = frozenset({"pip", "setuptools", "wheel"})
LAST_LINES = 20
_METADATA = ("METADATA", "PKG-INFO", "requires.txt", "direct_url.json")

# uv's plan, as ` + leaf==1.0`, ` + leaf==1.0 (from https://…)` or ` + leaf @ https://…`; `~` is installed again.
_PLANNED = re.compile(r" [+~] (?P<name>[\w.-]+)(?:==(?P<version>\S+)(?: \(from (?P<url>.+)\))?| @ (?P<address>.+))$")
_UNREACHABLE = re.compile(
    r"dns error|[Cc]onnection refused|NewConnectionError|[Tt]imed out|[Cc]onnect(ion)? error|error sending request"
    r"|NameResolutionError|certificate|ProxyError|tunnel error"
)


@dataclass(frozen=True)
class Order:
    """What is to be installed (verbatim lines), for whom, with which settings, until when.

    `named` are the packages that the user names, normalised; `direct` maps those given by address to their lines.
    `pins` are lines of his that hold for whatever is installed, of the packages `pinned`; `options` say where packages
    are looked for, as both installers take them.
    """

    lines: tuple[str, ...]
    named: frozenset[str]
    direct: Mapping[str, str]
    base: Interpreter
    isolated: bool
    refresh: bool
    seconds: float
    uv: str
    environ: Mapping[str, str]
    secrets: tuple[str, ...]
    work: str
    deadline: float
    say: Callable[[str], None]
    pins: tuple[str, ...] = ()
    pinned: frozenset[str] = frozenset()
    options: tuple[str, ...] = ()
    can_isolate: bool = True

    @property
    def constraints(self) -> dict[str, str]:
        """The packages of the base that stay as they are, name to version."""
        if self.isolated:
            return {}
        free = TOOLS | self.named | self.pinned
        there = {name: one.version for name, one in self.base.distributions.items() if name not in free}
        return {name: version for name, version in there.items() if _is_version(version)}

    @property
    def left_s(self) -> float:
        """The seconds that are left for installing."""
        return max(0.1, self.deadline - time.monotonic())


@contextmanager
def open_order(
    launch: Launch, base: Interpreter, environ: Mapping[str, str], *, cache: str, work: str, say: Callable[[str], None]
) -> Iterator[Order]:
    """Give the order; its private folder `work` (home, temporary and requirement files) is removed at the end."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    for name in ("home", "tmp"):
        os.makedirs(os.path.join(work, name), mode=0o700)
    clean = index.installer_environment(environ, launch.network, work, cache)
    parsed = [(line, Requirement(line)) for line in launch.requirements]
    here = [(line, one) for line, one in parsed if not one.marker or one.marker.evaluate({**base.markers, "extra": ""})]
    try:
        yield Order(
            lines=launch.requirements,
            named=frozenset(canonicalize_name(one.name) for _, one in here),
            direct={canonicalize_name(one.name): line for line, one in here if one.url},
            base=base,
            isolated=launch.isolated,
            refresh=launch.refresh,
            seconds=launch.limits.seconds,
            uv=find_uv(environ),
            environ=clean,
            secrets=index.url_secrets([*clean.values(), *launch.requirements]),
            work=work,
            deadline=time.monotonic() + launch.limits.seconds,
            say=say,
        )
    finally:
        remove_tree(work)


def bind(order: Order, pins: Sequence[str]) -> Order:
    """Return the order with lines that hold for whatever is installed; what they name of the base is no more kept."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    return replace(order, pins=tuple(pins), pinned=frozenset(canonicalize_name(Requirement(one).name) for one in pins))


def install(order: Order, folder: str) -> str:
    """Make an environment in the empty folder, with all that the order asks for, and return its python.

    Raises RequirementsError with the installer's last lines, PlatformError when there is neither uv nor pip.
    """
    python = environments.make_environment(
        order.base, folder, order.environ, isolated=order.isolated, timeout_s=order.left_s
    )
    if order.uv:
        pins = resolve_by_uv(order, make_view(order, python))
        _install_by_uv(order, python, pins)
    else:
        _install_by_pip(order, python)
    return python


def make_view(order: Order, python: str) -> str:
    """Return the python of an environment that shows uv what the base has.

    uv looks into one site-packages folder alone: not into the user's own, not into what a `.pth` adds, and never into
    a system's (it refuses one marked EXTERNALLY-MANAGED). So the metadata of all that the base has is put into one.
    """
    if order.isolated:
        return python
    folder = os.path.join(order.work, "view")
    view = environments.make_environment(order.base, folder, order.environ, isolated=True, timeout_s=order.left_s)
    site = environments.packages_folder(folder)
    for one in order.base.distributions.values():
        _link_metadata(one.path, site)
    return view


def _link_metadata(path: str, site: str) -> None:
    """Make the folder anew with links to what a resolution reads (uv passes over a folder that is a link itself)."""
    name = os.path.basename(path)
    if not name.endswith((".dist-info", ".egg-info")) or not os.path.exists(path):
        return
    if not os.path.isdir(path):
        os.symlink(path, os.path.join(site, name))
        return
    os.makedirs(os.path.join(site, name), exist_ok=True)
    for one in _METADATA:
        if os.path.exists(os.path.join(path, one)):
            os.symlink(os.path.join(path, one), os.path.join(site, name, one))


def resolve_by_uv(order: Order, view: str) -> list[str]:
    """Return what is to be installed beside what the base has, one line a package."""
    order.say(f"resolving {_count(order.lines, 'requirement')}")
    argv = [
        order.uv,
        "pip",
        "install",
        "--dry-run",
        "--python",
        view,
        "-r",
        write_lines(order, "requirements", order.lines),
    ]
    argv += [*_constrain(order), *(["--refresh"] if order.refresh else [])]
    argv += [f"--reinstall-package={name}" for name in sorted(order.direct)]
    done = run_installer(order, argv, what="do not resolve")
    planned = [found for found in map(_PLANNED.match, done.log) if found]
    return [_pin(order, found["name"], found["version"], found["address"] or found["url"]) for found in planned]


def _pin(order: Order, name: str, version: str, url: str) -> str:
    if name in order.direct:
        return order.direct[name]  # uv masks a password in an address, the user's own line has it
    return f"{name} @ {url}" if url else f"{name}=={version}"


def _install_by_uv(order: Order, python: str, pins: Sequence[str]) -> None:
    if not pins:
        return
    order.say(f"installing {summarize(order, pins)}")
    argv = [order.uv, "pip", "install", "--python", python, "--no-deps", "--compile-bytecode"]
    run_installer(order, [*argv, "-r", write_lines(order, "pins", pins)])


def _install_by_pip(order: Order, python: str) -> None:
    """Install in one step: in this environment pip sees what the base has, and keeps what the constraints name."""
    if order.isolated or "pip" not in order.base.distributions:
        _bring_pip(order, python)
    for arguments in pip_arguments(order):
        run_installer(order, [python, "-m", "pip", "install", "--no-warn-script-location", *arguments])


def pip_arguments(order: Order) -> Iterator[list[str]]:
    """Yield what pip is asked to install, one call after the other; says what goes on."""
    order.say(f"installing {_count(order.lines, 'requirement')} with pip")
    there = [line for name, line in order.direct.items() if name in order.base.distributions and not order.isolated]
    if there:  # pip takes an installed package of the same version for the one at the address
        yield ["--force-reinstall", "--no-deps", "-r", write_lines(order, "direct", there)]
    yield ["-r", write_lines(order, "requirements", order.lines), *_constrain(order)]


def _bring_pip(order: Order, python: str) -> None:
    done = _run(order, [python, "-m", "ensurepip", "--default-pip"])
    if done.returncode or done.timed_out:
        raise PlatformError(
            f"there is no uv, and python {order.base.executable!r} has neither pip nor ensurepip; "
            "install uv (or name it with NUWRAP_UV) or pip (Debian: python3-pip, python3-venv)"
        )


def run_installer(order: Order, argv: Sequence[str], *, what: str = "do not install") -> Completed:
    """Run uv or pip on what the order offers. Raises RequirementsError with its last lines."""
    done = _run(order, [*argv, *order.options])
    if done.returncode or done.timed_out:
        raise _failure(order, what, done)
    return done


def _run(order: Order, argv: Sequence[str]) -> Completed:
    return run(Command(argv, order.environ, cwd=order.work, timeout_s=order.left_s), keep_lines=10_000)


def _failure(order: Order, what: str, done: Completed) -> RequirementsError:
    """Return the error of an installer that did not do it: its last lines, masked, and what helps."""
    output = done.output.decode("utf-8", "replace").splitlines()
    lines = [line for line in (*output, *done.log) if not line.startswith(("Using Python ", "Using CPython "))]
    text = index.hide("\n".join(lines), order.secrets)
    kept = [f"{name}=={version}" for name, version in order.constraints.items() if _names(text, name, version)]
    asked = ", ".join(repr(index.hide(line, order.secrets)) for line in order.lines[:5])
    more = f" and {len(order.lines) - 5} more" if len(order.lines) > 5 else ""
    hint = ""
    if done.timed_out:
        what, hint = f"were not installed within {order.seconds:g} s", "limits.seconds allows more time"
    elif kept:
        hint = f"the interpreter's own packages are kept, among them {', '.join(kept)}: name one in requirements to "
        hint += "change it" + (", or set `isolated: true` to install without them" if order.can_isolate else "")
    elif _UNREACHABLE.search(text):
        hint = "the package index cannot be reached from here: see network.index, network.proxies, network.ca"
    python = f"Python {order.base.version} ({order.base.executable})"
    tail = text.splitlines()[-LAST_LINES:]
    return RequirementsError("\n".join([f"the requirements {asked}{more} {what} for {python}:", *tail, hint]).rstrip())


def _names(text: str, name: str, version: str) -> bool:
    pattern = rf"(?<![\w.-]){re.escape(name).replace('-', '[-_.]')}(?:==| ){re.escape(version)}(?![\w-]|\.\w)"
    return re.search(pattern, text, re.IGNORECASE) is not None


def write_lines(order: Order, name: str, lines: Iterable[str]) -> str:
    """Put the lines into a file of the private folder: an address may hold a password, arguments are for all to see."""
    path = os.path.join(order.work, name + ".txt")
    with open(path, "w", encoding="utf-8") as stream:
        stream.writelines(line + "\n" for line in lines)
    return path


def _constrain(order: Order) -> list[str]:
    lines = [*(f"{name}=={version}" for name, version in order.constraints.items()), *order.pins]
    return ["-c", write_lines(order, "constraints", lines)] if lines else []


def _is_version(text: str) -> bool:
    from packaging.version import InvalidVersion, Version

    try:
        Version(text)
    except InvalidVersion:
        return False
    return True


def _count(things: Sequence[str], word: str) -> str:
    return f"{len(things)} {word}{'' if len(things) == 1 else 's'}"


def summarize(order: Order, pins: Sequence[str]) -> str:
    """Return the packages as a progress line names them: some that the user asked for, and how many more."""
    asked = [pin for pin in pins if re.split(r"[ =\[]", pin)[0] in order.named]
    shown = [index.hide(pin, order.secrets).replace("==", " ") for pin in asked[:4]]
    rest = len(pins) - len(shown)
    if not shown:
        return _count(pins, "package")
    return ", ".join(shown) + (f" and {rest} more" if rest else "")
