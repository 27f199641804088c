"""Authorities of this machine in a container of Docker, and the run's own variables on their way there."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from nuwrap.platforms.docker_wanted import GIVEN, Gift
from nuwrap_runtime.launch import VARIABLES

PREFIX = "NUWRAP_CONTAINER_"  # of the run's own variables, in the environment of who starts the container
_AUTHORITIES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT", "GIT_SSL_CAINFO", "AWS_CA_BUNDLE")


@dataclass(frozen=True)
class Certificates:
    """Files of authorities that go into the container, and the variables that name them there."""

    gifts: Sequence[Gift] = ()
    environ: Mapping[str, str] = field(default_factory=dict)


def settle_certificates(environ: Mapping[str, str]) -> Certificates:
    """Return what the variables of authorities come to in a container; each file goes in once."""
    paths = {name: os.path.abspath(environ[name]) for name in _AUTHORITIES if os.path.isfile(environ.get(name, ""))}
    at = {path: f"{GIVEN}/certificates/{number}.pem" for number, path in enumerate(dict.fromkeys(paths.values()))}
    return Certificates(
        tuple(Gift(path, place) for path, place in at.items()), {name: f"/{at[path]}" for name, path in paths.items()}
    )


def hide_own(environ: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of who starts the container, the run's own variables under names that mean nothing there.

    So a run's PATH or DOCKER_HOST is not the docker client's.
    """
    plain = {name: value for name, value in environ.items() if not name.startswith(PREFIX)}
    return {**plain, **{PREFIX + name: value for name, value in own.items()}}


def own_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the run's own variables out of what `hide_own` has made."""
    return {name[len(PREFIX) :]: value for name, value in environ.items() if name.startswith(PREFIX)}


def image_variables() -> list[str]:
    """Return the variables of an image that would change a launch: what the image was built for is not this run."""
    return [*VARIABLES, "NUWRAP_LAUNCH"]
