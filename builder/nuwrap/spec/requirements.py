"""Check one requirement as a person wrote it; it is kept verbatim. The toolkit's one user of packaging."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from packaging.requirements import InvalidRequirement, Requirement

from nuwrap_runtime.schema import show

_INSTEAD = "; give an index's credentials by the installer's configuration, a private repository as code_src"


def check_requirement(text: str) -> None:
    """Raise ValueError for what is not one PEP 508 requirement (an option, a line break, a file's name), or has a
    password in its address. No message shows what stands before an address's `@`.
    """
    quoted = show(hide_credentials(text))
    if "\n" in text or "\r" in text:
        raise ValueError(f"{quoted} has a line break; give each requirement its own entry")
    if text.lstrip().startswith("-"):
        raise ValueError(f"{quoted} is an option of pip, not a requirement; name the index in `network`")
    try:
        url = Requirement(text).url
    except InvalidRequirement as exc:
        raise ValueError(f"{quoted} is not a requirement ({_reason(exc)}){_hint(text)}") from None
    if url and has_password(url):
        raise ValueError(f"{quoted} holds a password, which would be stored and shown{_INSTEAD}")


def has_password(url: str) -> bool:
    """Tell an address with a password in it."""
    try:
        return bool(urlsplit(url).password)
    except ValueError:  # brackets that are no address: what stands before the `@` counts
        return hide_credentials(url) != url


def hide_credentials(text: str) -> str:
    """Return the text with `***` for what stands between `//` and `@` in an address.

    A password may hold a raw `@` or `/`: with a colon before it, all up to the last `@` is taken for one.
    """
    return re.sub(r"//(?:[^/@]*:.*@|[^/]*@)", "//***@", text, flags=re.DOTALL)


def _reason(exc: InvalidRequirement) -> str:
    return hide_credentials(str(exc)).splitlines()[0].rstrip(":")


def _hint(text: str) -> str:
    if hide_credentials(text) != text:
        return f"; write 'NAME @ ADDRESS', the address without credentials{_INSTEAD}"
    if text.startswith(("git+", "http://", "https://")):
        return f"; write 'NAME @ {text}'"
    return "; allowed: a package's name, extras, versions and marker, as in 'pandas>1,<3'"
