"""One meaning, several encodings: U8 and S8 hold the same 256 numbers, shifted by 128."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from compiler.quantize.plan import LinearPlan, QParam, QuantPlan
from targets.errors import UnsupportedError
from targets.spec import QuantScheme

SHIFT: Final = 128
FULL_RANGE: Final = 127
HALF_RANGE: Final = 64


@dataclass(frozen=True, slots=True)
class Simulation:
    """What numbers a static INT8 model computes with, whatever stores them.

    Attributes:
        name: for people.
        symmetric: whether every activation's zero is in the middle of its integers.
        weight_qmax: largest weight integer.
    """

    name: str
    symmetric: bool
    weight_qmax: Literal[127, 64]


SIMULATIONS: Final = (
    Simulation("SYM full", True, FULL_RANGE),
    Simulation("SYM half", True, HALF_RANGE),
    Simulation("ASYM full", False, FULL_RANGE),
    Simulation("ASYM half", False, HALF_RANGE),
)
"""Every target's kernels compute one of these, exactly."""


@dataclass(frozen=True, slots=True)
class Kernels:
    """How one runtime's INT8 kernels on one class of device take a linear layer's operands.

    Attributes:
        name: for people.
        activations: storage types, the one to prefer first.
        zero_points: whether a zero point other than the middle of the type is accepted.
        weight_qmax: largest weight integer that is computed exactly.
    """

    name: str
    activations: tuple[Literal["u8", "s8"], ...]
    zero_points: bool
    weight_qmax: Literal[127, 64]


KERNELS: Final = (
    Kernels("onnxruntime, x86-64 with VNNI or AMX", ("u8",), True, FULL_RANGE),
    Kernels("onnxruntime, x86-64 without VNNI", ("u8",), True, HALF_RANGE),
    Kernels("onnxruntime, ARM64", ("u8", "s8"), True, FULL_RANGE),
    Kernels("OpenVINO, x86-64 with VNNI or AMX", ("u8", "s8"), True, FULL_RANGE),
    Kernels("OpenVINO, x86-64 without VNNI", ("u8", "s8"), True, HALF_RANGE),
    Kernels("OpenVINO, ARM64", ("u8", "s8"), True, FULL_RANGE),
    Kernels("TensorRT", ("s8",), False, FULL_RANGE),
)


def simulation_of(scheme: QuantScheme) -> Simulation:
    """The numbers that a target's scheme stands for."""
    wanted = (not scheme.asymmetric, scheme.weight_qmax)
    return next(each for each in SIMULATIONS if (each.symmetric, each.weight_qmax) == wanted)


def is_exact(simulation: Simulation, kernels: Kernels) -> bool:
    """Whether kernels compute every model of a simulation, number for number."""
    return (simulation.symmetric or kernels.zero_points) and simulation.weight_qmax <= kernels.weight_qmax


def kernels_of(scheme: QuantScheme, name: str = "the target") -> Kernels:
    """What a target's scheme says of its kernels."""
    return Kernels(name, (scheme.activation,), scheme.asymmetric, scheme.weight_qmax)


def reencode(values: NDArray[Any], *, signed: bool) -> NDArray[Any]:
    """U8 or S8 integers as S8 (`signed`) or U8 ones that differ by 128; a view or copy of their shape."""
    wanted = np.dtype(np.int8 if signed else np.uint8)
    if values.dtype == wanted:
        return values
    return (values.view(np.uint8) ^ np.uint8(SHIFT)).view(wanted)


def shifted(param: QParam, *, signed: bool) -> QParam:
    """The same numbers for integers of the other type: one scale, the zero point 128 away."""
    if param.signed == signed:
        return param
    return replace(param, signed=signed, zero_point=param.zero_point + (-SHIFT if signed else SHIFT))


def encode(param: QParam, kernels: Kernels, name: str = "an activation") -> QParam:
    """The encoding that kernels take, of exactly the same numbers.

    Args:
        param: in either encoding.
        kernels: what they take; a type that they take already is kept.
        name: of the tensor, for the message.

    Raises:
        UnsupportedError: the numbers lie asymmetrically about zero, and the kernels take no zero point.
    """
    kept = "s8" if param.signed else "u8"
    signed = (kept if kept in kernels.activations else kernels.activations[0]) == "s8"
    found = shifted(param, signed=signed)
    if not kernels.zero_points and shifted(found, signed=True).zero_point != 0:
        raise UnsupportedError(
            f"{name} has zero point {found.zero_point}, and {kernels.name} takes no zero point",
            "quantize symmetrically for it: set asymmetric = false in the target's scheme",
        )
    return found


def encode_plan(plan: QuantPlan, kernels: Kernels) -> QuantPlan:
    """A static plan in the encoding of other kernels; they compute the same numbers from it.

    Raises:
        UnsupportedError: a zero point or a weight that the kernels cannot take as it is.
    """
    linears = {name: _encode_linear(name, each, kernels) for name, each in plan.linears.items()}
    return replace(plan, linears=linears)


def _encode_linear(name: str, plan: LinearPlan, kernels: Kernels) -> LinearPlan:
    if plan.decision.compute != "int8":
        return plan
    if plan.weight is not None:
        largest = int(np.abs(plan.weight.values.astype(np.int16)).max(initial=0))
        if largest > kernels.weight_qmax:
            raise UnsupportedError(
                f"{name} has weights up to {largest}; {kernels.name} is exact up to {kernels.weight_qmax}",
                f"quantize for it: set weight_qmax = {kernels.weight_qmax} in the target's scheme",
            )
    if plan.input is None:
        return plan
    return replace(plan, input=encode(plan.input, kernels, f"the input of {name}"))
