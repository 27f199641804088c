"""Our templates: where they are, and what they come to. The toolkit's one user of jinja2."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def templates_dir() -> Path:
    """Return the folder of our templates: in the package, else (an editable install has no copy) in the checkout."""
    inside = Path(__file__).parents[1] / "templates"
    return inside if inside.is_dir() else Path(__file__).parents[3] / "templates"


def template_text(name: str) -> str:
    """Return the template as it is, for who wants to know whether it has changed."""
    return (templates_dir() / name).read_text("utf-8")


def render(
    name: str,
    values: Mapping[str, Any],
    *,
    check: Callable[[Any], Any] = lambda value: value,
    quoted: Callable[[str], str] = json.dumps,
) -> str:
    """Return the template with the values. `check` sees every value that is written, and may refuse it."""
    return str(_environment(check, quoted).get_template(name).render(values))


@cache
def _environment(check: Callable[[Any], Any], quoted: Callable[[str], str]) -> Environment:
    environment = Environment(  # noqa: S701 - neither a Dockerfile nor a manifest is HTML
        loader=FileSystemLoader(templates_dir()),
        undefined=StrictUndefined,
        finalize=check,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(quoted=quoted, json=_as_json)
    return environment


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
