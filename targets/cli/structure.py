"""What a bundle's layers are, as `bertc inspect` shows them: widths, sizes, and what runs in INT8."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from targets.errors import BertcError, IntegrityError
from targets.fields import Fields

LENGTH: Final = 128
EMBEDDINGS: Final = "embeddings"
HEAD: Final = "task head"

_HEADER: Final = ("part", "heads", "head size", "FFN", "parameters", "MFLOPs", "MB", "INT8", "kernels")
_TEXT_COLUMNS: Final = ("part", "kernels")
_COEFFICIENTS: Final = 3
_MOST_LAYERS: Final = 1024

Part = dict[str, Any]


def read_structure(compression: Mapping[str, Any], length: int) -> list[Part] | None:
    """The parts of a bundle beside its checkpoint's, from the embeddings upward.

    Args:
        compression: of the manifest; a record that may hold anything.
        length: tokens of the text that FLOPs are counted for.

    Returns:
        None where the record has no structure that can be read. Layers of which pruning left nothing have
        widths and sizes of 0. `*_before` are of the checkpoint, bytes in FP32.
    """
    try:
        both = Fields(compression, "compression", _fail, lenient=True).table("structure")
        after, before = (_parts(both.table(key), length) for key in ("bundle", "checkpoint"))
    except BertcError:
        return None
    nothing: Part = dict.fromkeys(("heads", "head_size", "ffn", "parameters", "bytes", "flops"), 0)
    rows = []
    for name, old in before.items():
        new = after.get(name, nothing)
        row = {"part": name, **{key: new[key] for key in nothing}}
        row["head_size"] = new["head_size"] or old["head_size"]
        rows.append({**row, **{f"{key}_before": old[key] for key in nothing if key != "head_size"}})
    return rows


def structure_lines(
    parts: Sequence[Part] | None, products: Iterable[Mapping[str, str | None]], length: int
) -> Iterator[str]:
    """A table of the parts, or of the layers that products name where their sizes are not recorded."""
    by_part = _by_part(products)
    if parts is None:
        names = [EMBEDDINGS, *(each for each in by_part if each not in (EMBEDDINGS, HEAD)), HEAD]
        rows = [{"part": name} for name in names if name in by_part]
        yield "layers (this bundle does not record their sizes):"
    else:
        rows = [*parts, _total(parts)]
        yield f"layers; FLOPs are those of products, for one text of {length} tokens:"
    yield ""
    table = [_HEADER, *(_cells(each, by_part.get(each["part"], [])) for each in rows)]
    widths = [max(len(line[place]) for line in table) for place in range(len(_HEADER))]
    shown = [
        place for place in range(len(_HEADER)) if any(line[place] not in ("", "-") for line in table[1:])
    ]
    for line in table:
        cells = (
            f"{line[place]:<{widths[place]}}"
            if _HEADER[place] in _TEXT_COLUMNS
            else f"{line[place]:>{widths[place]}}"
            for place in shown
        )
        yield ("  " + "  ".join(cells)).rstrip()


def _parts(table: Fields, length: int) -> dict[str, Part]:
    parts = {EMBEDDINGS: {"heads": 0, "head_size": 0, "ffn": 0, **_sizes(table.table(EMBEDDINGS), length)}}
    layers = table.tables("layers")
    if len(layers) > _MOST_LAYERS:
        raise _fail("too many layers")
    for layer in layers:
        widths = {key: layer.integer(key) for key in ("heads", "head_size", "ffn")}
        parts[f"layer {layer.integer('layer')}"] = {**widths, **_sizes(layer, length)}
    return {**parts, HEAD: {"heads": 0, "head_size": 0, "ffn": 0, **_sizes(table.table("task_head"), length)}}


def _sizes(part: Fields, length: int) -> Part:
    constant, linear, square = (int(each) for each in part.numbers("flops", _COEFFICIENTS))
    flops = constant + linear * length + square * length**2
    return {"parameters": part.integer("parameters"), "bytes": part.integer("bytes"), "flops": flops}


def _fail(problem: str) -> IntegrityError:
    return IntegrityError(problem, "")


def _by_part(products: Iterable[Mapping[str, str | None]]) -> dict[str, list[Mapping[str, str | None]]]:
    found: dict[str, list[Mapping[str, str | None]]] = {}
    for each in products:
        outside = EMBEDDINGS if each["product"] == EMBEDDINGS else HEAD
        found.setdefault(outside if each["layer"] is None else f"layer {each['layer']}", []).append(each)
    return found


def _total(parts: Sequence[Part]) -> Part:
    keys = ("parameters", "bytes", "flops", "parameters_before", "bytes_before", "flops_before")
    return {"part": "whole model", **{key: sum(each[key] for each in parts) for key in keys}}


def _cells(part: Part, products: Sequence[Mapping[str, str | None]]) -> tuple[str, ...]:
    int8 = sum(each["precision"] == "int8" for each in products)
    kernels = sorted({str(each["kernel"]) for each in products if each["kernel"] is not None})
    return (
        part["part"],
        _width(part, "heads"),
        str(part.get("head_size") or "-"),
        _width(part, "ffn"),
        f"{part['parameters']:,}" if "parameters" in part else "-",
        f"{part['flops'] / 1e6:,.1f}" if "flops" in part else "-",
        f"{part['bytes'] / 1e6:,.1f}" if "bytes" in part else "-",
        f"{int8} of {len(products)}" if products else "-",
        ", ".join(kernels),
    )


def _width(part: Part, key: str) -> str:
    before, after = part.get(f"{key}_before", 0), part.get(key, 0)
    if not before:
        return "-"
    return str(after) if after == before else f"{after} of {before}"
