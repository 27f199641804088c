"""The flags of kaniko's executor that a user may set (`build.kaniko_flags`), and why the others are not theirs.

Read in osscontainertools/kaniko cmd/executor/cmd/root.go (v1.28.3). `name` alone stands for a switch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from nuwrap.errors import UsageError
from nuwrap_runtime.schema import did_you_mean, show

SETTING: Final = "build.kaniko_flags"


@dataclass(frozen=True)
class Flag:
    """What a flag takes: a pattern of its whole value and how that is said.

    `is_harmless` tells that the image is the same without it, so that an executor which lacks it can do without.
    """

    pattern: str
    allowed: str
    is_harmless: bool = False
    warning: str = ""


def _switch(*, is_harmless: bool = False, warning: str = "") -> Flag:
    return Flag("true|false", "true, false", is_harmless, warning)


def _text(allowed: str, *, is_harmless: bool = False, pattern: str = ".+") -> Flag:
    return Flag(pattern, allowed, is_harmless)


_MAY_MISS: Final = "may leave changed files out of the image"
FLAGS: Final[Mapping[str, Flag]] = {
    "annotation": _text("NAME=VALUE", pattern="[^=]+=.*"),
    "cache-copy-layers": _switch(is_harmless=True),
    "cache-dir": _text("a folder", is_harmless=True),
    "cache-run-layers": _switch(is_harmless=True),
    "cache-ttl": _text("a duration as 6h", is_harmless=True, pattern=r"(?:\d+(?:\.\d+)?(?:h|m|s|ms))+"),
    "compressed-caching": _switch(is_harmless=True),
    "compression": _text("gzip, zstd", pattern="gzip|zstd"),
    "compression-level": _text("a whole number", is_harmless=True, pattern=r"-?\d+"),
    "credential-helpers": _text("env, google, ecr, acr, gitlab, or nothing", pattern="env|google|ecr|acr|gitlab|"),
    "custom-platform": _text("a platform as linux/arm64", pattern=r"[a-z0-9]+/[a-z0-9]+(?:/[a-z0-9]+)?"),
    "ignore-path": _text("a path"),
    "ignore-var-run": _switch(),
    "image-format": _text("docker, oci", pattern="docker|oci"),
    "log-timestamp": _switch(is_harmless=True),
    "materialize": _switch(is_harmless=True),
    "no-push-cache": _switch(is_harmless=True),
    "push-ignore-immutable-tag-errors": _switch(),
    "reproducible": _switch(),
    "single-snapshot": _switch(is_harmless=True),
    "skip-default-registry-fallback": _switch(),
    "skip-push-permission-check": _switch(is_harmless=True),
    "snapshot-mode": Flag("full|redo|time", "full, redo, time", is_harmless=True),
    "use-new-run": _switch(is_harmless=True, warning=_MAY_MISS),
    "verbosity": _text("trace, debug, info, warn, error", is_harmless=True, pattern="trace|debug|info|warn|error"),
}

_THE_PLANS: Final = "the plan of the build has it"
_ONE_BUILD: Final = "each build has a container of its own"
_RETRIES: Final = "set build.retries"
_INSECURE: Final = "set registries.insecure"
# Flags that we set or never set, with what to do instead.
REFUSED: Final[Mapping[str, str]] = {
    "bucket": _THE_PLANS,
    "build-arg": "give `envs` to the build",
    "cache": "set build.cache_repo",
    "cache-repo": "set build.cache_repo",
    "cleanup": _ONE_BUILD,
    "context": _THE_PLANS,
    "context-sub-path": _THE_PLANS,
    "destination": "set build.registry",
    "digest-file": "the digest is read back by nuwrap",
    "dockerfile": _THE_PLANS,
    "dryrun": "`nuwrap plan` shows what would be built",
    "force": "it lets kaniko unpack an image over a machine that is no container",
    "git": _THE_PLANS,
    "image-download-retry": _RETRIES,
    "image-fs-extract-retry": _RETRIES,
    "image-name-tag-with-digest-file": "the digest is read back by nuwrap",
    "image-name-with-digest-file": "the digest is read back by nuwrap",
    "insecure": _INSECURE,
    "insecure-pull": _INSECURE,
    "insecure-registry": _INSECURE,
    "kaniko-dir": "nuwrap's own files lie in /kaniko",
    "label": _THE_PLANS,
    "log-format": "nuwrap reads the log as JSON",
    "no-push": "push or do not push by the build itself",
    "oci-layout-path": "ask the build for the folder",
    "pre-cleanup": _ONE_BUILD,
    "preserve-context": _ONE_BUILD,
    "push-retry": _RETRIES,
    "registry-certificate": "set registries.certificates",
    "registry-client-cert": "set registries.client_certificates",
    "registry-map": "set registries.map",
    "registry-mirror": "set registries.mirrors",
    "secret": "give `secrets` to the build",
    "skip-tls-verify": _INSECURE,
    "skip-tls-verify-pull": _INSECURE,
    "skip-tls-verify-registry": _INSECURE,
    "tar-path": "ask the build for the file",
    "target": _THE_PLANS,
}


def check_flags(flags: Sequence[str]) -> list[tuple[str, str]]:
    """Return the user's flags as names and values, in their order. Raises UsageError with all that is wrong."""
    found, faults = [], []
    for text in flags:
        name, equals, value = text.removeprefix("--").partition("=")
        fault = _fault(text, name, value if equals else "true")
        if fault:
            faults.append(f"  {show(text)}: {fault}")
        found.append((name, value if equals else "true"))
    faults += _contradictions(dict(found))
    if faults:
        raise UsageError(f"{SETTING} cannot be taken:\n" + "\n".join(faults))
    return found


def warn_of(flags: Sequence[tuple[str, str]]) -> list[str]:
    """Say of each flag that is risky what it may do."""
    told = [(name, value, FLAGS[name].warning) for name, value in flags if value != "false"]
    told += [(name, value, _MAY_MISS) for name, value in flags if (name, value) == ("snapshot-mode", "time")]
    return [f"--{name}={value} {warning}" for name, value, warning in told if warning]


def _fault(text: str, name: str, value: str) -> str:
    if not text.startswith("--"):
        return "a flag begins with --, its value after =, as --snapshot-mode=redo"
    if name in REFUSED:
        return f"--{name} is not to be set here; {REFUSED[name]}"
    flag = FLAGS.get(name)
    if not flag:
        return f"--{name} is not known; allowed: {', '.join(FLAGS)}{did_you_mean(name, [*FLAGS, *REFUSED])}"
    if "\n" in value or not re.fullmatch(flag.pattern, value):
        return f"{show(value)} is not a value of --{name}; allowed: {flag.allowed}"
    return ""


def _contradictions(flags: Mapping[str, str]) -> list[str]:
    """Say what the executor refuses, before it has pulled anything."""
    if flags.get("compression") == "zstd" and flags.get("image-format") != "oci":
        return ["  --compression=zstd needs --image-format=oci: Docker's own format has no such layers"]
    return []
