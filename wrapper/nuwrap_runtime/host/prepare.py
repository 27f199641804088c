"""From a launch document to all that a worker needs: code, environment, inputs, and the worker spec.

`fetch` is the first half: it needs no user Python, leaves a record in the work folder, and what such a record says is
done is not done again.
"""

from __future__ import annotations

import hashlib
import json
import os
import pwd
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Optional

from nuwrap_runtime.errors import PlatformError, SourceError
from nuwrap_runtime.host import credentials, image
from nuwrap_runtime.host.addresses import shown
from nuwrap_runtime.host.children import Job, call_child
from nuwrap_runtime.host.environments import Environment, hold_environment
from nuwrap_runtime.host.inputs import Fetched, check_inputs, fetch_inputs
from nuwrap_runtime.host.interpreter import find_interpreter
from nuwrap_runtime.host.network import where_unset, with_network
from nuwrap_runtime.host.report import Report, counted
from nuwrap_runtime.host.sources import Checkout, Source, check_digest, is_local, parse_source
from nuwrap_runtime.host.sources import fetch as fetch_source
from nuwrap_runtime.host.workspace import Workspace, read_regular, remove_tree, usable_home, write_whole
from nuwrap_runtime.launch import Launch, decode_base64
from nuwrap_runtime.worker.spec import WorkerSpec

USER_NAMES = ("LOGNAME", "USER", "LNAME", "USERNAME")  # what getpass.getuser() asks before it fails


@dataclass(frozen=True)
class Prepared:
    """What a worker is started with: its interpreter, its environment variables, its spec and the spec's file.

    `inputs` tells for the result where each input came from: `{name: {"key", "path", "revision"}}`. `from_image` tells
    that the code is the image's own.
    """

    python: str
    environ: Mapping[str, str]
    spec: WorkerSpec
    spec_path: str
    revision: str
    requirements: tuple[str, ...] = ()
    inputs: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    from_image: bool = False


def fetch(launch: Launch, workspace: Workspace, environ: Mapping[str, str], report: Report) -> Checkout:
    """Put the code into the work folder, unless the image has it or a record says that it is there already.

    A path that is here is copied anew all the same: an author edits and starts again.
    """
    baked = image.serving_code(launch, environ, report.note)
    if baked:
        with report.timed("source") as detail:
            detail.append(f"{describe_source(launch)} at {baked.revision[:19]}, from the image")
        return Checkout(baked.root, baked.revision, baked.default_module, from_image=True)
    key = _source_key(launch)
    done = None if is_local(launch) and os.path.exists(launch.code_src) else _read_record(workspace, key)
    if done:
        return done
    with report.timed("source") as detail:
        _empty_source(workspace)
        try:
            checkout = _fetch_checkout(launch, workspace, environ, report)
        except BaseException:  # a stop too: nothing half-fetched stays
            remove_tree(workspace.source)
            raise
        cached = ", from the cache" if checkout.from_cache else ""
        detail.append(f"{describe_source(launch)} at {checkout.revision[:19]}{cached}")
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
    from nuwrap_runtime.host.requirements import check_requirements

    check_inputs(launch)
    baked = image.find_packages(launch, environ)
    if launch.requirements and not baked:
        check_requirements(launch.requirements)
    find_interpreter(launch.python, environ)
    checkout = fetch(launch, workspace, environ, report)
    fetched = fetch_inputs(launch, workspace, environ, report)
    made = baked or _ensure_environment(launch, environ, report)
    hold(made.python)
    spec = _worker_spec(launch, checkout, environ, mode=mode, outputs=outputs, reply_form=reply_form)
    spec = replace(spec, entities=_located(launch, fetched))
    write_whole(workspace.worker_spec, spec.dump())
    return Prepared(
        python=made.python,
        environ=worker_environment(launch, environ, workspace, made.python if launch.requirements else ""),
        spec=spec,
        spec_path=workspace.worker_spec,
        revision=checkout.revision,
        requirements=made.requirements,
        inputs=_told(launch, fetched),
        from_image=checkout.from_image,
    )


def _ensure_environment(launch: Launch, environ: Mapping[str, str], report: Report) -> Environment:
    from nuwrap_runtime.host.requirements import ensure_environment

    if not launch.requirements:
        return ensure_environment(launch, environ, "", say=report.note)
    with report.timed("requirements") as detail:
        made = ensure_environment(launch, environ, _cache(environ), say=report.note)
        where = "in an environment of their own" if made.installed else "all in the interpreter"
        detail.append(f"{counted(len(made.requirements), 'package')}, {where}")
    return made


def hold(python: str) -> Optional[int]:
    """Keep the environment of that interpreter from being cleaned away while this process lives, if it is one of ours.

    Returns the descriptor that does it, for who becomes another program. None for the interpreter itself.
    """
    return hold_environment(Environment(python))


def describe_source(launch: Launch) -> str:
    """Return the source as a log line names it."""
    return shown(launch.code_src) or ("code" if launch.code else "base64")


def _fetch_checkout(launch: Launch, workspace: Workspace, environ: Mapping[str, str], report: Report) -> Checkout:
    if launch.code or launch.base64:
        return _write_inline(launch, workspace.source)
    source = parse_source(launch)
    if not source.scheme:
        return fetch_source(source, workspace.source, {})
    try:
        source = replace(source, cache=os.path.join(_cache(environ), "sources"))
    except PlatformError as exc:  # fetching needs none
        report.warn(f"the source is fetched anew with each start: {exc}")
    return _fetch_in_child(source, workspace, environ, report)


def _write_inline(launch: Launch, into: str) -> Checkout:
    text = launch.code or decode_base64(launch.base64)
    content = text.encode("utf-8")
    digest = hashlib.sha256(content).hexdigest()
    check_digest(launch.sha256, digest, describe_source(launch))
    with open(os.path.join(into, "main.py"), "wb") as stream:
        stream.write(content)
    return Checkout(into, f"sha256:{digest}")


def _fetch_in_child(source: Source, workspace: Workspace, environ: Mapping[str, str], report: Report) -> Checkout:
    job = Job(
        "fetch-source",
        {"source": asdict(source), "into": workspace.source},
        source.limits.seconds,
        "limits.seconds",
        lambda reason: SourceError(f"fetching {shown(source.location)!r} {reason}"),
    )
    return Checkout(**call_child(job, with_network(credentials.fetch_environment(environ), source.network), report))


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
        outputs=outputs,
        keep_outputs=launch.keep_outputs,
        project=launch.project,
        function=launch.function,
        run=launch.run,
        secrets=credentials.secrets_folder(environ),
        reply_form=reply_form,
        concurrency=launch.concurrency,
        pythonpath=environ.get("PYTHONPATH", ""),
    )


def _located(launch: Launch, fetched: Mapping[str, Fetched]) -> dict[str, Mapping[str, Any]]:
    """Return the entities with the paths that they have here: where they were fetched to, else from where we stand.

    The worker stands in the source root. An address that nothing in this run asks for stays.
    """
    found: dict[str, Mapping[str, Any]] = {}
    for key, entity in launch.entities.items():
        path = fetched[key].path if key in fetched else str(entity["path"])
        found[key] = {**entity, "path": path if "://" in path else os.path.abspath(path)}
    return found


def _told(launch: Launch, fetched: Mapping[str, Fetched]) -> dict[str, Mapping[str, str]]:
    told: dict[str, Mapping[str, str]] = {}
    for name, key in launch.inputs.items():
        revision = fetched[key].revision if key in fetched else ""
        told[name] = {"key": key, "path": shown(str(launch.entities[key]["path"])), "revision": revision}
    return told


def worker_environment(
    launch: Launch, environ: Mapping[str, str], workspace: Workspace, installed_python: str
) -> dict[str, str]:
    """Return the environment of the user's code: no credentials for fetching, a home to write to, a user's name.

    PYTHONPATH is held back (the spec has it), an installed environment's programs come first on PATH. A secret is a
    variable too, and so are the network's proxies and authorities, unless there is one of the name.
    """
    made = where_unset(credentials.user_environment(environ), launch.network)
    made.pop("PYTHONPATH", None)
    made["HOME"] = usable_home(environ, workspace)
    if not any(made.get(name) for name in USER_NAMES) and not _has_entry(os.getuid()):
        made["USER"] = "nuwrap"
    made["PROJECT_NAME"], made["RUN_ID"] = launch.project, launch.run
    folder = credentials.secrets_folder(environ)
    for name, value in credentials.secret_variables(launch.secrets, folder).items():
        made.setdefault(name, value)
    if installed_python:
        programs = os.path.dirname(installed_python)
        made["PATH"] = programs + os.pathsep + environ.get("PATH", os.defpath)
    return made


def _has_entry(uid: int) -> bool:
    """Tell whether the system knows this user by name: a container runs as any number."""
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _cache(environ: Mapping[str, str]) -> str:
    from nuwrap_runtime.host.cache import cache_folder

    return cache_folder(environ)


def _source_key(launch: Launch) -> str:
    stored = str(launch.entities[launch.code_src]["path"]) if launch.code_src in launch.entities else ""
    parts = [launch.code_src, stored, launch.code, launch.base64, launch.sha256, str(launch.keep_git)]
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()


def _read_record(workspace: Workspace, key: str) -> Optional[Checkout]:
    try:
        record = json.loads(read_regular(workspace.record))
        if record.pop("source", None) == key and os.listdir(workspace.source):
            return replace(Checkout(**record), root=workspace.source)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):  # none, or half of one: fetch anew
        pass
    return None
