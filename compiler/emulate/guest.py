"""Programs in a userland, and a bundle's model as a backend of this process."""

from __future__ import annotations

import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Final

import targets.errors
from compiler.emulate.cpus import EmulatedCpu
from compiler.emulate.qemu import MEND, Command, guest_command
from compiler.emulate.userland import Userland
from targets.bundle.reader import Bundle
from targets.errors import (
    AccuracyGateError,
    BertcError,
    IncompatibleError,
    IntegrityError,
    MissingBackendError,
    UnsupportedError,
    UsageError,
)
from targets.runtime.backends.base import Array, closed_error
from targets.runtime.pipe import (
    ERROR,
    HELLO,
    MODEL,
    WANTED,
    EndOfFramesError,
    pack_json,
    read_frame,
    unpack_json,
    write_frame,
)

_MODULE: Final = "targets.runtime.pipe"
_TOLD: Final = 3
_ERROR_LINE: Final = "error: "
_HINT_LINE: Final = "hint: "
_KINDS: Final = {
    kind.exit_code: kind
    for kind in (
        *(UsageError, UnsupportedError, AccuracyGateError),
        *(IntegrityError, IncompatibleError, MissingBackendError),
    )
}


class PipeBackend:
    """A bundle in another process as a backend of `targets.runtime.session.Session`.

    Args:
        command: of the process, which serves as `targets.runtime.pipe` does.

    Attributes:
        hello: what the process says of itself: machine, versions, self-test.

    Raises:
        BertcError: what the process found wrong with the bundle or its machine.
        IncompatibleError: the process crashed.
        MissingBackendError: it cannot be started.
    """

    def __init__(self, command: Command) -> None:
        """Starts the process, and waits until the bundle is loaded."""
        with ExitStack() as stack, _starting(command):
            self._log = stack.enter_context(tempfile.TemporaryFile())
            self._process = subprocess.Popen(
                command.arguments,
                env=command.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
            )
            stack.pop_all()
        try:
            self.hello: dict[str, Any] = unpack_json(self._read()[HELLO])
        except BaseException:
            self.close()
            raise
        self.name: str = self.hello["runtime"]
        self.version: str = self.hello["version"]
        self.input_names: tuple[str, ...] = tuple(self.hello["input_names"])
        self.output_names: tuple[str, ...] = tuple(self.hello["output_names"])

    def run(self, feeds: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        """Runs one batch there."""
        sink = self._process.stdin
        if sink is None or sink.closed:
            raise closed_error()
        wanted = list(self.output_names if outputs is None else outputs)
        try:
            write_frame(_binary(sink), {**feeds, WANTED: pack_json(wanted)})
        except OSError as error:
            raise self._crash() from error
        return self._read()

    def close(self) -> None:
        """Ends the process, whatever it is doing."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                # What a dead process has not read is of no use to anyone.
                with suppress(BrokenPipeError):
                    stream.close()
        self._log.close()

    def _read(self) -> dict[str, Array]:
        source = self._process.stdout
        if source is None:
            raise closed_error()
        try:
            frame = read_frame(_binary(source))
        except EndOfFramesError as error:
            raise self._crash() from error
        if ERROR in frame:
            problem = unpack_json(frame[ERROR])
            kind = getattr(targets.errors, problem["type"], BertcError)
            raise _raised(kind, problem["message"], problem["hint"])
        return frame

    def _crash(self) -> BertcError:
        code = self._process.wait()
        self._log.seek(0)
        return guest_error(code, self._log.read().decode("utf-8", "replace"))


@contextmanager
def open_emulated(
    bundle: Bundle, cpu: EmulatedCpu, userland: Userland, *, threads: int = 0
) -> Iterator[PipeBackend]:
    """A bundle, in the device's own runtime, on an emulated CPU.

    Its files are verified and its self-test is run there before the first batch.

    Args:
        bundle: an open bundle.
        cpu: the emulated one.
        userland: of the CPU's architecture.
        threads: of one run; 0 for every core.

    Raises:
        IncompatibleError: the bundle does not fit that CPU, or its runtime crashes there.
        MissingBackendError: there is no QEMU.
    """
    with _opened(cpu, userland, bundle.manifest.runtime.backend, [str(bundle.path.resolve())], threads) as it:
        yield it


@contextmanager
def open_emulated_model(
    runtime: str, path: Path, cpu: EmulatedCpu, userland: Userland, *, threads: int = 0
) -> Iterator[PipeBackend]:
    """A model file that is no bundle, as another quantizer writes it, on an emulated CPU.

    Args:
        runtime: that runs it.
        path: an ONNX file, or the XML of an OpenVINO model.
        cpu: as for `open_emulated`.
        userland: as for `open_emulated`.
        threads: as for `open_emulated`.
    """
    with _opened(cpu, userland, runtime, [MODEL, runtime, str(path.resolve())], threads) as backend:
        yield backend


@contextmanager
def _opened(
    cpu: EmulatedCpu, userland: Userland, runtime: str, arguments: Sequence[str], threads: int
) -> Iterator[PipeBackend]:
    with guest_command(cpu, userland, runtime, ["-m", _MODULE, *arguments, str(threads)]) as command:
        backend = PipeBackend(command)
        try:
            yield backend
        finally:
            backend.close()


def guest_output(cpu: EmulatedCpu, userland: Userland, runtime: str, arguments: Sequence[str]) -> str:
    """What Python prints in a userland.

    Raises:
        BertcError: the error of bertc with which it ended there.
        IncompatibleError: it fails in another way.
        MissingBackendError: there is no QEMU, or it cannot be started.
    """
    with guest_command(cpu, userland, runtime, arguments) as command, _starting(command):
        done = subprocess.run(
            command.arguments, env=command.environment, capture_output=True, text=True, check=False
        )
    if done.returncode != 0:
        raise guest_error(done.returncode, done.stderr)
    return done.stdout


def run_guest(cpu: EmulatedCpu, userland: Userland, runtime: str, arguments: Sequence[str]) -> int:
    """Runs Python in a userland on this process's own streams, and gives its exit code.

    Raises:
        IncompatibleError: it crashes.
        MissingBackendError: there is no QEMU, or it cannot be started.
    """
    with guest_command(cpu, userland, runtime, arguments) as command, _starting(command):
        code = subprocess.run(command.arguments, env=command.environment, check=False).returncode
    if code < 0:
        raise crash_error(code, "")
    return code


def guest_error(code: int, told: str) -> BertcError:
    """The error of a guest that ended: bertc's own where it ended with one, else that of a crash.

    Args:
        code: as for `crash_error`.
        told: as for `crash_error`.
    """
    lines = told.splitlines()
    messages, hints = (
        [line.removeprefix(mark) for line in lines if line.startswith(mark)]
        for mark in (_ERROR_LINE, _HINT_LINE)
    )
    if code not in _KINDS or not messages:
        return crash_error(code, told)
    return _raised(_KINDS[code], messages[-1], hints[-1] if hints else "")


def crash_error(code: int, told: str) -> IncompatibleError:
    """The error of a guest that crashed.

    Args:
        code: exit status; negative for a signal, as subprocess has it.
        told: what it wrote to standard error.
    """
    number = -code if code < 0 else code - 128
    try:
        how = f"was killed by {signal.Signals(number).name}"
    except ValueError:
        how = f"ended with exit code {code}"
    lines = [line.strip() for line in told.splitlines() if line.strip() and "TCG doesn't support" not in line]
    last = "; ".join(lines[-_TOLD:])[-300:]
    return IncompatibleError(
        f"the device's runtime {how} under emulation" + (f": {last}" if last else ""),
        "run `bertc emulator setup NAME --force`; if it stays, validate on the device",
    )


@contextmanager
def _starting(command: Command) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise MissingBackendError(
            f"cannot start {command.arguments[0]}: {error.strerror or error}",
            MEND,
        ) from error


def _raised(kind: type[BertcError], message: str, hint: str) -> BertcError:
    return kind(f"on the emulated device: {message}", hint)


def _binary(stream: Any) -> BinaryIO:
    return stream  # type: ignore[no-any-return]
