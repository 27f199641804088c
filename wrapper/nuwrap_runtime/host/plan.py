"""What a start would do, and what it would use again, told without doing it: nothing is fetched, made or installed."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Callable

from nuwrap_runtime.errors import NuwrapError, PlatformError
from nuwrap_runtime.host import image, index, prepare
from nuwrap_runtime.host.addresses import shown
from nuwrap_runtime.host.cache import planned_folder
from nuwrap_runtime.host.environments import Place
from nuwrap_runtime.host.inputs import check_inputs, wanted
from nuwrap_runtime.host.interpreter import find_interpreter, probe
from nuwrap_runtime.host.source_cache import SourceCache, cache_bytes
from nuwrap_runtime.host.sources import kept, parse_source
from nuwrap_runtime.host.tree import find_tree
from nuwrap_runtime.launch import Launch

Part = Callable[[Launch, Mapping[str, str], str], dict[str, Any]]


def tell_plan(launch: Launch, environ: Mapping[str, str]) -> int:
    """Print the plan as one JSON line and return the exit code that a start would end with before it begins, else 0.

    `source`, `inputs` and `environment` are each what was found, or `{"error", "exit_code"}`. `is_set_up` tells that
    nuwrap's own packages are in the cache.
    """
    cache = planned_folder(environ)
    told = {name: _try(part, launch, environ, cache) for name, part in PARTS.items()}
    document = {"cache": cache, "is_set_up": bool(find_tree(environ)), **told, "launch": show_launch(launch)}
    print(json.dumps(document))
    return next((int(one["exit_code"]) for one in told.values() if "error" in one), 0)


def show_launch(launch: Launch) -> dict[str, Any]:
    """Return the launch document without the logins that addresses may hold."""
    entities = {key: {**one, "path": shown(str(one["path"]))} for key, one in launch.entities.items()}
    network = replace(
        launch.network,
        index=tuple(index.hide(one) for one in launch.network.index),
        proxies={scheme: index.hide(one) for scheme, one in launch.network.proxies.items()},
    )
    lines = tuple(index.hide(line) for line in launch.requirements)
    code_src = shown(launch.code_src)
    return replace(launch, code_src=code_src, entities=entities, network=network, requirements=lines).to_document()


def _try(part: Part, launch: Launch, environ: Mapping[str, str], cache: str) -> dict[str, Any]:
    try:
        return part(launch, environ, cache)
    except NuwrapError as exc:
        return {"error": str(exc), "exit_code": exc.exit_code}


def _inputs(launch: Launch, environ: Mapping[str, str], cache: str) -> dict[str, Any]:
    """Return where each input lies, and whether it comes from there before the start."""
    del environ, cache
    check_inputs(launch)
    fetched = wanted(launch)
    return {
        name: {"path": shown(str(launch.entities[key]["path"])), "is_fetched": key in fetched}
        for name, key in launch.inputs.items()
    }


def _environment(launch: Launch, environ: Mapping[str, str], cache: str) -> dict[str, Any]:
    """Return the interpreter, and where the requirements are found or put.

    `from` is `interpreter` when that has all of them, `kept` for an environment from before, `new` for one to be made,
    with what the interpreter `lacks`. `installed` are the packages, where they are known.
    """
    executable = find_interpreter(launch.python, environ)
    told: dict[str, Any] = {"python": executable, "from": "interpreter", "installed": []}
    if not launch.requirements:
        return told
    baked = image.find_packages(launch, environ)
    if baked:
        return {**told, "installed": list(baked.requirements)}
    try:
        from nuwrap_runtime.host.requirements import check_requirements, find_serving, request_key, unsatisfied

        requirements = check_requirements(launch.requirements)
        base = probe(executable, "", environ)
        found = find_serving(launch, base, Place(os.path.join(cache, "envs"), request_key(launch, base, environ)))
        if found:
            where = "kept" if found.installed else "interpreter"
            return {"python": found.python, "from": where, "installed": list(found.requirements)}
        lacks = list(dict.fromkeys(unsatisfied(requirements, base)))
    except ImportError as exc:
        raise PlatformError("nuwrap's own packages are not set up yet; any start does that, once") from exc
    return {**told, "from": "new", "lacks": lacks}


def _source(launch: Launch, environ: Mapping[str, str], cache: str) -> dict[str, Any]:
    """Return the code's address and how it comes: `written`, `copied` with each start, `fetched`, or from the `image`.

    `kept` are the revisions of it in the cache. A start uses one when its server says that it is the right one.
    """
    told = {"address": prepare.describe_source(launch), "how": "written", "kept": []}
    baked = image.serving_code(launch, environ, lambda _text: None)
    if baked:
        return {**told, "how": "image", "revision": baked.revision}
    if not launch.code_src:
        return told
    source, most = parse_source(launch), cache_bytes(environ)
    told["kept"] = kept(source, SourceCache(os.path.join(cache, "sources") if most else "", most))
    return {**told, "how": "fetched" if source.scheme else "copied"}


PARTS: Mapping[str, Part] = {"inputs": _inputs, "environment": _environment, "source": _source}
