"""What a function does beside its result: a plain call, or listed and left undone."""

import numpy as np
from helpers import same_bits

from tinygraph import Graph, Tensor, nn, no_grad, trace
from tinygraph.engine.effects import Effects, aside, checked, drawn, performed, recalled
from tinygraph.engine.recording import changed


class Owner:
    state = np.array([1.0, 2.0])


def beside(x, rng, owner, seen):
    noise = drawn(rng, lambda rng: rng.normal(size=2))
    state = recalled(owner, "state")
    half = recalled(owner, "state", lambda array: array[:1] / 2)
    checked(lambda values: seen.append(("checked", values)), aside(x))
    performed(lambda *values: seen.append(("performed", *values)), aside(x) * 2, state, 3.0)
    return x * noise + state * half


def test_where_nobody_listens_they_are_plain_calls():
    x, seen = Tensor([3.0, 4.0]), []
    out = beside(x, np.random.default_rng(0), Owner(), seen)
    noise = np.random.default_rng(0).normal(size=2)
    assert same_bits(out.data, x.data * noise + Owner.state * 0.5)
    (_, checked_value), (_, doubled, state, three) = seen
    assert type(checked_value) is type(doubled) is np.ndarray
    assert same_bits(doubled, x.data * 2)
    assert state is Owner.state
    assert three == 3.0


def test_where_a_replay_is_recorded_nothing_is_drawn_or_replaced():
    x, seen, rng = Tensor([3.0, 4.0]), [], np.random.default_rng(0)
    effects = Effects()
    with changed(effects=effects):
        out = beside(x, rng, owner := Owner(), seen)
    assert rng.normal() == np.random.default_rng(0).normal()
    assert [kind for kind, *_ in seen] == ["checked"]  # which does nothing but raise
    assert [fetch.is_recalled for fetch in effects.fetches] == [False, True, True]
    assert [*effects.recalled] == [(id(owner), "state")]
    assert [same_bits(f.read(), f.leaf.data) for f in effects.fetches[1:]] == [True, True]
    (act,), (check,) = effects.acts, effects.checks
    doubled, state, three = act.values
    assert same_bits(doubled.data, x.data * 2)
    assert state is effects.fetches[1].leaf
    assert three == 3.0
    assert same_bits(check.values[0].data, x.data)
    assert same_bits(out.data, x.data * effects.fetches[0].leaf.data + Owner.state * 0.5)


def test_draws_follow_each_other_and_come_back_to_where_they_began():
    rng, twin = np.random.default_rng(7), np.random.default_rng(7)
    expected = [twin.random(2) for _ in range(4)]
    for _ in range(2):
        effects = Effects()
        with changed(effects=effects):
            leaves = [drawn(rng, lambda rng: rng.random(2)) for _ in range(4)]
        assert all(map(same_bits, [leaf.data for leaf in leaves], expected))
    assert all(map(same_bits, [fetch.read() for fetch in effects.fetches], expected))


def test_no_gradient_flows_aside():
    x = Tensor([3.0, 4.0])
    with changed(effects=Effects()):
        out = np.sum(x * aside(x))
    out.backward()
    assert same_bits(x.grad, x.data)


def test_what_no_grad_computes_is_recorded_without_a_gradient():
    x = Tensor([3.0, 4.0], name="x")
    with changed(effects=Effects()), no_grad():
        target = x * 2
    out = np.sum(target * x)
    out.backward()
    assert same_bits(x.grad, target.data)
    assert [node.name for node in Graph.capture(target).inputs] == ["x"]


def test_what_was_drawn_has_the_name_of_its_variable():
    model = nn.Sequential(nn.Linear(3, 3, rng=0), nn.Dropout(0.5, rng=0))
    effects = Effects()
    with changed(effects=effects):
        trace(model)(np.ones((2, 3)))
    assert effects.fetches[0].leaf.name == "mask"


def test_detached_is_another_at_other_inputs():
    """It is part of the graph that trace records, and lets no gradient through."""

    def f(x):
        y = x * x
        return y * y.detach() + x.detach()

    x, other = np.array([1.0, -2.0]), np.array([0.5, 3.0])
    graph = Graph.joint(trace(f)(x))
    dout = np.array([0.7, -1.3])
    found = graph.run(x=other, dout=dout)
    assert same_bits(found["out"], (other * other) ** 2 + other)
    assert np.allclose(found["dx"], dout * 2 * other * other * other, rtol=1e-15, atol=0)
