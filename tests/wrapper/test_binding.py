"""Which arguments reach a function: by position, by name, from a request; and what fails before anything is called."""

from __future__ import annotations

import enum
import functools
import json
from typing import Any, List, Optional  # noqa: UP035 - users write them
from urllib.parse import urlencode

import pytest

from nuwrap_runtime import Dataitem, handler
from nuwrap_runtime.errors import InitError, InputsError
from nuwrap_runtime.worker.binding import Unprocessable, describe, init_arguments, plan_binding
from nuwrap_runtime.worker.event import Event
from nuwrap_runtime.worker.spec import WorkerSpec

INJECTED = {"project": "PROJECT", "run": "RUN", "context": "CONTEXT", "event": "EVENT"}


class Context:
    pass


class Color(enum.Enum):
    RED = "red"


def job(**spec: Any) -> WorkerSpec:
    return WorkerSpec(root="/src", handler="main:f", mode="job", **spec)


def service(**spec: Any) -> WorkerSpec:
    return WorkerSpec(root="/src", handler="main:f", mode="event", **spec)


def request(body: Any = None, content_type: str = "application/json", **query: Any) -> Event:
    """Return the event of a request; a query's list is a name that is given once per item."""
    pairs = [(name, one) for name, value in query.items() for one in (value if isinstance(value, list) else [value])]
    content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    target = "/?" + urlencode(pairs)
    return Event({"body": content, "fields": dict(pairs), "content_type": content_type, "url": target})


def call(function: Any, spec: WorkerSpec, event: Any = None) -> Any:
    positional, named = plan_binding(function, spec).arguments(INJECTED, {**spec.parameters, **spec.inputs}, event)
    return function(*positional, **named)


def test_reserved_names_are_injected_where_the_signature_has_them() -> None:
    assert call(lambda project, run, context, event: (project, run, context, event), job()) == tuple(INJECTED.values())


def test_parameters_and_inputs_go_by_name_and_defaults_stay() -> None:
    spec = job(parameters={"x": 3}, inputs={"di": "store://p/dataitem/table/t"})
    assert call(lambda di, x, y=2: (di, x * y), spec) == ("store://p/dataitem/table/t", 6)


def test_unknown_and_missing_names_are_one_error_with_what_was_expected() -> None:
    def f(x: int, y: int = 2, *rest: int) -> None: ...

    with pytest.raises(InputsError, match=r"'main:f'.*unknown: z; missing: x; expected: x, y=2, \*rest"):
        plan_binding(f, job(parameters={"z": 1}))


@pytest.mark.parametrize("name", ["project", "run", "context", "event"])
def test_a_reserved_name_cannot_be_a_parameter_of_the_run(name: str) -> None:
    with pytest.raises(InputsError, match=f"{name} is a reserved name"):
        plan_binding(lambda **_: None, job(parameters={name: 1}))


def test_keyword_arguments_take_any_name() -> None:
    assert call(lambda **kw: kw, job(parameters={"a": 1, "kw": 2})) == {"a": 1, "kw": 2}


def test_star_arguments_are_no_place_for_a_named_value() -> None:
    with pytest.raises(InputsError, match="unknown: args"):
        plan_binding(lambda *args: args, job(parameters={"args": [1]}))


def test_positional_only_parameters_are_given_by_position_with_defaults_before_them() -> None:
    def f(a: int = 1, b: int = 2, /, c: int = 3) -> tuple[int, int, int]:
        return a, b, c

    assert call(f, job(parameters={"b": 20})) == (1, 20, 3)
    assert call(f, job(parameters={"c": 30})) == (1, 2, 30)


def test_keyword_only_context_and_event_go_by_name() -> None:
    assert call(lambda *, context, event: (context, event), job()) == ("CONTEXT", "EVENT")


def nuclio_plain(context, event): ...
def nuclio_short(ctx, event): ...
def nuclio_other(context, payload): ...
def nuclio_swapped(event, context): ...
def nuclio_annotated(c: Context, e): ...
def nuclio_text(c: Context, e: nuclio_sdk.Event): ...  # noqa: F821 - resolved by its name alone
def two_contexts(context, c: Context): ...
def nuclio_aliases(ctx, ev): ...
def nuclio_unused(evt, _ctx): ...
def annotated_aliases(ctx: str, ev: int): ...
def nuclio_optional(ctx, event, project=None): ...


@pytest.mark.parametrize(
    ("function", "leading"),
    [
        (nuclio_plain, ("context", "event")),
        (nuclio_short, ("context", "event")),
        (nuclio_other, ("context", "event")),
        (nuclio_swapped, ("event", "context")),
        (nuclio_annotated, ("context", "event")),
        (nuclio_text, ("context", "event")),
        (nuclio_optional, ("context", "event")),
        (nuclio_aliases, ("context", "event")),
        (nuclio_unused, ("event", "context")),
        (annotated_aliases, ()),
        (lambda ctx, n: None, ()),
        (lambda ev, evt: None, ()),
        (two_contexts, ()),
        (lambda context, x, y: None, ()),
        (lambda context, project: None, ()),
        (lambda context, context_b=1: None, ()),
        (lambda name, context, event: None, ()),
        (lambda first, second: None, ()),
        (lambda *, context, event: None, ()),
    ],
)
def test_auto_goes_by_position_only_when_the_first_two_are_context_and_event(function: Any, leading: Any) -> None:
    assert plan_binding(function, service()).leading == leading


def test_an_input_beside_context_goes_by_name() -> None:
    def f(context, di):
        return context, di

    spec = job(inputs={"di": "store://p/dataitem/table/t"})
    assert plan_binding(f, spec).leading == ()
    assert call(f, spec) == ("CONTEXT", "store://p/dataitem/table/t")


def test_an_annotated_parameter_beside_context_goes_by_name() -> None:
    def f(context, n: int):
        return n

    assert call(f, service(), request({"n": 4})) == 4


def test_positional_handlers_take_fixed_values_and_never_look_at_the_request() -> None:
    def f(ctx, event, project=None, limit=1):
        return ctx, event, project, limit

    spec = service(parameters={"limit": 9})
    assert call(f, spec, request({"limit": 1, "x": 2})) == ("CONTEXT", "EVENT", "PROJECT", 9)


def test_nuclio_binding_goes_by_position_whatever_the_names() -> None:
    assert call(lambda a, b: (a, b), service(binding="nuclio")) == ("CONTEXT", "EVENT")
    assert call(lambda *args: args, service(binding="nuclio")) == ("CONTEXT", "EVENT")


def test_nuclio_binding_needs_room_for_two() -> None:
    with pytest.raises(InputsError, match=r"takes \(x\); binding 'nuclio' calls it with \(context, event\)"):
        plan_binding(lambda x: x, service(binding="nuclio"))


def test_names_binding_leaves_context_and_event_to_their_names() -> None:
    assert call(lambda event, context: (event, context), service(binding="names"), request()) == ("EVENT", "CONTEXT")


def test_a_service_binds_from_the_body_then_the_query_with_dashes_as_underscores() -> None:
    def f(name: str, page_size: int, verbose: bool = False) -> tuple[str, int, bool]:
        return name, page_size, verbose

    event = request({"name": "body"}, **{"page-size": "10", "name": "query", "verbose": "true"})
    assert call(f, service(), event) == ("body", 10, True)


def test_other_body_keys_are_ignored_unless_the_function_takes_any() -> None:
    assert call(lambda a: a, service(), request({"a": 1, "other": 2, "event": "push"})) == 1
    assert call(lambda a, **kw: kw, service(), request({"a": 1, "other": 2})) == {"other": 2}


@pytest.mark.parametrize(
    ("event", "field", "text"),
    [
        (request({"n": "x"}), "n", "'x' is not a whole number"),
        (request({}), "n", "is missing"),
        (request([1]), "body", "is a list; an object is needed, whose keys are the function's arguments"),
        (request([]), "body", "is a list; an object is needed"),
        (request("x"), "body", "is text; an object"),
        (request(0), "body", "is a number; an object"),
        (request(False), "body", "is false; an object"),
        (request(b'{"n": '), "body", "sent as application/json and is no JSON: Expecting value at line 1, column 7"),
        (request(b'{"n": 1'), "body", "no JSON: Expecting ',' delimiter at line 1, column 8"),
        (request(b'{"n": "\xff"}'), "body", "no JSON: the byte at position 7 is no utf-8"),
        (request(b"[" * 100_000), "body", "no JSON: it is nested too deeply"),
        (request(b"n=1", "text/plain"), "n", "content type: text/plain"),
        (request(None, n="1.5"), "n", "'1.5' is not a whole number"),
        (request({"n": 1, "limit": 3}), "limit", "fixed by this run"),
        (request({"n": 1}, limit="3"), "limit", "fixed by this run"),
        (request({"n": 1, "project": "other"}), "project", "given to the function by nuwrap"),
    ],
)
def test_a_request_that_does_not_fit_names_its_field(event: Any, field: str, text: str) -> None:
    def f(project, n: int, limit=0): ...

    binding = plan_binding(f, service(parameters={"limit": 5}))
    with pytest.raises(Unprocessable, match=f"^{field}: .*{text}") as caught:
        binding.arguments(INJECTED, {"limit": 5}, event)
    assert caught.value.field == field


def test_a_body_is_checked_although_every_name_has_a_default() -> None:
    binding = plan_binding(lambda n=1: n, service())
    for body in (b'{"n": ', [1]):
        with pytest.raises(Unprocessable, match=r"^body: "):
            binding.arguments(INJECTED, {}, request(body))


@pytest.mark.parametrize("body", [b'{"n": ', [1], "x"], ids=repr)
def test_a_function_that_takes_nothing_of_a_request_may_get_any_body(body: Any) -> None:
    assert call(lambda event: event, service(), request(body)) == "EVENT"
    assert call(lambda ctx, event: event, service(), request(body)) == "EVENT"
    assert call(lambda limit: limit, service(parameters={"limit": 2}), request(body)) == 2


def test_a_function_that_takes_the_event_reads_other_json_itself() -> None:
    assert call(lambda event, n=1: (event, n), service(), request([1], n="2")) == ("EVENT", "2")

    def f(event, n: int): ...

    binding = plan_binding(f, service())
    with pytest.raises(Unprocessable, match=r"^n: is missing; .*this body is a list; an object is needed"):
        binding.arguments(INJECTED, {}, request([1]))
    with pytest.raises(Unprocessable, match=r"^body: .* no JSON"):
        binding.arguments(INJECTED, {}, request(b"{"))


def test_an_empty_body_and_null_are_no_body() -> None:
    for body in (b"", b"null", None):
        assert call(lambda n=1: n, service(), request(body)) == 1


def test_a_list_takes_every_value_of_a_repeated_query_argument() -> None:
    def f(tags: List[str], page_ids: Optional[List[int]] = None, one: str = "") -> Any:
        return tags, page_ids, one

    event = request(None, **{"tags": ["a", "b,c"], "page-ids": ["1", "2"], "one": ["x", "y"]})
    assert call(f, service(), event) == (["a", "b,c"], [1, 2], "y")
    assert call(f, service(), request(None, tags="a,b")) == (["a", "b"], None, "")
    assert call(f, service(), request({"tags": ["body"]}, tags=["a", "b"])) == (["body"], None, "")


def test_without_an_address_a_repeated_query_argument_is_its_last() -> None:
    event = Event({"fields": {"tags": "b"}, "url": ""})  # as the Nuclio processor sends it
    assert call(lambda tags: tags, service(), event) == "b"


def test_a_body_that_is_no_json_is_bytes_for_context_and_event_and_nothing_is_printed(
    capfd: pytest.CaptureFixture[str],
) -> None:
    event = request(b'{"n": ')
    assert event.body == b'{"n": '
    assert capfd.readouterr() == ("", "")


def test_a_request_cannot_send_reserved_or_fixed_names_into_keyword_arguments() -> None:
    binding = plan_binding(lambda **kw: kw, service(parameters={"fixed": 1}))
    for name in ("fixed", "event"):
        with pytest.raises(Unprocessable, match=f"^{name}:"):
            binding.arguments(INJECTED, {"fixed": 1}, request({name: 2}))


def test_missing_optional_names_leave_the_defaults_to_python() -> None:
    def f(n: Optional[int] = 7, color: Color = Color.RED) -> Any:
        return n, color

    assert call(f, service(), request({"n": None})) == (None, Color.RED)
    assert call(f, service(), request(b"", "")) == (7, Color.RED)


def test_positional_only_parameters_come_from_a_request_too() -> None:
    def f(a, b=2, /):
        return a, b

    assert call(f, service(), request({"a": 1, "b": 5})) == (1, 5)


def test_what_no_request_can_carry_fails_at_start() -> None:
    def f(di: Dataitem, n: int): ...

    with pytest.raises(InputsError, match=r"missing: di; expected: di, n; a request cannot carry"):
        plan_binding(f, service())
    assert plan_binding(f, service(inputs={"di": "store://p/dataitem/table/t"})).from_request


def test_annotations_of_methods_partials_and_objects_are_found() -> None:
    class Model:
        def predict(self, n: int) -> int:
            return n

        def __call__(self, n: int) -> int:
            return n

    def two(a: int, n: int) -> int:
        return a + n

    assert call(Model().predict, service(), request(None, n="3")) == 3
    assert call(Model(), service(), request(None, n="3")) == 3
    assert call(functools.partial(two, 1), service(), request(None, n="3")) == 4


def test_an_annotation_that_cannot_be_resolved_lets_the_value_pass() -> None:
    def f(a: Missing, b: int | None, c: "Missing | int"):  # noqa: F821, UP037 - text in text
        return a, b, c

    assert call(f, service(), request({"a": [1], "c": "x"}, b="5")) == ([1], 5, "x")


def test_a_callable_without_signature_works_by_position_alone() -> None:
    assert plan_binding(dict.fromkeys, service(binding="nuclio")).leading == ("context", "event")
    with pytest.raises(InputsError, match="tells no signature"):
        plan_binding(type("Odd", (), {"__signature__": 1, "__call__": lambda self: None})(), service())


def test_init_gets_context_and_its_parameters() -> None:
    def init(context, k, j=1): ...

    assert init_arguments(init, "CONTEXT", {"k": 2}) == {"context": "CONTEXT", "k": 2}


def test_init_may_take_any_name() -> None:
    assert init_arguments(lambda **kw: None, "C", {"k": 2}) == {"context": "C", "k": 2}


@pytest.mark.parametrize(
    ("function", "given", "text"),
    [
        (lambda k: None, {"k": 1}, "no parameter 'context': add it"),
        (lambda context, k: None, {}, "missing: k; expected: context, k"),
        (lambda context: None, {"z": 1}, "unknown: z"),
        (lambda context: None, {"context": 1}, "init_parameters has 'context'"),
    ],
)
def test_an_init_that_does_not_fit_says_why(function: Any, given: Any, text: str) -> None:
    with pytest.raises(InitError, match=text):
        init_arguments(function, "C", given)


def test_check_describes_a_function() -> None:
    @handler(outputs=["a", {"name": "m", "kind": "model"}])
    async def f(project, n: int = 3, *rest) -> str:
        """Say it.

        More.
        """

    told = describe(f, WorkerSpec(root=__file__.rpartition("/")[0], handler="f"))
    assert (told["name"], told["kind"], told["doc"], told["binding"]) == ("f", "async", "Say it.", "names")
    assert told["file"] == "test_binding.py"
    assert told["outputs"] == ["a", {"name": "m", "kind": "model"}]
    assert [one["required"] for one in told["parameters"]] == [True, False, False]
    assert told["parameters"][1] == {
        "name": "n",
        "kind": "positional_or_keyword",
        "annotation": "int",
        "default": "3",
        "required": False,
    }


def test_check_tells_generators_and_positional_handlers() -> None:
    def gen(context, event):
        yield 1

    async def agen():
        yield 1

    spec = WorkerSpec(root="/", handler="f")
    assert [describe(one, spec)["kind"] for one in (gen, agen, print)] == ["generator", "asyncgen", "sync"]
    assert describe(gen, spec)["binding"] == "nuclio"


def test_a_decorated_function_is_the_same_function() -> None:
    def f(x):
        return x

    assert handler(f) is f
    assert handler()(f) is f
    assert handler(["a"])(f) is f
    assert f(3) == 3
    assert f.__nuwrap_outputs__ == ("a",)


def test_a_static_method_keeps_its_outputs() -> None:
    class Jobs:
        @handler(outputs=["a"])
        @staticmethod
        def run(): ...

    assert Jobs.run.__nuwrap_outputs__ == ("a",)


@pytest.mark.parametrize(
    "outputs",
    [
        "ab",
        {"a": 1},
        [1],
        [""],
        [{"kind": "table"}],
        [{"name": "a", "sort": 1}],
        ["a", "a"],
        [{"name": "a", "kind": 1}],
    ],
    ids=repr,
)
def test_bad_outputs_are_a_type_error_at_decoration(outputs: Any) -> None:
    with pytest.raises(TypeError, match="@handler"):
        handler(outputs=outputs)
