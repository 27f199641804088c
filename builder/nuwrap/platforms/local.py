"""Platform `local`: the host as a child process, the run's files in `.nuwrap/runs/<id>/` where the caller stands."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace

from nuwrap.command import Command, stream
from nuwrap.errors import PlatformError
from nuwrap.platforms import Job, Placed, Screen, processor
from nuwrap.platforms.interpreters import choose_interpreter
from nuwrap.platforms.run_folder import (
    LAUNCH,
    RESULT,
    decided_variables,
    make_run_folder,
    open_log,
    write_private,
)
from nuwrap_runtime import errors as runtime_errors
from nuwrap_runtime.launch import parse_launch

SECRETS = "secrets"
LOOPBACK = "127.0.0.1"

# Isolated, and with the runtime that this toolkit belongs to: neither a `types.py` in the function's folder nor
# another runtime on the user's PYTHONPATH has a part in the host's start. A Ctrl-C in that time
# ends it without a traceback.
START_HOST = (
    "import signal, sys; signal.getsignal(2) is signal.SIG_IGN or signal.signal(2, signal.SIG_DFL); "
    "sys.path.insert(0, sys.argv.pop(1)); import nuwrap_runtime; del sys.path[0]; "
    "from nuwrap_runtime.host.__main__ import main; main()"
)

# A service would go on for ever, and keep its port: when this process is killed, the host is told to stop (Linux;
# prctl.h: PR_SET_PDEATHSIG is 1).
START_SERVICE = (
    "import ctypes, os, signal, sys; sys.platform == 'linux' and ctypes.CDLL(None).prctl(1, signal.SIGTERM, 0, 0, 0); "
    "os.getppid() == int(sys.argv.pop(1)) or sys.exit(143); "
)


def place(job: Job, *, say: Callable[[str], None]) -> Placed:
    """Make the run's folder with its launch document, once all that can be refused has been looked at."""
    environ = _environment(job, say)
    python = choose_interpreter(job.launch.python, job.python_version, environ, say=say)
    launch = replace(job.launch, python=python.path)
    if launch.mode == "serve":
        launch = replace(launch, serve=replace(launch.serve, address=launch.serve.address or LOOPBACK))
    if job.host == "nuclio":
        environ, launch = processor.settle(environ, launch)
    folder = make_run_folder(job.base, job.launch.run, job.attempt)
    if launch.mode == "job" and not launch.output_path:
        launch = replace(launch, output_path=folder)
    try:
        write_private(os.path.join(folder, LAUNCH), json.dumps(launch.to_document(), indent=1))
        if job.host == "nuclio":
            processor.write_config(folder, launch, python.version, write_private)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return Placed(folder, job.folder, {**environ, "NUWRAP_RUN_FOLDER": folder})


def attend(placed: Placed, action: str, *, secrets: Mapping[str, str], screen: Screen) -> int:
    """Run the host to its end and return its exit code; what it prints goes to the log too. See `Platform.attend`."""
    if processor.is_placed(placed.folder):
        return _attend_processor(placed, secrets, screen)
    form = ["--json" if screen.is_json else "--text"] if action == "serve" else []
    return _run_host([action, *form, "--launch", os.path.join(placed.folder, LAUNCH)], placed, secrets, screen)


def _attend_processor(placed: Placed, secrets: Mapping[str, str], screen: Screen) -> int:
    """Let the host prepare and become the processor; a second stop kills it, as it would take no notice."""
    path = os.path.join(placed.folder, LAUNCH)
    with open(path, encoding="utf-8") as file:
        launch = parse_launch(json.load(file))
    form = ["--json"] if screen.is_json else []
    with processor.watched(placed, launch, screen, write_private) as start:
        command = ["exec", *form, "--launch", path, "--", *start.command]
        code = _run_host(command, replace(placed, environ=start.environ), secrets, start.screen)
    result = processor.read_end(placed.folder, launch, code)
    if result is None:
        return code
    write_private(os.path.join(placed.folder, RESULT), json.dumps(result.to_document(), indent=1))
    return result.exit_code


def _run_host(command: Sequence[str], placed: Placed, secrets: Mapping[str, str], screen: Screen) -> int:
    """Run the host to its end and return its exit code; what it prints goes to screen and log."""
    with secret_files(placed.folder, secrets) as kept, open_log(placed.folder) as log:
        env = {**placed.environ, "NUWRAP_SECRETS": kept} if kept else placed.environ
        redact = tuple(secrets.values())
        host = Command(host_argv(command), env, cwd=placed.start, redact=redact, keep_open=screen.keep_open)
        out, err = (*screen.out, log), (*screen.err, log)
        return stream(host, out=out, err=err, on_start=screen.on_start, is_hard=command[0] == "exec")


def host_argv(command: Sequence[str]) -> list[str]:
    """Return what starts the host with this command, on this interpreter."""
    runtime = os.path.dirname(os.path.dirname(os.path.abspath(runtime_errors.__file__)))
    start_host = [START_HOST, runtime]
    if command[0] in ("serve", "exec"):
        start_host = [START_SERVICE + START_HOST, str(os.getpid()), runtime]
    return [sys.executable, "-I", "-c", *start_host, *command]


def _environment(job: Job, say: Callable[[str], None]) -> dict[str, str]:
    """Return the caller's environment and the job's, without the variables that would change the launch."""
    decided = decided_variables(job.launch)
    environ = {**os.environ, **job.environ}
    dropped = sorted(decided & set(environ))
    if dropped:
        say(f"{', '.join(dropped)} of the environment are not used: the function file and the arguments decide")
    return {name: value for name, value in environ.items() if name not in decided}


@contextmanager
def secret_files(folder: str, values: Mapping[str, str]) -> Iterator[str]:
    """Give a folder with one private file for each secret, "" when there is none; it is gone after the body.

    It lies in memory where there is such a place, as a nuwrap that is killed cannot remove it.
    """
    if not values:
        yield ""
        return
    path = _make_secrets_folder(folder)
    try:
        for name, value in values.items():
            write_private(os.path.join(path, name), value)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _make_secrets_folder(folder: str) -> str:
    for place in (os.environ.get("XDG_RUNTIME_DIR", ""), "/dev/shm"):  # noqa: S108 - mkdtemp: a new name, this user's
        if os.path.isabs(place):
            with suppress(OSError):
                return tempfile.mkdtemp(prefix="nuwrap-", dir=place)
    path = os.path.join(folder, SECRETS)
    try:
        os.mkdir(path, mode=0o700)
    except OSError as exc:
        raise PlatformError(f"cannot make {path!r}: {exc.strerror}") from exc
    return path
