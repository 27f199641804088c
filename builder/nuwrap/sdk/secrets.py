"""A project's secrets as a person has them; a value is asked for, never shown."""

from __future__ import annotations

from typing import Any

from nuwrap.errors import UsageError
from nuwrap.sdk import context
from nuwrap.store.secrets import Secrets


class Secret:
    """A secret by name. Its value stands neither in this object nor in the history."""

    def __init__(self, project: str, name: str) -> None:
        self.project = project
        self.name = name

    @property
    def key(self) -> str:
        """`store://project/secret/secret/name`."""
        return f"store://{self.project}/secret/secret/{self.name}"

    def __repr__(self) -> str:
        return f"<Secret {self.project}/{self.name}>"

    def read_secret_value(self) -> str:
        """Return the value. Raises NotFound when it was deleted."""
        return _secrets().get(self.project, self.name)

    def set_secret_value(self, value: str) -> None:
        """Replace the value."""
        _write(self.project, self.name, value)

    def delete(self) -> None:
        """Remove the secret."""
        _secrets().delete(self.project, self.name)


def new_secret(project: str | None = None, name: str | None = None, secret_value: str | None = None) -> Secret:
    """Keep a secret's value in a file of yours alone; one of the same name is replaced."""
    owner = context.check_name(project, "project")
    if not isinstance(name, str) or not name:
        raise UsageError("name: is missing; a secret is called by its name, as 'API_KEY'")
    _write(owner, name, secret_value)
    return Secret(owner, name)


def get_secret(identifier: str, project: str | None = None) -> Secret:
    """Return a secret by name. Raises NotFound naming what is there."""
    owner = context.check_name(project, "project")
    _secrets().get(owner, identifier)
    return Secret(owner, identifier)


def list_secrets(project: str) -> list[Secret]:
    """Return the project's secrets."""
    owner = context.check_name(project, "project")
    return [Secret(owner, name) for name in _secrets().names(owner)]


def delete_secret(identifier: str, project: str | None = None) -> None:
    """Remove a secret. Raises NotFound."""
    _secrets().delete(context.check_name(project, "project"), identifier)


def _secrets() -> Secrets:
    return Secrets(context.current().home)


def _write(project: str, name: str, value: Any) -> None:
    if not isinstance(value, str) or not value:
        kind = "is missing" if value is None else "is empty" if value == "" else f"is {type(value).__name__}, not text"
        raise UsageError(
            f"secret_value of {name!r} {kind}; give its text, as getpass.getpass() asks for it, or use "
            "`nuwrap secret set` in a shell"
        )
    context.ensure_project(project)
    _secrets().set(project, name, value)
