"""What is run on every CPU: a plan in a runtime, and what the plan says exactly."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from compiler.build import LOWERINGS
from compiler.integer.reference import IntegerReference
from compiler.quantize.plan import QuantPlan
from targets.errors import IncompatibleError
from targets.spec import Runtime
from tools.arm import guest

HOST: Final = "host"
Feeds = Sequence[Mapping[str, NDArray[Any]]]
_PRODUCTS: Final = ("FullyConnected", "MatMul", "Subgraph")


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """A model in a runtime.

    Attributes:
        key: its folder, and its name in JSON.
        row: its row of a table.
        column: its column, where a table has one for each kind of activation.
        runtime: which runs it.
        model: the float IR.
        plan: what of it is INT8.
        feeds: of each run.
        options: of the session, over the artifact's own.
    """

    key: str
    row: str
    column: str
    runtime: Runtime
    model: ir.Model
    plan: QuantPlan
    feeds: Feeds
    options: Mapping[str, str | None] = field(default_factory=dict)

    def exact(self) -> NDArray[Any]:
        """What the plan says, computed on integers: the rows of all runs, flat but for the last axis."""
        reference = IntegerReference(self.model, self.plan)
        runs = [reference.run({name: each[name] for name in reference.input_names}) for each in self.feeds]
        return _joined(runs)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a CPU made of a subject.

    Attributes:
        runs: every output of each run; none where the runtime refused.
        kernels: OpenVINO's products with the types of their operands and result, counted.
        refusal: in the runtime's words; empty where there was none.
    """

    runs: Feeds
    kernels: Mapping[str, int]
    refusal: str = ""

    @property
    def rows(self) -> NDArray[Any] | None:
        """The first output of all runs, flat but for the last axis."""
        return _joined(self.runs) if self.runs else None


def write_jobs(subjects: Sequence[Subject], folder: Path) -> None:
    """Every subject's artifact and inputs, as `tools.arm.guest` reads them."""
    jobs: list[dict[str, Any]] = []
    feeds: dict[int, str] = {}
    for each in subjects:
        artifact = LOWERINGS[each.runtime](each.model, each.plan, "int8" if each.plan.linears else "fp32")
        place = folder / each.key
        place.mkdir(parents=True)
        for path, data in artifact.files.items():
            (place / Path(path).name).write_bytes(data)
        if id(each.feeds) not in feeds:
            feeds[id(each.feeds)] = f"feeds{len(feeds)}.npz"
            np.savez(folder / feeds[id(each.feeds)], **_flat(each.feeds))
        options = {**artifact.options, **each.options}
        jobs.append(
            {
                "name": each.key,
                "runtime": each.runtime,
                "model": f"{each.key}/{Path(artifact.main).name}",
                "feeds": feeds[id(each.feeds)],
                "options": {name: value for name, value in options.items() if value is not None},
            }
        )
    (folder / "jobs.json").write_text(json.dumps(jobs))


def run_jobs(folder: Path, python: str | None) -> dict[str, Answer]:
    """The answers of one CPU.

    Args:
        folder: that `write_jobs` filled; results of another CPU are overwritten.
        python: the command that starts Python on that CPU; None for this interpreter.

    Raises:
        IncompatibleError: the command failed.
    """
    start = [sys.executable] if python is None else shlex.split(python)
    command = [*start, str(Path(guest.__file__).resolve()), str(folder)]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise IncompatibleError(
            f"`{shlex.join(start)}` ended with {done.returncode}: {reason}", "run it by hand"
        )
    jobs = json.loads((folder / "jobs.json").read_text())
    return {job["name"]: _answer(folder, job["name"]) for job in jobs}


def _answer(folder: Path, name: str) -> Answer:
    nodes = json.loads((folder / f"{name}.json").read_text())
    if nodes and "error" in nodes[0]:
        return Answer((), {}, nodes[0]["error"])
    kernels = Counter(_kernel(each) for each in nodes if each.get("layerType") in _PRODUCTS)
    return Answer(guest.read_runs(folder / f"{name}.npz"), kernels)


def _kernel(node: Mapping[str, Any]) -> str:
    types = f"{' x '.join(node['inputs'][:2])} to {node['outputs'][0]}"
    return f"{node['layerType']} {node.get('primitiveType', '')}, {types}"


def _flat(feeds: Feeds) -> dict[str, Any]:
    return {f"{place}/{name}": array for place, run in enumerate(feeds) for name, array in run.items()}


def _joined(runs: Sequence[Mapping[str, NDArray[Any]]]) -> NDArray[Any]:
    arrays = [next(iter(run.values())) for run in runs]
    return np.concatenate([each.reshape(-1, each.shape[-1]) for each in arrays])
