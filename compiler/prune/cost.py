"""FLOPs of a module, for budgets."""

from __future__ import annotations

from compiler.prune.modules import PrunableModule


def flops_of_group(module: PrunableModule, length: int) -> int:
    """FLOPs of one head or neuron for one text, a multiplication and an addition counted as two.

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
