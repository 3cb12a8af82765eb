"""What OpenVINO compiled before, kept for the next start."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from targets.bundle.reader import Bundle
from targets.runtime.backends import openvino as backend_module
from targets.runtime.backends import openvino_cache
from targets.runtime.backends.openvino_cache import cache_file, read_cached, write_cached
from targets.runtime.cache import cache_folder
from targets.runtime.settings import RunSettings, ShapePolicy
from tests.support.tiny_runtime import table, tiny_bundle

VALUES = table(3)
IDS = {"input_ids": np.array([[2, 7, 9, 3]])}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BERTC_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / "openvino"


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return tiny_bundle(tmp_path / "b", "openvino", "text-classification", VALUES)


def answer(bundle: Bundle, *, cache: bool) -> np.ndarray:
    with bundle.session(threads=1, cache=cache) as session:
        return np.asarray(session.run(IDS)["logits"])


def test_nothing_is_kept_unless_asked_for(folder: Path, bundle: Bundle) -> None:
    answer(bundle, cache=False)
    assert not folder.exists()


def test_the_second_start_compiles_nothing(
    folder: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = answer(bundle, cache=True)
    (kept,) = folder.glob("*.blob")
    assert kept.stat().st_mode & 0o077 == 0
    assert folder.stat().st_mode & 0o077 == 0

    def refuse(*_: object) -> object:
        raise AssertionError("the model was read again")

    monkeypatch.setattr(backend_module, "_read", refuse)
    np.testing.assert_array_equal(answer(bundle, cache=True), first)


def test_a_cached_model_has_shapes_of_its_own(folder: Path, bundle: Bundle) -> None:
    expected = answer(bundle, cache=True)
    settings = RunSettings(threads=1, shapes=ShapePolicy((8,), when="ahead"))
    with bundle.session(settings=settings, cache=True) as session:
        assert list(session.shapes) == [8]
        np.testing.assert_allclose(session.run(IDS)["logits"], expected, atol=1e-6)
    assert len(list(folder.glob("*.blob"))) == 1


def test_a_damaged_file_is_compiled_again(folder: Path, bundle: Bundle) -> None:
    first = answer(bundle, cache=True)
    (kept,) = folder.glob("*.blob")
    whole = kept.read_bytes()
    for damaged in (b"", b"not a model", whole[: len(whole) // 2]):
        kept.write_bytes(damaged)
        np.testing.assert_array_equal(answer(bundle, cache=True), first)
        assert kept.read_bytes()[:64] == whole[:64]


def test_files_that_others_may_write_are_not_read(folder: Path) -> None:
    path = cache_file("a" * 64, "1.0", {"A": "b"})
    assert path.parent == folder
    assert read_cached(path) is None
    write_cached(path, b"data")
    assert read_cached(path) == b"data"
    path.chmod(0o666)
    assert read_cached(path) is None
    path.unlink()
    other = folder / "other"
    other.write_bytes(b"data")
    path.symlink_to(other)
    assert read_cached(path) is None
    path.unlink()
    os.mkfifo(path)
    assert read_cached(path) is None


def test_the_oldest_go(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_cache, "KEPT", 2)
    paths = [cache_file(str(number) * 64, "1.0", {}) for number in range(4)]
    for age, path in enumerate(paths):
        write_cached(path, b"x")
        os.utime(path, (age, age))
    write_cached(paths[3], b"x")
    assert sorted(folder.iterdir()) == sorted(paths[2:])


def test_what_killed_processes_left_goes(folder: Path) -> None:
    path = cache_file("a" * 64, "1.0", {})
    write_cached(path, b"x")
    old, new = folder / ".old.part", folder / ".new.part"
    for left in (old, new):
        left.write_bytes(b"x")
    os.utime(old, (1, 1))
    write_cached(path, b"y")
    assert sorted(folder.iterdir()) == sorted((path, new))


def test_another_process_forgets_at_the_same_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that are listed and gone a moment later, as a link to nothing is, cost nothing."""
    monkeypatch.setattr(openvino_cache, "KEPT", 1)
    folder.mkdir(parents=True)
    for name in ("a", "b", "c"):
        (folder / f"{name}.blob").symlink_to(folder / "gone")
    path = cache_file("a" * 64, "1.0", {})
    write_cached(path, b"x")
    assert sorted(folder.iterdir()) == [path]


def test_what_a_file_is_kept_for() -> None:
    one = cache_file("a" * 64, "1.0", {"A": "b"})
    assert one == cache_file("a" * 64, "1.0", {"A": "b"})
    others = [
        cache_file("b" * 64, "1.0", {"A": "b"}),
        cache_file("a" * 64, "1.1", {"A": "b"}),
        cache_file("a" * 64, "1.0", {"A": "c"}),
    ]
    assert len({one, *others}) == 4


def test_a_folder_that_cannot_be_written_costs_nothing(
    tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    monkeypatch.setenv("BERTC_CACHE_DIR", str(blocked))
    np.testing.assert_array_equal(answer(bundle, cache=True), answer(bundle, cache=False))


def test_where_the_folder_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("BERTC_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder("openvino") == tmp_path / "bertc" / "openvino"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder("openvino") == Path.home() / ".cache" / "bertc" / "openvino"
