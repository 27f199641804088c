"""A launch's requirements: checked, found in the interpreter, or installed into an environment of the cache."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Callable, Optional

from nuwrap_runtime.errors import PlatformError, RequirementsError
from nuwrap_runtime.host import environments
from nuwrap_runtime.host.environments import Environment, Place
from nuwrap_runtime.host.interpreter import Distribution, Interpreter, find_interpreter, probe
from nuwrap_runtime.host.sources.git_address import TOKEN_CHARACTERS, TOKEN_PREFIXES
from nuwrap_runtime.launch import Launch
from nuwrap_runtime.schema import show

if TYPE_CHECKING:  # 20 ms that a start without requirements does not pay
    from packaging.requirements import Requirement

Say = Callable[[str], None]

_ARCHIVES = (".whl", ".zip", ".tar.gz", ".tar.bz2", ".tgz", ".egg")


def ensure_environment(launch: Launch, environ: Mapping[str, str], cache: str, *, say: Say) -> Environment:
    """Return an interpreter that has what `requirements` ask for.

    That is the user's own when it satisfies them already, else one of an environment in `cache`, made once for equal
    requests. Without requirements nothing is started or imported. Raises RequirementsError, and PlatformError when
    there is no such interpreter or no place for the environment.
    """
    executable = find_interpreter(launch.python, environ)
    if not launch.requirements:
        return Environment(executable)
    try:
        return _find_or_install(launch, executable, environ, cache=cache, say=say)
    except OSError as exc:  # a full disk, a file that another user has left
        raise PlatformError(f"cannot keep the requirements in the cache {cache!r}: {exc}; set NUWRAP_CACHE") from exc


def find_serving(launch: Launch, base: Interpreter, place: Place) -> Optional[Environment]:
    """Return what serves the launch as things are, None when the requirements must be installed.

    That is what was made or found for an equal launch, unless `refresh` asks anew, else the interpreter itself when it
    has all of them. Raises RequirementsError.
    """
    known = environments.load_answer(place)
    if known and not launch.refresh:
        return known
    requirements = check_requirements(launch.requirements)
    if launch.isolated or unsatisfied(requirements, base):
        return None
    return Environment(base.executable, lock_lines(requirements, base), key=place.key)


def check_requirements(lines: Sequence[str]) -> tuple[Requirement, ...]:
    """Return the requirements as values, in their order. Raises RequirementsError that lists all faults."""
    from packaging.requirements import InvalidRequirement, Requirement

    from nuwrap_runtime.host.index import hide

    faults, found = [], []
    for index, line in enumerate(lines):
        fault = _line_fault(line)
        try:
            if not fault:
                found.append(Requirement(line))
                fault = _url_fault(found[-1])
        except InvalidRequirement as exc:
            fault = (
                f"is no PEP 508 requirement ({str(exc).splitlines()[0]}); write 'name', 'name>=1,<2' or 'name @ URL'"
            )
        if fault:
            faults.append(hide(f"  requirements[{index}]: {show(hide(line))} {fault}"))
    if faults:
        raise RequirementsError("the requirements are not valid:\n" + "\n".join(faults))
    return tuple(found)


def unsatisfied(requirements: Sequence[Requirement], interpreter: Interpreter) -> list[str]:
    """Return what the interpreter lacks: a requirement, or what one that it has needs; empty when it has all.

    An address is never satisfied: what is installed may be another revision.
    """
    lacking = [str(one.name) for one in requirements if one.url and _applies(one, interpreter, ("",))]
    for requirement, found in _walk(requirements, interpreter):
        if found is None or not _is_in(requirement, found):
            lacking.append(str(requirement.name))
    return lacking


def lock_lines(requirements: Sequence[Requirement], interpreter: Interpreter) -> tuple[str, ...]:
    """Return what the interpreter has of the requirements and of all that they need, one sorted line a package."""
    from packaging.utils import canonicalize_name

    names = {canonicalize_name(one.name): found for one, found in _walk(requirements, interpreter) if found}
    return tuple(
        f"{name} @ {found.direct}" if found.direct else f"{name}=={found.version}"
        for name, found in sorted(names.items())
    )


def request_key(launch: Launch, base: Interpreter, environ: Mapping[str, str]) -> str:
    """Return the name of this request in the cache: all that decides what would be installed, 32 hex digits."""
    from nuwrap_runtime.host.index import index_choice

    kept = {} if launch.isolated else {name: [one.version, one.direct] for name, one in base.distributions.items()}
    parts = {
        "format": environments.FORMAT,
        "python": [base.executable, os.path.realpath(base.executable), base.prefix],
        "abi": [base.implementation, base.version, base.abi, base.platform, base.libc],
        "requirements": launch.requirements,
        "index": index_choice(environ, launch.network),
        "isolated": launch.isolated,
        "base": [] if launch.isolated else [base.site, kept],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _line_fault(line: str) -> str:
    text = line.strip()
    if not text or re.search(r"[\x00-\x1f\x7f\x85\u2028\u2029]", line):
        return "is empty or holds a line break or a control character; write one requirement an entry"
    if text.startswith("-"):
        hint = "use network.index for indexes" if re.match(r"-(-\w*(index|link|host)|i\b|f\b)", text) else ""
        return f"is an option; only requirements are allowed; {hint or 'write the requirements themselves'}"
    if "${" in text or text.endswith("\\"):
        return "holds '${' or ends with a backslash; variables are not read here, write the value itself"
    is_path = text.startswith((".", "/", "~", "file:")) or text.lower().endswith(_ARCHIVES)
    if is_path and "@" not in text:
        return "is a path; write 'name @ file:///absolute/path'"
    return ""


def _url_fault(requirement: Requirement) -> str:
    if requirement.url and not re.match(r"[A-Za-z][A-Za-z0-9+.-]*:/", requirement.url):
        return "names no address; allowed after '@': https://…, git+https://…, file:///absolute/path"
    if requirement.url and _holds_login(requirement.url):
        return (
            "holds a password or token, which would show in the list of processes and in the lock; take the package "
            "from an index, whose login the installer's own variables have, or bring the code as code_src"
        )
    return ""


def _holds_login(url: str) -> bool:
    """Tell whether a login stands in the address; a name alone (`git@`) is none unless it is as long as a token."""
    found = re.match(r"[^:]*:/+([^/]*)@", url)
    user = found.group(1) if found else ""
    is_token = not url.startswith("git+ssh:") and len(user) >= TOKEN_CHARACTERS
    return ":" in user or "%3a" in user.lower() or is_token or user.startswith(TOKEN_PREFIXES)


def _walk(
    requirements: Sequence[Requirement], interpreter: Interpreter
) -> Iterator[tuple[Requirement, Optional[Distribution]]]:
    """Yield each requirement that applies, and all that the installed ones need, with what is installed for it."""
    from packaging.utils import canonicalize_name

    waiting: list[tuple[Requirement, tuple[str, ...]]] = [(one, ("",)) for one in reversed(requirements)]
    seen: set[tuple[str, str]] = set()
    while waiting:
        requirement, extras = waiting.pop()
        if not _applies(requirement, interpreter, extras):
            continue
        name = canonicalize_name(requirement.name)
        found = interpreter.distributions.get(name)
        yield requirement, found
        wanted = [extra for extra in ("", *sorted(requirement.extras)) if (name, extra) not in seen]
        seen.update((name, extra) for extra in wanted)
        if found and wanted:
            waiting += [(one, tuple(wanted)) for one in _parse_all(found.requires)]


def _applies(requirement: Requirement, interpreter: Interpreter, extras: Sequence[str]) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({**interpreter.markers, "extra": extra}) for extra in extras)


def _is_in(requirement: Requirement, found: Distribution) -> bool:
    from packaging.version import InvalidVersion

    try:
        return not requirement.specifier or requirement.specifier.contains(found.version, prereleases=True)
    except InvalidVersion:
        return False


def _find_or_install(
    launch: Launch, executable: str, environ: Mapping[str, str], *, cache: str, say: Say
) -> Environment:
    base = probe(executable, cache, environ)
    place = environments.open_place(cache, request_key(launch, base, environ))
    found = find_serving(launch, base, place)
    if found:
        if environments.load_answer(place) != found:
            environments.save_answer(place, found)
        return found
    with environments.locked(place, say, seconds=launch.limits.seconds):
        made_meanwhile = None if launch.refresh else environments.load_answer(place)
        return made_meanwhile or _install(launch, base, place, environ, cache=cache, say=say)


def _install(
    launch: Launch, base: Interpreter, place: Place, environ: Mapping[str, str], *, cache: str, say: Say
) -> Environment:
    """Make a new environment and let it serve, unless it came out as the one that serves already."""
    from nuwrap_runtime.host import packages

    with environments.new_folder(place) as folder:
        with packages.open_order(launch, base, environ, cache=cache, work=folder + ".work", say=say) as order:
            python = packages.install(order, folder)
            made = probe(python, "", order.environ)
        requirements = check_requirements(launch.requirements)
        check_installed(requirements, made)
        for clash in list(find_clashes(base, made))[:5]:
            say(clash)
        environment = Environment(python, lock_lines(requirements, made), installed=True, key=place.key)
        before = environments.load_answer(place)
        if before and before.requirements == environment.requirements and _is_exact(before):
            say("the requirements resolve as before")
            return before
        environments.finish(folder, {"requirements": environment.requirements, "base": base.executable})
    environments.save_answer(place, environment)
    return environment


def find_clashes(base: Interpreter, made: Interpreter) -> Iterator[str]:
    """Yield, for each package of the base that a user's pin has left without what it needs, a line that says so."""
    from packaging.utils import canonicalize_name

    kept = {name: one for name, one in made.distributions.items() if one == base.distributions.get(name)}
    for name, one in kept.items():
        for requirement in _parse_all(one.requires):
            needed = canonicalize_name(requirement.name)
            before, now = base.distributions.get(needed), made.distributions.get(needed)
            if not (before and now) or before == now or not _applies(requirement, made, ("",)):
                continue
            if _is_in(requirement, before) and not _is_in(requirement, now):
                yield (
                    f"{needed} {now.version} takes the place of the interpreter's {before.version}; "
                    f"its {name} {one.version} needs {requirement}"
                )


def _parse_all(texts: Sequence[str]) -> Iterator[Requirement]:
    from packaging.requirements import InvalidRequirement, Requirement

    for text in texts:
        try:
            yield Requirement(text)
        except InvalidRequirement:  # metadata from before PEP 508; installers pass over it too
            continue


def _is_exact(environment: Environment) -> bool:
    """Tell whether equal lines mean equal packages: an address without a commit may hold another content by now."""
    return all("==" in line or re.search(r" @ git\+.*@[0-9a-f]{40}$", line) for line in environment.requirements)


def check_installed(requirements: Sequence[Requirement], made: Interpreter) -> None:
    """See that every pin of the user's is honoured, and all that they need is there, whatever the installer says.

    Raises RequirementsError.
    """
    for one, found in _walk(requirements, made):
        if not (found and (bool(found.direct) if one.url else _is_in(one, found))):
            there = f"{one.name}=={found.version}" if found else "nothing"
            raise RequirementsError(f"requirement {str(one)!r} is not met by what was installed: found {there}")


def check_pins(pins: Sequence[Requirement], base: Interpreter, made: Interpreter) -> None:
    """See that what was installed is within the user's constraints; what was there before may be out of them.

    Raises RequirementsError.
    """
    from packaging.utils import canonicalize_name

    for one in pins:
        name = canonicalize_name(one.name)
        found = made.distributions.get(name)
        if found and found != base.distributions.get(name) and _applies(one, made, ("",)) and not _is_in(one, found):
            raise RequirementsError(f"constraint {str(one)!r} is not met by what was installed: found {found.version}")
