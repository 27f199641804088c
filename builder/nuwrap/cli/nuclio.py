"""`nuwrap nuclio`: a function as the files that Nuclio reads, and the commands that take them from there."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from nuwrap.cli.arguments import Options, open_function, run_fields, say
from nuwrap.cli.looking import plan_launch_here
from nuwrap.errors import PlatformError, UsageError
from nuwrap.plan.nuclio import LAUNCH_NAME, Deployment, embed_code, plan_function, plan_platform, plan_processor
from nuwrap.spec.document import dump_document
from nuwrap.spec.function import PYTHON_VERSIONS, has_scheme
from nuwrap.spec.function_file import FunctionFile
from nuwrap.spec.run_values import RunValues, make_run_values
from nuwrap.text import escape
from nuwrap_runtime.launch import Launch, Serve, parse_launch

FUNCTION, PROCESSOR, PLATFORM = "function.yaml", "processor.yaml", "platform.yaml"
ADDRESSES = ("address", "port", "admin_port")
RECORD = ".nuwrap-nuclio"  # digests of what nuwrap wrote, by file
LOOPBACK = "127.0.0.1"
CODE_BYTES = 8 * 1024 * 1024  # as base64 it must fit a launch document
TO_BE_ADDED = " How the image is built is to be added: spec.build or spec.image."
HEADS: Mapping[str, str] = {
    FUNCTION: "# For nuctl and Nuclio's dashboard.{}\n",
    PROCESSOR: "# For `processor --config`. The function itself is in launch.json.\n",
    PLATFORM: "# For `processor --platform-config`.\n",
}


@dataclass(frozen=True)
class NuclioOptions(Options):
    """The arguments of `nuwrap nuclio` as they were typed."""

    output: str = "nuclio"
    image: str = ""
    workers: int | None = None
    max_body_bytes: int | None = None
    address: str | None = None
    port: int | None = None
    admin_port: int | None = None


def write_files(options: NuclioOptions) -> int:
    """Write the files into the folder and print what to type next; nothing of the function is fetched or started.

    All of them are written, or none. Raises UsageError for a file there that nuwrap did not write, or that somebody has
    changed, and for code that no container can reach; PlatformError when the folder cannot be written.
    """
    file = open_function(options)
    values = _values(file, options)
    launch = plan_launch(file, values)
    deployment = plan_deployment(file, values, launch, options.image)
    files = _files(file, values, launch, deployment)
    _check_own(options.output, files)
    _write_all(options.output, files)
    _print(
        options, list(files), list(notes(file, launch, image=options.image)), _next_commands(options.output, deployment)
    )
    return 0


def _values(file: FunctionFile, options: NuclioOptions) -> RunValues:
    names = ("workers", "max_body_bytes", *ADDRESSES)
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    return make_run_values("serve", {**run_fields(options), **given}, origin=f"the run of {file.function.name!r}")


def plan_launch(file: FunctionFile, values: RunValues) -> Launch:
    """Return what the container does; where it listens is Nuclio's to say."""
    launch = plan_launch_here(file.function, values)
    plain = {name: getattr(Serve(), name) for name in ADDRESSES}
    launch = replace(launch, serve=replace(launch.serve, **plain))
    if not launch.code_src or has_scheme(launch.code_src):
        return launch
    return parse_launch(embed_code(launch, _read_code(file, launch.code_src)).to_document())


def plan_deployment(file: FunctionFile, values: RunValues, launch: Launch, image: str) -> Deployment:
    """Return the function as nuctl deploys it; with an image, without a build."""
    environ = {one.name: one.value for one in values.envs}
    version = PYTHON_VERSIONS[file.function.python_version]
    return plan_function(launch, version, description=file.function.description, environ=environ, image=image)


def _files(file: FunctionFile, values: RunValues, launch: Launch, deployment: Deployment) -> dict[str, str]:
    """Return the files' texts by name."""
    given = {name: getattr(values, name) for name in ADDRESSES if getattr(values, name) is not None}
    listening = replace(launch, serve=replace(launch.serve, **{"address": LOOPBACK, **given}))
    version = PYTHON_VERSIONS[file.function.python_version]
    documents = {
        FUNCTION: deployment.document,
        PROCESSOR: plan_processor(listening, version),
        PLATFORM: plan_platform(listening),
    }
    more = "" if "image" in deployment.document["spec"] else TO_BE_ADDED
    files = {name: HEADS[name].format(more) + dump_document(document) for name, document in documents.items()}
    return {**files, LAUNCH_NAME: json.dumps(launch.to_document(), indent=1) + "\n"}


def _read_code(file: FunctionFile, code_src: str) -> bytes:
    """Return the content of a local Python file. Raises UsageError for what else is on this machine alone."""
    path = file.folder / code_src
    if not path.is_file() or path.suffix != ".py":
        raise UsageError(
            f"code_src {code_src!r} is on this machine alone, where no container of Nuclio's can fetch it; name an "
            "address (git+https://…, s3://…, https://…), or a single .py file, whose content is taken along"
        )
    try:
        content = path.read_bytes()
    except OSError as exc:
        raise PlatformError(f"cannot read {str(path)!r}: {exc.strerror}") from exc
    if len(content) > CODE_BYTES:
        raise UsageError(
            f"{str(path)!r} has {len(content)} bytes; {CODE_BYTES} are taken along, larger code needs an address"
        )
    return content


def notes(file: FunctionFile, launch: Launch, *, image: str = "") -> Iterator[str]:
    """Yield what a person should hear of before a container does."""
    function = file.function
    if launch.base64 and not function.base64:
        yield f"{function.code_src!r} as it is now is taken along, as main.py"
    images = [name for name in ("image", "base_image") if getattr(function, name)]
    if images:
        what = f"it runs {image!r}" if image else f"how the image is built is to be added to {FUNCTION}"
        yield f"{' and '.join(images)} of the function: not used; {what}"
    for key, entity in launch.entities.items():
        if "://" not in str(entity["path"]):
            yield f"{key} is {str(entity['path'])!r}, a path of this machine: it must be there in the container too"


def _check_own(folder: str, files: Mapping[str, str]) -> None:
    """Raise UsageError for each file that is there and is not as nuwrap wrote it."""
    written = _read_record(folder)
    foreign = [name for name in files if _digest_in(folder, name) not in ("", written.get(name))]
    if foreign:
        verb = "is" if len(foreign) == 1 else "are"
        raise UsageError(
            f"{', '.join(foreign)} in {folder!r} {verb} not as nuwrap wrote it, and nothing is overwritten; name "
            "another folder with -o, or remove what is to be written anew"
        )


def _read_record(folder: str) -> Mapping[str, Any]:
    try:
        with open(os.path.join(folder, RECORD), encoding="utf-8") as stream:
            found = json.load(stream)
    except (OSError, ValueError):  # none, or nobody's: all that is there is somebody's own
        return {}
    return found if isinstance(found, dict) else {}


def _digest_in(folder: str, name: str) -> str:
    """Return the digest of a file there, "" for none; of what is no readable file one that nothing has."""
    path = os.path.join(folder, name)
    if not os.path.lexists(path):
        return ""
    try:
        with open(path, "rb") as stream:
            return _digest(stream.read())
    except OSError:
        return "unreadable"


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _write_all(folder: str, files: Mapping[str, str]) -> None:
    """Write all under other names first, so that what fails leaves what was there. Raises PlatformError."""
    contents = {name: text.encode("utf-8") for name, text in files.items()}
    contents[RECORD] = json.dumps({name: _digest(content) for name, content in contents.items()}).encode("ascii")
    made = {name: os.path.join(folder, f".{name}.{os.getpid()}") for name in contents}
    try:
        os.makedirs(folder, exist_ok=True)
        for name, content in contents.items():
            with open(made[name], "xb") as stream:
                stream.write(content)
        for name, path in made.items():
            os.replace(path, os.path.join(folder, name))
    except OSError as exc:
        for path in made.values():
            with suppress(OSError):
                os.unlink(path)
        raise PlatformError(f"cannot write into {folder!r}: {exc.strerror or exc}") from exc


def _next_commands(folder: str, deployment: Deployment) -> dict[str, list[str]]:
    """Return the commands by the place where they are typed; their paths are whole, as the host goes elsewhere."""
    names = (LAUNCH_NAME, PROCESSOR, PLATFORM)
    path = {name: shlex.quote(os.path.abspath(os.path.join(folder, name))) for name in names}
    become = f"processor --config {path[PROCESSOR]} --platform-config {path[PLATFORM]}"
    here = f"NUWRAP_WORK=$(mktemp -d) nuwrap-host exec --launch {path[LAUNCH_NAME]} -- {become}"
    secrets = []
    for name, keys in deployment.secrets.items():
        known = {LAUNCH_NAME: path[LAUNCH_NAME]}
        sources = " ".join(f"--from-file={key}={known.get(key, 'FILE')}" for key in keys)
        secrets.append(f"kubectl create secret generic {name} {sources}")
    deploy = f"nuctl deploy --file {shlex.quote(os.path.join(folder, FUNCTION))}"
    return {"where the processor is": [here], "into a cluster": [*secrets, deploy]}


def _print(options: NuclioOptions, names: list[str], notes: list[str], commands: Mapping[str, list[str]]) -> None:
    for text in notes:
        say(text)
    if options.as_json:
        told = {"folder": os.path.abspath(options.output), "files": names, "next": commands, "notes": notes}
        print(json.dumps(told, indent=1), flush=True)
        return
    lines = [f"made {', '.join(names)} in {os.path.join(options.output, '')}"]
    for place, some in commands.items():
        lines += ["", f"next, {place}:", *(f"  {one}" for one in some)]
    print(escape("\n".join(lines)), flush=True)
