"""Runs passes in order, verifies the graph after each, and lets instruments watch."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Protocol

import onnx_ir as ir

from compiler.ir.printer import to_text
from compiler.ir.verify import verify
from compiler.passes.base import Pass, PassResult
from targets.errors import BertcError, InternalError, UsageError


class Instrument(Protocol):
    """Watches the graph before the first pass and after every pass."""

    def start(self, model: ir.Model) -> None:
        """Called once, before the first pass."""

    def after(self, index: int, done: Pass, model: ir.Model, result: PassResult) -> None:
        """Called after each pass, when the graph has been verified."""


@dataclass(frozen=True, slots=True)
class PassRecord:
    """One line of the manifest: a pass, its options and what it did."""

    name: str
    options: dict[str, Any]
    result: PassResult
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """What the manifest keeps: no times, so that two compiles agree."""
        return {
            "name": self.name,
            "options": self.options,
            "modified": self.result.modified,
            "counts": dict(self.result.counts),
            "declined": [asdict(each) for each in self.result.declined],
        }


class PassManager:
    """An ordered list of passes.

    Args:
        passes: run in this order.
        instruments: called before the first pass and after every pass.
    """

    def __init__(self, passes: Sequence[Pass], instruments: Sequence[Instrument] = ()) -> None:
        self._passes = tuple(passes)
        self._instruments = tuple(instruments)

    def run(self, model: ir.Model) -> list[PassRecord]:
        """Run every pass on `model`, in place.

        Raises:
            InternalError: a pass raised or left a malformed graph; the message names the pass and
                those before it.
            BertcError: as raised by a pass for the user.
        """
        records: list[PassRecord] = []
        verify(model)
        for instrument in self._instruments:
            instrument.start(model)
        for index, each in enumerate(self._passes):
            begin = time.perf_counter()
            result = self._step(each, model, records)
            records.append(PassRecord(each.name, _options(each), result, time.perf_counter() - begin))
            for instrument in self._instruments:
                instrument.after(index, each, model, result)
        return records

    def _step(self, each: Pass, model: ir.Model, before: Sequence[PassRecord]) -> PassResult:
        history = ", ".join(record.name for record in before) or "none"
        try:
            result = each.run(model)
            verify(model)
        except InternalError as error:
            raise InternalError(f"pass {each.name} (after {history}): {error.message}", error.hint) from error
        except BertcError:
            raise
        except Exception as error:
            detail = f"{type(error).__name__}: {error}"
            raise InternalError(f"pass {each.name} (after {history}) failed: {detail}") from error
        return result


def _options(each: Pass) -> dict[str, Any]:
    options: object = each
    if not is_dataclass(options):
        return {}
    return {field.name: getattr(options, field.name) for field in fields(options)}


class DumpIr:
    """Writes the graph as text before the first pass and after every pass.

    Args:
        folder: made if it is not there; files are named `NN-PassName.txt`.

    Raises:
        UsageError: a file cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def start(self, model: ir.Model) -> None:
        """Write the traced graph."""
        self._write("00-traced.txt", model)

    def after(self, index: int, done: Pass, model: ir.Model, result: PassResult) -> None:
        """Write the graph that `done` left."""
        del result
        self._write(f"{index + 1:02d}-{done.name}.txt", model)

    def _write(self, name: str, model: ir.Model) -> None:
        path = self._folder / name
        try:
            path.write_text(to_text(model), encoding="utf-8")
        except OSError as error:
            raise UsageError(
                f"cannot write {path}: {error.strerror or error}", "pass another folder with --dump-ir"
            ) from error
