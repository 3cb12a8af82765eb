"""What `tools.bench` and `tools.compare_peers` measure alike: answers, and latency in turns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from calibration.data import open_dataset
from compiler.frontend.checkpoint import Checkpoint, load_checkpoint
from compiler.frontend.export import trace
from compiler.frontend.torch_model import TorchReference
from compiler.latency import fitting_shapes, full_feeds, interleave, median_ms, speedup
from compiler.progress import Clock
from compiler.sessions import open_session
from compiler.texts import encoder_of
from compiler.validate import Evaluator, Predictions, make_evaluator
from targets.errors import UsageError
from targets.runtime.tokenize import TextEncoder
from tools.bench_report import ShapeResult, TextsResult
from tools.contestants import BASELINE, Contestant, Source, backends


@dataclass(frozen=True, slots=True)
class Loaded:
    """A checkpoint, its export, the module itself and its tokenizer."""

    checkpoint: Checkpoint
    model: ir.Model
    reference: TorchReference
    encoder: TextEncoder


def load(model: str) -> Loaded:
    """Reads and traces a checkpoint.

    Raises:
        UsageError: it has no weights for torch.
    """
    checkpoint = load_checkpoint(model)
    traced = trace(checkpoint)
    if not isinstance(traced.reference, TorchReference):
        raise UsageError(f"{model} has no weights for torch", "give the checkpoint's folder")
    return Loaded(checkpoint, traced.model, traced.reference, encoder_of(checkpoint, traced.model))


def evaluator_of(source: Source, loaded: Loaded) -> Evaluator:
    """The evaluation of the checkpoint's task on the evaluation data."""
    task, config = loaded.checkpoint.task, loaded.checkpoint.task_config
    return make_evaluator(open_dataset(source.evaluation, task), task, config, loaded.encoder)


def predict(contestant: Contestant, loaded: Loaded, evaluator: Evaluator) -> Predictions:
    """A model's answers to the evaluation data."""
    task, config = loaded.checkpoint.task, loaded.checkpoint.task_config
    return evaluator.predict(open_session(contestant.backend, loaded.encoder, task, config))


def mean_squared_error(baseline: Predictions, own: Predictions) -> float | None:
    """Of all real-valued answers (logits, embeddings) to the baseline's; None for a task that keeps none."""
    errors: list[NDArray[np.float64]] = []
    for name, before in baseline.items():
        after = own.get(name)
        if before.dtype.kind == "f" and after is not None and after.shape == before.shape:
            errors.append(np.square(after.astype(np.float64) - before).ravel())
    return float(np.concatenate(errors).mean()) if errors else None


def time_shapes(
    contestants: Sequence[Contestant], encoder: TextEncoder, rounds: int, clock: Clock
) -> dict[str, tuple[ShapeResult, ...]]:
    """Latency at fixed shapes, each model by name against the baseline."""
    shapes = fitting_shapes(encoder.max_length)
    found: dict[str, list[ShapeResult]] = {each.name: [] for each in contestants}
    with clock.stage("timing", rounds * len(shapes)) as advance:
        for batch, tokens in shapes:
            feeds = full_feeds(encoder.vocab_size, batch, tokens)
            times = interleave(backends(contestants), feeds, turns=rounds, advance=advance)
            for name, own in times.items():
                ratio = speedup(times[BASELINE], own)
                found[name].append(ShapeResult(batch, tokens, median_ms(own), ratio))
    return {name: tuple(each) for name, each in found.items()}


def time_texts(
    contestants: Sequence[Contestant], encoder: TextEncoder, evaluator: Evaluator, count: int, clock: Clock
) -> dict[str, TextsResult]:
    """Latency on the first texts of the evaluation data, one at a time: every model runs a text in turn."""
    chosen = evaluator.items[:count]
    turns: dict[str, list[float]] = {each.name: [] for each in contestants}
    with clock.stage("timing texts", len(chosen)) as advance:
        for index, windows in enumerate(encoder.encode(chosen)):
            feeds = encoder.collate(windows[:1])
            for name, own in interleave(backends(contestants), feeds, turns=1, seed=index).items():
                turns[name].append(float(own[0]))
            advance(1)
    times = {name: np.array(each) for name, each in turns.items()}
    return {
        name: TextsResult(len(own), median_ms(own), float(own.mean()), speedup(times[BASELINE], own))
        for name, own in times.items()
    }
