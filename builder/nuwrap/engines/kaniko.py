"""kaniko, driven as a program of its own: as a Job of a cluster, in this container where that may be thrown away, else
in one of Docker's.

Facts of the executor: osscontainertools/kaniko v1.28.3; Google's 1.24 and chainguard's builds are taken too.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from nuwrap import docker
from nuwrap.command import Completed, take_stops
from nuwrap.engines import Availability, Order
from nuwrap.engines.kaniko_argv import DEFAULT_IMAGE, Executor, build_arguments, build_environment, read_help
from nuwrap.engines.kaniko_cluster import InCluster, ask_cluster
from nuwrap.engines.kaniko_docker import InDocker
from nuwrap.engines.kaniko_failures import find_failure
from nuwrap.engines.kaniko_flags import check_flags
from nuwrap.engines.kaniko_inside import Inside, ask_executor, find_executor, why_not_here
from nuwrap.engines.kaniko_log import Log
from nuwrap.engines.kaniko_output import read_built
from nuwrap.engines.kaniko_place import Place, Watch
from nuwrap.engines.kaniko_room import RoomFile, list_files, list_hidden, read_credentials
from nuwrap.engines.secret_scan import find_secrets
from nuwrap.errors import BuildError, PlatformError, UsageError
from nuwrap.plan.kubernetes.build_job import BuildPlace
from nuwrap.registry.credentials import Credentials
from nuwrap.spec.build import BuildSettings, Built, Event, ImageFacts

QUESTIONS: Final = ("--help", "version")
_LEFT_OUT: Final = re.compile(r"(?<![\w./-])(?:/kaniko|/var/run)(?![\w.-])")
HAS_SECRETS: Final = True  # the maintained fork; another executor is told from it by its flags, before the build


def look(settings: BuildSettings, environ: Mapping[str, str], *, push: bool) -> Availability:
    """Tell whether a build could begin: in the cluster where one is meant, else in this container, else by Docker."""
    try:
        check_flags(settings.kaniko_flags)
    except UsageError as exc:
        return Availability(is_usable=False, reason=str(exc))
    if settings.cluster:
        return _look_at_cluster(settings, environ, push=push)
    why = why_not_here(environ)
    if not why:
        return _look_inside(environ, push=push)
    image = settings.kaniko_image or DEFAULT_IMAGE
    try:
        version = docker.server_version(environ)
    except PlatformError as exc:
        return Availability(is_usable=False, reason=f"{exc}; without Docker: {why}")
    if not version:
        return Availability(
            is_usable=False, reason=f"Docker does not answer; start it, or set DOCKER_HOST; without Docker: {why}"
        )
    return Availability(is_usable=True, reason=f"{image}, run by Docker {version}", version=version)


def build(order: Order, *, report: Callable[[Event], None]) -> Built:
    """Build the image in the place that `look` has found; see Engine."""
    check_flags(order.settings.kaniko_flags)
    _refuse_secrets(order)
    with take_stops() as stops:
        watch = Watch(stops, order.timeout_s)
        credentials = _credentials(order)
        place = _make_place(order, watch, list_hidden(order, credentials), report)
        try:
            return _build(order, place, list(list_files(order, place.room, credentials)), watch, report)
        finally:
            place.close()


def scan(order: Order, built: Built) -> list[str]:
    """List where configuration and history of the image have a secret's value; see Engine. Raises RegistryError."""
    return find_secrets(read_built(order, built), order.secrets) if order.secrets else []


def _credentials(order: Order) -> dict[str, Credentials]:
    """Return the log-ins that go to the executor: a cluster gets those of this machine when it may have them."""
    if order.settings.cluster and not BuildPlace.from_document(order.settings.cluster).sends:
        return {}
    return read_credentials(order)


def _refuse_secrets(order: Order) -> None:
    """Raise BuildError when the build would write a secret into the image: kaniko pushes what nobody has checked."""
    lines = order.plan.dockerfile.split("\n")
    found = find_secrets(ImageFacts("", "", "", env=order.plan.build_args, history=lines), order.secrets)
    if found:
        raise BuildError(
            f"a secret's value would stand in the image {order.destinations[0]}, which was not built: "
            f"{'; '.join(found)}; read the secret from /run/secrets/NAME in the instruction that needs it",
            "check",
        )


def _make_place(order: Order, watch: Watch, hidden: Sequence[str], report: Callable[[Event], None]) -> Place:
    if order.settings.cluster:
        return InCluster(order, watch, hidden, report)
    return (InDocker if why_not_here(order.environ) else Inside)(order, watch, hidden)


def _look_at_cluster(settings: BuildSettings, environ: Mapping[str, str], *, push: bool) -> Availability:
    place = BuildPlace.from_document(settings.cluster)
    if not push:
        return Availability(
            is_usable=False, reason="a cluster keeps no image: push it, or build on this machine by platform local"
        )
    try:
        version = ask_cluster(place, environ)
    except (PlatformError, BuildError) as exc:
        return Availability(is_usable=False, reason=str(exc))
    where = f"{place.pod.image}, as a Job in namespace {place.namespace!r} of Kubernetes {version}"
    return Availability(is_usable=True, reason=where, version=version)


def _look_inside(environ: Mapping[str, str], *, push: bool) -> Availability:
    executor = find_executor(environ)
    if not push:
        return Availability(
            is_usable=False, reason="kaniko in a container keeps no image: push it, or build elsewhere with Docker"
        )
    try:
        found = read_help(*(_answer(ask_executor(executor, question)) for question in QUESTIONS))
    except (BuildError, PlatformError) as exc:
        return Availability(is_usable=False, reason=str(exc))
    return Availability(
        is_usable=True, reason=f"{executor}, in this container, which is for one build", version=found.version
    )


def _build(
    order: Order, place: Place, files: Sequence[RoomFile], watch: Watch, report: Callable[[Event], None]
) -> Built:
    keeps = not (order.push or order.tar_path or order.oci_path)
    executor = read_help(*(_answer(place.ask(question)) for question in QUESTIONS))
    arguments = build_arguments(order, place.room, executor, archive=keeps or bool(order.tar_path))
    for text in (f"{executor} in {place.name}", *arguments.notes, *_note_left_out(order)):
        report(Event("note", text))
    place.fill(files)
    log = Log(order.plan.steps, order.destinations, report)
    watch.check()
    ended = place.run(arguments.argv, build_environment(order, place.room), log.feed)
    log.end(is_done=ended.code == 0)
    if ended.code:
        raise find_failure(ended, log, order, watch)
    return _take_out(order, place, executor, keeps=keeps)


def _note_left_out(order: Order) -> list[str]:
    """Say which steps name a folder that kaniko leaves out of every image (its README, "Known Issues")."""
    steps = enumerate(order.plan.steps, 1)
    named = [(number, found[0]) for number, step in steps for found in [_LEFT_OUT.search(step.text)] if found]
    return [f"step {number} names {place}, which kaniko leaves out of the image" for number, place in named]


def _take_out(order: Order, place: Place, executor: Executor, *, keeps: bool) -> Built:
    digest = place.read(place.room.digest).decode("ascii", "replace").strip()
    details: dict[str, Any] = {"engine": "kaniko", "executor": executor.version, "place": place.name, "digest": digest}
    if order.push:
        details["names"] = place.read(place.room.names).decode("utf-8", "replace").split()
    if order.oci_path:
        os.makedirs(order.oci_path, exist_ok=True)
        place.take(place.room.layout, order.oci_path)
    if order.tar_path:
        place.take(place.room.archive, order.tar_path)
    image = _keep(order, place) if keeps else ""
    return Built(order.destinations[0], digest if order.push else "", image, details=details)


def _keep(order: Order, place: Place) -> str:
    with tempfile.TemporaryDirectory() as folder:
        archive = os.path.join(folder, "image.tar")
        place.take(place.room.archive, archive)
        return place.keep(archive, order.destinations)


def _answer(completed: Completed) -> str:
    return (completed.output + completed.errors).decode("utf-8", "replace")
