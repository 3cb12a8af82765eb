"""What a model is made of, part by part, and what of it may be pruned."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx_ir as ir

from compiler.frontend.checkpoint import Checkpoint, load_checkpoint
from compiler.frontend.export import trace
from compiler.ir.edit import constant
from compiler.ir.encoder import EncoderGraph, EncoderLayer
from compiler.ir.linear import linears_of
from compiler.passes.manager import PassManager
from compiler.pipeline import encoder_passes
from compiler.progress import Clock, Progress, Silent
from compiler.prune.axes import ChannelGroup, find_groups
from compiler.prune.modules import Prunable, find_modules
from compiler.report.details import pass_lines
from compiler.structure import EMBEDDINGS, HEAD, Size, parts_of, sizes_of

LENGTH: Final = 128
_STREAM: Final = "residual stream"


@dataclass(frozen=True, slots=True)
class Cuttable:
    """Groups of channels that may be cut one by one.

    Attributes:
        name: `layerN.heads` or `layerN.ffn`.
        groups: heads or neurons.
        size: channels of each.
    """

    name: str
    groups: int
    size: int


@dataclass(frozen=True, slots=True)
class InspectedLayer:
    """One layer of the encoder.

    Attributes:
        layer: counted from the embeddings.
        heads, head_size, ffn: 0 for what it does not have.
        size: of its weights and products.
        prunable: what may be cut.
        declined: what may not, by name, with the reason.
    """

    layer: int
    heads: int
    head_size: int
    ffn: int
    size: Size
    prunable: tuple[Cuttable, ...]
    declined: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Whole:
    """Channels that pruning leaves as they are.

    Attributes:
        part: "residual stream", "embeddings" or "task head".
        channels: their number.
        writers: the products and tables that make them.
        reason: why.
    """

    part: str
    channels: int
    writers: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Inspection:
    """What was found in a model.

    Attributes:
        name, source, model_type, task: of the checkpoint.
        length: tokens of the text that FLOPs are counted for.
        max_length: tokens of the longest text that it is compiled for.
        layers: of the encoder, from the embeddings upward.
        embeddings, task_head: what comes before and after them.
        left_whole: channels that are not pruned.
        notes: what to know when reading the numbers.
    """

    name: str
    source: str
    model_type: str
    task: str
    length: int
    max_length: int
    layers: tuple[InspectedLayer, ...]
    embeddings: Size
    task_head: Size
    left_whole: tuple[Whole, ...]
    notes: tuple[str, ...]

    @property
    def encoder(self) -> Size:
        """All layers together."""
        return sum((each.size for each in self.layers), Size())

    @property
    def model(self) -> Size:
        """Everything."""
        return self.embeddings + self.encoder + self.task_head

    def to_json(self) -> dict[str, Any]:
        """What `bertc inspect MODEL --json` prints."""
        record = asdict(self)
        for each, layer in zip(record["layers"], self.layers, strict=True):
            each.update(each.pop("size"), declined=dict(layer.declined))
        for each in (*record["layers"], *record["left_whole"]):
            for key in ("prunable", "writers"):
                if key in each:
                    each[key] = list(each[key])
        totals = {"encoder": asdict(self.encoder), "model": asdict(self.model)}
        lists = {key: list(record[key]) for key in ("layers", "left_whole", "notes")}
        return {**record, **lists, **totals}


def inspect_model(
    model: str | Path,
    *,
    length: int = LENGTH,
    task: str | None = None,
    revision: str | None = None,
    progress: Progress | None = None,
) -> Inspection:
    """Traces a model, rewrites its graph as a compile does, and looks at what is there.

    Args:
        model: a local Hugging Face folder, a hub id, or an .onnx file.
        length: tokens of the text to count FLOPs for; cut to the model's maximum.
        task: where the checkpoint's architecture does not say it.
        revision: branch, tag or commit of a hub id.
        progress: told of every stage; silent when None.

    Raises:
        UsageError: no such model, or a broken one (exit code 2).
        UnsupportedError: a model or task that is not compiled (3).
    """
    clock = Clock(progress or Silent())
    with clock.stage("reading the checkpoint"):
        checkpoint = load_checkpoint(model, task=task, revision=revision)
    with clock.stage("tracing"):
        graph = trace(checkpoint).model
    with clock.stage("rewriting the graph"):
        records = PassManager(encoder_passes(fuse_qkv=False)).run(graph)
        EncoderGraph.find(graph).require()
    for line in pass_lines(records):
        clock.progress.detail(line)
    return inspect_graph(graph, checkpoint, length)


def inspect_graph(model: ir.Model, checkpoint: Checkpoint, length: int) -> Inspection:
    """The parts of a float graph after the passes.

    Args:
        model: queries, keys and values apart.
        checkpoint: that it was traced from.
        length: see `inspect_model`.
    """
    encoder = EncoderGraph.find(model)
    parts = parts_of(model.graph, encoder.layers)
    longest = checkpoint.tokenizer.spec.max_length
    tokens = min(length, longest)
    sizes = sizes_of(model.graph, parts, tokens)
    groups = find_groups(model)
    found = find_modules(model, groups)
    return Inspection(
        name=checkpoint.name,
        source=checkpoint.source,
        model_type=checkpoint.model_type,
        task=checkpoint.task,
        length=tokens,
        max_length=longest,
        layers=tuple(_layer(each, sizes, found) for each in encoder.layers),
        embeddings=sizes.get(EMBEDDINGS, Size()),
        task_head=sizes.get(HEAD, Size()),
        left_whole=tuple(_left_whole(groups, found, parts, encoder.layers)),
        notes=(*checkpoint.notes, *_single(found), *_repeated(model.graph, encoder, parts)),
    )


def _layer(layer: EncoderLayer, sizes: Mapping[str, Size], found: Prunable) -> InspectedLayer:
    own = f"layer{layer.index}."
    return InspectedLayer(
        layer.index,
        layer.heads,
        layer.head_size,
        layer.intermediate,
        sizes.get(str(layer.index), Size()),
        tuple(
            Cuttable(each.name, each.groups, each.group_size)
            for each in found.modules
            if each.name.startswith(own)
        ),
        {name: reason for name, reason in found.declined.items() if name.startswith(own)},
    )


def _left_whole(
    groups: Iterable[ChannelGroup],
    found: Prunable,
    parts: Mapping[ir.Node, str],
    layers: Iterable[EncoderLayer],
) -> Iterator[Whole]:
    """Groups that are no module of a layer: the stream between the layers, and what only a head has."""
    cut = {each.reader.matmul for each in found.modules}
    within = {linear.matmul for layer in layers for _, linear in layer.linears}
    for group in groups:
        written = [each for each in group.writers if each in within]
        into_stream = bool(written) and len(written) < len(group.writers)
        if cut & set(group.readers) or (written and not into_stream):
            continue
        part = _STREAM if into_stream else parts[group.writers[0]]
        reason = group.reason or "only layers of the encoder are pruned"
        yield Whole(part, group.units * group.size, tuple(str(each.name) for each in group.writers), reason)


def _single(found: Prunable) -> Iterator[str]:
    for layer in dict.fromkeys(each.name.partition(".")[0] for each in found.modules if each.single):
        number = layer.removeprefix("layer")
        yield f"layer {number} has fewer FLOPs: the task head reads its first token, so no other is computed"


def _repeated(graph: ir.Graph, encoder: EncoderGraph, parts: Mapping[ir.Node, str]) -> Iterator[str]:
    tables = [(each, constant(each.inputs[0])) for each in encoder.tables]
    for linear in linears_of(graph):
        if parts[linear.matmul] != HEAD:
            continue
        weight = linear.weight_array
        for node, table in tables:
            if table is not None and table.shape == weight.shape[::-1] and np.array_equal(table, weight.T):
                yield (
                    f"the task head holds the table of {node.name} once more: its {weight.size:,} parameters "
                    "are counted twice"
                )
