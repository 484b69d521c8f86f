"""What may be a plugin, what is refused and how, who is called in which order, and who listens where."""

from __future__ import annotations

import inspect
import itertools
import subprocess
import sys
import types
from dataclasses import dataclass

import pytest

from eagerly import current_session, hook_impl, register_plugins, session, task
from eagerly.errors import EagerlyError, OptionTypeError, PluginError
from eagerly.hooks import EagerlySpec, unregister_plugins
from eagerly.testing import RecordingHooks, instant_clock
from kinds import Kind
from stored_calls import everything_is_stored, stores_in

ARGUMENTS = {
    hook: [name for name in inspect.signature(specified).parameters if name != "self"]
    for hook, specified in vars(EagerlySpec).items()
    if not hook.startswith("_")
}


@task
def double(x):
    return 2 * x


@task
def fail():
    raise LookupError


@task(retries=1)
def flaky_stream(failures):
    if failures:
        raise failures.pop()
    yield "item"


def everything_happens():
    """Calls in which every hook fires; the session that is open has stores."""
    double(1)
    with pytest.raises(LookupError):
        fail()
    list(flaky_stream([ConnectionError()]))
    stream = flaky_stream([])
    next(stream)
    stream.close()
    everything_is_stored(Kind.SYNC)
    double.submit(1).wait()


def plugin_with(hook, arguments, received):
    """A plugin whose only hook names `arguments` in that order and appends what it gets to `received`."""
    parameters = ", ".join(("self", *arguments))
    got = "".join(f"{name}, " for name in arguments)
    namespace = {"received": received}
    exec(f"def implementation({parameters}): received.append(({got}))", namespace)
    return type("Plugin", (), {hook: hook_impl(namespace["implementation"])})()


class Named:
    """Notes its name whenever a call starts."""

    def __init__(self, name, notes):
        self.name = name
        self.notes = notes

    @hook_impl
    def before_node_execute(self):
        self.notes.append(self.name)


class First(Named):
    @hook_impl(tryfirst=True)
    def before_node_execute(self):
        self.notes.append(self.name)


class Last(Named):
    @hook_impl(trylast=True)
    def before_node_execute(self):
        self.notes.append(self.name)


class TestArguments:
    @pytest.mark.parametrize("hook", ARGUMENTS)
    def test_any_subset_in_any_order(self, hook, tmp_path):
        chosen = [
            order
            for size in range(len(ARGUMENTS[hook]) + 1)
            for subset in itertools.combinations(ARGUMENTS[hook], size)
            for order in {subset, subset[::-1]}
        ]
        received = {order: [] for order in chosen}
        hooks = RecordingHooks()
        plugins = [plugin_with(hook, order, received[order]) for order in chosen]

        class Reporting:
            @hook_impl
            def before_node_execute(self, reporter):
                reporter.report("started", by="plugin")

        with session(plugins=[hooks, Reporting(), *plugins], clock=instant_clock(), **stores_in(tmp_path)):
            everything_happens()
        expected = [event.arguments for event in hooks.events if event.hook == hook]
        assert expected
        for order in chosen:
            assert received[order] == [tuple(arguments[name] for name in order) for arguments in expected]

    def test_returned_values_are_ignored(self):
        class Returning:
            @hook_impl
            def before_node_execute(self):
                return "instead"

            @hook_impl
            def after_node_execute(self, result):
                return result + 1

        with session(plugins=[Returning()]):
            assert double(2) == 4


class TestOrder:
    def test_later_plugins_are_called_first(self):
        notes = []
        with session(plugins=[Named("a", notes), Named("b", notes), Named("c", notes)]):
            double(1)
        assert notes == ["c", "b", "a"]

    def test_plugins_of_an_inner_session_are_called_before_those_of_the_outer(self):
        notes = []
        with session(plugins=[Named("outer", notes)]), session(plugins=[Named("inner", notes)]):
            double(1)
        assert notes == ["inner", "outer"]

    @pytest.mark.parametrize("order", list(itertools.permutations([First, Named, Last])))
    def test_tryfirst_and_trylast(self, order):
        notes = []
        with session(plugins=[each(each.__name__, notes) for each in order]):
            double(1)
        assert notes == ["First", "Named", "Last"]

    def test_tryfirst_in_an_outer_session_comes_before_the_inner_one(self):
        notes = []
        with session(plugins=[First("outer", notes)]), session(plugins=[Named("inner", notes)]):
            double(1)
        assert notes == ["outer", "inner"]


class TestWhatMayBeAPlugin:
    def test_a_module(self):
        notes = []

        @hook_impl
        def before_node_execute(metadata):
            notes.append(metadata.name)

        module = types.ModuleType("their_plugin")
        module.before_node_execute = before_node_execute
        module.something_else = 42
        with session(plugins=[module]):
            double(1)
        assert notes == ["double"]

    @pytest.mark.parametrize("outermost", ["hook_impl", "decorator"])
    @pytest.mark.parametrize("decorator", [staticmethod, classmethod])
    def test_static_and_class_methods(self, decorator, outermost):
        notes = []

        def function(metadata):
            notes.append(metadata.name)

        def method(cls, metadata):
            notes.append((cls.__name__, metadata.name))

        implementation = function if decorator is staticmethod else method
        if outermost == "hook_impl":
            implementation = hook_impl(decorator(implementation))
        else:
            implementation = decorator(hook_impl(implementation))
        with session(plugins=[type("Plugin", (), {"before_node_execute": implementation})()]):
            double(1)
        assert notes == ["double"] if decorator is staticmethod else [("Plugin", "double")]

    def test_inherited_hooks(self):
        notes = []
        with session(plugins=[type("Derived", (Named,), {})("derived", notes)]):
            double(1)
        assert notes == ["derived"]

    def test_functions_put_on_an_instance(self):
        notes = []
        plugin = types.SimpleNamespace(before_node_execute=hook_impl(lambda metadata: notes.append(metadata.name)))
        with session(plugins=[plugin]):
            double(1)
        assert notes == ["double"]

    def test_properties_do_not_run(self):
        class Lazy:
            @property
            def expensive(self):
                raise AssertionError("a property ran")

            @property
            def on_node_error(self):
                raise AssertionError("a property with the name of a hook ran")

            @hook_impl
            def before_node_execute(self): ...

        with session(plugins=[Lazy()]):
            double(1)

    def test_properties_do_not_run_for_the_sake_of_a_message(self):
        class Lazy:
            @property
            def aaa(self):
                raise AssertionError("a property ran")

            @hook_impl
            def on_node_eror(self): ...

        with pytest.raises(PluginError, match="on_node_error"):
            session(plugins=[Lazy()])

    def test_equal_plugins_are_two(self):
        @dataclass
        class Counter:
            calls: int = 0

            @hook_impl
            def before_node_execute(self):
                self.calls += 1

        first, second = Counter(), Counter()
        with session(plugins=[first, second]):
            double(1)
        assert (first.calls, second.calls) == (1, 1)

    def test_the_same_plugin_twice_is_one(self):
        notes = []
        plugin = Named("once", notes)
        with session(plugins=[plugin, plugin]):
            double(1)
        assert notes == ["once"]

    def test_slots_and_falsy_and_unhashable_objects(self):
        class Odd:
            __slots__ = ("calls",)
            __hash__ = None

            def __init__(self):
                self.calls = 0

            def __bool__(self):
                return False

            def __eq__(self, other):
                raise AssertionError("plugins were compared")

            @hook_impl
            def before_node_execute(self):
                self.calls += 1

        first, second = Odd(), Odd()
        with session(plugins=[first, second]), session(plugins=[second]):
            double(1)
        assert (first.calls, second.calls) == (1, 1)


class Good:
    @hook_impl
    def before_node_execute(self): ...


def refused(**attributes):
    """An instance of a class ``Theirs`` with these attributes; functions are marked unless their name says `bare`."""
    return type("Theirs", (), attributes)()


async def coroutine(self): ...


def generator(self):
    yield


async def async_generator(self):
    yield


REFUSED = {
    "class": (Good, r"Good is a plugin class, and a plugin is an instance; write Good\(\)"),
    "misspelled hook": (
        refused(on_node_eror=hook_impl(lambda self, error: None)),
        r"Theirs\.on_node_eror: there is no hook of that name; did you mean 'on_node_error'\?",
    ),
    "hook like nothing": (
        refused(zzz=hook_impl(lambda self: None)),
        r"Theirs\.zzz: there is no hook of that name; the hooks are before_session_start, on_cache_hit",
    ),
    "misspelled argument": (
        refused(on_node_error=hook_impl(lambda self, metadata, eror: None)),
        r"Theirs\.on_node_error asks for 'eror'; did you mean 'error'\? \(this hook offers metadata, error, duration",
    ),
    "argument of another hook": (
        refused(before_node_execute=hook_impl(lambda self, result: None)),
        r"Theirs\.before_node_execute asks for 'result'; this hook offers metadata, reporter",
    ),
    "unmarked": (
        refused(on_node_error=lambda self, error: None),
        r"Theirs\.on_node_error has the name of a hook but is not marked as one; write @hook_impl above it",
    ),
    "one marked, one not": (
        refused(on_node_error=lambda self, error: None, before_node_execute=hook_impl(lambda self: None)),
        r"Theirs\.on_node_error has the name of a hook but is not marked",
    ),
    "async": (
        refused(on_node_error=hook_impl(coroutine)),
        r"Theirs\.on_node_error is async, and hooks are called synchronously; write `def on_node_error`",
    ),
    "async generator": (refused(on_node_error=hook_impl(async_generator)), r"Theirs\.on_node_error is async"),
    "generator": (
        refused(on_node_error=hook_impl(generator)),
        r"Theirs\.on_node_error is a generator function and would never run",
    ),
    "no hooks": (object(), r"object has no hooks; mark its methods with @hook_impl"),
    "string": ("their_plugin", r"'their_plugin' is not a plugin; pass an object with methods marked @hook_impl"),
    "None": (None, r"None is not a plugin"),
    "list": ([Good()], r"a list is not a plugin: give its plugins one by one, as in register_plugins\(A\(\), B\(\)\)"),
    "default on an argument": (
        refused(on_node_error=hook_impl(lambda self, error, duration=0.0: None)),
        r"Theirs\.on_node_error.*'duration' has a default",
    ),
    "keyword-only": (
        refused(on_node_error=hook_impl(lambda self, *, error: None)),
        r"Theirs\.on_node_error.*'error'",
    ),
    "**kwargs": (
        refused(on_node_error=hook_impl(lambda self, **facts: None)),
        r"Theirs\.on_node_error takes \*\*facts",
    ),
    "*args": (refused(on_node_error=hook_impl(lambda self, *facts: None)), r"Theirs\.on_node_error takes \*facts"),
    "derived from the specification": (type("Theirs", (EagerlySpec,), {})(), r"Theirs derives from EagerlySpec"),
}


class TestRefusal:
    @pytest.mark.parametrize("case", REFUSED)
    @pytest.mark.parametrize("door", ["session", "register_plugins"])
    def test_says_who_and_why_and_what_instead(self, case, door):
        plugin, message = REFUSED[case]
        with pytest.raises(PluginError, match=message) as caught:
            session(plugins=[Good(), plugin]) if door == "session" else register_plugins(plugin)
        assert isinstance(caught.value, TypeError)
        assert isinstance(caught.value, EagerlyError)

    def test_a_module_is_called_by_its_name(self):
        module = types.ModuleType("their.plugin")
        module.on_node_eror = hook_impl(lambda: None)
        with pytest.raises(PluginError, match=r"^their\.plugin\.on_node_eror: there is no hook"):
            session(plugins=[module])

    @pytest.mark.parametrize("option", ["wrapper", "hookwrapper"])
    def test_wrappers_are_refused_with_the_reason(self, option):
        with pytest.raises(OptionTypeError, match=rf"{option}=True\) does not exist: hooks observe a call and cannot"):
            hook_impl(**{option: True})

    def test_other_options_of_hook_impl(self):
        with pytest.raises(OptionTypeError, match=r"no option 'specname'; the options are tryfirst and trylast"):
            hook_impl(specname="on_node_error")

    def test_hook_impl_on_what_is_no_function(self):
        with pytest.raises(OptionTypeError, match=r"hook_impl marks a method, not 'on_node_error'"):
            hook_impl("on_node_error")

    def test_refused_when_the_session_is_made_and_not_when_it_is_entered(self):
        with pytest.raises(PluginError):
            session(plugins=[Good])
        assert current_session() is None


@pytest.fixture
def registered():
    """`register_plugins` for the time of one test."""
    plugins = []

    def register(*new):
        register_plugins(*new)
        plugins.extend(new)

    yield register
    for plugin in {id(plugin): plugin for plugin in plugins}.values():
        unregister_plugins(plugin)


class TestRegisterPlugins:
    def test_listens_in_every_later_session(self, registered):
        hooks = RecordingHooks()
        registered(hooks)
        for _ in range(2):
            with session():
                double(1)
        assert hooks.names("double") == ["before_node_execute", "after_node_execute"] * 2

    def test_not_in_a_session_that_was_open_before(self, registered):
        hooks = RecordingHooks()
        with session():
            registered(hooks)
            double(1)
        assert hooks.events == []

    def test_but_in_one_that_is_opened_inside_of_that(self, registered):
        hooks = RecordingHooks()
        with session():
            registered(hooks)
            with session():
                double(1)
        assert hooks.names("double") == ["before_node_execute", "after_node_execute"]

    def test_nowhere_outside_of_a_session(self, registered):
        hooks = RecordingHooks()
        registered(hooks)
        double(1)
        assert hooks.events == []

    def test_heard_once_however_often_it_is_given(self, registered):
        notes = []
        plugin = Named("once", notes)
        registered(plugin)
        registered(plugin)
        with session(plugins=[plugin]), session(plugins=[plugin]):
            double(1)
        assert notes == ["once"]

    def test_called_after_those_of_the_session(self, registered):
        notes = []
        registered(Named("global", notes))
        with session(plugins=[Named("session", notes)]):
            double(1)
        assert notes == ["session", "global"]

    def test_unregister(self):
        hooks = RecordingHooks()
        register_plugins(hooks)
        unregister_plugins(hooks)
        with session():
            double(1)
        assert hooks.events == []

    def test_unregister_what_is_not_registered(self):
        with pytest.raises(PluginError, match="RecordingHooks is not registered"):
            unregister_plugins(RecordingHooks())

    def test_one_bad_plugin_registers_none(self):
        hooks = RecordingHooks()
        with pytest.raises(PluginError):
            register_plugins(hooks, object())
        with session():
            double(1)
        assert hooks.events == []


def test_pluggy_is_not_on_the_path_of_a_call():
    """What the design promises of the cost of a hook: compiled when the session opens, plain calls after that."""
    script = (
        "import sys\n"
        "from eagerly import session, task\n"
        "from eagerly.testing import RecordingHooks\n"
        "double = task(lambda x: 2 * x, name='double')\n"
        "called = set()\n"
        "with session(plugins=[RecordingHooks()]):\n"
        "    sys.setprofile(lambda frame, event, _: called.add(frame.f_globals.get('__name__', '')))\n"
        "    double(1)\n"
        "    sys.setprofile(None)\n"
        "print(sorted(name for name in called if name.startswith('pluggy')), 'eagerly.testing' in called)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "[] True"


@pytest.mark.parametrize("parameters", [(), ("metadata", "result")], ids=["none", "arguments"])
def test_a_hook_that_forgets_self_is_told_so(parameters):
    namespace = {}
    exec(f"def after_node_execute({', '.join(parameters)}): pass", namespace)
    forgetful = type("Forgetful", (), {"after_node_execute": hook_impl(namespace["after_node_execute"])})

    with pytest.raises(
        PluginError, match=r"Forgetful\.after_node_execute has no `self`; write def after_node_execute\(self, \.\.\.\)"
    ):
        session(plugins=[forgetful()])
