"""Temporary files and folders: removed at the end, or by the next that is made."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from targets.bundle.atomic_file import staged_file
from targets.temporary import abandoned, held, holding, scratch_folder

KILLED = """
import os, signal, sys
from pathlib import Path
from targets.bundle.atomic_file import staged_file
from targets.temporary import scratch_folder

def killed(_):
    os.kill(os.getpid(), signal.SIGKILL)

os.fsync = killed
with scratch_folder("test") as folder:
    (folder / "sub").mkdir()
    (folder / "sub" / "file").write_bytes(b"x" * 1000)
    (folder / "link").symlink_to("/")
    with staged_file(Path(sys.argv[1]), replace=True) as stream:
        stream.write(b"new")
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files of the test alone."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def write(path: Path, data: bytes, mode: int = 0o666) -> None:
    with staged_file(path, replace=True, mode=mode) as stream:
        stream.write(data)


def test_a_scratch_folder_is_the_users_alone_and_removed(temporary: Path) -> None:
    with scratch_folder("test") as folder:
        assert folder.parent == temporary
        assert folder.name.startswith(f"bertc-test-{os.getpid()}-")
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (folder / "file").write_bytes(b"x")
    with pytest.raises(KeyboardInterrupt), scratch_folder("test"):
        raise KeyboardInterrupt
    assert names(temporary) == []


def test_what_a_killed_process_leaves_is_removed_by_the_next(temporary: Path, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"old")
    environment = {**os.environ, "TMPDIR": str(temporary)}
    done = subprocess.run([sys.executable, "-c", KILLED, str(file)], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    (left,) = names(temporary)
    assert left.startswith("bertc-test-")
    assert file.read_bytes() == b"old"
    assert names(tmp_path)[0].startswith(".file.tmp-")
    with scratch_folder("other") as folder:
        assert names(temporary) == [folder.name]
    write(file, b"new")
    assert names(tmp_path) == ["file", "temporary"]


def test_a_scratch_folder_in_use_stays(temporary: Path) -> None:
    with scratch_folder("one") as first:
        with scratch_folder("two") as second:
            assert names(temporary) == [first.name, second.name]
        assert names(temporary) == [first.name]


def test_what_is_not_the_users_own_folder_stays(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (temporary / "bertc-test-1-0a").symlink_to(temporary.parent)
    (temporary / "bertc-test-1-0b").write_bytes(b"")
    os.mkfifo(temporary / "bertc-test-1-0c")
    (temporary / "bertc-test-notes").mkdir()
    (temporary / "bertc-test-1-0d").mkdir()
    before = names(temporary)
    own = os.geteuid()
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: own + 1)
        with scratch_folder("test"):
            pass
    assert names(temporary) == before
    with scratch_folder("test"):
        pass
    assert names(temporary) == [name for name in before if name != "bertc-test-1-0d"]


def test_a_folder_that_cannot_be_listed_is_none_of_ours(tmp_path: Path) -> None:
    assert list(abandoned(tmp_path / "none", "x-")) == []


def test_what_is_removed_before_it_is_held_is_made_again(tmp_path: Path) -> None:
    made: list[Path] = []

    def make(path: Path) -> None:
        path.mkdir()
        made.append(path)
        if len(made) == 1:
            path.rmdir()

    with held(tmp_path, "x-", make) as path:
        assert path == made[1]
        assert list(abandoned(tmp_path, "x-")) == []
    assert names(tmp_path) == []


def test_what_is_held_may_be_renamed(tmp_path: Path) -> None:
    path = tmp_path / "x-1-0a"
    path.mkdir()
    with holding(path) as there:
        assert there
        path.rename(tmp_path / "x-1-0b")
        assert list(abandoned(tmp_path, "x-")) == []
    assert list(abandoned(tmp_path, "x-")) == [tmp_path / "x-1-0b"]


def test_a_file_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    write(file, b"one", mode=0o600)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    write(file, b"two", mode=0o644)
    assert file.read_bytes() == b"two"
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    with full(monkeypatch), pytest.raises(OSError, match="No space"):
        write(file, b"three")
    assert file.read_bytes() == b"two"
    assert names(tmp_path) == ["file"]


@contextmanager
def full(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def fsync(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        yield
