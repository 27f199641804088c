"""`nuwrap plan --platform kubernetes`: the objects that a cluster would be given, after it has looked at them."""

from __future__ import annotations

import json
import os
import uuid

from nuwrap.cli.arguments import Options, open_function, run_fields, say, task_fields
from nuwrap.runs.order import plan_objects, stored
from nuwrap.sdk import context
from nuwrap.spec.document import dump_document
from nuwrap.spec.function import has_scheme
from nuwrap.spec.run_values import make_run_values
from nuwrap.store import FunctionRecord
from nuwrap.text import escape


def show_objects_plan(options: Options, action: str) -> int:
    """Print the objects as YAML documents, with `--json` as a list. Values of Secrets are told by their size alone."""
    file = open_function(options)
    function = file.function
    fields = {**run_fields(options), **task_fields(options, taken=()), "platform": options.platform}
    values = make_run_values(action, fields, origin=f"the run of {function.name!r}")
    is_here = function.code_src and not has_scheme(function.code_src)
    folder = str(file.folder) if is_here else os.getcwd()
    record = FunctionRecord(str(uuid.uuid4()), function.project, function.name, stored(function), folder)
    ctx = context.current()
    made = plan_objects(ctx.store, ctx.home, record, values, say=say)
    if options.as_json:
        print(json.dumps(made, indent=1), flush=True)
    else:
        print(escape("---\n".join(dump_document(one) for one in made).rstrip("\n")), flush=True)
    return 0
