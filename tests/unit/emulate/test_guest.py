"""A bundle in another process as a backend of this one, and how that process may end."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import targets
from compiler.emulate import guest
from compiler.emulate.cpus import emulated_cpus
from compiler.emulate.guest import (
    PipeBackend,
    crash_error,
    guest_error,
    guest_output,
    open_emulated,
    open_emulated_model,
    run_guest,
)
from compiler.emulate.qemu import Command, guest_command
from compiler.emulate.userland import Userland, qemu_folder
from targets.bundle.reader import Bundle
from targets.detect import EMULATED, machine, parse_cpuinfo
from targets.errors import (
    AccuracyGateError,
    BertcError,
    FailedRunError,
    IncompatibleError,
    IntegrityError,
    InternalError,
    MissingBackendError,
    UnsupportedError,
    UsageError,
)
from targets.runtime.backends import open_backend_from_path
from targets.runtime.selftest import Tolerance, make_selftest
from targets.runtime.session import Session
from targets.runtime.settings import DYNAMIC, RunSettings
from tests.support.bundles import edit_manifest
from tests.support.emulators import own_qemu
from tests.support.tiny_runtime import RUNTIMES, encoder, onnx_model, session, table, tiny_bundle

ROOT = Path(__file__).resolve().parents[3]
TEXTS = ["the film", "", "good " * 90, "anna\twas in 東京 😀"]
FEEDS = {
    name: np.array([[2, 5, 3]]) for name in ("input_ids", "attention_mask", "token_type_ids")
}  # fmt: skip
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def served(bundle: Path) -> Command:
    """The process that serves a bundle on this machine."""
    return Command((sys.executable, "-m", "targets.runtime.pipe", str(bundle), "1"), ENVIRONMENT)


def shell(script: str) -> Command:
    """A process of which only the end matters."""
    return Command(("/bin/sh", "-c", script), {})


def gone(process: int) -> bool:
    """Whether a child has ended and was waited for."""
    with suppress(ProcessLookupError):
        os.kill(process, 0)
        return False
    return True


Make = Callable[..., Path]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """`make(runtime, shift)`: a new bundle, whose self-test fails where the model is shifted."""
    values = table(2)
    with session("onnxruntime", "text-classification", values) as opened:
        golden = make_selftest(opened, ["the film", "good " * 9], Tolerance(1e-3, 1e-4))

    def get(runtime: str = "onnxruntime", shift: float = 0.0) -> Path:
        output = tmp_path_factory.mktemp("served") / "b"
        shifted = values + np.float32(shift)
        return tiny_bundle(output, runtime, "text-classification", shifted, selftest=golden).path

    return get


@pytest.fixture
def backend(make: Make) -> Iterator[PipeBackend]:
    """A bundle in another process, which is ended in any case."""
    with closing(PipeBackend(served(make()))) as opened:
        yield opened


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_it_answers_what_the_runtime_answers_here(make: Make, runtime: str) -> None:
    bundle = Bundle.open(make(runtime))
    settings = RunSettings(threads=1, shapes=DYNAMIC)
    with (
        Session.from_bundle(bundle, settings=settings) as here,
        closing(PipeBackend(served(bundle.path))) as there,
        Session(there, encoder(), "text-classification", bundle.manifest.task_config) as piped,
    ):
        assert (there.name, there.version) == (here.backend.name, here.backend.version)
        assert there.input_names == here.backend.input_names
        assert there.output_names == here.backend.output_names
        for one, other in zip(here.infer(TEXTS), piped.infer(TEXTS), strict=True):
            found, expected = (each.windows[0].outputs["logits"] for each in (other, one))
            assert found.dtype == expected.dtype
            np.testing.assert_array_equal(found, expected)
        hello = there.hello
    this = machine()
    assert hello["id"] == bundle.id
    assert hello["selftest"]["ok"] is True
    assert hello["selftest"]["n"] == 2
    assert hello["python"] == ".".join(map(str, sys.version_info[:3]))
    assert hello["machine"]["arch"] == this.arch
    assert hello["machine"]["cpu_features"] == sorted(this.cpu_features)
    assert hello["machine"]["emulated"] == ""


def test_a_self_test_that_fails_there_is_told(make: Make) -> None:
    with closing(PipeBackend(served(make(shift=0.01)))) as backend:
        assert backend.hello["selftest"]["ok"] is False
        assert backend.hello["selftest"]["max_abs"]["logits"] == pytest.approx(0.01, rel=1e-2)


def damage(path: Path) -> None:
    (path / "model" / "model.onnx").write_bytes(b"?" * (path / "model" / "model.onnx").stat().st_size)


def other_arch(path: Path) -> None:
    arch = "aarch64" if machine().arch == "x86_64" else "x86_64"
    edit_manifest(path, lambda document: document["target"].update(arch=arch))


def remove(path: Path) -> None:
    (path / "bundle.json").unlink()


@pytest.mark.parametrize(
    ("change", "kind"),
    [(damage, IntegrityError), (other_arch, IncompatibleError), (remove, UsageError)],
)
def test_errors_come_as_they_are(make: Make, change: Callable[[Path], None], kind: type[BertcError]) -> None:
    path = make()
    change(path)
    with pytest.raises(BertcError) as here:
        Bundle.open(path).session(threads=1)
    with pytest.raises(BertcError) as there:
        PipeBackend(served(path))
    assert type(there.value) is type(here.value)
    if kind is not UsageError:
        assert type(there.value) is kind
        assert there.value.hint == here.value.hint
        assert there.value.message.startswith("on the emulated device: ")
    assert there.value.hint


def test_a_batch_that_cannot_be_run_leaves_the_process_alive(backend: PipeBackend) -> None:
    with pytest.raises(FailedRunError, match="on the emulated device: onnxruntime failed"):
        backend.run({**FEEDS, "attention_mask": np.ones((1, 7), np.int64)})
    assert backend.run(FEEDS)["logits"].shape == (1, 2)


def test_it_is_killed_between_batches(backend: PipeBackend) -> None:
    assert set(backend.run(FEEDS, ["logits"])) == {"logits"}
    os.kill(backend._process.pid, signal.SIGKILL)
    for feeds in (FEEDS, {name: np.zeros((64, 512), np.int64) for name in FEEDS}, FEEDS):
        with pytest.raises(IncompatibleError, match="was killed by SIGKILL under emulation") as caught:
            backend.run(feeds)
        assert "validate on the device" in caught.value.hint
    backend.close()
    backend.close()


def test_it_is_killed_inside_a_batch(backend: PipeBackend) -> None:
    """It has taken the batch, and ends before its answer."""
    os.kill(backend._process.pid, signal.SIGSTOP)

    def stopped_and_killed(*arguments: Any) -> None:
        write(*arguments)
        os.kill(backend._process.pid, signal.SIGILL)
        os.kill(backend._process.pid, signal.SIGCONT)

    write = guest.write_frame
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(guest, "write_frame", stopped_and_killed)
        with pytest.raises(IncompatibleError, match="was killed by SIGILL"):
            backend.run(FEEDS)


@pytest.mark.parametrize(
    ("script", "how"),
    [
        ("kill -9 $$", "was killed by SIGKILL"),
        ("kill -ILL $$", "was killed by SIGILL"),
        ("exit 132", "was killed by SIGILL"),
        ("exit 3", "ended with exit code 3"),
        ("exit 0", "ended with exit code 0"),
        ("printf abc; exit 128", "ended with exit code 128"),
    ],
)
def test_it_ends_before_it_says_anything(script: str, how: str) -> None:
    told = "for each in 1 2 3 4; do echo line $each >&2; done; echo; "
    quiet = 'echo "qemu: warning: TCG doesn\'t support requested feature: CPUID[1]" >&2; '
    with pytest.raises(IncompatibleError) as caught:
        PipeBackend(shell(quiet + "echo line 0 >&2; " + told.replace("echo; ", "") + quiet + script))
    error = caught.value
    assert error.message == f"the device's runtime {how} under emulation: line 2; line 3; line 4"
    assert "\n" not in error.message + error.hint


def test_it_says_something_else() -> None:
    with pytest.raises(InternalError, match="a frame of"):
        PipeBackend(shell("echo this is no frame, and long enough; sleep 60"))


def test_closing_ends_it(backend: PipeBackend) -> None:
    process = backend._process.pid
    backend.close()
    assert gone(process)
    backend.close()
    with pytest.raises(BertcError):
        backend.run(FEEDS)


def test_an_interrupt_while_it_loads_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    started = []

    def interrupted(self: PipeBackend) -> dict[str, Any]:
        started.append(self._process.pid)
        raise KeyboardInterrupt

    monkeypatch.setattr(PipeBackend, "_read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        PipeBackend(shell("exec sleep 60"))
    assert gone(started[0])


def test_a_program_that_cannot_be_started(tmp_path: Path) -> None:
    with pytest.raises(MissingBackendError) as caught:
        PipeBackend(Command((str(tmp_path / "qemu-none"), "x"), {}))
    assert "qemu-none" in caught.value.message


@pytest.mark.parametrize(
    ("code", "part"),
    [(-4, "SIGILL"), (-11, "SIGSEGV"), (139, "SIGSEGV"), (-77, "exit code -77"), (1, "exit code 1")],
)
def test_what_a_crash_is_called(code: int, part: str) -> None:
    assert part in crash_error(code, "").message
    long = crash_error(code, "x" * 5000).message
    assert part in long
    assert len(long) < 450


@pytest.mark.parametrize(
    "kind",
    [
        *(UsageError, UnsupportedError, AccuracyGateError),
        *(IntegrityError, IncompatibleError, MissingBackendError),
    ],
)
def test_an_error_of_bertc_in_the_guest_is_that_error(kind: type[BertcError]) -> None:
    noise = "qemu: warning: TCG doesn't support requested feature\nwarning: error: no\n"
    error = guest_error(kind.exit_code, f"{noise}error: model.onnx is damaged\nhint: copy it again\n")
    assert type(error) is kind
    assert error.message == "on the emulated device: model.onnx is damaged"
    assert error.hint == "copy it again"
    assert guest_error(kind.exit_code, "error: x\n").hint == ""


@pytest.mark.parametrize(
    ("code", "told"),
    [
        *((2, "no such file"), (5, "  error: inside a line\nhint: no"), (7, "")),
        *((1, "error: unexpected\nhint: report it"), (132, "error: x"), (-4, "error: x\nhint: y")),
    ],
)
def test_other_ends_are_crashes(code: int, told: str) -> None:
    error = guest_error(code, told)
    assert type(error) is IncompatibleError
    assert (error.message, error.hint) == (crash_error(code, told).message, crash_error(code, told).hint)
    assert "bertc emulator setup" in error.hint


FAKE_QEMU = """# qemu -cpu CPU -L PREFIX PYTHON ARGUMENTS
{{ echo "$2"; cat "$4/proc/cpuinfo"; }} > {kept}
[ -e "$4/usr" ] || exit 9
shift 5
exec {python} "$@"
"""


@pytest.fixture
def userland(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Userland:
    """A userland in which QEMU is this machine, and the device's packages are those of the tests."""
    folder = tmp_path / "userland"
    (folder / "root" / "usr").mkdir(parents=True)
    own_qemu(FAKE_QEMU.format(kept=tmp_path / "kept", python=sys.executable))
    monkeypatch.setenv("PATH", str(tmp_path))
    return Userland("arm64", folder, {})


CPU = next(each for each in emulated_cpus() if each.id == "cortex-a76")


def test_what_the_guest_sees(userland: Userland, tmp_path: Path) -> None:
    code = "import json, os, sys, targets; print(json.dumps([dict(os.environ), sys.path, targets.__file__]))"
    out = guest_output(CPU, userland, "onnxruntime", ["-c", code])
    environment, path, file = json.loads(out)
    assert not {"PATH", "BERTC_CACHE_DIR", "HF_HUB_OFFLINE"} & set(environment)
    assert environment[EMULATED] == "cortex-a76"
    assert str(userland.site("onnxruntime")) in path
    assert str(userland.site("openvino")) not in path
    assert path[:2] == [str(Path(file).parents[1]), str(userland.site("onnxruntime"))], "no working folder"
    assert "" not in path
    assert Path(file).parent != Path(targets.__file__).parent
    assert Path(environment["HOME"]).parent in Path(file).parents
    cpu, _, cpuinfo = (tmp_path / "kept").read_text().partition("\n")
    assert cpu == CPU.qemu
    assert parse_cpuinfo(cpuinfo)[1] == set(CPU.features)


def test_the_guest_s_files_are_gone_afterwards(userland: Userland) -> None:
    with guest_command(CPU, userland, "onnxruntime", ["-c", ""]) as command:
        home = Path(command.environment["HOME"])
        prefix = Path(command.arguments[command.arguments.index("-L") + 1])
        assert home.is_dir()
        assert (prefix / "usr").is_symlink()
        assert home.parent.stat().st_mode & 0o077 == 0
    assert not home.parent.exists()
    assert (userland.root / "usr").is_dir()


def test_how_a_guest_ends(userland: Userland) -> None:
    assert run_guest(CPU, userland, "onnxruntime", ["-c", "raise SystemExit(5)"]) == 5
    with pytest.raises(IncompatibleError, match="SIGABRT"):
        run_guest(CPU, userland, "onnxruntime", ["-c", "import os; os.abort()"])
    with pytest.raises(IncompatibleError, match=r"exit code 1.*ModuleNotFoundError.*no_such"):
        guest_output(CPU, userland, "onnxruntime", ["-c", "import no_such"])


def test_a_command_that_fails_in_the_guest(userland: Userland, make: Make) -> None:
    """The whole way: its error is printed there, and raised here with its own hint."""
    path = make()
    damage(path)
    with pytest.raises(IntegrityError, match="on the emulated device: ") as caught:
        guest_output(CPU, userland, "onnxruntime", ["-m", "targets.cli", "run", str(path), "--text", "x"])
    with pytest.raises(IntegrityError) as here:
        Bundle.open(path).verify()
    assert caught.value.message == f"on the emulated device: {here.value.message}"
    assert caught.value.hint == here.value.hint


def test_there_is_no_qemu(userland: Userland) -> None:
    (qemu_folder() / "qemu-aarch64").unlink()
    with pytest.raises(MissingBackendError) as caught:
        guest_output(CPU, userland, "onnxruntime", ["-c", ""])
    assert caught.value.message == "there is no qemu-aarch64 of 10 or later, which emulates arm64"
    assert caught.value.hint == "run: bertc emulator setup arm64"


def test_a_bundle_opened_under_emulation(
    userland: Userland, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole way, with this machine in QEMU's place."""
    for runtime in RUNTIMES:
        userland.site(runtime).mkdir(parents=True)
    bundle = Bundle.open(make("openvino"))
    started: list[Command] = []
    real = PipeBackend.__init__

    def remembered(self: PipeBackend, command: Command) -> None:
        started.append(command)
        real(self, command)

    monkeypatch.setattr(PipeBackend, "__init__", remembered)
    begin = time.monotonic()
    with open_emulated(bundle, CPU, userland, threads=1) as backend:
        process = backend._process.pid
        assert backend.hello["machine"]["emulated"] == "cortex-a76"
        assert backend.run(FEEDS)["logits"].shape == (1, 2)
    assert gone(process)
    assert time.monotonic() - begin < 60
    (command,) = started
    assert command.arguments[-3:] == ("targets.runtime.pipe", str(bundle.path), "1")
    assert str(userland.site("openvino")) in command.environment["PYTHONPATH"]
    assert not Path(command.environment["HOME"]).exists()


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_model_that_is_no_bundle(userland: Userland, tmp_path: Path, runtime: str) -> None:
    """It answers what its runtime answers on this machine, with which it shares the processor."""
    userland.site(runtime).mkdir(parents=True)
    path = tmp_path / "other.onnx"
    path.write_bytes(onnx_model("text-classification", table(2)))
    with (
        open_emulated_model(runtime, path, CPU, userland, threads=1) as there,
        closing(open_backend_from_path(runtime, str(path), threads=1)) as here,
    ):
        assert (there.name, there.version) == (here.name, here.version)
        assert (there.input_names, there.output_names) == (here.input_names, here.output_names)
        assert there.hello["machine"]["emulated"] == "cortex-a76"
        assert {"id", "selftest"}.isdisjoint(there.hello)
        process = there._process.pid
        for wanted in (None, ["logits"]):
            found, expected = (each.run(FEEDS, wanted) for each in (there, here))
            assert found.keys() == expected.keys()
            np.testing.assert_array_equal(found["logits"], expected["logits"])
    assert gone(process)


def test_a_model_that_is_not_there(userland: Userland, tmp_path: Path) -> None:
    with (
        pytest.raises(UsageError, match="on the emulated device: there is no model at") as caught,
        open_emulated_model("onnxruntime", tmp_path / "none.onnx", CPU, userland),
    ):
        raise AssertionError
    assert caught.value.hint == "check the path"
