"""Files between this machine and stores, moved by the host as a child process: no client of a store is ours."""

from __future__ import annotations

import os
import tempfile

from nuwrap.command import Command, stream
from nuwrap.errors import PlatformError
from nuwrap.platforms.local import host_argv
from nuwrap.store.config import read_config
from nuwrap.store.home import home_folder
from nuwrap.store.network import with_network

REASON_CHARACTERS = 4000


def copy(source: str, target: str, *, max_bytes: int = 0) -> None:
    """Copy a file or a folder; one of the two is an address. `max_bytes` (0: any number) limits what is fetched.

    Raises PlatformError with the store's reason.
    """
    limit = ["--max-bytes", str(max_bytes)] if max_bytes else []
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        environ = with_network(os.environ, read_config(home_folder(os.environ)).values)
        command = Command(host_argv(["store", *limit, source, target]), environ)
        code = stream(command, out=(out.fileno(),), err=(err.fileno(),))
        if code:
            err.seek(0)
            text = err.read().decode("utf-8", "replace").strip()
            reason = text.splitlines()[-1] if text else f"exit code {code}"
            raise PlatformError(reason.removeprefix("nuwrap-host: ")[-REASON_CHARACTERS:])
