"""What a function reads beside its arguments, wherever Python lets it: a change is noticed."""

import builtins
import collections
import functools
import os
import sys
import types
from array import array
from contextvars import ContextVar

import numpy as np
import pytest
from helpers import same_bits

import tinygraph
from tinygraph import Tensor


class Base:
    depth = 1.0


class Config(Base):
    factor, count = 1.0, 0

    @staticmethod
    def fixed():
        return Config.factor

    @classmethod
    def of_class(cls):
        return cls.factor

    def method(self):
        return 1.0


class Meta(type):
    @property
    def factor(cls):
        return cls.hidden


class WithMeta(metaclass=Meta):
    hidden = 1.0


class Descriptor:
    def __init__(self):
        self.value = 1.0

    def __get__(self, owner, kind):
        return self.value


DESCRIPTOR = Descriptor()


class Described:
    value = DESCRIPTOR


def module(name, **attributes):
    made = types.ModuleType(name)
    vars(made).update(attributes)
    return made


INNER = module("inner_of_a_test", factor=1.0)
OUTER = module("outer_of_a_test", inner=INNER)
BYTES, NUMBERS, TABLE = bytearray(b"\x01"), array("d", [1.0]), {"a": 1.0, "b": 2.0}
VIEW, CHAIN, PROXY = (
    memoryview(BYTES),
    collections.ChainMap({"a": 1.0}),
    types.MappingProxyType(TABLE),
)
USERS = collections.UserList([1.0])
CONTEXT = ContextVar("CONTEXT", default=1.0)
OBJECTS = np.empty(1, object)
OBJECTS[0] = [1.0]


def with_default(factor=1.0):
    return factor


def with_code():
    return 1.0


def with_attribute():
    return with_attribute.factor


with_attribute.factor = 1.0
PARTIAL = functools.partial(lambda factor: factor, factor=1.0)


def imported():
    import inner_of_a_test

    return inner_of_a_test.factor


def imported_from():
    from inner_of_a_test import factor

    return factor


def first_of_table():
    return next(iter(TABLE.values()))


CONFIG = Config()
READ = {
    "attribute of a class": (lambda: Config.factor, lambda: setattr(Config, "factor", 2.0)),
    "inherited by a class": (lambda: Config.depth, lambda: setattr(Base, "depth", 2.0)),
    "no longer inherited": (lambda: Config.depth, lambda: setattr(Config, "depth", 3.0)),
    "static method": (Config.fixed, lambda: setattr(Config, "factor", 2.0)),
    "class method": (Config.of_class, lambda: setattr(Config, "factor", 2.0)),
    "another method": (
        lambda: CONFIG.method(),
        lambda: setattr(Config, "method", lambda self: 2.0),
    ),
    "another static method": (
        lambda: Config.fixed(),
        lambda: setattr(Config, "fixed", staticmethod(lambda: 2.0)),
    ),
    "metaclass": (lambda: WithMeta.factor, lambda: setattr(WithMeta, "hidden", 2.0)),
    "descriptor": (lambda: Described().value, lambda: setattr(DESCRIPTOR, "value", 2.0)),
    "module in a module": (lambda: OUTER.inner.factor, lambda: setattr(INNER, "factor", 2.0)),
    "imported": (imported, lambda: setattr(INNER, "factor", 2.0)),
    "imported from": (imported_from, lambda: setattr(INNER, "factor", 2.0)),
    "bytearray": (lambda: BYTES[0], lambda: BYTES.__setitem__(0, BYTES[0] + 1)),
    "memoryview": (lambda: VIEW[0], lambda: BYTES.__setitem__(0, BYTES[0] + 1)),
    "array of Python's": (lambda: NUMBERS[0], lambda: NUMBERS.__setitem__(0, 2.0)),
    "ChainMap": (lambda: CHAIN["a"], lambda: CHAIN.__setitem__("a", 2.0)),
    "MappingProxyType": (lambda: PROXY["a"], lambda: TABLE.__setitem__("a", 3.0)),
    "UserList": (lambda: USERS[0], lambda: USERS.__setitem__(0, 2.0)),
    "order of a dict": (first_of_table, lambda: TABLE.__setitem__("a", TABLE.pop("a"))),
    "context": (CONTEXT.get, lambda: CONTEXT.set(2.0)),
    "in an array of objects": (lambda: OBJECTS[0][0], lambda: OBJECTS[0].__setitem__(0, 2.0)),
    "environment": (
        lambda: float(os.environ.get("TINYGRAPH_FACTOR", "1")),
        lambda: os.environ.__setitem__("TINYGRAPH_FACTOR", "2"),
    ),
    "default": (with_default, lambda: setattr(with_default, "__defaults__", (2.0,))),
    "code": (
        with_code,
        lambda: (
            setattr(with_code, "__code__", with_default.__code__.replace(co_name="f"))
            or setattr(with_code, "__defaults__", (2.0,))
        ),
    ),
    "attribute of a function": (with_attribute, lambda: setattr(with_attribute, "factor", 2.0)),
    "partial": (PARTIAL, lambda: PARTIAL.keywords.__setitem__("factor", 2.0)),
    "globals()": (lambda: globals()["CONFIG"].factor, lambda: setattr(CONFIG, "factor", 2.0)),
    "global that was not there": (
        lambda: globals().get("LATER", 1.0),
        lambda: globals().__setitem__("LATER", 2.0),
    ),
    "global that hides a builtin": (
        lambda: max(1.0, 0.0),
        lambda: globals().__setitem__("max", min),
    ),
}


@pytest.fixture
def restored(monkeypatch):
    """Put back what a test changes in this module."""
    here = dict(globals())
    kept = [(x, dict(vars(x))) for x in (Base, Config, WithMeta, DESCRIPTOR, CONFIG, INNER)]
    monkeypatch.setenv("TINYGRAPH_FACTOR", "1")
    monkeypatch.setitem(sys.modules, "inner_of_a_test", INNER)
    yield
    for name in globals().keys() - here.keys():
        del globals()[name]
    for owner, attributes in kept:
        for name in vars(owner).keys() - attributes.keys():
            delattr(owner, name)
        for name, value in attributes.items():
            if not name.startswith("__"):
                setattr(owner, name, value)


@pytest.mark.parametrize("name", READ)
@pytest.mark.usefixtures("restored")
def test_what_is_read_is_read_again_when_it_changes(name):
    read, change = READ[name]
    x, w = np.array([0.5, -1.0, 2.0]), Tensor(1.5)
    f = tinygraph.compile(lambda x: x * read())
    step = tinygraph.compile(lambda x: np.sum(w * x) * read())
    for _ in range(2):
        assert same_bits(f(x), x * read())
        assert same_bits(step(x).data, np.sum(1.5 * x) * read())
    before = read()
    change()
    assert read() != before
    for _ in range(2):
        assert same_bits(f(x), x * read())
        assert same_bits(step(x).data, np.sum(1.5 * x) * read())


@pytest.mark.usefixtures("restored")
def test_what_is_not_read_makes_nothing_new():
    runs = []
    f = tinygraph.compile(lambda x: x * Config.factor * CONFIG.method())
    f(np.ones(2))
    form = f._last
    for k in range(3):
        Config.count += 1
        runs.append(k)
        assert hasattr(builtins, "max")
        f(np.ones(2))
        assert f._last.executor is form.executor
