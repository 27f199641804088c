"""Do what a page of the documentation says, block by block, in the current folder.

    python tests/page.py PAGE.md

A block with `title="NAME"` is a file. ```console blocks are typed: `$ COMMAND` in a shell, then what it prints, where
`…` stands for anything; a command without lines below it may print what it likes; `$ COMMAND &` goes on in the
background until the page's end. Other ```python blocks run one after the other in this process, as cells of a notebook
do. All other blocks are only read. `PYTHON3_11`, the version that the pages name, is the one that runs this file.
"""

from __future__ import annotations

import linecache
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

BLOCK = re.compile(
    r"^(?P<indent> *)```(?P<language>\w+)(?P<rest>[^\n]*)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL
)
TITLE = re.compile(r'title="([^"]+)"')
SECONDS = 120


@dataclass(frozen=True)
class Block:
    """A fenced block: where it stands, its language, its title ("" when it is no file), its text."""

    place: str
    language: str
    title: str
    text: str


class Mismatch(Exception):
    """The page is not true."""


def blocks(path: Path) -> Iterator[Block]:
    source = path.read_text(encoding="utf-8").replace("PYTHON3_11", "PYTHON{}_{}".format(*sys.version_info))
    for found in BLOCK.finditer(source):
        title = TITLE.search(found["rest"])
        indent = len(found["indent"])
        text = "".join(line[indent:] if line.strip() else line for line in found["text"].splitlines(keepends=True))
        line = source.count("\n", 0, found.start()) + 1
        yield Block(f"{path.name}:{line}", found["language"], title[1] if title else "", text)


def do_page(path: Path) -> int:
    """Do all blocks and return how many did something."""
    scope: dict[str, object] = {"__name__": "__main__"}
    done = 0
    with ExitStack() as stack:
        for block in blocks(path):
            if block.title:
                target = Path(block.title)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(block.text, encoding="utf-8")
            elif block.language == "console":
                for command, printed in commands(block):
                    do_command(block.place, command, printed, stack)
            elif block.language == "python":
                print(f"--- {block.place}", flush=True)
                lines = block.text.splitlines(keepends=True)
                linecache.cache[block.place] = (len(block.text), None, lines, block.place)  # as a notebook's cells are
                exec(compile(block.text, block.place, "exec"), scope)  # noqa: S102 - our own documentation
            else:
                continue
            done += 1
    return done


def commands(block: Block) -> Iterator[tuple[str, str]]:
    """Yield each command with the text that follows it."""
    parts = re.split(r"^\$ ", block.text, flags=re.MULTILINE)
    if parts[0].strip():
        raise Mismatch(f"{block.place}: a console block begins with `$ `")
    for part in parts[1:]:
        lines = part.splitlines()
        count = 1
        while lines[count - 1].endswith("\\"):
            count += 1
        yield "\n".join(lines[:count]), "\n".join(lines[count:]).strip()


def do_command(place: str, command: str, printed: str, stack: ExitStack) -> None:
    print(f"--- {place}: $ {command}", flush=True)
    if command.endswith("&"):
        stack.callback(end, subprocess.Popen(["/bin/bash", "-c", f"exec {command[:-1]}"], start_new_session=True))
        return
    expected = re.compile(".*?".join(re.escape(even(part.strip())) for part in printed.split("…")), re.DOTALL)
    deadline = time.monotonic() + SECONDS
    while True:
        answer = subprocess.run(
            ["/bin/bash", "-c", command],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
            timeout=SECONDS,
        )  # fmt: skip
        print(answer.stdout, end="", flush=True)
        if not printed or expected.fullmatch(even(answer.stdout.strip())):
            return
        # a service that was started in the background is not there at once, as for a person who types on
        if not command.startswith("curl") or time.monotonic() > deadline:
            raise Mismatch(f"{place}: $ {command}\nshould print\n{printed}\nand printed\n{answer.stdout}")
        time.sleep(0.2)


def even(text: str) -> str:
    """Return the text without the spaces in JSON that a user's own orjson leaves out."""
    return re.sub(r"(?<=[:,]) ", "", text)


def end(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    process.wait(SECONDS)


if __name__ == "__main__":
    sys.exit(0 if do_page(Path(sys.argv[1])) else "the page has no block that does anything")
