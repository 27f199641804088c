"""The handler's `context`: logger, project, run, Response, as nuclio-sdk and DigitalHub name them."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any, Callable, Optional

from nuwrap_runtime.worker.event import TriggerInfo

LEVELS: Mapping[str, int] = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}


class Response:
    """A reply with its own status, headers and content type; the arguments are nuclio_sdk.Response's."""

    def __init__(
        self,
        headers: Optional[Mapping[str, Any]] = None,
        body: Any = None,
        content_type: Optional[str] = None,
        status_code: int = 200,
        event_id: Optional[str] = None,
    ) -> None:
        self.headers = dict(headers or {})
        self.body = body
        self.content_type = content_type or "text/plain"
        self.status_code = status_code
        self.event_id = event_id

    def ensure_no_ack(self) -> None:
        """Keep a stream trigger from committing this event's offset."""
        self.headers["x-nuclio-stream-no-ack"] = "true"


class Logger:
    """Log records to the host. Every level also has a `_with` form, whose keywords go along as fields.

    `send` gets each record as JSON in ASCII.
    """

    def __init__(self, send: Callable[[bytes], None], level: str = "debug", bound: Optional[dict[str, Any]] = None):
        self._send = send
        self._level = LEVELS.get(level, 10)
        self._bound = bound or {}

    def debug(self, message: Any, *args: Any) -> None:
        """Log for whoever looks for a fault."""
        self._log("debug", message, args, {})

    def info(self, message: Any, *args: Any) -> None:
        """Log what went as it should."""
        self._log("info", message, args, {})

    def warning(self, message: Any, *args: Any) -> None:
        """Log what somebody should look at."""
        self._log("warning", message, args, {})

    def error(self, message: Any, *args: Any) -> None:
        """Log what failed."""
        self._log("error", message, args, {})

    def critical(self, message: Any, *args: Any) -> None:
        """Log what ends the service."""
        self._log("critical", message, args, {})

    def debug_with(self, message: Any, *args: Any, **fields: Any) -> None:
        """Log at debug, with fields."""
        self._log("debug", message, args, fields)

    def info_with(self, message: Any, *args: Any, **fields: Any) -> None:
        """Log at info, with fields."""
        self._log("info", message, args, fields)

    def warning_with(self, message: Any, *args: Any, **fields: Any) -> None:
        """Log at warning, with fields."""
        self._log("warning", message, args, fields)

    def error_with(self, message: Any, *args: Any, **fields: Any) -> None:
        """Log at error, with fields."""
        self._log("error", message, args, fields)

    def critical_with(self, message: Any, *args: Any, **fields: Any) -> None:
        """Log at critical, with fields."""
        self._log("critical", message, args, fields)

    warn, warn_with = warning, warning_with

    def bind(self, **fields: Any) -> Logger:
        """Give every record from now on these fields, as nuclio-sdk's does; returns this logger."""
        self._bound = {**self._bound, **fields}
        return self

    def copy(self) -> Logger:
        """Return another one, whose level and fields are its own from now on."""
        copy = Logger(self._send, bound=self._bound)
        copy._level = self._level
        return copy

    def set_level(self, level: str) -> None:
        """Drop records below `level`, in the worker, so that they cost nothing further on."""
        self._level = LEVELS[level]

    def _log(self, level: str, message: Any, args: tuple[Any, ...], fields: Mapping[str, Any]) -> None:
        if LEVELS[level] < self._level:
            return
        record = {
            "datetime": _now(),
            "level": level,
            "message": _text(message, args),
            "with": {**self._bound, **fields},
        }
        self._send(_record_json(record).encode("ascii"))


def _now() -> str:
    """Return the time as ISO 8601 in UTC with milliseconds, without importing datetime."""
    seconds, rest = divmod(time.time(), 1)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{int(rest * 1000):03d}+00:00"


def _text(message: Any, args: tuple[Any, ...]) -> str:
    """Return `message % args`; a log line whose marks and arguments do not fit shows both, it never ends a handler."""
    if not args:
        return str(message)
    try:
        return str(message) % args
    except (TypeError, ValueError, KeyError):
        return " ".join([str(message), *(str(one) for one in args)])


def _record_json(record: dict[str, Any]) -> str:
    try:
        return json.dumps(record, allow_nan=False, default=repr)
    except (TypeError, ValueError, RecursionError):  # NaN, a key that is no text, a value that contains itself
        fields = {name: repr(value) for name, value in record["with"].items()}
        return json.dumps({**record, "with": fields})


class UserData:
    """A bag for what init_function prepares and the handler uses: any attribute."""


class Context:
    """What does not change between events."""

    def __init__(
        self,
        *,
        logger: Logger,
        trigger: TriggerInfo,
        worker_id: str,
        root: str,
        find_entities: Callable[[], tuple[Any, Any]],
    ) -> None:
        self.logger = logger
        self.trigger = trigger
        self.trigger_name = trigger.name
        self.worker_id = worker_id
        self.root = root
        self._find_entities = find_entities
        self.user_data = UserData()
        self.user_function: Optional[Callable[..., Any]] = None
        self.Response = Response
        self._platform: Any = None

    @property
    def project(self) -> Any:
        """The run's project, as `project` is in a signature."""
        return self._find_entities()[0]

    @property
    def run(self) -> Any:
        """The run under way, as `run` is in a signature."""
        return self._find_entities()[1]

    def use_platform(self, platform: Any) -> None:
        """Have `platform` be this one: that of the processor which sends the events."""
        self._platform = platform

    @property
    def platform(self) -> Any:
        """nuclio_sdk's Platform; made when first asked for, because importing the SDK costs about 40 ms."""
        if self._platform is None:
            from nuclio_sdk import Platform

            self._platform = Platform("local")
        return self._platform
