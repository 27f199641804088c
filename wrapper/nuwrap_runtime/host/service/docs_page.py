"""The service's page for people, from its OpenAPI document. Pure: mapping in, HTML out; no script, no outside file.

All that comes from the function is escaped; POLICY is the page's Content-Security-Policy, which allows its one style.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shlex
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any
from urllib.parse import quote, urlencode

from nuwrap_runtime.host.service.openapi import EVENTS, JSON, kinds
from nuwrap_runtime.schema import Schema

STYLE = """
:root{color-scheme:light dark;--ink:#1c2128;--soft:#5b6573;--line:#dfe3e8;
--back:#fff;--raised:#f5f7f9;--mark:#0b62c4;--must:#a8480b}
@media (prefers-color-scheme:dark){:root{--ink:#e4e8ee;--soft:#9aa5b3;--line:#2f3742;
--back:#14181d;--raised:#1c2229;--mark:#6db3ff;--must:#f0a56b}}
*{box-sizing:border-box}
body{margin:0;background:var(--back);color:var(--ink);
font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:50rem;margin:0 auto;padding:2.5rem 1.25rem 4rem}
header{border-bottom:1px solid var(--line);padding-bottom:1.25rem}
h1{font-size:1.9rem;line-height:1.2;margin:0 0 .4rem;overflow-wrap:anywhere}
h2{font-size:1.1rem;margin:2.25rem 0 .6rem}
h3{font-size:.9rem;font-weight:600;color:var(--soft);margin:1.1rem 0 .35rem}
p{margin:.6rem 0;overflow-wrap:anywhere}
.soft,.soft code{color:var(--soft)}
.lead{font-size:1.1rem;margin-top:1.25rem}
.text{white-space:pre-wrap}
code,pre{font:.875em/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
pre{background:var(--raised);border:1px solid var(--line);border-radius:8px;padding:.8rem 1rem;margin:0 0 .5rem;
white-space:pre-wrap;overflow-wrap:anywhere}
a{color:var(--mark)}
nav{display:flex;flex-wrap:wrap;gap:.3rem 1.1rem;margin-top:.9rem}
.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%}
th{text-align:left;white-space:nowrap;font-size:.8rem;font-weight:600;color:var(--soft)}
p:empty{display:none}
th,td{padding:.5rem .9rem .5rem 0;border-bottom:1px solid var(--line);vertical-align:top;overflow-wrap:anywhere}
td:first-child{white-space:nowrap}
.must{color:var(--must);font-weight:600;font-size:.85rem}
footer{margin-top:3rem;color:var(--soft);font-size:.85rem}
@media (max-width:36rem){
thead{display:none}
tr{display:block;padding:.6rem 0;border-bottom:1px solid var(--line)}
td{display:block;border:0;padding:.1rem 0;white-space:normal}
td:empty{display:none}
td:not(:first-child)::before{content:attr(data-name) " ";color:var(--soft);font-size:.8rem}
}
"""
POLICY = "; ".join(
    [
        "default-src 'none'",
        f"style-src 'sha256-{base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()}'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)

_SAME = '<span class="soft">error</span>'
_ERROR = '{"error": "what went wrong", "request_id": "…"}'
_LINKS = ("openapi.json", "metrics", "ready")
_BLANK = re.compile(r"\n[ \t]*\n")
_LINE_CHARACTERS = 72
_SHOWN_CHARACTERS = 120
_SHOWN_CHOICES = 20
_TYPES = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "object": "object",
    "array": "list",
    "null": "null",
}
_FORMATS = {"date-time": "date and time", "date": "date", "time": "time of day"}


def docs_page(document: Mapping[str, Any]) -> bytes:
    """Return the page of a document that `openapi_document` made."""
    info, path = document["info"], document["paths"]["/"]
    title = escape(info["title"])
    parts = [
        *_head(info, document.get("x-nuwrap-project", "")),
        *_calls(document, path),
        *_arguments(path),
        *_answers(document, path),
    ]
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{title}</title><style>{STYLE}</style></head><body><main>",
            *parts,
            f"<footer>Served by nuwrap {escape(info['version'])}</footer>",
            "</main></body></html>\n",
        ]
    ).encode("utf-8", "replace")


def _head(info: Mapping[str, Any], project: str) -> Iterator[str]:
    yield f"<header><h1>{escape(info['title'])}</h1>"
    if project:
        yield f'<p class="soft">in project {escape(project)}</p>'
    yield "<nav>" + "".join(f'<a href="{name}">/{name}</a>' for name in _LINKS) + "</nav></header>"
    first, *rest = _BLANK.split(info.get("description", ""))
    yield f'<p class="lead">{escape(" ".join(first.split()))}</p>'
    yield from map(_block, rest)


def _block(text: str) -> str:
    """Return one block of a docstring: lines that are indented or listed stay, others flow."""
    lines = text.splitlines()
    if any(line.startswith((" ", "\t", ">>>")) for line in lines):
        return f"<pre>{escape(textwrap.dedent(text))}</pre>"
    kept = any(line.startswith(("-", "*", ":", "#")) for line in lines)
    return f'<p class="text">{escape(text if kept else " ".join(lines))}</p>'


def commands(document: Mapping[str, Any]) -> dict[str, str]:
    """Return a line of curl for each way to call the function, by method: POST always, GET where a query can do it."""
    path: Mapping[str, Any] = document["paths"]["/"]
    servers = document.get("servers")
    address = (servers[0]["url"] if servers else "http://localhost:8080").rstrip("/") + "/"
    is_stream = EVENTS in _contents(path["post"]["responses"].get("200", {}))
    curl = "curl -N" if is_stream else "curl"  # chunks as they come
    found = {"GET": f"{curl} {shlex.quote(address + _query(_json_body(path['post'])))}"} if "get" in path else {}
    return {**found, "POST": f"{curl} {shlex.quote(address)} {_data(path['post'])}"}


def _calls(document: Mapping[str, Any], path: Mapping[str, Any]) -> Iterator[str]:
    yield "<h2>Call it</h2>"
    for method, command in commands(document).items():
        yield f"<h3>{method}</h3><pre>{escape(command)}</pre>"
    yield f'<p class="soft">{escape(path["post"].get("description", ""))}</p>'


def _contents(holder: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = holder.get("content", {})
    return found


def _json_body(operation: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return schema and example of the body; {} when it is not one of names."""
    found: Mapping[str, Any] = _contents(operation.get("requestBody", {})).get(JSON, {})
    return found


def _query(body: Mapping[str, Any]) -> str:
    """Return the query of an example: what is required, all where nothing is."""
    required = body.get("schema", {}).get("required", ())
    example = {name: one for name, one in body.get("example", {}).items() if one is not None}
    given = {name: _query_text(one) for name, one in example.items() if not required or name in required}
    return "?" + urlencode(given, quote_via=quote, safe=",:") if given else ""


def _query_text(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(one, str) and "," not in one for one in value):
        return ",".join(value)
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _data(operation: Mapping[str, Any]) -> str:
    if "requestBody" not in operation:
        return "-X POST"
    body = _json_body(operation)
    if not body:
        return "-d 'any body'"
    text = _dump(body["example"])
    if len(text) > _LINE_CHARACTERS:
        lines = (f"{_dump(name)}: {_dump(value)}" for name, value in body["example"].items())
        text = "{\n    " + ",\n    ".join(lines) + "}"
    return f"-H 'Content-Type: application/json' \\\n  -d {shlex.quote(text)}"


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _arguments(path: Mapping[str, Any]) -> Iterator[str]:
    schema = _json_body(path["post"]).get("schema", {})
    if not schema.get("properties"):
        return
    required = schema.get("required", ())
    yield "<h2>Arguments</h2>"
    rows = [_argument(name, one, is_required=name in required) for name, one in schema["properties"].items()]
    yield from _table(("name", "type", "default", "allowed"), rows)


def _argument(name: str, schema: Schema, *, is_required: bool) -> Sequence[str]:
    if is_required:
        default = '<span class="must">required</span>'
    else:
        default = _code(schema["default"]) if "default" in schema else '<span class="soft">optional</span>'
    choices = _choices(schema)
    allowed = ", ".join(map(_code, choices[:_SHOWN_CHOICES])) + (" …" if len(choices) > _SHOWN_CHOICES else "")
    note = f'<br><span class="soft">{escape(schema["description"])}</span>' if "description" in schema else ""
    return f"<code>{escape(name)}</code>", escape(_type_text(schema)) + note, default, allowed


def _choices(schema: Schema) -> list[Any]:
    """Return the values that a parameter is one of, its alternatives' too."""
    own = list(schema.get("enum", [schema["const"]] if "const" in schema else []))
    return own + [value for one in _alternatives(schema) for value in _choices(one)]


def _alternatives(schema: Schema) -> list[Schema]:
    return [*schema.get("anyOf", ()), *schema.get("oneOf", ())]


def _type_text(schema: Schema) -> str:
    """Return the schema's type in words."""
    alternatives = _alternatives(schema)
    if alternatives and "type" not in schema:
        return " or ".join(dict.fromkeys(map(_type_text, alternatives)))
    if schema.get("format") in _FORMATS:
        return _FORMATS[schema["format"]]
    named = sorted(kinds(schema), key=list(_TYPES).index)
    words = [_TYPES[one] for one in named]
    if "array" in named and schema.get("items"):
        words[named.index("array")] += f" of {_type_text(schema['items'])}"
    return " or ".join(words) or "anything"


def _code(value: Any) -> str:
    text = _dump(value)
    cut = text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + " …"
    return f"<code>{escape(cut)}</code>"


def _answers(document: Mapping[str, Any], path: Mapping[str, Any]) -> Iterator[str]:
    rows = []
    for status, one in path["post"]["responses"].items():
        answer = _resolve(one, document)
        code = "any" if status == "default" else status
        body = _SAME if "$ref" in one else _bodies(answer)
        rows.append((f"<code>{escape(code)}</code>", escape(answer["description"]), body))
    yield "<h2>Answers</h2>"
    yield from _table(("status", "meaning", "body"), rows)
    yield f'<p class="soft">An error is JSON: <code>{escape(_ERROR)}</code></p>'


def _bodies(answer: Mapping[str, Any]) -> str:
    found = []
    for content_type, media in _contents(answer).items():
        words = f" {escape(_type_text(media['schema']))}" if media.get("schema") else ""
        found.append(f"<code>{escape(content_type)}</code>{words}")
    return "<br>".join(found)


def _resolve(value: Mapping[str, Any], document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a reference inside the document stands for."""
    if "$ref" not in value:
        return value
    found: Any = document
    for name in value["$ref"].lstrip("#/").split("/"):
        found = found[name]
    return dict(found)


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield a table; the cells are HTML."""
    yield '<div class="wide"><table><thead><tr>'
    yield "".join(f"<th>{name}</th>" for name in names) + "</tr></thead><tbody>"
    for row in rows:
        cells = (f'<td data-name="{name}">{cell}</td>' for name, cell in zip(names, row))
        yield f"<tr>{''.join(cells)}</tr>"
    yield "</tbody></table></div>"
