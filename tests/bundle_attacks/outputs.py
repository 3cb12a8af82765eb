"""Models that load, and whose outputs do not fit the task or its labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from onnx import TensorProto, helper

from tests.bundle_attacks.attack import Attack, Make, Scene, edit_manifest
from tests.bundle_attacks.commands import LOADING
from tests.bundle_attacks.onnx_models import edited, replaced

_RUNS: Final = ("run", "run --json")


def _sequence(names: Sequence[str]) -> list[Any]:
    return [helper.make_node("Cast", ["input_ids"], ["ids"], to=TensorProto.FLOAT), *_chain(names)]


def _chain(names: Sequence[str]) -> list[Any]:
    inputs = ["ids", *(f"x{number}" for number in range(len(names) - 1))]
    outputs = [*inputs[1:], "logits"]
    return [
        helper.make_node(name, [source, "axis"] if name == "Unsqueeze" else [source], [target])
        for name, source, target in zip(names, inputs, outputs, strict=True)
    ]


def _constant(value: object, kind: int) -> Make:
    return replaced([helper.make_node("Identity", ["value"], ["logits"])], {"value": value}, kind)


def _labels(*labels: str, **changes: object) -> Make:
    return lambda scene: edit_manifest(
        scene.bundle, lambda d: d["task_config"].update(labels=list(labels), **changes)
    )


def _task(task: str) -> Make:
    return lambda scene: edit_manifest(scene.bundle, lambda d: d.update(task=task))


def _static_labels(scene: Scene) -> None:
    """Two outputs, as the model itself says, and three labels."""
    edited(lambda m, _: setattr(m.graph.output[0].type.tensor_type.shape.dim[1], "dim_value", 2))(scene)
    _labels("a", "b", "c")(scene)


_TEXT: Final = np.array([["x", "y"]] * 2, dtype=object)

_SHAPES: Final[dict[str, Make]] = {
    "no batch": _constant(np.zeros(2, np.float32), TensorProto.FLOAT),
    "a scalar": _constant(np.float32(0), TensorProto.FLOAT),
    "another batch": _constant(np.zeros((7, 2), np.float32), TensorProto.FLOAT),
    "an empty batch": _constant(np.zeros((0, 2), np.float32), TensorProto.FLOAT),
    "no labels": _constant(np.zeros((2, 0), np.float32), TensorProto.FLOAT),
    "three axes": replaced(_sequence(["Unsqueeze"]), {"axis": np.array([2])}),
    "five axes": replaced(_sequence(["Unsqueeze"] * 3), {"axis": np.array([2])}),
    "text": _constant(_TEXT, TensorProto.STRING),
    "truth values": _constant(np.zeros((2, 2), bool), TensorProto.BOOL),
    "complex numbers": _constant(np.zeros((2, 2), np.complex64), TensorProto.COMPLEX64),
    "a list": replaced(
        [
            helper.make_node("Cast", ["input_ids"], ["ids"], to=TensorProto.FLOAT),
            helper.make_node("SequenceConstruct", ["ids"], ["list"]),
            helper.make_node("SequenceAt", ["list", "axis"], ["one"]),
            helper.make_node("SplitToSequence", ["one"], ["logits"], axis=0),
        ],
        {"axis": np.array(0)},
    ),
}
_NUMBERS: Final[dict[str, Make]] = {
    "NaN": edited(lambda m, _: _fill(m, np.nan)),
    "infinity": edited(lambda m, _: _fill(m, np.inf)),
}


def _fill(model: Any, value: float) -> None:
    table = model.graph.initializer[0]
    table.raw_data = np.full(list(table.dims), value, np.float32).tobytes()


ATTACKS: Final = (
    *(
        Attack("outputs", f"an output of {name}", (*_RUNS, "selftest"), make)
        for name, make in _SHAPES.items()
    ),
    *(Attack("outputs", f"outputs of {name}", _RUNS, make) for name, make in _NUMBERS.items()),
    Attack("outputs", "three labels for two outputs", _RUNS, _labels("a", "b", "c")),
    Attack("outputs", "three labels for two outputs, as the model says", LOADING, _static_labels),
    Attack("outputs", "one label for two outputs", _RUNS, _labels("a")),
    Attack("outputs", "two labels of one name", _RUNS, _labels("a", "a")),
    Attack(
        "outputs",
        "several labels of one name for a text",
        _RUNS,
        _labels("a", "a", problem_type="multi_label_classification"),
    ),
    Attack("outputs", "a task whose outputs are not there", LOADING, _task("question-answering")),
    Attack("outputs", "a task of one vector", LOADING, _task("feature-extraction")),
    Attack("outputs", "a task of a label for each token", LOADING, _task("token-classification")),
    Attack("outputs", "a task of masks", ("run", "selftest"), _task("fill-mask")),
)
