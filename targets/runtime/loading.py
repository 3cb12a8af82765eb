"""From an open bundle to a loaded model and tokenizer."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from targets.bundle.schema import TOKENIZER_PATH, model_files
from targets.detect import machine
from targets.errors import IncompatibleError, IntegrityError, UnsupportedError, UsageError
from targets.runtime.backends import open_backend, require_package
from targets.runtime.backends.base import Backend
from targets.runtime.settings import RunSettings
from targets.runtime.tokenize import TextEncoder

if TYPE_CHECKING:
    from targets.bundle.reader import Bundle

_SMALL_MB = 64
_NEVER = "bertc writes no such bundle: do not run it"


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds of a session's stages; None for what has not happened.

    Attributes:
        import_s: importing the backend's package.
        verify_s: reading the bundle's files and comparing their hashes.
        load_s: making the model and the tokenizer ready.
        first_run_s: the first run of the model.
    """

    import_s: float | None = None
    verify_s: float | None = None
    load_s: float | None = None
    first_run_s: float | None = None


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a session is made of."""

    backend: Backend
    encoder: TextEncoder
    timings: Timings


def load(
    bundle: Bundle,
    settings: RunSettings,
    *,
    cache: bool = False,
    cuda_graphs: bool = False,
    build: bool = False,
) -> Loaded:
    """Loads a bundle's model and tokenizer from the very bytes whose hashes were compared.

    Args:
        bundle: an open bundle.
        settings: threads, streams and shapes.
        cache: whether OpenVINO keeps what it compiles in the user's cache folder.
        cuda_graphs: whether single texts are run as CUDA graphs, on a GPU.
        build: whether an engine that is built on the device is built now where it is not there.

    Raises:
        MissingBackendError: the backend is not installed.
        IncompatibleError: the backend cannot load the model.
        IntegrityError: a file is not what the manifest says.
    """
    manifest = bundle.manifest
    _check_memory(bundle)
    clock = [time.perf_counter()]
    if manifest.engine is None:
        require_package(manifest.runtime.backend)
    clock.append(time.perf_counter())
    files = _model(bundle, build)
    tokenizer = bundle.read(TOKENIZER_PATH)
    clock.append(time.perf_counter())
    backend = open_backend(
        manifest.runtime.backend,
        files[0],
        files[1] if len(files) > 1 else None,
        threads=settings.threads,
        options=manifest.runtime.options,
        streams=settings.streams,
        shapes=settings.shapes.within(manifest.max_length),
        cached=bundle.id if cache else None,
        cuda_graphs=cuda_graphs,
        device=manifest.runtime.device,
        lengths=manifest.runtime.lengths,
    )
    needs_type_ids = "token_type_ids" in backend.input_names
    limits = replace(manifest.tokenizer, max_length=manifest.max_length)
    try:
        encoder = TextEncoder.from_bytes(tokenizer, limits, needs_type_ids)
    except UsageError as error:
        raise IntegrityError(error.message, _NEVER) from error
    clock.append(time.perf_counter())
    return Loaded(backend, encoder, Timings(*(after - before for before, after in itertools.pairwise(clock))))


@contextmanager
def refused_by_bundle() -> Iterator[None]:
    """Turn what bertc does not support into a bundle that holds what none may.

    Raises:
        IntegrityError: in place of UnsupportedError.
    """
    try:
        yield
    except UnsupportedError as error:
        raise IntegrityError(error.message, _NEVER) from error


def _check_memory(bundle: Bundle) -> None:
    """Before a byte is read.

    Raises:
        IncompatibleError: the model's files are larger than this machine's memory.
    """
    needed = -(-bundle.model_bytes >> 20)
    if needed > _SMALL_MB and 0 < (memory := machine().memory_mb) < needed:
        raise IncompatibleError(
            f"the model has {needed} MiB, and this machine {memory} MiB of memory",
            "raise the memory limit, or compile a smaller model (--prune-flops)",
        )


def _model(bundle: Bundle, build: bool) -> list[bytes]:
    """What the backend loads: the bundle's files, or the engine that the device has built of them."""
    if bundle.manifest.runtime.backend == "tensorrt":
        from targets.runtime.engine.device_build import stored_engine

        return [stored_engine(bundle, build=build)]
    return [bundle.read(path) for path in model_files(bundle.manifest.runtime)]
