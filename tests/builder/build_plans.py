"""Functions, values and facts of builds, as tests plan them; and the builds whose plans are kept in `golden/`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nuwrap.plan.build import plan_build
from nuwrap.plan.references import repository
from nuwrap.spec.build import (
    LABEL_API,
    LABEL_CONTENT,
    LABEL_FEATURES,
    LABEL_REVISION,
    LABEL_RUNTIME,
    LABEL_SOURCE,
    BuildFacts,
    BuildPlan,
    BuildSettings,
    ImageFacts,
    SourceFacts,
)
from nuwrap.spec.function import Function, make_function
from nuwrap.spec.run_values import RunValues, make_run_values

GOLDEN = Path(__file__).parent / "golden"
OURS = {LABEL_API: "nuwrap/v1", LABEL_RUNTIME: "0.1.0", LABEL_FEATURES: "compile,exec,fetch,install,job,serve"}


def sha(digit: str) -> str:
    return f"sha256:{digit * 64}"


def function(**changes: Any) -> Function:
    fields = {"name": "fn", "kind": "python", "handler": "f", "python_version": "PYTHON3_11", "code_src": "src/fn.py"}
    return make_function({**fields, **changes})


def values(**given: Any) -> RunValues:
    return make_run_values("build", given)


def image(reference: str = "python:3.11-slim", digit: str = "a", **more: Any) -> ImageFacts:
    known = {"architecture": "amd64", "python": "3.11", "libc": "glibc", "looked": True, **more}
    return ImageFacts(reference, f"{repository(reference)}@{sha(digit)}", sha(digit), **known)


def own_base(**more: Any) -> ImageFacts:
    return image("host:5000/nuwrap/python:0.1.0-3.11", "b", **{"labels": OURS, **more})


RUNTIME = image("host:5000/nuwrap/runtime:0.1.0", "c", python="", libc="", labels=OURS)
CODE = SourceFacts("src/fn.py", sha("d"), {"fn.py": sha("d")}, "/somewhere/code", "fn")


def facts(base: ImageFacts | None = None, source: SourceFacts = CODE, *, runtime: ImageFacts | None = RUNTIME) -> Any:
    return BuildFacts(base or image(), source, runtime)


def on_ours(source: SourceFacts = CODE, **more: Any) -> Any:
    return BuildFacts(own_base(**more), source, None)


SETTINGS = BuildSettings()


@dataclass(frozen=True)
class Build:
    """A build to plan."""

    facts: BuildFacts
    function: Mapping[str, Any] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    settings: BuildSettings = SETTINGS
    wheels: bool = False
    mounts_context: bool = False
    has_network: bool = False

    def plan(self) -> BuildPlan:
        how = {"wheels": self.wheels, "mounts_context": self.mounts_context, "has_network": self.has_network}
        return plan_build(function(**self.function), values(**self.values), self.settings, self.facts, **how)


GIT = "git+https://example.com/team/code.git#v1"
FROM_GIT = SourceFacts(
    GIT, "1234abc", {"pkg/__init__.py": sha("1"), "run.sh": sha("2")}, "/x", is_executable=frozenset({"run.sh"})
)
MANY = SourceFacts("src", sha("5"), {f"f{number}.py": sha("6") for number in range(201)}, "/x")
INLINE = SourceFacts("", sha("4"), {"main.py": sha("4")}, "/x")
BUILDS: Mapping[str, Build] = {
    "plain": Build(on_ours()),
    "foreign-base": Build(facts(), {"base_image": "python:3.11-slim"}),
    "requirements": Build(on_ours(), {"requirements": ["scikit-learn", "pandas>1,<3", "scikit-learn", "attrs"]}),
    "specification": Build(on_ours(), {"requirements": ["pandas>1,<3"]}, {"instructions": ["apt-get install -y git"]}),
    "instructions": Build(
        facts(),
        {},
        {"instructions": ["useradd other", "cd /tmp && apt install curl; curl --version", "[ -f /x ] || echo '$HOME'"]},
    ),
    "secrets": Build(
        facts(),
        {"requirements": ["private-package==1"]},
        {"instructions": ["test -s /run/secrets/TOKEN"], "secrets": ["TOKEN", "pip.conf"]},
    ),
    "envs": Build(
        facts(image(env={"PATH": "/usr/bin", "LANG": "C.UTF-8"})),
        {"requirements": ["numpy"]},
        {
            "envs": [
                {"name": "DEBIAN_FRONTEND", "value": "noninteractive"},
                {"name": "MODEL", "value": 'a "b" \\ $HOME \'', "persist": True},
                {"name": "LANG", "value": "it_IT.UTF-8", "persist": True},
            ],
            "instructions": ["apt-get install -y locales"],
        },
    ),
    "unknown-base": Build(facts(image("host:5000/team/base:1", python="", libc="", looked=False, architecture=""))),
    "install-python": Build(
        facts(image("nvidia/cuda:12.4-runtime", python="")),
        {"base_image": "nvidia/cuda:12.4-runtime"},
        {"instructions": ["python3 --version"]},
        BuildSettings(install_python=True),
    ),
    "local-base": Build(facts(image(is_local=True)), {"base_image": "python:3.11-slim"}),
    "wheels": Build(
        on_ours(), {"requirements": ["private-package==1"]}, {"secrets": ["TOKEN"]}, BuildSettings(), wheels=True
    ),
    "wheels-mounted": Build(on_ours(), {"requirements": ["private-package==1"]}, wheels=True, mounts_context=True),
    "image": Build(
        on_ours(),
        {"image": f"registry:5000/team/fn:1@{sha('9')}", "name": "Predict_Now", "project": "my-project"},
        {},
        BuildSettings(registry="elsewhere:5000"),
    ),
    "git": Build(
        on_ours(FROM_GIT),
        {"code_src": GIT, "handler": "pkg:f", "init_function": "setup"},
        {},
        BuildSettings(registry="host:5000/team/"),
    ),
    "inline": Build(on_ours(INLINE), {"code_src": None, "code": "def f(): return 1\n"}),
    "user": Build(facts(), {}, {}, BuildSettings(user=1000, group=1001)),
    "base-labels": Build(facts(image(labels={LABEL_SOURCE: "https://example.com/base", LABEL_REVISION: "1"}))),
    "on-a-function": Build(on_ours(labels={**OURS, LABEL_CONTENT: sha("7")})),
    "many-files": Build(on_ours(MANY)),
}


def as_document(plan: BuildPlan) -> str:
    """The plan without its Dockerfile, as `golden/` keeps it."""
    document = {
        "image": plan.reference,
        "build_args": plan.build_args,
        "secrets": list(plan.secrets),
        "notes": list(plan.notes),
        "steps": [one.key for one in plan.steps],
        "inputs": plan.inputs,
        "files": {one.path: one.copied_from or (one.text or "").split("\n") for one in plan.files[:10]},
    }
    return json.dumps(document, indent=1) + "\n"
