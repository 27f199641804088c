"""People of a cluster with some Roles of examples/kubernetes alone, each with a kubeconfig of their own."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from nuwrap.cluster.client import Cluster

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "kubernetes"
Login = Callable[..., Path]


def example(name: str) -> list[dict[str, Any]]:
    """The objects of one of the example's files."""
    return [one for one in yaml.safe_load_all((EXAMPLE / name).read_text()) if one]


def kubectl(*arguments: str, given: str | None = None, kubeconfig: str = "") -> str:
    """What kubectl prints. Skips where there is none."""
    import shutil
    import subprocess

    path = shutil.which("kubectl")
    if not path:
        pytest.skip("kubectl is not there")
    environ = {**os.environ, **({"KUBECONFIG": kubeconfig} if kubeconfig else {})}
    done = subprocess.run([path, *arguments], input=given, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def login(cluster: Cluster, namespace: str, tmp_path: Path) -> Iterator[Login]:
    """Make an account with these Roles alone, in the tests' namespace or another one, and return its kubeconfig."""
    made: list[tuple[str, str, str]] = []
    administrator = os.environ["KUBECONFIG"]  # a test becomes somebody else

    def make(*roles: str, where: str = namespace) -> Path:
        name = f"person-{secrets.token_hex(4)}"
        given = [one for one in example("roles.yaml") if one["metadata"]["name"] in roles]
        assert len(given) == len(roles)
        for role in given:
            objects = _account(name, role)
            made.extend((where, one["kind"], one["metadata"]["name"]) for one in objects)
            kubectl("-n", where, "apply", "-f", "-", given=yaml.safe_dump_all(objects))
        if not given:
            kubectl("-n", where, "create", "serviceaccount", name)
        made.append((where, "ServiceAccount", name))
        return _kubeconfig(tmp_path, where, name)

    yield make
    for where, kind, name in made:
        kubectl("-n", where, "delete", "--ignore-not-found", kind, name, kubeconfig=administrator)


def _account(name: str, role: dict[str, Any]) -> list[dict[str, Any]]:
    title = {"name": f"{name}-{role['metadata']['name']}"}
    group = "rbac.authorization.k8s.io"
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}},
        {**role, "metadata": title},
        {
            "apiVersion": f"{group}/v1",
            "kind": "RoleBinding",
            "metadata": title,
            "roleRef": {"apiGroup": group, "kind": "Role", **title},
            "subjects": [{"kind": "ServiceAccount", "name": name}],
        },
    ]


def _kubeconfig(folder: Path, namespace: str, name: str) -> Path:
    document = yaml.safe_load(Path(os.environ["KUBECONFIG"].split(os.pathsep)[0]).read_text())
    token = kubectl("-n", namespace, "create", "token", name).strip()
    context = next(one for one in document["contexts"] if one["name"] == document["current-context"])
    context["context"] |= {"user": name, "namespace": namespace}
    document["users"] = [{"name": name, "user": {"token": token}}]
    path = folder / f"{name}.kubeconfig"
    path.write_text(yaml.safe_dump(document))
    path.chmod(0o600)
    return path
