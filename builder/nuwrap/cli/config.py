"""`nuwrap config`: what a user has set for all projects."""

from __future__ import annotations

import json
import os
from typing import Any

from nuwrap.cli.show import show_rows
from nuwrap.errors import UsageError
from nuwrap.platforms import get_platform
from nuwrap.store.config import FILE_NAME, SETTINGS, read_config, write_config
from nuwrap.store.home import home_folder
from nuwrap.text import escape
from nuwrap_runtime.schema import did_you_mean, show


def show_settings(*, as_json: bool) -> int:
    """Print all settings, those that are as they were from the start too."""
    home = home_folder(os.environ)
    settings = read_config(home).values
    if as_json:
        print(json.dumps(settings, indent=1))
    else:
        rows = [(name, _text(settings[name]), one.meaning) for name, one in SETTINGS.items()]
        show_rows(("setting", "value", "meaning"), rows, f"kept in {os.path.join(home, FILE_NAME)}")
    return 0


def show_setting(name: str, *, as_json: bool) -> int:
    """Print one setting's value alone. Raises UsageError for one that does not exist."""
    settings = read_config(home_folder(os.environ)).values
    if name not in settings:
        known = list(settings)
        raise UsageError(f"{show(name)}: unknown setting{did_you_mean(name, known)}; allowed: {', '.join(known)}")
    print(json.dumps({name: settings[name]}) if as_json else escape(_text(settings[name])))
    return 0


def change_setting(name: str, value: str, *, as_json: bool) -> int:
    """Keep the value from now on. Raises UsageError for a setting or a value that does not exist."""
    if name == "platform":
        get_platform(value)
    write_config(home_folder(os.environ), name, value)
    return show_setting(name, as_json=as_json) if as_json else 0


def _text(value: Any) -> str:
    """Return the value as `nuwrap config set` takes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return ",".join(f"{name}={one}" for name, one in value.items())
    return ",".join(value) if isinstance(value, (list, tuple)) else str(value)
