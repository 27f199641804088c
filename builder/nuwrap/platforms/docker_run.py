"""One attempt of a run: its containers made, started, stayed with, and removed, whatever happens."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

from nuwrap.command import Stops
from nuwrap.errors import PlatformError
from nuwrap.platforms import Placed, Screen
from nuwrap.platforms.docker_back import bring_back
from nuwrap.platforms.docker_create import Made, fetch_args, main_args, numeric_user, opener_args
from nuwrap.platforms.docker_engine import Engine
from nuwrap.platforms.docker_environment import PREFIX, image_variables, own_variables
from nuwrap.platforms.docker_given import Given
from nuwrap.platforms.docker_images import check_own, is_foreign, user_of
from nuwrap.platforms.docker_result import tell_no_memory, tell_not_fetched
from nuwrap.platforms.docker_runtime import ensure_runtime
from nuwrap.platforms.docker_service import (
    Watch,
    daemon_host,
    is_taken,
    publish_flags,
    serve_document,
    settle_ports,
)
from nuwrap.platforms.docker_start import End, Streams, run_container
from nuwrap.platforms.docker_wanted import CACHE, GIVEN, RUN, SECRETS, TEMPORARY, WORK, Wanted
from nuwrap.platforms.left import localize
from nuwrap.platforms.passing import passed_on, without_fetching
from nuwrap_runtime.launch import Launch, parse_launch

STOPPED_CODE = 143
KILLED_CODE = 137
NOT_STARTED = (126, 127)  # what the daemon's init says of a program that is not there; the host never does
PORT_ATTEMPTS = 3
FIXED: Mapping[str, str] = {
    "NUWRAP_WORK": f"/{WORK}",
    "NUWRAP_CACHE": f"/{CACHE}",
    "NUWRAP_RUN_FOLDER": f"/{RUN}",
    "TMPDIR": f"/{TEMPORARY}",
}


class Attempt:
    """A run that was placed, and who hears of it."""

    def __init__(
        self, placed: Placed, wanted: Wanted, action: str, *, secrets: Mapping[str, str], screen: Screen, stops: Stops
    ) -> None:
        self._folder, self._wanted, self._action = placed.folder, wanted, action
        self._secrets, self._screen, self._stops = secrets, screen, stops
        self._own = own_variables(placed.environ)
        caller = {name: one for name, one in placed.environ.items() if not name.startswith(PREFIX)}
        self._passed = passed_on(caller)
        self._engine = Engine(caller)
        self._launch: Launch = parse_launch(dict(wanted.launch))

    def run(self) -> int:
        """Run it to its end and return the exit code. Raises NuwrapError for what is no end of the run's own."""
        left = PORT_ATTEMPTS if any(not port.number for port in self._wanted.ports) else 1
        while True:
            left -= 1
            try:
                return self._run()
            except PlatformError as exc:
                if not (left and is_taken(str(exc))):
                    raise

    def _run(self) -> int:
        image = self._find(self._wanted.image)
        if image is None or self._stops.has_come:
            return STOPPED_CODE
        made = self._describe(image)
        with self._made(made) as container:
            code = self._fetch(made, container) if made.fetches else 0
            if code:
                return code
            return self._finish(container, self._start(made, container))

    def _find(self, reference: str) -> dict[str, Any] | None:
        """Return what is known of an image, pulled where it is not here; None when that was stopped."""
        found = self._engine.find_image(reference)
        if found is None:
            self._note(f"pulling {reference}")
            try:
                found = self._engine.pull(reference, self._screen.err, self._stops)
            except PlatformError:
                if not self._stops.has_come:
                    raise
        return found

    def _describe(self, image: Mapping[str, Any]) -> Made:
        """Return all that `docker create` is told. Raises PlatformError where one of our own images is missing."""
        wanted = self._wanted
        runtime = ""
        if is_foreign(wanted.image, image):
            found = self._find_own(wanted.runtime)
            runtime = ensure_runtime(self._engine, wanted.runtime, found["Id"])
            if wanted.has_remote:
                self._find_own(wanted.fetcher)
        return Made(
            wanted,
            user=user_of(image, wanted.user, wanted.group),
            runtime=runtime,
            has_secrets=bool(self._secrets),
            ports=settle_ports(wanted.ports),
            command=self._command(),
        )

    def _note(self, text: str) -> None:
        """Tell a person, and the log; a screen for JSON lines hears nothing."""
        for target in self._screen.err[-1:] if self._screen.is_json else self._screen.err:
            with suppress(OSError):  # nobody reads it
                os.write(target, f"nuwrap  {text}\n".encode())

    def _find_own(self, reference: str) -> dict[str, Any]:
        """Return what is known of one of our images, pulled where it is not here. Raises PlatformError."""
        check_own(reference, self._wanted.images_registry, self._engine)
        found = self._find(reference)
        if found is None:
            raise PlatformError(f"image {reference!r} was not pulled: the run was stopped")
        return found

    def _command(self) -> list[str]:
        form = ["--json" if self._screen.is_json else "--text"] if self._action == "serve" else []
        return [self._action, *form, "--launch", f"/{GIVEN}/launch.json"]

    @contextmanager
    def _made(self, made: Made) -> Iterator[str]:
        """Give the container, made and not started; it and its volumes are gone after the body."""
        engine = self._engine
        container = engine.make([*publish_flags(made.ports), *main_args(made)])
        try:
            if made.places:
                self._open(made, container)
            yield container
        finally:
            engine.remove(container)

    def _open(self, made: Made, container: str) -> None:
        """Let the container's user write to new volumes, by a container with the same ones that is never started.

        Raises PlatformError.
        """
        opener = self._engine.make(opener_args(made, container))
        try:
            self._engine.open_places(opener, made.places)
        finally:
            self._engine.remove(opener)

    def _given(self, made: Made, environ: Mapping[str, str], *, is_first: bool) -> Given:
        launch = {**self._wanted.launch}
        if made.ports:
            launch["serve"] = serve_document(launch.get("serve", {}), made.ports)
        return Given(
            gifts=self._wanted.gifts if is_first else (),
            texts={f"{GIVEN}/launch.json": json.dumps(launch)} if is_first else {},
            folders=(RUN,),
            start={
                "environ": {**FIXED, **environ},
                "without": image_variables(),
                "folder": made.start_folder,
            },
        )

    def _fetch(self, made: Made, container: str) -> int:
        """Let our own image get code and inputs into the container's volumes; return the exit code, 0 when it has.

        Only this container gets the credentials for code.
        """
        user = numeric_user(self._engine, container, made.user)
        fetcher = self._engine.make(fetch_args(replace(made, user=user), container))
        try:
            environ = {**self._passed, **self._wanted.environ}
            streams = Streams((), self._screen.err, self._redact())
            given = self._given(made, environ, is_first=True)
            end = run_container(self._engine, fetcher, given, streams, self._stops, grace_s=self._launch.grace_s)
        finally:
            self._engine.remove(fetcher)
        if end.exit_code and end.exit_code != STOPPED_CODE:
            tell_not_fetched(self._wanted.folder, self._launch, end.exit_code, self._folder)
        return STOPPED_CODE if self._stops.has_come else end.exit_code

    def _start(self, made: Made, container: str) -> End:
        passed = self._passed
        if made.fetches:
            passed = without_fetching(passed, keeps_store="://" in self._launch.output_path)
        environ = {**passed, **self._wanted.environ, **self._own}
        if self._secrets:
            environ["NUWRAP_SECRETS"] = f"/{SECRETS}"
        given = replace(self._given(made, environ, is_first=not made.fetches), secrets=self._secrets)
        watch = Watch(self._folder, made.ports, daemon_host(self._engine.environ)) if made.ports else None

        def begin(pid: int) -> None:
            self._screen.on_start(pid)
            if watch:
                watch.begin()

        streams = Streams(self._screen.out, self._screen.err, self._redact(), self._screen.keep_open, begin)
        try:
            return run_container(self._engine, container, given, streams, self._stops, grace_s=self._launch.grace_s)
        finally:
            if watch:
                watch.end()

    def _redact(self) -> tuple[str, ...]:
        return tuple(self._secrets.values())

    def _finish(self, container: str, end: End) -> int:
        """Bring back what it has left, and return the exit code."""
        wanted = self._wanted
        has_result = bring_back(self._engine, container, wanted.folder, self._launch.run, limits=self._launch.limits)
        if has_result:
            localize(wanted.folder, wanted.paths)
        elif end.is_out_of_memory:
            tell_no_memory(wanted.folder, self._launch, KILLED_CODE)
            return KILLED_CODE
        elif end.exit_code in NOT_STARTED:
            raise PlatformError(f"image {wanted.image!r} has no {wanted.python!r} on its PATH that can be started")
        return end.exit_code
