"""Builds for tests: an order from the lines of a Dockerfile, and a process that carries one out and can be stopped."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from nuwrap.engines import Order, get_engine
from nuwrap.errors import BuildError
from nuwrap.plan.dockerfile import read_steps
from nuwrap.spec.build import BuildPlan, BuildSettings, Built, Event, RegistryAccess


def make_order(
    folder: Path,
    lines: Sequence[str],
    *,
    destinations: Sequence[str],
    environ: Mapping[str, str],
    files: Mapping[str, str] | None = None,
    build_args: Mapping[str, str] | None = None,
    **more: Any,
) -> Order:
    """Write Dockerfile and context into a new folder of `folder`; the steps' keys are the comments between the lines.

    `secrets` of an order are those of its plan too. Without `files` there is code that no other order has: Docker
    knows the same content by one id, and another test may remove it.
    """
    folder = Path(tempfile.mkdtemp(dir=folder))
    dockerfile = "\n".join(lines) + "\n"
    (folder / "Dockerfile").write_text(dockerfile)
    for name, text in (files or {"code/main.py": f"# {folder}\n"}).items():
        (folder / "context" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "context" / name).write_text(text)
    name, _, tag = destinations[0].rpartition(":")
    plan = BuildPlan(
        dockerfile=dockerfile,
        steps=read_steps(dockerfile),
        files=(),
        labels={},
        name=name,
        tag=tag,
        content="sha256:0",
        inputs={},
        build_args=build_args or {},
        secrets=tuple(more.get("secrets", ())),
    )
    return Order(
        plan=plan,
        context=str(folder / "context"),
        dockerfile=str(folder / "Dockerfile"),
        destinations=tuple(destinations),
        environ=environ,
        **{"settings": BuildSettings(retries=0), **more},
    )


def build(engine: str, order: Order) -> tuple[Built, list[Event]]:
    """Carry the order out and return what was told meanwhile too."""
    events: list[Event] = []
    return get_engine(engine).build(order, report=events.append), events


def stoppable_argv(engine: str, order: Order, folder: Path) -> list[str]:
    """Return a program that carries the order out: it prints the class of its failure, and `built` without one."""
    plan = {key: value for key, value in asdict(order.plan).items() if key not in ("steps", "files")}
    document = {
        "engine": engine,
        "plan": plan,
        "settings": asdict(order.settings),
        **{key: getattr(order, key) for key in ("context", "dockerfile", "destinations", "push", "timeout_s")},
    }
    path = folder / "order.json"
    path.write_text(json.dumps(document))
    return [sys.executable, __file__, str(path)]


def main(path: str) -> None:
    document = json.loads(Path(path).read_text())
    engine = document.pop("engine")
    settings = document.pop("settings")
    settings["access"] = RegistryAccess(**settings["access"])
    plan = BuildPlan(steps=(), files=(), **document.pop("plan"))
    order = Order(
        plan=replace(plan, steps=read_steps(plan.dockerfile)),
        settings=BuildSettings(**settings),
        environ=dict(os.environ),
        log=(2,),
        **document,
    )
    try:
        get_engine(engine).build(order, report=lambda event: print(event.kind, event.text, file=sys.stderr, flush=True))
    except BuildError as exc:
        print(exc.kind, flush=True)
        print(exc, file=sys.stderr)
    else:
        print("built", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
