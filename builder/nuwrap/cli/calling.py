"""`nuwrap invoke`: one request to a service, its answer on standard output."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from nuwrap.cli.finding import find_run
from nuwrap.cli.passing import pass_on
from nuwrap.cli.terminal import tell
from nuwrap.errors import PlatformError, UsageError
from nuwrap.sdk.runs import SHORT_ID, Run
from nuwrap_runtime.schema import show

if TYPE_CHECKING:
    from nuwrap.sdk.invoke import Response

REFUSED, TIMED_OUT = 1, 124
FIRST_BAD_STATUS = 400
READ_BYTES = 64 * 1024
WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # RFC 9110, 5.6.2
VALUE = r"[\t\x20-\x7e\x80-\xff]*"  # RFC 9110, 5.5


@dataclass(frozen=True)
class Call:
    """A request as it was typed; `json_text` and `data` are None when they are not given."""

    path: str = ""
    method: str | None = None
    json_text: str | None = None
    data: str | None = None
    headers: Sequence[str] = ()
    timeout_s: float | None = None


def call_service(text: str, project: str, call: Call) -> int:
    """Send the request, print the answer's body, and return 0 for a status below 400, else 1, its status told.

    Waits until the service is ready. Raises UsageError for what cannot be sent, and PlatformError for a service that
    does not come up or gives no answer; one that takes longer than `timeout_s` is 124.
    """
    run = find_run(text, project, action="serve", going_on=True)
    if run.action != "serve":
        raise UsageError(f"{run!r} is no service; `nuwrap ps` lists those that run, `nuwrap serve` starts one")
    path, headers = _path(call.path), _headers(call.headers)
    if call.json_text is not None:
        _check_json(call)
        headers = {"Content-Type": "application/json", **headers}
    more = {} if call.timeout_s is None else {"timeout": call.timeout_s}
    answer = None
    with _body(call) as data:
        try:
            answer = run.invoke(_method(call), path, data=data, headers=headers, stream=True, **more)
            pass_on(answer.iter_content(READ_BYTES), is_whole=True)
        except OSError as exc:  # as all that requests raises is
            if exc.errno is not None:  # our own output: a reader that has gone, a full disk
                raise
            return _fail(exc, run, call, has_begun=answer is not None)
    return _judge(answer)


def _judge(answer: Response) -> int:
    if answer.status_code < FIRST_BAD_STATUS:
        return 0
    tell(f"nuwrap: {answer.url} answered {answer.status_code} {answer.reason}")
    return REFUSED


def _fail(exc: OSError, run: Run, call: Call, *, has_begun: bool) -> int:
    """Say why there is no whole answer, by the cause below what the client wraps it in."""
    cause: BaseException = exc
    while cause.__cause__ or cause.__context__:
        cause = cause.__cause__ or cause.__context__ or cause
    if isinstance(cause, TimeoutError):
        after = f" after {call.timeout_s:g} s" if call.timeout_s else ""
        tell(f"nuwrap: no answer from {run.url}{after}; --timeout-s N waits longer")
        return TIMED_OUT
    look = f"`nuwrap logs {run.id[:SHORT_ID]}` may say why"
    if has_begun:
        raise PlatformError(f"the answer of {run.url} broke off; {look}") from exc
    raise PlatformError(f"no answer from {run.url}: {cause}; {look}") from exc


def _method(call: Call) -> str | None:
    if call.method is not None and not re.fullmatch(WORD, call.method):
        raise UsageError(f"-X {show(call.method)}: is no method; allowed: a word, as PUT")
    return call.method


def _path(path: str) -> str:
    if "://" in path.partition("?")[0]:
        raise UsageError(f"PATH {path!r}: is an address; allowed: a path of the service, as /items?limit=3")
    return path if path.startswith("/") else f"/{path}"


def _headers(texts: Sequence[str]) -> dict[str, str]:
    """Return the headers; one that is given twice has both values."""
    found: dict[str, str] = {}
    for text in texts:
        name, colon, value = (part.strip() for part in text.partition(":"))
        if not (colon and re.fullmatch(WORD, name) and re.fullmatch(VALUE, value)):
            raise UsageError(f"-H {show(text)}: is no header; allowed: 'Name: value', one line of Latin characters")
        name = name.title()
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def _check_json(call: Call) -> None:
    if call.data is not None:
        raise UsageError("--json and --data are both given; allowed: one of them")
    try:
        json.loads(call.json_text or "")
    except ValueError as exc:
        raise UsageError(f"--json {show(call.json_text)}: is no JSON ({exc}); --data sends any text") from exc


@contextmanager
def _body(call: Call) -> Iterator[bytes | IO[bytes] | None]:
    """Give the request's body: the text, or with `@FILE` the open file, `@-` for standard input."""
    text = call.data if call.json_text is None else call.json_text
    if call.json_text is not None or text is None or not text.startswith("@"):
        yield None if text is None else text.encode("utf-8", "surrogateescape")
    elif text == "@-":
        yield sys.stdin.buffer.read()
    else:
        with _open(text[1:]) as stream:
            yield stream


def _open(path: str) -> IO[bytes]:
    try:
        return open(path, "rb")
    except OSError as exc:
        raise UsageError(
            f"--data {'@' + path!r}: cannot be read: {exc.strerror}; --data sends a text that has no @ first"
        ) from exc
