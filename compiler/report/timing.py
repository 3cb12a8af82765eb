"""Times what ships against its checkpoint in FP32, for the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from typing import Final

import numpy as np
import onnx_ir as ir

from compiler.build import Candidate, open_artifact
from compiler.deployed import quick_artifact
from compiler.latency import fitting_shapes, full_feeds, interleave_runs, median_ms, speedup
from compiler.options import CompileOptions
from compiler.progress import Clock
from compiler.report.facts import Timing
from targets.detect import machine
from targets.spec import TargetSpec

SHAPE: Final = (1, 128)
TURNS: Final = 30
_SECONDS: Final = 4.0
_LEAST_VOCABULARY: Final = 6
_FP32: Final = "fp32"


def measure(
    dense: ir.Model,
    candidates: Sequence[Candidate],
    spec: TargetSpec,
    options: CompileOptions,
    max_length: int,
    clock: Clock,
) -> tuple[Timing, Mapping[str, float]]:
    """Run everything that was built, and FP32 in the runtime of the first, in turns.

    Args:
        dense: the float IR, nothing cut from it.
        candidates: what ships first.
        spec: a CPU that this machine is.
        options: threads and seed.
        max_length: tokens that the model reads; nothing longer is run.
        clock: told of every turn.

    Returns:
        What ships against FP32, and the median milliseconds of every candidate by its runtime.
    """
    ((batch, tokens),) = fitting_shapes(max_length, (SHAPE,))
    profile = spec.runtime(candidates[0].artifact.runtime)
    with clock.stage("timing against FP32") as steps, ExitStack() as stack:
        artifacts = {str(place): each.artifact for place, each in enumerate(candidates)}
        artifacts[_FP32] = quick_artifact(dense, profile, "fp32", ())
        backends = {
            name: stack.enter_context(closing(open_artifact(each, threads=options.threads)))
            for name, each in artifacts.items()
        }
        steps.expect(TURNS)
        feeds = full_feeds(_LEAST_VOCABULARY, batch, tokens)
        runs = interleave_runs(
            backends, feeds, turns=TURNS, seconds=_SECONDS, seed=options.seed, advance=steps
        )
    medians = {name: np.median(each, axis=1) for name, each in runs.items()}
    ratio = speedup(medians[_FP32], medians["0"], seed=options.seed)
    timing = Timing(
        batch=batch,
        tokens=tokens,
        runs_ms=tuple(sorted(runs["0"].ravel().tolist())),
        fp32_runs_ms=tuple(sorted(runs[_FP32].ravel().tolist())),
        speedup=(ratio.value, ratio.low, ratio.high),
        threads=options.threads,
        cpu=machine().cpu_model,
    )
    runtimes = [each.artifact.runtime for each in candidates]
    return timing, {runtime: median_ms(medians[str(place)]) for place, runtime in enumerate(runtimes)}
