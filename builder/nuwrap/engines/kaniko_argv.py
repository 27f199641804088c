"""From an order to the executor's command line and environment. Pure: no value of a build argument or a secret is in
the arguments, which every process of a machine can read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from nuwrap.engines import Order
from nuwrap.engines.build_network import network_file, proxy_variables
from nuwrap.engines.kaniko_flags import FLAGS, SETTING, check_flags, warn_of
from nuwrap.engines.kaniko_room import SECRETS, Room, bare, substitutes
from nuwrap.errors import BuildError
from nuwrap.spec.reference import HUB

# The tag alone: which digest it has could not be asked where this was written.
DEFAULT_IMAGE: Final = "ghcr.io/osscontainertools/kaniko:v1.28.3"
HUB_NAME: Final = "index.docker.io"  # Docker Hub, as kaniko calls it
# Trees as BuildKit makes them: osscontainertools/kaniko README, "BuildKit compatibility". Others ignore these.
PROFILE: Final[Mapping[str, str]] = {
    "FF_KANIKO_CHOWN_ON_IMPLICIT_DIRS": "true",
    "FF_KANIKO_COPY_AS_ROOT": "true",
    "FF_KANIKO_COPY_CHMOD_ON_IMPLICIT_DIRS": "true",
    "FF_KANIKO_EXPAND_HEREDOC": "true",
    "FF_KANIKO_REPRODUCIBLE_PRESERVE_BASE_LAYERS": "true",
    "FF_KANIKO_RUN_HONOR_GROUP": "true",
    "FF_KANIKO_UNTAR_SKIP_ROOT": "true",
}
# What of the user's environment is kaniko's business; a RUN instruction sees none of it. DOCKER_AUTH_CONFIG is in
# the config that we write, which it would hide; KANIKO_NO_PUSH would make a push none.
_PASSED: Final = re.compile(
    r"FF_KANIKO_\w+|KANIKO_TELEMETRY_\w+|KANIKO_REGISTRY_(?:MAP|MIRROR)|OTEL_\w+|AWS_\w+|AZURE_\w+|"
    r"GOOGLE_(?:CLOUD_)?PROJECT|CI_JOB_TOKEN|CI_REGISTRY\w*|GODEBUG|SOURCE_DATE_EPOCH|(?i:https?_proxy|no_proxy)"
)
# Elsewhere, where everybody who may look at a pod reads it, what is neither a log-in nor of this machine.
_PASSED_ON: Final = re.compile(r"FF_KANIKO_\w+|KANIKO_REGISTRY_(?:MAP|MIRROR)|GODEBUG|SOURCE_DATE_EPOCH")
_EXECUTORS: Final = re.compile(r"(?:FF_)?KANIKO_\w+|PATH|HOME|USER|DOCKER_\w+|SSL_CERT_\w+|LD_\w+|GODEBUG|container")
_LEFT_OUT: Final = frozenset({"push-retry", "image-fs-extract-retry", "image-download-retry"})  # harmlessly


@dataclass(frozen=True)
class Executor:
    """What an executor can do: the long flags of its `--help`, and the version it says, "" for none."""

    flags: frozenset[str]
    version: str = ""

    def __str__(self) -> str:
        return f"kaniko's executor {self.version}".rstrip()


@dataclass(frozen=True)
class Arguments:
    """The executor's arguments, and what a person should know of them."""

    argv: tuple[str, ...]
    notes: tuple[str, ...] = ()


def read_help(text: str, version: str) -> Executor:
    """Return what the answers to `--help` and `version` say. Raises BuildError for the help of another program."""
    flags = frozenset(re.findall(r"^\s+(?:-\w, )?--([a-zA-Z][\w-]*)", text, re.MULTILINE))
    if not {"context", "dockerfile", "destination", "digest-file"} <= flags:
        raise BuildError(
            f"the program that is to be kaniko's executor is none: its --help begins with {text.strip()[:80]!r}; "
            "set build.kaniko_image, or NUWRAP_KANIKO, to an executor"
        )
    found = re.search(r":\s*v?(\d\S*)", version)  # builds without a stamp say `unset`
    return Executor(flags, found[1] if found else "")


def build_arguments(order: Order, room: Room, executor: Executor, *, archive: bool = False) -> Arguments:
    """Return the command line of a build; `archive` has the image written into the room too.

    Raises UsageError for a flag of the user's that is not allowed, BuildError for one that the executor lacks and
    that the image depends on, and for a build argument with a name of the executor's own.
    """
    users = check_flags(order.settings.kaniko_flags)
    argv, notes = [], [*warn_of(users), *_note_arguments(order)]
    for name, value in [*_wanted(order, room, archive=archive), *_network(order, room, executor), *users]:
        if name in executor.flags:
            argv.append(f"--{name}={value}" if value is not None else f"--{name}")
        else:
            notes.append(_do_without(name, executor))
    return Arguments(tuple(argv), tuple(dict.fromkeys(notes)))


def build_environment(order: Order, room: Room) -> dict[str, str]:
    """Return what the executor gets beside the environment of its image: build arguments by name among it."""
    wanted = _PASSED_ON if order.settings.cluster else _PASSED
    passed = {name: value for name, value in order.environ.items() if wanted.fullmatch(name)}
    ours = {"DOCKER_CONFIG": room.docker, "KANIKO_CLEANUP": "false"}  # images based on Alpine would remove the results
    return {**PROFILE, **passed, **proxy_variables(order), **order.plan.build_args, **ours}


def _wanted(order: Order, room: Room, *, archive: bool) -> Iterator[tuple[str, str | None]]:
    yield "log-format", "json"
    yield "context", f"dir://{room.context}"
    yield "dockerfile", room.dockerfile
    yield from (("build-arg", name) for name in order.plan.build_args)
    yield from (("label", f"{name}={value}") for name, value in order.plan.labels.items())
    yield from (("secret", f"id={name},src={room.secret(name)}") for name in order.plan.secrets)
    yield from _outputs(order, room, archive=archive)
    yield from _cache(order)
    if order.settings.retries:
        yield from ((name, str(order.settings.retries)) for name in sorted(_LEFT_OUT))
    yield from _registries(order, room)


def _network(order: Order, room: Room, executor: Executor) -> Iterator[tuple[str, str | None]]:
    """Yield what the steps get of the network: a file is mounted, else found in the room, which instructions see."""
    yield from (("build-arg", f"{name}={value}") for name, value in proxy_variables(order).items())
    for name in network_file(order):
        if "secret" in executor.flags:
            yield "secret", f"id={name},src={room.secret(name)}"
        else:
            yield "build-arg", f"{SECRETS}={room.at('secrets')}"


def _outputs(order: Order, room: Room, *, archive: bool) -> Iterator[tuple[str, str | None]]:
    yield from (("destination", name) for name in order.destinations)
    yield "digest-file", room.digest
    yield "image-name-tag-with-digest-file", room.names
    if not order.push:
        yield "no-push", "true"
    if archive:
        yield "tar-path", room.archive
    if order.oci_path:
        yield "oci-layout-path", room.layout


def _cache(order: Order) -> Iterator[tuple[str, str | None]]:
    if order.has_cache and order.settings.cache_repo:
        yield "cache", "true"
        yield "cache-repo", order.settings.cache_repo
        yield "cache-copy-layers", "true"  # else what is copied has another digest each time, and is pushed again
        if not order.push:  # --no-push alone pushes layers to the cache
            yield "no-push-cache", "true"


def _registries(order: Order, room: Room) -> Iterator[tuple[str, str | None]]:
    access = order.settings.access
    plain = [bare(name).partition("/")[0] for name in substitutes(access) if name.startswith("http://")]
    for name in dict.fromkeys([*access.insecure, *plain]):  # plain http, or a certificate that nobody vouches for
        yield "insecure-registry", _host(name)
        yield "skip-tls-verify-registry", _host(name)
    yield from (("registry-mirror", bare(name)) for name in access.mirrors)
    for name, others in access.map.items():
        yield from (("registry-map", f"{_host(name)}={bare(other)}") for other in others)
    for number, name in enumerate(access.certificates):
        yield "registry-certificate", f"{_host(name)}={room.certificate(number, 'authority')}"
    for number, name in enumerate(access.client_certificates):
        pair = f"{room.certificate(number, 'client')},{room.certificate(number, 'key')}"
        yield "registry-client-cert", f"{_host(name)}={pair}"


def _host(name: str) -> str:
    return HUB_NAME if name == HUB else name


def _note_arguments(order: Order) -> list[str]:
    """Say which build arguments kaniko itself obeys too. Raises BuildError for one that would lead it astray."""
    for name in order.plan.build_args:
        if _EXECUTORS.fullmatch(name):
            raise BuildError(
                f"the variable {name!r} of the build is one of kaniko's own; name it differently, or give it with "
                "persist: true"
            )
    obeyed = [name for name in order.plan.build_args if _PASSED.fullmatch(name)]
    return [f"{', '.join(obeyed)} of the build's envs counts for kaniko's own requests too"] if obeyed else []


def _do_without(name: str, executor: Executor) -> str:
    """Return the note of a flag that the executor lacks. Raises BuildError where the image depends on it."""
    if name in _LEFT_OUT or (name in FLAGS and FLAGS[name].is_harmless):
        return f"{executor} has no --{name}; it is left out"
    remedy = f"set build.kaniko_image to {DEFAULT_IMAGE}"
    if name == "secret":
        raise BuildError(
            f"{executor} cannot mount secrets, which this build has; {remedy}, or build without secrets from wheels"
        )
    asked = f"which {SETTING} asks for; leave it out, or " if name in FLAGS else "without which nuwrap cannot build; "
    raise BuildError(f"{executor} has no --{name}, {asked}{remedy}")
