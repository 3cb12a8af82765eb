"""What a validation found, as lines for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from compiler.report.facts import Timing
from compiler.validate import Validation

SELF_TEST_HINT: Final = (
    "the device's runtime computes something else than this machine's: compile for another --runtime, "
    "or for a target with other kernels"
)


def validation_rows(validation: Validation) -> list[tuple[str, str]]:
    """Label and text of each line."""
    if validation.compiled is None:
        return [("accuracy", f"not measured: {validation.reason or 'there are no labels'}")]
    rows = [(validation.metric, _metric(validation))] if validation.metric != "agreement" else []
    if validation.agreement is not None:
        rows.append(("agreement", f"{100 * validation.agreement:.2f}% with FP32 over {validation.n} texts"))
    rows += _evidence_rows(validation) + _integer_rows(validation)
    verdict = f"{validation.status} (largest drop allowed: {validation.max_drop:g})"
    rows.append(("gate", f"{verdict}: {validation.reason}" if validation.reason else verdict))
    return rows


def _evidence_rows(validation: Validation) -> list[tuple[str, str]]:
    if validation.evidence in ("measured", "none"):
        return []
    found = validation.emulator
    if found is None:
        return [("evidence", f"{validation.evidence} on this machine; validate again on the device")]
    passed = "passes" if found["selftest"] else "FAILS"
    where = f"{found['runtime']} {found['version']} on {found['cpu']} (QEMU {found['qemu']})"
    return [("evidence", f"emulated: {where}, where the self-test {passed}")]


def _integer_rows(validation: Validation) -> list[tuple[str, str]]:
    if validation.integer is None:
        return []
    agreement, gap = validation.integer["agreement"] or 0.0, validation.integer["max_abs"]
    numbers = "" if gap is None else f", outputs within {gap:.2g}"
    return [("integers", f"{100 * agreement:.2f}% agreement with the exact reference{numbers}")]


def precision_rows(quantization: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What `--precision auto` left in float, and how well that is known; nothing where it did not choose.

    Args:
        quantization: of `QuantPlan.to_json`, as the manifest has it.
    """
    found = quantization.get("scheme", {}).get("search")
    if not found:
        return []
    chosen = int(quantization["int8_linears"]) + int(quantization["int8_attentions"])
    roles = list(found["float"])
    kept = f"in float: {', '.join(roles)}" if roles else "nothing had to stay in float"
    text = f"{found['metric']} {found['delta']:+.4f}" if found["delta"] is not None else "not measured"
    if found["uncertainty"] is not None:
        text += f" (known to +-{found['uncertainty']:.4f} with {found['texts']} texts)"
    if found["agreement"] is not None:
        text += f", agreement {100 * found['agreement']:.2f}%"
    return [("products", f"{chosen} in INT8; {kept}"), ("held-out", text)]


def speedup_text(timing: Timing) -> str:
    """How many times as fast as FP32, where and how."""
    value, low, high = timing.speedup
    shape = f"{timing.batch}x{timing.tokens}"
    return f"{value:.2f}x ({low:.2f} to {high:.2f}) as fast as FP32 in the same runtime at {shape}"


def describe(validation: Validation) -> str:
    """One line for an error message."""
    return "; ".join(f"{label} {text}" for label, text in validation_rows(validation))


def _metric(validation: Validation) -> str:
    if validation.baseline is None or validation.delta is None:
        return f"{validation.compiled:.4f}"
    text = f"{validation.baseline:.4f} in FP32 -> {validation.compiled:.4f} ({validation.delta:+.4f}"
    interval = validation.ci95
    return text + (f", 95% interval {interval[0]:+.4f} to {interval[1]:+.4f})" if interval else ")")


def reproduction_rows(reproduces: bool | None, differences: str) -> list[tuple[str, str]]:
    """Whether a bundle is that of the record it was compiled from; nothing where there was none."""
    if reproduces is None:
        return []
    return [("reproduces", "yes, the same content digest" if reproduces else f"no: {differences}")]


def pruning_rows(pruning: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What was cut, of `Pruned.to_json`; nothing where nothing was."""
    if not pruning:
        return []
    sums = {}
    for kind in ("heads", "ffn"):
        own = [each for each in pruning["modules"] if each["name"].endswith(kind)]
        sums[kind] = (sum(each["groups"] for each in own), sum(each["kept"] for each in own))
    counts = ", ".join(
        f"{name} {before} -> {after}"
        for name, (before, after) in zip(("heads", "FFN neurons"), sums.values(), strict=True)
        if before
    )
    kept, removed = 100 * pruning["flops_kept"], 100 * pruning["flops_removed"]
    rows = [("pruning", f"{kept:.1f}% of the encoder's FLOPs kept, {removed:.1f}% removed; {counts}")]
    return [*rows, *_speed_rows(pruning.get("latency", {})), *_tried_rows(pruning.get("tried", []))]


def _speed_rows(latency: Mapping[str, Any]) -> list[tuple[str, str]]:
    if not latency:
        return []
    batch, tokens = latency["shape"]
    expected = f"{latency['expected_speedup']:.2f}x expected by {latency['source']} times"
    where = f"dense {latency['precision']} on {latency['runtime']} at {batch}x{tokens}"
    if "measured_speedup" not in latency:
        return [("speed-up", f"{expected}, against {where}; not measured")]
    value, low, high = latency["measured_speedup"]
    return [("speed-up", f"{value:.2f}x ({low:.2f} to {high:.2f}) against {where}; {expected}")]


def _tried_rows(tried: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    if not tried:
        return []
    parts = [
        f"{each['expected_speedup']:g}x {'holds' if each['holds'] else 'does not'}"
        + ("" if each["delta"] is None else f" ({each['delta']:+.4f})")
        for each in tried
    ]
    return [("tried", ", ".join(parts))]
