from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from compiler.quantize import gptq
from compiler.quantize.gptq import DAMPING, gptq_round
from compiler.quantize.weights import best_scale, round_to

QMAX = st.sampled_from((127, 64))
FULL = np.ones(1)
Problem = tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float32]]


@st.composite
def problems(draw: st.DrawFn, *, most: int = 12) -> Problem:
    """A weight [in, out], inputs [n, in] whose channels differ in size, and steps from too fine to coarse."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    inputs, outputs, rows = (draw(st.integers(1, limit)) for limit in (most, 5, 20))
    weight = rng.standard_normal((inputs, outputs)).astype(np.float32)
    x = rng.standard_normal((rows, inputs)) @ rng.standard_normal((inputs, inputs))
    x *= 10.0 ** rng.uniform(-2, 2, inputs)
    scale = (np.abs(weight).max(axis=0) / 127 * 10.0 ** rng.uniform(-2, 1.5, outputs)).astype(np.float32)
    return weight, x, scale


def literal(
    weight: NDArray[np.float32], hessian: NDArray[np.float64], scale: NDArray[np.float32], qmax: int
) -> NDArray[np.int8]:
    """The method as Optimal Brain Quantization states it: remove a channel, invert what is left, go on."""
    size = len(weight)
    mean = float(np.trace(hessian)) / size
    damped = hessian + (DAMPING * mean if mean > 0 else 1.0) * np.eye(size)
    left, found = weight.astype(np.float64), np.zeros(weight.shape, np.int8)
    order = sorted(range(size), key=lambda channel: -hessian[channel, channel])
    while order:
        channel, rest = order[0], order[1:]
        inverse = np.linalg.inv(damped[np.ix_(order, order)])
        integers = np.clip(np.rint(left[channel] / scale.astype(np.float64)), -qmax, qmax)
        found[channel] = integers
        error = (left[channel] - integers * scale) / inverse[0, 0]
        for position, other in enumerate(rest, start=1):
            left[other] -= error * inverse[position, 0]
        order = rest
    return found


def output_error(x: NDArray[np.float64], weight: NDArray[np.float32], dense: NDArray[np.float64]) -> float:
    return float(np.square(x @ (weight - dense)).sum())


@given(problems(), QMAX)
def test_no_integer_leaves_the_range(problem: Problem, qmax: int) -> None:
    weight, x, scale = problem
    found = gptq_round(weight, x.T @ x, scale, qmax=qmax)
    assert found.dtype == np.int8
    assert found.shape == weight.shape
    assert int(np.abs(found.astype(int)).max()) <= qmax


@given(problems(), QMAX)
def test_independent_channels_round_to_nearest(problem: Problem, qmax: int) -> None:
    weight, x, scale = problem
    found = gptq_round(weight, np.diag(np.square(x).sum(axis=0)), scale, qmax=qmax)
    wanted = np.clip(np.rint(weight.astype(np.float64) / scale), -qmax, qmax)
    np.testing.assert_array_equal(found, wanted)


@given(problems(), QMAX)
def test_it_is_the_method_as_written(problem: Problem, qmax: int) -> None:
    weight, x, scale = problem
    hessian = x.T @ x
    found, wanted = gptq_round(weight, hessian, scale, qmax=qmax), literal(weight, hessian, scale, qmax)
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("inputs", [1, 63, 64, 65, 150])
def test_blocks_change_nothing(inputs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(inputs)
    x = rng.standard_normal((200, 12)) @ rng.standard_normal((12, inputs))
    x += 0.3 * rng.standard_normal(x.shape)
    weight = rng.standard_normal((inputs, 4)).astype(np.float32)
    scale = best_scale(weight, FULL, 127, None)
    blocked = gptq_round(weight, x.T @ x, scale, qmax=127)
    np.testing.assert_array_equal(blocked, literal(weight, x.T @ x, scale, 127))
    for block in (1, 7, 1000):
        monkeypatch.setattr(gptq, "_BLOCK", block)
        np.testing.assert_array_equal(gptq_round(weight, x.T @ x, scale, qmax=127), blocked)


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.sampled_from((127, 15, 7)))
def test_correlated_inputs_gain(seed: int, qmax: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((400, 8)) @ rng.standard_normal((8, 48)) + 0.1 * rng.standard_normal((400, 48))
    weight = rng.standard_normal((48, 8)).astype(np.float32)
    scale = best_scale(weight, FULL, qmax, None)
    nearest = round_to(weight, scale, qmax).astype(np.float64) * scale
    found = gptq_round(weight, x.T @ x, scale, qmax=qmax).astype(np.float64) * scale
    assert output_error(x, weight, found) < 0.7 * output_error(x, weight, nearest)


@given(problems(), QMAX, st.data())
def test_channels_that_were_never_seen(problem: Problem, qmax: int, data: st.DataObject) -> None:
    weight, x, scale = problem
    dead = np.array(data.draw(st.lists(st.booleans(), min_size=len(weight), max_size=len(weight))))
    x = np.where(dead, 0.0, x)
    hessian = x.T @ x
    found = gptq_round(weight, hessian, scale, qmax=qmax)
    nearest = np.clip(np.rint(weight.astype(np.float64) / scale), -qmax, qmax)
    np.testing.assert_array_equal(found[dead], nearest[dead])
    other = np.where(dead[:, None], np.float32(0), weight)
    np.testing.assert_array_equal(gptq_round(other, hessian, scale, qmax=qmax)[~dead], found[~dead])


def test_nothing_was_seen_at_all() -> None:
    weight = np.array([[0.4, -1.6], [90.0, 2.5]], np.float32)
    found = gptq_round(weight, np.zeros((2, 2)), np.ones(2, np.float32), qmax=64)
    np.testing.assert_array_equal(found, [[0, -2], [64, 2]])


def test_one_channel_twice_is_damped() -> None:
    x = np.repeat(np.random.default_rng(3).standard_normal((50, 1)), 2, axis=1)
    weight = np.array([[0.4], [0.4]], np.float32)
    found = gptq_round(weight, x.T @ x, np.ones(1, np.float32), qmax=127)
    assert found.ravel().tolist() == [0, 1]


def test_columns_do_not_see_each_other_and_the_weight_is_kept() -> None:
    rng = np.random.default_rng(4)
    x = rng.standard_normal((60, 9)) @ rng.standard_normal((9, 9))
    weight = rng.standard_normal((9, 6)).astype(np.float32)
    before, scale = weight.copy(), best_scale(weight, FULL, 127, None)
    together = gptq_round(weight, x.T @ x, scale, qmax=127)
    np.testing.assert_array_equal(weight, before)
    for column in range(6):
        pick = slice(column, column + 1)
        alone = gptq_round(weight[:, pick], x.T @ x, scale[pick], qmax=127)
        np.testing.assert_array_equal(alone, together[:, pick])
