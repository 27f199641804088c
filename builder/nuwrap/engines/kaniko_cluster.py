"""The executor as a Job of a Kubernetes cluster, for one build: what it needs is given to a container that waits for it
in the same pod, by the API server; its image goes to a registry, and its digest comes back by the termination log.
"""

from __future__ import annotations

import os
import secrets
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

from nuwrap.cluster.admission import check_admission
from nuwrap.cluster.client import Cluster, ClusterError, connect
from nuwrap.cluster.log_lines import LogLines
from nuwrap.cluster.pod_news import PodNews
from nuwrap.cluster.reasons import Ended as ContainerEnded
from nuwrap.cluster.reasons import ended_container, is_running
from nuwrap.command import Completed, Mask
from nuwrap.engines import Order
from nuwrap.engines.kaniko_answers import keep_answers, kept_answers
from nuwrap.engines.kaniko_place import Ended, Watch
from nuwrap.engines.kaniko_pods import BuildPods, has_ended
from nuwrap.engines.kaniko_room import KANIKO, Room, RoomFile, has_loopback, pack
from nuwrap.errors import BuildError, PlatformError
from nuwrap.plan.kubernetes.build_job import ASKING, FILL, BuildPlace, plan_build_job, plan_questions, unpacking
from nuwrap.plan.kubernetes.labels import ACTION_LABEL, ATTEMPT_LABEL, RUN_LABEL
from nuwrap.plan.kubernetes.profiles import MAIN
from nuwrap.spec.build import Event

TERMINATION: Final = "/dev/termination-log"
QUESTIONS: Final[Mapping[str, str]] = {MAIN: "--help", "version": "version"}
LOOK_S: Final = 0.2
LOG_END_S: Final = 30.0
GONE_S: Final = 20.0
KILLED_CODE: Final = 137
_NO_FILES: Final = "a build in a cluster leaves no file on this machine; it is pushed, and can be pulled from there"


@dataclass(frozen=True)
class PodRoom(Room):
    """A room whose digest is what the pod's end tells."""

    @property
    def digest(self) -> str:
        """The file that gets the image's digest."""
        return TERMINATION


class InCluster:
    """A Job of the executor's image."""

    def __init__(self, order: Order, watch: Watch, hidden: Sequence[str], report: Callable[[Event], None]) -> None:
        self.room: Room = PodRoom(f"{KANIKO}/nuwrap")
        place = BuildPlace.from_document(order.settings.cluster)
        mounted = {name: place.secrets[name] for name in order.plan.secrets if name in place.secrets}
        self._place = replace(place, secrets=mounted)
        self.name = f"a Job of namespace {self._place.namespace!r}, image {self._place.pod.image}"
        self._cluster = _connect(self._place, order.environ)
        self._order, self._watch = order, watch
        self._pods = BuildPods(self._cluster, self._place, watch, report)
        self._mask = Mask(hidden)
        self._files: Sequence[RoomFile] = ()
        self._digest = ""
        self._has_job = False

    def ask(self, argument: str) -> Completed:
        """Return what the executor answers to a question; a pod asks all of them, once for an image."""
        image = self._place.pod.image
        answers = kept_answers(self._place.cache, image)
        if argument not in answers:
            answers = self._ask_all()
            keep_answers(self._place.cache, image, answers)
        return Completed(0, answers[argument].encode(), b"")

    def fill(self, files: Sequence[RoomFile]) -> None:
        """Keep the files until there is a pod; a Secret of the namespace has the log-ins where one is named."""
        is_given = bool(self._place.push_secret)
        self._files = [one for one in files if not (is_given and one.place.startswith(f"{self.room.docker}/"))]

    def run(self, argv: Sequence[str], environment: Mapping[str, str], listen: Callable[[bytes], None]) -> Ended:
        """Make the Job, give it what it waits for, and follow it to its end."""
        if has_loopback(self._order) and not (self._place.pod.profile.get("pod") or {}).get("hostNetwork"):
            self._pods.note("a registry at a loopback address is the pod itself, unless a profile has hostNetwork")
        job = plan_build_job(self._place, self.room.root, argv, environment)
        _check(self._cluster, job)
        self._has_job = True
        self._cluster.create(job)
        with PodNews(self._cluster, self._labels) as news:
            pod = self._pods.wait_for(news, lambda one: is_running(one, FILL))
            self._give(str(pod["metadata"]["name"]))
            pod = self._pods.wait_for(news, lambda one: is_running(one, MAIN) or has_ended(one))
            ended = self._follow(str(pod["metadata"]["name"]), news, listen)
        self._digest = ended.message if ended.exit_code == 0 else ""
        return Ended(ended.exit_code, lacked_memory=ended.reason == "OOMKilled" or ended.exit_code == KILLED_CODE)

    def read(self, place: str) -> bytes:
        """Return the digest, or the names with it."""
        if not self._digest:
            raise BuildError(f"kaniko has left no {os.path.basename(place)}: its termination message is empty")
        if place == self.room.names:
            return "\n".join(f"{name}@{self._digest.strip()}" for name in self._order.destinations).encode()
        return self._digest.encode()

    def take(self, place: str, target: str) -> None:  # noqa: ARG002
        """No file comes out of a cluster. Raises BuildError."""
        raise BuildError(_NO_FILES)

    def keep(self, archive: str, destinations: Sequence[str]) -> str:  # noqa: ARG002
        """No store of images is this machine's. Raises BuildError."""
        raise BuildError(_NO_FILES)

    def close(self) -> None:
        """Remove the Job and see its pod gone, so that nothing of the build goes on."""
        if not self._has_job:
            return
        try:
            self._cluster.delete("Job", self._place.name)
            end = time.monotonic() + GONE_S
            while self._cluster.list("Pod", labels=self._labels) and time.monotonic() < end:
                time.sleep(LOOK_S)
        except PlatformError as exc:
            where = f"Job {self._place.name!r} of namespace {self._place.namespace!r}"
            self._pods.note(f"{where} could not be removed, and may go on: {exc}")

    @property
    def _labels(self) -> dict[str, str]:
        return {RUN_LABEL: self._place.run, ACTION_LABEL: "build", ATTEMPT_LABEL: str(self._place.attempt)}

    def _ask_all(self) -> dict[str, str]:
        name = f"nuwrap-kaniko-{secrets.token_hex(6)}"
        pod = plan_questions(self._place, name, QUESTIONS)
        self._pods.note(f"asking {self._place.pod.image} what it can do")
        try:
            self._cluster.create(pod)
            with PodNews(self._cluster, {RUN_LABEL: self._place.run, ACTION_LABEL: ASKING}) as news:
                self._pods.wait_for(news, _is_over, is_job=False)
            found = {}
            for container, argument in QUESTIONS.items():
                with self._cluster.log(name, container=container) as pieces:
                    found[argument] = b"".join(pieces).decode("utf-8", "replace")
            return found
        finally:
            with suppress(PlatformError):
                self._cluster.delete("Pod", name, grace_s=0)

    def _give(self, pod: str) -> None:
        """Pack the files into the container that waits. Raises BuildError."""
        failed: list[str] = []

        def unpack() -> None:
            try:
                code, _, said = self._cluster.exec(pod, unpacking(self.room.root), container=FILL, stdin=packed)
            except PlatformError as exc:
                failed.append(str(exc))
            else:
                failed.extend([said.decode("utf-8", "replace").strip() or f"tar ended with {code}"] if code else [])

        with tempfile.TemporaryFile() as packed:
            pack(packed, self._files)
            packed.seek(0)
            giving = threading.Thread(target=unpack, daemon=True)
            giving.start()
            while giving.is_alive():
                self._watch.check()
                giving.join(LOOK_S)
        if failed:
            raise BuildError(f"the context cannot be given to pod {pod!r}: {failed[0]}", "engine")

    def _follow(self, pod: str, news: PodNews, listen: Callable[[bytes], None]) -> ContainerEnded:
        """Pass the executor's log on, and return how it ended."""
        lines = LogLines(self._cluster, pod, MAIN)

        def take(batch: Sequence[bytes]) -> None:
            for text in batch:
                shown = self._mask.feed(text + b"\n", last=True)
                for target in self._order.log:
                    with suppress(OSError):
                        os.write(target, shown)
                listen(shown)

        reading = threading.Thread(target=lines.read, args=(take,), daemon=True)
        reading.start()
        try:
            ended = ended_container(self._pods.wait_for(news, has_ended))
            reading.join(LOG_END_S)
        finally:
            lines.stop()
        return ended or ContainerEnded(MAIN, 1)


def ask_cluster(place: BuildPlace, environ: Mapping[str, str]) -> str:
    """Return the cluster's version, once it has looked at a pod of the executor's without making it.

    Raises PlatformError where it does not answer, BuildError where it does not take such a pod.
    """
    cluster = _connect(place, environ)
    _check(cluster, plan_questions(place, "nuwrap-kaniko", QUESTIONS))
    return cluster.version()


def remove_left(place: BuildPlace, environ: Mapping[str, str]) -> bool:
    """Remove what a build whose processes were killed has left there, and tell whether its Job was still there.

    Raises PlatformError where it cannot be removed.
    """
    cluster = _connect(place, environ)
    was_there = cluster.delete("Job", place.name)
    for pod in cluster.list("Pod", labels={RUN_LABEL: place.run, ACTION_LABEL: ASKING}):
        cluster.delete("Pod", str(pod["metadata"]["name"]), grace_s=0)
    return was_there


def _connect(place: BuildPlace, environ: Mapping[str, str]) -> Cluster:
    return connect(environ, context=place.context, namespace=place.namespace)


def _check(cluster: Cluster, manifest: Mapping[str, Any]) -> None:
    try:
        check_admission(cluster, [manifest])
    except ClusterError as exc:
        if "violates PodSecurity" not in str(exc):
            raise
        raise BuildError(
            f"{exc}; kaniko must be root: build in a namespace whose Pod Security level is baseline, set by `nuwrap "
            "config set kubernetes.build_namespace NAME`",
            "engine",
        ) from exc


def _is_over(pod: Mapping[str, Any]) -> bool:
    return pod.get("status", {}).get("phase") in ("Succeeded", "Failed")
