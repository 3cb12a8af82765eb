"""The data files of a compile, opened and checked before the work begins."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from calibration.data import Dataset, open_dataset
from calibration.examples import DataOptions, Example
from calibration.sampler import sample
from compiler.frontend.checkpoint import Checkpoint
from compiler.heldout import HELD_OUT, PRUNE_HELD_OUT, Slice, hold_out, slice_evaluator
from compiler.options import CompileOptions
from compiler.progress import Progress
from compiler.report.details import data_line
from compiler.texts import tokenizer_of
from compiler.validate import Evaluator, make_evaluator
from targets.errors import UsageError


@dataclass(frozen=True, slots=True)
class Opened:
    """What was read.

    Attributes:
        calibration: texts for the quantizer.
        pruning: texts for the pruner.
        evaluator: of the evaluation data.
        sample: of what an emulated validation reads of it.
        held_out: rows to choose a precision by, and their evaluator.
        record: name, hash and size of each data set, for the manifest.
    """

    calibration: list[Example] | None = None
    pruning: list[Example] | None = None
    evaluator: Evaluator | None = None
    sample: Evaluator | None = None
    held_out: tuple[Slice, Evaluator] | None = None
    record: dict[str, Any] = field(default_factory=dict)


def open_data(options: CompileOptions, checkpoint: Checkpoint, progress: Progress) -> Opened:
    """Read the calibration data where it is needed, and the evaluation data where there is some.

    Args:
        options: files, columns, sizes and seed.
        checkpoint: whose task and labels the rows are read for.
        progress: told what was read, and what follows from data that is missing or cannot be used.

    Raises:
        UsageError: a file that cannot be read, or that has too few rows.
    """
    columns = DataOptions(options.text_column, options.text_pair_column, options.label_column)
    opened = Opened()
    if (options.calibrated or options.pruned) and options.calibration_data is not None:
        with named("--calibration-data", options.calibration_data):
            data = open_dataset(options.calibration_data, checkpoint.task, columns)
        opened = _calibration(data, options, checkpoint, progress)
    if options.eval_data is None:
        progress.warn("no --eval-data was given: the accuracy of this bundle is not known")
        return opened
    with named("--eval-data", options.eval_data):
        data = open_dataset(options.eval_data, checkpoint.task, columns)
    make = partial(
        make_evaluator,
        data,
        checkpoint.task,
        checkpoint.task_config,
        tokenizer_of(checkpoint),
        seed=options.seed,
    )
    with named("--eval-data", options.eval_data):
        evaluator = make(limit=options.eval_samples)
        small = evaluator.n <= options.emulated_samples
        sample = evaluator if small else make(limit=options.emulated_samples)
    progress.detail(data_line("evaluation", data.name, evaluator.n))
    record = {**opened.record, "evaluation": _record(data, evaluator.n)}
    return replace(opened, evaluator=evaluator, sample=sample, record=record)


def _calibration(
    data: Dataset, options: CompileOptions, checkpoint: Checkpoint, progress: Progress
) -> Opened:
    rows = _Counted(data)
    with named("--calibration-data", data.name):
        calibration = sample(rows, options.calibration_samples, options.seed) if options.calibrated else []
        pruning = sample(rows, options.prune_samples, options.seed) if options.pruned else []
    used = {"calibration": calibration, "pruning": pruning}
    for what, drawn in used.items():
        if drawn:
            progress.detail(data_line(what, data.name, len(drawn), rows.count))
    record = {name: _record(data, len(each)) for name, each in used.items() if each}
    opened = Opened(calibration or None, pruning or None, record=record)
    if not options.searched:
        return opened
    wanted = HELD_OUT if options.prune is None else PRUNE_HELD_OUT
    held_out = hold_out(data, [*calibration, *pruning], wanted=wanted, seed=options.seed)
    evaluator = slice_evaluator(
        held_out,
        checkpoint.task,
        checkpoint.task_config,
        tokenizer_of(checkpoint),
        progress.warn,
        seed=options.seed,
    )
    progress.detail(data_line("held out", data.name, len(held_out.rows), rows.count))
    record["held_out"] = _record(data, len(held_out.rows))
    return replace(opened, held_out=(held_out, evaluator), record=record)


@contextmanager
def named(flag: str, source: str | Path) -> Iterator[None]:
    """Within, errors of a data file name the flag that gave it.

    Args:
        flag: as in "--eval-data".
        source: its value.
    """
    try:
        yield
    except UsageError as error:
        begins = error.message.startswith((str(source), Path(source).name))
        where = flag if begins else f"{flag} {source}:"
        raise UsageError(f"{where} {error.message}", error.hint) from error


class _Counted:
    """Rows, and how many there were when they were last read to the end."""

    def __init__(self, data: Dataset) -> None:
        self._data = data
        self.count = 0

    def __iter__(self) -> Iterator[Example]:
        self.count = 0
        for row in self._data:
            self.count += 1
            yield row


def _record(data: Dataset, texts: int) -> dict[str, Any]:
    return {"name": data.name, "sha256": data.digest, "texts": texts}
