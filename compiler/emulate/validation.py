"""A bundle's accuracy in the device's own runtime, on an emulated CPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from compiler.emulate.cpus import EmulatedCpu, find_cpu
from compiler.emulate.guest import PipeBackend, open_emulated
from compiler.emulate.qemu import find_qemu, qemu_version
from compiler.emulate.readiness import require_emulator
from compiler.sessions import bundle_encoder, open_session
from compiler.validate import Evaluator, Predictions, Validation, distance
from targets.bundle.reader import Bundle


@dataclass(frozen=True, slots=True)
class Sample:
    """Texts to run under emulation, and what is known of them.

    Attributes:
        evaluator: of the texts.
        baseline: the FP32 model's answers; None where they are not at hand.
        integer: the exact integer reference's answers; None where they are not at hand.
    """

    evaluator: Evaluator
    baseline: Predictions | None
    integer: Predictions | None

    def judged(self, compiled: Predictions, *, max_drop: float, evidence: str) -> Validation:
        """The record of an artifact's answers to these texts."""
        found = self.evaluator.compare(self.baseline, compiled, max_drop=max_drop, evidence=evidence)
        if self.integer is None:
            return found
        return replace(found, integer=distance(self.evaluator, self.integer, compiled))


def ready_cpu(name: str) -> EmulatedCpu:
    """A CPU whose emulator is set up, by its own id or a target's.

    Raises:
        UsageError, UnsupportedError: as `compiler.emulate.cpus.find_cpu`.
        MissingBackendError: its emulator is not set up.
    """
    cpu = find_cpu(name)
    require_emulator(cpu.userland)
    return cpu


def validate_emulated(
    bundle: Bundle,
    cpu: EmulatedCpu,
    sample: Sample,
    *,
    max_drop: float,
    threads: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Validation:
    """Runs a bundle over a sample on an emulated CPU. Nothing is timed: times under emulation mean nothing.

    Args:
        bundle: an open bundle.
        cpu: the emulated one.
        sample: the texts.
        max_drop: the gate.
        threads: of one run; 0 for every core.
        progress: called with the texts done and their total.

    Returns:
        The record; it fails where the bundle's self-test fails there, whatever the metric.

    Raises:
        MissingBackendError: the emulator is not set up.
        IncompatibleError: the bundle does not fit that CPU, or its runtime crashes there.
    """
    userland = require_emulator(cpu.userland)
    manifest = bundle.manifest
    with open_emulated(bundle, cpu, userland, threads=threads) as backend:
        emulator = _emulator(cpu, backend)
        encoder = bundle_encoder(bundle)
        with open_session(backend, encoder, manifest.task, manifest.task_config) as session:
            compiled = sample.evaluator.predict(session, progress)
    found = replace(sample.judged(compiled, max_drop=max_drop, evidence="emulated"), emulator=emulator)
    if emulator["selftest"]:
        return found
    return replace(found, status="failed", reason=f"its self-test fails on {cpu.id}")


def _emulator(cpu: EmulatedCpu, backend: PipeBackend) -> dict[str, Any]:
    qemu = find_qemu(cpu.userland)
    return {
        "cpu": cpu.id,
        "qemu": "" if qemu is None else qemu_version(qemu),
        "runtime": backend.name,
        "version": backend.version,
        "selftest": bool(backend.hello["selftest"]["ok"]),
    }
