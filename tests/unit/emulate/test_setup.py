"""Userlands made with an apt, a dpkg, a pip and a QEMU that are shell scripts."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest

import compiler.emulate.apt as packages
import compiler.emulate.removal as removal
import compiler.emulate.setup as setting_up
import compiler.emulate.userland as userlands
from compiler.emulate.apt import Archive, archives, named_sources, write_sources
from compiler.emulate.cpus import emulated_cpus
from compiler.emulate.folders import make_emulators_folder
from compiler.emulate.guest import guest_output
from compiler.emulate.locks import shared
from compiler.emulate.qemu import MINIMUM, find_qemu, qemu_version
from compiler.emulate.qemu import no_qemu as no_qemu_error
from compiler.emulate.readiness import missing, require_emulator
from compiler.emulate.setup import set_up, set_up_each
from compiler.emulate.userland import (
    ARCHES,
    RUNTIMES,
    Package,
    Userland,
    find_userland,
    lock_of,
    qemu_folder,
    qemu_lock,
    require_userland,
)
from compiler.progress import Clock
from targets.bundle.device import release
from targets.errors import IncompatibleError, IntegrityError, MissingBackendError, UsageError
from tests.support.compiling import Recorder, bertc
from tests.support.emulators import STATIC, VERSION, Fakes, Locks, PinQemu, nothing_left


def places(fakes: Fakes) -> list[str]:
    """What is set up: everything but the lock files, each of which is beside what it locks."""
    names = sorted(path.name for path in (fakes.cache / "emulators").iterdir())
    found = [name for name in names if not name.endswith(".lock")]
    assert {name for name in names if name.endswith(".lock")} <= {f".{name}.lock" for name in found}
    return found


def test_what_was_tested_is_taken(fakes: Fakes, lock: Locks) -> None:
    progress = Recorder()
    packages = fakes.has("python3.11"), fakes.has("libc6", "2.36-9")
    made = lock(*packages)
    userland = set_up("arm64", Clock(progress))
    assert userland.folder == fakes.cache / "emulators" / f"arm64-{made.digest[:12]}"
    assert dict(userland.record) == {
        "name": "arm64",
        "suite": "bookworm",
        "lock": made.digest,
        "packages": {
            each.name: {"version": each.version, "sha256": each.sha256, "pinned": True} for each in packages
        },
    }
    assert (userland.root / "usr" / "bin" / "python3.11").is_file()
    assert (userland.root / "etc" / "ld.so.cache").read_bytes() == b""
    assert all((userland.site(runtime) / "numpy").is_dir() for runtime in RUNTIMES)
    assert sorted(path.name for path in userland.folder.iterdir()) == ["root", "site", "userland.json"]
    assert places(fakes) == [userland.folder.name]
    for private in (userland.folder, userland.folder.parent):
        assert private.stat().st_mode & 0o777 == 0o700
    assert find_userland("arm64") == require_userland("arm64") == userland
    assert missing("arm64") == ""
    assert progress.warnings == []
    assert progress.finished == [
        *("reading package lists", "downloading packages", "installing Python packages", "starting it")
    ]
    (download,) = fakes.said("apt-get", " download ")
    assert download.endswith("download python3.11=1.0-1 libc6=2.36-9"), "in one call"
    assert "-oAPT::Architecture=arm64" in download
    assert [line.rpartition(" ")[2] for line in fakes.said("qemu", "-cpu cortex-a76")] == list(RUNTIMES)
    for line, runtime in zip(fakes.said("pip"), RUNTIMES, strict=True):
        assert {"--require-hashes", "--no-deps", "--only-binary=:all:", "--python-version=3.11"} < set(
            line.split()
        )
        assert "--platform=manylinux2014_aarch64" in line
        assert re.search(rf"--target=\S+/site/{runtime} ", line)


def test_again_does_nothing_and_force_does_it_all(fakes: Fakes, lock: Locks) -> None:
    assert lock
    first = set_up("arm64", Clock(Recorder()))
    (first.folder / "mark").touch()
    before = fakes.log
    again = Recorder()
    assert set_up("arm64", Clock(again)) == first
    assert fakes.log == before
    assert again.started == []
    forced = set_up("arm64", Clock(Recorder()), force=True)
    assert forced == first
    assert not (first.folder / "mark").exists()
    assert len(fakes.log) == 2 * len(before)
    assert places(fakes) == [first.folder.name]


def test_a_force_that_fails_keeps_what_was_there(fakes: Fakes, lock: Locks) -> None:
    assert lock
    first = set_up("arm64", Clock(Recorder()))
    (fakes.archive / "no-wheels").touch()
    with pytest.raises(MissingBackendError):
        set_up("arm64", Clock(Recorder()), force=True)
    assert find_userland("arm64") == first
    assert (first.root / "usr" / "bin" / "python3.11").is_file()
    assert places(fakes) == [first.folder.name]


def test_other_bytes_under_the_tested_version(fakes: Fakes, lock: Locks) -> None:
    lock(fakes.has("python3.11"), replace(fakes.has("libc6"), sha256="0" * 64))
    for locked in (False, True):
        with pytest.raises(IntegrityError, match=r"libc6 1.0-1 is not the package that was tested") as caught:
            set_up("arm64", Clock(Recorder()), locked=locked)
        assert "--apt-sources" in caught.value.hint
    assert nothing_left(fakes)
    assert fakes.said("pip") == []


def test_one_wrong_hash_beside_a_newer_package(fakes: Fakes, lock: Locks) -> None:
    lock(replace(fakes.has("python3.11"), version="0.9"), replace(fakes.has("libc6"), sha256="0" * 64))
    with pytest.raises(IntegrityError, match="libc6"):
        set_up("arm64", Clock(Recorder()))
    assert nothing_left(fakes)


def test_debian_has_replaced_a_package(fakes: Fakes, lock: Locks) -> None:
    newer = fakes.has("libc6", "2.36-10")
    lock(fakes.has("python3.11"), Package("libc6", "2.36-9", "0" * 64))
    progress = Recorder()
    userland = set_up("arm64", Clock(progress))
    assert userland.record["packages"]["libc6"] == {
        "version": "2.36-10",
        "sha256": newer.sha256,
        "pinned": False,
    }
    assert userland.record["packages"]["python3.11"]["pinned"] is True
    assert progress.warnings == ["Debian has replaced libc6: its 2.36-10 was not tested"]


def test_locked_takes_no_other(fakes: Fakes, lock: Locks) -> None:
    fakes.has("libc6", "2.36-10")
    lock(fakes.has("python3.11"), Package("libc6", "2.36-9", "0" * 64))
    with pytest.raises(MissingBackendError, match=r"apt's sources do not have libc6 2.36-9") as caught:
        set_up("arm64", Clock(Recorder()), locked=True)
    assert "--locked" in caught.value.hint
    assert nothing_left(fakes)


@pytest.mark.parametrize("locked", [False, True])
def test_a_package_that_no_archive_has(fakes: Fakes, lock: Locks, locked: bool) -> None:
    lock(fakes.has("python3.11"), Package("libnone", "1", "0" * 64))
    with pytest.raises(MissingBackendError, match="do not have libnone" + (" 1$" if locked else "$")):
        set_up("arm64", Clock(Recorder()), locked=locked)
    assert nothing_left(fakes)


def test_sources_of_its_own(fakes: Fakes, lock: Locks, monkeypatch: pytest.MonkeyPatch) -> None:
    assert lock
    monkeypatch.chdir(fakes.folder)
    Path("own.list").touch()
    set_up("arm64", Clock(Recorder()), sources=Path("own.list"))
    assert fakes.said("apt-get", " indextargets ") == [], "the system's archives are not asked for"
    for line in fakes.said("apt-get"):
        assert f"-oDir::Etc::sourcelist={fakes.folder.resolve()}/own.list" in line
        assert "-oDir::Etc::sourceparts=/dev/null" in line


DEB822 = "# mine\n\nTypes: deb\nURIs: http://deb.example/debian\nSuites: bookworm\nComponents: main\n"
ONE_LINE = "\n  # mine\ndeb [arch=arm64] http://deb.example/debian bookworm main\n"


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        *(("own", DEB822, "given.sources"), ("own.txt", DEB822, "given.sources")),
        *(("own", ONE_LINE, "given.list"), ("own.sources.bak", "deb-src http://x y main\n", "given.list")),
        *(("own.sources", DEB822, "own.sources"), ("own.list", ONE_LINE, "own.list")),
        ("own", "Enabled: yes\nTypes: deb\n", "given.sources"),
    ],
)
def test_sources_under_any_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str, found: str
) -> None:
    """apt tells its two formats by the ending, and takes a file without one for lines."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "work").mkdir()
    Path(name).write_text(text)
    given = named_sources(Path(name), tmp_path / "work")
    assert given.is_absolute()
    assert given.name == found
    assert given.read_text() == text
    assert (given.parent == tmp_path) is (found == name)


def test_sources_without_an_ending_are_used(fakes: Fakes, lock: Locks) -> None:
    assert lock
    (fakes.folder / "mine").write_text(DEB822)
    set_up("arm64", Clock(Recorder()), sources=fakes.folder / "mine")
    for line in fakes.said("apt-get"):
        (given,) = re.findall(r"-oDir::Etc::sourcelist=(\S+) ", line)
        assert Path(given).parts[-2:] == ("work", "given.sources")


@pytest.mark.parametrize(("name", "reason"), [("none.list", "No such file"), ("bin", "Is a directory")])
def test_sources_that_are_no_file(fakes: Fakes, lock: Locks, name: str, reason: str) -> None:
    assert lock
    done = bertc("emulator", "setup", "arm64", "--apt-sources", fakes.folder / name)
    done.fails(2, f"cannot read {fakes.folder / name}: {reason}", "--apt-sources")
    assert nothing_left(fakes)
    assert fakes.log == []


@pytest.mark.parametrize("tool", ["apt-get", "dpkg-deb"])
def test_no_debian(fakes: Fakes, lock: Locks, tool: str) -> None:
    assert lock
    (fakes.folder / "bin" / tool).unlink()
    with pytest.raises(MissingBackendError, match=f"{tool} is not installed") as caught:
        set_up("arm64", Clock(Recorder()))
    assert "Debian" in caught.value.hint
    assert nothing_left(fakes)
    assert fakes.log == []


@pytest.mark.parametrize(
    ("mark", "parts"),
    [
        ("broken", ["apt-get failed: E: Some index files failed to download", "network"]),
        ("no-wheels", ["ERROR: No matching distribution found for numpy==2.4.6", "pip"]),
        ("crashing", ["SIGILL", "bertc emulator setup"]),
    ],
)
def test_nothing_is_left_and_the_next_time_works(
    fakes: Fakes, lock: Locks, mark: str, parts: list[str]
) -> None:
    assert lock
    (fakes.archive / mark).touch()
    with pytest.raises((MissingBackendError, IncompatibleError)) as caught:
        set_up("arm64", Clock(Recorder()))
    for part in parts:
        assert part in f"{caught.value.message} {caught.value.hint}"
    assert "\n" not in caught.value.message
    assert nothing_left(fakes)
    assert find_userland("arm64") is None
    (fakes.archive / mark).unlink()
    assert set_up("arm64", Clock(Recorder())) == find_userland("arm64")


def test_an_interrupt(fakes: Fakes, lock: Locks, monkeypatch: pytest.MonkeyPatch) -> None:
    assert lock

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(setting_up, "_record", interrupted)
        with pytest.raises(KeyboardInterrupt):
            set_up("arm64", Clock(Recorder()))
    assert nothing_left(fakes)
    assert set_up("arm64", Clock(Recorder())) == find_userland("arm64")


def test_a_disk_without_room(fakes: Fakes, lock: Locks) -> None:
    lock(fakes.has("python3.11"), fakes.has("full"))
    with pytest.raises(MissingBackendError, match=r"dpkg-deb failed: .*No space left") as caught:
        set_up("arm64", Clock(Recorder()))
    assert "free some space" in caught.value.hint
    assert nothing_left(fakes)


def test_a_cache_folder_that_cannot_be_written(
    fakes: Fakes, lock: Locks, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert lock
    (fakes.folder / "file").touch()
    monkeypatch.setenv("BERTC_CACHE_DIR", str(fakes.folder / "file"))
    with pytest.raises(UsageError, match="cannot write") as caught:
        set_up("arm64", Clock(Recorder()))
    assert "BERTC_CACHE_DIR" in caught.value.hint


def test_qemu_out_of_a_package(no_qemu: Fakes, lock: Locks, pin_qemu: PinQemu) -> None:
    assert lock
    package = no_qemu.has("qemu-user", "1:10.0.2+ds-1")
    pin_qemu(package)
    progress = Recorder()
    userland = set_up("arm64", Clock(progress))
    own = no_qemu.cache / "emulators" / "qemu-10.0.2+ds-1"
    assert find_qemu("arm64") == own / "qemu-aarch64"
    assert find_qemu("avx2") == own / "qemu-x86_64"
    assert sorted(path.name for path in own.iterdir()) == ["qemu-aarch64", "qemu-x86_64", "qemu.json"]
    assert json.loads((own / "qemu.json").read_bytes()) == {
        "package": "qemu-user",
        "version": "1:10.0.2+ds-1",
        "sha256": package.sha256,
        "pinned": True,
    }
    assert own.stat().st_mode & 0o777 == 0o700
    assert places(no_qemu) == sorted([own.name, userland.folder.name])
    assert sorted(path.name for path in userland.folder.iterdir()) == ["root", "site", "userland.json"]
    assert missing("arm64") == ""
    assert progress.warnings == []
    assert progress.finished[0] == "downloading QEMU"
    download = no_qemu.said("apt-get", " download ")[0]
    assert download.endswith(" download qemu-user=1:10.0.2+ds-1")
    assert "APT::Architecture" not in download, "it runs here"
    assert "/trixie.sources " in download


def test_qemu_is_downloaded_once(
    no_qemu: Fakes, lock: Locks, pin_qemu: PinQemu, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All userlands share it, and --force replaces it once for all of them."""
    arm = lock(no_qemu.has("python3.11"))
    pin_qemu(no_qemu.has("qemu-user"))
    made = {"arm64": arm, "avx2": replace(arm, name="avx2", digest="f" * 64)}
    for module in (setting_up, userlands):
        monkeypatch.setattr(module, "lock_of", made.__getitem__)
    first, second = set_up_each(list(ARCHES), Clock(Recorder()))
    assert first.folder != second.folder
    assert missing("arm64") == missing("avx2") == ""
    assert len(no_qemu.said("apt-get", " download qemu-user")) == 1
    assert len(list(set_up_each(list(ARCHES), Clock(Recorder()), force=True))) == 2
    assert len(no_qemu.said("apt-get", " download qemu-user")) == 2
    assert len(no_qemu.said("apt-get", " download python3.11")) == 4


def test_qemu_is_fetched_for_a_userland_that_is_there(fakes: Fakes, lock: Locks, pin_qemu: PinQemu) -> None:
    assert lock
    pin_qemu(fakes.has("qemu-user"))
    set_up("arm64", Clock(Recorder()))
    (fakes.folder / STATIC).rename(fakes.folder / "qemu")
    assert missing("arm64") == "there is no QEMU for it: bertc emulator setup arm64"
    progress = Recorder()
    set_up("arm64", Clock(progress))
    assert missing("arm64") == ""
    assert progress.finished == ["downloading QEMU"], "and nothing else"


@pytest.mark.parametrize("name", [STATIC, "bin/qemu-aarch64"])
@pytest.mark.parametrize("version", ["7.2.22", "9.2.4", "no number"])
def test_an_old_qemu_is_passed_over(
    fakes: Fakes, lock: Locks, pin_qemu: PinQemu, name: str, version: str
) -> None:
    assert lock
    (fakes.folder / STATIC).rename(fakes.folder / "qemu")
    fakes.emulator(name, version)
    assert find_qemu("arm64") is None
    with pytest.raises(MissingBackendError, match="no qemu-aarch64 of 10 or later") as caught:
        raise no_qemu_error("arm64")
    assert caught.value.hint == "run: bertc emulator setup arm64"
    pin_qemu(fakes.has("qemu-user"))
    set_up("arm64", Clock(Recorder()))
    assert find_qemu("arm64") == qemu_folder() / "qemu-aarch64"


def test_a_newer_qemu_of_two_on_path(fakes: Fakes) -> None:
    fakes.emulator(STATIC, "7.2.22")
    newer = fakes.emulator("bin/qemu-aarch64", "11.0.0-rc1")
    assert find_qemu("arm64") == newer
    assert qemu_version(newer) == "11.0.0-rc1"
    assert fakes.emulator(STATIC, "10.0.0") == find_qemu("arm64")


def test_other_bytes_of_qemu(no_qemu: Fakes, lock: Locks, pin_qemu: PinQemu) -> None:
    assert lock
    pin_qemu(replace(no_qemu.has("qemu-user"), sha256="0" * 64))
    with pytest.raises(IntegrityError, match=r"qemu-user 1.0-1 is not the package that was tested"):
        set_up("arm64", Clock(Recorder()))
    assert nothing_left(no_qemu)


def test_debian_has_replaced_qemu(no_qemu: Fakes, lock: Locks, pin_qemu: PinQemu) -> None:
    assert lock
    pin_qemu(replace(no_qemu.has("qemu-user", "1:10.0.3"), version="1:10.0.2"))
    with pytest.raises(MissingBackendError, match=r"do not have qemu-user 1:10.0.2"):
        set_up("arm64", Clock(Recorder()), locked=True)
    assert nothing_left(no_qemu)
    progress = Recorder()
    set_up("arm64", Clock(progress))
    assert progress.warnings == ["Debian has replaced qemu-user: its 1:10.0.3 was not tested"]
    assert missing("arm64") == ""


def test_a_host_of_which_no_qemu_was_tested(no_qemu: Fakes, lock: Locks, pin_qemu: PinQemu) -> None:
    """The archive's own is taken, whatever its version and bytes, as apt has checked it."""
    assert lock
    pin_qemu(replace(no_qemu.has("qemu-user", "1:10.0.3"), version="1:10.0.2"), "riscv64")
    progress = Recorder()
    set_up("arm64", Clock(progress))
    assert no_qemu.said("apt-get", " download ")[0].endswith(" download qemu-user")
    assert progress.warnings == []
    assert missing("arm64") == ""
    assert json.loads((qemu_folder() / "qemu.json").read_bytes())["pinned"] is False
    with pytest.raises(MissingBackendError, match="no qemu-user was tested on hosts of amd64") as caught:
        set_up("arm64", Clock(Recorder()), locked=True)
    assert "leave out --locked" in caught.value.hint
    assert missing("arm64") == "", "what was there stays"


def test_locked_does_not_take_an_unlocked_userland(fakes: Fakes, lock: Locks) -> None:
    fakes.has("libc6", "2.36-10")
    lock(fakes.has("python3.11"), replace(fakes.has("libc6", "2.36-9"), name="libc6"))
    fakes.has("libc6", "2.36-10")
    assert not set_up("arm64", Clock(Recorder())).pinned
    with pytest.raises(MissingBackendError, match=r"do not have libc6 2.36-9"):
        set_up("arm64", Clock(Recorder()), locked=True)
    assert not set_up("arm64", Clock(Recorder())).pinned, "without --locked it will do"
    fakes.has("libc6", "2.36-9")
    assert set_up("arm64", Clock(Recorder()), locked=True).pinned
    before = fakes.log
    assert set_up("arm64", Clock(Recorder()), locked=True).pinned
    assert fakes.log == before


def test_locked_does_not_take_an_unlocked_qemu(no_qemu: Fakes, lock: Locks, pin_qemu: PinQemu) -> None:
    assert lock
    package = no_qemu.has("qemu-user", "1:10.0.2")
    pin_qemu(package)
    no_qemu.has("qemu-user", "1:10.0.3")
    set_up("arm64", Clock(Recorder()))
    no_qemu.has("qemu-user", "1:10.0.2")
    progress = Recorder()
    set_up("arm64", Clock(progress), locked=True)
    assert progress.finished == ["downloading QEMU"]
    assert json.loads((qemu_folder() / "qemu.json").read_bytes())["sha256"] == package.sha256
    again = Recorder()
    set_up("arm64", Clock(again), locked=True)
    assert again.started == []


@pytest.mark.parametrize("damage", [b"\x7fELF and no more", b"#!/bin/sh\nexit 3\n", b"#!/bin/none\n", b""])
def test_a_damaged_qemu_is_fetched_again_alone(
    no_qemu: Fakes, lock: Locks, pin_qemu: PinQemu, damage: bytes
) -> None:
    assert lock
    pin_qemu(no_qemu.has("qemu-user"))
    set_up("arm64", Clock(Recorder()))
    own = find_qemu("arm64")
    assert own is not None
    own.write_bytes(damage)
    assert missing("arm64") == "there is no QEMU for it: bertc emulator setup arm64"
    progress = Recorder()
    set_up("arm64", Clock(progress))
    assert find_qemu("arm64") == own
    assert progress.finished == ["downloading QEMU"]


def test_versions_follow_the_file(fakes: Fakes) -> None:
    qemu = fakes.folder / STATIC
    assert qemu_version(qemu) == VERSION
    assert qemu_version(fakes.emulator(STATIC, "10.0.9")) == "10.0.9"
    qemu.unlink()
    with pytest.raises(MissingBackendError, match="cannot start"):
        qemu_version(qemu)


def test_older_ones_that_nobody_uses_are_removed(no_qemu: Fakes, lock: Locks, pin_qemu: PinQemu) -> None:
    assert lock
    pin_qemu(no_qemu.has("qemu-user"))
    place = make_emulators_folder()
    used, other = f"arm64-{'a' * 12}", f"avx2-{'a' * 12}"
    for name in (used, f"arm64-{'b' * 12}", "qemu-9.0", other, "arm64-of-mine", ".qemu-8.1.tmp-999999999-ab"):
        (place / name / "root").mkdir(parents=True)
    with shared(place / used):
        made = set_up("arm64", Clock(Recorder()))
        left = {made.folder.name, qemu_folder().name, other, "arm64-of-mine"}
        assert places(no_qemu) == sorted({used, *left})
    set_up("arm64", Clock(Recorder()), force=True)
    assert places(no_qemu) == sorted(left)


def test_what_cannot_be_removed_is_told(lock: Locks, monkeypatch: pytest.MonkeyPatch) -> None:
    assert lock

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    old = make_emulators_folder() / f"arm64-{'b' * 12}"
    old.mkdir()
    monkeypatch.setattr(removal, "_remove", refuse)
    progress = Recorder()
    set_up("arm64", Clock(progress))
    assert progress.warnings == [f"{old} cannot be removed and goes on using disk space: Permission denied"]
    assert old.is_dir()


@pytest.mark.parametrize("host", ["amd64", "riscv64"])
def test_apt_has_an_old_qemu_only(no_qemu: Fakes, lock: Locks, pin_qemu: PinQemu, host: str) -> None:
    """As where --apt-sources names Debian 12 alone."""
    assert lock
    no_qemu.emulator("qemu", "7.2.22")
    pin_qemu(replace(no_qemu.has("qemu-user", "1:7.2"), version="1:10.0.2"), host)
    with pytest.raises(
        MissingBackendError, match=r"QEMU in apt's sources is 7.2.22, older than 10"
    ) as caught:
        set_up("arm64", Clock(Recorder()))
    assert "trixie" in caught.value.hint
    assert nothing_left(no_qemu)


@pytest.mark.parametrize("host", ["amd64", "riscv64"])
def test_qemu_is_nowhere(no_qemu: Fakes, lock: Locks, pin_qemu: PinQemu, host: str) -> None:
    assert lock
    pin_qemu(Package("qemu-user", "1", "0" * 64), host)
    with pytest.raises(MissingBackendError, match="apt's sources do not have qemu-user") as caught:
        set_up("arm64", Clock(Recorder()))
    assert "--apt-sources" in caught.value.hint
    assert nothing_left(no_qemu)


def test_qemu_is_removed_afterwards(fakes: Fakes, lock: Locks) -> None:
    assert lock
    userland = set_up("arm64", Clock(Recorder()))
    cpu = emulated_cpus()[0]
    assert guest_output(cpu, userland, "onnxruntime", ["-c", ""]) == ""
    assert require_emulator("arm64") == userland
    (fakes.folder / STATIC).rename(fakes.folder / "bin" / "qemu-aarch64")
    assert missing("arm64") == ""
    (fakes.folder / "bin" / "qemu-aarch64").unlink()
    assert missing("arm64") == "there is no QEMU for it: bertc emulator setup arm64"
    for use in (
        lambda: require_emulator("arm64"),
        lambda: guest_output(cpu, userland, "onnxruntime", ["-c", ""]),
    ):
        with pytest.raises(MissingBackendError, match="there is no qemu-aarch64 of 10 or later") as caught:
            use()
        assert caught.value.hint == "run: bertc emulator setup arm64"


def test_a_qemu_that_is_no_program(fakes: Fakes, lock: Locks) -> None:
    assert lock
    (fakes.folder / STATIC).write_bytes(b"\x7fELF and no more")
    assert find_qemu("arm64") is None
    newer = fakes.emulator("bin/qemu-aarch64")
    assert find_qemu("arm64") == newer
    assert set_up("arm64", Clock(Recorder())) == require_emulator("arm64")


def test_no_program_of_the_package_can_be_started(no_qemu: Fakes, lock: Locks, pin_qemu: PinQemu) -> None:
    assert lock
    pin_qemu(no_qemu.has("qemu-user"))
    (no_qemu.folder / "qemu").write_bytes(b"\x7fELF and no more")
    with pytest.raises(MissingBackendError, match=r"cannot start .*qemu-aarch64") as caught:
        set_up("arm64", Clock(Recorder()))
    assert "install qemu-user again, or remove this one" in caught.value.hint
    assert nothing_left(no_qemu)


def test_the_lock_of_qemu() -> None:
    found = qemu_lock()
    assert (found.suite, found.package) == ("trixie", "qemu-user")
    epoch, _, version = found.version.partition(":")
    assert epoch.isdecimal()
    assert release(version) >= MINIMUM
    assert set(found.sha256) == {"amd64", "arm64"}
    assert all(re.fullmatch(r"[0-9a-f]{64}", each) for each in found.sha256.values())
    assert qemu_folder().name == f"qemu-{version}"


def test_the_system_s_own_archives(fakes: Fakes, tmp_path: Path) -> None:
    """Whatever their releases; not backports, and nobody else's."""
    assert fakes
    assert archives(tmp_path) == (
        Archive("http://deb.example/debian/", "Debian"),
        Archive("http://deb.example/debian-security/", "Debian-Security"),
    )


def test_written_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Archive("http://a.example/debian/", "Debian"), Archive("http://a.example/s/", "Debian-Security")
    keyring = tmp_path / "keyring.gpg"
    monkeypatch.setattr(packages, "_KEYRING", keyring)
    text = write_sources(tmp_path / "x.sources", found, "bookworm").read_text()
    assert text == (
        "Types: deb\nURIs: http://a.example/debian/\nSuites: bookworm bookworm-updates\nComponents: main\n"
        "\nTypes: deb\nURIs: http://a.example/s/\nSuites: bookworm-security\nComponents: main\n"
    )
    keyring.touch()
    signed = write_sources(tmp_path / "y.sources", found[:1], "trixie").read_text().splitlines()
    assert signed[2:] == [
        *("Suites: trixie trixie-updates", "Components: main", f"Signed-By: {keyring}"),
    ]


def test_each_release_has_sources_of_its_own(no_qemu: Fakes, lock: Locks, pin_qemu: PinQemu) -> None:
    """The system's are asked for archives alone; the rest is read by what is written from them."""
    assert lock
    pin_qemu(no_qemu.has("qemu-user"))
    set_up("arm64", Clock(Recorder()))
    updates = no_qemu.said("apt-get", " update")
    assert len(updates) == 3
    assert "Dir::Etc::sourcelist" not in updates[0]
    assert "/trixie.sources " in updates[1]
    assert "APT::Architecture" not in updates[1]
    assert "/bookworm.sources " in updates[2]
    assert "-oAPT::Architecture=arm64" in updates[2]
    states = {re.search(r"-oDir::State=(\S+)", line)[1] for line in updates}  # type: ignore[index]
    assert len(states) == 3, "lists of one architecture are not those of another"


@pytest.mark.parametrize(
    "lines",
    [
        (),
        ("Ubuntu|Ubuntu|http://other.example/ubuntu/",),
        ("Raspbian|Raspbian|http://other.example/raspbian/", "no fields"),
        ("Debian|Debian-Security|http://deb.example/debian-security/",),
        ("Debian|Debian Ports|http://deb.example/debian-ports/",),
    ],
)
def test_no_archive_of_debian(fakes: Fakes, lock: Locks, lines: tuple[str, ...]) -> None:
    assert lock
    fakes.sources(*lines)
    done = bertc("emulator", "setup", "arm64")
    done.fails(7, "apt's sources on this system have no Debian archive", "--apt-sources FILE", "container")
    assert "on Ubuntu, install debian-archive-keyring" in done.err
    assert nothing_left(fakes)
    assert fakes.said("apt-get", " download ") == []


def test_not_set_up() -> None:
    assert find_userland("arm64") is None
    assert missing("avx2") == "not set up: bertc emulator setup avx2"
    with pytest.raises(MissingBackendError, match="the emulator avx2 is not set up") as caught:
        require_userland("avx2")
    assert caught.value.hint == "run: bertc emulator setup avx2"


def test_a_record_that_is_damaged(lock: Locks) -> None:
    assert lock
    userland = set_up("arm64", Clock(Recorder()))
    (userland.folder / "userland.json").write_text("{")
    assert find_userland("arm64") is None
    assert isinstance(set_up("arm64", Clock(Recorder())), Userland)
    assert find_userland("arm64") == userland


@pytest.mark.parametrize("name", ARCHES)
def test_locks(name: str) -> None:
    found = lock_of(name)
    names = [each.name for each in found.packages]
    assert found.suite == "bookworm"
    assert len(set(names)) == len(names) > 10
    assert {"python3.11-minimal", "libc6", "libstdc++6"} <= set(names)
    for each in found.packages:
        assert re.fullmatch(r"[0-9a-f]{64}", each.sha256)
        assert re.fullmatch(r"[a-z0-9][a-z0-9.+-]+", each.name)
        assert re.fullmatch(r"([0-9]+:)?[A-Za-z0-9.+~-]+", each.version)
    assert len({each.sha256 for each in found.packages}) == len(names)
    assert set(found.requirements) == set(RUNTIMES)
    assert re.fullmatch(r"[0-9a-f]{64}", found.digest)
    assert found == lock_of(name)


def test_a_name_that_no_lock_has() -> None:
    with pytest.raises(UsageError, match=r"no emulator 'arm': did you mean arm64\?") as caught:
        lock_of("arm")
    assert caught.value.hint == "use one of: arm64, avx2"
    with pytest.raises(UsageError):
        lock_of("../targets/profiles/arm64-generic")


def test_the_digest_is_of_everything(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for part in ("compiler/emulate", "targets/requirements"):
        source = files(part.replace("/", ".").partition(".")[0])
        folder = tmp_path / part
        folder.mkdir(parents=True)
        for entry in (source / part.partition("/")[2]).iterdir():
            if entry.name.endswith((".toml", ".txt")):
                (folder / entry.name).write_bytes(entry.read_bytes())
    monkeypatch.setattr(userlands, "files", lambda name: tmp_path / name.replace(".", "/"))
    digests = {lock_of("arm64").digest}
    other = lock_of("avx2").digest
    for name in (
        "compiler/emulate/arm64.toml",
        *(f"targets/requirements/aarch64-{each}.txt" for each in RUNTIMES),
    ):
        path = tmp_path / name
        path.write_bytes(path.read_bytes() + b"# a comment\n")
        digests.add(lock_of("arm64").digest)
    assert len(digests) == 4
    assert lock_of("avx2").digest == other


@pytest.mark.parametrize("arch", ["aarch64", "x86_64"])
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_requirements_are_pinned_and_hashed(arch: str, runtime: str) -> None:
    text = (files("targets") / "requirements" / f"{arch}-{runtime}.txt").read_text(encoding="utf-8")
    lines = [line for line in text.replace("\\\n", "").splitlines() if not line.startswith("#")]
    names = []
    for line in lines:
        requirement, *hashes = line.split()
        assert re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][0-9A-Za-z.]*", requirement), line
        assert hashes
        assert len(set(hashes)) == len(hashes)
        for each in hashes:
            assert re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", each)
        names.append(requirement.partition("==")[0])
    assert len(set(names)) == len(names)
    assert {"numpy", "tokenizers", "click", runtime} <= set(names)
    assert ({*RUNTIMES} - {runtime}).isdisjoint(names)
