"""What a lowering returns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from compiler.lower.traps import TRAPS, Trap
from targets.bundle.schema import EngineRecord, FloatProducts, PlacementRecord, ProductGroup
from targets.errors import UnsupportedError
from targets.spec import Precision, Runtime

_UNKNOWN: Final = Trap("", "use the other runtime with --runtime, or --precision fp32")
_RUNTIMES: Final[Mapping[str, Runtime]] = {"onnxruntime": "onnxruntime", "openvino": "openvino"}


@dataclass(frozen=True, slots=True)
class Placement:
    """Where one planned product really runs.

    Attributes:
        name: of the product or attention in the IR.
        role: its place in the encoder.
        kernel: the runtime's operator that computes it.
        int8: whether that operator computes on 8-bit integers.
        trap: why not, a key of `compiler.lower.traps.TRAPS` for the runtime; None where it is INT8 or
            the reason is not known.
    """

    name: str
    role: str
    kernel: str
    int8: bool
    trap: str | None = None


@dataclass(frozen=True, slots=True)
class Census:
    """What the runtime runs, read back from its own optimized model.

    Attributes:
        operators: how many operators of each kind.
        placements: where each product of the plan went.
        runtime_version: of the runtime that was read.
    """

    operators: Mapping[str, int] = field(default_factory=dict)
    placements: tuple[Placement, ...] = ()
    runtime_version: str = ""

    @property
    def in_float(self) -> tuple[Placement, ...]:
        """The products that the plan calls INT8 and the runtime runs in float."""
        return tuple(each for each in self.placements if not each.int8)

    def require_int8(self, runtime: str) -> None:
        """Refuse an artifact that silently falls back to float.

        Args:
            runtime: its name, in any case.

        Raises:
            UnsupportedError: naming the first such product, the reason where it is known, and the way out.
        """
        if not self.in_float:
            return
        first = self.in_float[0]
        trap = _trap(runtime, first.trap)
        raise UnsupportedError(
            f"{runtime} would run {len(self.in_float)} of {len(self.placements)} INT8 products in float, "
            f"first {first.role} as {first.kernel}" + (f": {trap.reason}" if trap.reason else ""),
            trap.way_out,
        )

    def to_json(self) -> dict[str, Any]:
        """Counts alone; `to_record` has the products."""
        return {
            "operators": dict(sorted(self.operators.items())),
            "int8_products": sum(each.int8 for each in self.placements),
            "planned_int8_products": len(self.placements),
        }

    def to_record(self, kept_float: Iterable[tuple[str, str]]) -> PlacementRecord:
        """What the manifest keeps, with equal products together.

        Args:
            kept_float: role and reason of each product that the plan leaves in float.
        """
        kernels: dict[tuple[str, bool], list[str]] = {}
        for each in self.placements:
            kernels.setdefault((each.kernel, each.int8), []).append(each.role)
        reasons: dict[str, list[str]] = {}
        for role, reason in kept_float:
            reasons.setdefault(reason, []).append(role)
        return PlacementRecord(
            runtime_version=self.runtime_version,
            operators=dict(sorted(self.operators.items())),
            products=tuple(
                ProductGroup(kernel, int8, tuple(roles)) for (kernel, int8), roles in sorted(kernels.items())
            ),
            kept_float=tuple(
                FloatProducts(reason, tuple(roles)) for reason, roles in sorted(reasons.items())
            ),
        )


def _trap(runtime: str, key: str | None) -> Trap:
    known = _RUNTIMES.get(runtime.lower())
    return _UNKNOWN if known is None or key is None else TRAPS[known].get(key, _UNKNOWN)


@dataclass(frozen=True, slots=True)
class Artifact:
    """The files of one runtime.

    Attributes:
        runtime: which one reads them.
        main: the path that the runtime opens, inside the bundle.
        files: every file by its path inside the bundle.
        minimum_version: the oldest release of the runtime that has every operator used.
        options: session options, by the names that the device side allows.
        census: what the runtime makes of them.
        precision: of the products.
        engine: how TensorRT's engines are built; None for other runtimes.
    """

    runtime: Runtime
    main: str
    files: Mapping[str, bytes]
    minimum_version: str
    options: Mapping[str, str]
    census: Census
    precision: Precision = "int8"
    engine: EngineRecord | None = None

    @property
    def model_bytes(self) -> int:
        """Bytes of what the runtime loads."""
        if self.engine is not None:
            return len(self.files[self.main])
        return sum(map(len, self.files.values()))
