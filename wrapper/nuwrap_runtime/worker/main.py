"""The script that a host starts: `python -u …/worker/main.py --event-socket-path P --control-socket-path P …`.

Options are the Nuclio processor's; one it does not know is skipped, since new processors bring new ones.
`nuclio_wrapper.py` is this script for a processor that is to find it outside the tree.
"""

from __future__ import annotations

import os
import sys

SOURCES = ("NUWRAP_LAUNCH", "NUWRAP_CODE_SRC", "NUWRAP_CODE", "NUWRAP_BASE64")


def prepare_imports() -> None:
    """Make `nuwrap_runtime` the one beside this file, and take this script's folder from sys.path.

    The standard library's own folder is the first: a processor has the function's folder on PYTHONPATH, and a
    `types.py` there would be imported by what follows.
    """
    here = os.path.dirname(os.path.abspath(__file__))
    ours = os.path.dirname(os.path.dirname(here))
    library = os.path.dirname(os.path.abspath(os.__file__))
    first = [path for path in sys.path if path in (library, os.path.join(library, "lib-dynload"))]
    skip = ("", here, os.path.realpath(here), *first)
    sys.path[:] = first + [ours] + [path for path in sys.path if path not in skip]
    from nuwrap_runtime.worker import paths

    paths.arrange(os.getcwd())  # the standard library first, before any of it is needed


def parse_options(argv: list[str]) -> dict[str, str]:
    """Return the options by name without dashes; a flag without a value is "yes"."""
    options: dict[str, str] = {}
    index = 0
    while index < len(argv):
        name = argv[index].lstrip("-")
        has_value = index + 1 < len(argv) and not argv[index + 1].startswith("--")
        options[name] = argv[index + 1] if has_value else "yes"
        index += 2 if has_value else 1
    return options


def has_nothing_prepared(options: dict[str, str]) -> bool:
    """Tell whether the environment names code that nobody has fetched for this worker."""
    if "worker-spec" in options or os.environ.get("NUWRAP_WORKER_SPEC"):
        return False
    return any(os.environ.get(name) for name in SOURCES)


def main(argv: list[str]) -> int:
    """Run one worker to the end of its event socket. Returns the process's exit code."""
    options = parse_options(argv)
    if has_nothing_prepared(options):
        from nuwrap_runtime.worker.nuclio import launching

        launching.become_host(argv, options)
    from nuwrap_runtime.worker import life

    return life.run(options, os.environ)


if __name__ == "__main__":
    prepare_imports()
    sys.exit(main(sys.argv[1:]))
