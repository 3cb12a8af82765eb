"""Models with outlying channels, as trained BERTs have: made so without changing what they compute.

What every layer after a LayerNorm reads is multiplied by 50 in a few channels, and the layer's weight
divided there. Those are the numbers of a LayerNorm whose gains are 50 times as large; the residual stream,
which reads the same LayerNorm, keeps its own, so that the function is the same up to float32's rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from calibration.data import open_dataset
from calibration.sampler import sample
from compiler.frontend.checkpoint import load_checkpoint
from compiler.frontend.export import TracedModel, trace
from compiler.ir.edit import add_initializer, make_node, op, sweep
from compiler.ir.encoder import EncoderGraph
from compiler.ir.execute import Feeds, Runner, clone
from compiler.ir.linear import Linear, linears_of
from compiler.ir.verify import verify
from compiler.passes.manager import PassManager
from compiler.pipeline import encoder_passes
from compiler.quantize.options import QuantizeOptions
from compiler.quantize.quantizer import quantize_static
from compiler.quantize.sites import Site, sites_of
from compiler.texts import encoder_of, item_of, text_feeds
from tests.support.lowered import FLOAT_PRODUCTS, LOWER, VNNI, outputs
from tests.support.parity import random_feeds

GAIN, CHANNELS = 50.0, 3
SCHEME = FLOAT_PRODUCTS if VNNI else replace(FLOAT_PRODUCTS, weight_qmax=64)
NAIVE = QuantizeOptions(
    ranges="minmax",
    smooth=False,
    shift=False,
    split=False,
    rounding="nearest",
    bias_correction=False,
    threads=1,
)
BERTC = QuantizeOptions(threads=1)
VOCABULARY, TOPIC_WORDS = 300, 4


def blown_up(model: ir.Model) -> ir.Model:
    """The same function, with outlying channels at every activation that comes out of a LayerNorm."""
    model = clone(model)
    sites = [site for site in sites_of(model) if _normed(site.value)]
    assert len(sites) >= 2 * len(EncoderGraph.find(model).layers)
    for site in sites:
        width = len(site.linears[0].weight_array)
        gain = np.ones(width, np.float32)
        gain[[1 + each * width // CHANNELS for each in range(CHANNELS)]] = GAIN
        _multiply(model.graph, site, gain)
    sweep(model.graph)
    verify(model)
    assert len(EncoderGraph.find(model).require().layers) > 0
    return model


def _normed(value: ir.Value) -> bool:
    """Whether a LayerNorm made it, or what picks tokens out of one."""
    maker = value.producer()
    if op(maker, "Gather", "Slice") and maker is not None and maker.inputs[0] is not None:
        maker = maker.inputs[0].producer()
    return op(maker, "LayerNormalization")


def _multiply(graph: ir.Graph, site: Site, gain: NDArray[np.float32]) -> None:
    name, value = str(site.value.name), site.value
    node = make_node(
        "Mul",
        [value, add_initializer(graph, f"{name}_gain", gain)],
        name=f"{name}_outlying",
        dtype=value.dtype,
        shape=value.shape,
    )
    graph.insert_before(site.linears[0].matmul, [node])
    for linear in site.linears:
        _set(graph, linear, linear.weight_array / gain[:, None])
        linear.matmul.replace_input_with(0, node.outputs[0])


def _set(graph: ir.Graph, linear: Linear, weight: NDArray[np.float32]) -> None:
    linear.matmul.replace_input_with(1, add_initializer(graph, f"{linear.name}_own", weight))


def logits(model: ir.Model, feeds: Sequence[Feeds]) -> NDArray[np.float32]:
    runner = Runner(model, threads=1)
    return np.concatenate([runner(each)["logits"] for each in feeds])


def quantized_logits(
    model: ir.Model, calibration: Sequence[Feeds], feeds: Sequence[Feeds], options: QuantizeOptions
) -> NDArray[np.float32]:
    """From onnxruntime's INT8 kernels."""
    quantized = quantize_static(model, calibration, SCHEME, options)
    artifact = LOWER["onnxruntime"](quantized.model, quantized.plan, "int8")
    found = outputs(artifact, [dict(each) for each in feeds])
    return np.concatenate([each["logits"] for each in found])


def agreement(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    return float(np.mean(one.argmax(axis=1) == other.argmax(axis=1)))


def topic_feeds(count: int, seed: int) -> tuple[list[Feeds], NDArray[np.int64]]:
    """Batches of 16 texts about one of two topics: which words are likely says which."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, size=(count // 16, 16))
    batches: list[Feeds] = []
    for index, topics in enumerate(labels):
        feeds = random_feeds(16, 20, vocab_size=VOCABULARY, seed=1000 * seed + index)
        mask = feeds["attention_mask"].astype(bool)
        swapped = rng.random(mask.shape) < 0.7
        drawn = 5 + rng.integers(0, TOPIC_WORDS, size=mask.shape) + TOPIC_WORDS * topics[:, None]
        feeds["input_ids"] = np.where(mask & swapped, drawn, feeds["input_ids"])
        batches.append(feeds)
    return batches, labels.reshape(-1)


def fit_head(model: ir.Model, feeds: Sequence[Feeds], labels: NDArray[np.int64]) -> ir.Model:
    """The model with a classifier of its last features that tells the topics apart (ridge regression)."""
    model = clone(model)
    head = linears_of(model.graph)[-1]
    runner = Runner(model, taps=[str(head.input.name)], threads=1)
    features = np.concatenate([runner(each)[str(head.input.name)] for each in feeds]).astype(np.float64)
    middle = features.mean(axis=0)
    centred = features - middle
    ridge = centred.T @ centred + 0.02 * len(centred) * np.eye(centred.shape[1]) * centred.var(axis=0).mean()
    direction = np.linalg.solve(ridge, centred.T @ (2.0 * labels - 1.0))
    weight = 2.0 * np.stack([-direction, direction], axis=1)
    _set(model.graph, head, weight.astype(np.float32))
    assert head.add is not None
    assert head.bias_value is not None
    position = list(head.add.inputs).index(head.bias_value)
    bias = add_initializer(model.graph, "fitted_bias", (-middle @ weight).astype(np.float32))
    head.add.replace_input_with(position, bias)
    sweep(model.graph)
    return model


def test_made_outliers(traced: Callable[..., TracedModel]) -> None:
    options: dict[str, Any] = {"hidden": 64, "intermediate": 128, "layers": 3}
    plain = traced("bert", "text-classification", **options).model
    PassManager(encoder_passes()).run(plain)
    calibration, labels = topic_feeds(320, 1)
    feeds, topics = topic_feeds(640, 2)
    plain = fit_head(plain, calibration, labels)
    model = blown_up(plain)
    exact = logits(model, feeds)
    np.testing.assert_allclose(exact, logits(plain, feeds), atol=1e-4)
    share = float(np.mean(exact.argmax(axis=1)))
    assert 0.3 < share < 0.7
    assert np.mean(exact.argmax(axis=1) == topics) > 0.75
    assert agreement(quantized_logits(plain, calibration, feeds, NAIVE), exact) > 0.97
    assert agreement(quantized_logits(model, calibration, feeds, NAIVE), exact) < 0.95
    assert agreement(quantized_logits(model, calibration, feeds, BERTC), exact) >= 0.99


def test_outliers_in_a_fine_tuned_model(shared_data: Path) -> None:
    checkpoint = load_checkpoint(str(shared_data / "minilm-sst2"))
    plain = trace(checkpoint).model
    PassManager(encoder_passes()).run(plain)
    encoder = encoder_of(checkpoint, plain)
    calibration, feeds = (
        list(text_feeds(sentences(shared_data / "sst2" / file, count), encoder).feeds)
        for file, count in (("train.tsv", 200), ("validation.tsv", 400))
    )
    model = blown_up(plain)
    exact = logits(model, feeds)
    np.testing.assert_allclose(exact, logits(plain, feeds), atol=1e-3)
    assert agreement(quantized_logits(model, calibration, feeds, NAIVE), exact) < 0.95
    assert agreement(quantized_logits(model, calibration, feeds, BERTC), exact) >= 0.99


def sentences(path: Path, count: int) -> list[Any]:
    return [item_of(each) for each in sample(open_dataset(path, "text-classification"), count, 0)]
