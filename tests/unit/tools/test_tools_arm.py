"""The pure parts of `python -m tools.arm_layers`: exact answers, changes of a plan, and tables."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from compiler.quantize.plan import Decision, LinearPlan, QParam, QWeight
from targets.errors import UsageError
from tools.arm.layers import ACTIVATIONS, CASES, STEP, layer_subjects
from tools.arm.models import _off_centre, _one_scale
from tools.arm.places import Place, place_table, places, with_places
from tools.arm.report import document, kernel_lists, layer_tables, model_table
from tools.arm.subject import HOST, Answer, Subject
from tools.arm_layers import _guest

INT8 = Decision("int8", "under test")
SUBJECTS = list(layer_subjects())


def cells(table: str) -> list[list[str]]:
    lines = [line for line in table.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]


def subject(case: str, activation: str, runtime: str = "onnxruntime") -> Subject:
    return next(
        each for each in SUBJECTS if (each.row, each.column, each.runtime) == (case, activation, runtime)
    )


def by_hand(found: Subject) -> NDArray[Any]:
    """The first layer in 64-bit integers."""
    plan = found.plan.linears["first"]
    assert plan.input is not None
    assert plan.weight is not None
    scale, zero = np.float32(plan.input.scale), plan.input.zero_point
    low, high = (-128, 127) if plan.input.signed else (0, 255)
    x = np.concatenate([each["x"].reshape(-1, each["x"].shape[-1]) for each in found.feeds])
    integers = np.clip(np.rint(x / scale).astype(np.int64) + zero, low, high)
    sums = (integers - zero) @ plan.weight.values.astype(np.int64)
    bias = found.model.graph.initializers.get("first_b")
    assert bias is None or bias.const_value is not None
    added = 0 if bias is None or bias.const_value is None else bias.const_value.numpy()
    return np.asarray(sums * (np.float64(scale) * plan.weight.scale) + added)


def test_every_case_with_every_activation_in_either_runtime() -> None:
    assert len({each.key for each in SUBJECTS}) == len(SUBJECTS) == 2 * len(CASES) * len(ACTIVATIONS)
    for each in SUBJECTS:
        param = each.plan.linears["first"].input
        assert param is not None
        assert len(each.feeds) == (1 if param.zero_point % 2 or each.row == "largest integers" else 2)


@pytest.mark.parametrize("activation", [each.name for each in ACTIVATIONS])
@pytest.mark.parametrize("case", ["one scale, no bias", "scale per column, bias", "largest integers"])
def test_the_exact_answer_is_that_of_the_integers(case: str, activation: str) -> None:
    found = subject(case, activation)
    expected = by_hand(found)
    np.testing.assert_allclose(found.exact(), expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


def test_it_is_the_same_in_either_runtime() -> None:
    one, other = (subject("bias, GELU", "U8, zero point 127", each) for each in ("onnxruntime", "openvino"))
    np.testing.assert_array_equal(one.exact(), other.exact())


def test_a_result_that_is_quantized_again_is_on_its_grid() -> None:
    found = subject("bias, quantized", "S8 symmetric")
    steps = found.exact() / STEP
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-3)
    assert np.abs(steps).max() <= 128.01


def linear(signed: bool, zero_point: int) -> LinearPlan:
    draw = np.random.default_rng(0)
    weight = QWeight(
        draw.integers(-127, 128, (8, 4)).astype(np.int8), draw.uniform(1, 2, 4).astype(np.float32), 1
    )
    return LinearPlan("ffn", INT8, weight, QParam(0.5, zero_point, signed, True, "given"))


@pytest.mark.parametrize(("signed", "middle"), [(True, 0), (False, 128)])
def test_a_zero_in_the_middle_moves_a_step(signed: bool, middle: int) -> None:
    before = linear(signed, middle)
    after = _off_centre(before)
    assert before.input is not None
    assert after.input is not None
    assert after.input.zero_point == middle - 1
    assert after.input.scale == pytest.approx(0.5 * 128 / 127)
    assert not after.input.symmetric
    assert after.input.bounds[0] == pytest.approx(before.input.bounds[0])
    assert after.input.bounds[1] >= before.input.bounds[1]
    assert after.weight is before.weight
    assert _off_centre(after) == after


def test_another_zero_stays() -> None:
    for plan in (linear(True, -20), linear(False, 127), LinearPlan("head", Decision("float", "no"))):
        assert _off_centre(plan) is plan


def test_one_scale_for_all_columns() -> None:
    before = linear(True, 0)
    after = _one_scale(before)
    assert before.weight is not None
    assert after.weight is not None
    (step,) = set(after.weight.scale.tolist())
    gap = np.abs(after.weight.dequantized() - before.weight.dequantized()).max()
    assert 0 < gap <= step / 2 * 1.001
    assert np.abs(after.weight.values).max() == 127


def answer(rows: NDArray[Any] | None) -> Answer:
    kernels = {"FullyConnected brgemm, u8 x i8 to f32": 2}
    return Answer((), {}, "no such kernel") if rows is None else Answer([{"y": rows}], kernels)


def test_cpus_whose_tables_are_alike_share_one() -> None:
    own = [subject(case.name, "S8 symmetric") for case in CASES if case.name.startswith("bias")]
    exact = {each.key: each.exact() for each in own}
    right = {key: answer(rows) for key, rows in exact.items()}
    off = {key: answer(rows + np.float32(STEP)) for key, rows in exact.items()}
    off[own[0].key] = answer(None)
    text = layer_tables(own, exact, {HOST: right, "a": off, "b": off})
    assert [line for line in text.splitlines() if line.endswith(":")] == [
        "onnxruntime on host:",
        "onnxruntime on a, b:",
    ]
    table = cells(text)
    assert table[0] == ["layer", "S8 symmetric"]
    assert [row[1] for row in table[2:5]] == ["0e+00", "0.000% differ", "0.000% differ"]
    assert [row[1] for row in table[7:]] == ["refused", "100.000% differ", "100.000% differ"]


def test_the_table_of_models_and_its_document() -> None:
    found = subject("one scale, no bias", "S8 symmetric")
    exact = {found.key: np.array([[0.0, 1.0], [2.0, 0.0]])}
    floats = np.array([[0.0, 1.0], [0.0, 2.0]])
    answers = {HOST: {found.key: answer(exact[found.key] + 0.5)}, "a": {found.key: answer(None)}}
    head, _, plan, host, refused = cells(model_table([found], exact, floats, answers))
    assert len(head) == len(plan) == len(host)
    assert plan[:4] == [found.row, "exact plan", "2.0e+00", "50.0%"]
    assert host[1:] == [HOST, "2.2e+00", "50.0%", "2.5e-01", "5.0e-01", "5.0e-01", "100.0%"]
    assert refused[1:3] == ["a", "no such kernel"]
    assert kernel_lists([found], answers).endswith(", host: 2 FullyConnected brgemm, u8 x i8 to f32")
    of_host, of_a = document([found], exact, floats, answers)
    assert of_host["mse_to_plan"] == 0.25
    assert (of_a["refusal"], "mse_to_plan" in of_a) == ("no such kernel", False)


def test_each_layer_by_itself() -> None:
    found = with_places(subject("bias, quantized", "U8, zero point 128"))
    assert found.key.endswith("-places")
    assert len(found.feeds) == 1
    assert [output.name for output in found.model.graph.outputs] == ["y", "add_out"]
    x = found.feeds[0]["x"]
    run = {"x": x, "add_out": x, "y": x}
    first, second = places(found, {HOST: Answer([run], {}), "a": Answer((), {}, "no")})
    assert (first.role, second.role) == ("first", "second")
    assert (first.zero_point, first.symmetric) == (second.zero_point, second.symmetric) == (128, True)
    assert set(first.gaps) == {HOST}
    # The second layer copies its input, the first does not.
    assert second.gaps[HOST] < STEP < first.gaps[HOST]


def test_layers_of_a_kind_share_a_line() -> None:
    found = [
        Place("layer.0.ffn_up", 126, False, {HOST: 1e-6, "a": 1e-4}),
        Place("layer.1.ffn_up", 137, False, {HOST: 3e-6, "a": 2e-5}),
        Place("layer.2.ffn_up", 128, True, {HOST: 0.0, "a": 0.3}),
        Place("head", 132, False, {HOST: 0.0, "a": 0.0}),
    ]
    head, _, *rows = cells(place_table(found))
    assert head == ["layers", "zero point", "number", HOST, "a"]
    assert rows == [
        ["ffn_up", "126 to 137", "2", "3e-06", "1e-04"],
        ["ffn_up", "128", "1", "0e+00", "3e-01"],
        ["head", "132", "1", "0e+00", "0e+00"],
    ]


def test_a_guest_has_a_name_and_a_command() -> None:
    assert _guest("cortex-a76=qemu -cpu=x python") == ("cortex-a76", "qemu -cpu=x python")
    for option in ("cortex-a76", "=python", "a= ", "host=python"):
        with pytest.raises(UsageError, match="--guest"):
            _guest(option)
