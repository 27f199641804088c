"""The Function: what an author says once about the code. A mapping from outside becomes a value here, and only here."""

from __future__ import annotations

import re
import uuid as uuid_module
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from nuwrap.errors import SpecError
from nuwrap.spec.requirements import check_requirement, hide_credentials
from nuwrap_runtime.launch import HANDLER, INIT_FUNCTION, NAME, NAME_FORM, decode_base64
from nuwrap_runtime.schema import did_you_mean, show

PythonVersion = Literal["PYTHON3_9", "PYTHON3_10", "PYTHON3_11", "PYTHON3_12", "PYTHON3_13"]
PYTHON_VERSIONS: Mapping[str, str] = {name: name[len("PYTHON") :].replace("_", ".") for name in get_args(PythonVersion)}
KEY_CHARACTERS = 80
SOURCES = ("code_src", "code", "base64")
_KINDS = {"string_type": "a string", "bool_type": "true or false", "tuple_type": "a list", "list_type": "a list"}
_TUPLE = Annotated[tuple[str, ...], BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value)]


class Function(BaseModel):
    """A valid function of kind `python`. A field's description says what is allowed, in errors too.

    Exactly one of `code_src`, `code`, `base64` is given. A `code_src` without a scheme is a path here.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str = Field(description=NAME_FORM)
    kind: Literal["python"] = Field(description="python")
    handler: str = Field(description="[module:]function, as 'f', 'pkg.mod:f' or 'mod:Class.method'")
    python_version: PythonVersion = Field(description=", ".join(get_args(PythonVersion)))
    project: str = Field("default", description=NAME_FORM)
    uuid: str = Field("", description="a UUID of version 4")
    description: str = Field("", description="text")
    labels: _TUPLE = Field((), description="a list of strings")
    embedded: bool = Field(default=False, description="true or false")
    code_src: str = Field("", description="a path, or an address with a scheme")
    code: str = Field("", description="the code itself")
    base64: str = Field("", description="the code as base64 of UTF-8 text")
    init_function: str = Field("", description="[module:]function")
    lang: str = Field("", description="text; recorded only")
    image: str = Field("", description="a container image")
    base_image: str = Field("", description="a container image to build on")
    requirements: _TUPLE = Field((), description="a list of PEP 508 requirements, as 'pandas>1,<3'")

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
    lines = list(faults)
    try:
        function = Function.model_validate(given)
    except ValidationError as exc:
        errors = exc.errors(include_url=False)
        lines += [_line(error, paths or {}) for error in errors]
        fault = _source_fault([name for name in SOURCES if name in given])
        if fault and all(error["loc"] for error in errors):  # pydantic looks at the whole only when its parts are valid
            lines.append(f"code_src: {fault}")
    if lines:
        raise SpecError(f"{origin} is not valid:\n" + "\n".join(f"  {line}" for line in lines))
    return function


def has_scheme(code_src: str) -> bool:
    """Tell an address (`git+https://…`) from a path; the same rule as the host's."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*:/", code_src) is not None


def show_key(key: Any) -> str:
    """Return a file's key as a message names it: as it is when it is short and plain text, else quoted and escaped."""
    text = str(key)
    return text if text.isprintable() and len(text) <= KEY_CHARACTERS else show(text)


def _line(error: Any, paths: Mapping[str, str]) -> str:
    name = str(error["loc"][0]) if error["loc"] else "code_src"
    items = "".join(f"[{part}]" for part in error["loc"][1:])
    where = paths.get(name, show_key(name)) + items
    if error["type"] == "extra_forbidden":
        return f"{where}: unknown key{did_you_mean(name, list(Function.model_fields))}"
    if not error["loc"]:
        return f"{where}: {error['ctx']['error']}"
    return f"{where}: {_problem(error)}; allowed: {Function.model_fields[name].description}"


def _problem(error: Any) -> str:
    if error["type"] == "missing":
        return "is missing"
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    if error["type"] in _KINDS:
        return f"{_quote(error['input'])} is not {_KINDS[error['type']]}"
    return f"{_quote(error['input'])} cannot be taken"


def _quote(value: Any) -> str:
    """Return the value as a message shows it; an address that would be cut may lose the `@` that tells a password."""
    if isinstance(value, str):
        return show(hide_credentials(value))
    text = show(value)
    return f"this {type(value).__name__}" if "//" in text else text


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
