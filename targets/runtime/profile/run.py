"""Profiles a bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from targets.bundle.schema import model_files
from targets.errors import UnsupportedError
from targets.runtime.backends.base import Array
from targets.runtime.backends.threads import resolve_threads
from targets.runtime.profile.record import Node, Roofline, ShapeProfile, by_kind
from targets.runtime.profile.timing import repeat, typical, warm_up

if TYPE_CHECKING:
    from targets.bundle.reader import Bundle
    from targets.runtime.session import Session

LARGE: Final = ((1024, 1536, 1536), (1024, 768, 3072), (512, 1536, 1536))
"""Rows and widths of the products that the best rate is taken from."""

_HALF: Final = 0.5
_SHARE: Final = 0.25


class Profiler(Protocol):
    """A runtime that times its operators."""

    def nodes(
        self, feeds: Mapping[str, Array], seconds: float, iterations: int | None = None
    ) -> tuple[list[Node], float]:
        """The operators of a typical run on these feeds, and the seconds of that run.

        Args:
            feeds: int64 [batch, sequence] by input name.
            seconds: how long to repeat it.
            iterations: how often instead; None lets `seconds` decide.
        """

    def rate(self, rows: int, width_in: int, width_out: int, seconds: float) -> float:
        """Multiply-adds a second of one INT8 product, [rows, width_in] by [width_in, width_out].

        0 where the runtime does not compute it on 8-bit integers.
        """


@dataclass(frozen=True, slots=True)
class _Observed:
    batch: int
    length: int
    wall_s: float
    observed_s: float
    nodes: list[Node]
    same_rows: float


def profile(
    bundle: Bundle,
    shapes: Sequence[tuple[int, int]],
    *,
    seconds: float = 1.0,
    iterations: int | None = None,
    threads: int | None = None,
) -> tuple[ShapeProfile, ...]:
    """Profiles a bundle on random token ids, nothing padded.

    On OpenVINO the model is compiled for just the shape; onnxruntime takes every shape as it is.

    Args:
        bundle: an open bundle.
        shapes: (batch, tokens) of each profile.
        seconds: time spent on each, half of it observed; each benchmark product takes a quarter of it more.
        iterations: runs of each shape, and as many observed, instead; None lets `seconds` decide.
        threads: threads of one run; None for what the bundle was tuned to, 0 for every physical core.

    Raises:
        UnsupportedError: a runtime without a profiler.
        IncompatibleError: the machine does not fit; see `Bundle.check_device`.
    """
    with bundle.session(threads=threads) as session:
        profiler = profiler_of(bundle, resolve_threads(session.settings.threads))
        found = [_observe(session, profiler, *shape, seconds, iterations) for shape in shapes]
    best = 0.0
    if any(each.same_rows for each in found):
        rates = [profiler.rate(*size, _SHARE * seconds) for size in LARGE]
        best = max(*rates, *(each.same_rows for each in found))
    return tuple(_shape_profile(each, best) for each in found)


def profiler_of(bundle: Bundle, threads: int) -> Profiler:
    """What times a bundle's operators.

    Args:
        bundle: an open bundle whose model this process has loaded, and so checked, before.
        threads: threads of one run, at least 1.

    Raises:
        UnsupportedError: a runtime without a profiler.
    """
    runtime = bundle.manifest.runtime
    if runtime.backend == "openvino" and runtime.device == "CPU":
        from targets.runtime.profile.openvino import OpenVinoProfiler

        model, weights = (bundle.read(path) for path in model_files(runtime))
        return OpenVinoProfiler(model, weights, threads, runtime.options)
    if runtime.backend == "onnxruntime":
        from targets.runtime.profile.onnxruntime import OnnxRuntimeProfiler

        (model,) = (bundle.read(path) for path in model_files(runtime))
        return OnnxRuntimeProfiler(model, threads, runtime.options)
    raise UnsupportedError(
        f"there is no profiler for {runtime.backend} on this device",
        "leave out --profile, or compile for another runtime",
    )


def _observe(
    session: Session,
    profiler: Profiler,
    batch: int,
    length: int,
    seconds: float,
    iterations: int | None,
) -> _Observed:
    feeds = _feeds(session, batch, length)
    if batch == 1:
        session.prepare([length])
    warm_up(lambda: session.run(feeds))
    wall = typical(repeat(lambda: session.run(feeds), _HALF * seconds, iterations))
    nodes, observed = profiler.nodes(feeds, _HALF * seconds, iterations)
    widths = [node.widths for node in nodes if node.macs]
    same = 0.0
    if widths:
        widest = max(widths, key=lambda each: each[0] * each[1])
        same = profiler.rate(batch * length, *widest, _SHARE * seconds)
    return _Observed(batch, length, wall, observed, nodes, same)


def _feeds(session: Session, batch: int, length: int) -> dict[str, Array]:
    shape = (batch, length)
    ids = np.random.default_rng(0).integers(0, session.encoder.vocab_size, shape, dtype=np.int64)
    feeds = {
        "input_ids": ids,
        "attention_mask": np.ones(shape, np.int64),
        "token_type_ids": np.zeros(shape, np.int64),
    }
    return {name: feeds[name] for name in session.backend.input_names}


def _shape_profile(found: _Observed, best: float) -> ShapeProfile:
    return ShapeProfile(
        found.batch,
        found.length,
        round(1e3 * found.wall_s, 4),
        round(1e3 * found.observed_s, 4),
        by_kind(found.nodes),
        _roofline(found, best) if found.same_rows else None,
    )


def _roofline(found: _Observed, best: float) -> Roofline:
    macs = sum(node.macs for node in found.nodes)
    spent = sum(node.seconds for node in found.nodes if node.macs)
    return Roofline(
        macs,
        round(1e3 * spent, 4),
        round(macs / max(spent, 1e-9)),
        round(found.same_rows),
        round(best),
        round(1e3 * macs / best, 4),
    )
