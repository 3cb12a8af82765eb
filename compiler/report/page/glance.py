"""What a bundle is, at a glance."""

from __future__ import annotations

from typing import Final

from compiler.report.facts import Facts, Timing, percentile
from compiler.report.page import words
from compiler.report.page.blocks import Card, State
from compiler.validate import Validation

EVIDENCE: Final = {
    "measured": "the compiled model itself ran here in the runtime that ships, on a CPU of the target's kind",
    "emulated": "the compiled model itself ran in the device's own runtime, on a CPU that QEMU stands in for",
    "simulated": "its arithmetic was computed on this machine, by other kernels than the device's; "
    "run `bertc validate` on the device to measure it",
    "none": "the compiled model was compared with nothing",
}
RUNTIMES: Final = {
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
    "tensorrt": "TensorRT",
    "tensorrt-rtx": "TensorRT for RTX",
}
PRECISIONS: Final = {
    "int8": "INT8",
    "int8-dynamic": "INT8, activations quantized on the fly",
    "int8-weights": "INT8 weights",
    "fp8": "FP8",
    "bf16": "BF16",
    "fp16": "FP16",
    "fp32": "FP32",
}
_VERDICTS: Final[dict[str, tuple[str, State]]] = {
    "passed": ("passed", "good"),
    "failed": ("failed", "bad"),
    "not-measured": ("not measured", "unknown"),
}


def verdict(validation: Validation) -> tuple[str, State]:
    """The gate's verdict in words, and how to colour it."""
    return _VERDICTS[validation.status]


def why_not_measured(validation: Validation) -> str:
    """Why there is no accuracy."""
    return words.shorten(validation.reason or "there were no labels and no FP32 model to compare with")


def cards(facts: Facts) -> list[Card]:
    """In the order in which one reads them."""
    return [
        _size(facts),
        _accuracy(facts),
        _latency(facts),
        _agreement(facts),
        _evidence(facts),
        _warnings(facts),
    ]


def _size(facts: Facts) -> Card:
    before, after = words.megabytes(facts.source_bytes), words.megabytes(facts.model_bytes)
    ratio = facts.source_bytes / facts.model_bytes if facts.model_bytes else 1.0
    times = f"{ratio:.1f}x smaller" if ratio >= 1 else f"{1 / ratio:.1f}x larger"
    return Card("Size", f"{before} → {after}", (times, "weights in FP32 → the model's files in the bundle"))


def _accuracy(facts: Facts) -> Card:
    found = facts.validation
    said, state = verdict(found)
    limit = "no limit was set" if found.max_drop is None else f"largest drop allowed {found.max_drop:g}"
    gate = f"gate {said}, {limit}" if found.status != "not-measured" else limit
    if found.compiled is None:
        return Card("Accuracy", words.ABSENT, (why_not_measured(found), gate), state)
    texts = words.count(found.n, "text")
    reason = () if found.reason is None else (words.shorten(found.reason),)
    if found.metric == "agreement":
        how = f"agreement with FP32 over {texts}, for want of labels"
        return Card("Accuracy", words.metric(found.compiled), (how, gate, *reason), state)
    name = f"{words.name(found.metric)}, FP32 → compiled"
    if found.baseline is None:
        return Card(
            f"Accuracy ({words.name(found.metric)})",
            words.metric(found.compiled),
            (f"over {texts}", gate, *reason),
            state,
        )
    value = f"{words.metric(found.baseline)} → {words.metric(found.compiled)}"
    change = f"change {words.delta(found.delta)}"
    if found.ci95 is not None:
        change += f", 95% interval {words.delta(found.ci95[0])} to {words.delta(found.ci95[1])}"
    return Card("Accuracy", value, (f"{name}, over {texts}", change, gate, *reason), state)


def _latency(facts: Facts) -> Card:
    timing = facts.timing
    if timing is None:
        return Card("Latency", words.ABSENT, (no_timing(facts),), "unknown")
    value, low, high = timing.speedup
    fp32 = words.milliseconds(percentile(timing.fp32_runs_ms, 50))
    times = (
        f"{value:.2f}x as fast as FP32 in the same runtime ({fp32} ms), 95% interval {low:.2f} to {high:.2f}",
        f"median of one run, {where(timing)}",
    )
    return Card("Latency", f"{words.milliseconds(percentile(timing.runs_ms, 50))} ms", times)


def _agreement(facts: Facts) -> Card:
    found = facts.validation
    if found.agreement is None:
        return Card("Agreement with FP32", words.ABSENT, (why_not_measured(found),), "unknown")
    least = facts.manifest.provenance.get("config", {}).get("min_agreement")
    limit = (
        "no least agreement was asked for" if least is None else f"least agreement asked for {100 * least:g}%"
    )
    how = f"texts that both models answer alike (a correlation for scores), of {found.n:,}"
    return Card("Agreement with FP32", words.percent(found.agreement), (how, limit))


def _evidence(facts: Facts) -> Card:
    found = facts.validation
    details = [EVIDENCE.get(found.evidence, "")]
    if found.emulator is not None:
        where = found.emulator
        details.append(
            f"{where['runtime']} {where['version']} on {where['cpu']}, QEMU {where['qemu']}; the bundle's "
            f"self-test {'passes' if where['selftest'] else 'FAILS'} there"
        )
    state: State = "bad" if found.failed_self_test else "unknown" if found.evidence == "none" else ""
    return Card("Evidence of accuracy", found.evidence, tuple(details), state)


def _warnings(facts: Facts) -> Card:
    number = len(facts.warnings)
    how = "listed at the end of this page" if number else "the compile had nothing to warn of"
    return Card("Warnings", f"{number}", (how,), "unknown" if number else "")


def no_timing(facts: Facts) -> str:
    """Why nothing was timed."""
    target = words.name(facts.manifest.target.id)
    return f"the machine that compiled is not the target, {target}: run `bertc bench` on the device"


def shape(batch: int, tokens: int) -> str:
    """As in `1 text of 128 tokens`."""
    return f"{words.count(batch, 'text')} of {words.count(tokens, 'token')}"


def where(timing: Timing) -> str:
    """The shape, the threads and the CPU of a timing."""
    used = "every core" if timing.threads == 0 else words.count(timing.threads, "thread")
    return f"{shape(timing.batch, timing.tokens)}, {used}, {words.name(timing.cpu)}"
