"""`make demo`: one real job, from a tagged git repository to a table and a picture.

Makes the repository from examples/delays/src, then runs the same commands that you would type.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

from nuwrap.platforms.interpreters import SUPPORTED, find_interpreters

HERE = Path(__file__).resolve().parent
DEMO = HERE.parent / ".demo"
CARRIERS = {
    "9E": "Endeavor Air Inc.",
    "AA": "American Airlines Inc.",
    "B6": "JetBlue Airways",
    "DL": "Delta Air Lines Inc.",
    "EV": "ExpressJet Airlines Inc.",
    "HA": "Hawaiian Airlines Inc.",
    "MQ": "Envoy Air",
    "UA": "United Air Lines Inc.",
    "US": "US Airways Inc.",
    "VX": "Virgin America",
}


def main() -> int:
    began = time.monotonic()
    repository = make_repository(DEMO / "repository")
    function = DEMO / "function.yaml"
    python = "PYTHON" + newest_python().replace(".", "_")
    text = (HERE / "delays" / "function.yaml").read_text(encoding="utf-8")
    text = text.replace("code_src: src", f"code_src: git+file://{repository}#v1").replace("PYTHON3_11", python)
    function.write_text(text, encoding="utf-8")
    table = HERE / "delays" / "data" / "flights.csv"
    options = ["-p", "threshold=0.5", "-i", f"table={os.path.relpath(table)}"]
    options += ["--init-param", f"carriers={json.dumps(CARRIERS)}"]
    code = run(["nuwrap", "run", os.path.relpath(function), *options])
    print(f"\ndemo: {time.monotonic() - began:.1f} s, exit code {code}")
    return code


def newest_python() -> str:
    """Return the running version, else the newest that is here and that a function may ask for."""
    running = "{}.{}".format(*sys.version_info)
    if running in SUPPORTED:
        return running
    versions = [one.version for one in find_interpreters(os.environ)]
    return versions[-1] if versions else SUPPORTED[-1]


def make_repository(folder: Path) -> Path:
    """Make a repository of the example's code with the tag v1."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(HERE / "delays" / "src", folder, ignore=shutil.ignore_patterns("__pycache__"))
    identity = ["-c", "user.name=demo", "-c", "user.email=demo@localhost", "-c", "commit.gpgsign=false"]
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "Add the delays function"]):
        subprocess.run(["git", *identity, *command], cwd=folder, check=True)
    subprocess.run(["git", *identity, "tag", "v1"], cwd=folder, check=True)
    return folder


def run(command: list[str]) -> int:
    """Show the command as one would type it, then run it."""
    shown = [shlex.quote(part) if len(part) < 80 else shlex.quote(part[:40]) + "…" for part in command]
    print("$ " + " ".join(shown), flush=True)
    program = Path(sys.executable).with_name(command[0])
    return subprocess.run([str(program), *command[1:]], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
