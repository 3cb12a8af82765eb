"""`bertc emulator`."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import compiler.emulate.setup as setting_up
import compiler.emulate.userland as userlands
from compiler.emulate.cpus import emulated_cpus
from compiler.emulate.folders import disk_size, emulators_folder
from compiler.emulate.qemu import find_qemu
from compiler.emulate.readiness import missing
from compiler.emulate.userland import Userland, require_userland
from compiler.progress import Clock
from targets.errors import MissingBackendError
from tests.support.compiling import bertc
from tests.support.emulators import own_qemu
from tests.support.tiny_runtime import table, tiny_bundle

FAKE_QEMU = """# qemu -cpu CPU -L PREFIX PYTHON ARGUMENTS
echo "$@" >> {log}
echo "$PYTHONPATH" >> {log}
[ -e {crash} ] && kill -SEGV $$
shift 5
exec {python} "$@"
"""


@pytest.fixture
def ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The emulator arm64 is set up, and its QEMU is this machine; gives the folder."""
    (tmp_path / "root" / "usr").mkdir(parents=True)
    own_qemu(FAKE_QEMU.format(log=tmp_path / "log", crash=tmp_path / "crash", python=sys.executable))
    monkeypatch.setenv("PATH", str(tmp_path))
    folder = userlands.userland_folder(userlands.lock_of("arm64"))
    folder.symlink_to(tmp_path)
    (tmp_path / "userland.json").write_text(json.dumps({"name": "arm64", "packages": {}}))
    return tmp_path


def find(userland: str) -> Path:
    found = find_qemu(userland)
    assert found is not None
    return found


def log(ready: Path) -> list[str]:
    return (ready / "log").read_text().splitlines()


def test_list(ready: Path) -> None:
    assert ready
    done = bertc("emulator", "list")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert re.fullmatch(r"cortex-a76 +arm64 +ready, [0-9]+\.[0-9] MB", lines[0])
    assert "Raspberry Pi 5" in lines[1]
    assert lines[4].split(None, 2) == ["haswell", "avx2", "not set up: bertc emulator setup avx2"]
    assert re.fullmatch(rf"[0-9]+\.[0-9] MB in {emulators_folder()}", lines.pop())
    assert len(lines) == 2 * len(emulated_cpus())
    find("arm64").unlink()
    told = bertc("emulator", "list").out
    assert "there is no QEMU for it: bertc emulator setup arm64\n" in told


def test_list_as_json(ready: Path) -> None:
    assert ready
    done = bertc("emulator", "list", "--json")
    assert (done.code, done.err) == (0, "")
    told = json.loads(done.out)
    cpus = told["cpus"]
    assert [each["id"] for each in cpus] == [each.id for each in emulated_cpus()]
    assert {tuple(sorted(each)) for each in cpus} == {("bytes", "description", "id", "missing", "userland")}
    assert told["folder"] == str(emulators_folder())
    assert 0 < told["bytes"] == disk_size(emulators_folder())
    sizes = {each["userland"]: each["bytes"] for each in cpus}
    assert (sizes["arm64"] > 0, sizes["avx2"]) == (True, 0)
    assert {each["userland"]: each["missing"] for each in cpus} == {
        "arm64": None,
        "avx2": "not set up: bertc emulator setup avx2",
    }


def test_setup_of_a_wrong_name_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(setting_up, "set_up_each", never)
    bertc("emulator", "setup", "arm64", "amr64").fails(2, "no emulator 'amr64': did you mean arm64?")
    bertc("emulator", "setup", "cortex-a76").fails(2, "no emulator 'cortex-a76'", "use one of: arm64, avx2")
    bertc("emulator", "setup").fails(2)
    bertc("emulator", "start").fails(2, "start")


def test_setup_passes_its_options_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[tuple[tuple[str, ...], object, object, object]] = []

    def set_up_each(
        names: tuple[str, ...], clock: Clock, *, sources: object, locked: bool, force: bool
    ) -> Iterator[Userland]:
        calls.append((names, sources, locked, force))
        with clock.stage("reading package lists"):
            clock.progress.warn("Debian has replaced libc6: its 2 was not tested")
        if len(calls) == 3:
            raise MissingBackendError("apt-get is not installed", "use Debian")
        yield from (Userland(name, tmp_path / name, {}) for name in names)

    monkeypatch.setattr(setting_up, "set_up_each", set_up_each)
    done = bertc("emulator", "setup", "arm64", "avx2")
    assert done.code == 0
    assert done.out == f"arm64: ready in {tmp_path}/arm64\navx2: ready in {tmp_path}/avx2\n"
    assert "reading package lists" in done.err
    assert "warning: Debian has replaced libc6" in done.err
    bertc("emulator", "setup", "avx2", "--locked", "--force", "--apt-sources", tmp_path / "own")
    assert calls == [
        (("arm64", "avx2"), None, False, False),
        (("avx2",), tmp_path / "own", True, True),
    ]
    bertc("emulator", "setup", "arm64").fails(7, "apt-get is not installed", "use Debian")


def test_set_up_already(ready: Path) -> None:
    """No apt is needed for that, nor anything else: PATH is empty."""
    done = bertc("emulator", "setup", "arm64", "--locked")
    assert done.code == 0
    assert done.out.startswith("arm64: ready in ")
    assert not (ready / "log").exists()


def test_remove(ready: Path) -> None:
    bertc("emulator", "remove", "arm64", "amr64").fails(2, "no emulator 'amr64'")
    bertc("emulator", "remove").fails(2)
    own = find("arm64").parent
    place = emulators_folder()
    other = place / f"avx2-{'0' * 12}"
    other.mkdir()
    done = bertc("emulator", "remove", "arm64")
    assert (done.code, done.err, done.out) == (0, "", "arm64: 0.0 MB freed\n")
    assert missing("arm64") == "not set up: bertc emulator setup arm64"
    assert own.is_dir(), "the other one needs it"
    (other / "file").write_bytes(b"?" * 2_000_000)
    done = bertc("emulator", "remove", "arm64", "avx2")
    assert done.code == 0
    assert re.fullmatch(r"arm64: 0.0 MB freed\navx2: 2.0 MB freed\nQEMU: 0.0 MB freed\n", done.out)
    assert list(place.iterdir()) == []
    assert (ready / "root").is_dir(), "a link is removed, and nothing behind it"


def test_remove_where_nothing_is() -> None:
    done = bertc("emulator", "remove", "arm64")
    assert (done.code, done.out) == (0, "arm64: 0.0 MB freed\n")
    assert not emulators_folder().exists()


def test_run_gives_the_exit_code_of_the_command(ready: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert bertc("emulator", "run", "raspberry-pi-5", "targets").code == 0
    assert "raspberry-pi-5" in capfd.readouterr().out
    assert bertc("emulator", "run", "cortex-a72", "verify", ready / "none", "--json").code == 2
    assert "error: " in capfd.readouterr().err
    started = log(ready)[::2]
    assert started[0].startswith("-cpu cortex-a76 -L ")
    python = require_userland("arm64").root / "usr" / "bin" / "python3.11"
    assert started[0].endswith(f" {python} -m targets.cli targets")
    assert started[1].startswith("-cpu cortex-a72 ")
    assert started[1].endswith(f"verify {ready}/none --json")
    assert all("/site/onnxruntime" in line for line in log(ready)[1::2])


def test_run_has_the_runtime_of_the_bundle(ready: Path, capfd: pytest.CaptureFixture[str]) -> None:
    bundle = tiny_bundle(ready / "b", "openvino", "text-classification", table(2)).path
    command = ("raspberry-pi-5", "verify", bundle, "--no-device")
    assert bertc("emulator", "run", *command).code == 0
    assert bertc("emulator", "run", "--runtime", "onnxruntime", *command).code == 0
    assert [line.rpartition("/")[2] for line in log(ready)[1::2]] == ["openvino", "onnxruntime"]
    capfd.readouterr()


def test_run_with_a_text_that_is_no_name_of_a_file(ready: Path) -> None:
    assert bertc("emulator", "run", "cortex-a76", "run", ready / "none", "--text", "long " * 2000).code == 2
    assert len(log(ready)) == 2


def test_run_crashes(ready: Path) -> None:
    (ready / "crash").touch()
    bertc("emulator", "run", "cortex-a76", "doctor").fails(6, "was killed by SIGSEGV under emulation")


def test_run_of_what_is_not_there(ready: Path) -> None:
    bertc("emulator", "run", "cortex-a67", "doctor").fails(2, "did you mean cortex-a7")
    bertc("emulator", "run", "rtx-ada", "doctor").fails(3, "cannot be emulated")
    bertc("emulator", "run", "haswell", "doctor").fails(7, "the emulator avx2 is not set up")
    bertc("emulator", "run", "cortex-a76").fails(2, "COMMAND")
    bertc("emulator", "run", "--runtime", "tensorrt", "cortex-a76", "doctor").fails(2, "tensorrt")
    assert not (ready / "log").exists()
    find("arm64").unlink()
    bertc("emulator", "run", "cortex-a76", "doctor").fails(
        7, "there is no qemu-aarch64 of 10 or later", "bertc emulator setup arm64"
    )


def test_help_is_that_of_the_command_there(ready: Path, capfd: pytest.CaptureFixture[str]) -> None:
    own = bertc("emulator", "run", "--help")
    assert own.code == 0
    assert "come before CPU" in " ".join(own.out.split())
    assert not (ready / "log").exists()
    capfd.readouterr()
    assert bertc("emulator", "run", "cortex-a76", "bench", "--help").code == 0
    told = capfd.readouterr().out
    assert "--iterations" in told
    assert "emulator run" not in told
    assert log(ready)[0].endswith(" -m targets.cli bench --help")


def test_options_of_run_come_before_the_cpu(ready: Path) -> None:
    assert bertc("emulator", "run", "cortex-a76", "targets", "--runtime", "openvino").code == 2
    assert log(ready)[0].endswith(" -m targets.cli targets --runtime openvino")
    assert log(ready)[1].endswith("/site/onnxruntime")
    bertc("emulator", "run", "--rumtime", "openvino", "cortex-a76", "targets").fails(2, "--rumtime")
