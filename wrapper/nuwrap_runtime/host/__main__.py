"""`python -m nuwrap_runtime.host`: goes on isolated, on the host's own tree of packages.

Whatever the calling interpreter has installed plays no part: the process becomes `python -I -S …/host/entry.py`.
"""

from __future__ import annotations

import os
import sys

# A `tempfile.py` where we were started, or on PYTHONPATH, has no part in the launcher's own start.
_STANDARD = [
    path for path in sys.path if path in (os.path.dirname(os.__file__), os.path.dirname(os.__file__) + "/lib-dynload")
]
sys.path[:] = _STANDARD + [path for path in sys.path if path not in _STANDARD]

from nuwrap_runtime.errors import NuwrapError  # noqa: E402
from nuwrap_runtime.host import tree  # noqa: E402


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
