"""Re-encoding keeps every number, and refuses what a target cannot hold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.qparams import QuantParams, dequantize, quantize
from compiler.integer.product import integer_product
from compiler.quantize.encoding import (
    KERNELS,
    SIMULATIONS,
    Kernels,
    encode,
    encode_plan,
    is_exact,
    kernels_of,
    reencode,
    shifted,
    simulation_of,
)
from compiler.quantize.plan import Decision, LinearPlan, QParam, QuantPlan, QWeight
from targets.errors import UnsupportedError
from targets.spec import QuantScheme

TENSOR_RT = next(each for each in KERNELS if not each.zero_points)
SCALES = st.floats(1e-6, 1e3)


def param(scale: float, zero_point: int, signed: bool) -> QParam:
    return QParam(scale, zero_point, signed, zero_point == (0 if signed else 128), "test")


@st.composite
def params(draw: st.DrawFn) -> QParam:
    signed = draw(st.booleans())
    low, high = (-128, 127) if signed else (0, 255)
    return param(draw(SCALES), draw(st.integers(low, high)), signed)


@given(params(), st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 33), st.integers(1, 5))
def test_the_product_of_reencoded_integers_is_the_same(
    original: QParam, seed: int, rows: int, k: int, columns: int
) -> None:
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 256, (rows, k)).astype(np.uint8).view(np.int8 if original.signed else np.uint8)
    w = rng.integers(-127, 128, (k, columns)).astype(np.int8)
    other = shifted(original, signed=not original.signed)
    y = reencode(x, signed=other.signed)
    sums = w.sum(axis=0, dtype=np.int32)
    np.testing.assert_array_equal(
        integer_product(x, w) - original.zero_point * sums, integer_product(y, w) - other.zero_point * sums
    )
    np.testing.assert_array_equal(reencode(y, signed=original.signed), x)


@given(params(), st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=50))
def test_quantizing_in_either_encoding_gives_the_same_numbers(original: QParam, values: list[float]) -> None:
    x = np.array(values, np.float32)
    other = shifted(original, signed=not original.signed)
    one, two = (QuantParams(np.float32(each.scale), each.zero_point) for each in (original, other))
    first, second = quantize(x, one, signed=original.signed), quantize(x, two, signed=other.signed)
    np.testing.assert_array_equal(reencode(first, signed=other.signed), second)
    np.testing.assert_array_equal(dequantize(first, one), dequantize(second, two))
    assert original.bounds == other.bounds


@given(params())
def test_there_and_back(original: QParam) -> None:
    there = shifted(original, signed=not original.signed)
    assert shifted(there, signed=original.signed) == original
    assert abs(there.zero_point - original.zero_point) == 128
    assert there.symmetric == original.symmetric


def test_symmetric_u8_and_s8() -> None:
    assert shifted(param(0.5, 128, False), signed=True) == param(0.5, 0, True)
    assert shifted(param(0.5, 0, True), signed=False) == param(0.5, 128, False)


@pytest.mark.parametrize("kernels", KERNELS, ids=lambda each: each.name)
def test_a_symmetric_activation_has_an_encoding_everywhere(kernels: Kernels) -> None:
    for original in (param(0.1, 0, True), param(0.1, 128, False)):
        found = encode(original, kernels)
        assert ("s8" if found.signed else "u8") in kernels.activations
        assert found.zero_point == (0 if found.signed else 128)


@pytest.mark.parametrize("kernels", KERNELS, ids=lambda each: each.name)
def test_an_asymmetric_activation(kernels: Kernels) -> None:
    original = param(0.1, 37, False)
    if kernels.zero_points:
        assert encode(original, kernels).bounds == original.bounds
        return
    with pytest.raises(UnsupportedError, match="the input of fc has zero point -91, and TensorRT"):
        encode(original, kernels, "the input of fc")


def test_a_type_that_is_taken_is_kept() -> None:
    both = Kernels("both", ("u8", "s8"), True, 127)
    for original in (param(0.1, 5, True), param(0.1, 5, False)):
        assert encode(original, both) is original


def test_four_simulations_cover_every_kernel() -> None:
    exact = {
        each.name: {simulation.name for simulation in SIMULATIONS if is_exact(simulation, each)}
        for each in KERNELS
    }
    assert exact[TENSOR_RT.name] == {"SYM full", "SYM half"}
    assert exact["onnxruntime, x86-64 with VNNI or AMX"] == {each.name for each in SIMULATIONS}
    for name in ("onnxruntime, x86-64 without VNNI", "OpenVINO, x86-64 without VNNI"):
        assert exact[name] == {"SYM half", "ASYM half"}
    assert all("SYM half" in each for each in exact.values())


@pytest.mark.parametrize("asymmetric", [True, False])
@pytest.mark.parametrize("qmax", [127, 64])
def test_a_scheme_names_its_simulation(asymmetric: bool, qmax: int) -> None:
    scheme = QuantScheme("u8" if asymmetric else "s8", asymmetric, qmax, "float", "float")  # type: ignore[arg-type]
    found = simulation_of(scheme)
    assert (found.symmetric, found.weight_qmax) == (not asymmetric, qmax)
    assert is_exact(found, kernels_of(scheme))


def plan(largest: int, zero_point: int) -> QuantPlan:
    weight = QWeight(np.array([[largest, -1]], np.int8), np.ones(2, np.float32), 1)
    linear = LinearPlan("head", Decision("int8", "test"), weight, param(0.1, zero_point, False))
    rest = LinearPlan("head", Decision("float", "sensitive"))
    return QuantPlan({"fc": linear, "rest": rest})


def test_a_plan_is_encoded_whole() -> None:
    original = plan(127, 128)
    found = encode_plan(original, TENSOR_RT)
    assert found.linears["fc"].input == param(0.1, 0, True)
    assert found.linears["fc"].weight is original.linears["fc"].weight
    assert found.linears["rest"] == original.linears["rest"]


def test_a_plan_that_kernels_cannot_take() -> None:
    with pytest.raises(UnsupportedError, match="the input of fc has zero point"):
        encode_plan(plan(127, 3), TENSOR_RT)
    half = replace(TENSOR_RT, name="an old CPU", weight_qmax=64)
    with pytest.raises(UnsupportedError, match="fc has weights up to 65; an old CPU is exact up to 64"):
        encode_plan(plan(65, 128), half)
    assert encode_plan(plan(64, 128), half).linears["fc"].input == param(0.1, 0, True)
