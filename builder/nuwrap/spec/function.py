"""The Function: what an author says once about the code. A mapping from outside becomes a value here, and only here."""

from __future__ import annotations

import re
import uuid as uuid_module
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, field_validator, model_validator

from nuwrap.errors import SpecError
from nuwrap.spec.model import Many, Value, check, quote, said
from nuwrap.spec.requirements import check_requirement, has_password
from nuwrap_runtime.launch import HANDLER, INIT_FUNCTION, NAME, NAME_FORM, decode_base64
from nuwrap_runtime.schema import show

PythonVersion = Literal["PYTHON3_9", "PYTHON3_10", "PYTHON3_11", "PYTHON3_12", "PYTHON3_13"]
PYTHON_VERSIONS: Mapping[str, str] = {name: name[len("PYTHON") :].replace("_", ".") for name in get_args(PythonVersion)}
SOURCES = ("code_src", "code", "base64")
_FILES = (".txt", ".in", ".toml", ".py", ".cfg", ".yaml", ".yml", ".lock")


def _refuse_text(value: Any) -> Any:
    """Say how a list is written where a requirements file or a single requirement stands."""
    if not isinstance(value, str):
        return value
    if value.endswith(_FILES):
        raise ValueError(f"{quote(value)} is a file; write its lines as the list, each requirement its own entry")
    raise ValueError(f"{quote(value)} is not a list; write [{quote(value)}]")


class Function(Value):
    """A valid function of kind `python`.

    Exactly one of `code_src`, `code`, `base64` is given. A `code_src` without a scheme is a path here.
    """

    name: str = said("identifies the function in its project", NAME_FORM, ...)
    kind: Literal["python"] = said("kind of the function", "python", ...)
    handler: str = said("the function to call", "[module:]function, as 'f', 'pkg.mod:f' or 'mod:Class.method'", ...)
    python_version: PythonVersion = said("Python that runs it", ", ".join(get_args(PythonVersion)), ...)
    project: str = said("project it belongs to", NAME_FORM, "default")
    uuid: str = said("id of this version; made when missing", "a UUID of version 4", "")
    description: str = said("what it is, for people", "text", "")
    labels: Many[str] = said("words to find it by", "a list of strings", ())
    embedded: bool = said("stand in full in the project's export", "true or false", default=False)
    code_src: str = said("where the code is", "a path, or an address with a scheme", "")
    code: str = said("the code itself, becomes main.py", "text", "")
    base64: str = said("the code itself, becomes main.py", "base64 of UTF-8 text", "")
    init_function: str = said("called once before the first event", "[module:]function", "")
    lang: str = said("language of the code; recorded only", "text", "")
    image: str = said("image to run in", "a container image", "")
    base_image: str = said("image to build on", "a container image", "")
    requirements: Annotated[Many[str], BeforeValidator(_refuse_text)] = said(
        "packages that the code imports", "a list of PEP 508 requirements, as 'pandas>1,<3'", ()
    )

    @field_validator("name", "project")
    @classmethod
    def _check_name(cls, value: str) -> str:
        return _match(NAME, value)

    @field_validator("handler")
    @classmethod
    def _check_handler(cls, value: str) -> str:
        return _match(HANDLER, value, _suggest_handler(value))

    @field_validator("init_function")
    @classmethod
    def _check_init_function(cls, value: str) -> str:
        return _match(INIT_FUNCTION, value, _suggest_handler(value))

    @field_validator("python_version", mode="before")
    @classmethod
    def _check_python_version(cls, value: Any) -> Any:
        if isinstance(value, str) and value in PYTHON_VERSIONS:
            return value
        raise ValueError(f"{show(value)} is none of the versions{_suggest_version(value)}")

    @field_validator("uuid")
    @classmethod
    def _check_uuid(cls, value: str) -> str:
        try:
            version = uuid_module.UUID(value).version
        except ValueError:
            version = None
        if version != 4:
            raise ValueError(f"{show(value)} is no UUID of version 4")
        return value

    @field_validator("code_src", "code")
    @classmethod
    def _check_text(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("is empty")
        return value

    @field_validator("code_src")
    @classmethod
    def _check_address(cls, value: str) -> str:
        if has_scheme(value) and has_password(value):
            raise ValueError(
                f"{quote(value)} holds a password, which would be stored and shown; leave it out, and set GIT_USERNAME "
                "and GIT_PASSWORD, or GIT_TOKEN, in the environment"
            )
        return value

    @field_validator("base64")
    @classmethod
    def _check_base64(cls, value: str) -> str:
        try:
            if decode_base64(value).strip():
                return value
        except ValueError as exc:
            raise ValueError(f"{show(value)} is not base64 of UTF-8 text ({exc})") from exc
        raise ValueError("is empty")

    @field_validator("requirements")
    @classmethod
    def _check_requirements(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        faults = []
        for text in value:
            try:
                check_requirement(text)
            except ValueError as exc:
                faults.append(str(exc))
        if faults:
            raise ValueError("; and ".join(faults))
        return value

    @model_validator(mode="after")
    def _check_source(self) -> Function:
        fault = _source_fault([name for name in SOURCES if getattr(self, name)])
        if fault:
            raise ValueError(fault)
        return self


def make_function(
    fields: Mapping[str, Any],
    *,
    origin: str = "the function",
    paths: Mapping[str, str] | None = None,
    faults: Sequence[str] = (),
) -> Function:
    """Return the function of these fields; one that is None counts as not given.

    `paths` says where a field stood (`{"handler": "spec.source.handler"}`), `faults` what the caller has found
    already. Raises SpecError with all faults at once, one a line, each with its path, the value and what is allowed.
    """
    given = {name: value for name, value in fields.items() if value is not None}
    paths = paths or {}
    function, found = check(Function, given, paths={**paths, "": paths.get("code_src", "code_src")})
    source_fault = _source_fault([name for name in SOURCES if name in given])
    if source_fault and not any(source_fault in line for line in found):
        found.append(f"code_src: {source_fault}")  # pydantic looks at the whole only when its parts are valid
    lines = [*faults, *found]
    if function is None or lines:
        raise SpecError(f"{origin} is not valid:\n" + "\n".join(f"  {line}" for line in lines))
    return function


def has_scheme(code_src: str) -> bool:
    """Tell an address (`git+https://…`) from a path; the same rule as the host's."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*:/", code_src) is not None


def _match(pattern: str, value: str, hint: str = "") -> str:
    if not re.search(pattern, value) or value.endswith("\n"):  # Python's `$` lets one line break pass
        raise ValueError(f"{show(value)} has not the right form{hint}" if value else "is empty")
    return value


def _suggest_handler(value: str) -> str:
    module, colon, name = value.replace("/", ".").rpartition(":" if ":" in value else ".")
    module = module.removesuffix(".py")
    meant = f"{module}:{name}"
    sensible = module and re.search(HANDLER, meant) and (colon == "." or meant != value)
    return f"; did you mean {meant!r}?" if sensible else ""


def _suggest_version(value: Any) -> str:
    text = "3.10" if isinstance(value, float) and value == 3.1 else str(value)  # YAML reads 3.10 as the number 3.1
    found = re.search(r"3[._](\d+)", text)
    meant = f"PYTHON3_{found.group(1)}" if found else ""
    return f"; did you mean {meant}?" if meant in PYTHON_VERSIONS else ""


def _source_fault(given: list[str]) -> str:
    if len(given) == 1:
        return ""
    found = f"{' and '.join(given)} are both given" if given else "no source is given"
    return f"{found}; allowed: exactly one of code_src, code, base64"
