"""`python -m tools.predict_cpu`: what CPUs with and without VNNI would compute from an INT8 model."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import click
import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from calibration.data import open_dataset
from calibration.sampler import sample
from compiler.build import open_artifact
from compiler.cli.console import console_progress
from compiler.cli.host import require_host
from compiler.frontend.checkpoint import Checkpoint, load_checkpoint
from compiler.frontend.export import trace
from compiler.integer.reference import IntegerReference
from compiler.lower import onnxruntime, openvino
from compiler.passes.manager import PassManager
from compiler.pipeline import encoder_passes
from compiler.progress import Clock
from compiler.quantize.options import QuantizeOptions
from compiler.quantize.quantizer import Quantized, quantize_static
from compiler.reference import ReferenceBackend
from compiler.sessions import open_session
from compiler.texts import encoder_of, items_of, text_feeds
from compiler.validate import Evaluator, Validation, make_evaluator
from targets.cli_errors import main_guard
from targets.errors import UsageError
from targets.registry import get_target
from targets.runtime.backends.base import Backend
from targets.runtime.tokenize import TextEncoder
from targets.spec import QuantScheme

LOWER = {"onnxruntime": onnxruntime.lower, "openvino": openvino.lower}
RANGES: Sequence[tuple[str, Literal[127, 64]]] = (("full", 127), ("half", 64))


@dataclass(frozen=True, slots=True)
class Row:
    """What one CPU or runtime computes.

    Attributes:
        weights: "full" or "half" range.
        computed: by what.
        mse: mean squared error of the outputs against FP32.
        validation: against FP32, on the evaluation data.
        distance: largest difference from the exact reference of the same plan.
    """

    weights: str
    computed: str
    mse: float
    validation: Validation
    distance: float


class Recorder:
    """A backend that keeps what another one computes, for rows of tokens."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.name, self.version = backend.name, backend.version
        self.input_names, self.output_names = backend.input_names, backend.output_names
        self._kept: list[NDArray[np.float32]] = []

    def run(
        self, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str] | None = None
    ) -> dict[str, NDArray[Any]]:
        found = self._backend.run(feeds, outputs)
        mask = np.asarray(feeds["attention_mask"]).astype(bool)
        for name in sorted(found):
            value = found[name]
            tokens = value.ndim >= 2 and value.shape[:2] == mask.shape
            self._kept.append((value[mask] if tokens else value).reshape(-1).astype(np.float32))
        return found

    def close(self) -> None:
        self._backend.close()

    @property
    def values(self) -> NDArray[np.float32]:
        """Everything that was computed, in order."""
        return np.concatenate(self._kept)


@click.command("tools.predict_cpu", context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--model", required=True, metavar="MODEL", help="A checkpoint.")
@click.option("--calibration-data", required=True, type=click.Path(path_type=Path), metavar="FILE")
@click.option("--eval-data", required=True, type=click.Path(path_type=Path), metavar="FILE")
@click.option(
    "--calibration-samples", type=click.IntRange(min=8), default=300, show_default=True, help="Texts drawn."
)
@click.option("--samples", type=click.IntRange(min=8), help="Evaluation texts drawn.  [default: all]")
@click.option(
    "--runtime",
    type=click.Choice(sorted(LOWER)),
    default="onnxruntime",
    show_default=True,
    help="Whose quantization scheme, and which real runtime.",
)
@click.option("--threads", type=click.IntRange(min=1), default=2, show_default=True)
def predict_command(
    model: str,
    calibration_data: Path,
    eval_data: Path,
    calibration_samples: int,
    samples: int | None,
    runtime: str,
    threads: int,
) -> None:
    """Predict what x86 CPUs with and without VNNI compute, for full- and half-range weights.

    "exact" is a CPU with VNNI or AMX, "16-bit sums" one with AVX2 or AVX-512 alone; the third line of each
    range is the real runtime on this machine.
    """
    require_host()
    with console_progress(quiet=False) as progress:
        clock = Clock(progress)
        study = _Study(load_checkpoint(model), eval_data, samples, threads, clock)
        rows = study.rows(calibration_data, calibration_samples, runtime)
    click.echo(table(rows))


class _Study:
    """One checkpoint, its FP32 answers, and what plans make of them."""

    def __init__(
        self, checkpoint: Checkpoint, data: Path, samples: int | None, threads: int, clock: Clock
    ) -> None:
        self._checkpoint, self._threads, self._clock = checkpoint, threads, clock
        with clock.stage("tracing"):
            self._graph: ir.Model = trace(checkpoint).model
            PassManager(encoder_passes(fuse_qkv=False)).run(self._graph)
        self._encoder: TextEncoder = encoder_of(checkpoint, self._graph)
        task, config = checkpoint.task, checkpoint.task_config
        dataset = open_dataset(data, task)
        self._evaluator: Evaluator = make_evaluator(dataset, task, config, self._encoder, limit=samples)
        self._floats, self._baseline = self._answers(
            ReferenceBackend(self._graph, threads=threads), "evaluating FP32"
        )

    def rows(self, data: Path, samples: int, runtime: str) -> list[Row]:
        """Three rows for each range of the weights."""
        task = self._checkpoint.task
        items = items_of(sample(open_dataset(data, task), samples, 0), task)
        feeds = text_feeds(items, self._encoder, windows=task == "question-answering").feeds
        scheme = _scheme(runtime)
        found: list[Row] = []
        for name, qmax in RANGES:
            options = QuantizeOptions(threads=self._threads)
            with self._clock.stage(f"quantizing, {name} range"):
                quantized = quantize_static(self._graph, feeds, replace(scheme, weight_qmax=qmax), options)
            exact: NDArray[np.float32] | None = None
            for label, backend in self._backends(quantized, runtime):
                values, predictions = self._answers(backend, f"evaluating {label}, {name} range")
                exact = values if exact is None else exact
                validation = self._evaluator.compare(self._baseline, predictions, max_drop=1.0)
                mse = float(np.square(values - self._floats).mean())
                found.append(Row(name, label, mse, validation, float(np.abs(values - exact).max())))
        return found

    def _backends(self, quantized: Quantized, runtime: str) -> Iterator[tuple[str, Backend]]:
        yield "exact", IntegerReference(quantized.model, quantized.plan)
        yield "16-bit sums", IntegerReference(quantized.model, quantized.plan, saturating=True)
        artifact = LOWER[runtime](quantized.model, quantized.plan, "int8")
        yield f"{runtime} here", open_artifact(artifact, threads=self._threads)

    def _answers(self, backend: Backend, stage: str) -> tuple[NDArray[np.float32], Any]:
        recorder = Recorder(backend)
        checkpoint = self._checkpoint
        with (
            self._clock.stage(stage),
            open_session(recorder, self._encoder, checkpoint.task, checkpoint.task_config) as session,
        ):
            predictions = self._evaluator.predict(session)
        return recorder.values, predictions


def _scheme(runtime: str) -> QuantScheme:
    """The scheme of the x86-64 profile."""
    spec = get_target("x86-64-vnni")
    found = next((each.scheme for each in spec.runtimes if each.name == runtime), None)
    if found is None:
        raise UsageError(f"the target {spec.id} has no {runtime}", "use another --runtime")
    return found


def table(rows: Sequence[Row]) -> str:
    """The rows in Markdown, aligned."""
    metric = rows[0].validation.metric
    lines = [["weights", "computed", "output mse", "agreement", metric, "max |x - exact|"]]
    lines += [_cells(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = ["-" * width for width in widths]
    return "\n".join(
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))} |"
        for line in (lines[0], rule, *lines[1:])
    )


def _cells(row: Row) -> list[str]:
    found = row.validation
    percent = "" if found.agreement is None else f"{100 * found.agreement:.2f}%"
    value = "" if found.compiled is None else f"{found.compiled:.4f}"
    return [row.weights, row.computed, f"{row.mse:.2e}", percent, value, f"{row.distance:.2e}"]


if __name__ == "__main__":
    sys.exit(main_guard(predict_command, prog_name="tools.predict_cpu"))
