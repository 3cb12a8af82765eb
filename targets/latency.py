"""What the modules of an encoder cost on a device, as its profile has it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from targets.errors import BertcError
from targets.fields import Fields

Pairs = tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class ModuleTimes:
    """Milliseconds of one run, by what is kept of each module.

    Attributes:
        runtime: that ran it.
        precision: of its products.
        shape: batch and tokens.
        fixed_ms: of what is in no module.
        modules: (kept, milliseconds) ascending, by the kind of module, as in "ffn 1536x1 of 384".
    """

    runtime: str
    precision: str
    shape: tuple[int, int]
    fixed_ms: float
    modules: Mapping[str, Pairs]


def read_latency(fields: Fields, fail: Callable[[str], BertcError]) -> ModuleTimes:
    """One `[[latency]]` of a profile: the keys that a bundle records under `compression.pruning.latency`.

    Args:
        fields: the table.
        fail: makes the error to raise.

    Raises:
        BertcError: what `fail` makes; it names the key.
    """
    shape = fields.items("shape")
    if len(shape) != 2 or not all(_whole(each) and each > 0 for each in shape):
        raise fail(f"{fields.place('shape')} must be [batch, tokens]")
    fixed = fields.real("fixed_ms")
    modules = {
        kind: _pairs(value, f"{fields.place('modules')}.{kind}", fail)
        for kind, value in fields.free("modules").items()
    }
    runtime, precision = fields.text("runtime"), fields.text("precision")
    fields.close()
    return ModuleTimes(runtime, precision, (shape[0], shape[1]), fixed, modules)


def _pairs(value: object, where: str, fail: Callable[[str], BertcError]) -> Pairs:
    problem = f"{where} must be pairs of [kept, milliseconds] from 0 on, neither of which falls"
    if not isinstance(value, list) or len(value) < 2:
        raise fail(problem)
    pairs: list[tuple[int, float]] = []
    for each in value:
        if not isinstance(each, list) or len(each) != 2 or not _whole(each[0]) or not _number(each[1]):
            raise fail(problem)
        pairs.append((each[0], float(each[1])))
    kept, times = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    if kept[0] != 0 or sorted(set(kept)) != kept or sorted(times) != times or times[0] < 0:
        raise fail(problem)
    return tuple(pairs)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: Any) -> bool:
    return (_whole(value) or isinstance(value, float)) and abs(value) <= sys.float_info.max
