"""Texts that neither calibration nor the final evaluation sees, to choose a precision by."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from calibration.data import Dataset
from calibration.examples import Example
from calibration.sampler import sample
from compiler.quantize.sensitivity import Probe
from compiler.texts import item_of, items_of, text_feeds
from compiler.validate import Evaluator, Predictions, make_evaluator
from targets.bundle.schema import TaskConfig
from targets.errors import UsageError
from targets.runtime.backends.base import Backend
from targets.runtime.items import TextItem
from targets.runtime.session import Session
from targets.runtime.tasks import TASK_OUTPUTS
from targets.runtime.tokenize import TextEncoder

HELD_OUT: Final = 512
PRUNE_HELD_OUT: Final = 2048
"""How much may be cut is decided by fractions of a point."""
LEAST_HELD_OUT: Final = 64
PROBE_TOKENS: Final = 1024
"""Tokens that sensitivities are measured on: enough to rank by, and run once for every group."""
_LEAST_PROBE: Final = 8
_WIDE_PROBE: Final = 8


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The slice, and what the FP32 model makes of it.

    Attributes:
        evaluator: of the task's metric where the rows have labels, else of the agreement.
        baseline: the FP32 model's predictions.
        probe: a few of the texts, for sensitivities.
        session: opens the task over a backend.
    """

    evaluator: Evaluator
    baseline: Predictions
    probe: Probe
    session: Callable[[Backend], Session]


class Slice(Dataset):
    """Rows of a data set, as a data set."""

    def __init__(self, whole: Dataset, rows: Sequence[Example]) -> None:
        """Keeps the rows in memory."""
        super().__init__(whole.name, whole.columns, whole.mapping, whole.label_names, whole._open_rows)
        self.rows = tuple(rows)

    def __iter__(self) -> Iterator[Example]:
        """The rows."""
        return iter(self.rows)


def hold_out(
    data: Dataset, calibration: Sequence[Example], *, wanted: int = HELD_OUT, seed: int = 0
) -> Slice:
    """Draw texts that are none of the calibration texts, though the same file has them.

    Args:
        data: the calibration file.
        calibration: what was drawn from it; a text that it repeats elsewhere is not held out either.
        wanted: texts to draw; fewer where the file has no more.
        seed: of the draw.

    Raises:
        UsageError: too few are left.
    """
    taken = {item_of(each) for each in calibration}
    rest = (each for each in data if item_of(each) not in taken)
    rows = sample(rest, wanted, seed, minimum=0)
    if len(rows) < LEAST_HELD_OUT:
        raise UsageError(
            f"{data.name}: {len(rows)} texts are left beside {len(calibration)} for calibration, and "
            f"auto holds {LEAST_HELD_OUT} out to choose by",
            f"give at least {len(calibration) + LEAST_HELD_OUT} different texts as --calibration-data, "
            "or lower --calibration-samples and --prune-samples",
        )
    return Slice(data, rows)


def slice_evaluator(
    rows: Slice,
    task: str,
    config: TaskConfig,
    encoder: TextEncoder,
    warn: Callable[[str], None],
    *,
    seed: int = 0,
) -> Evaluator:
    """The evaluator of a slice: by its labels where they are the model's, else by agreement with FP32.

    Args:
        rows: from `hold_out`.
        task: one of `targets.spec.TASKS`.
        config: the model's labels.
        encoder: its tokenizer.
        warn: told that labels could not be used, and what follows.
        seed: of the bootstrap.
    """
    try:
        return make_evaluator(rows, task, config, encoder, seed=seed)
    except UsageError as error:
        warn(
            f"the labels of the calibration data cannot be used ({error.message}): "
            "what is best is chosen by agreement with FP32"
        )
    bare = [replace(each, label=None, tags=None, answers=None) for each in rows.rows]
    return make_evaluator(Slice(rows, bare), task, config, encoder, seed=seed)


def probe_items(rows: Slice, encoder: TextEncoder, task: str, *, seed: int = 0) -> list[TextItem]:
    """Some of the slice's texts, in a drawn order, up to `PROBE_TOKENS`, and 8 at least.

    Fill-mask, whose outputs have the vocabulary's size for every token, gets 8 at most.
    """
    order = np.random.default_rng(seed).permutation(len(rows.rows))
    items = items_of((rows.rows[place] for place in order), task)
    most = _WIDE_PROBE if task == "fill-mask" else len(items)
    tokens = 0
    for place, windows in enumerate(encoder.encode(items[:most], windows=task == "question-answering")):
        tokens += sum(map(len, windows))
        if tokens > PROBE_TOKENS and place >= _LEAST_PROBE:
            return items[:place]
    return items[:most]


def make_held_out(
    evaluator: Evaluator,
    baseline: Predictions,
    probe: Sequence[TextItem],
    reference: Backend,
    session: Callable[[Backend], Session],
    encoder: TextEncoder,
) -> HeldOut:
    """The slice with the FP32 model's answers.

    Args:
        evaluator: from `slice_evaluator`.
        baseline: the FP32 model's predictions.
        probe: from `probe_items`.
        reference: the FP32 model.
        session: opens the task over a backend.
        encoder: the model's tokenizer.
    """
    task = evaluator.task
    feeds = text_feeds(probe, encoder, windows=task == "question-answering").feeds
    outputs = TASK_OUTPUTS[task]
    return HeldOut(evaluator, baseline, Probe.of(task, feeds, outputs, reference.run), session)
