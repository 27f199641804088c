"""Whether the code of a built image is still the code that the function names."""

from __future__ import annotations

import os
import re
import tempfile

from nuwrap.builds.source import Fetch, fetch_source
from nuwrap.docker import inspect_image
from nuwrap.errors import NuwrapError
from nuwrap.platforms import Job
from nuwrap.spec.build import LABEL_CONTENT, LABEL_REVISION
from nuwrap.spec.function import has_scheme

COMMIT = re.compile(r"#[0-9a-f]{40}$")


def moved_note(job: Job) -> str:
    """Return what a person should hear of an image whose code has moved on, "" where it has not or cannot have.

    Files here and branches of git are looked at; code of a launch, of a commit and of an archive stays what it was.
    """
    code_src, image = job.launch.code_src, job.container.image
    is_fixed = has_scheme(code_src) and (not code_src.startswith("git+") or COMMIT.search(code_src))
    if not image or not code_src or is_fixed or job.launch.refresh_code:
        return ""
    labels = ((inspect_image(os.environ, image) or {}).get("Config") or {}).get("Labels") or {}
    baked = labels.get(LABEL_REVISION, "")
    if not baked or LABEL_CONTENT not in labels:
        return ""
    try:
        with tempfile.TemporaryDirectory(prefix="nuwrap-look-") as work:
            now = fetch_source(Fetch(job.launch, job.folder, work, dict(os.environ))).revision
    except NuwrapError as exc:
        return f"whether {code_src} has moved on since the image was built cannot be told: {exc}"
    if now == baked:
        return ""
    return (
        f"{code_src} is at {now[:19]}, the image has {baked[:19]}, which runs; build it anew, or give "
        "refresh_code=True (--refresh-code) to run the new code in it"
    )
