"""Answer git's question for a user name or a password, for one server only.

git runs it as `python -I -S askpass.py QUESTION`, so nothing of ours is imported. What it may answer lies in an
unlinked file whose descriptor it inherits (`$NUWRAP_ASKPASS_FD`): in no argument, no variable and no file that stays.
"""

from __future__ import annotations

import json
import os
import re
import sys
from typing import Optional
from urllib.parse import urlsplit

DESCRIPTOR = "NUWRAP_ASKPASS_FD"
_PORTS = {"http": 80, "https": 443}

# git's credential.c: "%s for '%s': " with scheme://[user@]host[:port]. A path there (credential.useHttpPath), a quote
# or a second "@" is nothing that our own git asks for: an address made by somebody else, to look like the source's.
_QUESTION = re.compile(r"(Username|Password) for '(https?)://(?:[^'@/\s]*@)?([^'@/\s]+)': ")


def origin(url: str) -> Optional[tuple[str, str, int]]:
    """Return scheme, host and port of an http(s) address in their normal form; None for any other text."""
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS[parts.scheme]
    except (ValueError, KeyError):
        return None
    return (parts.scheme, parts.hostname, port) if parts.hostname else None


def answer(question: str, login: dict[str, str]) -> Optional[str]:
    """Return the login's `username` or `password` when the question is about its `url`'s origin, else None."""
    asked = _QUESTION.fullmatch(question)
    if not asked:
        return None
    about = origin(f"{asked.group(2)}://{asked.group(3)}")
    if about is None or about != origin(login["url"]):
        return None
    return login[asked.group(1).lower()]


def main(argv: list[str]) -> int:
    """Print the answer and return 0; print nothing and return 1 for what is not ours to answer."""
    login = json.loads(os.pread(int(os.environ[DESCRIPTOR]), 1024 * 1024, 0))
    found = answer(argv[1], login) if len(argv) == 2 else None
    if found is None:
        return 1
    sys.stdout.write(found + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
