"""What each image must do before it is pushed, tried as any uid on a read-only root; with files of no machine, so that
the daemon may be another's.
"""

from __future__ import annotations

import json
import os
import secrets
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from nuwrap import docker
from nuwrap.command import Completed
from nuwrap.errors import BuildError
from nuwrap.plan.nuclio import plan_platform, plan_processor
from nuwrap.spec.build import TREE
from nuwrap_runtime.launch import Launch

JOB_SECONDS, GRACE_SECONDS, READY_SECONDS = 120, 20, 30
HANDLERS = """
import getpass, os, signal, subprocess, time

def answer():
    print("user", getpass.getuser(), os.path.expanduser("~"), os.getuid() not in (0, 8877))
    return 42

def fail():
    raise ValueError("as it should")

def wait():
    print("waiting", flush=True)
    time.sleep(600)

def orphan():
    subprocess.run(["sh", "-c", "sleep 0.3 & sleep 0.1 &"])
    return "left two"
"""
# Run inside, where the service is: the daemon's ports may be another machine's.
ASK = """
import time, urllib.request
end = time.monotonic() + %d
while True:
    try:
        print(urllib.request.urlopen("http://127.0.0.1:8080/", timeout=5).read().decode())
        break
    except OSError:
        if time.monotonic() > end:
            raise
        time.sleep(0.1)
"""
PROCESSES = """
import glob, json, time
time.sleep(0.8)
found = {}
for path in glob.glob("/proc/[0-9]*/stat"):
    try:
        name, _, rest = open(path).read().rpartition(")")
    except OSError:
        continue
    found[path.split("/")[2]] = rest.split()[0]
print(json.dumps([open("/proc/1/cmdline").read().split("\\0"), found]))
"""


@dataclass(frozen=True)
class Trial:
    """An image that is tried."""

    reference: str
    environ: Mapping[str, str]

    def fail(self, what: str, answer: Completed) -> BuildError:
        """Return the error that says what was expected, and what came."""
        said = (answer.output + b"\n" + answer.errors).decode("utf-8", "replace").strip()
        return BuildError(f"{self.reference}: {what}; exit code {answer.returncode}, and it said:\n{said}", "check")


def try_image(kind: str, reference: str, python: str, environ: Mapping[str, str]) -> Iterator[str]:
    """Give what was seen to work, a line each. Raises BuildError for the first that does not."""
    trial = Trial(reference, environ)
    if kind == "runtime":
        yield _licenses(trial)
        return
    if kind == "kaniko":
        yield _toolkit(trial)
        return
    yield _launcher(trial)
    yield _tools(trial)
    if kind == "python":
        yield from (_job(trial), _failing_job(trial), _stopped_job(trial), _service(trial))
    else:
        yield _processor(trial, python)


def _licenses(trial: Trial) -> str:
    """Read them out of a container that is never started: the image has no program that could."""
    name = _name()
    _asked(trial, ["create", "--name", name, trial.reference, "none"])
    with tempfile.TemporaryDirectory() as folder, _removed(trial, name):
        _asked(trial, ["cp", f"{name}:{TREE}/licenses", folder])
        kept = os.path.join(folder, "licenses")
        with open(os.path.join(kept, "NOTICE"), encoding="utf-8") as stream:
            listed = [line for line in stream if line.rstrip().endswith(")") and ": " in line]
        found = [one for one in os.listdir(kept) if os.path.isdir(os.path.join(kept, one))]
    if len(listed) < 10 or len(found) != len(listed) + 1 or not any(one.startswith("nuwrap-") for one in found):
        raise BuildError(f"{trial.reference}: licenses/ has {sorted(found)}, NOTICE lists {len(listed)}", "check")
    return f"licences of {len(listed)} packages and its own"


def _toolkit(trial: Trial) -> str:
    answer = docker.ask(trial.environ, ["run", "--rm", trial.reference, "--version"], timeout_s=JOB_SECONDS)
    if answer.returncode or not answer.output.startswith(b"nuwrap "):
        raise trial.fail("`nuwrap --version` should run beside the executor", answer)
    return "nuwrap runs beside kaniko's executor"


def _launcher(trial: Trial) -> str:
    hostile = {"PYTHONHOME": "/nowhere", "PYTHONPATH": "/nowhere", "PYTHONINSPECT": "1"}
    answer = _run(trial, ["--version"], hostile, entrypoint=f"{TREE}/bin/nuwrap-host")
    if answer.returncode or not answer.output.startswith(b"nuwrap-host "):
        raise trial.fail("`nuwrap-host --version` should say it whatever PYTHON* variables are", answer)
    answer = _run(trial, ["job"], {"PATH": "/nowhere"}, entrypoint=f"{TREE}/bin/nuwrap-host")
    if answer.returncode != 10 or b"no python3 on PATH" not in answer.errors:
        raise trial.fail("without python3 on PATH the launcher should say so, exit code 10", answer)
    return "the launcher takes no PYTHON* variable, and says when there is no Python"


def _tools(trial: Trial) -> str:
    """See that they run; ssh as the image's own user: it starts for no uid that has no entry in /etc/passwd."""
    programs = {"git": (_user(), "--version"), f"{TREE}/bin/uv": (_user(), "--version"), "ssh": ("", "-V")}
    for program, (user, argument) in programs.items():
        answer = _run(trial, [argument], {}, entrypoint=program, user=user)
        if answer.returncode:
            raise trial.fail(f"`{program} {argument}` should run as uid {user or 'of the image'}", answer)
    return "git and uv run as any uid, ssh as the image's own"


def _job(trial: Trial) -> str:
    answer = _run(trial, ["job"], _function("answer"))
    said = answer.output.decode("utf-8", "replace") + answer.errors.decode("utf-8", "replace")
    if answer.returncode or "user nuwrap /work/home True" not in said or "COMPLETED" not in said:
        raise trial.fail("a job should run as any uid with a home in /work, exit code 0", answer)
    return "a job as any uid on a read-only root"


def _failing_job(trial: Trial) -> str:
    answer = _run(trial, ["job"], _function("fail"))
    if answer.returncode != 1 or b"as it should" not in answer.output + answer.errors:
        raise trial.fail("a handler that raises should be exit code 1", answer)
    return "a handler that raises is exit code 1"


def _stopped_job(trial: Trial) -> str:
    with _started(trial, ["job"], _function("wait")) as name:
        end = time.monotonic() + READY_SECONDS
        while b"waiting" not in (said := docker.ask(trial.environ, ["logs", name])).output + said.errors:
            if time.monotonic() > end:
                raise trial.fail("a job should call its handler", said)
            time.sleep(0.2)
        seconds, code = _stop(trial, name)
        if code != 143 or seconds > GRACE_SECONDS / 2:
            raise trial.fail(
                f"a job that is stopped should end with 143 at once, not {code} after {seconds:.1f} s", said
            )
    return f"SIGTERM ends a job in {seconds:.1f} s with 143"


def _service(trial: Trial) -> str:
    with _started(trial, ["serve"], _function("orphan")) as name:
        if b"left two" not in _inside(trial, name, ASK % READY_SECONDS):
            raise trial.fail("a service should answer on port 8080", docker.ask(trial.environ, ["logs", name]))
        command, states = json.loads(_inside(trial, name, PROCESSES))
        dead = [number for number, state in states.items() if state == "Z"]
        if dead or not any(word.endswith("entry.py") for word in command):
            raise BuildError(f"{trial.reference}: PID 1 is {command}, and has not reaped {dead}", "check")
        seconds, code = _stop(trial, name)
        if code or seconds > GRACE_SECONDS / 2:
            said = docker.ask(trial.environ, ["logs", name])
            raise trial.fail(f"SIGTERM should end a service with 0, not {code} after {seconds:.1f} s", said)
    return f"a service answers, reaps orphans as PID 1, and ends in {seconds:.1f} s with 0"


def _processor(trial: Trial, python: str) -> str:
    """Give the processor its configuration as a platform would, in a file; and see that it answers."""
    launch = Launch(code=HANDLERS, handler="answer")
    name = _name()
    _asked(
        trial,
        ["create", "--name", name, "--user", _user(), *_places(), *_variables(_function("answer")), trial.reference],
    )
    with _removed(trial, name), tempfile.TemporaryDirectory() as folder:
        place = os.path.join(folder, "etc", "nuclio", "config")
        for file, document in (("processor", plan_processor(launch, python)), ("platform", plan_platform(launch))):
            os.makedirs(os.path.join(place, file), mode=0o755)
            path = os.path.join(place, file, f"{file}.yaml")
            with open(path, "w", encoding="utf-8") as stream:
                json.dump(document, stream)  # which YAML is too
        os.chmod(folder, 0o755)  # noqa: S103 - any uid reads it in the container
        _asked(trial, ["cp", f"{folder}/.", f"{name}:/"])
        _asked(trial, ["start", name])
        if b"42" not in _inside(trial, name, ASK % READY_SECONDS):
            raise trial.fail("the processor should answer", docker.ask(trial.environ, ["logs", name]))
        seconds, code = _stop(trial, name)
        if code:
            raise trial.fail(f"SIGTERM should end the processor with 0, not {code}", _asked(trial, ["logs", name]))
    return f"Nuclio's processor answers, and ends in {seconds:.1f} s with 0"


def _run(
    trial: Trial, command: Sequence[str], variables: Mapping[str, str], *, entrypoint: str = "", user: str | None = None
) -> Completed:
    """Run the command to its end as that user: the image's own for "", else any."""
    head = ["run", "--rm", "--read-only", *_places(), *_variables(variables)]
    head += [] if user == "" else ["--user", user or _user()]
    head += ["--entrypoint", entrypoint] if entrypoint else []
    return docker.ask(trial.environ, [*head, trial.reference, *command], timeout_s=JOB_SECONDS)


@contextmanager
def _started(trial: Trial, command: Sequence[str], variables: Mapping[str, str]) -> Iterator[str]:
    name = _name()
    head = ["run", "--detach", "--name", name, "--read-only", "--user", _user(), *_places(), *_variables(variables)]
    _asked(trial, [*head, trial.reference, *command])
    with _removed(trial, name):
        yield name


@contextmanager
def _removed(trial: Trial, name: str) -> Iterator[None]:
    try:
        yield
    finally:
        docker.ask(trial.environ, ["rm", "--force", "--volumes", name])


def _inside(trial: Trial, name: str, code: str) -> bytes:
    answer = docker.ask(trial.environ, ["exec", name, "python3", "-I", "-c", code], timeout_s=JOB_SECONDS)
    if answer.returncode:
        raise trial.fail("nothing answers inside", docker.ask(trial.environ, ["logs", name]))
    return answer.output


def _stop(trial: Trial, name: str) -> tuple[float, int]:
    """Stop the container as a platform does; return the seconds that it took, and its exit code."""
    began = time.monotonic()
    _asked(trial, ["stop", "--time", str(GRACE_SECONDS), name])
    seconds = time.monotonic() - began
    return seconds, int(_asked(trial, ["inspect", "--format", "{{.State.ExitCode}}", name]).output)


def _asked(trial: Trial, arguments: Sequence[str]) -> Completed:
    answer = docker.ask(trial.environ, arguments, timeout_s=JOB_SECONDS)
    if answer.returncode:
        raise trial.fail(f"`docker {arguments[0]}` failed", answer)
    return answer


def _function(handler: str) -> dict[str, str]:
    return {"NUWRAP_CODE": HANDLERS, "NUWRAP_HANDLER": handler}


def _variables(variables: Mapping[str, str]) -> list[str]:
    return [word for name, value in variables.items() for word in ("--env", f"{name}={value}")]


def _places() -> list[str]:
    return ["--tmpfs", "/work:mode=1777", "--tmpfs", "/cache:mode=1777", "--tmpfs", "/tmp:mode=1777"]  # noqa: S108


def _user() -> str:
    return f"{10_000 + secrets.randbelow(50_000)}:{10_000 + secrets.randbelow(50_000)}"


def _name() -> str:
    return f"nuwrap-try-{secrets.token_hex(6)}"
