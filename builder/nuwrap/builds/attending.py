"""A build's process: started, watched and stopped by the run's supervisor, which has no third-party module."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from nuwrap.command import Command, stream
from nuwrap.platforms import Placed, Screen
from nuwrap.platforms.local import secret_files
from nuwrap.platforms.run_folder import RESULT, open_log

START = "import sys; from nuwrap.builds.carry_out import main; sys.exit(main(sys.argv[1]))"


def attend(placed: Placed, *, secrets: Mapping[str, str], screen: Screen) -> int:
    """Build to the end and return the exit code; the folder has `log.txt` and `result.json` then.

    Its steps are told on the screen's `err`, what the engine prints on `out`; the log has both. The first stop ends
    the engine, a second kills it.
    """
    if os.path.exists(os.path.join(placed.folder, RESULT)):  # an image that was there already
        return 0
    with secret_files(placed.folder, secrets) as kept, open_log(placed.folder) as log:
        environ = {**placed.environ, "NUWRAP_SECRETS": kept}
        argv = [sys.executable, "-I", "-c", START, placed.folder]
        command = Command(argv, environ, cwd=placed.start, redact=tuple(secrets.values()), keep_open=screen.keep_open)
        out, err = (*screen.out, log), (*screen.err, log)
        return stream(command, out=out, err=err, on_start=screen.on_start, is_hard=True)
