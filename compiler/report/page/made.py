"""The sections of what was made: size, structure, placement and what stayed in float."""

from __future__ import annotations

from typing import Final

from compiler.report.facts import Facts
from compiler.report.page import plots, words
from compiler.report.page.blocks import Block, Column, Figure, Note, Section, Table, pairs
from compiler.report.page.places import in_words
from compiler.structure import LayerPart, Part, Structure

_TOKENS: Final = 128
_REST: Final = "rest of the files"


def size(facts: Facts) -> Section:
    """Bytes by component."""
    lead = (
        "Where the bytes are. FP32 counts four bytes a parameter; compiled counts what the model's files "
        "in the bundle hold, scales included. The rest is the graph itself and what the formats add."
    )
    before, after = facts.before, facts.after
    rows = (
        ("embeddings", before.embeddings.bytes, after.embeddings.bytes),
        ("encoder", before.encoder_bytes, after.encoder_bytes),
        ("task head", before.task_head.bytes, after.task_head.bytes),
        (_REST, max(0, facts.source_bytes - before.bytes), max(0, facts.model_bytes - after.bytes)),
    )
    total = ("all", facts.source_bytes, facts.model_bytes)
    table = Table(
        "Size by component",
        (
            Column("component"),
            Column("FP32", "number"),
            Column("compiled", "number"),
            Column("kept", "number"),
        ),
        tuple(
            (
                name,
                words.megabytes(old),
                words.megabytes(new),
                _share(new, old) if name != _REST else words.NOTHING,
            )
            for name, old, new in (*rows, total)
        ),
    )
    return Section("size", "Size", lead, (Figure(plots.sizes(rows), table),))


def structure(facts: Facts) -> Section:
    """Widths, parameters and FLOPs by layer."""
    lead = (
        f"Attention heads and feed-forward (FFN) neurons of each layer, its parameters, and its FLOPs: "
        f"multiplications and additions of its products for one text of {_TOKENS} tokens."
    )
    before, after = facts.before, facts.after
    table = _layers(before, after)
    blocks: list[Block]
    if _widths(before) == _widths(after):
        blocks = [Note("Nothing was pruned: every layer keeps its heads and neurons."), table]
    else:
        totals = [_total(each) for each in (before, after)]
        kept = 100 * totals[1].flops_at(_TOKENS) / max(1, totals[0].flops_at(_TOKENS))
        blocks = [
            Note(f"{kept:.1f}% of the FLOPs are kept at {_TOKENS} tokens."),
            Figure(plots.widths(before, after), table),
        ]
    return Section("structure", "Structure", lead, tuple(blocks))


def placement(facts: Facts) -> Section:
    """What the runtime computes on integers, and what stayed in float and why."""
    manifest = facts.manifest
    lead = (
        "Which kernel computes each product that was to be INT8, read back from the runtime's own optimized "
        "model, and which products stayed in float and why."
    )
    blocks: list[Block] = [_counts(facts)]
    found = manifest.placement
    if found is None:
        blocks.append(Note("The runtime's model was not read back."))
    else:
        blocks.append(_kernels(facts))
        if found.kept_float:
            rows = tuple(
                (
                    words.shorten(each.reason),
                    f"{len(each.roles):,}",
                    words.shorten(in_words(each.roles), 1200),
                )
                for each in found.kept_float
            )
            columns = (Column("reason"), Column("products", "number"), Column("places"))
            blocks.append(Table("What stayed in float, and why", columns, rows))
        else:
            blocks.append(Note("The plan left no product in float."))
        operators = tuple(
            (words.name(name), f"{number:,}") for name, number in sorted(found.operators.items())
        )
        if operators:
            heading = (Column("operator", "code"), Column("number", "number"))
            blocks.append(Table("Operators of the optimized model", heading, operators))
    if manifest.engine is not None:
        blocks.append(_engine(facts))
    return Section("placement", "Placement", lead, tuple(blocks))


def _counts(facts: Facts) -> Table:
    quantization = facts.manifest.compression.get("quantization", {})
    names = {
        "int8_linears": "linear layers in INT8",
        "int8_attentions": "attentions in INT8",
        "int8_tables": "embedding tables in INT8",
    }
    rows = [(label, words.plain(quantization.get(key, 0))) for key, label in names.items()]
    census = facts.manifest.compression.get("placement", {})
    if "planned_int8_products" in census:
        planned, real = census["planned_int8_products"], census["int8_products"]
        rows.append(("products that the runtime computes in INT8", f"{real} of {planned} planned"))
    scheme = quantization.get("scheme", {})
    rows += [
        (words.name(key.replace("_", " ")), words.shorten(words.plain(value)))
        for key, value in scheme.items()
        if key != "search"
    ]
    return pairs("How numbers are represented", ("what", "value"), rows)


def _kernels(facts: Facts) -> Block:
    found = facts.manifest.placement
    if found is None or not found.products:
        return Note("No product that the plan calls INT8 was found in a model of the runtime.")
    rows = tuple(
        (
            words.name(each.kernel),
            "INT8" if each.int8 else "float",
            f"{len(each.roles):,}",
            words.shorten(in_words(each.roles), 1200),
        )
        for each in found.products
    )
    columns = (
        Column("kernel", "code"),
        Column("computes on"),
        Column("products", "number"),
        Column("places"),
    )
    return Table(
        f"Products by kernel, {facts.manifest.runtime.backend} {found.runtime_version}", columns, rows
    )


def _engine(facts: Facts) -> Table:
    engine = facts.manifest.engine
    if engine is None:
        raise ValueError("no engine")
    shapes = ", ".join(
        f"{name} {batch}x{tokens}"
        for name, (batch, tokens) in (
            ("smallest", engine.shapes.min),
            ("best", engine.shapes.opt),
            ("largest", engine.shapes.max),
        )
    )
    rows = [
        ("placement", words.shorten(engine.placement)),
        ("shapes, texts x tokens", shapes),
        (
            "compute capabilities",
            ", ".join(engine.compute_capabilities) or "none: the device builds the engine",
        ),
        ("memory of the builder", f"{engine.workspace_mb:,} MiB"),
    ]
    for each in engine.variants:
        rows.append(
            (f"variant {each.precision}", f"{each.onnx}, engine {each.engine or 'built on the device'}")
        )
    return pairs("Engine", ("what", "value"), rows)


def _layers(before: Structure, after: Structure) -> Table:
    kept = {each.layer: each for each in after.layers}
    rows = [_part_row("embeddings", before.embeddings, after.embeddings)]
    rows += [_layer_row(each, kept.get(each.layer)) for each in before.layers]
    rows.append(_part_row("task head", before.task_head, after.task_head))
    rows.append(_part_row("all", _total(before), _total(after)))
    columns = (
        Column("part"),
        Column("heads", "number"),
        Column("head size", "number"),
        Column("FFN", "number"),
        Column("parameters", "number"),
        Column("MFLOPs", "number"),
    )
    return Table("Parts, FP32 → compiled where they differ", columns, tuple(rows))


def _layer_row(old: LayerPart, new: LayerPart | None) -> tuple[str, ...]:
    if new is None:
        new = LayerPart(old.layer, 0, old.head_size, 0, Part())
        name = f"layer {old.layer} (removed)"
    else:
        name = f"layer {old.layer}"
    widths = words.change(old.heads, new.heads), f"{old.head_size:,}", words.change(old.ffn, new.ffn)
    return (name, *widths, *_amounts(old.part, new.part))


def _part_row(name: str, old: Part, new: Part) -> tuple[str, ...]:
    return (name, words.NOTHING, words.NOTHING, words.NOTHING, *_amounts(old, new))


def _amounts(old: Part, new: Part) -> tuple[str, str]:
    before, after = (f"{each.flops_at(_TOKENS) / 1e6:,.1f}" for each in (old, new))
    return words.change(old.parameters, new.parameters), before if before == after else f"{before} → {after}"


def _total(parts: Structure) -> Part:
    every = (parts.embeddings, *(each.part for each in parts.layers), parts.task_head)
    constant, linear, square = (sum(each.flops[power] for each in every) for power in range(3))
    return Part(
        sum(each.parameters for each in every), sum(each.bytes for each in every), (constant, linear, square)
    )


def _share(new: int, old: int) -> str:
    return f"{100 * new / old:.1f}%" if old else words.NOTHING


def _widths(parts: Structure) -> list[tuple[int, int, int]]:
    return [(each.layer, each.heads, each.ffn) for each in parts.layers]
