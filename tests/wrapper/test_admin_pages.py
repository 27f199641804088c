"""The second port's pages: which status and body each has, before the service is ready and after."""

from __future__ import annotations

import base64
import hashlib
import json
import shlex
from collections.abc import Mapping
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any, Optional
from urllib.parse import parse_qs, urlsplit

import pytest

from nuwrap_runtime.host.service.admin import Page, Status, admin_page
from nuwrap_runtime.host.service.docs_page import docs_page
from nuwrap_runtime.host.service.openapi import openapi_document

READY = Status(
    is_ready=True,
    phase="ready",
    reason="",
    seconds=3.0,
    description={
        "name": "add",
        "text": "Add two numbers.\n\nThe second\nis optional.\n\n    add(1)",
        "kind": "sync",
        "binding": "names",
        "parameters": [
            {"name": "a", "kind": "positional_or_keyword", "schema": {"type": "integer"}, "required": True},
            {"name": "b", "schema": {"enum": ["x y", "it's"]}, "default": "it's", "required": False},
            {"name": "c", "schema": {"type": "array", "items": {"type": "string"}}, "required": True},
        ],
        "returns_schema": {"type": "integer"},
    },
    metrics=lambda: b"nuwrap_ready 1.0\n",
    function="add",
    project="sums",
    address="http://127.0.0.1:8080",
    version="0.1.0",
)
WAITING = replace(READY, is_ready=False, phase="requirements", reason="installing", seconds=1.23456, description=None)
EVIL = "</td></table><script>alert(1)</script><b a='\"&"


class Reader(HTMLParser):
    """Collects the page's tags, its links, its texts and the contents of `pre`."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, Optional[str]]] = []
        self.pre: list[str] = []
        self.text = ""
        self.is_in_pre = False
        self.feed(page.decode("utf-8"))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, Optional[str]]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag == "pre":
            self.is_in_pre = True
            self.pre.append("")

    def handle_endtag(self, tag: str) -> None:
        self.is_in_pre = self.is_in_pre and tag != "pre"

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.is_in_pre:
            self.pre[-1] += data


def get(path: str, status: Status = READY, method: str = "GET") -> Page:
    return admin_page(method, path, status)


def page_of(description: Mapping[str, Any], **names: str) -> Reader:
    told = {"function": "f", "project": "p", "address": "http://h:1", "version": "1", **names}
    return Reader(docs_page(openapi_document(description, **told)))


def command_of(text: str) -> list[str]:
    """Return the arguments of a line of curl, as a shell reads it."""
    return shlex.split(text.replace("\\\n", " "))


def test_ready_is_200_when_the_service_is_ready() -> None:
    page = get("/ready")
    assert (page.status, json.loads(page.body), page.content_type) == (200, {"ready": True}, "application/json")


def test_before_that_ready_says_which_phase_why_and_how_long() -> None:
    page = get("/ready", WAITING)
    assert (page.status, page.headers["Retry-After"]) == (503, "1")
    assert json.loads(page.body) == {
        "ready": False,
        "phase": "requirements",
        "reason": "installing",
        "seconds": 1.235,
    }


@pytest.mark.parametrize("status", [READY, WAITING], ids=["ready", "waiting"])
def test_live_is_200_whatever_the_function_does(status: Status) -> None:
    assert get("/live", status).status == 200


@pytest.mark.parametrize("status", [READY, WAITING], ids=["ready", "waiting"])
def test_metrics_are_there_from_the_start(status: Status) -> None:
    page = get("/metrics", status)
    assert (page.status, page.body) == (200, b"nuwrap_ready 1.0\n")
    assert page.content_type.startswith("text/plain; version=0.0.4")


@pytest.mark.parametrize("path", ["/openapi.json", "/docs"])
def test_a_function_that_is_not_loaded_has_no_description(path: str) -> None:
    page = get(path, WAITING)
    assert (page.status, json.loads(page.body)["phase"]) == (503, "requirements")


@pytest.mark.parametrize("path", ["/openapi.json", "/docs"])
def test_a_description_stays_while_workers_are_replaced(path: str) -> None:
    assert get(path, replace(READY, is_ready=False, phase="stopping")).status == 200


def test_the_document_names_function_and_address() -> None:
    document = json.loads(get("/openapi.json").body)
    assert (document["info"]["title"], document["servers"]) == ("add", [{"url": "http://127.0.0.1:8080"}])


def test_the_root_leads_to_the_docs() -> None:
    page = get("/")
    assert (page.status, page.headers["Location"]) == (302, "/docs")


def test_another_path_is_404_and_names_what_there_is() -> None:
    page = get("/nothing")
    assert page.status == 404
    assert json.loads(page.body)["paths"] == ["/", "/ready", "/live", "/metrics", "/openapi.json", "/docs"]


def test_a_query_changes_nothing() -> None:
    assert get("/ready?verbose=1").status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "get"])
def test_another_method_is_405_and_names_what_is_allowed(method: str) -> None:
    page = get("/ready", method=method)
    assert (page.status, page.headers["Allow"]) == (405, "GET, HEAD")


def test_head_has_the_page_of_get() -> None:
    assert get("/docs", method="HEAD") == get("/docs")


@pytest.mark.parametrize("path", ["/", "/ready", "/live", "/metrics", "/openapi.json", "/docs", "/nothing"])
@pytest.mark.parametrize("status", [READY, WAITING], ids=["ready", "waiting"])
def test_no_page_is_kept(path: str, status: Status) -> None:
    assert get(path, status).headers["Cache-Control"] == "no-store"


def test_the_pages_policy_allows_its_style_and_nothing_else() -> None:
    page = get("/docs")
    style = page.body.decode().partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = page.headers["Content-Security-Policy"]
    assert f"style-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")


def test_the_page_loads_nothing() -> None:
    reader = Reader(get("/docs").body)
    assert not {"script", "link", "img", "iframe", "form"} & set(reader.tags)
    links = [value for name, value in reader.attributes if name in ("href", "src", "style")]
    assert links == ["openapi.json", "metrics", "ready"]


def test_the_page_says_each_parameter_in_words() -> None:
    reader = Reader(get("/docs").body)
    for text in ("whole number", "list of text", "required", '"it\'s"', '"x y"', "The second is optional."):
        assert text in reader.text
    assert "add(1)" in reader.pre


def test_the_lines_of_curl_are_what_a_shell_needs() -> None:
    _, first, second = Reader(get("/docs").body).pre
    address = urlsplit(command_of(first)[1])
    body = command_of(second)
    assert parse_qs(address.query) == {"a": ["1"], "c": ["text"]}
    assert body[:4] == ["curl", "http://127.0.0.1:8080/", "-H", "Content-Type: application/json"]
    assert json.loads(body[5]) == {"a": 1, "b": "it's", "c": ["text"]}


def test_an_example_of_many_values_has_a_line_each() -> None:
    names = [{"name": f"parameter_{n}", "schema": {"type": "string"}, "required": True} for n in range(9)]
    line = page_of({"binding": "names", "parameters": names}).pre[1]
    assert line.count("\n") == 10
    assert json.loads(command_of(line)[5]) == {f"parameter_{n}": "text" for n in range(9)}


def test_a_stream_is_read_without_a_buffer() -> None:
    assert page_of({"binding": "names", "kind": "generator"}).pre[0].startswith("curl -N ")


def test_an_opaque_handler_gets_any_body() -> None:
    assert page_of({"binding": "nuclio"}).pre == ["curl http://h:1/", "curl http://h:1/ -d 'any body'"]


def test_nothing_of_the_functions_is_html() -> None:
    hostile = {
        "name": EVIL,
        "text": f"{EVIL}\n\n    {EVIL}",
        "binding": "names",
        "fixed": [EVIL],
        "parameters": [{"name": EVIL, "schema": {"enum": [EVIL], "description": EVIL}, "default": EVIL}],
        "returns_schema": {"type": "object", "title": EVIL},
    }
    plain = {**hostile, "name": "f", "text": "f\n\n    f", "fixed": ["f"]}
    plain["parameters"] = [{"name": "f", "schema": {"enum": ["f"], "description": "f"}, "default": "f"}]
    reader = page_of(hostile, function=EVIL, project=EVIL, address=f"http://h/{EVIL}", version=EVIL)
    assert reader.tags == page_of(plain).tags
    assert reader.text.count("<script>") >= 8
