"""What a target is: a validated device profile, and the names shared by all packages."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, TypeAlias

from targets.errors import UsageError
from targets.fields import Fields

Task: TypeAlias = Literal[
    "text-classification",
    "token-classification",
    "question-answering",
    "feature-extraction",
    "fill-mask",
]
Runtime: TypeAlias = Literal["onnxruntime", "openvino"]
Precision: TypeAlias = Literal["int8", "int8-dynamic", "bf16", "fp16", "fp32"]
Arch: TypeAlias = Literal["x86_64", "aarch64"]
Os: TypeAlias = Literal["linux"]
Evidence: TypeAlias = Literal["measured", "emulated", "simulated"]

TASKS: Final[tuple[Task, ...]] = (
    "text-classification",
    "token-classification",
    "question-answering",
    "feature-extraction",
    "fill-mask",
)
RUNTIMES: Final[tuple[Runtime, ...]] = ("onnxruntime", "openvino")
PRECISIONS: Final[tuple[Precision, ...]] = ("int8", "int8-dynamic", "bf16", "fp16", "fp32")
ARCHES: Final[tuple[Arch, ...]] = ("x86_64", "aarch64")
SYSTEMS: Final[tuple[Os, ...]] = ("linux",)
EVIDENCE: Final[tuple[Evidence, ...]] = ("measured", "emulated", "simulated")

ID_PATTERN: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
FEATURE_PATTERN: Final = re.compile(r"[a-z0-9_]{1,32}")
OPTION_PATTERN: Final = re.compile(r"[A-Za-z0-9._:-]{1,64}")

_MAX_PROFILE_BYTES: Final = 64 * 1024
_ACTIVATIONS: Final[tuple[Literal["u8", "s8"], ...]] = ("u8", "s8")
_WEIGHT_QMAX: Final[tuple[Literal[127, 64], ...]] = (127, 64)
_PRODUCTS: Final[tuple[Literal["float", "s8", "u8"], ...]] = ("float", "s8", "u8")
_BIASES: Final[tuple[Literal["float", "int32"], ...]] = ("float", "int32")


@dataclass(frozen=True, slots=True)
class QuantScheme:
    """The integer arithmetic that one runtime does well on one target.

    Attributes:
        activation: storage type of the inputs of linear layers.
        asymmetric: whether activations have a zero point of their own.
        weight_qmax: largest magnitude of a weight; 64 keeps pairwise 16-bit sums of u8 by s8
            products from saturating on CPUs without a dot-product instruction.
        attention_products: type of the operands of the two products inside attention.
        bias: type in which a linear layer's bias is added.
    """

    activation: Literal["u8", "s8"]
    asymmetric: bool
    weight_qmax: Literal[127, 64]
    attention_products: Literal["float", "s8", "u8"]
    bias: Literal["float", "int32"]


@dataclass(frozen=True, slots=True)
class RuntimeProfile:
    """One runtime on one target: its quantization scheme and session options."""

    name: Runtime
    scheme: QuantScheme
    options: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class TargetSpec:
    """An edge device, as far as the compiler must know it.

    Attributes:
        id: name on the command line.
        description: one line for people.
        arch: instruction set.
        os: operating system.
        cpu_features: Linux CPU flags, all of (any of).
        runtimes: in order of preference.
        memory_mb: memory that the device must have, in MiB.
        threads: threads to run with; 0 is one for each core.
        evidence: what a validation made for this target can show.
    """

    id: str
    description: str
    arch: Arch
    os: Os
    cpu_features: tuple[tuple[str, ...], ...]
    runtimes: tuple[RuntimeProfile, ...]
    memory_mb: int
    threads: int
    evidence: Evidence

    def runtime(self, name: str) -> RuntimeProfile:
        """The profile of one of the target's runtimes.

        Raises:
            UsageError: the target does not have it.
        """
        for profile in self.runtimes:
            if profile.name == name:
                return profile
        has = ", ".join(profile.name for profile in self.runtimes)
        raise UsageError(f"target {self.id} has no runtime {name!r}", f"pass --runtime with one of: {has}")


def load_profile(path: Path) -> TargetSpec:
    """Read and validate a target profile.

    Args:
        path: a TOML file of at most 64 KiB.

    Raises:
        UsageError: unreadable, not TOML, or a key that is unknown, missing or of the wrong type.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(_MAX_PROFILE_BYTES + 1)
    except OSError as error:
        raise UsageError(
            f"cannot read the target profile {path}: {error.strerror or error}",
            "pass --target with a target's id or a readable .toml file",
        ) from error
    return parse_profile(data, str(path))


def parse_profile(data: bytes, source: str) -> TargetSpec:
    """Validate the bytes of a target profile; `source` names it in errors.

    Raises:
        UsageError: as for load_profile.
    """

    def fail(problem: str) -> UsageError:
        return UsageError(f"target profile {source}: {problem}", "correct the file named by --target")

    if len(data) > _MAX_PROFILE_BYTES:
        raise fail(f"larger than {_MAX_PROFILE_BYTES} bytes")
    try:
        document = tomllib.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise fail(f"not TOML: {error}") from error
    fields = Fields(document, "", fail)
    spec = TargetSpec(
        id=fields.text("id", ID_PATTERN),
        description=fields.text("description"),
        arch=fields.choice("arch", ARCHES),
        os=fields.choice("os", SYSTEMS),
        cpu_features=fields.text_lists("cpu_features", FEATURE_PATTERN),
        memory_mb=fields.integer("memory_mb", 1),
        threads=fields.integer("threads", 0, 1024),
        evidence=fields.choice("evidence", EVIDENCE),
        runtimes=tuple(_runtime(table) for table in fields.tables("runtimes")),
    )
    fields.close()
    names = [profile.name for profile in spec.runtimes]
    if not names:
        raise fail("runtimes must name one runtime at least")
    if len(set(names)) != len(names):
        raise fail("runtimes names one runtime twice")
    return spec


def _runtime(fields: Fields) -> RuntimeProfile:
    name = fields.choice("name", RUNTIMES)
    scheme = fields.table("scheme")
    profile = RuntimeProfile(
        name=name,
        scheme=QuantScheme(
            activation=scheme.choice("activation", _ACTIVATIONS),
            asymmetric=scheme.flag("asymmetric"),
            weight_qmax=scheme.choice("weight_qmax", _WEIGHT_QMAX),
            attention_products=scheme.choice("attention_products", _PRODUCTS),
            bias=scheme.choice("bias", _BIASES),
        ),
        options=fields.text_map("options", OPTION_PATTERN) if fields.has("options") else {},
    )
    scheme.close()
    fields.close()
    return profile
