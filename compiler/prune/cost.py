"""What a module costs at a level: FLOPs, or milliseconds from a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from compiler.prune.modules import PrunableModule


class Costs(Protocol):
    """Costs of modules that add up.

    Attributes:
        fixed: of what is in no module.
    """

    @property
    def fixed(self) -> float:
        """What stays whatever is cut."""

    def of(self, module: PrunableModule, kept: int) -> float:
        """What a module costs with so many groups kept."""


@dataclass(frozen=True, slots=True)
class Flops:
    """FLOPs of the encoder for one text, a multiplication and an addition counted as two.

    Attributes:
        length: tokens of the text.
    """

    length: int

    @property
    def fixed(self) -> float:
        """Nothing: the encoder is its modules."""
        return 0.0

    def of(self, module: PrunableModule, kept: int) -> float:
        """FLOPs of a module's products, those inside attention included."""
        return float(kept * flops_of_group(module, self.length))


def total(costs: Costs, modules: Sequence[PrunableModule]) -> float:
    """Of the whole, nothing cut."""
    return costs.fixed + sum(costs.of(each, each.groups) for each in modules)


def flops_of_group(module: PrunableModule, length: int) -> int:
    """FLOPs of one head or neuron for one text.

    Args:
        module: whose group it is.
        length: tokens of the text.
    """
    rows = 1 if module.single else length
    out = int(module.reader.weight_array.shape[1])
    reader = 2 * rows * module.group_size * out
    writers = [2 * int(each.weight_array.shape[0]) * module.group_size for each in module.writers]
    if module.kind == "ffn":
        return reader + rows * writers[0]
    products = 4 * rows * length * module.group_size
    return reader + products + rows * writers[0] + length * sum(writers[1:])
