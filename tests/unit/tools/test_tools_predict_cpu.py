"""`python -m tools.predict_cpu` on a tiny checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from tests.support.data import write_task_data
from tools import predict_cpu


class Backend:
    name, version = "fake", "1"
    input_names, output_names = ("input_ids", "attention_mask"), ("last_hidden_state", "logits")

    def __init__(self) -> None:
        self.closed = False

    def run(self, feeds: object, outputs: object = None) -> dict[str, NDArray[np.float64]]:
        del feeds, outputs
        return {"logits": np.array([[1.0], [2.0]]), "last_hidden_state": np.arange(4.0).reshape(2, 2, 1)}

    def close(self) -> None:
        self.closed = True


def test_padded_rows_are_not_compared() -> None:
    backend = Backend()
    recorder = predict_cpu.Recorder(backend)
    for _ in range(2):
        recorder.run({"attention_mask": np.array([[1, 1], [1, 0]])})
    assert recorder.values.tolist() == [0, 1, 2, 1, 2] * 2
    recorder.close()
    assert backend.closed


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_the_table(checkpoint: Callable[..., Path], tmp_path: Path, runtime: str) -> None:
    data = write_task_data(tmp_path, "text-classification", count=24)
    command = ["--model", str(checkpoint()), "--calibration-data", str(data), "--eval-data", str(data)]
    options = ["--samples", "12", "--calibration-samples", "8", "--runtime", runtime, "--threads", "1"]
    done = CliRunner().invoke(predict_cpu.predict_command, command + options, catch_exceptions=False)
    assert done.exit_code == 0
    lines = [line for line in done.stdout.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert cells[0][:4] == ["weights", "computed", "output mse", "agreement"]
    wanted = [(w, c) for w in ("full", "half") for c in ("exact", "16-bit sums", f"{runtime} here")]
    assert [(row[0], row[1]) for row in cells[2:]] == wanted
    assert len({len(line) for line in lines}) == 1
    errors = {(row[0], row[1]): (float(row[2]), float(row[-1])) for row in cells[2:]}
    assert all(0 < mse < 0.1 for mse, _ in errors.values())
    assert errors["full", "exact"][1] == errors["half", "exact"][1] == 0
    if runtime == "onnxruntime":
        assert errors["half", "16-bit sums"][1] == 0
