"""The user's interpreter: where it is, what it is, what it has. Starts it once; the answer is kept until it changes."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import re
import shutil
import stat
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Optional

from nuwrap_runtime.errors import PlatformError
from nuwrap_runtime.host.process import Command, Completed, run

FORMAT = 1
OLDEST = (3, 9)
SECONDS = 60.0
SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "probe.py")

# What else decides where an interpreter looks for packages (PYTHONPATH is held back from it, see worker/spec.py).
_VARIABLES = ("HOME", "PYTHONHOME", "PYTHONNOUSERSITE", "PYTHONUSERBASE")


@dataclass(frozen=True)
class Distribution:
    """An installed package. `path` is its metadata, `direct` its address (`git+https://…@COMMIT`) if from no index."""

    version: str
    requires: tuple[str, ...] = ()
    path: str = ""
    direct: str = ""


@dataclass(frozen=True)
class Interpreter:
    """An interpreter as a worker would see it.

    `executable` is absolute and starts it, `abi` its SOABI (`cpython-311d-x86_64-linux-gnu`), `libc` `glibc 2.36`,
    `musl` or "". `site` are the folders of packages in the order of `sys.path`, `distributions` what lies in them by
    normalised name, `markers` the environment of PEP 508 without `extra`.
    """

    executable: str
    prefix: str
    version: str
    implementation: str
    abi: str
    platform: str
    libc: str
    site: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    markers: Mapping[str, str] = field(default_factory=dict)
    distributions: Mapping[str, Distribution] = field(default_factory=dict)


def find_interpreter(text: str, environ: Mapping[str, str]) -> str:
    """Return the absolute path of the interpreter: `text` is a path or a name on PATH; links are not followed.

    Raises PlatformError that names what is there instead.
    """
    path = environ.get("PATH", os.defpath)
    found = shutil.which(os.path.expanduser(text), path=path)
    if found:
        return os.path.abspath(found)
    there = sorted({os.path.basename(one) for folder in path.split(os.pathsep) for one in _pythons(folder)})
    raise PlatformError(
        f"python {text!r} is not an interpreter on this machine; "
        f"found on PATH: {', '.join(there) or 'none'}; allowed: one of these or a path"
    )


def probe(executable: str, cache: str, environ: Mapping[str, str]) -> Interpreter:
    """Return what the interpreter is and has.

    The answer is kept in `cache` ("": nowhere) until the executable or a folder on its path changes. A script (a shim,
    which starts one interpreter here and another there) is asked each time which it starts now. Raises PlatformError
    when it cannot be started, gives no answer, or is older than 3.9.
    """
    executable = _behind_script(executable, environ) if _is_script(executable) else executable
    kept = _kept_path(executable, cache, environ) if cache else ""
    known = _load(kept) if kept else None
    if known:
        return known
    document = _ask(executable, environ)
    if tuple(int(part) for part in re.findall(r"\d+", document["version"])[:2]) < OLDEST:
        raise PlatformError(f"python {executable!r} is Python {document['version']}; allowed: 3.9 and later")
    interpreter = _parse(document)
    if kept:
        _save(kept, interpreter, executable)
    return interpreter


def private_folder(path: str) -> str:
    """Make the folder, or see that it is this user's alone (0700), and return it. Raises PlatformError."""
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
        found = os.lstat(path)
        if found.st_uid == os.getuid() and stat.S_ISDIR(found.st_mode):
            if stat.S_IMODE(found.st_mode) & 0o077:
                os.chmod(path, 0o700)
            return path
    except OSError as exc:
        raise PlatformError(f"cannot make the cache folder {path!r}: {exc.strerror}; set NUWRAP_CACHE") from exc
    raise PlatformError(f"the cache folder {path!r} belongs to uid {found.st_uid}, not to this user; set NUWRAP_CACHE")


def write_json(path: str, document: Mapping[str, Any]) -> None:
    """Put the document there in one step: another process sees the old file or the new one, never a half."""
    temporary = f"{path}.{os.getpid()}.part"
    try:
        with open(temporary, "w", encoding="utf-8") as stream:
            json.dump(document, stream)
        os.replace(temporary, path)
    finally:
        if os.path.exists(temporary):  # a full disk, say: its half must not stay there
            os.unlink(temporary)


def _pythons(folder: str) -> list[str]:
    names = glob.glob(os.path.join(glob.escape(folder), "python3*"))
    return [one for one in names if re.fullmatch(r"python3(\.\d+)?", os.path.basename(one)) and os.access(one, os.X_OK)]


def _is_script(path: str) -> bool:
    try:
        with open(path, "rb") as stream:
            return stream.read(2) == b"#!"
    except OSError:
        return False


def _behind_script(script: str, environ: Mapping[str, str]) -> str:
    """Return the interpreter that the script starts, the script itself when it does not tell (the probe says why)."""
    code = "import sys; print('\\n' + sys.executable)"
    lines = _output(script, ["-I", "-S", "-c", code], environ).output.decode("utf-8", "replace").splitlines()
    return lines[-1] if lines and os.path.isfile(lines[-1]) and os.access(lines[-1], os.X_OK) else script


def _kept_path(executable: str, cache: str, environ: Mapping[str, str]) -> str:
    parts = [str(FORMAT), executable, *(environ.get(name, "\0") for name in _VARIABLES)]
    name = hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return os.path.join(private_folder(os.path.join(cache, "interpreters")), name + ".json")


def _load(path: str) -> Optional[Interpreter]:
    try:
        with open(path, encoding="utf-8") as stream:
            document = json.load(stream)
        stamps: dict[str, str] = document["stamps"]
        if all(_stamp(one) == stamp for one, stamp in stamps.items()):
            return _parse(document["interpreter"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # none, another version's, or not whole: ask
        pass
    return None


def _save(path: str, interpreter: Interpreter, executable: str) -> None:
    watched = [executable, os.path.join(interpreter.prefix, "pyvenv.cfg"), *interpreter.folders]
    write_json(path, {"interpreter": asdict(interpreter), "stamps": {one: _stamp(one) for one in watched}})


def _stamp(path: str) -> str:
    try:
        found = os.stat(path)
    except OSError:
        return ""
    size = 0 if stat.S_ISDIR(found.st_mode) else found.st_size
    return f"{os.path.realpath(path)}:{found.st_mtime_ns}:{size}"


def _parse(document: Mapping[str, Any]) -> Interpreter:
    """Return the value of the probe's document. Raises KeyError, TypeError when it is none."""
    values = dict(document)
    values["site"], values["folders"] = tuple(values["site"]), tuple(values["folders"])
    values["distributions"] = {
        name: Distribution(**{**one, "requires": tuple(one["requires"])})
        for name, one in values["distributions"].items()
    }
    return Interpreter(**values)


def _ask(executable: str, environ: Mapping[str, str]) -> dict[str, Any]:
    done = _output(executable, ["-B", SCRIPT], environ)
    lines = [line for line in done.output.decode("utf-8", "replace").splitlines() if line.startswith("nuwrap-probe:")]
    if done.returncode or not lines:
        reason = "no answer in time" if done.timed_out else "\n".join(done.log[-5:]) or f"exit code {done.returncode}"
        raise PlatformError(f"python {executable!r} does not work as an interpreter: {reason}")
    document: dict[str, Any] = json.loads(lines[-1].partition(":")[2])
    return document


def _output(executable: str, arguments: Sequence[str], environ: Mapping[str, str]) -> Completed:
    """Start the interpreter as a worker is started: without our credentials, PYTHONPATH held back."""
    from nuwrap_runtime.host.credentials import user_environment

    plain = {name: value for name, value in user_environment(environ).items() if name != "PYTHONPATH"}
    return run(Command([executable, *arguments], plain, timeout_s=SECONDS))
