"""A build whose processes were killed: what it has left in a cluster is removed by whoever finds that out."""

from __future__ import annotations

import os
from collections.abc import Mapping

from nuwrap.builds.document import read_document
from nuwrap.engines.kaniko_cluster import remove_left
from nuwrap.errors import PlatformError
from nuwrap.plan.kubernetes.build_job import BuildPlace
from nuwrap.platforms.run_folder import RESULT


def remove_lost(folder: str, environ: Mapping[str, str]) -> str:
    """Remove what the build of that folder has left in a cluster; return what a person should know of that, or "".

    One that has told its end has removed all by itself.
    """
    if os.path.lexists(os.path.join(folder, RESULT)):
        return ""
    try:
        cluster = read_document(folder).settings.cluster
    except PlatformError:  # killed before it was written: nothing was made
        return ""
    if not cluster:
        return ""
    place = BuildPlace.from_document(cluster)
    where = f"Job {place.name!r} of namespace {place.namespace!r}"
    try:
        was_there = remove_left(place, environ)
    except PlatformError as exc:
        return f"{where} could not be removed, and may go on to its deadline: {exc}"
    return f"{where} was removed" if was_there else ""
