"""Platform `kubernetes`: a job is a Job, a service a Deployment with a Service; the run lives in the cluster, and this
machine has what it was asked for, its log and its result in `.nuwrap/runs/<id>/`, as every platform does.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from nuwrap.cluster.admission import check_admission
from nuwrap.cluster.client import Cluster, ClusterError
from nuwrap.cluster.reasons import ended_container, is_made_anew, is_main_running, job_failure, why_gone, why_waiting
from nuwrap.command import take_stops
from nuwrap.plan.kubernetes import plan_run
from nuwrap.plan.kubernetes.labels import RUN_LABEL
from nuwrap.plan.kubernetes.request import RunObjects
from nuwrap.platforms import Found, Job, Placed, Screen, Seen
from nuwrap.platforms.kubernetes_cluster import connect_again, connect_for
from nuwrap.platforms.kubernetes_end import write_called_off, write_end
from nuwrap.platforms.kubernetes_follow import Following, JobFollower, NeverBegins, telling
from nuwrap.platforms.kubernetes_found import find_runs
from nuwrap.platforms.kubernetes_found import take_over as take_run_over
from nuwrap.platforms.kubernetes_names import without_taken
from nuwrap.platforms.kubernetes_place import plan_wanted
from nuwrap.platforms.kubernetes_placing import Making, place_run, tell_objects
from nuwrap.platforms.kubernetes_stop import ask_to_end, is_stopped, note_asked, was_asked
from nuwrap.platforms.kubernetes_submit import submit
from nuwrap.platforms.kubernetes_wanted import Wanted, is_submitted, read_wanted
from nuwrap.platforms.run_folder import open_log


def _make(wanted: Wanted, files: Mapping[str, bytes]) -> list[dict[str, Any]]:
    return plan_run(RunObjects.from_document(wanted.objects, files))


def _check(cluster: Cluster, wanted: Wanted, made: Sequence[Mapping[str, Any]]) -> None:
    check_admission(cluster, without_taken(cluster, wanted, made))


MAKING: Final = Making(plan_wanted, _make, _check)


def place(job: Job, *, say: Callable[[str], None]) -> Placed:
    """See `place_run`."""
    return place_run(job, MAKING, say)


def plan(job: Job, *, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """See `tell_objects`."""
    return tell_objects(job, MAKING, say)


def attend(placed: Placed, action: str, *, secrets: Mapping[str, str], screen: Screen) -> int | None:
    """Submit the run unless the cluster has it, stay with it to its end, and keep its result. See `Remote.attend`."""
    wanted = read_wanted(placed.folder)
    with open_log(placed.folder) as log, take_stops() as stops, telling(placed.folder, wanted, log):
        cluster = connect_again(wanted, placed.environ)
        following = Following(cluster, wanted, screen, stops, placed.folder, log, tuple(secrets.values()))
        if not is_submitted(placed.folder):
            if was_asked(placed.folder) or (stops.has_come and not screen.is_detached):
                cluster.delete(wanted.kind, wanted.name)  # what may be half made
                return write_called_off(placed.folder, wanted)
            if stops.has_come:
                return None
            submit(cluster, placed, wanted, secrets)
        if was_asked(placed.folder):  # by who came while it was submitted
            ask_to_end(cluster, wanted)
        if action == "serve":
            from nuwrap.platforms.kubernetes_service import ServiceFollower, attend_service

            return attend_service(ServiceFollower(following))
        return _attend_job(following)


def _attend_job(following: Following) -> int | None:
    cluster, wanted = following.cluster, following.wanted
    try:
        outcome = JobFollower(following).follow()
    except NeverBegins:  # nothing of it stays
        cluster.delete("Job", wanted.name)
        raise
    if outcome is None:
        return None
    code = write_end(following, outcome)
    try:
        if not outcome.is_missing:
            cluster.patch("Job", wanted.name, {"spec": {"ttlSecondsAfterFinished": wanted.keep_finished_s}})
    except ClusterError as exc:  # all that the run has left is here
        following.tell(f"the Job stays in the cluster: {exc}")
    return code


def look(folder: str) -> Seen:
    """Return what the run is at now; see `Remote.look`."""
    wanted = read_wanted(folder)
    if not is_submitted(folder):
        return Seen(
            is_running=False, reason=f"it is not in the cluster yet; `nuwrap logs -f {wanted.run[:8]}` brings it there"
        )
    cluster = connect_again(wanted, os.environ)
    workload = cluster.get(wanted.kind, wanted.name)
    if workload is None:
        return Seen(is_running=False, is_over=True)
    pods = cluster.list("Pod", labels={RUN_LABEL: wanted.run})
    pod = max(pods, key=lambda one: str(one["metadata"]["creationTimestamp"]), default=None)
    is_job = wanted.kind == "Job"
    has_ended = pod is not None and ended_container(pod) is not None
    if is_job and pod and has_ended and is_made_anew(workload, pod):
        return Seen(is_running=False, reason=f"evicted: {why_gone(pod)}; a further pod is made")
    if is_job and (job_failure(workload)[0] or has_ended):
        return Seen(is_running=False, is_over=True)
    if not is_job and is_stopped(workload) and not pods:
        return Seen(is_running=False, is_over=True)
    if pod and is_main_running(pod):
        return Seen(is_running=True)
    return Seen(is_running=False, reason=why_waiting(pod, []).reason)


def find(settings: Mapping[str, Any], project: str, known: frozenset[str]) -> list[Found]:
    """Return the runs of the namespace that are not known; see `Remote.find`."""
    return find_runs(connect_for(settings, project, os.environ), project, known)


def take_over(found: Found, base: str, settings: Mapping[str, Any]) -> str:
    """Make the run's folder; see `Remote.take_over`."""
    return take_run_over(connect_for(settings, found.project, os.environ), found, base, settings)


def stop(folder: str) -> None:
    """Ask the run to end; one that is not in the cluster yet will not be."""
    wanted = read_wanted(folder)
    note_asked(folder)
    if is_submitted(folder):
        ask_to_end(connect_again(wanted, os.environ), wanted)
