"""Arrays that are costly to compute, kept under the hash of everything they depend on."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
import warnings
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from targets.errors import InternalError

DEFAULT_MAX_BYTES: Final = 1 << 30
_FORMAT: Final = 1
_PART: Final = ".part"
_STALE_S: Final = 3600.0


def default_cache_dir() -> Path:
    """``BERTC_CACHE_DIR``, else ``bertc`` in ``XDG_CACHE_HOME``, else ``~/.cache/bertc``."""
    if own := os.environ.get("BERTC_CACHE_DIR"):
        return Path(own)
    shared = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(shared) if Path(shared).is_absolute() else Path.home() / ".cache") / "bertc"


def cache_key(parts: Mapping[str, object]) -> str:
    """Hex sha256 over canonical JSON of what the value depends on (digests, options, versions).

    Raises:
        InternalError: a part that is no JSON value.
    """
    try:
        text = json.dumps(
            {"format": _FORMAT, "parts": parts}, sort_keys=True, separators=(",", ":"), allow_nan=False
        )
    except (TypeError, ValueError) as error:
        raise InternalError(f"a cache key cannot be made: {error}", "report this") from error
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


class ArrayCache:
    """A folder of entries, bounded in size; the least recently used go first.

    What killed writes left half done goes an hour later. It never fails a compilation: an entry that is
    damaged or cannot be written is a warning.
    """

    def __init__(self, root: Path | None = None, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        """Use a folder, made when first written to.

        Args:
            root: folder; `default_cache_dir` when None.
            max_bytes: bound on all entries together.
        """
        self.root = default_cache_dir() if root is None else root
        self.max_bytes = max_bytes

    def get(self, key: str) -> dict[str, NDArray[Any]] | None:
        """The arrays kept under `key`, or None. Warns about a damaged entry and removes it."""
        path = self._path(key)
        try:
            arrays = _load(path)
            os.utime(path)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            _warn(f"{path.name}: damaged cache entry, computed again ({_reason(error)})")
            _remove(path)
            return None
        return arrays

    def put(self, key: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Keep arrays under `key`: written beside and renamed, so that a reader sees all or nothing.

        Raises:
            InternalError: an array of Python objects.
        """
        if any(array.dtype.hasobject for array in arrays.values()):
            raise InternalError("an array of Python objects cannot be cached", "report this")
        path = self._path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(path, arrays)
            self._evict(keep=path)
        except OSError as error:
            _warn(f"{self.root}: cannot be written ({_reason(error)}); the next run computes this again")

    def _path(self, key: str) -> Path:
        if not key or not key.isalnum():
            raise InternalError(f"{key!r} is no cache key", "make it with cache_key")
        return self.root / "arrays" / f"{key}.npz"

    def _evict(self, keep: Path) -> None:
        for path in keep.parent.glob(f"*{_PART}"):
            with suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > _STALE_S:
                    _remove(path)
        entries = []
        for path in keep.parent.glob("*.npz"):
            try:
                entries.append((path == keep, path.stat().st_mtime_ns, path.stat().st_size, path))
            except FileNotFoundError:
                continue
        total = sum(size for _, _, size, _ in entries)
        for _, _, size, path in sorted(entries):
            if total <= self.max_bytes:
                return
            _remove(path)
            total -= size


def _load(path: Path) -> dict[str, NDArray[Any]]:
    with np.load(path, allow_pickle=False) as stored:
        names = [str(name) for name in stored["names"]]
        return {name: stored[f"arr_{i}"] for i, name in enumerate(names)}


def _write(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f"{path.stem}.", suffix=_PART)
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, *arrays.values(), names=np.array(list(arrays), dtype=np.str_))
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        _remove(Path(name))
        raise


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        _warn(f"{path}: cannot be removed ({_reason(error)}); the cache may outgrow its bound")


def _reason(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _warn(message: str) -> None:
    warnings.warn(message, UserWarning, stacklevel=3)
