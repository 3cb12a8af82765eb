"""Whole compiles in a test: the command line in this process, progress that is kept, exports to .onnx."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

import compiler.compile as stages
import compiler.preparation as preparation
from compiler.cli.group import make_group
from compiler.frontend.checkpoint import Checkpoint
from compiler.frontend.export import TracedModel, trace
from compiler.ir.execute import clone
from compiler.result import BundleResult
from targets.cli_errors import main_guard
from targets.detect import machine
from targets.registry import get_target

TARGET = "x86-64-vnni"
RUNTIMES = ("onnxruntime", "openvino")
QUICK: dict[str, Any] = {"ranges": "minmax", "max_drop": 1.0, "report": False}
"""Options of a compile whose accuracy is not what is tested: the model's weights are random."""


def require_target() -> None:
    """Skip where the machine cannot run what is compiled."""
    if not machine().fits(get_target(TARGET)):
        pytest.skip(f"needs a machine that {TARGET} describes, which this one is not")


@dataclass
class Recorder:
    """Progress that remembers: finished stages, warnings and details."""

    started: list[str] = field(default_factory=list)
    finished: list[str] = field(default_factory=list)
    steps: dict[str, int] = field(default_factory=dict)
    totals: dict[str, int | None] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    details: list[str] = field(default_factory=list)

    def start(self, stage: str, total: int | None) -> None:
        self.started.append(stage)
        self.totals[stage] = total

    def expect(self, total: int, *, last: bool) -> None:
        assert isinstance(last, bool)
        stage = self.started[-1]
        self.totals[stage] = (self.totals[stage] or 0) + total

    def advance(self, steps: int) -> None:
        stage = self.started[-1]
        self.steps[stage] = self.steps.get(stage, 0) + steps

    def finish(self, seconds: float) -> None:
        assert seconds >= 0
        self.finished.append(self.started[-1])

    def detail(self, message: str) -> None:
        self.details.append(message)

    def warn(self, message: str) -> None:
        self.warnings.append(message)


@dataclass(frozen=True)
class Built:
    """One compile of one target."""

    result: BundleResult
    progress: Recorder

    @property
    def path(self) -> Path:
        return self.result.path


def build(model: Path, output: Path, **options: Any) -> Built:
    """`compile_model` for one target, quickly, with its progress kept."""
    progress = Recorder()
    done = stages.compile_model(model, output, progress=progress, **{**QUICK, **options})
    (result,) = done.bundles
    return Built(result, progress)


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        """The lines of the error, without progress and warnings."""
        return [line for line in self.err.splitlines() if line.startswith(("error:", "hint:"))]

    def fails(self, code: int, *parts: str) -> None:
        """One line of what is wrong, which holds `parts`, and one of what to do; nothing on stdout."""
        assert self.code == code, self.err
        assert self.out == ""
        assert [line.partition(":")[0] for line in self.errors] == ["error", "hint"], self.err
        assert self.err.splitlines()[-2:] == self.errors
        assert "Traceback" not in self.err
        for part in parts:
            assert part in " ".join(self.errors), self.err


def bertc(*argv: object) -> Ran:
    """`bertc ARGV...` in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main_guard(make_group(), [str(each) for each in argv])
    return Ran(code, out.getvalue(), err.getvalue())


def everything(folder: Path) -> list[str]:
    """Every path below a folder that exists, hidden ones included."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def export_onnx(source: Path, folder: Path) -> Path:
    """A copy of a text classifier whose weights are in FOLDER/model.onnx, as the hub has many."""
    import torch
    import transformers

    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        source, attn_implementation="eager"
    )
    model.eval().config.return_dict = False
    names = ["input_ids", "attention_mask", "token_type_ids"]
    sample = torch.ones(2, 8, dtype=torch.long)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (sample, sample, torch.zeros_like(sample)),
            str(folder / "model.onnx"),
            dynamo=False,
            opset_version=18,
            input_names=names,
            output_names=["logits"],
            dynamic_axes={name: {0: "batch", 1: "sequence"} for name in names},
        )
    return folder / "model.onnx"


@contextlib.contextmanager
def traced_once() -> Iterator[None]:
    """Within, a checkpoint is traced for its first compile, and the next ones start from a copy of that."""
    known: dict[tuple[Path, str], TracedModel] = {}

    def remember(checkpoint: Checkpoint) -> TracedModel:
        key = (checkpoint.path, checkpoint.task)
        if key not in known:
            known[key] = trace(checkpoint)
        return replace(known[key], model=clone(known[key].model))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preparation, "trace", remember)
        yield


@contextlib.contextmanager
def own_caches(folder: Path) -> Iterator[None]:
    """Keeps a session fixture's compiles out of the user's cache."""
    before = os.environ.get("BERTC_CACHE_DIR")
    os.environ["BERTC_CACHE_DIR"] = str(folder)
    try:
        yield
    finally:
        os.environ.pop("BERTC_CACHE_DIR")
        if before is not None:
            os.environ["BERTC_CACHE_DIR"] = before


Checkpoints = Callable[..., Path]
Data = Callable[..., Path]
Bundles = Callable[..., Built]
