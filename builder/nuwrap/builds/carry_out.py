"""The process that builds: reads what was planned, drives the engine, checks what came, leaves the result."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from nuwrap.builds.checking import check_built
from nuwrap.builds.document import CONTEXT, DOCKERFILE, BuildDocument, read_document
from nuwrap.builds.progress import Progress
from nuwrap.builds.telling import now, write_built, write_failed
from nuwrap.engines import Order, get_engine
from nuwrap.errors import BuildError, NuwrapError

STDOUT = 1
STOPS = ("stopped",)


def main(folder: str) -> int:
    """Build what the run's folder says and return the exit code; its steps are told on standard error."""
    started = now()
    try:
        document = read_document(folder)
    except NuwrapError as exc:
        print(f"nuwrap: {exc}", file=sys.stderr)
        return exc.exit_code
    progress = Progress(sys.stderr)
    progress.note(f"engine {document.engine}: {document.why}")
    began = time.monotonic()
    try:
        order = _order(folder, document)
        engine = get_engine(document.engine)
        built = engine.build(order, report=progress)
        took = time.monotonic() - began
        secrets = _secrets(document.secrets, document)
        requirements = check_built(engine, replace(order, secrets=secrets), built, document.plan)
    except NuwrapError as exc:
        is_stop = isinstance(exc, BuildError) and exc.kind in STOPS
        print(f"nuwrap: {exc}", file=sys.stderr)
        return write_failed(folder, document, exc, started=started, is_stop=is_stop)
    progress.end(built)
    seconds = {**document.seconds, "build": took, "check": time.monotonic() - began - took, **progress.seconds}
    write_built(folder, document, built, started=started, seconds=seconds, requirements=requirements)
    return 0


def _order(folder: str, document: BuildDocument) -> Order:
    return Order(
        plan=document.plan,
        context=os.path.join(folder, CONTEXT),
        dockerfile=os.path.join(folder, DOCKERFILE),
        destinations=(document.plan.reference, *document.destinations),
        settings=document.settings,
        push=document.push,
        secrets=_secrets(document.plan.secrets, document),
        tar_path=document.tar_path,
        oci_path=document.oci_path,
        network=document.network,
        timeout_s=document.timeout_s,
        environ=dict(os.environ),
        log=(STDOUT,),
        has_cache=document.has_cache,
    )


def _secrets(names: Sequence[str], document: BuildDocument) -> Mapping[str, str]:
    """Return the values of the secrets: private files, as the supervisor has put them. Raises BuildError.

    Those that a cluster has are known to nobody here.
    """
    found = {}
    for name in [one for one in names if one not in document.settings.cluster.get("secrets", {})]:
        path = os.path.join(os.environ.get("NUWRAP_SECRETS", ""), name)
        try:
            with open(path, encoding="utf-8", errors="surrogateescape") as stream:
                found[name] = stream.read()
        except OSError as exc:
            raise BuildError(f"secret {name!r} cannot be read: {exc.strerror}") from exc
    return found
