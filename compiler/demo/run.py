"""The demo: real weights, compiled for this machine and compared with FP32."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from calibration import cosine, overlap_at_k
from compiler.compile import compile_model
from compiler.demo.model import MODEL_NAME, find_demo_model
from compiler.demo.prose import passages
from compiler.demo.search import Search, same_nearest, search
from compiler.frontend.checkpoint import load_checkpoint
from compiler.frontend.torch_model import TorchReference, load_reference
from compiler.latency import Ratio, fitting_shapes, full_feeds, interleave, median_ms, speedup
from compiler.progress import Clock, Progress, Silent
from compiler.result import BundleResult
from compiler.torch_backend import TorchBackend
from compiler.validate.outputs import collect_rows
from targets.bundle.reader import Bundle
from targets.errors import UsageError
from targets.runtime.backends.threads import resolve_threads
from targets.runtime.session import Session
from targets.temporary import scratch_folder

QUERIES: Final = (
    "How can a loop be left before it is finished?",
    "What happens to an error that nobody handles?",
    "Which values count as false?",
)

CALIBRATION_TEXTS: Final = 300
EVALUATION_TEXTS: Final = 300

_ATTENTION: Final = "sdpa"
_NEIGHBOURS: Final = 10
_ROUGH: Final = 1.5
_SECONDS: Final = 4.0
_TURNS: Final = 20


@dataclass(frozen=True, slots=True)
class ShapeLatency:
    """Milliseconds of one run of `batch` texts of `tokens` tokens, in torch FP32 and in the bundle."""

    batch: int
    tokens: int
    fp32_ms: float
    bundle_ms: float
    speedup: Ratio


@dataclass(frozen=True, slots=True)
class Fidelity:
    """How near the bundle's embeddings are to those of the checkpoint in torch.

    Attributes:
        texts: passages embedded, none of which the calibration saw.
        mean_cosine, least_cosine: between the two embeddings of a passage.
        overlap_at_10: share of the 10 nearest other passages that are the same.
        same_nearest: share of passages whose nearest other passage is the same.
    """

    texts: int
    mean_cosine: float
    least_cosine: float
    overlap_at_10: float
    same_nearest: float


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What the demo found.

    Attributes:
        model: name of the checkpoint.
        bundle: what the compile returned.
        kept: whether the bundle is still at its path.
        threads: of every measurement.
        fidelity: against torch FP32.
        latency: one entry for each shape.
        searches: some queries by both models.
        seconds: of everything.
    """

    model: str
    bundle: BundleResult
    kept: bool
    threads: int
    fidelity: Fidelity
    latency: tuple[ShapeLatency, ...]
    searches: tuple[Search, ...]
    seconds: float

    @property
    def rough(self) -> bool:
        """Whether something else was using the cores, so that the latencies say little."""
        return any(each.speedup.high > _ROUGH * each.speedup.low for each in self.latency)

    def to_json(self) -> dict[str, Any]:
        """What `bertc demo --json` prints."""
        return {
            "model": self.model,
            "bundle": {**self.bundle.to_json(), "path": str(self.bundle.path) if self.kept else None},
            "threads": self.threads,
            "fidelity": asdict(self.fidelity),
            "rough": self.rough,
            "latency": [asdict(each) for each in self.latency],
            "searches": [asdict(each) for each in self.searches],
            "seconds": round(self.seconds, 1),
        }


def run_demo(
    output: Path | None = None, *, threads: int = 0, force: bool = False, progress: Progress | None = None
) -> DemoResult:
    """Compile all-MiniLM-L6-v2 for this machine and compare it with torch FP32.

    It calibrates, validates and searches passages of the Python documentation that is installed with
    every Python; no network is used.

    Args:
        output: the folder that receives the bundle; None removes it at the end.
        threads: of every run; 0 for every physical core.
        force: replace a bundle that is there.
        progress: told of every stage; silent when None.

    Raises:
        MissingBackendError: the package with the weights is not installed.
        IntegrityError: its weights are not the published ones.
        UsageError: an output that exists, or a Python without its documentation.
        AccuracyGateError, IncompatibleError: as `compile_model`.
    """
    begin = time.perf_counter()
    clock = Clock(progress or Silent())
    with clock.stage("checking the weights"):
        model = find_demo_model()
    calibration, evaluation = demo_texts()
    count = resolve_threads(threads)
    with scratch_folder("demo") as folder:
        result = compile_model(
            model,
            folder if output is None else output,
            name=MODEL_NAME,
            calibration_data=write_lines(folder / "calibration.txt", calibration),
            calibration_samples=len(calibration),
            eval_data=write_lines(folder / "evaluation.txt", evaluation),
            threads=count,
            force=force,
            progress=clock.progress,
        ).bundles[0]
        fidelity, latency, searches = _compare(model, result.path, evaluation, count, clock)
    return DemoResult(
        model=MODEL_NAME,
        bundle=result,
        kept=output is not None,
        threads=count,
        fidelity=fidelity,
        latency=latency,
        searches=searches,
        seconds=time.perf_counter() - begin,
    )


def demo_texts() -> tuple[list[str], list[str]]:
    """Passages to calibrate on, and others to evaluate on.

    Raises:
        UsageError: the documentation of this Python is missing or too short.
    """
    texts = passages()
    if len(texts) < CALIBRATION_TEXTS + EVALUATION_TEXTS // 2:
        raise UsageError(
            f"the documentation of this Python gives {len(texts)} passages, too few for the demo",
            "use a Python with its complete standard library",
        )
    return texts[:CALIBRATION_TEXTS], texts[CALIBRATION_TEXTS : CALIBRATION_TEXTS + EVALUATION_TEXTS]


def write_lines(path: Path, lines: Sequence[str]) -> Path:
    """One text a line; returns the path."""
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def _compare(
    model: Path, path: Path, texts: Sequence[str], threads: int, clock: Clock
) -> tuple[Fidelity, tuple[ShapeLatency, ...], tuple[Search, ...]]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        reference = load_reference(load_checkpoint(model))
        with Bundle.open(path).session(threads=threads) as session:
            fidelity, searches = _embed(reference, session, texts, clock)
            latency = _time(reference, session, clock)
    finally:
        torch.set_num_threads(before)
    return fidelity, latency, searches


def _embed(
    reference: TorchReference, session: Session, texts: Sequence[str], clock: Clock
) -> tuple[Fidelity, tuple[Search, ...]]:
    fp32 = Session(
        TorchBackend(reference, attention=_ATTENTION), session.encoder, session.task, session.task_config
    )
    with clock.stage("embedding with both models"):
        pairs = [(_vectors(each, QUERIES), _vectors(each, texts)) for each in (fp32, session)]
    before, after = (vectors for _, vectors in pairs)
    similar = cosine(after, before)
    fidelity = Fidelity(
        texts=len(texts),
        mean_cosine=float(similar.mean()),
        least_cosine=float(similar.min()),
        overlap_at_10=float(overlap_at_k(after, before, _NEIGHBOURS).mean()),
        same_nearest=same_nearest(before, after),
    )
    return fidelity, search(QUERIES, texts, pairs[0], pairs[1])


def _vectors(session: Session, texts: Sequence[str]) -> NDArray[np.float32]:
    return collect_rows(session, texts, "sentence_embedding", None)


def _time(reference: TorchReference, session: Session, clock: Clock) -> tuple[ShapeLatency, ...]:
    backends = {"fp32": TorchBackend(reference, attention=_ATTENTION), "bundle": session.backend}
    shapes = fitting_shapes(session.encoder.max_length)
    found = []
    with clock.stage("timing both models") as steps:
        for batch, tokens in shapes:
            steps.expect(_TURNS, last=(batch, tokens) == shapes[-1])
            feeds = full_feeds(session.encoder.vocab_size, batch, tokens)
            times = interleave(backends, feeds, turns=_TURNS, seconds=_SECONDS, advance=steps)
            fp32, bundle = times["fp32"], times["bundle"]
            ratio = speedup(fp32, bundle)
            found.append(ShapeLatency(batch, tokens, median_ms(fp32), median_ms(bundle), ratio))
    return tuple(found)
