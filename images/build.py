"""`make build-images`: nuwrap's own images, built, tried and, where that is asked for, pushed.

What was made is in build/images.json; which there are, and their names: builder/nuwrap/spec/images.py.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace

from archives import ROOT, compressed_bytes, make_archive
from making import Made, Workshop, build, find_platform, push
from smoke import try_image
from wanted import RUNTIME, RUNTIME_SLIM, Choice, Image, list_images

from nuwrap import __version__
from nuwrap.errors import NuwrapError, UsageError
from nuwrap.spec import images
from nuwrap_runtime.schema import did_you_mean

FOLDER = os.path.join(ROOT, "build")
RECORD = "images.json"
MIB = 1024 * 1024


def main(argv: Sequence[str]) -> int:
    """Build what is asked for, print a table or JSON, and return 0; the exit code of the first failure else."""
    options = _parse(argv)
    try:
        choice = _choose(options)
        made = _make_all(choice, options)
    except NuwrapError as exc:
        print(f"build-images: {exc}", file=sys.stderr)
        return exc.exit_code
    document = {"version": choice.version, "images": [one.to_document() for one in made]}
    with open(os.path.join(options.folder, RECORD), "w", encoding="utf-8") as stream:
        json.dump(document, stream, indent=1)
    print(json.dumps(document, indent=1) if options.json else _table(made))
    if not choice.processor_image:
        _say("left out: images with Nuclio's processor; PROCESSOR_IMAGE=IMAGE names an image that has one")
    if not choice.kaniko_image:
        _say("left out: the image with kaniko; KANIKO_IMAGE=IMAGE names an image that has its executor")
    return 0


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="images/build.py", description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    add("--pythons", default="", metavar="LIST", help=f"of {' '.join(images.PYTHONS)}; all unless given")
    add("--registry", default="", metavar="HOST/TEAM", help="where the names of images begin, for --push")
    add("--push", action="store_true", help="push what was built and tried")
    add("--engine", default="", metavar="NAME", help="docker, the only one that builds these images")
    add("--base", default="", metavar="REPOSITORY", help=f"of Python's images, {images.BASE!r} unless given")
    add("--processor-image", default="", metavar="IMAGE", help="an image with Nuclio's processor")
    add("--kaniko-image", default="", metavar="IMAGE", help="an image with kaniko's executor")
    add("--pull", action="store_true", help="ask the registry for newer bases")
    add("--no-smoke", action="store_true", help="do not try what was built")
    add("--json", action="store_true", help="print what is in build/images.json, not a table")
    add("--version-tag", default=__version__, metavar="TEXT", help=argparse.SUPPRESS)
    add("--folder", default=FOLDER, metavar="FOLDER", help=argparse.SUPPRESS)
    return parser.parse_args(list(argv))


def _choose(options: argparse.Namespace) -> Choice:
    """Return the choice that the options mean. Raises UsageError."""
    pythons = options.pythons.replace(",", " ").split() or list(images.PYTHONS)
    for one in pythons:
        if one not in images.PYTHONS:
            near = did_you_mean(one, list(images.PYTHONS))
            raise UsageError(f"PYTHONS: {one!r} is not known; allowed: {', '.join(images.PYTHONS)}{near}")
    if options.engine not in ("", "auto", "docker"):
        raise UsageError(
            f"ENGINE: {options.engine!r} does not build nuwrap's own images; allowed: docker "
            "(what it makes, each engine builds upon)"
        )
    if options.push and not options.registry:
        raise UsageError("PUSH=1 needs REGISTRY=HOST/TEAM: without it the images have local names")
    where = (options.registry, options.base or images.BASE)
    return Choice(pythons, options.version_tag, *where, options.processor_image, options.kaniko_image)


def _make_all(choice: Choice, options: argparse.Namespace) -> list[Made]:
    """Build and try all, then push all: what does not work reaches no registry."""
    environ = dict(os.environ)
    platform = find_platform(environ)
    workshop = Workshop(
        os.path.join(options.folder, "images"), os.path.join(options.folder, "logs"), environ, options.pull
    )
    for folder in (workshop.context, workshop.logs):
        os.makedirs(folder, exist_ok=True)
    for name in (RUNTIME, RUNTIME_SLIM):
        path = os.path.join(workshop.context, name)
        make_archive(path, sys.executable, platform, environ, has_uv=name == RUNTIME)
    made = [_make(image, workshop, is_tried=not options.no_smoke) for image in list_images(choice)]
    return [push(one, environ) for one in made] if options.push else made


def _make(image: Image, workshop: Workshop, *, is_tried: bool) -> Made:
    made = build(image, workshop)
    if image.kind == "runtime":
        made = replace(made, compressed_bytes=compressed_bytes(os.path.join(workshop.context, image.args["ARCHIVE"])))
    _say(f"{made.reference} built in {made.seconds:.1f} s")
    if not is_tried:
        return made
    began = time.monotonic()
    for fact in try_image(image.kind, image.reference, image.python, workshop.environ):
        _say(f"  {fact}")
    return replace(made, tried_seconds=round(time.monotonic() - began, 1))


def _table(made: Sequence[Made]) -> str:
    rows = [("image", "digest", "MiB", "compressed", "built", "tried")]
    for one in made:
        packed = f"{one.compressed_bytes / MIB:.1f}" if one.compressed_bytes is not None else "-"
        tried = f"{one.tried_seconds:.1f} s" if one.tried_seconds is not None else "-"
        digest = (one.digest or one.image_id)[: len("sha256:") + 12]
        rows.append((one.reference, digest, f"{one.bytes / MIB:.1f}", packed, f"{one.seconds:.1f} s", tried))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip() for row in rows)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
