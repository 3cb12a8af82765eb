"""Profiles a bundle."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from targets.bundle.schema import model_files
from targets.errors import UnsupportedError
from targets.runtime.backends.base import Array
from targets.runtime.backends.threads import resolve_threads
from targets.runtime.profile.record import Node, Roofline, ShapeProfile, by_kind

if TYPE_CHECKING:
    from targets.bundle.reader import Bundle
    from targets.runtime.session import Session

LARGE: Final = ((1024, 1536, 1536), (1024, 768, 3072), (512, 1536, 1536))
"""Rows and widths of the products that the best rate is taken from."""

_SHARE: Final = 0.25
_REPEATS: Final = 30
_WARMUP: Final = 5


class Profiler(Protocol):
    """A runtime that times its operators."""

    def nodes(self, feeds: Mapping[str, Array], seconds: float) -> tuple[list[Node], float]:
        """The operators of a run on these feeds, and the median seconds of a run meanwhile."""

    def rate(self, rows: int, width_in: int, width_out: int, seconds: float) -> float:
        """Multiply-adds a second of one INT8 product."""


def profile(
    bundle: Bundle,
    shapes: Sequence[tuple[int, int]],
    *,
    seconds: float = 1.0,
    threads: int | None = None,
) -> tuple[ShapeProfile, ...]:
    """Profiles a bundle on random token ids, nothing padded.

    On OpenVINO the model is compiled for just the shape; onnxruntime takes every shape as it is.

    Args:
        bundle: an open bundle.
        shapes: (batch, tokens) of each profile.
        seconds: time spent on each.
        threads: threads of one run; None or 0 for every physical core.

    Raises:
        UnsupportedError: a runtime without a profiler.
        IncompatibleError: the machine does not fit; see `Bundle.check_device`.
    """
    count = resolve_threads(threads or 0)
    profiler = _profiler(bundle, count)
    best = max(profiler.rate(*size, _SHARE * seconds) for size in LARGE)
    found = []
    with bundle.session(threads=count) as session:
        for batch, length in shapes:
            ids = np.random.default_rng(0).integers(0, session.encoder.vocab_size, (batch, length))
            feeds = {
                "input_ids": ids.astype(np.int64),
                "attention_mask": np.ones((batch, length), np.int64),
                "token_type_ids": np.zeros((batch, length), np.int64),
            }
            own = {name: feeds[name] for name in session.backend.input_names}
            if batch == 1:
                session.prepare([length])
            wall_s = _wall(session, own)
            nodes, observed = profiler.nodes(own, seconds)
            roofline = _roofline(profiler, nodes, batch * length, best, _SHARE * seconds)
            wall_ms, observed_ms = round(1e3 * wall_s, 4), round(1e3 * observed, 4)
            found.append(ShapeProfile(batch, length, wall_ms, observed_ms, by_kind(nodes), roofline))
    return tuple(found)


def _profiler(bundle: Bundle, threads: int) -> Profiler:
    runtime = bundle.manifest.runtime
    files = [bundle.read(path) for path in model_files(runtime)]
    if runtime.backend == "openvino":
        from targets.runtime.profile.openvino import OpenVinoProfiler

        return OpenVinoProfiler(files[0], files[1], threads, runtime.options)
    if runtime.backend == "onnxruntime":
        from targets.runtime.profile.onnxruntime import OnnxRuntimeProfiler

        return OnnxRuntimeProfiler(files[0], threads, runtime.options)
    raise UnsupportedError(
        f"there is no profiler for {runtime.backend}", "leave out --profile, or compile for another runtime"
    )


def _roofline(
    profiler: Profiler, nodes: Sequence[Node], rows: int, best: float, seconds: float
) -> Roofline | None:
    products = [node for node in nodes if node.macs]
    if not products:
        return None
    macs, spent = sum(node.macs for node in products), sum(node.seconds for node in products)
    widest = max(products, key=lambda node: node.widths[0] * node.widths[1]).widths
    same = profiler.rate(rows, *widest, seconds)
    best = max(best, same)
    return Roofline(
        macs,
        round(1e3 * spent, 4),
        round(macs / spent),
        round(same),
        round(best),
        round(1e3 * macs / best, 4),
    )


def _wall(session: Session, feeds: Mapping[str, Array]) -> float:
    times = []
    for _ in range(_WARMUP + _REPEATS):
        begin = time.perf_counter()
        session.run(feeds)
        times.append(time.perf_counter() - begin)
    return float(np.median(times[_WARMUP:]))
