"""Graphs in torch against onnxruntime, whole models and operator by operator."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch
from numpy.typing import NDArray

from compiler.frontend.export import TracedModel
from compiler.ir.execute import Runner
from compiler.ir.torch_graph import TorchGraph, downstream, tensor_of
from compiler.passes.manager import PassManager
from compiler.pipeline import encoder_passes
from compiler.prune.modules import find_modules
from targets.errors import UnsupportedError
from tests.support.graphs import encoder, parse
from tests.support.parity import Feeds, random_feeds

Arrays = Mapping[str, NDArray[Any]]
CUBE = np.random.default_rng(0).normal(size=(2, 7, 6)).astype(np.float32)

ONE_NODE = {
    "Gather of one from the end": ("2, 6", "Gather<axis = 1>(x, last)"),
    "Gather along the last axis": ("2, 7, 2, 2", "Gather<axis = -1>(x, pairs)"),
    "Gather by default": ("1, 7, 6", "Gather(x, ones)"),
    "Slice": ("2, 5, 6", "Slice(x, one, minus1, one)"),
    "Slice with steps": ("2, 3, 2", "Slice(x, starts, ends, axes, steps)"),
    "Slice of the leading axes": ("1, 4, 6", "Slice(x, two_starts, two_ends)"),
    "Slice to the end": ("2, 6, 6", "Slice(x, one, end, one)"),
    "Slice of the last": ("2, 1, 6", "Slice(x, minus1, end, one)"),
    "Split even": ("2, 7, 3", "Split<axis = -1, num_outputs = 2>(x)"),
    "Split with a rest": ("2, 4, 6", "Split<axis = 1, num_outputs = 2>(x)"),
    "Split uneven": ("2, 7, 1", "Split<axis = 2>(x, sizes)"),
    "Reshape with 0 and -1": ("2, 21, 2", "Reshape(x, zero_and_rest)"),
    "Reshape with 0 in the middle": ("12, 7", "Reshape(x, rest_and_zero)"),
    "Transpose": ("6, 2, 7", "Transpose<perm = [2, 0, 1]>(x)"),
    "Transpose by default": ("6, 7, 2", "Transpose(x)"),
    "Squeeze": ("2, 6", "Squeeze(flat, axis1)"),
    "Squeeze from the end": ("2, 6", "Squeeze(flat, from_end)"),
    "Squeeze of every one": ("2, 6", "Squeeze(flat)"),
    "Unsqueeze": ("2, 1, 7, 1, 6", "Unsqueeze(x, axes13)"),
    "Unsqueeze from the end": ("2, 7, 1, 6, 1", "Unsqueeze(x, from_both)"),
    "ReduceSum": ("2, 1, 6", "ReduceSum(x, axis1)"),
    "ReduceSum without the axis": ("2, 6", "ReduceSum<keepdims = 0>(x, axis1)"),
    "ReduceSum of everything": ("", "ReduceSum<keepdims = 0>(x)"),
    "ReduceMean": ("2, 7, 1", "ReduceMean(x, minus1)"),
    "ReduceMean of two axes": ("7", "ReduceMean<keepdims = 0>(x, axes02)"),
    "ReduceMax": ("2, 1, 6", "ReduceMax(x, axis1)"),
    "ReduceMax without the axis": ("2, 7", "ReduceMax<keepdims = 0>(x, minus1)"),
    "ReduceL2": ("2, 7, 1", "ReduceL2(x, minus1)"),
    "ReduceL2 of everything": ("1, 1, 1", "ReduceL2(x)"),
    "Clip": ("2, 7, 6", "Clip(x, low, high)"),
    "Clip from below": ("2, 7, 6", "Clip(x, low)"),
    "Clip from above": ("2, 7, 6", "Clip(x, , high)"),
    "Gelu": ("2, 7, 6", "Gelu(x)"),
    "Gelu by tanh": ("2, 7, 6", 'Gelu<approximate = "tanh">(x)'),
    "Softmax along an axis": ("2, 7, 6", "Softmax<axis = 1>(x)"),
    "Concat": ("2, 14, 6", "Concat<axis = 1>(x, x)"),
    "Expand": ("3, 2, 7, 6", "Expand(x, wider)"),
    "Cast": ("2, 7, 6", "Cast<to = 7>(x)"),
    "Elu": ("2, 7, 6", "Elu(x)"),
    "Elu by alpha": ("2, 7, 6", "Elu<alpha = 0.5>(x)"),
    "LeakyRelu": ("2, 7, 6", "LeakyRelu(x)"),
    "LeakyRelu by alpha": ("2, 7, 6", "LeakyRelu<alpha = 0.3>(x)"),
    "HardSwish": ("2, 7, 6", "HardSwish(x)"),
    "Softplus": ("2, 7, 6", "Softplus(x)"),
    "Mish": ("2, 7, 6", "Mish(x)"),
    "LayerNormalization": ("2, 7, 6", "LayerNormalization<epsilon = 0.1>(x, gain, shift)"),
    "LayerNormalization without a shift": ("2, 7, 6", "LayerNormalization(x, gain)"),
    "Pow": ("2, 7, 6", "Pow(x, square)"),
    "Where": ("2, 7, 6", "Where(chosen, x, low)"),
    "Attention": ("2, 7, 6", "Attention<q_num_heads = 3, kv_num_heads = 3, scale = 0.3>(x, x, x, mask)"),
    "Attention by default": ("2, 7, 6", "Attention<q_num_heads = 2, kv_num_heads = 2>(x, x, x)"),
}
CONSTANTS: Arrays = {
    "last": np.array(-1), "pairs": np.array([[0, -1], [3, -2]]), "ones": np.array([1]),
    "one": np.array([1]), "minus1": np.array([-1]), "end": np.array([np.iinfo(np.int64).max]),
    "starts": np.array([1, -6]), "ends": np.array([100, -1]), "axes": np.array([1, -1]),
    "steps": np.array([2, 3]), "two_starts": np.array([1, 3]), "two_ends": np.array([2, 7]),
    "sizes": np.array([1, 3, 2]), "zero_and_rest": np.array([0, -1, 2]), "rest_and_zero": np.array([-1, 0]),
    "axis1": np.array([1]), "from_end": np.array([-2]), "axes13": np.array([3, 1]),
    "from_both": np.array([2, -1]), "axes02": np.array([0, -1]), "low": np.array(-0.5, np.float32),
    "high": np.array(0.25, np.float32), "wider": np.array([3, 1, 7, 6]), "square": np.array(2.0, np.float32),
    "gain": np.linspace(0.5, 2.0, 6).astype(np.float32), "shift": np.linspace(-1, 1, 6).astype(np.float32),
    "chosen": np.arange(42).reshape(7, 6) % 3 == 0,
    "mask": np.where(np.arange(7) < 5, 0.0, -3e38).astype(np.float32).reshape(1, 1, 1, 7),
}  # fmt: skip
OUTPUTS = {"Split even": 2, "Split with a rest": 2, "Split uneven": 3}


def one_node(name: str) -> ir.Model:
    """`x` and `flat` go in, every other operand is a constant, the node's results come out."""
    shape, call = ONE_NODE[name]
    kinds = {"f": "float", "i": "int64", "b": "bool"}
    words = set(re.findall(r"\w+", call))
    read = {key: each for key, each in CONSTANTS.items() if key in words}
    inputs = [
        "float[2, 7, 6] x",
        "float[2, 1, 6] flat",
        *(f"{kinds[each.dtype.kind]}[{','.join(map(str, each.shape))}] {key}" for key, each in read.items()),
    ]
    names = [f"y{place}" for place in range(OUTPUTS.get(name, 1))]
    kind = "int64" if "Cast" in name else "float"
    results = [f"{kind}[{shape}] y0", *(f"float[a{each}, b{each}, c{each}] {each}" for each in names[1:])]
    text = f"one ({', '.join(inputs)}) => ({', '.join(results)}) {{ [it] {', '.join(names)} = {call} }}"
    return parse(text.replace("[] ", " "), read)


def computed(model: ir.Model, feeds: Arrays) -> dict[str, NDArray[Any]]:
    graph = TorchGraph(model.graph)
    given = {each: tensor_of(feeds[str(each.name)]) for each in graph.reads}
    return {str(each.name): value.numpy() for each, value in graph(given).items()}


def passed(traced: Callable[..., TracedModel], family: str, task: str) -> ir.Model:
    model = traced(family, task).model
    PassManager(encoder_passes(fuse_qkv=False)).run(model)
    return model


def behind(model: ir.Model, start: ir.Value, feeds: Feeds) -> dict[str, NDArray[Any]]:
    """The model's outputs, with all behind a value computed by torch and the rest by onnxruntime."""
    graph = TorchGraph(downstream(start))
    inputs = {each.name for each in model.graph.inputs}
    taps = [str(each.name) for each in (start, *graph.reads) if each.name not in inputs]
    known = {**feeds, **Runner(model, taps=list(dict.fromkeys(taps)), threads=1)(feeds)}
    made = graph({each: tensor_of(known[str(each.name)]) for each in (start, *graph.reads)})
    return {str(each.name): made[each].numpy() for each in model.graph.outputs}


def test_every_model_is_the_one_that_onnxruntime_runs(
    traced: Callable[..., TracedModel], family: str, task: str
) -> None:
    model = passed(traced, family, task)
    first = find_modules(model).modules[0]
    feeds = random_feeds(4, 12, seed=3)
    assert not feeds["attention_mask"].all()
    wanted, found = Runner(model, threads=1)(feeds), behind(model, first.reader.output, feeds)
    assert set(wanted) == set(found)
    for name, array in wanted.items():
        np.testing.assert_allclose(found[name], array, atol=1e-4, rtol=0, err_msg=name)


@pytest.mark.parametrize("name", ONE_NODE)
def test_a_node_is_the_one_that_onnxruntime_runs(name: str) -> None:
    model = one_node(name)
    feeds = {"x": CUBE, "flat": CUBE[:, :1]}
    wanted = Runner(model, threads=1, optimize=False)(feeds)
    found = computed(model, feeds)
    assert set(wanted) == set(found)
    for key, array in wanted.items():
        assert found[key].dtype == array.dtype
        assert found[key].shape == array.shape
        np.testing.assert_allclose(found[key], array, atol=1e-5, rtol=0, err_msg=key)


def test_an_operator_that_is_not_known_is_named_with_its_node() -> None:
    model = parse("odd (float[2, 3] x, int64 axis) => (float[2, 3] y) { [sums] y = CumSum(x, axis) }",
                  {"axis": np.array(1)})  # fmt: skip
    with pytest.raises(UnsupportedError, match=r"CumSum \(sums\)"):
        TorchGraph(model.graph)


def test_an_operator_of_another_domain_is_not_taken_for_its_namesake() -> None:
    model = parse("odd (float[2, 3] x) => (float[2, 3] y) { [own] y = Gelu(x) }")
    model.graph[0].domain = "com.microsoft"
    with pytest.raises(UnsupportedError, match=r"Gelu \(own\)"):
        TorchGraph(model.graph)


def test_downstream_is_what_depends_on_a_value_in_graph_order() -> None:
    model = encoder(layers=2)
    start = next(node.outputs[0] for node in model.graph if node.name == "o0_bias")
    names = [node.name for node in downstream(start)]
    assert names[:2] == ["add_o0", "norm_o0"]
    assert {"q1", "attention1", "head", "head_bias"} <= set(names)
    assert not {"embed", "norm", "o0", "o0_bias", "attention0", "kept", "mask"} & set(names)
    order = [node.name for node in model.graph]
    assert names == sorted(names, key=order.index)


def test_what_is_read_is_neither_made_nor_constant() -> None:
    model = encoder(layers=1)
    start = next(node.outputs[0] for node in model.graph if node.name == "o0_bias")
    assert {str(each.name) for each in TorchGraph(downstream(start)).reads} == {str(start.name), "x0"}


def test_gradients_are_those_of_finite_differences() -> None:
    model = encoder(layers=2, head="tokens")
    start = next(node.outputs[0] for node in model.graph if node.name == "o0_bias")
    graph = TorchGraph(downstream(start))
    rng = np.random.default_rng(1)
    shapes = {"attention_mask": (2, 5), "mask": (2, 1, 1, 5)}
    given = {
        each: torch.from_numpy(rng.normal(size=shapes.get(str(each.name), (2, 5, 8))).astype(np.float32))
        for each in graph.reads
    }
    given[start].requires_grad_()
    (output,) = model.graph.outputs
    (gradient,) = torch.autograd.grad(graph(given)[output].sum(), given[start])
    step = 1e-2 * torch.from_numpy(rng.normal(size=(2, 5, 8)).astype(np.float32))
    with torch.no_grad():
        ahead = graph({**given, start: given[start] + step})[output].sum()
        back = graph({**given, start: given[start] - step})[output].sum()
    assert float(ahead - back) == pytest.approx(2 * float((gradient * step).sum()), rel=2e-2)


@pytest.mark.parametrize("call", ["Max(x)", "Min(x, x, x)", "Slice(x, ends, starts, axes, back)", "Clip(x)"])
def test_a_form_that_is_not_known_is_unsupported(call: str) -> None:
    constants = {**CONSTANTS, "back": np.array([-1, -1])}
    words = set(re.findall(r"\w+", call))
    read = {key: each for key, each in constants.items() if key in words}
    inputs = [f"int64[2] {key}" for key in read]
    text = f"one ({', '.join(['float[2, 7, 6] x', *inputs])}) => (float[a, b, c] y0) {{ [it] y0 = {call} }}"
    with pytest.raises(UnsupportedError, match=r"\(it\) is of a form unknown here"):
        computed(parse(text, read), {"x": np.ones((2, 7, 6), np.float32)})
