"""Whose the emulators are: programs run from them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from compiler.emulate.cpus import emulated_cpus
from compiler.emulate.folders import disk_size, emulators_folder, make_emulators_folder, untrusted
from compiler.emulate.qemu import find_qemu, guest_command
from compiler.emulate.readiness import missing, require_emulator
from compiler.emulate.setup import set_up
from compiler.emulate.userland import Userland, find_userland, qemu_folder
from compiler.progress import Clock
from targets.errors import IntegrityError, UsageError
from tests.support.compiling import Recorder, bertc
from tests.support.emulators import Fakes, Locks, PinQemu


@pytest.fixture
def userland(no_qemu: Fakes, lock: Locks, pin_qemu: PinQemu) -> Userland:
    """One that is set up, with a QEMU of the cache folder."""
    assert lock
    pin_qemu(no_qemu.has("qemu-user"))
    return set_up("arm64", Clock(Recorder()))


def test_made_for_the_user_alone() -> None:
    umask = os.umask(0)
    try:
        made = make_emulators_folder()
    finally:
        os.umask(umask)
    assert made == emulators_folder()
    assert made.stat().st_mode & 0o777 == 0o700


def test_set_up_under_a_umask_that_shares_with_the_group(
    no_qemu: Fakes, lock: Locks, pin_qemu: PinQemu
) -> None:
    assert lock
    pin_qemu(no_qemu.has("qemu-user"))
    umask = os.umask(0o002)
    try:
        set_up("arm64", Clock(Recorder()))
    finally:
        os.umask(umask)
    assert missing("arm64") == ""


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o702, 0o1777])
def test_what_others_can_write_is_refused(userland: Userland, mode: int) -> None:
    userland.folder.chmod(mode)
    assert find_userland("arm64") is None
    told = f"{userland.folder} can be written by other users, so nothing is run from it; run: chmod go-w "
    assert missing("arm64").startswith(told)
    with pytest.raises(IntegrityError) as caught:
        require_emulator("arm64")
    assert f"chmod go-w {userland.folder}" in caught.value.hint
    bertc("emulator", "run", "cortex-a76", "doctor").fails(5, "can be written by other users", "chmod go-w")
    done = bertc("emulator", "list")
    assert done.code == 0
    assert "can be written by other users" in done.out
    assert set_up("arm64", Clock(Recorder())) == userland, "it is made again"
    assert missing("arm64") == ""


def test_a_qemu_that_others_can_write_is_refused(userland: Userland) -> None:
    qemu_folder().chmod(0o722)
    assert find_qemu("arm64") is None
    assert missing("arm64").startswith(f"{qemu_folder()} can be written by other users")
    with pytest.raises(IntegrityError, match="can be written by other users"):
        require_emulator("arm64")
    with (
        pytest.raises(IntegrityError, match="can be written by other users"),
        guest_command(emulated_cpus()[0], userland, "onnxruntime", []),
    ):
        raise AssertionError
    progress = Recorder()
    set_up("arm64", Clock(progress))
    assert progress.finished == ["downloading QEMU"]
    assert missing("arm64") == ""


def test_nothing_is_set_up_where_others_can_write(userland: Userland, no_qemu: Fakes) -> None:
    before = no_qemu.log
    emulators_folder().chmod(0o770)
    for options in ((), ("--force",)):
        done = bertc("emulator", "setup", "arm64", *options)
        done.fails(5, f"{emulators_folder()} can be written by other users", "chmod go-w")
    bertc("emulator", "remove", "arm64").fails(5, "can be written by other users")
    assert userland.folder.is_dir()
    assert no_qemu.log == before
    emulators_folder().chmod(0o755)
    assert missing("arm64") == ""


def test_what_is_another_user_s_is_refused(userland: Userland, monkeypatch: pytest.MonkeyPatch) -> None:
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    problem = untrusted(userland.folder)
    assert problem is not None
    assert "belongs to another user" in problem.message
    assert "BERTC_CACHE_DIR" in problem.hint
    assert "belongs to another user" in missing("arm64")
    assert find_qemu("arm64") is None


def test_a_place_that_is_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("BERTC_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(UsageError, match="cannot write"):
        make_emulators_folder()


def test_sizes_on_the_disk(tmp_path: Path) -> None:
    assert disk_size(tmp_path / "none") == 0
    empty = disk_size(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_bytes(b"?" * 1_000_000)
    size = disk_size(tmp_path)
    assert 1_000_000 <= size - empty < 1_100_000
    os.link(tmp_path / "a" / "file", tmp_path / "again")
    (tmp_path / "link").symlink_to("/usr")
    assert disk_size(tmp_path) - size < 10_000
