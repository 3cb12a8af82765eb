"""The manifest of a bundle: its types, its canonical bytes, and where its files have their places."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import PurePosixPath
from typing import Any, Final, Literal, TypeAlias

from targets.bundle.strict_json import canonical_json
from targets.spec import Device, Precision, Runtime, ShapeRange, TargetSpec, Task

FORMAT: Final = "bertc-bundle"
SCHEMA_VERSION: Final = "1.3"
FIRST_WITH_PLACEMENT: Final = (1, 1)
FIRST_WITH_ENGINE: Final = (1, 2)
FIRST_WITH_DEVICE: Final = (1, 3)
MAX_MANIFEST_BYTES: Final = 1024 * 1024
MAX_FILES: Final = 64
MAX_FILE_BYTES: Final = 4 * 1024**3
MAX_ONNX_BYTES: Final = 2 * 1024**3 - 1
"""The most that a protobuf message may have."""
SELFTEST_PATH: Final = "selftest.json"
TOKENIZER_PATH: Final = "tokenizer/tokenizer.json"

Role: TypeAlias = Literal["model", "tokenizer", "selftest", "report", "license"]
ProblemType: TypeAlias = Literal["single_label_classification", "multi_label_classification", "regression"]
Dtype: TypeAlias = Literal["int64", "int32", "float32", "float16"]
PaddingSide: TypeAlias = Literal["right", "left"]

ROLE_PLACES: Final[Mapping[str, Role]] = {
    "model": "model",
    "tokenizer": "tokenizer",
    SELFTEST_PATH: "selftest",
    "report": "report",
    "licenses": "license",
}
ROLES: Final[tuple[Role, ...]] = ("model", "tokenizer", "selftest", "report", "license")
PROBLEM_TYPES: Final[tuple[ProblemType, ...]] = (
    "single_label_classification",
    "multi_label_classification",
    "regression",
)
MAX_ROLE_BYTES: Final[Mapping[Role, int]] = {
    "model": MAX_FILE_BYTES,
    "tokenizer": 64 * 1024**2,
    "selftest": 8 * 1024**2,
    "report": 512 * 1024**2,
    "license": 16 * 1024**2,
}
"""What is read as a whole is bounded before; the tokenizers of multilingual models have 20 to 35 MiB."""
DTYPES: Final[tuple[Dtype, ...]] = ("int64", "int32", "float32", "float16")
PADDING_SIDES: Final[tuple[PaddingSide, ...]] = ("right", "left")


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of the bundle: relative POSIX path, role, bytes, and SHA-256 in hexadecimal."""

    path: str
    role: Role
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """An input or output of the model; a symbol in `shape` is a dynamic axis."""

    name: str
    dtype: Dtype
    shape: tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class TaskConfig:
    """What decoding needs beside the logits.

    Attributes:
        problem_type: of text classification, else None.
        labels: label names by output index; empty where the task has none.
        pooling: of feature extraction, for people; pooling itself is inside the model.
        dimension: length of a sentence embedding, else None.
    """

    problem_type: ProblemType | None = None
    labels: tuple[str, ...] = ()
    pooling: str | None = None
    dimension: int | None = None


@dataclass(frozen=True, slots=True)
class TargetRecord:
    """The device that the bundle was compiled for.

    `cpu_features` are all of (any of); of `compute_capabilities`, as in "8.6", the GPU must have one, unless
    there are none.
    """

    id: str
    arch: str
    os: str
    cpu_features: tuple[tuple[str, ...], ...]
    memory_mb: int
    compute_capabilities: tuple[str, ...] = ()

    @classmethod
    def of(cls, spec: TargetSpec) -> TargetRecord:
        """The part of a target that its bundles record."""
        return cls(spec.id, spec.arch, spec.os, spec.cpu_features, spec.memory_mb, spec.compute_capabilities)


@dataclass(frozen=True, slots=True)
class RuntimeSpec:
    """The backend that runs `model`, a path in the bundle, and the versions it is known to run in.

    `device` is OpenVINO's; where there are `lengths`, in tokens, it runs texts one by one and padded to them.
    """

    backend: Runtime
    minimum_version: str
    tested_version: str
    model: str
    precision: Precision
    options: Mapping[str, str] = field(default_factory=dict, hash=False)
    device: Device = "CPU"
    lengths: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class EngineVariant:
    """One form of the model for TensorRT.

    Attributes:
        precision: of its products.
        onnx: path of the strongly typed graph.
        engine: path of the engine that was built from it; None where the device builds it.
    """

    precision: Precision
    onnx: str
    engine: str | None = None


@dataclass(frozen=True, slots=True)
class EngineRecord:
    """How TensorRT's engines are or were built.

    Attributes:
        shapes: the optimization profile.
        variants: the first is preferred, the others are to compare with and to fall back on.
        compute_capabilities: that the engines in the bundle were built for; empty where there are none.
        workspace_mb: memory that the builder may use, in MiB.
        placement: what is known of where the products run, and what is not.
    """

    shapes: ShapeRange
    variants: tuple[EngineVariant, ...]
    compute_capabilities: tuple[str, ...]
    workspace_mb: int
    placement: str


@dataclass(frozen=True, slots=True)
class ProductGroup:
    """Planned INT8 products that one kind of operator computes.

    Attributes:
        kernel: the runtime's operator.
        int8: whether it computes on 8-bit integers.
        roles: their places in the encoder, as in `layer0.query+key+value`.
    """

    kernel: str
    int8: bool
    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FloatProducts:
    """Products that were left in float for one reason, by their places in the encoder."""

    reason: str
    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PlacementRecord:
    """What the runtime really runs, read back from its own optimized model when compiling.

    Attributes:
        runtime_version: of the runtime that was read.
        operators: how many of each kind.
        products: that the plan calls INT8, grouped by kernel.
        kept_float: that the plan leaves in float, grouped by reason.
    """

    runtime_version: str
    operators: Mapping[str, int] = field(default_factory=dict, hash=False)
    products: tuple[ProductGroup, ...] = ()
    kept_float: tuple[FloatProducts, ...] = ()


@dataclass(frozen=True, slots=True)
class TokenizerSpec:
    """What tokenizer.json does not say: class, limits and padding. `max_length` counts special tokens."""

    tokenizer_class: str
    max_length: int
    pad_id: int
    pad_token: str
    pad_type_id: int
    padding_side: PaddingSide
    mask_token_id: int | None


@dataclass(frozen=True, slots=True)
class Manifest:
    """bundle.json.

    `provenance`, `compression` and `validation` are records for people and for later tools: plain
    JSON tables that nothing on the device acts upon. `placement` is None in bundles of schema 1.0, which
    do not record it. `engine` is of TensorRT's bundles alone.
    """

    name: str
    task: Task
    task_config: TaskConfig
    target: TargetRecord
    runtime: RuntimeSpec
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    tokenizer: TokenizerSpec
    provenance: Mapping[str, Any] = field(default_factory=dict, hash=False)
    compression: Mapping[str, Any] = field(default_factory=dict, hash=False)
    validation: Mapping[str, Any] | None = field(default=None, hash=False)
    files: tuple[FileEntry, ...] = ()
    content_digest: str = ""
    placement: PlacementRecord | None = None
    engine: EngineRecord | None = None
    schema_version: str = SCHEMA_VERSION

    @property
    def max_length(self) -> int:
        """The most tokens of a run: the tokenizer's, or the largest of the fixed lengths if that is less."""
        return min((self.tokenizer.max_length, *self.runtime.lengths[-1:]))

    def to_json(self) -> bytes:
        """Canonical bytes of bundle.json: sorted keys, UTF-8, two spaces of indent, a final newline."""
        document = asdict(self)
        document["format"] = FORMAT
        if not has_placement(self.schema_version):
            del document["placement"]
        if not has_engine(self.schema_version):
            del document["engine"]
            del document["target"]["compute_capabilities"]
        if not has_device(self.schema_version):
            del document["runtime"]["device"], document["runtime"]["lengths"]
        tokenizer = document["tokenizer"]
        tokenizer["class"] = tokenizer.pop("tokenizer_class")
        return canonical_json(document, indent=2)


def has_placement(schema_version: str) -> bool:
    """Whether manifests of a version, as in "1.1", have the key `placement`."""
    return _numbers(schema_version) >= FIRST_WITH_PLACEMENT


def has_engine(schema_version: str) -> bool:
    """Whether manifests of a version have the keys `engine` and `target.compute_capabilities`."""
    return _numbers(schema_version) >= FIRST_WITH_ENGINE


def has_device(schema_version: str) -> bool:
    """Whether manifests of a version have the keys `runtime.device` and `runtime.lengths`."""
    return _numbers(schema_version) >= FIRST_WITH_DEVICE


def _numbers(schema_version: str) -> tuple[int, int]:
    major, minor = schema_version.split(".")
    return int(major), int(minor)


def role_of(path: str) -> Role | None:
    """The role that a path's first segment gives it; None where a bundle has no such place."""
    first = path.split("/", 1)[0]
    if ("/" in path) == (first == SELFTEST_PATH):
        return None
    return ROLE_PLACES.get(first)


def model_files(runtime: RuntimeSpec) -> tuple[str, ...]:
    """The paths that the backend loads: the model, and for OpenVINO its weights beside it."""
    if runtime.backend == "openvino":
        return (runtime.model, str(PurePosixPath(runtime.model).with_suffix(".bin")))
    return (runtime.model,)
