"""Values that a Dockerfile, a requirements file or a label cannot hold: each with its field and what is allowed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from nuwrap.plan.dockerfile import command_fault, line_fault
from nuwrap.spec.build import ImageFacts, SourceFacts
from nuwrap.spec.requirements import hide_credentials
from nuwrap.spec.run_values import RunValues
from nuwrap.spec.shapes import Env
from nuwrap_runtime.schema import show

ENGINE_ARGUMENTS: Final = "BUILDKIT_"  # BUILDKIT_SYNTAX names another program to read the file (builder/build.go)
_USER = re.compile(r"https?://(?!\$)[^\s/@:]+@")
_PASSWORD = re.compile(r"://[^\s/@:]*:(?!\$)[^\s/@]+@")  # one that is written out, not a variable's


def instruction_faults(instructions: Sequence[str]) -> list[str]:
    """Return what would be more than one RUN line, or would stay in the history and must not."""
    return [
        f"instructions[{number}]: {show(hide_credentials(text))} {fault}; allowed: a shell command on one line"
        for number, text in enumerate(instructions)
        if (fault := command_fault(text) or _password_fault(text))
    ]


def requirement_faults(requirements: Sequence[str]) -> list[str]:
    """Return what would be more than one line of a requirements file, or of the image's labels."""
    return [
        f"requirements[{number}]: {show(hide_credentials(text))} {fault}; allowed: one requirement on one line"
        for number, text in enumerate(requirements)
        if (fault := line_fault(text) or ("ends with a backslash" if text.rstrip().endswith("\\") else ""))
    ]


def env_faults(envs: Sequence[Env], base: ImageFacts) -> list[str]:
    """Return what no ENV line can hold, what would be read by the engine, and what the base would hide."""
    found = [(number, one.name, _env_fault(one, base)) for number, one in enumerate(envs)]
    return [f"envs[{number}]: {name} {fault}" for number, name, fault in found if fault]


def _env_fault(env: Env, base: ImageFacts) -> str:
    if env.name.startswith(ENGINE_ARGUMENTS):
        return "is an argument of the build engine itself; name the variable differently"
    if env.persist and line_fault(env.value):
        return f"{line_fault(env.value)}; allowed with persist: one line. Give it as an env of the job or service"
    if not env.persist and env.name in base.env:
        return "is set by the base image, which wins over a build's; say persist: true, or set it in the instruction"
    return _password_fault(env.value)


def secret_faults(secrets: Sequence[str]) -> list[str]:
    """Return the names that an engine reads otherwise: BuildKit takes an option byte by byte (split_command.go)."""
    return [
        f"secrets: {show(name)} cannot be mounted by an engine; allowed in a build: ASCII letters, digits, '._-'"
        for name in secrets
        if not name.isascii()
    ]


def user_notes(values: RunValues, requirements: Sequence[str]) -> list[str]:
    """Return a note for each address with a name before its `@`: some places take a token there."""
    told = [
        *((f"instruction {number}", text) for number, text in enumerate(values.instructions, 1)),
        *((f"requirement {number}", text) for number, text in enumerate(requirements, 1)),
        *((f"env {one.name}", one.value) for one in values.envs),
    ]
    return [
        f"{name} has a name before '@' in an address, which stays in the image; if it is a token, give it as a secret"
        for name, text in told
        if _USER.search(text)
    ]


def _password_fault(text: str) -> str:
    if not _PASSWORD.search(text):
        return ""
    return (
        "has an address with a password, which would stay in the image's history; give it as a secret, which "
        "instructions read with $(cat /run/secrets/NAME)"
    )


def source_faults(source: SourceFacts) -> list[str]:
    """Return what of the source cannot be in a label or in the context."""
    told = [("code_src", source.address), ("the revision of code_src", source.revision)]
    found = [f"{name}: {show(text)} {fault}" for name, text in told if (fault := line_fault(text))]
    outside = [path for path in source.files if path.startswith("/") or ".." in path.split("/")]
    return [*found, *(f"code_src: the file {show(path)} is outside the code" for path in outside)]
