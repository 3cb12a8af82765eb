"""What was found in a model, on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from compiler.inspection import Cuttable, InspectedLayer, Inspection, Whole
from compiler.structure import Size

_HEADER: Final = ("part", "heads", "head size", "FFN", "parameters", "MFLOPs", "MB in FP32", "may be pruned")
_UNITS: Final = {"heads": "heads", "ffn": "neurons"}
_KINDS: Final = {"folder": "a folder", "hub": "the hub", "onnx": "an .onnx file"}


def inspection_lines(found: Inspection) -> Iterator[str]:
    """The report, line by line."""
    yield f"{found.name}: {found.task}, {found.model_type} from {_KINDS.get(found.source, found.source)}"
    longest = f"the longest it takes is {found.max_length}"
    yield f"FLOPs are those of products, for one text of {found.length} tokens; {longest}"
    yield ""
    yield from _table(found)
    if found.left_whole:
        yield ""
        yield "never pruned:"
        yield from (f"  {_whole(each)}" for each in found.left_whole)
    if found.notes:
        yield ""
        yield from (f"note: {each}" for each in found.notes)
    yield ""
    yield "prune with: bertc compile MODEL --prune-flops SHARE --calibration-data FILE"


def _table(found: Inspection) -> Iterator[str]:
    rows = [_HEADER, *(_layer_row(each) for each in found.layers)]
    sums = [
        ("embeddings", found.embeddings),
        ("encoder, all layers", found.encoder),
        ("task head", found.task_head),
        ("whole model", found.model),
    ]
    rows += [(label, "", "", "", *_cells(size), "") for label, size in sums]
    widths = [max(len(row[place]) for row in rows) for place in range(len(_HEADER))]
    for place, row in enumerate(rows):
        if place == len(found.layers) + 1:
            yield ""
        yield _aligned(row, widths)
        yield from _declined(found.layers[place - 1]) if 0 < place <= len(found.layers) else ()


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [f"{row[0]:<{widths[0]}}"]
    cells += [f"{cell:>{width}}" for cell, width in zip(row[1:-1], widths[1:-1], strict=True)]
    return "  ".join([*cells, row[-1]]).rstrip()


def _layer_row(layer: InspectedLayer) -> tuple[str, ...]:
    prunable = [_units(each) for each in layer.prunable]
    counts = (layer.heads, layer.head_size, layer.ffn)
    shown = [str(each) if each else "-" for each in counts]
    return (f"layer {layer.layer}", *shown, *_cells(layer.size), ", ".join(prunable) or "nothing")


def _units(each: Cuttable) -> str:
    width = f" x {each.size}" if each.size > 1 else ""
    return f"{each.groups} {_UNITS[each.name.rpartition('.')[2]]}{width}"


def _cells(size: Size) -> tuple[str, str, str]:
    return f"{size.parameters:,}", f"{size.flops / 1e6:,.1f}", f"{size.bytes / 1e6:,.1f}"


def _declined(layer: InspectedLayer) -> Iterator[str]:
    for name, reason in layer.declined.items():
        yield f"    {name} may not: {reason}"


def _whole(each: Whole) -> str:
    made = "" if each.part == "residual stream" else f" made by {' and '.join(each.writers)}"
    return f"{each.part}, {each.channels:,} channels{made}: {each.reason}"
