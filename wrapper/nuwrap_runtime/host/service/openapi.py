"""The service's OpenAPI 3.1 document, from what a worker says of its function. Pure: mapping in, mapping out.

The description comes from a process that runs the user's code, so nothing of it is trusted: what is missing, unknown or
of a wrong type is left out, and the document is valid all the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Callable, Optional

from nuwrap_runtime.schema import Schema, faults, value_faults

VERSION = "3.1.0"
JSON, TEXT, EVENTS, ANY = "application/json", "text/plain", "text/event-stream", "*/*"

METHODS = ("get", "head", "post", "put", "patch", "delete", "options")
_WITH_BODY = ("post", "put", "patch", "delete")
_RESERVED = ("project", "run", "context", "event")
_EXAMPLE_CHARACTERS = 2000
_TEXT_CHARACTERS = 20_000
_DEPTH = 12

_SCALARS = frozenset({"string", "integer", "number", "boolean", "null"})
_KINDS = _SCALARS | {"array", "object"}
_EXAMPLES: Mapping[str, Any] = {"string": "text", "integer": 1, "number": 1.5, "boolean": True, "object": {}}
_FORMATS = {"date-time": "2026-01-31T09:30:00Z", "date": "2026-01-31", "time": "09:30:00"}

_ERRORS: Mapping[str, tuple[str, str]] = {
    "400": ("Malformed", "What was sent is no HTTP request."),
    "408": ("TooSlow", "The request did not come in time."),
    "413": ("TooLarge", "The body is larger than the service takes."),
    "422": ("Unprocessable", "A value is missing, does not fit, or is fixed by the run; the message names it."),
    "429": ("TooMany", "Too many requests at once; try again after the seconds in Retry-After."),
    "500": ("Failed", "The function raised an exception; its log has more under the request id."),
    "502": ("Broken", "The worker ended, or answered with what is no HTTP answer, while it had the request."),
    "503": ("Unavailable", "No worker is ready; try again after the seconds in Retry-After."),
    "504": ("TimedOut", "The function did not answer within its time."),
}
_RETRY = ("429", "503")


def openapi_document(
    description: Mapping[str, Any], *, function: str, project: str, address: str, version: str
) -> dict[str, Any]:
    """Return the document of the service at `address` (`http://host:port`; "" leaves it out); never raises.

    `description` is what `worker/describe.py` returns, as it came over the socket.
    """
    text = clean_text(description.get("text")) or clean_text(description.get("doc"))
    info = {"title": function or "function", "version": version}
    if text:
        summary = text.splitlines()[0]
        info |= {"summary": summary, **({"description": text} if text != summary else {})}
    is_opaque = description.get("binding") == "nuclio"
    path = _opaque_path(description) if is_opaque else _named_path(description)
    return {
        "openapi": VERSION,
        "info": info,
        **({"servers": [{"url": address}]} if address else {}),
        "paths": {"/": path},
        "components": _components(),
        "x-nuwrap-project": project,
    }


def _named_path(description: Mapping[str, Any]) -> dict[str, Any]:
    parameters = list(_parameters(description))
    responses = {"200": _answer(description), **_errors("400", "408", "413", "422", "429", "500", "502", "503", "504")}
    title, has_any = _title(description), description.get("has_any") is True
    note = _note(description, has_any=has_any)
    post: dict[str, Any] = {"operationId": title, "summary": "Call the function, its arguments in the body", **note}
    if parameters or has_any:
        post["requestBody"] = _body(parameters, has_any=has_any)
    path: dict[str, Any] = {}
    if all(is_flat(one["schema"]) for one in parameters):
        path["get"] = {
            "operationId": f"{title}_get",
            "summary": "Call the function, its arguments in the query",
            **note,
            "parameters": [_in_query(one) for one in parameters] + _others(description, has_any=has_any),
            "responses": responses,
        }
    path["post"] = {**post, "responses": responses}
    return path


def _opaque_path(description: Mapping[str, Any]) -> dict[str, Any]:
    """Return what can be said of a function that takes (context, event): any request, any answer."""
    text = "The function takes the request as it comes: any method, path, query and body. It answers as it likes."
    answer = {"description": "What the function answers.", "content": {ANY: {}}, "headers": _headers()}
    responses = {"default": answer, **_errors("400", "408", "413", "429", "500", "502", "503", "504")}
    path: dict[str, Any] = {}
    for method in METHODS:
        path[method] = {"operationId": f"{_title(description)}_{method}", "description": text, "responses": responses}
        if method in _WITH_BODY:
            path[method]["requestBody"] = {"content": {ANY: {}}}
    return path


def _parameters(description: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield `{"name", "schema", "required"}` of each parameter that a request can give, each name once."""
    seen = {*_fixed(description), *_RESERVED}
    for one in _mappings(description.get("parameters")):
        name = clean_text(one.get("name"))
        if not name or name in seen or not isinstance(one.get("schema"), (Mapping, bool)):
            continue
        if str(one.get("kind")).startswith("var_"):
            continue
        seen.add(name)
        schema = clean_schema(one["schema"])
        is_required = one.get("required") is True
        default = one.get("default")
        if not is_required and "default" in one and not value_faults(default) and fits(default, schema):
            schema = {**schema, "default": default}
        yield {"name": name, "schema": schema, "required": is_required}


def _body(parameters: Sequence[Mapping[str, Any]], *, has_any: bool) -> dict[str, Any]:
    required = [one["name"] for one in parameters if one["required"]]
    schema: dict[str, Any] = {"type": "object", "properties": {one["name"]: one["schema"] for one in parameters}}
    if required:
        schema["required"] = required
    if has_any:
        schema["additionalProperties"] = True
    content = {"schema": schema, "example": _example_body(parameters)}
    return {"required": bool(required), "content": {JSON: content}}


def _example_body(parameters: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return an example of all parameters, or of the required ones where all are too long to read."""
    found = {one["name"]: example(one["schema"]) for one in parameters}
    if len(json.dumps(found)) > _EXAMPLE_CHARACTERS:
        return {one["name"]: found[one["name"]] for one in parameters if one["required"]}
    return found


def _in_query(parameter: Mapping[str, Any]) -> dict[str, Any]:
    found = {**parameter, "in": "query"}
    if "array" in kinds(parameter["schema"]):  # a,b,c in one: a name is read once
        found |= {"style": "form", "explode": False}
    return found


def _others(description: Mapping[str, Any], *, has_any: bool) -> list[dict[str, Any]]:
    """Return the query's form of `**kwargs`: any other names."""
    if not has_any:
        return []
    takers = [one for one in _mappings(description.get("parameters")) if one.get("kind") == "var_keyword"]
    name = "**" + ((clean_text(takers[0].get("name")) if takers else "") or "others")
    schema = {"type": "object", "additionalProperties": True}
    return [{"name": name, "in": "query", "schema": schema, "style": "form", "explode": True}]


def _note(description: Mapping[str, Any], *, has_any: bool) -> dict[str, str]:
    lines = ["An argument comes as a key of the JSON body, else from the query; the body wins."]
    lines += ["Other names are given to the function too."] if has_any else ["Other names are ignored."]
    fixed = _fixed(description)
    if fixed:
        lines.append(f"Fixed by this run, so a request cannot set them: {', '.join(fixed)}.")
    return {"description": " ".join(lines)}


def _answer(description: Mapping[str, Any]) -> dict[str, Any]:
    """Return the answer of status 200: a stream, or what the function returns."""
    if description.get("kind") in ("generator", "asyncgen"):
        chunks = {"schema": {"type": "string", "description": "the chunks, one after the other"}}
        text = "A stream: what the function yields is sent at once, chunk by chunk."
        return {"description": text, "content": {TEXT: chunks, EVENTS: chunks}, "headers": _headers()}
    schema = clean_schema(description.get("returns_schema"))
    content = {name: {"schema": schema} if schema else {} for name in _content_types(schema)}
    return {"description": "What the function returns.", "content": content, "headers": _headers()}


def _content_types(schema: Schema) -> tuple[str, ...]:
    """Return how a value of this schema is sent: objects and lists as JSON, all else as text."""
    found = kinds(schema)
    if found and found <= {"object", "array"}:
        return (JSON,)
    return (JSON, TEXT) if not found or found & {"object", "array"} else (TEXT,)


def _errors(*statuses: str) -> dict[str, dict[str, str]]:
    return {status: {"$ref": f"#/components/responses/{_ERRORS[status][0]}"} for status in statuses}


def _components() -> dict[str, Any]:
    error = {
        "type": "object",
        "required": ["error", "request_id"],
        "properties": {
            "error": {"type": "string", "description": "what went wrong"},
            "request_id": {"type": "string", "description": "the id under which the log has more"},
        },
    }
    content = {JSON: {"schema": {"$ref": "#/components/schemas/Error"}}}
    responses = {}
    for status, (name, text) in _ERRORS.items():
        headers = _headers("RetryAfter") if status in _RETRY else _headers()
        responses[name] = {"description": text, "content": content, "headers": headers}
    headers = {
        "RequestId": {"description": "the request's id: its own X-Request-Id, or one made", "schema": _TEXT_SCHEMA},
        "RetryAfter": {"description": "seconds to wait", "schema": {"type": "integer"}},
    }
    return {"schemas": {"Error": error}, "responses": responses, "headers": headers}


_TEXT_SCHEMA: Schema = {"type": "string"}
_HEADERS = {"RequestId": "X-Request-Id", "RetryAfter": "Retry-After"}


def _headers(*names: str) -> dict[str, Any]:
    return {_HEADERS[name]: {"$ref": f"#/components/headers/{name}"} for name in ("RequestId", *names)}


def _title(description: Mapping[str, Any]) -> str:
    return clean_text(description.get("name")) or "call"


def _fixed(description: Mapping[str, Any]) -> list[str]:
    names = description.get("fixed")
    return [one for one in map(clean_text, names) if one] if isinstance(names, (list, tuple)) else []


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, (list, tuple)) else []


def clean_text(value: Any) -> str:
    """Return the text as UTF-8 can have it, not endless; "" for what is none."""
    if not isinstance(value, str):
        return ""
    return value[:_TEXT_CHARACTERS].encode("utf-8", "replace").decode("utf-8").strip()


def clean_schema(schema: Any, depth: int = 0) -> dict[str, Any]:
    """Return what of the schema is JSON Schema that we know; {} (anything) for what is none, or is too deep."""
    if not isinstance(schema, Mapping) or depth > _DEPTH:
        return {}
    found = {}
    for word, value in schema.items():
        clean = _WORDS.get(word) if isinstance(word, str) else None
        cleaned = clean(value, depth + 1) if clean else None
        if cleaned is not None or (word == "default" and value is None):
            found[word] = cleaned
    if "default" in found and not fits(found["default"], found):
        del found["default"]
    return found


def kinds(schema: Schema) -> set[str]:
    """Return the types that the schema names, its alternatives' too; empty when one of them may be anything."""
    named = schema.get("type")
    if named:
        return {named} if isinstance(named, str) else set(named)
    values = schema.get("enum", [schema["const"]] if "const" in schema else [])
    if values:
        return {_kind_of(one) for one in values}
    alternatives = [kinds(one) for word in ("anyOf", "oneOf") for one in schema.get(word, ())]
    return set().union(*alternatives) if all(alternatives) else set()


def is_flat(schema: Schema) -> bool:
    """Tell whether a query can carry the value: one of text, or a list of such."""
    named = kinds(schema)
    if named <= _SCALARS:
        return True
    branches = [schema, *schema.get("anyOf", ()), *schema.get("oneOf", ())]
    items = [one["items"] for one in branches if "items" in one]
    return named <= _SCALARS | {"array"} and all(kinds(one) <= _SCALARS for one in items)


def fits(value: Any, schema: Schema) -> bool:
    """Tell whether a default is one that the schema allows, as far as its type and its choices say."""
    if "type" in schema and faults(value, {"type": schema["type"]}):
        return False
    alternatives = [*schema.get("anyOf", ()), *schema.get("oneOf", ())]
    is_chosen = "enum" not in schema or value in schema["enum"]
    return is_chosen and (not alternatives or any(fits(value, one) for one in alternatives))


def example(schema: Schema) -> Any:
    """Return a value that fits the schema: its default, its first choice, else one of its type."""
    if schema.get("default") is not None:
        return schema["default"]
    if "enum" in schema:
        return schema["enum"][0]
    if "const" in schema:
        return schema["const"]
    alternatives = [*schema.get("anyOf", ()), *schema.get("oneOf", ())]
    if alternatives:
        return example(next((one for one in alternatives if kinds(one) != {"null"}), alternatives[0]))
    named = kinds(schema) - {"null"} or {"string"}
    kind = min(named, key=[*_EXAMPLES, "array"].index)
    if kind == "array":
        return [example(schema.get("items", {}))]
    return _FORMATS.get(schema.get("format", ""), _EXAMPLES[kind])


def _kind_of(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    pairs = ((str, "string"), (int, "integer"), (float, "number"), (Mapping, "object"), (type(None), "null"))
    return next((kind for python, kind in pairs if isinstance(value, python)), "array")


def _clean_type(value: Any, _depth: int) -> Any:
    names = [value] if isinstance(value, str) else value if isinstance(value, (list, tuple)) else []
    found = list(dict.fromkeys(one for one in names if isinstance(one, str) and one in _KINDS))
    return None if not found else found[0] if len(found) == 1 else found


def _clean_values(value: Any, _depth: int) -> Optional[list[Any]]:
    if not isinstance(value, (list, tuple)) or not value or value_faults(value):
        return None
    return list(value)


def _clean_value(value: Any, _depth: int) -> Any:
    return None if value_faults(value) else value


def _clean_number(value: Any, _depth: int) -> Any:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value if is_number and not value_faults(value) else None


def _clean_size(value: Any, _depth: int) -> Optional[int]:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53 else None


def _clean_flag(value: Any, _depth: int) -> Optional[bool]:
    return value if isinstance(value, bool) else None


def _clean_text(value: Any, _depth: int) -> Optional[str]:
    return clean_text(value) or None


def _clean_inner(value: Any, depth: int) -> Any:
    return value if isinstance(value, bool) else clean_schema(value, depth)


def _clean_item(value: Any, depth: int) -> dict[str, Any]:
    return clean_schema(value, depth)


def _clean_several(value: Any, depth: int) -> Optional[list[Any]]:
    found = [clean_schema(one, depth) for one in _mappings(value)]
    return found or None


def _clean_members(value: Any, depth: int) -> Optional[dict[str, Any]]:
    if not isinstance(value, Mapping):
        return None
    return {clean_text(name): clean_schema(one, depth) for name, one in value.items() if clean_text(name)}


def _clean_names(value: Any, _depth: int) -> Optional[list[str]]:
    names = map(clean_text, value) if isinstance(value, (list, tuple)) else ()
    return list(dict.fromkeys(one for one in names if one)) or None


_Clean = Callable[[Any, int], Any]
_WORDS: Mapping[str, _Clean] = {
    "type": _clean_type,
    "enum": _clean_values,
    "const": _clean_value,
    "default": _clean_value,
    "items": _clean_item,
    "prefixItems": _clean_several,
    "properties": _clean_members,
    "required": _clean_names,
    "additionalProperties": _clean_inner,
    "propertyNames": _clean_item,
    "uniqueItems": _clean_flag,
    **dict.fromkeys(("anyOf", "oneOf", "allOf"), _clean_several),
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), _clean_number),
    **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems"), _clean_size),
    **dict.fromkeys(("title", "description", "format", "contentEncoding"), _clean_text),
}
