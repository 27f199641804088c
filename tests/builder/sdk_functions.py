"""Functions as the SDK's tests make them: of this Python, in project `p`, run here and waited for."""

from __future__ import annotations

import sys
from typing import Any

VERSION = "PYTHON{}_{}".format(*sys.version_info)


def make(dh: Any, code: Any = None, handler: str = "f", name: str = "fn", **fields: Any) -> Any:
    given = {"python_version": VERSION, "handler": handler, **({} if code is None else {"code": code}), **fields}
    return dh.new_function("p", name, "python", **given)


def run(dh: Any, code: Any = None, handler: str = "f", **values: Any) -> Any:
    """Make the function and run it as a job to its end."""
    return make(dh, code, handler).run("job", local_execution=True, log_info=False, **values)


def completed(dh: Any, code: Any = None, handler: str = "f", **values: Any) -> Any:
    """As `run`, of one that must complete."""
    done = run(dh, code, handler, **values)
    assert done.state == "COMPLETED", done.logs()
    return done
