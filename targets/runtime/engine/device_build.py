"""A bundle's graphs made into engines on the device that runs them; the faster one that is right is kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from targets.bundle.schema import TOKENIZER_PATH, EngineVariant
from targets.errors import IncompatibleError, UsageError
from targets.gpu import gpus
from targets.runtime.backends.base import Array
from targets.runtime.backends.tensorrt import TensorRtBackend
from targets.runtime.cache import cache_folder, read_own, write_own
from targets.runtime.engine.builder import BuildOptions, BuiltEngine, build
from targets.runtime.engine.packages import load_tensorrt
from targets.runtime.engine.store import Place, Stored, VariantRecord, find, keep, place_of, read
from targets.runtime.selftest import run_selftest
from targets.runtime.session import Session
from targets.runtime.tokenize import TextEncoder
from targets.spec import Precision

if TYPE_CHECKING:
    from targets.bundle.reader import Bundle

RUNTIME: Final = "tensorrt"
ROUNDS: Final = 30
Step = Callable[[str, str, int, int], None]
"""Told of a variant's precision, a phase of its build, the steps done and their number."""


@dataclass(frozen=True, slots=True)
class _Tried:
    """One variant's engine, its session where the self-test passed, and how long the build took."""

    precision: Precision
    engine: bytes
    backend: TensorRtBackend | None
    record: VariantRecord


def build_bundle(
    bundle: Bundle, *, force: bool = False, version_compatible: bool = False, step: Step | None = None
) -> Stored:
    """Build every variant of a bundle and test it; time those that pass in turn, and keep the fastest.

    Args:
        bundle: whose engine is built on the device.
        force: build again what is there.
        version_compatible: an engine that later versions of TensorRT run too.
        step: told of the progress.

    Raises:
        UsageError: a bundle whose engine is not built on the device.
        MissingBackendError: TensorRT is not installed.
        IncompatibleError: another device, or no variant passes the self-test.
        UnsupportedError: TensorRT refuses a graph.
    """
    _check(bundle)
    bundle.check_device()
    trt = load_tensorrt(RUNTIME)
    place = _place(bundle, str(trt.__version__), version_compatible=version_compatible)
    known = None if force else find(place)
    if known is not None:
        return known
    tried: list[_Tried] = []
    try:
        for variant in _variants(bundle):
            tried.append(_try(bundle, variant, version_compatible, step))
        return _keep_fastest(bundle, tried, place)
    finally:
        for each in tried:
            if each.backend is not None:
                each.backend.close()


def stored_engine(bundle: Bundle, *, build: bool = False) -> bytes:
    """The engine that `build_bundle` kept for this GPU, driver and version of TensorRT.

    Args:
        bundle: whose engine is built on the device.
        build: whether to build it where it is not there, which takes minutes.

    Raises:
        IncompatibleError: none was built, or none can be.
        IntegrityError: it was changed.
        MissingBackendError: TensorRT is not installed.
    """
    version = str(load_tensorrt(RUNTIME).__version__)
    for version_compatible in (False, True):
        place = _place(bundle, version, version_compatible=version_compatible)
        stored = find(place)
        if stored is not None:
            return read(place, stored)
    if build:
        built = build_bundle(bundle)
        return read(_place(bundle, version, version_compatible=False), built)
    raise IncompatibleError(
        f"no engine was built for this GPU, driver and TensorRT {version}",
        f"run: bertc build {bundle.path}",
    )


def _check(bundle: Bundle) -> None:
    if bundle.manifest.runtime.backend != RUNTIME:
        raise UsageError(
            f"{bundle.path} is for {bundle.manifest.runtime.backend}, and has nothing to build on the device",
            "give a bundle that was compiled for jetson-orin, jetson-thor or nvidia-generic",
        )


def _variants(bundle: Bundle) -> Sequence[EngineVariant]:
    record = bundle.manifest.engine
    return () if record is None else record.variants


def _place(bundle: Bundle, version: str, *, version_compatible: bool) -> Place:
    present = gpus()
    if not present.found:
        raise IncompatibleError(f"there is no GPU: {present.reason}", "run this on the device")
    return place_of(bundle, version, present.found[0], present.driver, version_compatible=version_compatible)


def _try(bundle: Bundle, variant: EngineVariant, version_compatible: bool, step: Step | None) -> _Tried:
    begin = time.perf_counter()
    built = _built(bundle, variant, version_compatible, step)
    seconds = round(time.perf_counter() - begin, 3)
    backend = TensorRtBackend(built.engine, RUNTIME)
    passed = _passes(bundle, backend)
    if not passed:
        backend.close()
    record = VariantRecord(variant.precision, seconds, passed, None)
    return _Tried(variant.precision, built.engine, backend if passed else None, record)


def _built(
    bundle: Bundle, variant: EngineVariant, version_compatible: bool, step: Step | None
) -> BuiltEngine:
    record = bundle.manifest.engine
    if record is None:
        raise UsageError(f"{bundle.path} has no graph for TensorRT", "compile it for a GPU")
    trt = load_tensorrt(RUNTIME)
    timing = cache_folder(RUNTIME) / f"timing-{trt.__version__}.cache"
    options = BuildOptions(
        record.shapes,
        record.workspace_mb,
        version_compatible=version_compatible,
        timing=read_own(timing) or b"",
    )

    def tell(phase: str, done: int, steps: int) -> None:
        if step is not None:
            step(variant.precision, phase, done, steps)

    built = build(trt, bundle.read(variant.onnx), options, tell)
    write_own(timing, built.timing)
    return built


def _passes(bundle: Bundle, backend: TensorRtBackend) -> bool:
    manifest = bundle.manifest
    needs_type_ids = "token_type_ids" in backend.input_names
    encoder = TextEncoder.from_bytes(bundle.read(TOKENIZER_PATH), manifest.tokenizer, needs_type_ids)
    session = Session(backend, encoder, manifest.task, manifest.task_config)
    return run_selftest(bundle, session).ok


def _keep_fastest(bundle: Bundle, tried: Sequence[_Tried], place: Place) -> Stored:
    record = bundle.manifest.engine
    right = [each for each in tried if each.backend is not None]
    if not right or record is None:
        names = " and ".join(each.precision for each in tried)
        raise IncompatibleError(
            f"the self-test failed on the engines of {names}: this GPU does not compute what was compiled",
            "update TensorRT, or compile again with --precision fp16",
        )
    medians = _medians([each.backend for each in right if each.backend is not None], record.shapes.opt)
    best = int(np.argmin(medians))
    timed = {each.precision: round(median, 4) for each, median in zip(right, medians, strict=True)}
    records = tuple(replace(each.record, p50_ms=timed.get(each.precision)) for each in tried)
    return keep(place, right[best].engine, right[best].precision, records)


def _medians(backends: Sequence[TensorRtBackend], shape: tuple[int, int]) -> list[float]:
    """Milliseconds of a run of a shape, engines in turn; the first round is not counted."""
    feeds: dict[str, Array] = {
        name: np.ones(shape, np.int64) for backend in backends for name in backend.input_names
    }
    times = np.zeros((ROUNDS + 1, len(backends)))
    for turn in range(ROUNDS + 1):
        for place in np.roll(np.arange(len(backends)), turn).tolist():
            begin = time.perf_counter()
            backends[place].run(feeds)
            times[turn, place] = 1000.0 * (time.perf_counter() - begin)
    return [float(median) for median in np.median(times[1:], axis=0)]
