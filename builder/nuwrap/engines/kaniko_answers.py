"""What executors have answered to questions, kept by image: a pod that only asks takes seconds."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

FRESH_S: Final = 24 * 3600.0  # a tag may name another image tomorrow; a digest never does


def kept_answers(folder: str, image: str) -> Mapping[str, str]:
    """Return the answers by question, {} where none are kept or a tag's are old."""
    path = _path(folder, image)
    try:
        if "@sha256:" not in image and time.time() - os.path.getmtime(path) > FRESH_S:
            return {}
        with open(path, encoding="utf-8") as stream:
            found = json.load(stream)
    except (OSError, ValueError):
        return {}
    is_whole = isinstance(found, dict) and all(isinstance(text, str) for text in found.values())
    return found if is_whole else {}


def keep_answers(folder: str, image: str, answers: Mapping[str, str]) -> None:
    """Keep the answers; where that cannot be, they are asked for again."""
    path = _path(folder, image)
    making = f"{path}.{secrets.token_hex(4)}"
    with suppress(OSError):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(making, "w", encoding="utf-8") as stream:
            json.dump(answers, stream)
        os.replace(making, path)


def _path(folder: str, image: str) -> str:
    return os.path.join(folder, "kaniko", f"{hashlib.sha256(image.encode()).hexdigest()}.json")
