"""Places in the encoder, many at once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

_PLACE: Final = re.compile(r"layer(\d{1,6})\.(.+)", re.DOTALL)


def in_words(roles: Iterable[str]) -> str:
    """As in `query, key in layers 0 to 11; ffn_down in layers 2, 5; head`.

    What is no place of a layer comes last, as it is.
    """
    layers: dict[str, list[int]] = {}
    others: dict[str, int] = {}
    for role in roles:
        found = _PLACE.fullmatch(role)
        if found:
            layers.setdefault(found.group(2), []).append(int(found.group(1)))
        else:
            others[role] = others.get(role, 0) + 1
    kinds: dict[tuple[int, ...], list[str]] = {}
    for kind, numbers in layers.items():
        kinds.setdefault(tuple(sorted(set(numbers))), []).append(kind)
    parts = [f"{', '.join(names)} in {_layers(numbers)}" for numbers, names in kinds.items()]
    return "; ".join(
        [*parts, *(name if times == 1 else f"{name} ({times})" for name, times in others.items())]
    )


def _layers(numbers: Sequence[int]) -> str:
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    words = ", ".join(
        f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(f"{each}" for each in run) for run in runs
    )
    return f"layer {words}" if len(numbers) == 1 else f"layers {words}"
