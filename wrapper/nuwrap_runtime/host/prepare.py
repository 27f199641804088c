"""From a launch document to all that a worker needs: code, environment, inputs, and the worker spec.

`fetch` is the first half: it needs no user Python, leaves a record in the work folder, and what such a record says is
done is not done again.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Optional

from nuwrap_runtime import errors
from nuwrap_runtime.errors import InputsError, NuwrapError, PlatformError, SourceError
from nuwrap_runtime.host import credentials
from nuwrap_runtime.host.interpreter import find_interpreter
from nuwrap_runtime.host.process import Command, run
from nuwrap_runtime.host.report import Report
from nuwrap_runtime.host.sources import Checkout, Source, check_digest, parse_source, shown, split_scheme
from nuwrap_runtime.host.sources import fetch as fetch_source
from nuwrap_runtime.host.workspace import Workspace, read_regular, remove_tree, usable_home, write_whole
from nuwrap_runtime.launch import Launch, Limits, Network, decode_base64
from nuwrap_runtime.worker.spec import WorkerSpec

CHILD = "fetch-source"


@dataclass(frozen=True)
class Prepared:
    """What a worker is started with: its interpreter, its environment variables, its spec and the spec's file."""

    python: str
    environ: Mapping[str, str]
    spec: WorkerSpec
    spec_path: str
    revision: str
    requirements: tuple[str, ...] = ()


def fetch(launch: Launch, workspace: Workspace, environ: Mapping[str, str], report: Report) -> Checkout:
    """Put the code into the work folder, unless a record says that it is there already.

    A path that is here is copied anew all the same: an author edits and starts again.
    """
    key = _source_key(launch)
    is_here = bool(launch.code_src) and not split_scheme(launch.code_src) and os.path.exists(launch.code_src)
    done = None if is_here else _read_record(workspace, key)
    if done:
        return done
    with report.timed("source") as detail:
        _empty_source(workspace)
        try:
            checkout = _fetch_checkout(launch, workspace, environ, report)
        except BaseException:  # a stop too: nothing half-fetched stays
            remove_tree(workspace.source)
            raise
        detail.append(f"{describe_source(launch)} at {checkout.revision[:19]}")
    write_whole(workspace.record, json.dumps({"source": key, **asdict(checkout)}))
    return checkout


def _empty_source(workspace: Workspace) -> None:
    """Leave an empty `source`. Raises PlatformError for one with somebody's files: $NUWRAP_WORK may be a project."""
    if not os.path.exists(workspace.source_marker):
        if os.path.isdir(workspace.source) and os.listdir(workspace.source):
            raise PlatformError(f"{workspace.source!r} has files that nuwrap did not make; set NUWRAP_WORK elsewhere")
        write_whole(workspace.source_marker, "")
    if os.path.lexists(workspace.record):
        os.unlink(workspace.record)
    remove_tree(workspace.source)
    if os.path.lexists(workspace.source):  # a file: the function may have put it there
        os.unlink(workspace.source)
    os.makedirs(workspace.source)


def prepare(
    launch: Launch,
    workspace: Workspace,
    environ: Mapping[str, str],
    report: Report,
    *,
    mode: str,
    outputs: str = "",
    reply_form: str = "nuclio",
) -> Prepared:
    """Fetch, install, and write the worker spec; what can be refused without fetching is refused first."""
    from nuwrap_runtime.host.requirements import check_requirements, ensure_environment

    check_inputs(launch)
    if launch.requirements:
        check_requirements(launch.requirements)
    find_interpreter(launch.python, environ)
    checkout = fetch(launch, workspace, environ, report)
    if launch.requirements:
        with report.timed("requirements") as detail:
            made = ensure_environment(launch, environ, _cache(environ), say=report.note)
            where = "in an environment of their own" if made.installed else "all in the interpreter"
            count = len(made.requirements)
            detail.append(f"{count} package{'s' if count != 1 else ''}, {where}")
    else:
        made = ensure_environment(launch, environ, "", say=report.note)
    spec = _worker_spec(launch, checkout, environ, mode=mode, outputs=outputs, reply_form=reply_form)
    write_whole(workspace.worker_spec, spec.dump())
    return Prepared(
        python=made.python,
        environ=worker_environment(launch, environ, workspace, made.python if launch.requirements else ""),
        spec=spec,
        spec_path=workspace.worker_spec,
        revision=checkout.revision,
        requirements=made.requirements,
    )


def describe_source(launch: Launch) -> str:
    """Return the source as a log line names it."""
    return shown(launch.code_src) or ("code" if launch.code else "base64")


def check_inputs(launch: Launch) -> None:
    """See that every input that is a file here exists. Raises InputsError naming argument and path."""
    for name, key in launch.inputs.items():
        path = launch.entities[key]["path"]
        if "://" in path:
            raise InputsError(f"input {name!r}: {path!r} cannot be fetched by this version; allowed: a path here")
        if not os.path.exists(path):
            raise InputsError(f"input {name!r}: {path!r} does not exist")


def fetch_child(request_path: str, environ: Mapping[str, str]) -> int:
    """Fetch as the request file says and print the outcome as JSON: the body of the child process."""
    with open(request_path, encoding="utf-8") as stream:
        request = json.load(stream)
    limits, network = Limits(**request["source"].pop("limits")), Network(**request["source"].pop("network"))
    source = Source(**request["source"], limits=limits, network=network)
    try:
        answer: dict[str, Any] = asdict(fetch_source(source, request["into"], environ))
    except NuwrapError as exc:
        answer = {"error": str(exc), "kind": type(exc).__name__}
    sys.stdout.write(json.dumps(answer))
    return 0


def _fetch_checkout(launch: Launch, workspace: Workspace, environ: Mapping[str, str], report: Report) -> Checkout:
    if launch.code or launch.base64:
        return _write_inline(launch, workspace.source)
    source = parse_source(launch)
    if not source.scheme:
        return fetch_source(source, workspace.source, {})
    return _fetch_in_child(source, workspace, environ, report)


def _write_inline(launch: Launch, into: str) -> Checkout:
    text = launch.code or decode_base64(launch.base64)
    content = text.encode("utf-8")
    check_digest(launch.sha256, content, describe_source(launch))
    with open(os.path.join(into, "main.py"), "wb") as stream:
        stream.write(content)
    return Checkout(into, f"sha256:{hashlib.sha256(content).hexdigest()}")


def _fetch_in_child(source: Source, workspace: Workspace, environ: Mapping[str, str], report: Report) -> Checkout:
    """Fetch in a process that ends: it alone gets the credentials, and its libraries leave with it."""
    request = os.path.join(workspace.folder, "fetch.json")
    write_whole(request, json.dumps({"source": asdict(source), "into": workspace.source}))
    entry = os.path.join(os.path.dirname(os.path.abspath(__file__)), "entry.py")
    command = Command(
        [sys.executable, "-I", "-S", "-u", entry, CHILD, request],
        credentials.fetch_environment(environ),
        redact=report.secrets,
        timeout_s=source.limits.seconds + 30,
    )
    try:
        done = run(command, on_line=report.note)
    finally:
        os.unlink(request)
    if done.timed_out:
        raise SourceError(
            f"fetching {shown(source.location)!r} took more than {source.limits.seconds:.0f} s (limits.seconds)"
        )
    if done.returncode:
        raise SourceError(
            f"fetching {shown(source.location)!r} failed: " + ("\n".join(done.log[-5:]) or "no reason given")
        )
    answer = json.loads(done.output)
    if "error" in answer:
        raise getattr(errors, answer["kind"])(answer["error"])
    return Checkout(**answer)


def _worker_spec(
    launch: Launch, checkout: Checkout, environ: Mapping[str, str], *, mode: str, outputs: str, reply_form: str
) -> WorkerSpec:
    return WorkerSpec(
        root=checkout.root,
        handler=launch.handler,
        default_module=checkout.default_module,
        mode=mode,
        binding=launch.binding,
        init_function=launch.init_function,
        init_parameters=launch.init_parameters,
        parameters=launch.parameters,
        inputs=launch.inputs,
        entities={key: _absolute(entity) for key, entity in launch.entities.items()},
        outputs=outputs,
        project=launch.project,
        function=launch.function,
        run=launch.run,
        secrets=credentials.secrets_folder(environ),
        reply_form=reply_form,
        concurrency=launch.concurrency,
        pythonpath=environ.get("PYTHONPATH", ""),
    )


def _absolute(entity: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the entity with its path from where the host was started: the worker stands in the source root."""
    return entity if "://" in entity["path"] else {**entity, "path": os.path.abspath(entity["path"])}


def worker_environment(
    launch: Launch, environ: Mapping[str, str], workspace: Workspace, installed_python: str
) -> dict[str, str]:
    """Return the environment of the user's code: no credentials for fetching, a home that can be written.

    PYTHONPATH is held back (the spec has it), an installed environment's programs come first on PATH, a secret is a
    variable too unless there is one of its name.
    """
    made = credentials.user_environment(environ)
    made.pop("PYTHONPATH", None)
    made["HOME"] = usable_home(environ, workspace)
    made["PROJECT_NAME"], made["RUN_ID"] = launch.project, launch.run
    folder = credentials.secrets_folder(environ)
    for name, value in credentials.secret_variables(launch.secrets, folder).items():
        made.setdefault(name, value)
    if installed_python:
        programs = os.path.dirname(installed_python)
        made["PATH"] = programs + os.pathsep + environ.get("PATH", os.defpath)
    return made


def _cache(environ: Mapping[str, str]) -> str:
    from nuwrap_runtime.host.cache import cache_folder

    return cache_folder(environ)


def _source_key(launch: Launch) -> str:
    parts = [launch.code_src, launch.code, launch.base64, launch.sha256, str(launch.keep_git)]
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()


def _read_record(workspace: Workspace, key: str) -> Optional[Checkout]:
    try:
        record = json.loads(read_regular(workspace.record))
        if record.pop("source", None) == key and os.listdir(workspace.source):
            return replace(Checkout(**record), root=workspace.source)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):  # none, or half of one: fetch anew
        pass
    return None
