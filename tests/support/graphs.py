"""Small graphs written as text, and what every pass promises about the graph that it leaves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes import common

from compiler.ir.blocks import AttentionBlock, FfnBlock
from compiler.ir.encoder import EncoderGraph
from compiler.ir.execute import Runner, clone
from compiler.ir.printer import to_text
from compiler.ir.verify import verify
from compiler.passes.base import Pass, PassResult

Arrays = Mapping[str, NDArray[Any]]
HIDDEN, HEADS, FFN, WORDS = 8, 2, 12, 20
_HEADER = '<ir_version: 10, opset_import: ["" : 23]>\n'


def ramp(*shape: int, step: int = 7919) -> NDArray[np.float32]:
    """Numbers between -0.8 and 0.8 that look drawn at random and are the same everywhere."""
    values = np.arange(int(np.prod(shape)), dtype=np.int64) * step % 101 - 50
    return (values / 64).astype(np.float32).reshape(shape)


def parse(text: str, arrays: Arrays | None = None) -> ir.Model:
    """A verified model from ONNX text, with types and shapes everywhere.

    Args:
        text: from `name (inputs) => (outputs) {...}` on.
        arrays: inputs of the text that become weights, where a node reads them.
    """
    model = ir.from_onnx_text(_HEADER + text)
    graph = model.graph
    for name, array in (arrays or {}).items():
        value = next(each for each in graph.inputs if each.name == name)
        graph.inputs.remove(value)
        if not value.uses():
            continue
        value.const_value = ir.tensor(array, name=name)
        value.shape = ir.Shape(array.shape)
        graph.register_initializer(value)
    common.ShapeInferencePass()(model)
    verify(model)
    return model


def body(model: ir.Model) -> str:
    """The printed graph without its weights and its opsets, for a golden."""
    return "".join(
        f"{line}\n" for line in to_text(model).splitlines() if not line.startswith(("weight", "opset"))
    )


def ops(model: ir.Model) -> list[str]:
    """The op types in graph order."""
    return [node.op_type for node in model.graph]


def run_pass(each: Pass, model: ir.Model, *feeds: Arrays, atol: float = 1e-5) -> PassResult:
    """Run a pass in place and check its contract.

    It keeps the interface and what the graph computes on `feeds`, leaves a well-formed graph, reports
    `modified` exactly when the printed graph differs, and does nothing the second time.
    """
    before, original = to_text(model), clone(model)
    result = each.run(model)
    verify(model)
    after = to_text(model)
    assert result.modified == (after != before)
    assert _interface(model) == _interface(original)
    if feeds:
        old, new = Runner(original, threads=1, optimize=False), Runner(model, threads=1, optimize=False)
        for item in feeds:
            wanted, got = old(item), new(item)
            for name, array in wanted.items():
                np.testing.assert_allclose(got[name], array, atol=atol, rtol=0, err_msg=name)
    again = each.run(model)
    assert not again.modified
    assert not any(again.counts.values())
    assert to_text(model) == after
    return result


def _interface(model: ir.Model) -> list[tuple[str | None, Any, str]]:
    return [(v.name, v.dtype, str(v.shape)) for v in (*model.graph.inputs, *model.graph.outputs)]


PADDING = """
  [wide] m4 = Unsqueeze(attention_mask, axes12)
  [kept] mf = Cast<to = 1>(m4)
  [dropped] md = Sub(one, mf)
  [mask] mask = Mul(md, lowest)
"""
CAUSAL = """
  [length] size = Shape<start = 1>(attention_mask)
  [scalar] n = Squeeze(size)
  [range] places = Range(zero, n, step)
  [columns] right = Unsqueeze(places, axis0)
  [rows] down = Unsqueeze(places, axis1)
  [later] future = Greater(right, down)
  [where] triangle = Where(future, lowest, zero_f)
  [wide] m4 = Unsqueeze(attention_mask, axes12)
  [kept] mf = Cast<to = 1>(m4)
  [dropped] md = Sub(one, mf)
  [padding] mp = Mul(md, lowest)
  [mask] mask = Min(mp, triangle)
"""
HEADS_OF_TASK = {
    "tokens": "float[batch, sequence, 3] logits|[head] hm = MatMul(x, w_head)\n"
    " [head_bias] logits = Add(hm, b_head)",
    "cls": "float[batch, 3] logits|[cls] row = Gather<axis = 1>(x, zero)\n [head] hm = MatMul(row, w_head)\n"
    " [head_bias] logits = Add(hm, b_head)",
}


def encoder(
    *,
    layers: int = 1,
    head: str = "cls",
    mask: str = PADDING,
    activation: str = "Gelu",
    scale: float = 0.5,
    weights: Arrays | None = None,
) -> ir.Model:
    """An encoder of fused Attention, Gelu and LayerNormalization nodes, as FuseAttention leaves it.

    Args:
        layers: their number.
        head: "cls" or "tokens": what the task head reads.
        mask: the nodes that make `mask` out of `attention_mask`; empty for none.
        activation: the op of the FFN.
        scale: of every Attention.
        weights: other values than the usual ones, by name: wq0, bq0, wk0 and so on.
    """
    arrays: dict[str, NDArray[Any]] = {
        "words": ramp(WORDS, HIDDEN),
        "w_head": ramp(HIDDEN, 3, step=31),
        "b_head": ramp(3),
        "gamma": 1 + ramp(HIDDEN) * np.float32(0.25),
        "beta": ramp(HIDDEN, step=13) / 4,
        "zero": np.array(0),
        "step": np.array(1),
        "zero_f": np.array(0, np.float32),
        "one": np.array(1, np.float32),
        "lowest": np.array(-3e38, np.float32),
        "axes12": np.array([1, 2]),
        "axis0": np.array([0]),
        "axis1": np.array([1]),
    }
    output, tail = HEADS_OF_TASK[head].split("|")
    nodes = ["[embed] e = Gather(words, input_ids)", "[norm] x0 = LayerNormalization(e, gamma, beta)", mask]
    for index in range(layers):
        nodes.append(_layer_text(index, activation, scale, ", mask" if mask else ""))
        arrays.update(_layer_arrays(index))
    nodes.append(tail.replace("x,", f"x{layers},"))
    arrays = {name: np.asarray(each) for name, each in {**arrays, **(weights or {})}.items()}
    used = {name: each for name, each in arrays.items() if name in "\n".join(nodes)}
    kinds = {"f": "float", "i": "int64"}
    typed = [
        f"{kinds[a.dtype.kind]}{'[' + ','.join(map(str, a.shape)) + ']' if a.ndim else ''} {name}"
        for name, a in used.items()
    ]
    inputs = ["int64[batch, sequence] input_ids", "int64[batch, sequence] attention_mask", *typed]
    return parse(f"encoder ({', '.join(inputs)}) => ({output}) {{\n" + "\n".join(nodes) + "\n}", used)


def _layer_text(i: int, activation: str, scale: float, mask: str) -> str:
    def linear(name: str, source: str) -> str:
        product = f"[{name}{i}] {name}{i}m = MatMul({source}, w{name}{i})"
        return f"{product}\n[{name}{i}_bias] {name}{i} = Add({name}{i}m, b{name}{i})"

    attributes = f"q_num_heads = {HEADS}, kv_num_heads = {HEADS}, scale = {scale}"
    return "\n".join(
        [
            *(linear(name, f"x{i}") for name in ("q", "k", "v")),
            f"[attention{i}] c{i} = Attention<{attributes}>(q{i}, k{i}, v{i}{mask})",
            linear("o", f"c{i}"),
            f"[add_o{i}] r{i} = Add(o{i}, x{i})",
            f"[norm_o{i}] a{i} = LayerNormalization(r{i}, gamma, beta)",
            linear("up", f"a{i}"),
            f"[act{i}] g{i} = {activation}(up{i})",
            linear("down", f"g{i}"),
            f"[add_f{i}] s{i} = Add(down{i}, a{i})",
            f"[norm_f{i}] x{i + 1} = LayerNormalization(s{i}, gamma, beta)",
        ]
    )


def _layer_arrays(i: int) -> dict[str, NDArray[np.float32]]:
    shapes = dict.fromkeys(("q", "k", "v", "o"), (HIDDEN, HIDDEN))
    shapes |= {"up": (HIDDEN, FFN), "down": (FFN, HIDDEN)}
    arrays = {}
    for n, (name, shape) in enumerate(shapes.items()):
        arrays[f"w{name}{i}"] = ramp(*shape, step=37 + 10 * n + i)
        arrays[f"b{name}{i}"] = ramp(shape[1], step=17 + n + i) * np.float32(0.5)
    return arrays


def attention_of(model: ir.Model, layer: int = 0) -> AttentionBlock:
    """The attention of a layer that has one."""
    found = EncoderGraph.find(model).layers[layer].attention
    assert found is not None
    return found


def ffn_of(model: ir.Model, layer: int = 0) -> FfnBlock:
    """The feed-forward network of a layer that has one."""
    found = EncoderGraph.find(model).layers[layer].ffn
    assert found is not None
    return found


def encoder_feeds(batch: int = 3, length: int = 6, seed: int = 0) -> dict[str, NDArray[np.int64]]:
    """Ids and a mask with padding on the right, at least one token in each row."""
    rng = np.random.default_rng(seed)
    counts = np.append(rng.integers(1, length + 1, batch - 1), length)
    mask = (np.arange(length) < counts[:, None]).astype(np.int64)
    return {"input_ids": rng.integers(0, WORDS, (batch, length)), "attention_mask": mask}
