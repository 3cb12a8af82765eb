"""One checkpoint: its bundles and its peers, timed at fixed shapes, on real texts, and in bulk."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from compiler.latency import Ratio, fitting_shapes, full_feeds
from compiler.progress import Clock
from targets.bundle.reader import Bundle
from targets.runtime.items import TextItem
from targets.runtime.tune.run import TuneOptions, tune
from tools.contestants import Source, bundle_name
from tools.measure import Loaded, evaluator_of, load
from tools.speed.models import HINTS, Compiled, Peer, Reshaped, Runnable, make_bundles, make_peers
from tools.speed.peers_async import AsyncPeer
from tools.speed.roofline import encoder_products, measured_rate
from tools.speed.startup import Start, bare_start, bundle_start, pipeline_start
from tools.speed.timing import Timed, bundle_pass, peer_pass, time_passes, time_shape, time_stream

SHAPES: Final = ((1, 24), (1, 32), (1, 128), (8, 128))

_SIZES: Final = (4, 8, 16, 32, 64)
_SEARCH: Final = 2
_NNCF: Final = "NNCF INT8, openvino"


@dataclass(frozen=True, slots=True)
class Plan:
    """What to time.

    Attributes:
        rounds: of each shape.
        passes: over the real texts, after the first.
        tune_seconds: for `bertc tune` before anything is timed, on the calibration texts; 0 to leave it out.
        pythons: interpreters of peers that have their own environment, by key.
        python: that of the others.
    """

    rounds: int
    passes: int
    tune_seconds: float
    pythons: Mapping[str, str]
    python: str


@dataclass(frozen=True, slots=True)
class Race:
    """One kind of work: every model's times, bertc's best against the best of each column of peers.

    Attributes:
        work: what was done.
        times: by name.
        used: the ratio to the best peer as used, and its name.
        reshaped: the same for the peers reshaped by hand; None where there are none.
        best: the name of bertc's fastest.
        products: multiply-adds of one run, None where runs differ.
    """

    work: str
    times: Mapping[str, Timed]
    best: str
    used: tuple[str, Ratio]
    reshaped: tuple[str, Ratio] | None = None
    products: int | None = None


@dataclass(frozen=True, slots=True)
class Speed:
    """Everything measured of one checkpoint.

    Attributes:
        races: at fixed shapes, on the stream of texts, and in bulk.
        first: of the stream, the pass in which lengths are seen for the first time.
        rate: INT8 multiply-adds a second that large products reach.
        texts: how many the stream and the bulk have.
        prepared: seconds that OpenVINO took for each length's model.
        starts: of processes, by what they run.
    """

    races: tuple[Race, ...]
    rate: float
    texts: int = 0
    first: Mapping[str, Timed] | None = None
    prepared: Mapping[int, float] | None = None
    starts: Mapping[str, Start] | None = None


class SpeedRun:
    """Makes and times everything; `run` for a whole comparison, `shapes_only` for fixed shapes alone."""

    def __init__(self, source: Source, plan: Plan, folder: Path, clock: Clock) -> None:
        self._source = source
        self._plan = plan
        self._clock = clock
        self._folder = folder
        with clock.stage("loading the checkpoint"):
            self._loaded: Loaded = load(source.model)
        self._bundles = make_bundles(source, folder / "bundles", clock.progress)
        with clock.stage("quantizing with the peers"):
            self._peers = make_peers(source, self._loaded, plan.pythons, plan.python, folder)
        if plan.tune_seconds:
            self._tune()

    def run(self) -> Speed:
        """Fixed shapes, the stream of the evaluation texts, the same in bulk, and the start of processes."""
        texts = list(evaluator_of(self._source, self._loaded).items)
        starts = self._starts()
        with self._clock.stage("measuring the roofline"):
            rate = measured_rate(self._source.threads)
        shapes = self._shapes(SHAPES)
        stream, first, prepared = self._stream(texts)
        bulk = self._bulk(texts)
        return Speed((*shapes, stream, bulk), rate, len(texts), first, prepared, starts)

    def shapes_only(self, shapes: Sequence[tuple[int, int]]) -> Speed:
        """Fixed shapes alone."""
        with self._clock.stage("measuring the roofline"):
            rate = measured_rate(self._source.threads)
        return Speed(tuple(self._shapes(shapes)), rate)

    def _tune(self) -> None:
        options = TuneOptions(seconds=self._plan.tune_seconds, threads=self._source.threads)
        with self._clock.stage("tuning"):
            tune([Bundle.open(each.path) for each in self._bundles], options)

    def _shapes(self, shapes: Sequence[tuple[int, int]]) -> list[Race]:
        found = []
        fitting = fitting_shapes(self._loaded.encoder.max_length, shapes)
        with self._clock.stage("timing shapes", len(fitting) * self._plan.rounds) as advance:
            for shape in fitting:
                found.append(self._shape(shape, advance))
        return found

    def _shape(self, shape: tuple[int, int], advance: Callable[[int], None]) -> Race:
        threads = self._source.threads
        with ExitStack() as stack:
            models = self._opened(stack)
            if shape[0] == 1:
                for each in self._bundles:
                    models[each.name].prepare([shape[1]])
            reshaped = {}
            for hint in HINTS:
                path = next(each.path for each in self._peers if each.name == _NNCF)
                one = Reshaped(path, shape, hint, threads)
                reshaped[f"{_NNCF}, reshaped to {shape[0]}x{shape[1]}, {hint.upper()} rest"] = one
                stack.enter_context(closing(one))
            feeds = full_feeds(self._loaded.encoder.vocab_size, *shape)
            times = time_shape(models | reshaped, feeds, self._plan.rounds, advance)
        products = encoder_products(self._loaded.reference.wrapper.model.config, *shape)
        return self._race(f"{shape[0]}x{shape[1]}", times, list(reshaped), products)

    def _opened(self, stack: ExitStack) -> dict[str, Any]:
        each: list[Compiled | Peer] = [*self._bundles, *self._peers]
        return {one.name: stack.enter_context(closing(one.open(self._source.threads))) for one in each}

    def _race(
        self, work: str, times: Mapping[str, Timed], reshaped: Sequence[str] = (), products: int | None = None
    ) -> Race:
        own = {each.name for each in self._bundles}
        best = _fastest(times, [name for name in times if name in own])
        used = _fastest(times, [name for name in times if name not in own and name not in reshaped])
        hand = _fastest(times, reshaped) if reshaped else None
        return Race(
            work,
            times,
            best,
            (used, times[best].faster_than(times[used])),
            None if hand is None else (hand, times[best].faster_than(times[hand])),
            products,
        )

    def _stream(self, texts: Sequence[TextItem]) -> tuple[Race, dict[str, Timed], dict[int, float]]:
        encoder, plan = self._loaded.encoder, self._plan
        feeds = [encoder.collate(windows[:1]) for windows in encoder.encode(texts)]
        with ExitStack() as stack, self._clock.stage("timing texts", 1 + plan.passes) as advance:
            models: dict[str, Runnable] = self._opened(stack)
            found = time_stream(models, feeds, plan.passes, advance)
            prepared = {
                length: seconds
                for each in self._bundles
                for length, seconds in models[each.name].shapes.items()  # type: ignore[attr-defined]
            }
        later = {name: both[1] for name, both in found.items()}
        return self._race("real texts", later), {name: both[0] for name, both in found.items()}, prepared

    def _bulk(self, texts: Sequence[TextItem]) -> Race:
        encoder, threads = self._loaded.encoder, self._source.threads
        with ExitStack() as stack:
            ways: dict[str, Callable[[], object]] = {}
            for bundle in self._bundles:
                session = stack.enter_context(closing(bundle.open(threads, "throughput")))
                ways[bundle.name] = bundle_pass(session, texts)
            tried: dict[str, Callable[[], object]] = {}
            for peer in self._peers:
                model = stack.enter_context(closing(peer.open(threads)))
                for size in _SIZES:
                    tried[f"{peer.name}, batches of {size}"] = peer_pass(model, encoder, texts, size)
                if peer.runtime == "openvino":
                    queue = AsyncPeer(peer.path, threads)
                    for size in _SIZES:
                        tried[f"{peer.name}, streams, batches of {size}"] = queue.all_texts(
                            encoder, texts, size
                        )
            with self._clock.stage("looking for the peers' best batching", _SEARCH) as advance:
                search = time_passes(tried, _SEARCH, advance)
            for peer in self._peers:
                best = _fastest(search, [name for name in tried if name.startswith(peer.name)])
                ways[best] = tried[best]
            with self._clock.stage("timing all texts", 3 * self._plan.passes) as advance:
                for way in ways.values():
                    way()
                times = time_passes(ways, 3 * self._plan.passes, advance)
        return self._race("all texts in bulk", times)

    def _starts(self) -> dict[str, Start]:
        threads = self._source.threads
        with self._clock.stage("starting processes"):
            found = {f"bertc run, {each.name}": bundle_start(each, threads) for each in self._bundles}
            for each in self._bundles:
                if each.name == bundle_name("openvino"):
                    cache = self._folder / "cache"
                    found[f"bertc run --cache, {each.name}"] = bundle_start(each, threads, cache)
            for peer in self._peers:
                if peer.runtime == "onnxruntime":
                    found[f"a bare script, {peer.name}"] = bare_start(peer, self._bundles[0], threads)
            if self._loaded.checkpoint.task == "text-classification":
                found["the pipeline of transformers"] = pipeline_start(self._source.model, threads)
        return found


def _fastest(times: Mapping[str, Timed], names: Sequence[str]) -> str:
    return min(names, key=lambda name: times[name].median)
