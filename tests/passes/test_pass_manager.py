from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx_ir as ir
import pytest

from compiler.ir.printer import to_text
from compiler.passes.base import Declined, Pass, PassResult
from compiler.passes.fold_attention_scale import FoldAttentionScale
from compiler.passes.fold_constants import FoldConstants
from compiler.passes.fuse_qkv import FuseQkv
from compiler.passes.manager import DumpIr, PassManager
from targets.errors import InternalError, UnsupportedError, UsageError
from tests.support.graphs import encoder


@dataclass(frozen=True)
class Nothing(Pass):
    level: int = 3

    def run(self, model: ir.Model) -> PassResult:
        del model
        return PassResult(False, {"seen": 0}, (Declined("here", "there is nothing to do"),))


@dataclass(frozen=True)
class Untyped(Pass):
    def run(self, model: ir.Model) -> PassResult:
        model.graph[0].outputs[0].type = None
        return PassResult(True)


@dataclass(frozen=True)
class Failing(Pass):
    error: Exception

    def run(self, model: ir.Model) -> PassResult:
        del model
        raise self.error


class Watcher:
    def __init__(self) -> None:
        self.seen: list[str] = []

    def start(self, model: ir.Model) -> None:
        self.seen.append(f"start {len(model.graph)}")

    def after(self, index: int, done: Pass, model: ir.Model, result: PassResult) -> None:
        self.seen.append(f"{index} {done.name} {len(model.graph)} {result.modified}")


def test_runs_in_order_and_reports() -> None:
    watcher, model = Watcher(), encoder()
    nodes = len(model.graph)
    records = PassManager([Nothing(), FuseQkv()], [watcher]).run(model)
    assert [record.name for record in records] == ["Nothing", "FuseQkv"]
    assert watcher.seen == [f"start {nodes}", f"0 Nothing {nodes} False", f"1 FuseQkv {nodes - 3} True"]
    assert all(record.seconds >= 0 for record in records)


def test_a_record_has_options_counts_and_reasons_but_no_times() -> None:
    (record,) = PassManager([Nothing(level=7)]).run(encoder())
    assert record.to_json() == {
        "name": "Nothing",
        "options": {"level": 7},
        "modified": False,
        "counts": {"seen": 0},
        "declined": [{"where": "here", "reason": "there is nothing to do"}],
    }


def test_a_malformed_graph_names_the_pass_and_those_before() -> None:
    with pytest.raises(InternalError) as raised:
        PassManager([Nothing(), FuseQkv(), Untyped()]).run(encoder())
    assert "pass Untyped (after Nothing, FuseQkv)" in raised.value.message
    assert "makes 'e' without a type" in raised.value.message
    assert "> e: " in raised.value.message


def test_an_exception_names_the_pass() -> None:
    with pytest.raises(InternalError, match=r"pass Failing \(after none\) failed: ValueError: odd") as raised:
        PassManager([Failing(ValueError("odd"))]).run(encoder())
    assert isinstance(raised.value.__cause__, ValueError)


def test_an_error_for_the_user_passes_through() -> None:
    error = UnsupportedError("no", "do")
    with pytest.raises(UnsupportedError) as raised:
        PassManager([Failing(error)]).run(encoder())
    assert raised.value is error


def test_the_graph_is_verified_before_the_first_pass() -> None:
    model = encoder()
    model.graph[0].outputs[0].type = None
    watcher = Watcher()
    with pytest.raises(InternalError, match="without a type"):
        PassManager([Nothing()], [watcher]).run(model)
    assert watcher.seen == []


def test_dump_ir(tmp_path: Path) -> None:
    model = encoder()
    traced = to_text(model)
    passes: list[Pass] = [FoldConstants(), FoldAttentionScale(), FoldConstants()]
    PassManager(passes, [DumpIr(tmp_path / "new" / "ir")]).run(model)
    files = {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / "new" / "ir").iterdir()}
    assert sorted(files) == [
        "00-traced.txt",
        "01-FoldConstants.txt",
        "02-FoldAttentionScale.txt",
        "03-FoldConstants.txt",
    ]
    assert files["00-traced.txt"] == traced
    assert files["03-FoldConstants.txt"] == to_text(model)


def test_dump_ir_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(UsageError, match=r"cannot write .*00-traced\.txt: No space left") as caught:
        PassManager([], [DumpIr(tmp_path / "ir")]).run(encoder())
    assert "--dump-ir" in caught.value.hint


def test_two_runs_give_the_same_text() -> None:
    def compiled() -> tuple[str, list[dict[str, Any]]]:
        from compiler.pipeline import encoder_passes

        model = encoder(layers=2)
        records = PassManager(encoder_passes()).run(model)
        return to_text(model), [record.to_json() for record in records]

    assert compiled() == compiled()
