"""Predictions as bytes: the same predictions give the same bytes, and nothing is unpickled."""

from __future__ import annotations

import io
import zipfile
import zlib
from tokenize import TokenError
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from compiler.validate.outputs import Predictions
from targets.errors import IntegrityError, InternalError

_DIGEST: Final = "digest"
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
_NUMBERS: Final = frozenset("biuf")
# What reading a damaged archive raises; NotImplementedError is zipfile's, of a compression that it lacks.
_DAMAGE: Final = (
    OSError, ValueError, KeyError, EOFError, IndexError, TypeError, RuntimeError, SyntaxError,
    MemoryError, OverflowError, RecursionError, NotImplementedError, zipfile.BadZipFile, zlib.error,
    TokenError,
)  # fmt: skip


def save_predictions(digest: str, predictions: Predictions) -> bytes:
    """An .npz of the arrays, uncompressed, sorted by name, without times.

    Args:
        digest: of the examples that they belong to (`Evaluator.digest`).
        predictions: arrays of numbers by name.

    Raises:
        InternalError: an array of something else, or one named "digest".
    """
    if _DIGEST in predictions or any(a.dtype.kind not in _NUMBERS for a in predictions.values()):
        raise InternalError("these predictions cannot be stored", "report this")
    arrays = {_DIGEST: np.array(digest), **{name: predictions[name] for name in sorted(predictions)}}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, np.asarray(array, order="C"), (1, 0), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", _EPOCH)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content.getvalue())
    return buffer.getvalue()


def load_predictions(data: bytes, digest: str) -> Predictions | None:
    """What `save_predictions` wrote; None if it belongs to other examples.

    Raises:
        IntegrityError: the bytes are damaged, or hold anything but arrays of numbers.
    """
    try:
        arrays = _read(data)
        stored = str(arrays.pop(_DIGEST))
    except _DAMAGE as error:
        raise _damaged(str(error)) from error
    for name, array in arrays.items():
        if array.dtype.kind not in _NUMBERS:
            raise _damaged(f"{name[:40]} holds no numbers")
        if not np.isfinite(array).all():
            raise _damaged(f"{name[:40]} holds NaN or infinity")
    return arrays if stored == digest else None


def _read(data: bytes) -> dict[str, NDArray[Any]]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()
        names = [entry.filename.removesuffix(".npy") for entry in entries]
        if len(set(names)) != len(names):
            raise ValueError("two arrays have one name")
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise ValueError("it is compressed")
        if sum(entry.file_size for entry in entries) > len(data):
            raise ValueError("its arrays overlap")
        return {name: _array(archive.read(entry)) for name, entry in zip(names, entries, strict=True)}


def _array(content: bytes) -> NDArray[Any]:
    """An array whose header promises as many bytes as follow, so that nothing larger is allocated."""
    stream = io.BytesIO(content)
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError("an unknown version of .npy")
    shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    size = dtype.itemsize
    for length in shape:
        size *= length
    if dtype.hasobject or size != len(content) - stream.tell():
        raise ValueError("an array is not of the size that its header says")
    stream.seek(0)
    array: NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
    return array


def _damaged(problem: str) -> IntegrityError:
    return IntegrityError(
        f"the stored predictions are damaged: {(problem.splitlines() or ['unreadable'])[0][:120]}",
        "copy the bundle again from where it was compiled",
    )
