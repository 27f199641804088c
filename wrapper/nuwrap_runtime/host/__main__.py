"""`python -m nuwrap_runtime.host`: goes on isolated, on the host's own tree of packages.

Whatever the calling interpreter has installed plays no part: the process becomes `python -I -S …/host/entry.py`.
Commands that only look make no tree; where none is there yet, they run as they are.
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

LOOKING = ("doctor", "plan")


def main() -> None:
    """Become the host; never returns. Exits with 10 when the tree cannot be made."""
    try:
        if sys.argv[1:2] and sys.argv[1] in LOOKING and not tree.find_tree(os.environ):
            from nuwrap_runtime.host.cli import main as look

            sys.exit(look(sys.argv[1:]))
        root = tree.ensure_tree(os.environ)
    except NuwrapError as exc:
        print(f"nuwrap-host: {exc}", file=sys.stderr)
        sys.exit(exc.exit_code)
    entry = os.path.join(root, "worker", "nuwrap_runtime", "host", "entry.py")
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-I", "-S", "-u", entry, *sys.argv[1:]])  # noqa: S606 - a shell is what we avoid


if __name__ == "__main__":
    main()
