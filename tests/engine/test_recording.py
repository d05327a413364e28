"""What `no_grad` and `detect_anomaly` hold for: a thread, a task, and a generator while it runs."""

import asyncio
import contextlib
import gc
import threading

import numpy as np
import pytest

from tinygraph import Tensor, detect_anomaly, no_grad
from tinygraph.engine.recording import NORMAL, changed, current, entered

X = Tensor(3.0, name="x")


def records():
    return (X * X).op is not None


@pytest.fixture(autouse=True)
def nothing_is_left():
    yield
    assert not [entry for entry in entered.get() if entry.counts()]
    assert current() is NORMAL


def batches():
    with no_grad():
        yield records()
        yield records()
    yield records()


def test_a_generator_that_waits_does_not_switch_recording_off():
    seen = [(inside, records()) for inside in batches()]
    assert seen == [(False, True), (False, True), (True, True)]


def test_generators_that_take_turns():
    with no_grad():
        others = batches()
        assert (next(others), records()) == (False, False)
    assert (next(others), records()) == (False, True)
    one, two = batches(), batches()
    assert [next(one), next(two), records(), next(one), next(two), records()] == (
        [False, False, True, False, False, True]
    )
    assert [next(one), next(one, None), next(two), records()] == [True, None, True, True]


def test_a_generator_resumed_inside_another_block_obeys_both():
    def calm():
        with no_grad():
            while True:
                yield current()

    one = calm()
    next(one)
    with changed(holomorphic=True):
        assert next(one) == NORMAL._replace(recording=False, holomorphic=True)
        assert current() == NORMAL._replace(holomorphic=True)
    one.close()


def test_a_generator_that_is_dropped_leaves():
    one = batches()
    next(one)
    del one
    gc.collect()
    assert records()
    assert entered.get() == ()


def test_a_generator_that_is_closed_in_another_thread():
    one = batches()
    next(one)
    thread = threading.Thread(target=one.close)
    thread.start()
    thread.join()
    assert records()
    with no_grad():
        assert len(entered.get()) == 1
        assert not records()


def test_a_function_that_a_generator_calls_enters_for_it():
    def enter(stack):
        stack.enter_context(no_grad())

    def one():
        with contextlib.ExitStack() as stack:
            enter(stack)
            yield records()
        yield records()

    assert [(inside, records()) for inside in one()] == [(False, True), (True, True)]


@contextlib.contextmanager
def evaluating():
    with no_grad():
        yield


def test_a_context_manager_of_ones_own_holds_for_its_block():
    with evaluating():
        assert not records()
        with evaluating(), no_grad():
            assert not records()
        assert not records()
    assert records()
    with contextlib.ExitStack() as stack:
        stack.enter_context(no_grad())
        assert not records()
    with contextlib.ExitStack() as stack:
        stack.enter_context(evaluating())
        assert not records()
    assert records()

    def one():
        with evaluating():
            yield records()

    assert [(inside, records()) for inside in one()] == [(False, True)]


def test_one_object_may_be_entered_again():
    quiet = no_grad()
    with quiet, quiet:
        with quiet:
            assert not records()
        assert not records()
    assert records()
    with pytest.raises(ZeroDivisionError), quiet:
        raise ZeroDivisionError
    assert records()


def test_blocks_that_are_left_out_of_order():
    one, two = no_grad(), changed(holomorphic=True)
    one.__enter__()
    two.__enter__()
    one.__exit__(None, None, None)
    assert current() == NORMAL._replace(holomorphic=True)
    two.__exit__(None, None, None)


def test_as_a_decorator():
    @no_grad()
    def plain(n):
        """Say how deep."""
        return records() or (n and plain(n - 1))

    @no_grad()
    def generator():
        received = yield records()
        yield received
        return 5

    @no_grad()
    async def coroutine():
        await asyncio.sleep(0)
        return records()

    assert (plain(3), plain.__name__, plain.__doc__) == (0, "plain", "Say how deep.")
    one = generator()
    assert (next(one), records(), one.send(7), records()) == (False, True, 7, True)
    with pytest.raises(StopIteration) as stop:
        next(one)
    assert stop.value.value == 5
    assert asyncio.run(coroutine()) is False
    with pytest.raises(TypeError, match="asynchronous generator"):

        @no_grad()
        async def both():
            yield 1


def test_tasks_do_not_share_it():
    async def quiet(turns):
        found = []
        with no_grad():
            for _ in range(turns):
                await asyncio.sleep(0)
                found.append(records())
        return found

    async def loud(turns):
        found = []
        for _ in range(turns):
            await asyncio.sleep(0)
            found.append(records())
        return found

    async def main():
        with no_grad():  # a task of its own is another task
            child = asyncio.create_task(loud(3))
            direct = await loud(2)
            return direct, await child, await asyncio.gather(quiet(4), loud(4), quiet(4))

    direct, child, (one, two, three) = asyncio.run(main())
    assert (direct, child) == ([False] * 2, [True] * 3)
    assert (one, two, three) == ([False] * 4, [True] * 4, [False] * 4)


def test_asynchronous_managers_and_generators():
    @contextlib.asynccontextmanager
    async def quietly():
        with no_grad():
            yield

    async def numbers():
        with no_grad():
            yield records()

    async def main():
        async with quietly():
            await asyncio.sleep(0)
            inside = records()
        return inside, [(x, records()) async for x in numbers()]

    assert asyncio.run(main()) == (False, [(False, True)])


def test_an_anomaly_is_detected_while_the_generator_runs():
    def careful():
        with detect_anomaly():
            yield
            yield np.log(X * 0)

    one = careful()
    next(one)
    with np.errstate(all="ignore"):
        assert np.isinf(np.log(X * 0).data)
        with pytest.raises(FloatingPointError, match="log of"):
            next(one)
    assert np.isfinite((X * 1.0).data)
