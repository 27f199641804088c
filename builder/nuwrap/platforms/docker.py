"""Platform `docker`: the host in a container, the run's files on this machine in `.nuwrap/runs/<id>/`, as `local` has
them. Nothing of this machine is mounted, so the daemon may be another machine's.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from nuwrap.command import take_stops
from nuwrap.docker import server_version, why_unusable
from nuwrap.errors import NuwrapError, PlatformError
from nuwrap.platforms import Job, Placed, Screen
from nuwrap.platforms.docker_back import check_folder
from nuwrap.platforms.docker_engine import Engine
from nuwrap.platforms.docker_environment import hide_own, settle_certificates
from nuwrap.platforms.docker_images import choose_images
from nuwrap.platforms.docker_run import Attempt
from nuwrap.platforms.docker_service import plan_ports
from nuwrap.platforms.docker_strays import held, labels, remove_strays
from nuwrap.platforms.docker_wanted import Wanted, read_wanted, write_wanted
from nuwrap.platforms.passing import warn_of_variables
from nuwrap.platforms.run_folder import LAUNCH, decided_variables, make_run_folder, open_log, write_private


def place(job: Job, *, say: Callable[[str], None]) -> Placed:
    """Make the run's folder with its launch document and `docker.json`, once all that can be refused has been looked
    at. What earlier runs of this user have left in Docker because they were killed is removed.
    """
    environ = dict(os.environ)
    _check(job, environ)
    engine = Engine(environ)
    remove_strays(engine)
    wanted = _plan(job, engine, say)
    warn_of_variables(environ, decided_variables(job.launch), say)
    folder = make_run_folder(job.base, job.launch.run, job.attempt)
    launch = job.launch
    if launch.mode == "job" and not launch.output_path:
        launch = replace(launch, output_path=folder)
    wanted = replace(
        wanted,
        name=f"nuwrap-{os.path.basename(folder)}",
        folder=launch.output_path if launch.mode == "job" and "://" not in launch.output_path else folder,
        labels={**labels(folder, launch.run), "dev.nuwrap.function": f"{launch.project}/{launch.function}"},
    )
    try:
        check_folder(wanted.folder, launch.run)
        write_private(os.path.join(folder, LAUNCH), json.dumps(launch.to_document(), indent=1))
        write_wanted(folder, wanted)
    except BaseException:  # a stop too: no folder is left of a run that there is not
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return Placed(folder, job.folder, hide_own(environ, job.environ))


def attend(placed: Placed, action: str, *, secrets: Mapping[str, str], screen: Screen) -> int:
    """Run the container to its end and return its exit code; nothing of it is left in Docker. See `Platform.attend`."""
    wanted = read_wanted(placed.folder)
    with open_log(placed.folder) as log, held(placed.folder), take_stops() as stops:
        shown = replace(screen, out=(*screen.out, log), err=(*screen.err, log))
        try:
            return Attempt(placed, wanted, action, secrets=secrets, screen=shown, stops=stops).run()
        except NuwrapError as exc:  # who attends tells it to a person; the log has it for who looks later
            os.write(log, f"nuwrap  error: {exc}\n".encode())
            raise


def _check(job: Job, environ: Mapping[str, str]) -> None:
    """See that Docker answers. Raises PlatformError."""
    if job.host == "nuclio":
        raise PlatformError("host 'nuclio' is not on platform 'docker'; leave host out, or serve on platform 'local'")
    if not server_version(environ):
        raise PlatformError(why_unusable(environ) or "Docker does not answer; start it, or set DOCKER_HOST")


def _plan(job: Job, engine: Engine, say: Callable[[str], None]) -> Wanted:
    """Return what the run wants of its container; its name, labels and folder are not known yet."""
    from nuwrap.platforms.docker_plan import plan_flags, plan_inside

    images = choose_images(job.container, job.python_version, engine, say=say)
    inside = plan_inside(job.launch, job.folder, is_baked=images.is_baked)
    flags = plan_flags(job, say=say)
    for name in flags.shared:
        if not engine.has_volume(name):
            raise PlatformError(f"there is no Docker volume {name!r}; make it with `docker volume create {name}`")
    certificates = settle_certificates(engine.environ)
    return Wanted(
        name="",
        image=images.image,
        runtime=images.runtime,
        fetcher=images.fetcher,
        images_registry=job.container.images_registry,
        launch=inside.launch.to_document(),
        folder="",
        python=job.launch.python,
        user=_text(job.container.user),
        group=_text(job.container.group),
        has_remote=inside.has_remote,
        gifts=(*inside.gifts, *certificates.gifts),
        flags=flags.flags,
        opened=flags.opened,
        shared=flags.shared,
        ports=plan_ports(job.launch.serve, engine.environ) if job.launch.mode == "serve" else (),
        environ=certificates.environ,
        paths=inside.paths,
    )


def _text(number: Any) -> str:
    return "" if number is None else str(number)
