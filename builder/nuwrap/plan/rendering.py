"""Our templates: where they are, and what they come to. The toolkit's one user of jinja2."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

# Ends of lines, and no characters at all, to who reads YAML; JSON lets them stand in the midst of a text.
_NOT_IN_YAML: Final = re.compile("[\x7f-\x9f\u2028\u2029\ufffe\uffff]")


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
    """Return the value as JSON that is the same value as YAML."""
    text = json.dumps(value, ensure_ascii=False)
    return _NOT_IN_YAML.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
