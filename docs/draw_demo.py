"""Draw what `make demo` prints as a picture for the README.

    python docs/draw_demo.py        # writes docs/demo.svg

Identifiers and folders differ from run to run; the picture is drawn anew when what the demo prints changes.
"""
# ruff: noqa: INP001 - a script, no package

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parent.parent
COLUMNS = 110
RUN_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def main() -> int:
    """Run the demo and return its exit code."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "demo.py")],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        print(done.stdout)
        return done.returncode
    console = Console(record=True, width=COLUMNS, file=(ROOT / ".demo" / "drawn.txt").open("w", encoding="utf-8"))
    for line in done.stdout.splitlines():
        console.print(styled(line), no_wrap=True, overflow="ellipsis")
    console.file.close()
    svg = console.export_svg(title="make demo")
    svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)  # fonts from another host; the reader's own will do
    (ROOT / "docs" / "demo.svg").write_text(re.sub(r"[ \t]+\n", "\n", svg), encoding="utf-8")
    return 0


def styled(line: str) -> Text:
    short = RUN_ID.sub(lambda found: found[0][:8], line.replace(f"{ROOT}/", ""))
    if short.startswith("$ "):
        return Text(short, style="bold green")
    return Text(short, style="dim" if short.startswith("nuwrap  ") else "")


if __name__ == "__main__":
    sys.exit(main())
