"""Check one requirement as a person wrote it; it is kept verbatim. The toolkit's one user of packaging."""

from __future__ import annotations

from packaging.requirements import InvalidRequirement, Requirement

from nuwrap_runtime.schema import show


def check_requirement(text: str) -> None:
    """Raise ValueError for what is not one PEP 508 requirement: an option, a line break, a file's name."""
    if "\n" in text or "\r" in text:
        raise ValueError(f"{show(text)} has a line break; give each requirement its own entry")
    if text.lstrip().startswith("-"):
        raise ValueError(f"{show(text)} is an option of pip, not a requirement; name the index in `network`")
    try:
        Requirement(text)
    except InvalidRequirement as exc:
        raise ValueError(f"{show(text)} is not a requirement ({_reason(exc)}){_hint(text)}") from exc


def _reason(exc: InvalidRequirement) -> str:
    return str(exc).splitlines()[0].rstrip(":")


def _hint(text: str) -> str:
    if text.startswith(("git+", "http://", "https://")):
        return f"; write 'NAME @ {text}'"
    return "; allowed: a package's name, extras, versions and marker, as in 'pandas>1,<3'"
