"""A model that another process runs, as under an emulator: `python -m targets.runtime.pipe BUNDLE THREADS`.

Frames go through the standard streams: the length in bytes as a little-endian 64-bit integer, then an .npz
of arrays by name. The first frame of the runner says what it is; then each frame in is a batch, each frame
out its outputs. Errors come as a frame with the one name `error`.
"""

from __future__ import annotations

import io
import json
import os
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any, BinaryIO, Final

import numpy as np

from targets.detect import machine
from targets.errors import BertcError, InternalError
from targets.runtime.backends.base import Array, Backend

MAX_FRAME: Final = 1 << 31
ERROR: Final = "error"
HELLO: Final = "hello"
WANTED: Final = "outputs wanted"
MODEL: Final = "--model"
_LENGTH: Final = struct.Struct("<Q")
_DAMAGE: Final = (
    OSError, ValueError, KeyError, EOFError, TypeError, RuntimeError, SyntaxError, MemoryError, OverflowError,
    struct.error, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


class EndOfFramesError(EOFError):
    """The other process closed its end."""


def write_frame(sink: BinaryIO, arrays: Mapping[str, Array]) -> None:
    """Sends arrays of numbers by name.

    Raises:
        OSError: the other end is closed.
    """
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **{name: np.asarray(array) for name, array in arrays.items()})
    data = buffer.getvalue()
    sink.write(_LENGTH.pack(len(data)) + data)
    sink.flush()


def read_frame(source: BinaryIO) -> dict[str, Array]:
    """Receives what `write_frame` sends.

    Raises:
        EndOfFramesError: the other end is closed.
        InternalError: what came is no frame.
    """
    (length,) = _LENGTH.unpack(_exactly(source, _LENGTH.size))
    if length > MAX_FRAME:
        raise InternalError(f"a frame of {length} bytes", "something else wrote to this stream")
    data = _exactly(source, length)
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            return dict(archive.items())
    except _DAMAGE as error:
        raise InternalError(
            f"a frame that cannot be read: {error}", "something else wrote to this stream"
        ) from error


def pack_json(value: object) -> Array:
    """A JSON document as an array of its bytes."""
    return np.frombuffer(json.dumps(value).encode(), np.uint8)


def unpack_json(array: Array) -> Any:
    """The document of `pack_json`."""
    return json.loads(array.astype(np.uint8).tobytes())


def serve(opened: Callable[[], tuple[Backend, dict[str, Any]]], source: BinaryIO, sink: BinaryIO) -> None:
    """Loads a model, says what it is, and runs every batch that comes.

    Args:
        opened: gives the model, and what is said of it.
        source: of the batches.
        sink: of the answers.
    """
    try:
        backend, hello = opened()
    except BertcError as error:
        write_frame(sink, {ERROR: pack_json(_problem(error))})
        return
    write_frame(sink, {HELLO: pack_json({**hello, **_described(backend)})})
    while True:
        try:
            feeds = read_frame(source)
        except EndOfFramesError:
            backend.close()
            return
        names = unpack_json(feeds.pop(WANTED))
        try:
            answer = backend.run(feeds, names)
        except BertcError as error:
            answer = {ERROR: pack_json(_problem(error))}
        write_frame(sink, answer)


def open_verified(path: str, threads: int) -> tuple[Backend, dict[str, Any]]:
    """A bundle, every hash compared, in its runtime, and the outcome of its self-test."""
    from targets.bundle.reader import Bundle
    from targets.runtime.selftest import run_selftest
    from targets.runtime.session import Session
    from targets.runtime.settings import DYNAMIC, RunSettings

    bundle = Bundle.open(path)
    bundle.verify()
    session = Session.from_bundle(bundle, settings=RunSettings(threads=threads, shapes=DYNAMIC))
    return session.backend, {"id": bundle.id, "selftest": run_selftest(bundle, session).to_dict()}


def open_model(runtime: str, path: str, threads: int) -> tuple[Backend, dict[str, Any]]:
    """A model that is no bundle, as another quantizer writes it; nothing of it is checked."""
    from targets.runtime.backends import open_backend_from_path

    return open_backend_from_path(runtime, path, threads=threads), {}


def _described(backend: Backend) -> dict[str, Any]:
    here = machine()
    return {
        "machine": {**asdict(here), "cpu_features": sorted(here.cpu_features)},
        "runtime": backend.name,
        "version": backend.version,
        "python": ".".join(map(str, sys.version_info[:3])),
        "input_names": list(backend.input_names),
        "output_names": list(backend.output_names),
    }


def _problem(error: BertcError) -> dict[str, str]:
    return {"type": type(error).__name__, "message": error.message, "hint": error.hint}


def _exactly(source: BinaryIO, count: int) -> bytes:
    parts = []
    while count:
        part = source.read(count)
        if not part:
            raise EndOfFramesError("the stream ended")
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def main(arguments: Sequence[str]) -> int:
    """Serves on the standard streams; what libraries print goes to standard error.

    Args:
        arguments: a bundle and a number of threads; or `--model`, a runtime, a file and a number of threads.
    """
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    threads = int(arguments[-1])
    if arguments[0] == MODEL:
        opened = partial(open_model, arguments[1], arguments[2], threads)
    else:
        opened = partial(open_verified, arguments[0], threads)
    serve(opened, sys.stdin.buffer, sink)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
