"""The licences of what a tree bundles, each package's once, and one NOTICE that lists them."""

from __future__ import annotations

import glob
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from email.message import Message
from email.parser import Parser

FILES = re.compile(r"(licen[cs]e|notice|copying|authors)", re.IGNORECASE)
BILLS = "sboms"  # what a compiled program was made of (PEP 770), licences included
HEAD = "What is in this folder's tree, apart from nuwrap itself (Apache-2.0), with the licence of each:\n"


def keep_licenses(folder: str, packages: Sequence[str]) -> None:
    """Write `NOTICE` and `NAME-VERSION/…` into the folder from the metadata of what is installed in `packages`."""
    lines = {}
    for found in _metadata(packages):
        name, about = os.path.basename(found)[: -len(".dist-info")], _read(os.path.join(found, "METADATA"))
        files = list(_license_files(found))
        for path in files:
            target = os.path.join(folder, name, _short(path))
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.copyfile(os.path.join(found, path), target)
        kept = ", ".join(sorted(f"{name}/{_short(path)}" for path in files)) or "no file of its own"
        lines[name] = f"{about['Name']} {about['Version']}: {_license(about)} ({kept})"
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "NOTICE"), "w", encoding="utf-8") as stream:
        stream.write("\n".join([HEAD, *(lines[name] for name in sorted(lines)), ""]))


def _metadata(packages: Sequence[str]) -> Iterator[str]:
    for folder in packages:
        yield from sorted(glob.glob(os.path.join(glob.escape(folder), "*.dist-info")))


def _read(path: str) -> Message:
    with open(path, encoding="utf-8") as stream:
        return Parser().parse(stream, headersonly=True)


def _license_files(folder: str) -> Iterator[str]:
    """Give the paths of texts and bills of material, relative to the folder of metadata."""
    for where, _, names in os.walk(folder):
        for name in sorted(names):
            path = os.path.relpath(os.path.join(where, name), folder)
            if FILES.match(name) or path.split(os.sep)[0] in ("licenses", BILLS):
                yield path


def _short(path: str) -> str:
    return path.removeprefix("licenses/")


def _license(about: Message) -> str:
    """Return the licence as the package calls it: an SPDX expression, else its own words, on one line."""
    told = about["License-Expression"] or about["License"] or ""
    classified = [one for one in about.get_all("Classifier", []) if one.startswith("License ::")]
    return " ".join(told.split()) or "; ".join(one.split(" :: ")[-1] for one in classified) or "see its files"
