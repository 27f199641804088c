"""What holds for every engine: one contract, carried out by the real ones."""

from __future__ import annotations

import secrets
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from lab import (
    docker,
    engine_environ,
    engine_settings,
    image_name,
    python_image,
    registry,
    registry_digest,
    runs,
    wait_until,
)
from orders import build, make_order, stoppable_argv

from nuwrap.engines import ENGINES, get_engine
from nuwrap.errors import BuildError, UsageError
from nuwrap.spec.build import BuildSettings

__all__ = ["engine_environ", "image_name", "python_image", "registry"]

Reference = Callable[[str], str]


@pytest.fixture(params=sorted(ENGINES))
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def destination(registry: str, image_name: str) -> str:
    return f"{registry}/{image_name}:1"


@pytest.fixture
def settings(engine: str, registry: str, image_name: str) -> BuildSettings:
    return engine_settings(engine, image_name, registry)


def test_an_engine_that_is_not_known_is_said_with_what_is_alike() -> None:
    with pytest.raises(UsageError, match=r"engine 'dokcer' is not known.*did you mean 'docker'"):
        get_engine("dokcer")


def test_an_engine_says_whether_it_can_be_used_and_why(engine: str) -> None:
    found = get_engine(engine).look(BuildSettings(), {"PATH": "/nowhere"}, push=True)
    assert not found.is_usable
    assert "docker" in found.reason.lower()


def test_what_is_pushed_has_the_registrys_digest(
    engine: str,
    settings: BuildSettings,
    destination: str,
    python_image: Reference,
    engine_environ: dict[str, str],
    tmp_path: Path,
) -> None:
    lines = [
        "# base",
        f"FROM {python_image('3.11')}",
        "# instruction 1",
        "RUN echo made > /made",
        "# code",
        "COPY code /opt/function",
        "USER 8877:999",
    ]
    second = destination[:-1] + "2"
    order = make_order(
        tmp_path, lines, destinations=[destination, second], environ=engine_environ, settings=settings, push=True
    )
    built, events = build(engine, order)
    assert built.reference == destination
    assert built.digest == registry_digest(destination) == registry_digest(second) != ""
    assert built.pinned == f"{destination[:-2]}@{built.digest}"
    done = [one for one in events if one.kind == "done"]
    assert [one.number for one in done] == sorted({one.number for one in done})
    assert {(2, "RUN echo made > /made"), (3, "COPY code /opt/function")} <= {(one.number, one.text) for one in done}
    assert {one.total for one in done} == {3}
    told = docker("run", "--rm", "--pull", "always", built.pinned, "sh", "-c", "id -u; cat /made /opt/function/main.py")
    assert told.splitlines()[:2] == ["8877", "made"]
    assert told.splitlines()[2].startswith("# ")
    docker("image", "rm", "--force", built.pinned)


def test_a_second_build_takes_its_steps_from_the_cache(
    engine: str,
    settings: BuildSettings,
    destination: str,
    python_image: Reference,
    engine_environ: dict[str, str],
    tmp_path: Path,
) -> None:
    lines = [f"FROM {python_image('3.11')}", f"RUN echo {secrets.token_hex(8)} > /made", "COPY code /opt/function"]

    def was_cached(code: str) -> bool | None:
        files = {"code/main.py": code}
        order = make_order(
            tmp_path,
            lines,
            destinations=[destination],
            environ=engine_environ,
            settings=settings,
            push=True,
            files=files,
        )
        return next(one.cache for one in build(engine, order)[1] if one.kind == "done" and one.number == 2)

    assert was_cached("a = 1\n") is False
    assert was_cached("a = 2\n") is True


def test_an_instruction_that_fails_is_named_with_its_exit_code(
    engine: str,
    settings: BuildSettings,
    destination: str,
    python_image: Reference,
    engine_environ: dict[str, str],
    tmp_path: Path,
) -> None:
    lines = [
        "# base",
        f"FROM {python_image('3.11')}",
        "# instruction 1",
        "RUN echo all is well",
        "# instruction 2",
        "RUN echo nothing is well; exit 7",
        "# code",
        "COPY code /x",
    ]
    order = make_order(
        tmp_path, lines, destinations=[destination], environ=engine_environ, settings=settings, push=True
    )
    with pytest.raises(BuildError) as failed:
        build(engine, order)
    assert failed.value.kind == "instruction"
    text = str(failed.value)
    assert "step 3 of 4" in text
    assert "exit code 7" in text
    assert "nothing is well; exit 7" in text.splitlines()[0]
    assert registry_digest(destination) == ""


def test_a_secret_is_there_for_its_step_and_in_no_layer(
    engine: str,
    settings: BuildSettings,
    destination: str,
    python_image: Reference,
    engine_environ: dict[str, str],
    tmp_path: Path,
) -> None:
    if not get_engine(engine).HAS_SECRETS:
        pytest.skip(f"{engine} has no secrets")
    value = secrets.token_hex(20)
    use = "RUN --mount=type=secret,id=TOKEN python3 -c \"print(len(open('/run/secrets/TOKEN').read()))\" > /length"
    lines = [f"FROM {python_image('3.11')}", use, "COPY code /opt/function"]
    with (tmp_path / "log").open("wb") as log:
        order = make_order(
            tmp_path,
            lines,
            destinations=[destination],
            environ=engine_environ,
            settings=settings,
            push=True,
            secrets={"TOKEN": value},
            log=(log.fileno(),),
        )
        built, events = build(engine, order)
    assert get_engine(engine).scan(order, built) == []
    assert docker("run", "--rm", "--pull", "always", built.pinned, "cat", "/length").strip() == "40"
    docker("image", "save", "--output", str(tmp_path / "image.tar"), built.pinned)
    assert value.encode() not in (tmp_path / "image.tar").read_bytes()
    assert value.encode() not in (tmp_path / "log").read_bytes()
    assert value not in repr((built, events, order))
    docker("image", "rm", "--force", built.pinned)


def test_a_base_that_is_missing_is_named(
    engine: str,
    settings: BuildSettings,
    destination: str,
    registry: str,
    engine_environ: dict[str, str],
    tmp_path: Path,
) -> None:
    base = f"{registry}/nuwrap-test-nobody/base:1"
    lines = [f"FROM {base}", "COPY code /opt/function"]
    order = make_order(
        tmp_path, lines, destinations=[destination], environ=engine_environ, settings=settings, push=True
    )
    with pytest.raises(BuildError, match="nuwrap-test-nobody/base") as failed:
        build(engine, order)
    assert failed.value.kind == "pull"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_stop_ends_the_build_with_all_that_runs_in_it(
    engine: str,
    settings: BuildSettings,
    destination: str,
    python_image: Reference,
    engine_environ: dict[str, str],
    tmp_path: Path,
    number: signal.Signals,
) -> None:
    sleep = f"sleep 1{secrets.randbelow(10**9):09}"
    lines = [f"FROM {python_image('3.11')}", f"RUN {sleep}"]
    order = make_order(
        tmp_path, lines, destinations=[destination], environ=engine_environ, settings=settings, push=True
    )
    with subprocess.Popen(
        stoppable_argv(engine, order, tmp_path), env=engine_environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        wait_until(lambda: runs(f"{sleep} ") or runs(f"-c {sleep}"))
        process.send_signal(number)
        said, _ = process.communicate(timeout=60)
    assert said == b"stopped\n"
    assert not runs(f"-c {sleep}")


def test_a_build_that_takes_too_long_is_ended_with_all_that_runs_in_it(
    engine: str,
    settings: BuildSettings,
    destination: str,
    python_image: Reference,
    engine_environ: dict[str, str],
    tmp_path: Path,
) -> None:
    sleep = f"sleep 1{secrets.randbelow(10**9):09}"
    lines = [f"FROM {python_image('3.11')}", f"RUN {sleep}"]
    order = make_order(
        tmp_path,
        lines,
        destinations=[destination],
        environ=engine_environ,
        settings=settings,
        push=True,
        timeout_s=20 if engine == "kaniko" else 5,
    )
    with pytest.raises(BuildError, match="step 2 of 2") as failed:
        build(engine, order)
    assert failed.value.kind == "timeout"
    assert sleep in str(failed.value) or "ended after" in str(failed.value)
    assert not runs(f"-c {sleep}")
