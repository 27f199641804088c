"""From a function and the values of a run to a run that can be started: checked, resolved, placed, in the history."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

from nuwrap.errors import NotFound, UsageError
from nuwrap.plan.launch import plan_run
from nuwrap.plan.references import own_name, repository
from nuwrap.platforms import REMOTE, Container, ForCluster, Job, PodImages, get_platform, get_remote
from nuwrap.platforms import Placed as PlacedHere
from nuwrap.runs import alive
from nuwrap.runs.inputs import Resolved, resolve
from nuwrap.spec.claims import is_in_claim, refuse_claims
from nuwrap.spec.fields import platform_notes
from nuwrap.spec.function import PYTHON_VERSIONS, Function, make_function
from nuwrap.spec.run_values import RunValues, TaskValues
from nuwrap.store import BUILT_IMAGE, CONSUMES, PENDING, FunctionRecord, LineageRecord, RunRecord, Store
from nuwrap.store.config import Config, read_config
from nuwrap.store.network import read_network, with_network
from nuwrap.store.secrets import Secrets
from nuwrap_runtime.launch import Launch

IDENTITY = ("name", "kind", "project", "uuid")
ANY_PORT = {"port": 0, "admin_port": 0}


@dataclass(frozen=True)
class Placed:
    """A run that is in the history and not started yet; `held` is its locked file, see `alive`."""

    record: RunRecord
    here: PlacedHere
    held: int
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Order:
    """What beside function and values decides how a run is placed.

    `secrets` are values that the caller has; others come from the project's secrets. `is_attended` says that a person
    waits for it on a terminal. `again` is the ended run that is started once more.
    """

    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    is_attended: bool = False
    again: RunRecord | None = None


def record_function(store: Store, function: Function, folder: str) -> FunctionRecord:
    """Keep the function as a version of its project, which is there; what is the same as the latest is the latest.

    A function that has a `uuid` is the version of that id. Raises UsageError when that id is another version's.
    """
    spec = stored(function)
    there = store.get_function(function.project, function.name, function.uuid)
    if there and (_still(there.spec, spec), folder) == (dict(there.spec), there.folder):
        return there
    if function.uuid and there:
        raise UsageError(
            f"function {function.name!r} has a version {function.uuid} already, and it differs; leave uuid out to make "
            "a new version"
        )
    made = FunctionRecord(function.uuid or str(uuid.uuid4()), function.project, function.name, spec, folder)
    return store.add_function(made)


def _still(there: Mapping[str, Any], spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields with what a version has beside them: another program's, and the image that a build gave it."""
    built = there.get(BUILT_IMAGE)
    is_kept = built and built == there.get("image") and spec.get("image", "") in ("", repository(built))
    image = {"image": built} if is_kept else {}
    return {**foreign(there), **spec, **image}


def stored(function: Function) -> dict[str, Any]:
    """Return a function's fields as the history keeps them: what was given, without the record's own columns."""
    return function.model_dump(mode="json", exclude_defaults=True, exclude=set(IDENTITY))


def foreign(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a version's spec another program has exported, and only it knows."""
    return {name: value for name, value in spec.items() if name not in Function.model_fields}


def function_of(record: FunctionRecord) -> Function:
    """Return the checked function of a version. Raises SpecError for one that this nuwrap does not take."""
    known = {name: value for name, value in record.spec.items() if name in Function.model_fields}
    identity = {"name": record.name, "kind": record.kind, "project": record.project, "uuid": record.id}
    return make_function({**known, **identity}, origin=f"function {record.name!r}")


def to_build(record: FunctionRecord) -> Function:
    """Return the function as a build takes it: an image that nuwrap has named itself does not say where builds go."""
    function, built = function_of(record), record.spec.get(BUILT_IMAGE)
    if not built or function.image != built:
        return function
    place = repository(built)
    is_own = place.rpartition("/")[2] == own_name(function.project, function.name)
    return function.model_copy(update={"image": "" if is_own else place})


def choose_platform(values: RunValues, home: str) -> str:
    """Return where the run goes: its platform, this machine for a local execution, the setting, this machine.

    Raises UsageError for `local_execution=False` where only this machine is known.
    """
    if values.platform:
        return values.platform
    if values.local_execution:
        return "local"
    platform = read_config(home).platform
    if values.local_execution is False and platform == "local":
        raise UsageError(
            "local_execution is false, and no other platform is set; give platform=NAME, or set one with "
            "`nuwrap config set platform NAME`"
        )
    return platform


def place(
    store: Store,
    home: str,
    function: FunctionRecord,
    values: RunValues,
    *,
    say: Callable[[str], None],
    order: Order | None = None,
) -> Placed:
    """Check and resolve all that can be known before a start, then write the run down as PENDING; `say` gets warnings.

    Raises NuwrapError, and there is no run then: no folder, nothing in the history.
    """
    order = order or Order()
    if values.action == "build":
        from nuwrap.runs.placing_builds import place_build

        return place_build(store, home, function, values, say=say, order=order)
    prepared = _prepare(store, home, function, values, say=say, order=order)
    job = prepared.job
    held = alive.take(home, job.launch.run)
    try:
        with _delivered(job, is_remote=prepared.platform in REMOTE) as delivered:
            here = get_platform(prepared.platform).place(delivered, say=say)
        try:
            record = RunRecord(
                job.launch.run, function.project, function.name, function.id, "", values.action, prepared.platform, {},
                here.folder,
            )  # fmt: skip
            written = write_down(store, function, prepared.values, prepared.resolved, record, order)
            return Placed(written, here, held, prepared.secrets)
        except BaseException:
            shutil.rmtree(here.folder, ignore_errors=True)
            raise
    except BaseException:
        alive.release(home, job.launch.run, held)
        raise


def plan_objects(
    store: Store, home: str, function: FunctionRecord, values: RunValues, *, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Return what the run's platform, a remote one, would be given, checked as a start would; nothing is made.

    Raises NuwrapError as `place` does.
    """
    prepared = _prepare(store, home, function, values, say=say, order=Order())
    with _delivered(prepared.job, is_remote=True) as delivered:
        return get_remote(prepared.platform).plan(delivered, say=say)


@dataclass(frozen=True)
class _Prepared:
    """A run that was checked and resolved, for its platform to place."""

    platform: str
    values: RunValues
    resolved: Resolved
    job: Job
    secrets: Mapping[str, str] = field(repr=False)


def _prepare(
    store: Store,
    home: str,
    function: FunctionRecord,
    values: RunValues,
    *,
    say: Callable[[str], None],
    order: Order,
) -> _Prepared:
    spec = function_of(function)
    name = choose_platform(values, home)
    get_platform(name)  # one that there is not is refused first
    for note in platform_notes(spec, values, name):
        say(note)
    config, base, is_remote = read_config(home), base_folder(order), name in REMOTE
    values = _absolute(values, base)
    resolved = resolve(store, spec, values, base)
    secrets = (known_secrets if is_remote else read_secrets)(home, spec.project, values, order)
    run = order.again.id if order.again else str(uuid.uuid4())
    job = _make_job(
        spec, function.folder or base, values, resolved, run=run, base=base, order=order, is_remote=is_remote
    )
    job = replace(job, launch=_reaching(job.launch, config, is_remote=is_remote))
    if name != "kubernetes":
        refuse_claims(job.launch, name)
    if name != "local":
        job = replace(job, container=_container(spec, values, config))
    if name == "docker":
        from nuwrap.builds.moved import moved_note

        note = moved_note(job)
        if note:
            say(note)
    if is_remote:
        job = replace(job, launch=_storing(job.launch, str(config.values["artifacts_store"])))
        job = replace(job, cluster=_for_cluster(function, values, config, secrets))
        job = replace(job, cluster=replace(job.cluster, images=_pod_images(name, job, config, say)))
    return _Prepared(name, values, resolved, job, secrets)


def base_folder(order: Order) -> str:
    """Return the folder that one stands in; of a further attempt the one where the run was asked for."""
    if not order.again:
        return os.getcwd()
    return os.path.dirname(os.path.dirname(os.path.dirname(order.again.folder)))  # of .nuwrap/runs/ID


def _absolute(values: RunValues, base: str) -> RunValues:
    """Return the values with a path of outputs that means the same from everywhere."""
    path = values.output_path
    if not path or "://" in path:
        return values
    return values.model_copy(update={"output_path": os.path.abspath(os.path.join(base, os.path.expanduser(path)))})


def read_secrets(home: str, project: str, values: RunValues, order: Order) -> dict[str, str]:
    """Return the values of the run's secrets: the caller's own, else the project's. Raises NotFound."""
    kept = Secrets(home)
    found = {name: kept.get(project, name) for name in values.secrets if name not in order.secrets}
    return {**found, **order.secrets}


@contextmanager
def _delivered(job: Job, *, is_remote: bool) -> Iterator[Job]:
    """Give the job as a remote platform takes it, what it needs of this machine beside it; another as it is."""
    if not is_remote:
        yield job
        return
    from nuwrap.builds.delivering import deliver

    with tempfile.TemporaryDirectory(prefix="nuwrap-deliver-") as work:
        settings = job.cluster.settings
        given = deliver(
            job.launch,
            job.folder,
            work,
            with_network(os.environ, settings),
            is_baked=job.cluster.images.is_baked,
            store=str(settings["artifacts_store"]),
        )
        yield replace(job, launch=given.launch, cluster=replace(job.cluster, files=given.files, paths=given.paths))


def _reaching(launch: Launch, config: Config, *, is_remote: bool) -> Launch:
    """Return the launch with the network of the settings; a NUWRAP_NETWORK of this machine wins where it is read."""
    if os.environ.get("NUWRAP_NETWORK") and not is_remote:
        return launch
    return replace(launch, network=read_network(config.values))


def _storing(launch: Launch, store: str) -> Launch:
    """Return a job's launch with its place in the store, where it has no address of its own."""
    if launch.mode != "job" or not store or "://" in launch.output_path:
        return launch
    below = f"{launch.project}/{launch.run}" if is_in_claim(store) else f"runs/{launch.run}"
    return replace(launch, output_path=f"{store.rstrip('/')}/{below}")


def known_secrets(home: str, project: str, values: RunValues, order: Order) -> dict[str, str]:
    """Return those of the run's secrets that are known here: a cluster may have the others."""
    kept, found = Secrets(home), dict(order.secrets)
    for name in values.secrets:
        if name not in found:
            with suppress(NotFound):
                found[name] = kept.get(project, name)
    return found


def _pod_images(platform: str, job: Job, config: Config, say: Callable[[str], None]) -> PodImages:
    from nuwrap.builds.pod_images import choose_pod_images

    has_processor = platform == "nuclio"
    environ = dict(os.environ)
    return choose_pod_images(
        job.container, job.python_version, config.build, environ, say=say, has_processor=has_processor
    )


def _for_cluster(function: FunctionRecord, values: RunValues, config: Config, secrets: Mapping[str, str]) -> ForCluster:
    version = {"id": function.id, "name": function.name}
    return ForCluster(
        fields=values.model_dump(mode="json", exclude_none=True, exclude={"inputs", "parameters", "init_parameters"}),
        settings=config.values,
        record={"function": version, "run": {"action": values.action, "spec": values.given()}},
        local_secrets=frozenset(secrets),
    )


def _make_job(
    function: Function,
    folder: str,
    values: RunValues,
    resolved: Resolved,
    *,
    run: str,
    base: str,
    order: Order,
    is_remote: bool,
) -> Job:
    if (
        values.action == "serve" and not order.is_attended and not is_remote
    ):  # nobody waits at a known port, and two may be served
        values = values.model_copy(
            update={name: port for name, port in ANY_PORT.items() if getattr(values, name) is None}
        )
    launch = plan_run(function, values, run=run, inputs=resolved.keys, entities=resolved.entities)
    return Job(
        launch=replace(launch, code_src=resolved.code_src or launch.code_src),
        folder=folder,
        base=base,
        python_version=PYTHON_VERSIONS[function.python_version],
        environ={one.name: one.value for one in values.envs},
        attempt=order.again.attempt + 1 if order.again else 1,
        host=values.host or "",
    )


def _container(function: Function, values: RunValues, config: Config) -> Container:
    return Container(
        image=function.image,
        base_image=function.base_image,
        images_registry=config.build.images_registry,
        user=values.run_as_user,
        group=values.run_as_group,
        resources=values.resources.model_dump(mode="json", exclude_none=True) if values.resources else {},
        volumes=[one.model_dump(mode="json", exclude_none=True) for one in values.volumes],
    )


def write_down(
    store: Store, function: FunctionRecord, values: RunValues, resolved: Resolved, record: RunRecord, order: Order
) -> RunRecord:
    """Write the run down as PENDING, with its task and the entities and lineage of its inputs."""
    given = values.given()
    task = store.ensure_task(
        function, values.action, {name: one for name, one in given.items() if name in TaskValues.model_fields}
    )
    if order.again:
        attempt = order.again.attempt + 1
        return store.change_run(record.id, PENDING, resume=True, attempt=attempt, folder=record.folder)
    for entity in resolved.made:
        store.add_entity(entity)
    lineage = [LineageRecord(record.id, CONSUMES, name, key) for name, key in resolved.keys.items()]
    spec = {**given, "inputs": dict(resolved.keys)} if resolved.keys else given
    return store.add_run(replace(record, task=task.id, spec=spec, state=PENDING), lineage)
