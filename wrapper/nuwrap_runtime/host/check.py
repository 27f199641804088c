"""Load the function as a job would and print its signature; nothing of it is called."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping

from nuwrap_runtime.host.prepare import prepare
from nuwrap_runtime.host.report import Report
from nuwrap_runtime.host.workers import Worker, WorkerEnded
from nuwrap_runtime.host.workspace import Workspace, socket_folder
from nuwrap_runtime.launch import Launch
from nuwrap_runtime.worker.protocol import make_event


def check(launch: Launch, workspace: Workspace, environ: Mapping[str, str], report: Report) -> int:
    """Print the signature as one JSON line and return 0, else say why it cannot be loaded and return that exit code.

    What the user's module prints while it loads goes to standard error: standard output is the JSON's alone.
    """
    prepared = prepare(launch, workspace, environ, report, mode="check")
    with socket_folder() as folder:
        worker = Worker(prepared, folder, on_log=report.log, stdout=sys.stderr.fileno())
        try:
            worker.wait_started()
            reply = worker.ask(make_event())
        except WorkerEnded as exc:
            report.error(f"{exc.failure.type}: {exc.failure.message}")
            return exc.exit_code
        finally:
            worker.close()
    print(json.dumps({**json.loads(reply.body), "revision": prepared.revision}))
    return 0
