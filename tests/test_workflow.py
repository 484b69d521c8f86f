"""`workflow`: what it takes, what it looks like, and the session of its own that each call runs in."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import functools
import inspect
import pickle
import typing
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from eagerly import (
    AsyncWorkflow,
    Settings,
    SyncWorkflow,
    Workflow,
    current_session,
    current_task,
    session,
    task,
    workflow,
)
from eagerly.errors import EagerlyWarning, OptionTypeError, OptionValueError
from eagerly.testing import RecordingHooks, instant_clock


def sync_total(numbers: list[int], *, start: int = 0) -> int:
    """The sum.

    More.
    """
    return sum(numbers, start)


async def async_total(numbers: list[int], *, start: int = 0) -> int:
    """The sum.

    More.
    """
    await asyncio.sleep(0)
    return sum(numbers, start)


KINDS = pytest.mark.parametrize(
    ("func", "kind"), [(sync_total, SyncWorkflow), (async_total, AsyncWorkflow)], ids=["sync", "async"]
)

named = workflow(sync_total, name="totals")  # under another name than its function, so pickled by value


@workflow
def importable(value: int) -> int:
    """Pickled by its name."""
    return value + 1


@workflow
async def importable_async(value: int) -> int:
    """Pickled by its name."""
    return value + 1


async def result_of(value: Any) -> Any:
    """What a call of either kind comes to."""
    return await value if inspect.isawaitable(value) else value


class TestForms:
    """How a function becomes a workflow."""

    @KINDS
    @pytest.mark.parametrize(
        "make",
        [
            lambda func: workflow(func),
            lambda func: workflow()(func),
            lambda func: workflow(name="totals")(func),
            lambda func: workflow(func, name="totals", description="Sums."),
        ],
        ids=["bare", "called", "with options", "with function and options"],
    )
    async def test_spellings(
        self, func: Callable[..., Any], kind: type, make: Callable[..., Workflow[..., Any]]
    ) -> None:
        made = make(func)
        assert type(made) is kind
        assert made.func is func
        assert await result_of(made([1, 2], start=3)) == 6

    async def test_callables_that_are_no_plain_functions(self) -> None:
        class Adder:
            def __init__(self, by: int) -> None:
                self.by = by

            def __call__(self, value: int) -> int:
                return value + self.by

            async def slowly(self, value: int) -> int:
                return value + self.by

        made: list[Workflow[..., Any]] = [
            workflow(Adder(1)),
            workflow(Adder(1).slowly),
            workflow(functools.partial(lambda a, b: a + b, 1)),
            workflow(functools.partial(Adder.slowly, Adder(1))),
            workflow(lambda value: value + 1),
            workflow(task(lambda value: value + 1)),
        ]
        assert [each.is_async for each in made] == [False, True, False, True, False, False]
        assert [await result_of(each(1)) for each in made] == [2] * 6  # type: ignore[operator]
        assert workflow(len)("abc") == 3

    async def test_in_a_class(self) -> None:
        class Flows:
            def __init__(self) -> None:
                self.base = 10

            @workflow
            def method(self, value: int) -> int:
                """A method."""
                return self.base + value

            @workflow(name="later")
            async def async_method(self, value: int) -> int:
                return self.base + value

            @staticmethod
            @workflow
            def static(value: int) -> int:
                return value

            @classmethod
            @workflow
            def of_class(cls, value: int) -> tuple[type, int]:
                return cls, value

        flows = Flows()
        assert flows.method(1) == Flows.method(flows, 1) == 11
        assert await flows.async_method(1) == 11
        assert flows.static(1) == Flows.static(1) == 1
        assert flows.of_class(1) == Flows.of_class(1) == (Flows, 1)
        assert (flows.method.name, flows.async_method.name) == ("method", "later")
        assert list(inspect.signature(flows.method).parameters) == ["value"]
        assert flows.method.__doc__ == "A method."

    def test_the_function_is_left_as_it_was(self) -> None:
        def func() -> None: ...

        before = dict(vars(func)), func.__name__, func.__qualname__, func.__doc__, func.__module__
        workflow(func, name="other", description="Other.")
        assert (dict(vars(func)), func.__name__, func.__qualname__, func.__doc__, func.__module__) == before


class TestNames:
    """Name and description."""

    @KINDS
    def test_those_of_the_function(self, func: Callable[..., Any], kind: type) -> None:
        made = workflow(func)
        assert made.name == func.__name__
        assert made.description == "The sum.\n\nMore."
        assert repr(made) == f"<{kind.__name__} {func.__name__!r} of {__name__}.{func.__name__}>"

    @KINDS
    def test_those_given(self, func: Callable[..., Any], kind: type) -> None:
        made = workflow(name="nightly totals", description="Given.")(func)
        assert (made.name, made.description) == ("nightly totals", "Given.")
        assert made.__name__ == func.__name__
        assert made.__doc__ == func.__doc__
        assert repr(made) == f"<{kind.__name__} 'nightly totals' of {__name__}.{func.__name__}>"

    def test_no_docstring(self) -> None:
        assert workflow(lambda: None).description == ""


class TestRefusals:
    """What cannot be a workflow, and the fix."""

    def test_a_class(self) -> None:
        class Report: ...

        with pytest.raises(OptionTypeError, match=r"`@workflow` can only be applied to callable functions, and Report"):
            workflow(Report)

    def test_generator_functions(self) -> None:
        def stream() -> Any:
            yield 1

        async def async_stream() -> Any:
            yield 1

        for func in (stream, async_stream, task(stream), task(async_stream), functools.partial(stream)):
            with pytest.raises(
                OptionTypeError, match=r"`@workflow` does not take generator functions, and \w*stream is"
            ):
                workflow(func)
            with pytest.raises(OptionTypeError, match="Return a list, or make it a task and iterate"):
                workflow(name="named")(func)

    @pytest.mark.parametrize("value", [3, [], object()])
    def test_what_cannot_be_called(self, value: Any) -> None:
        with pytest.raises(OptionTypeError, match="`@workflow` can only be applied to callable functions, not to "):
            workflow(value)

    def test_a_name_in_the_place_of_the_function(self) -> None:
        with pytest.raises(OptionTypeError, match=r"write @workflow\(name='nightly'\)"):
            workflow("nightly")  # type: ignore[call-overload]

    def test_classmethod_below(self) -> None:
        with pytest.raises(OptionTypeError, match="@classmethod"):
            workflow(classmethod(lambda cls: None))  # type: ignore[call-overload]

    def test_a_function_without_a_signature(self) -> None:
        with pytest.raises(OptionTypeError, match=r"@workflow needs a signature, .* workflow\(lambda"):
            workflow(max)

    @pytest.mark.parametrize(
        ("option", "hint"),
        [
            ("nmae", "did you mean 'name'?"),
            ("descripton", "did you mean 'description'?"),
            ("retries", "the options are name, description"),
        ],
    )
    def test_an_option_that_does_not_exist(self, option: str, hint: str) -> None:
        with pytest.raises(OptionTypeError) as caught:
            workflow(**{option: "x"})  # type: ignore[call-overload]
        assert str(caught.value) == f"workflow() has no option {option!r}; {hint}"

    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            ({"name": "a.b"}, OptionValueError, r"may not contain a period, and 'a\.b' does; write 'a_b'"),
            ({"name": ""}, OptionValueError, r"workflow\(name=\.\.\.\) must not be empty"),
            ({"name": " "}, OptionValueError, "must not be empty"),
            ({"name": 3}, OptionTypeError, "takes a string, not 3"),
            ({"description": 3}, OptionTypeError, r"workflow\(description=\.\.\.\) takes a string, not 3"),
        ],
    )
    def test_values_that_cannot_work(self, options: dict[str, Any], error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=message):
            workflow(**options)(sync_total)


class TestTransparency:
    """A workflow looks like its function."""

    @KINDS
    def test_attributes(self, func: Callable[..., Any], kind: type) -> None:
        made: Any = workflow(func)
        for name in ("__name__", "__qualname__", "__doc__", "__module__", "__annotations__", "__kwdefaults__"):
            assert getattr(made, name) == getattr(func, name), name
        assert made.__wrapped__ is func
        assert inspect.unwrap(made) is func
        assert inspect.signature(made) == made.signature == inspect.signature(func)
        assert typing.get_type_hints(made) == typing.get_type_hints(func)

    @KINDS
    def test_kind(self, func: Callable[..., Any], kind: type) -> None:
        made = workflow(func)
        assert made.is_async is inspect.iscoroutinefunction(func) is (kind is AsyncWorkflow)
        assert inspect.iscoroutinefunction(made) is inspect.iscoroutinefunction(func)
        assert not inspect.isgeneratorfunction(made)
        assert not inspect.isasyncgenfunction(made)
        assert callable(made)

    def test_what_was_put_on_the_function(self) -> None:
        def func() -> None: ...

        func.tag = "x"  # type: ignore[attr-defined]
        made: Any = workflow(func)
        assert made.tag == "x"
        with pytest.raises(AttributeError, match="has no attribute 'missing'"):
            _ = made.missing

    @pytest.mark.parametrize("made", [importable, importable_async, named], ids=["sync", "async", "named"])
    def test_copies(self, made: Workflow[..., Any]) -> None:
        for copied in (copy.copy(made), copy.deepcopy(made)):
            assert (type(copied), copied.name, copied.func) == (type(made), made.name, made.func)

    @pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
    def test_pickled_by_reference(self, protocol: int) -> None:
        for made in (importable, importable_async):
            data = pickle.dumps(made, protocol)
            assert pickle.loads(data) is made
            assert len(data) < 100

    async def test_pickled_by_value(self) -> None:
        factor = 3

        @workflow(name="local")
        def local(value: int) -> int:
            return value * factor

        @workflow
        async def local_async(value: int) -> int:
            return value * factor

        for made in (local, local_async):
            again = pickle.loads(pickle.dumps(made))
            assert type(again) is type(made)
            assert (again.name, again.description, again.signature) == (made.name, made.description, made.signature)
            assert await result_of(again(2)) == 6
        assert pickle.loads(pickle.dumps(named)).name == "totals"


class TestCalls:
    """A call is a call of the function, in a session of its own."""

    async def test_arguments_and_result_pass_unchanged(self) -> None:
        def everything(a: Any, /, b: Any, *c: Any, d: Any, **e: Any) -> Any:
            return a, b, c, d, e

        async def everything_async(a: Any, /, b: Any, *c: Any, d: Any, **e: Any) -> Any:
            return a, b, c, d, e

        value = object()
        for func in (everything, everything_async):
            result = await result_of(workflow(func)(value, 2, 3, d=4, self=5, a=6, args=7))
            assert result == (value, 2, (3,), 4, {"self": 5, "a": 6, "args": 7})
            assert result[0] is value

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (((), {}), r"total\(\) missing 1 required positional argument: 'numbers'"),
            ((([], 1), {}), r"total\(\) takes 1 positional argument but 2"),
            ((([],), {"end": 1}), r"total\(\) got an unexpected keyword argument 'end'"),
        ],
    )
    @KINDS
    async def test_wrong_arguments_are_a_type_error(
        self, func: Callable[..., Any], kind: type, arguments: tuple[Any, Any], message: str
    ) -> None:
        with pytest.raises(TypeError, match=message):
            await result_of(workflow(func)(*arguments[0], **arguments[1]))
        assert current_session() is None

    async def test_each_call_has_a_session_that_is_closed_afterwards(self) -> None:
        seen = []

        def note() -> None:
            seen.append(current_session())

        async def note_async() -> None:
            await asyncio.sleep(0)
            note()

        for func in (note, note_async):
            made = workflow(func, name="noted")
            await result_of(made())
            await result_of(made())
        assert current_session() is None
        assert len({here.session_id for here in seen if here is not None}) == 4
        assert [(here.name, here.closed) for here in seen if here is not None] == [("noted", True)] * 4

    async def test_the_error_of_the_function_is_unchanged_and_the_session_left(self) -> None:
        error = KeyError("x")

        def fail() -> None:
            raise error

        async def fail_async() -> None:
            raise error

        for func in (fail, fail_async):
            hooks = RecordingHooks()
            with session(plugins=[hooks]) as outer:
                with pytest.raises(KeyError) as caught:
                    await result_of(workflow(func)())
                assert current_session() is outer
            assert caught.value is error
            assert error.__cause__ is error.__context__ is None
            assert not hasattr(error, "__notes__")
            assert hooks.names().count("after_session_end") == 2

    async def test_at_most_two_frames_are_ours(self) -> None:
        @task
        def fail() -> None:
            raise KeyError("x")

        def flow() -> None:
            fail()

        async def flow_async() -> None:
            fail()

        for func in (flow, flow_async):
            with pytest.raises(KeyError) as caught:
                await result_of(workflow(func)())
            ours = [entry for entry in caught.traceback if "eagerly" in entry.path.parts]
            assert len(ours) <= 2

    async def test_inside_a_session_it_inherits_what_that_has(self) -> None:
        hooks, clock = RecordingHooks(), instant_clock()

        @task
        def step() -> None: ...

        def flow() -> Any:
            step()
            return current_session()

        async def flow_async() -> Any:
            return flow()

        for func in (flow, flow_async):
            with session(plugins=[hooks], clock=clock, settings=Settings(wrap_errors=True)) as outer:
                inner = await result_of(workflow(func)())
            assert inner is not outer
            assert inner.plugins == outer.plugins
            assert inner.clock is clock
            assert inner.settings.wrap_errors
        assert hooks.names("step") == ["before_node_execute", "after_node_execute"] * 2
        hooks.verify()

    async def test_tasks_in_it_belong_to_its_session(self) -> None:
        hooks = RecordingHooks()

        @task
        def step() -> None: ...

        @workflow
        def inner() -> Any:
            step()
            return current_session()

        @workflow
        async def outer() -> Any:
            before = current_session()
            here = inner()
            assert current_session() is before
            assert here is not before
            return here

        with session(plugins=[hooks]):
            here = await outer()
        (start, _) = hooks.of("step")
        assert start.metadata.session_id == here.session_id

    def test_in_a_task_its_calls_are_children_of_that_task(self) -> None:
        hooks = RecordingHooks()

        @task
        def child() -> None: ...

        @workflow
        def flow() -> None:
            child()

        @task
        def parent() -> None:
            flow()
            assert current_task() is not None

        with session(plugins=[hooks]):
            parent()
        assert hooks.of("child")[0].metadata.parent_id == hooks.of("parent")[0].metadata.id

    async def test_many_at_once_do_not_see_each_other(self) -> None:
        everybody_is_in = asyncio.Barrier(50)

        @workflow
        async def flow() -> Any:
            before = current_session()
            await everybody_is_in.wait()
            assert current_session() is before
            return before

        sessions = await asyncio.gather(*(flow() for _ in range(50)))
        assert len({here.session_id for here in sessions}) == 50
        assert current_session() is None

    async def test_the_session_of_an_async_one_opens_when_it_is_awaited(self) -> None:
        hooks = RecordingHooks()

        @workflow
        async def flow() -> None: ...

        with session(plugins=[hooks]):
            call: Awaitable[None] = flow()
            assert hooks.names().count("before_session_start") == 1
            await call
            assert hooks.names().count("before_session_start") == 2

    async def test_a_cancelled_one_leaves_its_session(self) -> None:
        started = asyncio.Event()
        seen = []

        @workflow
        async def flow() -> None:
            seen.append(current_session())
            started.set()
            await asyncio.Event().wait()

        running = asyncio.ensure_future(flow())
        await started.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        (here,) = seen
        assert here is not None
        assert here.closed

    def test_base_exceptions_pass(self) -> None:
        @workflow
        def stop() -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            stop()
        assert current_session() is None

    def test_recursion(self) -> None:
        @workflow
        def depth(n: int) -> list[str | None]:
            here = current_session()
            assert here is not None
            return [str(here.session_id), *(depth(n - 1) if n else [])]

        assert len(set(depth(5))) == 6

    def test_in_a_context_of_its_own(self) -> None:
        @workflow
        def flow() -> bool:
            return current_session() is not None

        assert contextvars.copy_context().run(flow)
        assert current_session() is None


def test_a_workflow_that_hands_back_a_coroutine_is_warned_about_once() -> None:
    async def later() -> int:
        return 3

    @workflow
    def hands_back() -> Any:
        return later()

    with pytest.warns(
        EagerlyWarning, match=r"workflow 'hands_back' .* returned a coroutine.*out of reach of the session"
    ) as caught:
        assert asyncio.run(hands_back()) == 3
    assert caught[0].filename == __file__
    assert asyncio.run(hands_back()) == 3
