"""How arguments reach the user's function: decided once per worker, from its signature and the worker spec.

Two forms: `nuclio`, where (context, event) go by position and a request is the function's own affair; `names`, where
what is injected, what the run fixes and what a request brings go by name.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Callable, Optional

from nuwrap_runtime.errors import InitError, InputsError
from nuwrap_runtime.worker.annotations import annotation_name, is_beyond_json, resolve
from nuwrap_runtime.worker.convert import convert, takes_list
from nuwrap_runtime.worker.event import repeated_fields
from nuwrap_runtime.worker.spec import WorkerSpec

RESERVED = ("project", "run", "context", "event")

_ALIASES = {"ctx": "context", "context": "context", "ev": "event", "evt": "event", "event": "event"}

_EMPTY = inspect.Parameter.empty
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class Unprocessable(Exception):
    """A request whose values do not fit the function's signature; it is answered with 422."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message


@dataclass(frozen=True)
class Slot:
    """A parameter that is bound by name. `default` is the signature's, or `inspect.Parameter.empty`."""

    name: str
    annotation: Any
    default: Any
    is_positional_only: bool = False


@dataclass(frozen=True)
class Binding:
    """What goes where. `leading` are injected values by position; `slots` go by name.

    `any_annotation` is that of `**kwargs`, None when there is none.
    """

    leading: tuple[str, ...]
    slots: tuple[Slot, ...]
    has_any: bool = False
    any_annotation: Any = Any
    from_request: bool = False

    @property
    def form(self) -> str:
        """`nuclio` or `names`."""
        return "nuclio" if self.leading else "names"

    def arguments(
        self, injected: Mapping[str, Any], values: Mapping[str, Any], event: Any = None
    ) -> tuple[list[Any], dict[str, Any]]:
        """Return the positional and the named arguments of one call.

        `injected` holds the reserved names, `values` the run's parameters and inputs. Raises Unprocessable when the
        event of a service does not fit.
        """
        given = dict(values)
        given.update((slot.name, injected[slot.name]) for slot in self.slots if slot.name in RESERVED)
        if self.from_request:
            given.update(self._from_event(given, event))
        positional = [injected[name] for name in self.leading]
        positional += [given.pop(slot.name, slot.default) for slot in self._by_position(given)]
        return positional, given

    def _by_position(self, given: Mapping[str, Any]) -> tuple[Slot, ...]:
        """Return the positional-only slots up to the last given one: what stands before it needs its default."""
        only = [slot for slot in self.slots if slot.is_positional_only]
        last = max((index for index, slot in enumerate(only) if slot.name in given), default=-1)
        return tuple(only[: last + 1])

    def _from_event(self, given: Mapping[str, Any], event: Any) -> dict[str, Any]:
        body, query = self._sources(given, event)
        self._refuse_override(given, body, query)
        found = {}
        for slot in self.slots:
            if slot.name in given:
                continue
            if slot.name in body:
                found[slot.name] = _fit(slot.name, body[slot.name], slot.annotation, from_query=False)
            elif slot.name in query:
                value = _every(event, slot.name, query[slot.name]) if takes_list(slot.annotation) else query[slot.name]
                found[slot.name] = _fit(slot.name, value, slot.annotation, from_query=True)
            elif slot.default is _EMPTY:
                raise Unprocessable(slot.name, _missing(event))
        return {**self._others(body, query), **found}

    def _sources(self, given: Mapping[str, Any], event: Any) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """Return the body's keys and the query's. Raises Unprocessable for a body that should have keys and has none.

        A function that takes nothing of a request may get any body; one that takes the event, too, any that is JSON.
        """
        query = {str(key).replace("-", "_"): value for key, value in (event.fields or {}).items()}
        if isinstance(event.body, dict):
            return event.body, query
        if self.has_any or any(slot.name not in given for slot in self.slots):
            if event.body_fault:
                raise Unprocessable("body", f"is sent as application/json and is no JSON: {event.body_fault}")
            is_other = event.body is not None and not isinstance(event.body, (bytes, bytearray))
            if is_other and "event" not in given:
                raise Unprocessable("body", f"is {_json_kind(event.body)}; {_OBJECT}")
        return {}, query

    def _others(self, body: Mapping[str, Any], query: Mapping[str, Any]) -> dict[str, Any]:
        """Return what `**kwargs` takes: the keys that no parameter has."""
        if not self.has_any:
            return {}
        known = {slot.name for slot in self.slots}
        found = {}
        for source, from_query in ((query, True), (body, False)):
            for name in source.keys() - known:
                found[name] = _fit(name, source[name], self.any_annotation, from_query=from_query)
        return found

    def _refuse_override(self, given: Mapping[str, Any], *sources: Mapping[str, Any]) -> None:
        taken = {*given, *RESERVED} if self.has_any else given
        for source in sources:
            for name in source:
                if name in taken:
                    why = "is given to the function by nuwrap" if name in RESERVED else "is fixed by this run"
                    raise Unprocessable(name, f"{why}, a request cannot set it; leave it out")


def plan_binding(function: Callable[..., Any], spec: WorkerSpec) -> Binding:
    """Decide how the function gets its arguments.

    Raises InputsError when inputs and parameters do not fit the signature: unknown names, missing ones, and what was
    expected. In a service the names that remain come with each request.
    """
    parameters = _parameters(function, spec)
    if parameters is None:
        return Binding(("context", "event"), ())
    leading = _leading(parameters, spec)
    hints = resolve(function)
    rest = [one for one in parameters[len(leading) :] if one.kind not in _VARIADIC]
    catch_all = [one for one in parameters if one.kind is inspect.Parameter.VAR_KEYWORD]
    binding = Binding(
        leading=leading,
        slots=tuple(_slot(one, hints) for one in rest),
        has_any=bool(catch_all),
        any_annotation=hints.get(catch_all[0].name, Any) if catch_all else Any,
        from_request=spec.mode == "event" and not leading,
    )
    _check(binding, parameters, spec)
    return binding


def _parameters(function: Callable[..., Any], spec: WorkerSpec) -> Optional[list[inspect.Parameter]]:
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError) as exc:  # some callables of C extensions tell no signature
        if spec.binding == "nuclio" and not spec.parameters and not spec.inputs:
            return None
        raise InputsError(
            f"handler {spec.handler!r} tells no signature ({exc}), so nothing can be bound by name; "
            "wrap it in a Python function"
        ) from exc


def binding_form(function: Callable[..., Any], spec: WorkerSpec) -> str:
    """Return `nuclio` or `names`, without checking that the run's values fit."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return "nuclio"
    return "nuclio" if spec.binding == "nuclio" or _leading(parameters, spec) else "names"


def _leading(parameters: list[inspect.Parameter], spec: WorkerSpec) -> tuple[str, ...]:
    """Return what goes by position, in order; () means that all goes by name."""
    if spec.binding == "names":
        return ()
    if spec.binding == "nuclio":
        _check_nuclio(parameters, spec)
        return ("context", "event")
    required = [one for one in parameters if one.default is _EMPTY and one.kind not in _VARIADIC]
    if len(required) != 2 or required != parameters[:2] or any(one.kind not in _POSITIONAL for one in required):
        return ()
    roles = [_role(one) for one in required]
    if None not in roles:
        return tuple(str(role) for role in roles) if roles[0] != roles[1] else ()
    known = roles[0] or roles[1]
    if known is None:
        return _by_alias(required, spec)
    other = required[roles.index(None)]
    if other.name in RESERVED or not _is_free(other, spec):
        return ()
    missing = "event" if known == "context" else "context"
    return (known, missing) if roles[0] else (missing, known)


def _by_alias(required: list[inspect.Parameter], spec: WorkerSpec) -> tuple[str, ...]:
    """Return the roles of two such as `ctx, ev`; one of these names alone, beside another, may be anything."""
    roles = tuple(_ALIASES.get(one.name.strip("_"), "") for one in required if _is_free(one, spec))
    return roles if sorted(roles) == ["context", "event"] else ()


def _is_free(parameter: inspect.Parameter, spec: WorkerSpec) -> bool:
    """Tell whether neither an annotation nor the run says what the parameter is."""
    return parameter.annotation is _EMPTY and parameter.name not in {*spec.inputs, *spec.parameters}


def _role(parameter: inspect.Parameter) -> Optional[str]:
    if parameter.name in ("context", "event"):
        return parameter.name
    name = annotation_name(parameter.annotation).lower()
    return name if name in ("context", "event") else None


def _check_nuclio(parameters: list[inspect.Parameter], spec: WorkerSpec) -> None:
    takes = [one for one in parameters if one.kind in _POSITIONAL]
    is_open = any(one.kind is inspect.Parameter.VAR_POSITIONAL for one in parameters)
    if len(takes) < 2 and not is_open:
        raise InputsError(
            f"handler {spec.handler!r} takes ({_expected(parameters)}); binding 'nuclio' calls it with (context, event)"
        )


def _slot(parameter: inspect.Parameter, hints: Mapping[str, Any]) -> Slot:
    only = parameter.kind is inspect.Parameter.POSITIONAL_ONLY
    return Slot(parameter.name, hints.get(parameter.name, Any), parameter.default, only)


def _check(binding: Binding, parameters: list[inspect.Parameter], spec: WorkerSpec) -> None:
    given = {*spec.inputs, *spec.parameters}
    faults = [f"{name} is a reserved name: nuwrap gives it" for name in sorted(given & set(RESERVED))]
    by_position = {one.name for one in parameters[: len(binding.leading)] if one.kind in _POSITIONAL} - set(RESERVED)
    faults += [f"{name} is taken by context or event" for name in sorted(given & by_position)]
    known = {slot.name for slot in binding.slots} | by_position | set(RESERVED)
    unknown = [] if binding.has_any else sorted(given - known)
    required = [slot for slot in binding.slots if slot.default is _EMPTY and slot.name not in {*given, *RESERVED}]
    if binding.from_request:
        missing = [slot.name for slot in required if is_beyond_json(slot.annotation)]
    else:
        missing = [slot.name for slot in required]
    faults += [f"unknown: {', '.join(unknown)}"] if unknown else []
    faults += [f"missing: {', '.join(missing)}"] if missing else []
    if faults:
        raise InputsError(
            f"handler {spec.handler!r} cannot be called with this run's inputs and parameters: {'; '.join(faults)}; "
            f"expected: {_expected(parameters)}" + _request_hint(binding, missing)
        )


def _request_hint(binding: Binding, missing: list[str]) -> str:
    if not binding.from_request or not missing:
        return ""
    return "; a request cannot carry such a value, so give it as an input, or name it context or event if it is one"


def _expected(parameters: list[inspect.Parameter]) -> str:
    texts = [str(one.replace(annotation=_EMPTY)) if one.kind in _VARIADIC else _short(one) for one in parameters]
    return ", ".join(texts) or "no arguments"


def _short(parameter: inspect.Parameter) -> str:
    if parameter.default is _EMPTY:
        return parameter.name
    text = repr(parameter.default)
    return f"{parameter.name}={text if len(text) <= 40 else '…'}"


def _fit(name: str, value: Any, annotation: Any, *, from_query: bool) -> Any:
    try:
        return convert(value, annotation, from_query=from_query)
    except ValueError as exc:
        raise Unprocessable(name, str(exc)) from exc


def _every(event: Any, name: str, value: Any) -> Any:
    """Return all values of the query's argument where it is given more than once, else the one."""
    every = [one for key, values in repeated_fields(event).items() if key.replace("-", "_") == name for one in values]
    return every or value


_OBJECT = "an object is needed, whose keys are the function's arguments"


def _json_kind(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    kinds = ((str, "text"), (list, "a list"), ((int, float), "a number"))
    return next((name for kind, name in kinds if isinstance(value, kind)), type(value).__name__)


def _missing(event: Any) -> str:
    text = "is missing; send it as a key of a JSON body or in the query"
    if event.body and not isinstance(event.body, dict):
        if not isinstance(event.body, (bytes, bytearray)):
            return f"{text} (this body is {_json_kind(event.body)}; {_OBJECT})"
        return f"{text} (this body is not sent as application/json; its content type: {event.content_type or 'none'})"
    return text


def init_arguments(function: Callable[..., Any], context: Any, init_parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the named arguments for `init_function`: `context` and the init parameters.

    Raises InitError when it takes no `context`, or lacks or does not know a name; the message lists what it expects.
    """
    name = getattr(function, "__name__", repr(function))
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError) as exc:
        raise InitError(f"init_function {name!r} tells no signature: {exc}") from exc
    faults = _init_faults(parameters, init_parameters)
    if faults:
        raise InitError(
            f"init_function {name!r} cannot be called with context and init_parameters: {'; '.join(faults)}; "
            f"expected: {_expected(parameters)}"
        )
    return {"context": context, **init_parameters}


def _init_faults(parameters: list[inspect.Parameter], given: Mapping[str, Any]) -> list[str]:
    named = [one for one in parameters if one.kind not in _VARIADIC]
    names = [one.name for one in named]
    has_any = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters)
    faults = [
        f"{one.name} can only be given by position: remove the '/'"
        for one in named
        if one.kind is inspect.Parameter.POSITIONAL_ONLY
    ]
    if "context" not in names and not has_any:
        faults.append("it has no parameter 'context': add it as the first")
    if "context" in given:
        faults.append("init_parameters has 'context', which nuwrap gives: rename it")
    unknown = sorted(set(given) - {*names, "context"})
    missing = [one.name for one in named if one.default is _EMPTY and one.name not in {*given, "context"}]
    faults += [f"unknown: {', '.join(unknown)}"] if unknown and not has_any else []
    faults += [f"missing: {', '.join(missing)}"] if missing else []
    return faults


def describe(function: Callable[..., Any], spec: WorkerSpec) -> dict[str, Any]:
    """Return the function's signature as JSON, for `check`; calls nothing."""
    from nuwrap_runtime.worker.describe import describe_function

    return describe_function(function, spec, binding_form(function, spec))
