"""What a target is: a validated device profile, and the names shared by all packages."""

from __future__ import annotations

import itertools
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, TypeAlias

from targets.errors import BertcError, UsageError
from targets.fields import Fields
from targets.latency import ModuleTimes, read_latency

Task: TypeAlias = Literal[
    "text-classification",
    "token-classification",
    "question-answering",
    "feature-extraction",
    "fill-mask",
]
Runtime: TypeAlias = Literal["onnxruntime", "openvino", "tensorrt", "tensorrt-rtx"]
Precision: TypeAlias = Literal["int8", "int8-dynamic", "int8-weights", "fp8", "bf16", "fp16", "fp32"]
Arch: TypeAlias = Literal["x86_64", "aarch64", "any"]
Os: TypeAlias = Literal["linux"]
Evidence: TypeAlias = Literal["measured", "emulated", "simulated"]
Device: TypeAlias = Literal["CPU", "GPU", "NPU"]

TASKS: Final[tuple[Task, ...]] = (
    "text-classification",
    "token-classification",
    "question-answering",
    "feature-extraction",
    "fill-mask",
)
RUNTIMES: Final[tuple[Runtime, ...]] = ("onnxruntime", "openvino", "tensorrt", "tensorrt-rtx")
GPU_RUNTIMES: Final[tuple[Runtime, ...]] = ("tensorrt", "tensorrt-rtx")
PRECISIONS: Final[tuple[Precision, ...]] = (
    "int8",
    "int8-dynamic",
    "int8-weights",
    "fp8",
    "bf16",
    "fp16",
    "fp32",
)
ARCHES: Final[tuple[Arch, ...]] = ("x86_64", "aarch64", "any")
SYSTEMS: Final[tuple[Os, ...]] = ("linux",)
EVIDENCE: Final[tuple[Evidence, ...]] = ("measured", "emulated", "simulated")
DEVICES: Final[tuple[Device, ...]] = ("CPU", "GPU", "NPU")
DOT_PRODUCTS: Final = frozenset({"avx512_vnni", "avx_vnni", "amx_int8", "avx_vnni_int8"})
"""x86 CPU features whose products of 8-bit integers add up in 32 bits."""

ID_PATTERN: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
FEATURE_PATTERN: Final = re.compile(r"[a-z0-9_]{1,32}")
COMPUTE_PATTERN: Final = re.compile(r"[0-9]{1,2}\.[0-9]")
OPTION_PATTERN: Final = re.compile(r"[A-Za-z0-9._:-]{1,64}")
BOARD_PATTERN: Final = re.compile(r"[A-Za-z0-9 ._-]{1,64}")

_MAX_PROFILE_BYTES: Final = 64 * 1024
_ACTIVATIONS: Final[tuple[Literal["u8", "s8"], ...]] = ("u8", "s8")
_WEIGHT_QMAX: Final[tuple[Literal[127, 64], ...]] = (127, 64)
_PRODUCTS: Final[tuple[Literal["float", "s8", "u8"], ...]] = ("float", "s8", "u8")
_BIASES: Final[tuple[Literal["float", "int32"], ...]] = ("float", "int32")
_FORMS: Final[tuple[Literal["int8", "int8-weights", "fp8"], ...]] = ("int8", "int8-weights", "fp8")
_RESIDUALS: Final[tuple[Literal["float", "s8"], ...]] = ("float", "s8")
MAX_BATCH: Final = 1024
MAX_LENGTH: Final = 1 << 20
MAX_LENGTHS: Final = 32


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
        form: what `--precision int8` becomes: INT8 products, INT8 weights in float products, or FP8
            products, where that is what the runtime does fast.
        residual: type of the residual stream where it is added again.
    """

    activation: Literal["u8", "s8"]
    asymmetric: bool
    weight_qmax: Literal[127, 64]
    attention_products: Literal["float", "s8", "u8"]
    bias: Literal["float", "int32"]
    form: Literal["int8", "int8-weights", "fp8"] = "int8"
    residual: Literal["float", "s8"] = "float"


@dataclass(frozen=True, slots=True)
class ShapeRange:
    """The shapes that an engine takes: [batch, tokens], as in TensorRT's optimization profiles.

    Attributes:
        min: the least.
        opt: what it is made fastest for.
        max: the largest.
    """

    min: tuple[int, int]
    opt: tuple[int, int]
    max: tuple[int, int]

    def within(self, max_length: int) -> ShapeRange:
        """The range for a model that reads at most so many tokens."""
        least, typical, largest = ((batch, min(tokens, max_length)) for batch, tokens in self.all)
        return ShapeRange(least, typical, largest)

    @property
    def all(self) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
        """The least, the typical and the largest."""
        return self.min, self.opt, self.max


@dataclass(frozen=True, slots=True)
class RuntimeProfile:
    """One runtime on one target.

    Attributes:
        name: of the runtime.
        scheme: of quantization.
        options: of its sessions.
        device: of OpenVINO, on which the model is compiled.
        lengths: in tokens, ascending; where there are any, the device runs these shapes alone, one text at a
            time, and texts are padded to them.
        why: reasons for the scheme and the options, one line each.
    """

    name: Runtime
    scheme: QuantScheme
    options: Mapping[str, str] = field(default_factory=dict, hash=False)
    device: Device = "CPU"
    lengths: tuple[int, ...] = ()
    why: tuple[str, ...] = ()


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
        compute_capabilities: of the GPUs that it is for, as in "8.6"; empty for CPUs, and where any will do.
        shapes: that engines are built for; None for CPUs.
        latency: what an encoder's modules cost, where somebody measured it on the device.
        boards: what the names of its boards begin with (/proc/device-tree/model); `native` is a target with
            boards on those alone.
        emulation: the CPU that stands for it in QEMU, as `bertc emulator list` names it; None where none can.
        why: reasons for what it asks of the machine, one line each.
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
    compute_capabilities: tuple[str, ...] = ()
    shapes: ShapeRange | None = None
    latency: tuple[ModuleTimes, ...] = field(default=(), hash=False)
    boards: tuple[str, ...] = ()
    emulation: str | None = None
    why: tuple[str, ...] = ()

    @property
    def gpu(self) -> bool:
        """Whether TensorRT runs it on a GPU."""
        return self.shapes is not None

    @property
    def devices(self) -> tuple[Device, ...]:
        """The devices of OpenVINO beside the CPU that its runtimes need."""
        return tuple(dict.fromkeys(each.device for each in self.runtimes if each.device != "CPU"))

    @property
    def saturates(self) -> bool:
        """Whether its CPUs may add pairs of U8 x S8 products in 16 bits (vpmaddubsw), which saturate."""
        return not self.gpu and not self.devices and saturates(self.arch, self.cpu_features)

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


def saturates(arch: str, cpu_features: tuple[tuple[str, ...], ...]) -> bool:
    """Whether CPUs with no more than these features, all of (any of), may saturate; see `TargetSpec`."""
    return arch == "x86_64" and not any(DOT_PRODUCTS.issuperset(group) for group in cpu_features)


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
        compute_capabilities=(
            fields.texts("compute_capabilities", COMPUTE_PATTERN)
            if fields.has("compute_capabilities")
            else ()
        ),
        shapes=read_shapes(fields.table("shapes"), fail) if fields.has("shapes") else None,
        latency=(
            tuple(read_latency(table, fail) for table in fields.tables("latency"))
            if fields.has("latency")
            else ()
        ),
        boards=fields.texts("boards", BOARD_PATTERN) if fields.has("boards") else (),
        emulation=fields.text("emulation", ID_PATTERN) if fields.has("emulation") else None,
        why=fields.texts("why") if fields.has("why") else (),
    )
    fields.close()
    names = [profile.name for profile in spec.runtimes]
    if not names:
        raise fail("runtimes must name one runtime at least")
    if len(set(names)) != len(names):
        raise fail("runtimes names one runtime twice")
    _check_gpu(spec, fail)
    for profile in spec.runtimes:
        if profile.name != "openvino" and (profile.device != "CPU" or profile.lengths):
            raise fail(f"device and lengths are for openvino, not for {profile.name}")
        if profile.device == "NPU" and not profile.lengths:
            raise fail("lengths must be given for the device NPU, which runs fixed shapes alone")
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
            form=scheme.choice("form", _FORMS) if scheme.has("form") else "int8",
            residual=scheme.choice("residual", _RESIDUALS) if scheme.has("residual") else "float",
        ),
        options=fields.text_map("options", OPTION_PATTERN) if fields.has("options") else {},
        device=fields.choice("device", DEVICES) if fields.has("device") else "CPU",
        lengths=read_lengths(fields) if fields.has("lengths") else (),
        why=fields.texts("why") if fields.has("why") else (),
    )
    scheme.close()
    fields.close()
    return profile


def read_lengths(fields: Fields) -> tuple[int, ...]:
    """The key `lengths`: numbers of tokens."""
    return fields.ascending("lengths", 1, MAX_LENGTH, MAX_LENGTHS)


def lengths_within(lengths: Sequence[int], max_length: int) -> tuple[int, ...]:
    """The lengths that a model needs which reads at most `max_length` tokens, that one in place of longer."""
    fitting = tuple(each for each in lengths if each < max_length)
    return fitting if len(fitting) == len(lengths) else (*fitting, max_length)


def read_shapes(fields: Fields, fail: Callable[[str], BertcError]) -> ShapeRange:
    """A table of `min`, `opt` and `max`, each [batch, tokens].

    Args:
        fields: the table.
        fail: makes the error to raise.

    Raises:
        BertcError: what `fail` makes: other numbers, or numbers that do not ascend.
    """
    found = []
    for key in ("min", "opt", "max"):
        pair = fields.items(key)
        for value, most in zip(pair, (MAX_BATCH, MAX_LENGTH), strict=False):
            if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
                raise fail(f"{fields.place(key)} must be [batch, tokens], each at least 1")
        if len(pair) != 2:
            raise fail(f"{fields.place(key)} must be [batch, tokens]")
        found.append((pair[0], pair[1]))
    fields.close()
    for less, more in itertools.pairwise(found):
        if less[0] > more[0] or less[1] > more[1]:
            raise fail(f"{fields.place('min')}, opt and max must ascend")
    return ShapeRange(*found)


def _check_gpu(spec: TargetSpec, fail: Callable[[str], BertcError]) -> None:
    on_gpu = [profile.name in GPU_RUNTIMES for profile in spec.runtimes]
    if any(on_gpu) != all(on_gpu):
        raise fail("runtimes must be for the CPU or for the GPU, not both")
    if any(on_gpu) != spec.gpu:
        raise fail("shapes must be given for a runtime on the GPU, and for no other")
    if spec.compute_capabilities and not spec.gpu:
        raise fail("compute_capabilities are for a runtime on the GPU")
    if not spec.compute_capabilities and any(each.name == "tensorrt-rtx" for each in spec.runtimes):
        raise fail("compute_capabilities must name those that engines are built for")
