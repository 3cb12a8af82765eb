"""How long a compile will take on this machine, from a moment of each kind of its work."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import onnx_ir as ir

from calibration.sampler import thinned
from compiler.ir.linear import linears_of
from compiler.ir.work import Texts
from compiler.options import CompileOptions
from compiler.preparation import Prepared
from compiler.quantize.cost import site_work
from compiler.quantize.options import QuantizeOptions
from compiler.quantize.sites import sites_of
from compiler.quantize.streams import MOST_TOKENS
from compiler.reference import ReferenceBackend
from compiler.texts import TextFeeds, items_of, text_feeds

_MOMENT: Final = 1.5
_REPEATS: Final = 5
_SIDE: Final = 512
_MEGABYTE: Final = 1e6

_OBSERVED: Final = 1.5
"""Runs of the float model that finding the ranges takes as long as."""
_CALIBRATED: Final = 1.3
"""What is not in the operations that `site_work` counts; fitted to models of 22 and 110 million weights."""
_INT8_SHARE: Final = 0.6
_TIMED_RUNS: Final = 50
_TIMED_TOKENS: Final = 128 * 9
_REPORT_SECONDS: Final = 6.0


@dataclass(frozen=True, slots=True)
class StageEstimate:
    """A stage and its seconds; None where nobody can know before, and then `reason` says why."""

    stage: str
    seconds: float | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Speeds:
    """What this machine does.

    Attributes:
        token_seconds: of one token of the FP32 model, padding included, as texts are batched.
        multiply: floating-point operations a second of numpy's products, on one thread.
    """

    token_seconds: float
    multiply: float


@dataclass(frozen=True, slots=True)
class Work:
    """The texts of a compile, tokenized.

    Attributes:
        calibration, evaluation: None where there is no such data.
    """

    calibration: TextFeeds | None
    evaluation: TextFeeds | None


def work_of(found: Prepared) -> Work:
    """Tokenize the texts that will be run."""
    task, windows = found.checkpoint.task, found.checkpoint.task == "question-answering"
    calibration, evaluator = found.data.calibration, found.data.evaluator
    items = None if calibration is None else items_of(calibration, task)
    return Work(
        calibration=None if items is None else text_feeds(items, found.encoder, windows=windows),
        evaluation=None if evaluator is None else text_feeds(evaluator.items, found.encoder, windows=windows),
    )


def measure_speeds(model: ir.Model, work: Work, *, threads: int = 0) -> Speeds:
    """Run the FP32 model on some of the texts, and some products, for about two seconds.

    Args:
        model: the float IR.
        work: of which the texts are run; without any, tokens cost nothing.
        threads: 0 for every core.
    """
    texts = work.calibration or work.evaluation
    spent, tokens = 0.0, 0
    if texts is not None:
        backend = ReferenceBackend(model, threads=threads)
        for index in _spread(len(texts.feeds)):
            feeds = texts.feeds[index]
            begin = time.perf_counter()
            backend.run({name: feeds[name] for name in backend.input_names})
            spent += time.perf_counter() - begin
            tokens += feeds["attention_mask"].size
            if spent > _MOMENT:
                break
    return Speeds(spent / max(tokens, 1), _multiply_speed())


def estimate(
    found: Prepared, work: Work, speeds: Speeds, options: CompileOptions, runtimes: Sequence[Sequence[str]]
) -> list[StageEstimate]:
    """What is still to do, stage by stage.

    Args:
        found: the compile.
        work: its texts.
        speeds: of this machine.
        options: of the compile.
        runtimes: that are built for each target.
    """
    return list(_stages(found, work, speeds, options, runtimes))


def _stages(
    found: Prepared, work: Work, speeds: Speeds, options: CompileOptions, runtimes: Sequence[Sequence[str]]
) -> Iterator[StageEstimate]:
    evaluation = _tokens(work.evaluation) * speeds.token_seconds
    built = sum(map(len, runtimes))
    if work.evaluation is not None:
        yield StageEstimate("evaluating FP32", evaluation)
    if options.pruned:
        yield StageEstimate("pruning", None, "it depends on how much can be cut")
    if work.calibration is not None and options.calibrated:
        yield StageEstimate("calibrating", _calibrating(found.graph, work.calibration, speeds))
    if options.searched:
        yield StageEstimate("searching", None, "it depends on how soon the gate holds")
    size = sum(each.weight_array.nbytes for each in linears_of(found.graph.graph)) / _MEGABYTE
    yield StageEstimate("lowering", built * (0.3 + 0.02 * size))
    timed = _TIMED_RUNS * _TIMED_TOKENS * speeds.token_seconds * (1 + _INT8_SHARE)
    if built > len(runtimes):
        yield StageEstimate("timing the runtimes", timed)
    if work.evaluation is not None:
        checked = built if options.report else len(runtimes)
        yield StageEstimate("validating", checked * _INT8_SHARE * evaluation)
    if options.validate_emulated:
        yield StageEstimate("emulating", None, "an emulated CPU is 20 to 200 times slower than this one")
    if options.report:
        yield StageEstimate("timing and writing the report", _REPORT_SECONDS * len(runtimes))


def _calibrating(model: ir.Model, texts: TextFeeds, speeds: Speeds) -> float:
    """Ranges over all texts, then each layer on at most `MOST_TOKENS` of their tokens."""
    some = Texts.of(thinned(texts.feeds, MOST_TOKENS))
    work = sum(site_work(site, some, QuantizeOptions()) for site in sites_of(model))
    return _OBSERVED * _tokens(texts) * speeds.token_seconds + _CALIBRATED * work / speeds.multiply


def _tokens(texts: TextFeeds | None) -> int:
    return 0 if texts is None else sum(int(feeds["attention_mask"].size) for feeds in texts.feeds)


def _spread(count: int) -> list[int]:
    """Indices from all over a range, as the batches are sorted by length."""
    step = max(1, count // 7)
    return [index for start in range(step) for index in range(start, count, step)]


def _multiply_speed() -> float:
    one = np.ones((_SIDE, _SIDE), np.float32)
    best = float("inf")
    for _ in range(_REPEATS):
        begin = time.perf_counter()
        one @ one
        best = min(best, time.perf_counter() - begin)
    return 2.0 * _SIDE**3 / best
