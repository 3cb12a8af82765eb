"""The cache: keyed by content, atomic, bounded, and never a reason to fail."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from calibration import ArrayCache, cache_key, default_cache_dir
from targets.errors import InternalError

ARRAYS: dict[str, NDArray[Any]] = {
    "file": np.arange(6, dtype=np.int64).reshape(2, 3),
    "names": np.zeros(0, np.float32),
    "/layer.0/x": np.array([1.5], np.float32),
}


def test_arrays_come_back_whatever_their_names(tmp_path: Path) -> None:
    cache = ArrayCache(tmp_path / "deep" / "er")
    key = cache_key({"model": "abc"})
    assert cache.get(key) is None
    cache.put(key, ARRAYS)
    back = cache.get(key)
    assert back is not None
    assert list(back) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert back[name].dtype == array.dtype
        assert np.array_equal(back[name], array)


def test_the_key_is_of_the_content_not_of_its_order() -> None:
    assert cache_key({"a": 1, "b": [True, None]}) == cache_key({"b": [True, None], "a": 1})
    assert cache_key({"a": 1}) != cache_key({"a": "1"})
    assert len(cache_key({})) == 64
    for part in (float("nan"), object(), {1: object()}):
        with pytest.raises(InternalError, match="cache key"):
            cache_key({"a": part})


@pytest.mark.parametrize("damage", [b"", b"not a zip", None])
def test_a_damaged_entry_is_a_warning_and_can_be_written_again(tmp_path: Path, damage: bytes | None) -> None:
    cache = ArrayCache(tmp_path)
    cache.put("key", {"x": np.arange(1000)})
    [entry] = tmp_path.rglob("*.npz")
    content = bytearray(entry.read_bytes())
    content[len(content) // 2] ^= 0xFF
    entry.write_bytes(bytes(content) if damage is None else damage)
    with pytest.warns(UserWarning, match="damaged cache entry, computed again"):
        assert cache.get("key") is None
    assert cache.get("key") is None
    cache.put("key", {"x": np.arange(1000)})
    assert cache.get("key") is not None


def test_a_pickle_is_never_loaded(tmp_path: Path) -> None:
    cache = ArrayCache(tmp_path)
    cache.put("key", {})
    [entry] = tmp_path.rglob("*.npz")
    with entry.open("wb") as file:
        np.savez(file, np.array([{}], dtype=object), names=np.array(["x"]), allow_pickle=True)
    with pytest.warns(UserWarning, match="damaged"):
        assert cache.get("key") is None
    with pytest.raises(InternalError, match="Python objects"):
        cache.put("key", {"x": np.array([{}], dtype=object)})


def test_the_least_recently_used_entries_go_first(tmp_path: Path) -> None:
    cache = ArrayCache(tmp_path, max_bytes=30_000)
    for i, key in enumerate(["one", "two", "three"]):
        cache.put(key, {"x": np.zeros(1000)})
        os.utime(tmp_path / "arrays" / f"{key}.npz", (i + 1, i + 1))
    assert cache.get("one") is not None
    cache.put("four", {"x": np.zeros(1000)})
    assert [key for key in ("one", "two", "three", "four") if cache.get(key) is not None] == [
        "one",
        "three",
        "four",
    ]


def test_an_entry_larger_than_the_bound_is_not_kept(tmp_path: Path) -> None:
    cache = ArrayCache(tmp_path, max_bytes=10)
    cache.put("one", {"x": np.zeros(1000)})
    assert list(tmp_path.rglob("*.npz")) == []


def test_a_folder_that_cannot_be_written_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.warns(UserWarning, match="cannot be written .* computes this again"):
        ArrayCache(tmp_path / "file").put("key", {"x": np.zeros(1)})


def test_nothing_is_left_of_a_write_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.warns(UserWarning, match="No space left"):
        ArrayCache(tmp_path).put("key", {"x": np.zeros(1)})
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_what_killed_writes_left_is_removed_in_the_end(tmp_path: Path) -> None:
    cache = ArrayCache(tmp_path)
    cache.put("one", {"x": np.zeros(1)})
    old, new = (tmp_path / "arrays" / f"{name}.abc.part" for name in ("old", "new"))
    old.write_bytes(b"half")
    os.utime(old, (1, 1))
    new.write_bytes(b"half")
    cache.put("two", {"x": np.zeros(1)})
    assert not old.exists()
    assert new.exists()
    assert cache.get("one") is not None


@pytest.mark.parametrize("key", ["", "../up", "a/b"])
def test_keys_are_no_paths(tmp_path: Path, key: str) -> None:
    with pytest.raises(InternalError, match="no cache key"):
        ArrayCache(tmp_path).get(key)


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BERTC_CACHE_DIR", str(tmp_path / "own"))
    assert default_cache_dir() == ArrayCache().root == tmp_path / "own"
    monkeypatch.delenv("BERTC_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_dir() == tmp_path / "bertc"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_cache_dir() == tmp_path / ".cache" / "bertc"
