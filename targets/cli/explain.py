"""What a target is and why, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any, Final

from targets.spec import GPU_RUNTIMES, Precision, QuantScheme, RuntimeProfile, TargetSpec

_WIDTH: Final = 11
_FORMS: Final[Mapping[Precision, str]] = {
    "int8": "products of 8-bit integers",
    "int8-weights": "8-bit weights in products of 16-bit floats",
    "fp8": "products of 8-bit floats",
}


def to_json(spec: TargetSpec) -> dict[str, Any]:
    """Every field of a target, and what follows from them, ready for JSON."""
    return {
        **asdict(spec),
        "devices": list(spec.devices),
        "saturates": spec.saturates,
        "evidence_elsewhere": evidence_elsewhere(spec),
    }


def evidence_elsewhere(spec: TargetSpec) -> str:
    """What validation can show on a machine that is not the target: "emulated" or "simulated"."""
    return "simulated" if spec.emulation is None else "emulated"


def explain(spec: TargetSpec) -> Iterator[str]:
    """The lines that `bertc targets show` prints."""
    features = " and ".join(" or ".join(group) for group in spec.cpu_features)
    arch = "any architecture" if spec.arch == "any" else spec.arch
    yield f"{spec.id}: {spec.description}"
    yield _line("machine", f"{spec.os} on {arch}, {spec.memory_mb} MiB of memory or more")
    if spec.boards:
        yield _line("boards", " or ".join(spec.boards))
    yield _line("CPU", features or "any")
    if spec.devices:
        yield _line("device", " and ".join(f"OpenVINO's {each}" for each in spec.devices))
    if spec.shapes is not None:
        capabilities = " or ".join(spec.compute_capabilities) or "any"
        shapes = " / ".join(f"{batch}x{tokens}" for batch, tokens in spec.shapes.all)
        yield _line("GPU", f"NVIDIA, compute capability {capabilities}")
        yield _line("shapes", f"{shapes} (batch x tokens: least, typical, largest)")
    yield _line("threads", str(spec.threads or "one for each core"))
    yield _line("evidence", f"{spec.evidence}; {_elsewhere(spec)}")
    if spec.latency:
        yield _line("times", f"{len(spec.latency)} tables of what an encoder's modules take, measured on it")
    yield from _why(spec.why)
    for profile in spec.runtimes:
        yield ""
        yield from _runtime(profile)


def _elsewhere(spec: TargetSpec) -> str:
    if spec.emulation is not None:
        return f"on another machine emulated as {spec.emulation}, with the real kernels"
    what = "the same graph" if spec.gpu or spec.devices else "its exact integer arithmetic"
    return f"it cannot be emulated: on another machine {what} is simulated on the CPU"


def _runtime(profile: RuntimeProfile) -> Iterator[str]:
    scheme = profile.scheme
    yield f"{profile.name}"
    if profile.name not in GPU_RUNTIMES:
        yield _line("  on", "the CPU" if profile.device == "CPU" else f"OpenVINO's {profile.device}")
    if profile.name == "openvino":
        lengths = ", ".join(map(str, profile.lengths))
        fixed = f"fixed: {lengths} tokens, one text at a time, padded to the next"
        yield _line("  lengths", fixed if lengths else "any")
    yield _line("  int8", f"`--precision int8` is {_FORMS[scheme.form]}")
    for name, text in _scheme(scheme).items():
        yield _line(f"  {name}", text)
    for key, value in sorted(profile.options.items()):
        yield _line("  option", f"{key} = {value}")
    yield from _why(profile.why, "  ")


def _scheme(scheme: QuantScheme) -> dict[str, str]:
    operands = {
        "float": "in float",
        "s8": "of signed 8-bit operands",
        "u8": "of unsigned 8-bit operands",
    }
    signed = "unsigned" if scheme.activation == "u8" else "signed"
    kind = "a zero point of their own" if scheme.asymmetric else "symmetric around zero"
    half = "" if scheme.weight_qmax == 127 else ", half of the range, against saturation"
    return {
        "inputs": f"{signed} 8 bits ({scheme.activation}), {kind}",
        "weights": f"signed 8 bits, to +-{scheme.weight_qmax}{half}",
        "attention": f"products {operands[scheme.attention_products]}",
        "bias": f"added in {scheme.bias}",
        "residual": f"added in {'float' if scheme.residual == 'float' else 'signed 8 bits'}",
    }


def _why(reasons: tuple[str, ...], indent: str = "") -> Iterator[str]:
    for number, reason in enumerate(reasons):
        yield _line(f"{indent}{'' if number else 'why'}", reason)


def _line(name: str, text: str) -> str:
    return f"{name:<{_WIDTH}}  {text}"
