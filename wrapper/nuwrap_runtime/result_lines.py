"""The whole result document in a log: how it comes to who follows a run whose files nobody keeps.

    nuwrap-result: 1/2 DIGEST TEXT

TEXT is a part of the document, packed by zlib, as base64: container runtimes cut lines at 16 KiB, the kubelet turns a
log over at 10 MiB, and results have 8 MiB at most. DIGEST is the same on all lines of a document.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn, Optional

from nuwrap_runtime.result import DOCUMENT_BYTES, SCHEMA
from nuwrap_runtime.schema import faults

VARIABLE = "NUWRAP_RESULT_LINES"
MARK = "nuwrap-result: "
# Around what is kept in `log/` too; the end tells how much stands between the two.
LOG_FOLDER = "log"
LOG_PART = re.compile(r"[0-9]{6}\.log")  # in this order; another file there is not ours
LOG_MARK = "nuwrap-log: "
LOG_BEGINS, LOG_ENDS = f"{LOG_MARK}begins", f"{LOG_MARK}{{}} lines, {{}} bytes"
LINE_CHARACTERS = 8000
PACKED_CHARACTERS = 32 * 1024 * 1024
_LINE = re.compile(rf"{MARK}([1-9]\d{{0,4}})/([1-9]\d{{0,4}}) ([0-9a-f]{{32}}) ([A-Za-z0-9+/=]{{1,{LINE_CHARACTERS}}})")


def result_lines(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield a document's lines, in order, without line breaks. Raises ValueError for a number that JSON has not."""
    packed = zlib.compress(
        json.dumps(document, ensure_ascii=False, allow_nan=False).encode("utf-8", "backslashreplace")
    )
    digest, text = _digest(packed), base64.b64encode(packed).decode("ascii")
    parts = [text[at : at + LINE_CHARACTERS] for at in range(0, len(text), LINE_CHARACTERS)]
    for number, part in enumerate(parts, 1):
        yield f"{MARK}{number}/{len(parts)} {digest} {part}"


def take_result_lines(text: str) -> tuple[str, Optional[dict[str, Any]]]:
    """Return the log without its result lines, and the document that they hold; see `read_result_lines`.

    A log's time stamps must be gone before, and what hides secrets must come after: the lines hold none.
    """
    lines = text.split("\n")
    found = [line for line in lines if line.startswith(MARK)]
    if not found:
        return text, None
    return "\n".join(line for line in lines if not line.startswith(MARK)), read_result_lines(found)


def read_result_lines(lines: Iterable[str]) -> Optional[dict[str, Any]]:
    """Return the last document that is whole and of the schema, None when there is none.

    The host prints it after the function's processes have ended, so a whole document of the host is the last one. A
    function can print such lines too, as it can write to the termination log and to its results: what a document says
    is the run's own word, good for results and failure and no proof of anything. How the run ended the platform knows
    by the exit code; which run it is, and what of the addresses in it may be used, is for the caller to check.
    """
    groups: dict[tuple[str, int], dict[int, str]] = {}
    size = 0
    for line in lines:
        match = _LINE.fullmatch(line.rstrip("\r"))
        if not match:
            continue
        number, count, digest, part = int(match[1]), int(match[2]), match[3], match[4]
        size += len(part)
        while size > PACKED_CHARACTERS and groups:  # the host's come last
            size -= sum(map(len, groups.pop(next(iter(groups))).values()))
        group = groups.pop((digest, count), {})
        size -= len(group.get(number, ""))
        group[number] = part
        groups[digest, count] = group  # the one that was added to last stands last
    for (digest, count), group in reversed(groups.items()):
        document = _unpack([group[number] for number in sorted(group)], digest) if len(group) == count else None
        if document is not None:
            return document
    return None


def _unpack(parts: Sequence[str], digest: str) -> Optional[dict[str, Any]]:
    try:
        packed = base64.b64decode("".join(parts), validate=True)
        if _digest(packed) != digest:
            return None
        unpacking = zlib.decompressobj()
        text = unpacking.decompress(packed, DOCUMENT_BYTES)
        if unpacking.unconsumed_tail or not unpacking.eof:
            return None
        document = json.loads(text, parse_constant=_refuse)
        return document if not faults(document, SCHEMA) else None
    except (ValueError, binascii.Error, zlib.error, RecursionError):
        return None


def _digest(packed: bytes) -> str:
    return hashlib.sha256(packed).hexdigest()[:32]


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")
