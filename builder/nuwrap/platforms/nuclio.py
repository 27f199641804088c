"""Platform `nuclio`: a service is a NuclioFunction with an image of ours, of which Nuclio's controller makes Deployment
and Service; the run lives in the cluster, and this machine keeps of it what it keeps of every run.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, Final

from nuwrap.cluster.client import Cluster
from nuwrap.cluster.reasons import is_ready, why_waiting
from nuwrap.command import take_stops
from nuwrap.plan.kubernetes.labels import RUN_LABEL
from nuwrap.plan.nuclio import KIND
from nuwrap.platforms import Found, Job, Placed, Screen, Seen
from nuwrap.platforms.kubernetes_cluster import connect_again, connect_for
from nuwrap.platforms.kubernetes_end import write_called_off
from nuwrap.platforms.kubernetes_follow import Following, telling
from nuwrap.platforms.kubernetes_found import find_runs
from nuwrap.platforms.kubernetes_found import take_over as take_run_over
from nuwrap.platforms.kubernetes_placing import Making, place_run, tell_objects
from nuwrap.platforms.kubernetes_service import attend_service
from nuwrap.platforms.kubernetes_stop import note_asked, was_asked
from nuwrap.platforms.kubernetes_submit import create_once, give, secret_objects
from nuwrap.platforms.kubernetes_wanted import Wanted, is_submitted, read_files, read_wanted
from nuwrap.platforms.nuclio_follow import FunctionFollower, ask_function_to_end
from nuwrap.platforms.nuclio_place import check_admission, has_project, manifests, plan_function, project_of
from nuwrap.platforms.nuclio_state import ERROR, message_of, state_of
from nuwrap.platforms.run_folder import open_log

KINDS: Final = {KIND: "serve"}


MAKING: Final = Making(plan_function, manifests, check_admission)


def place(job: Job, *, say: Callable[[str], None]) -> Placed:
    """See `place_run`."""
    return place_run(job, MAKING, say)


def plan(job: Job, *, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """See `tell_objects`."""
    return tell_objects(job, MAKING, say)


def attend(placed: Placed, action: str, *, secrets: Mapping[str, str], screen: Screen) -> int | None:
    """Submit the service unless the cluster has it, and stay with it to its end. See `Remote.attend`."""
    del action  # there is one
    wanted = read_wanted(placed.folder)
    with open_log(placed.folder) as log, take_stops() as stops, telling(placed.folder, wanted, log):
        cluster = connect_again(wanted, placed.environ)
        following = Following(cluster, wanted, screen, stops, placed.folder, log, tuple(secrets.values()))
        follower = FunctionFollower(following)
        if not is_submitted(placed.folder):
            if was_asked(placed.folder) or (stops.has_come and not screen.is_detached):
                follower.remove()  # what may be half made
                return write_called_off(placed.folder, wanted)
            if stops.has_come:
                return None
            _submit(cluster, placed, wanted, secrets)
        if was_asked(placed.folder):  # by who came while it was submitted
            follower.ask_to_end()
        return attend_service(follower)


def _submit(cluster: Cluster, placed: Placed, wanted: Wanted, secrets: Mapping[str, str]) -> None:
    made = manifests(wanted, read_files(placed.folder))
    project = project_of(wanted)
    if not has_project(cluster, project):
        create_once(cluster, project)
    give(cluster, [*made, *secret_objects(wanted, placed.environ, secrets)], placed.folder)


def look(folder: str) -> Seen:
    """Return what the run is at now; see `Remote.look`."""
    wanted = read_wanted(folder)
    if not is_submitted(folder):
        return Seen(
            is_running=False, reason=f"it is not in the cluster yet; `nuwrap logs -f {wanted.run[:8]}` brings it there"
        )
    cluster = connect_again(wanted, os.environ)
    function = cluster.get(KIND, wanted.name)
    if function is None or state_of(function) == ERROR:
        return Seen(is_running=False, is_over=True)
    pods = cluster.list("Pod", labels={RUN_LABEL: wanted.run})
    if any(map(is_ready, pods)):
        return Seen(is_running=True)
    waiting = why_waiting(pods[-1] if pods else None, []).reason
    return Seen(is_running=False, reason="; Nuclio says: ".join(filter(None, (waiting, message_of(function)))))


def find(settings: Mapping[str, Any], project: str, known: frozenset[str]) -> list[Found]:
    """Return the functions of the namespace that are not known; see `Remote.find`."""
    return find_runs(connect_for(settings, project, os.environ), project, known, KINDS)


def take_over(found: Found, base: str, settings: Mapping[str, Any]) -> str:
    """Make the run's folder; see `Remote.take_over`."""
    return take_run_over(connect_for(settings, found.project, os.environ), found, base, settings)


def stop(folder: str) -> None:
    """Ask the service to end; one that is not in the cluster yet will not be."""
    wanted = read_wanted(folder)
    note_asked(folder)
    if is_submitted(folder):
        ask_function_to_end(connect_again(wanted, os.environ), wanted)
