"""What becomes of a user's commands: `apt-get install` gets its package lists, all else stays as it is."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nuwrap.plan.dockerfile import command_fault
from nuwrap.plan.instructions import complete

QUIET = "export DEBIAN_FRONTEND=noninteractive && "
GETS = "gets 'apt-get update' first, as images have no package lists"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("apt-get install -y git", "apt-get update && apt-get install -y git"),
        ("apt-get -y install git", "apt-get update && apt-get -y install git"),
        ("apt-get -qq install git", "apt-get update && apt-get -qq install git"),
        ("apt install -y git", "apt-get update && apt install -y git"),
        ("/usr/bin/apt-get install -y git", "apt-get update && /usr/bin/apt-get install -y git"),
        ("sudo apt-get install -y git", "apt-get update && sudo apt-get install -y git"),
        ("LC_ALL=C apt-get install -y git", "apt-get update && LC_ALL=C apt-get install -y git"),
        ("env A=1 apt-get install -y git", "apt-get update && env A=1 apt-get install -y git"),
        (
            "apt-get -o Acquire::Retries=3 install -y git",
            "apt-get update && apt-get -o Acquire::Retries=3 install -y git",
        ),
        ("apt-get -t stable install -y git", "apt-get update && apt-get -t stable install -y git"),
        ("apt-get install -y git > /dev/null 2>&1", "apt-get update && apt-get install -y git > /dev/null 2>&1"),
        ("apt-get install -y git || true", "apt-get update && apt-get install -y git || true"),
        ("apt-get install -y 'git' \"curl\" $MORE", "apt-get update && apt-get install -y 'git' \"curl\" $MORE"),
        ("cd /tmp && apt-get install -y ./x.deb", "cd /tmp && apt-get update && apt-get install -y ./x.deb"),
        ("echo a; apt-get install -y git; echo b", "echo a; apt-get update && apt-get install -y git; echo b"),
        ("echo 'x && y'; apt-get install -y git", "echo 'x && y'; apt-get update && apt-get install -y git"),
        (
            "apt-get install -y gnupg && cp x /etc && apt-get update && apt-get install -y other",
            "apt-get update && apt-get install -y gnupg && cp x /etc && apt-get update && apt-get install -y other",
        ),
    ],
)
def test_an_install_without_lists_gets_them_in_the_same_run(given: str, expected: str) -> None:
    assert complete(given) == (QUIET + expected, GETS)


@pytest.mark.parametrize(
    "given",
    [
        "apt-get update && apt-get install -y git",
        "apt-get update -qq; apt-get install -y git",
        "apt-get -o A=b update && apt install -y git",
        "apt update && apt install -y git",
        "apt-get upgrade -y",
        "pip install apt",
        "dpkg --install x.deb",
        "echo nothing",
        "useradd apt-user && install -d /x",
    ],
)
def test_a_command_that_needs_no_lists_stays_as_it_is(given: str) -> None:
    assert complete(given) == (given, "")


@pytest.mark.parametrize(
    "given",
    [
        "(apt-get install -y git)",
        "if true; then apt-get install -y git; fi",
        "bash -c 'apt-get install -y git'",
        "echo `apt-get install -y git`",
        "x=$(apt-get install -y git)",
        "{ apt-get install -y git; }",
        "xargs apt-get install -y < list",
        '["apt-get", "install", "-y", "git"]',
        "sudo -E apt-get install -y git",
        "apt-get install -y 'git",
    ],
)
def test_what_a_shell_alone_can_tell_is_left_alone_with_a_note(given: str) -> None:
    assert complete(given) == (given, "seems to install with apt-get without package lists, and is left as it is")


@pytest.mark.parametrize("operator", ["||", "|", "&"])
def test_an_install_that_may_not_run_is_left_alone_with_a_note(operator: str) -> None:
    given = f"true {operator} apt-get install -y git"
    assert complete(given) == (given, f"installs with apt-get after '{operator}', without package lists; left as it is")


def test_an_install_that_asks_is_told() -> None:
    assert complete("apt-get install git")[1] == f"{GETS}; without -y it ends as soon as apt-get asks"
    for command in (
        "apt-get install git -y",
        "apt-get install git --yes",
        "apt-get install --assume-yes git",
        "apt-get -qy install x",
    ):
        assert complete(command)[1] == GETS


def test_a_frontend_that_is_chosen_already_is_kept() -> None:
    chosen = "DEBIAN_FRONTEND=readline apt-get install -y git"
    assert complete(chosen)[0] == f"apt-get update && {chosen}"
    assert complete("apt-get install -y git", is_quiet=True)[0] == "apt-get update && apt-get install -y git"


PARTS = (
    "apt-get", "apt", "install", "update", "-y", "-o", "sudo", "&&", "||", ";", "|", "&", "(", ")", "'", '"', "\\",
    "$(", "`", "A=1", "git", "#", ">", " ", "<", "{", "}", "then",
)  # fmt: skip


@settings(deadline=None)
@given(st.lists(st.sampled_from(PARTS), max_size=12))
def test_nothing_is_taken_from_a_command_and_what_is_added_is_known(parts: list[str]) -> None:
    given = " ".join(parts)
    found, _ = complete(given)
    assert found == given or found.replace(QUIET, "", 1).replace("apt-get update && ", "", 1) == given
    if found != given:
        assert found.startswith(QUIET)
        assert bool(command_fault(found)) == bool(command_fault(given))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("apt-get install -y git", ["update", "install -y git noninteractive"]),
        (
            "echo x >/dev/null && apt-get install -y git && apt-get clean",
            ["update", "install -y git noninteractive", "clean"],
        ),
        ("false; apt-get install -y a 'b c'", ["update", "install -y a b c noninteractive"]),
        ("false && apt-get install -y git", []),
    ],
)
def test_a_shell_does_what_was_meant(given: str, expected: list[str], tmp_path: Path) -> None:
    program = tmp_path / "apt-get"
    said = tmp_path / "said"
    program.write_text(
        f'#!/bin/sh\n[ "$1" = install ] && set -- "$@" "$DEBIAN_FRONTEND"\necho "$@" >> {said}\n', "utf-8"
    )
    program.chmod(0o755)
    said.touch()
    environ = {"PATH": f"{tmp_path}:{os.defpath}"}
    subprocess.run(["/bin/sh", "-c", complete(given)[0]], env=environ, check=False)
    assert said.read_text("utf-8").splitlines() == expected
