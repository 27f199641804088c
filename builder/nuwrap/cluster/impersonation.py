"""Who somebody asks as: the `as` of a kubeconfig's user, as headers. The official client does not know it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from nuwrap.errors import PlatformError

IN_NAMES: Final = "!#$&'*+^`|"  # may stand in a header's name beside letters, digits and `_.-~`; `%` is what escapes


def impersonation(user: Mapping[str, Any], whose: str) -> list[tuple[str, str]]:
    """Return a header for each `as`, `as-uid`, group and further value of the kubeconfig's user.

    `whose` names it in errors. Raises PlatformError for what the server would take for something else.
    """
    groups, more = user.get("as-groups") or [], user.get("as-user-extra") or {}
    if not (isinstance(groups, list) and isinstance(more, Mapping) and all(isinstance(x, list) for x in more.values())):
        raise PlatformError(f"{whose}: as-groups is a list of names, as-user-extra a mapping of lists")
    found = [("Impersonate-User", user.get("as")), ("Impersonate-Uid", user.get("as-uid"))]
    found += [("Impersonate-Group", one) for one in groups]
    # Header names have no case: client-go writes the key's escaped, and the server reads it in lower case.
    found += [
        (f"Impersonate-Extra-{quote(str(key), safe=IN_NAMES)}", one) for key, values in more.items() for one in values
    ]
    given = [(name, str(one)) for name, one in found if one not in (None, "")]
    if given and not user.get("as"):
        raise PlatformError(f"{whose} has as-uid, as-groups or as-user-extra without `as`: name who is meant")
    if any(set(one) & set("\r\n\0") for _, one in given):
        raise PlatformError(f"{whose}: a value of `as` has a line break")
    return given
