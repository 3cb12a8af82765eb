"""`python -m tools.ablation_cost REQUEST.json`: what one quantization takes, in a process of its own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from compiler.ir.execute import serialize
from compiler.quantize.options import QuantizeOptions
from compiler.quantize.quantizer import quantize_static
from targets.errors import InternalError
from targets.spec import QuantScheme
from tools.peers.request import load_feeds, save_feeds

Feeds = Sequence[Mapping[str, NDArray[Any]]]


@dataclass(frozen=True, slots=True)
class Cost:
    """Memory and time of one quantization.

    Attributes:
        texts: of the calibration.
        tokens: of these, padding included.
        feeds_mb: what the calibration feeds themselves hold, MiB.
        start_mb: largest resident set of the process before it quantizes, graph and feeds loaded, MiB.
        peak_mb: largest resident set until it is done, MiB.
        seconds: to quantize.
    """

    texts: int
    tokens: int
    feeds_mb: float
    start_mb: float
    peak_mb: float
    seconds: float


def measure_cost(
    model: ir.Model, feeds: Feeds, scheme: QuantScheme, folder: Path, *, threads: int = 1
) -> Cost:
    """Quantize in a fresh process, which holds no torch and no checkpoint.

    Args:
        model: the float IR after the passes.
        feeds: calibration batches.
        scheme: see `quantize_static`.
        folder: an empty one for what the process reads.
        threads: for the calibration runs.

    Raises:
        InternalError: the process failed; the message ends with its last line.
    """
    (folder / "graph.onnx").write_bytes(serialize(model))
    save_feeds(folder / "feeds.npz", feeds)
    request = folder / "request.json"
    request.write_text(json.dumps({"scheme": asdict(scheme), "threads": threads}), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "tools.ablation_cost", str(request)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).resolve().parent.parent,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise InternalError(f"the measured process failed: {last}")
    return Cost(**json.loads(done.stdout.splitlines()[-1]))


def _measured(request: Path) -> Cost:
    asked = json.loads(request.read_text(encoding="utf-8"))
    model = ir.load(request.with_name("graph.onnx"))
    feeds = load_feeds(request.with_name("feeds.npz"))
    masks = [np.asarray(each["attention_mask"]) for each in feeds]
    start = _peak_mb()
    begin = time.perf_counter()
    quantize_static(model, feeds, QuantScheme(**asked["scheme"]), QuantizeOptions(threads=asked["threads"]))
    return Cost(
        texts=sum(map(len, masks)),
        tokens=sum(mask.size for mask in masks),
        feeds_mb=sum(array.nbytes for each in feeds for array in each.values()) / 2**20,
        start_mb=start,
        peak_mb=_peak_mb(),
        seconds=time.perf_counter() - begin,
    )


def _peak_mb() -> float:
    """The high-water mark of this process; `getrusage` would also count the parent's, from before exec."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    if found is None:
        raise InternalError("this system does not say how much memory a process had")
    return int(found[1]) / 1024


if __name__ == "__main__":
    print(json.dumps(asdict(_measured(Path(sys.argv[1])))))
