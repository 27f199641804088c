"""`/opt/nuwrap` as a volume, for images that have none: filled once per runtime image, read-only for every run.

A container that is never started keeps it. Its name is what runs that begin at once settle it by: it is free, taken
while the volume is being filled, and can be inspected once it is full (moby: daemon/create.go registers a container
after its volumes are filled from the image).
"""

from __future__ import annotations

import time
from typing import Final

from nuwrap.errors import PlatformError
from nuwrap.platforms.docker_engine import MAKE_SECONDS, Engine
from nuwrap.spec.build import TREE

LABEL: Final = "dev.nuwrap.keeps=runtime"
LOOK_SECONDS = 0.1


def ensure_runtime(engine: Engine, reference: str, image_id: str) -> str:
    """Return the name of the volume that has what the image has at /opt/nuwrap. Raises PlatformError."""
    name = f"nuwrap-runtime-{image_id.rpartition(':')[2][:16]}"
    if engine.inspect(name):
        return name
    mount = f"type=volume,src={name},dst={TREE}"
    try:
        engine.make(["--name", name, "--label", LABEL, "--mount", mount, reference, TREE])
    except PlatformError as exc:
        if "is already in use" not in str(exc):
            raise
        _wait_filled(engine, name)
    return name


def _wait_filled(engine: Engine, name: str) -> None:
    until = time.monotonic() + MAKE_SECONDS
    while not engine.inspect(name):
        if time.monotonic() > until:
            raise PlatformError(f"another run does not get container {name!r} made; remove it: `docker rm {name}`")
        time.sleep(LOOK_SECONDS)
