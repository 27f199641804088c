"""`python -m nuwrap_runtime.host`: goes on isolated, on the host's own tree of packages.

Whatever the calling interpreter has installed plays no part: the process becomes `python -I -S …/host/entry.py`.
"""

from __future__ import annotations

import os
import sys

from nuwrap_runtime.errors import NuwrapError
from nuwrap_runtime.host import tree


def main() -> None:
    """Become the host; returns only when the tree cannot be made, by exiting with 10."""
    try:
        root = tree.ensure_tree(os.environ)
    except NuwrapError as exc:
        print(f"nuwrap-host: {exc}", file=sys.stderr)
        sys.exit(exc.exit_code)
    entry = os.path.join(root, "worker", "nuwrap_runtime", "host", "entry.py")
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-I", "-S", "-u", entry, *sys.argv[1:]])  # noqa: S606 - a shell is what we avoid


if __name__ == "__main__":
    main()
