"""Results, tables, fields on the terminal. The one user of rich; no text is taken as markup or as a command to it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nuwrap.text import escape
from nuwrap_runtime.result import Failure, Result

CUT = 100
WIDTH = 200  # of a pipe or a file, where paths should stay in one piece
FRAMES = 3
STYLES = {"RUNNING": "blue", "COMPLETED": "green", "ERROR": "red", "STOPPED": "yellow"}


def show_result(
    result: Result, folder: str, console: Console | None = None, *, addresses: Mapping[str, str] | None = None
) -> None:
    """Print outputs, results, metrics, the failure with its last frames, and where it all lies, seen from here.

    `addresses` are those of outputs that are elsewhere, by name: of such a file there is no size.
    """
    console = console or _console()
    place = os.path.relpath(folder)
    table = _table("name", "kind", "value or path", "size")
    for name, output in result.outputs.items():
        path = os.path.join(place, output["path"]) if output["path"] else ""
        address = (addresses or {}).get(name, "")
        size = Text("") if address else _size(path)
        table.add_row(plain(name), plain(output["kind"]), plain(address or path or output.get("key", "")), size)
    for name, value in result.results.items():
        table.add_row(plain(name), Text("result"), plain(cut(value)), Text(""))
    for name, values in result.metrics.items():
        table.add_row(
            plain(name), Text("metric"), plain(cut(values[0] if len(values) == 1 else list(values))), Text("")
        )
    if table.row_count:
        console.print(table)
    if result.failure:
        show_failure(result.failure, console)
    seconds = f" in {result.seconds['total']:.2f} s" if "total" in result.seconds else ""
    console.print(plain(f"{result.state}{seconds}, in {place}/"))


def show_rows(headings: Sequence[str], rows: Sequence[Sequence[str]], summary: str = "") -> None:
    """Print a table, left out when it has no rows, and the line below it, if there is one.

    In a pipe or a file no line is folded, however long it is.
    """
    if rows and sys.stdout.isatty():
        table = _table(*headings)
        for row in rows:
            table.add_row(*(_cell(text) for text in row))
        _console().print(table)
    elif rows:
        head, *lines = _align([headings, *rows], right=[heading == "size" for heading in headings], gap="   ")
        _write([head, "─" * max(map(len, (head, *lines))), *lines])
    if summary:
        show_text(summary)


def show_below(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print an empty line and a table below it; nothing when there are no rows."""
    if rows:
        show_text("")
        show_rows(headings, rows)


def show_fields(fields: Mapping[str, str]) -> None:
    """Print a line for each field that is not empty; values stand below each other."""
    rows = [one for one in fields.items() if one[1]]
    if not sys.stdout.isatty():
        _write(_align(rows, right=(False, False), gap="  "))
        return
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in rows:
        table.add_row(plain(name), _cell(text))
    _console().print(table)


def _align(rows: Sequence[Sequence[str]], *, right: Sequence[bool], gap: str) -> list[str]:
    """Return the rows as lines with the columns below each other; a cell of several lines makes several."""
    parts = [part for row in rows for part in zip_longest(*(escape(cell).split("\n") for cell in row), fillvalue="")]
    widths = [max(map(cell_len, column)) for column in zip(*parts)]
    lines = []
    for part in parts:
        spare = [" " * (width - cell_len(text)) for text, width in zip(part, widths)]
        cells = [blank + text if is_right else text + blank for text, blank, is_right in zip(part, spare, right)]
        lines.append(gap.join(cells).rstrip())
    return lines


def _write(lines: Sequence[str]) -> None:
    print("\n".join(lines), flush=True)


def show_text(text: str) -> None:
    """Print the text as it is, long lines too."""
    _console().print(plain(text), soft_wrap=True)


def size_text(count: float) -> str:
    """Return a number of bytes for a person."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def _console() -> Console:
    return Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)


def _table(*headings: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for heading in headings:
        table.add_column(heading, justify="right" if heading == "size" else "left", overflow="fold")
    return table


def _cell(text: str) -> Text:
    """Return the text of a table, a run's state in its colour."""
    return Text(escape(text), style=STYLES.get(text, ""))


def plain(text: str) -> Text:
    """Return the text without control characters but line breaks: an escape sequence is shown, not obeyed."""
    return Text(escape(text))


def cut(value: Any) -> str:
    """Return the JSON value as one line of at most 100 characters."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= CUT else f"{text[: CUT - 1]}…"


def show_failure(failure: Failure, console: Console | None = None) -> None:
    """Print why a run failed, with the last frames of the user's own code."""
    console = console or _console()
    console.print(plain(f"failed in phase {failure.phase}: {failure.type}: {failure.message}"))
    for frame in choose_frames(failure.frames):
        console.print(plain(_describe(frame)))


def choose_frames(frames: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the last frames of the user's own files, and the very last of all where that is in a package.

    His files are told apart by their paths: relative to the source's root.
    """
    own = [frame for frame in frames if not os.path.isabs(str(frame.get("file", "")))]
    if not own:
        return list(frames[-FRAMES:])
    return [*own[-FRAMES:], *([frames[-1]] if frames[-1] is not own[-1] else [])]


def _describe(frame: Mapping[str, Any]) -> str:
    where = f"  {frame.get('file', '?')}:{frame.get('line', '?')} in {frame.get('function', '?')}"
    code = str(frame.get("code", "")).strip()
    return f"{where}\n    {code}" if code else where


def _size(path: str) -> Text:
    if not path:
        return Text("")
    if os.path.isdir(path):
        return Text("folder")
    return Text(size_text(os.path.getsize(path)))
