"""`nuwrap export --nuclio`: a function of the history as one document that Nuclio runs without a build."""

from __future__ import annotations

import json
import os
from pathlib import Path

from nuwrap.cli.arguments import say
from nuwrap.cli.finding import find_thing
from nuwrap.cli.nuclio import notes, plan_deployment, plan_launch
from nuwrap.errors import PlatformError, UsageError
from nuwrap.plan.nuclio import INLINE_BYTES
from nuwrap.runs.order import function_of
from nuwrap.sdk import context
from nuwrap.sdk.functions import Function
from nuwrap.spec.document import dump_document
from nuwrap.spec.function import PYTHON_VERSIONS
from nuwrap.spec.function_file import FunctionFile
from nuwrap.spec.images import nuclio_image
from nuwrap.spec.run_values import make_run_values
from nuwrap.store.config import read_config
from nuwrap_runtime import __version__

HEAD = "# For `nuctl deploy --file`: it runs {image}, and builds nothing.\n"


def export_for_nuclio(text: str, project: str, output: str, *, as_json: bool) -> int:
    """Write the function that the text names, with an image of ours; print where.

    Raises UsageError for what is no function, for code that no container can reach, and for code that is too large for
    a document; PlatformError when the file cannot be written.
    """
    thing = find_thing(text, project) if text else None
    ctx = context.current()
    record = ctx.store.get_function(thing.project, thing.name, thing.id) if isinstance(thing, Function) else None
    if record is None:
        raise UsageError("--nuclio writes functions; name one")
    file = FunctionFile(function_of(record), Path(record.folder or os.getcwd(), "function.yaml"))
    values = make_run_values("serve", {}, origin=f"the run of {record.name!r}")
    launch = plan_launch(file, values)
    image = nuclio_image(
        read_config(ctx.home).build.images_registry, __version__, PYTHON_VERSIONS[file.function.python_version]
    )
    deployment = plan_deployment(file, values, launch, image)
    if not deployment.embedded:
        raise UsageError(
            f"the launch document of {record.name!r} has more than {INLINE_BYTES} bytes, which one document cannot "
            "hold; name an address as code_src, or use `nuwrap nuclio`"
        )
    for one in notes(file, launch, image=image):
        say(one)
    path = os.path.abspath(output or f"nuclio-{deployment.document['metadata']['name']}.yaml")
    try:
        Path(path).write_text(HEAD.format(image=image) + dump_document(deployment.document), encoding="utf-8")
    except OSError as exc:
        raise PlatformError(f"cannot write {path!r}: {exc.strerror}") from exc
    print(json.dumps({"path": path}) if as_json else path, flush=True)
    return 0
