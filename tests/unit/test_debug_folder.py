"""NAME.debug/ beside a bundle: what killed runs leave of it, and a disk that is full."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from compiler.report.debug import check_debug, debug_folder
from targets.errors import UsageError

PLAN: Any = SimpleNamespace(plan=SimpleNamespace(linears={}, attentions={}), smoothing=())
CENSUS: Any = SimpleNamespace(placements=())


@pytest.mark.parametrize("wanted", [False, True])
def test_what_a_killed_run_left_is_removed(tmp_path: Path, wanted: bool) -> None:
    (tmp_path / ".m.debug.tmp-1-0a").mkdir()
    check_debug(tmp_path / "m.bundle", force=False, wanted=wanted)
    assert os.listdir(tmp_path) == []


def test_a_folder_that_is_there_matters_only_where_one_is_wanted(tmp_path: Path) -> None:
    (tmp_path / "m.debug").mkdir()
    check_debug(tmp_path / "m.bundle", force=False, wanted=False)
    check_debug(tmp_path / "m.bundle", force=True, wanted=True)
    with pytest.raises(UsageError, match="exists already"):
        check_debug(tmp_path / "m.bundle", force=False, wanted=True)


def test_it_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []

    def fsync(descriptor: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name.partition(".tmp-")[0])
        assert (tmp_path / "m.debug").exists() == (len(synced) > 2)

    monkeypatch.setattr(os, "fsync", fsync)
    with debug_folder(tmp_path / "m.bundle", PLAN, CENSUS, wanted=True):
        pass
    assert synced == ["quantization.json", ".m.debug", tmp_path.name]


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fsync(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)
    with (
        pytest.raises(UsageError, match="No space left") as caught,
        debug_folder(tmp_path / "m.bundle", PLAN, CENSUS, wanted=True),
    ):
        pass
    assert "-o" in caught.value.hint
    assert os.listdir(tmp_path) == []
