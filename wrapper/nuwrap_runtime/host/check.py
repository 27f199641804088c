"""Load the function as a job would and print its signature; nothing of it is called."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping

from nuwrap_runtime.errors import LoadError
from nuwrap_runtime.host.endings import WorkerEnded
from nuwrap_runtime.host.prepare import prepare
from nuwrap_runtime.host.report import Report
from nuwrap_runtime.host.workers import Worker
from nuwrap_runtime.host.workspace import Workspace, socket_folder
from nuwrap_runtime.launch import Launch
from nuwrap_runtime.worker.protocol import ProtocolError, make_event


def check(launch: Launch, workspace: Workspace, environ: Mapping[str, str], report: Report) -> int:
    """Print the signature as one JSON line and return 0, else say why it cannot be loaded and return that exit code.

    What the user's module prints while it loads goes to standard error: standard output is the JSON's alone.
    """
    prepared = prepare(launch, workspace, environ, report, mode="check")
    with socket_folder() as folder:
        worker = Worker(prepared, folder, on_log=report.log, stdout=sys.stderr.fileno())
        try:
            worker.wait_started()
            told = json.loads(worker.ask(make_event()).body)
            how = {"how": "image"} if prepared.from_image else {}
            signature = json.dumps({**told, "revision": prepared.revision, **how})
        except WorkerEnded as exc:
            report.error(f"{exc.failure.type}: {exc.failure.message}")
            return exc.exit_code
        except (ProtocolError, ValueError, TypeError, RecursionError) as exc:  # by the user's code, on our socket
            raise LoadError(f"the worker's answer cannot be read: {exc}") from exc
        finally:
            worker.close()
    print(signature)
    return 0
