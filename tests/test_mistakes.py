"""The mistakes that people make most: each has a message that says what was found, why it cannot work, what to write.

A message is a promise, so its text is tested. To add a mistake, write the code that makes it.
"""

from __future__ import annotations

import asyncio
import gc
import re
import time
from pathlib import Path

import pytest

import eagerly
from eagerly import hook_impl, session, task
from eagerly.errors import (
    DatasetError,
    EagerlyError,
    EagerlyWarning,
    OptionTypeError,
    OptionValueError,
    PluginError,
    SettingsError,
)
from eagerly.testing import instant_clock
from stored_calls import DictStore


def fetch(city):
    return city


async def fetch_async(city):
    return city


def rows(path):
    yield path


async def rows_async(path):
    yield path


class Client: ...


class Notifier:
    @hook_impl
    def on_node_error(self, error): ...


class Misspelled:
    @hook_impl
    def on_node_eror(self, error): ...


class MisspelledArgument:
    @hook_impl
    def on_node_error(self, metdata, error): ...


class Unmarked:
    def on_node_error(self, error): ...


class Asynchronous:
    @hook_impl
    async def on_node_error(self, error): ...


MISTAKES = [
    # Sessions
    ("with session: ...", OptionTypeError, "the parentheses are missing: write `with session():`"),
    (
        "async def main():\n    async with session: ...\nasyncio.run(main())",
        OptionTypeError,
        "the parentheses are missing: write `with session():`",
    ),
    (
        "@session\ndef main(): ...",
        OptionTypeError,
        "session is not a decorator...`with session(): ...`, or use @workflow",
    ),
    ("@session()\ndef main(): ...", OptionTypeError, "session is not a decorator...or use @workflow"),
    ("session(Notifier())", OptionTypeError, "keyword arguments only, not <...Notifier...write session(plugins=["),
    ('session("nightly")', OptionTypeError, "keyword arguments only, not 'nightly'; write session(name='nightly'"),
    ("session(plugin=[Notifier()])", OptionTypeError, "no option 'plugin'; did you mean 'plugins'?"),
    ("session(plugins=Notifier())", OptionTypeError, "takes a list of plugins, not <...; write plugins=["),
    ("session(clock=3)", OptionTypeError, "takes a Clock, not 3; leave it out for the clock of the session around it"),
    ("Clock(now=3)", OptionTypeError, "Clock(now=...) takes a function, not 3"),
    ("Clock(time=3)", OptionTypeError, "Clock(time=...) takes a function, not 3"),
    ('Settings(cache_store="")', SettingsError, "Settings(cache_store=...) takes a path or a URL, not ''"),
    ('Settings(cache_mode="of")', SettingsError, "takes 'on' or 'off' or 'read' or 'refresh', not 'of'"),
    (
        'Settings(cache_signing_key="short")',
        SettingsError,
        "takes a string of 16 characters or more, not this one (str)",
    ),
    ('session(dataset_stor="x")', OptionTypeError, "no option 'dataset_stor'; did you mean 'dataset_store'?"),
    ('session(plugins="notifier")', OptionTypeError, "takes a list of plugins, not 'notifier'; write plugins=["),
    ("session(clock=instant_clock)", OptionTypeError, "takes a Clock, not <function...; write clock=instant_clock()"),
    ("session(clock=Clock)", OptionTypeError, "takes a Clock, not <class...; write clock=Clock()"),
    ("session(clock=time.monotonic)", OptionTypeError, "takes a Clock, not <built-in...; write clock=Clock(now="),
    (
        'session(settings={"wrap_errors": True})',
        OptionTypeError,
        "takes a Settings, not {...; write settings=Settings(",
    ),
    ("session(strict_hooks=True)", OptionTypeError, "'strict_hooks'...settings=Settings(strict_hooks=True)"),
    ("session(name=3)", OptionTypeError, "session(name=...) takes a string, not 3"),
    ('Settings(strict_hooks="yes")', SettingsError, "Settings(strict_hooks=...) takes True or False, not 'yes'"),
    # What is decorated
    ('task("fetch")', OptionTypeError, "the only positional argument is the function; write @task(name='fetch')"),
    ("task(3)", OptionTypeError, "can only be applied to callable functions, not to 3; options are keywords"),
    ('task(fetch("Oslo"))', OptionTypeError, "`@task('Oslo')`: the only positional argument is the function"),
    ("task(Client)", OptionTypeError, "Client is a class; decorate one of its methods, or...task(lambda"),
    ("task()(Client)", OptionTypeError, "Client is a class; decorate one of its methods"),
    ('workflow("nightly")', OptionTypeError, "the only positional argument is the function; write @workflow(name="),
    (
        "workflow(rows)",
        OptionTypeError,
        "does not take generator functions, and rows is one: a session cannot...Return a list",
    ),
    ("workflow(rows_async)", OptionTypeError, "does not take generator functions, and rows_async is one"),
    # Options
    ("task(retires=3)", OptionTypeError, "task() has no option 'retires'; did you mean 'retries'?"),
    ("task(fetch, max_retries=3)", OptionTypeError, "task() has no option 'max_retries'; did you mean 'retries'?"),
    ("task(fetch).options(timout=3)", OptionTypeError, "no option 'timout'; did you mean 'timeout'?"),
    ('task(colour="red")', OptionTypeError, "no option 'colour'; the options are name, description, backend, retries"),
    ("workflow(retries=3)", OptionTypeError, "workflow() has no option 'retries'; the options are name"),
    ("task(fetch, retries=-1)", OptionValueError, "task(retries=...) must be 0 or more, not -1"),
    ("task(fetch, retries=True)", OptionTypeError, "task(retries=...) takes an int or a Retry, not True"),
    ('task(fetch, retries="3")', OptionTypeError, "task(retries=...) takes an int or a Retry, not '3'"),
    ("task(fetch, retries=Retry)", OptionTypeError, "the class Retry itself; write retries=Retry(3"),
    ("task(fetch, timeout=0)", OptionValueError, "greater than 0, not 0; write None ... for no limit"),
    ("task(fetch, timeout=-1)", OptionValueError, "must be finite and greater than 0, not -1; write None"),
    ('task(fetch, timeout=float("nan"))', OptionValueError, "must be finite and greater than 0, not nan"),
    ('task(fetch, timeout="5s")', OptionTypeError, "takes seconds (int or float) or a timedelta, not '5s'"),
    (
        "task(rows, timeout=5)",
        OptionValueError,
        "not supported for generator tasks: ...rows is...bound the work on each item",
    ),
    ("task(rows_async, timeout=5)", OptionValueError, "Timeouts are not supported for generator tasks: timeout=5"),
    # Caching
    (
        'task(fetch, cache="")',
        OptionValueError,
        "task(cache=...) must not be empty; write cache=True for the store of the",
    ),
    (
        "task(fetch, cache=3)",
        OptionTypeError,
        "task(cache=...) takes a path, a URL or a CacheStore, not 3; write cache=True",
    ),
    ("task(fetch, cache=None)", OptionTypeError, "takes a path, a URL or a CacheStore, not None; write cache=True"),
    (
        'task(fetch, cache=b"here")',
        OptionTypeError,
        "takes a path, a URL or a CacheStore, not b'here'; write cache=True",
    ),
    ("task(fetch, cache=DictStore)", OptionTypeError, "takes a store, and DictStore is a class; write DictStore(...)"),
    (
        'task(fetch, cache="here", cache_store="there")',
        OptionValueError,
        "names two stores; write cache=True beside cache_store",
    ),
    (
        'task(fetch, cache=True, cache_store="")',
        OptionValueError,
        "task(cache_store=...) must not be empty; write cache=True for",
    ),
    (
        "task(fetch, cache=True, cache_store=3)",
        OptionTypeError,
        "task(cache_store=...) takes a path, a URL or a CacheStore",
    ),
    (
        "task(fetch, cache=True, cache_ttl=-1)",
        OptionValueError,
        "task(cache_ttl=...) must be finite and greater than 0, not -1",
    ),
    (
        "task(fetch, cache=True, cache_ttl=0)",
        OptionValueError,
        "task(cache_ttl=...) must be finite and greater than 0, not 0",
    ),
    ('task(fetch, cache=True, cache_ttl=float("nan"))', OptionValueError, "must be finite and greater than 0, not nan"),
    ('task(fetch, cache=True, cache_ttl="1")', OptionTypeError, "takes seconds (int or float) or a timedelta, not '1'"),
    (
        "task(fetch, cache=True, cache_ttl=True)",
        OptionTypeError,
        "takes seconds (int or float) or a timedelta, not True",
    ),
    (
        "task(fetch, cache=True, cache_hash=3)",
        OptionTypeError,
        "task(cache_hash=...) takes a function of (func, inputs) that returns a str, not 3",
    ),
    (
        'task(lambda: 3, cache=True, cache_version="1")',
        OptionValueError,
        "its results could not be told from those of other lambdas; give it a name with def, or leave",
    ),
    ("task(fetch, cache=True, cache_version=3)", OptionTypeError, "takes a string, not 3; write cache_version='3'"),
    (
        'task(fetch, cache=True, cache_ignore="city")',
        OptionTypeError,
        "task(cache_ignore=...) takes several names; write cache_ignore=('city',)",
    ),
    ("task(fetch, cache=True, cache_ignore=3)", OptionTypeError, "takes names of parameters, not 3"),
    (
        'task(fetch, cache=True, cache_ignore=["town"])',
        OptionValueError,
        "task(cache_ignore=...): there is no parameter 'town'; there are city",
    ),
    (
        'task(fetch, cache=True, cache_ignore=["cities"])',
        OptionValueError,
        "no parameter 'cities'; did you mean 'city'?",
    ),
    ("task(fetch, cache=True, cache_ignore=[3])", OptionValueError, "there is no parameter 3; there are city"),
    (
        "task(fetch, cache_ttl=60)",
        OptionValueError,
        "task(cache_ttl=60) has no effect without caching; write @task(cache=True, cache_ttl=...)",
    ),
    (
        'task(fetch, cache_store="here")',
        OptionValueError,
        "task(cache_store='here') has no effect without caching; write @task(cache=True, cache_store=...)",
    ),
    (
        "task(fetch, cache_hash=str)",
        OptionValueError,
        "has no effect without caching; write @task(cache=True, cache_hash=",
    ),
    (
        'task(fetch, cache_version="1")',
        OptionValueError,
        "has no effect without caching; write @task(cache=True, cache_v",
    ),
    (
        'task(fetch, cache_ignore=["city"])',
        OptionValueError,
        "has no effect without caching; write @task(cache=True, cache_i",
    ),
    (
        'task(fetch, cache=True, cache_hash=str, cache_version="1")',
        OptionValueError,
        "task(cache_version='1') has no effect beside cache_hash, which makes the key; use it there",
    ),
    (
        'task(fetch, cache=True, cache_hash=str, cache_ignore=["city"])',
        OptionValueError,
        "task(cache_ignore=('city',)) has no effect beside cache_hash",
    ),
    (
        "task(fetch).cache_key(1)",
        OptionValueError,
        "fetch.cache_key(): the task is not cached; write @task(cache=True)",
    ),
    (
        "task(fetch).is_cached(1)",
        OptionValueError,
        "fetch.is_cached(): the task is not cached; write @task(cache=True)",
    ),
    (
        "task(fetch).invalidate(1)",
        OptionValueError,
        "fetch.invalidate(): the task is not cached; write @task(cache=True)",
    ),
    ("task(fetch).refresh(1)", OptionValueError, "fetch.refresh(): the task is not cached; write @task(cache=True)"),
    ("task(fetch).explain(1)", OptionValueError, "fetch.explain(): the task is not cached; write @task(cache=True)"),
    (
        'session(cache_mode="of")',
        OptionValueError,
        "takes one of 'on', 'off', 'read', 'refresh', not 'of'; did you mean 'o",
    ),
    (
        "session(cache_mode=None)",
        OptionValueError,
        "session(cache_mode=...) takes one of 'on', 'off', 'read', 'refresh', not",
    ),
    ("session(cache_mode=False)", OptionValueError, "takes one of 'on', 'off', 'read', 'refresh', not False"),
    (
        'session(cache_store="")',
        OptionValueError,
        "session(cache_store=...) must not be empty; leave it out for that of",
    ),
    (
        "session(cache_store=3)",
        OptionTypeError,
        "session(cache_store=...) takes a path, a URL or a CacheStore, not 3; leave",
    ),
    (
        "session(cache_store=DictStore)",
        OptionTypeError,
        "takes a store, and DictStore is a class; write DictStore(...)",
    ),
    ("session(cache=True)", OptionTypeError, "session() has no option 'cache'; did you mean 'cache_"),
    # Datasets
    ('task(fetch, dataset="")', OptionValueError, "task(dataset=...) must not be empty"),
    ("task(fetch, dataset=3)", OptionTypeError, "task(dataset=...) takes a string, not 3"),
    (
        'task(fetch, dataset="{town}.json")',
        OptionValueError,
        "references the unknown placeholder {town}; available: {city}",
    ),
    ('task(fetch, dataset="../x.json")', OptionValueError, "'../x.json': the part '..' is not the name of a file"),
    ('task(fetch, dataset="/x.json")', OptionValueError, "the part '/' makes it an absolute path; keys are rel"),
    (
        'task(fetch, dataset="{city.name}.json")',
        OptionValueError,
        "looks into a value with {city.name}; only {name} and",
    ),
    (
        'task(fetch, dataset_format="json")',
        OptionValueError,
        "task(dataset_format='json') has no effect without a key; write @task(dataset=..., dataset_format=...)",
    ),
    ('task(fetch, dataset_store="here")', OptionValueError, "task(dataset_store='here') has no effect without a key"),
    ('task(fetch, dataset="x.json", dataset_format=3)', OptionTypeError, "takes the name of a format, not 3"),
    ('task(fetch, dataset="x.json", dataset_store=3)', OptionTypeError, "takes a path, a URL or a DatasetStore, not 3"),
    (
        'task(fetch, dataset="x.json", dataset_store="")',
        OptionValueError,
        "must not be empty; write '.' for the working",
    ),
    (
        'task(fetch, dataset="x.json", dataset_store=DatasetStore)',
        OptionTypeError,
        "takes a store, and DatasetStore is a class; write DatasetStore(...)",
    ),
    (
        "session(dataset_store=3)",
        OptionTypeError,
        "session(dataset_store=...) takes a path, a URL or a DatasetStore, not 3",
    ),
    ('session(dataset_store="")', OptionValueError, "session(dataset_store=...) must not be empty; write '.' for the"),
    ("save_dataset(3, 1)", OptionTypeError, "save_dataset(key) takes a string, not 3"),
    ('save_dataset("x.json", 1, options=3)', OptionTypeError, "save_dataset(options=...) takes a dict, not 3"),
    ('load_dataset("x.json", options=3)', OptionTypeError, "load_dataset(options=...) takes a dict, not 3"),
    ('save_dataset("x.json", 1, store=3)', OptionTypeError, "store takes a path, a URL or a DatasetStore, not 3"),
    (
        'with session(dataset_store=None): save_dataset("x.json", 1)',
        DatasetError,
        "there is no dataset store in this session(dataset_store=None); name one: store='a/path'",
    ),
    (
        'task(fetch, name="shop.fetch")',
        OptionValueError,
        "may not contain a period, and 'shop.fetch' does; write 'shop_fetch'",
    ),
    (
        'task(fetch, name="fetch_{town}")',
        OptionValueError,
        "references the unknown placeholder {town}; available: {city}",
    ),
    ('task(fetch, name="fetch_{")', OptionValueError, "is not a valid template...write {{ and }} for literal braces"),
    ('task(fetch, tags="slow")', OptionTypeError, "takes several strings; write tags=('slow',)"),
    ("task(fetch, tags=3)", OptionTypeError, "task(tags=...) takes strings, not 3"),
    ("task(fetch, tags=[3])", OptionTypeError, "takes strings, and 3 is not one"),
    ('task(fetch, wrap_errors="yes")', OptionTypeError, "takes True, False or None (what the session says), not 'yes'"),
    (
        "Retry(on=KeyboardInterrupt)",
        OptionTypeError,
        "Retry(on=KeyboardInterrupt) cannot work...use Exception or one of",
    ),
    (
        'Retry(on="OSError")',
        OptionTypeError,
        "takes an exception type, a tuple of them or a function of the error, not 'OSError'",
    ),
    ("Retry(on=())", OptionValueError, "Retry(on=()) would never retry; leave `on` out"),
    ("Retry(backoff=0.5)", OptionValueError, "must be at least 1, not 0.5: delays do not shrink. Write backoff=1"),
    (
        "task(fetch).retries = 3",
        AttributeError,
        "a task is immutable, so 'retries' cannot be set; write task.options(retries=3)",
    ),
    (
        "task(lambda: current_task().report(3))()",
        OptionTypeError,
        "report() takes the name of the event and its data by keyword, not 3",
    ),
    # Plugins
    (
        "session(plugins=[Notifier])",
        PluginError,
        "Notifier is a plugin class, and a plugin is an instance; write Notifier()",
    ),
    (
        "session(plugins=[Misspelled()])",
        PluginError,
        "Misspelled.on_node_eror: there is no hook of that name; did you mean 'on_node_error'?",
    ),
    (
        "session(plugins=[MisspelledArgument()])",
        PluginError,
        "MisspelledArgument.on_node_error asks for 'metdata'; did you mean 'metadata'?",
    ),
    (
        "session(plugins=[Unmarked()])",
        PluginError,
        "Unmarked.on_node_error ... is not marked as one; write @hook_impl above it",
    ),
    (
        "session(plugins=[Asynchronous()])",
        PluginError,
        "on_node_error is async, and hooks are called synchronously; write `def on_node_error`",
    ),
    ("register_plugins([Notifier()])", PluginError, "a list is not a plugin: give its plugins one by one"),
    (
        "hook_impl(wrapper=True)",
        OptionTypeError,
        "hook_impl(wrapper=True) does not exist: hooks observe a call...Write two hooks",
    ),
]
"""The code that makes the mistake, the error it gets, and its message, in which ``...`` stands for anything."""


WORLD = {
    **{name: getattr(eagerly, name) for name in eagerly.__all__},
    **globals(),
    "asyncio": asyncio,
    "time": time,
    "instant_clock": instant_clock,
    "DictStore": DictStore,
}


def pattern(message):
    return ".*".join(map(re.escape, message.split("...")))


@pytest.mark.parametrize(("code", "error", "message"), MISTAKES, ids=[code for code, _, _ in MISTAKES])
def test_the_message_has_the_fix(code, error, message):
    with pytest.raises(error, match=pattern(message)) as caught:
        exec(code, dict(WORLD))
    assert isinstance(caught.value, AttributeError | EagerlyError)
    assert caught.value.__cause__ is None
    assert "\n" not in str(caught.value)


def test_the_errors_are_the_builtin_ones_too():
    """``except ValueError`` and ``except TypeError`` catch what they would catch elsewhere."""
    with pytest.raises(TypeError):
        task(3)
    with pytest.raises(ValueError, match="retries"):
        task(fetch, retries=-1)


class TestSettingsFromOutside:
    @pytest.mark.parametrize(
        ("variable", "value", "message"),
        [
            ("EAGERLY_WRAP_ERROR", "1", r"EAGERLY_WRAP_ERROR: there is no setting.*did you mean EAGERLY_WRAP_ERRORS\?"),
            ("EAGERLY_NONSENSE_XYZ", "1", r"there is no setting 'nonsense_xyz'; there are EAGERLY_WRAP_ERRORS"),
            ("EAGERLY_WRAP_ERRORS", "maybe", r"EAGERLY_WRAP_ERRORS='maybe' is not a truth value; write 1 or 0"),
        ],
    )
    def test_in_the_environment(self, monkeypatch, variable, value, message):
        monkeypatch.setenv(variable, value)
        with pytest.raises(SettingsError, match=message), session():
            pass

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("wrap_error = true", r"\[tool\.eagerly\]: there is no setting 'wrap_error'; did you mean wrap_errors\?"),
            ('wrap_errors = "yes"', r"wrap_errors = 'yes' is not a truth value; write true or false"),
        ],
    )
    def test_in_pyproject(self, monkeypatch, tmp_path, content, message):
        Path(tmp_path, "pyproject.toml").write_text(f"[tool.eagerly]\n{content}\n")
        monkeypatch.chdir(tmp_path)
        with pytest.raises(SettingsError, match=message) as caught, session():
            pass
        assert str(tmp_path / "pyproject.toml") in str(caught.value)


class TestAsyncConfusion:
    def test_an_async_task_that_is_called_in_sync_code_and_never_awaited(self):
        get = task(fetch_async, name="get")
        with pytest.warns(RuntimeWarning, match=r"was never awaited") as caught:
            drop(get)
        (warning,) = caught
        assert "asyncio.run(fetch_async(...))" in str(warning.message)

    async def test_and_in_async_code(self):
        get = task(fetch_async)
        with pytest.warns(RuntimeWarning, match=r"fetch_async.*was never awaited") as caught:
            drop(get)
        (warning,) = caught
        assert "await" in str(warning.message).partition("was never")[0]

    @pytest.mark.parametrize(
        ("made", "what", "fix"),
        [
            (lambda: fetch_async("Oslo"), "a coroutine", "Declare it with `async def`"),
            (lambda: rows("a.csv"), "a generator", "Write the `yield` in the task itself, or return a list"),
            (lambda: rows_async("a.csv"), "an async generator", "Write the `yield` in the task itself"),
        ],
    )
    def test_a_plain_function_that_hands_back_what_has_not_run_yet(self, made, what, fix):
        get = task(lambda: made(), name="get")

        def call_and_close():
            for _ in range(3):
                result = get()
                if hasattr(result, "close"):
                    result.close()

        with pytest.warns(EagerlyWarning, match=f"'get' is a plain function that returned {what}: .*{fix}") as caught:
            call_and_close()
        assert len(caught) == 1
        assert caught[0].filename == __file__


def drop(get):
    get("Oslo")
    gc.collect()


def test_nothing_of_a_mistake_stays(eagerly_hooks):
    """A session that was refused has not been opened, and the next one works."""
    with pytest.raises(PluginError):
        session(plugins=[eagerly_hooks, Notifier])
    with session(plugins=[eagerly_hooks]):
        task(fetch)("Oslo")
    assert eagerly_hooks.names("fetch") == ["before_node_execute", "after_node_execute"]
