"""Ask a registry whether a push would be let in, before minutes of building."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from nuwrap.errors import RegistryError
from nuwrap.registry.endpoints import own_endpoint
from nuwrap.registry.repository import Repository
from nuwrap.spec.build import RegistryAccess
from nuwrap.spec.reference import parse_reference


def check_push(reference: str, access: RegistryAccess, environ: Mapping[str, str]) -> None:
    """Begin an upload and take it back, with the credentials that an engine would use.

    Raises SpecError for a reference that is none, RegistryError that names the credentials used and the command that
    helps.
    """
    repository = Repository(own_endpoint(parse_reference(reference), access), access, environ, actions="pull,push")
    try:
        session = repository.begin_upload()
        with suppress(RegistryError):  # the answer is there; a registry forgets an upload by itself
            repository.cancel_upload(session)
    finally:
        repository.close()
