"""What a full temporary folder looks like from the libraries that write there."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from targets.errors import BertcError, InternalError, UsageError

_LEAST_ROOM: Final = 1 << 20
_COPIES: Final = 2


@contextmanager
def named_when_full(model: str | Path) -> Iterator[None]:
    """Say that the temporary folder is full where a library that writes there failed with words of its own.

    onnxruntime and OpenVINO write a few copies of the model there, and name neither folder nor reason.

    Args:
        model: the checkpoint; where less than two copies of it have room, that is the likely reason.

    Raises:
        UsageError: in place of an unexpected error.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, BertcError) and not isinstance(error, InternalError):
            raise
        folder = tempfile.gettempdir()
        free = shutil.disk_usage(folder).free
        if free >= max(_LEAST_ROOM, _COPIES * _size(Path(model))):
            raise
        raise UsageError(
            f"the temporary folder {folder} has {free / 1e6:.1f} MB left, and the compile failed: {error}",
            "free some space there, or set TMPDIR to another folder",
        ) from error


def _size(model: Path) -> int:
    files = [model] if model.is_file() else list(model.glob("*.safetensors"))
    return sum(file.stat().st_size for file in files)
