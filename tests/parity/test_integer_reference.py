"""The integer reference against both runtimes, for every family.

Both sum the same integers. What differs is float32: the order of additions in LayerNorm, Softmax and float
products (relative 1e-6 or so), and OpenVINO multiplies by 1/scale where the reference divides by the scale.
Where such a difference moves an activation across the middle between two integers, that activation changes by
one whole step, and the texts it belongs to change by about what quantization itself changes. So the error of
a text is either that of float32 (ROUNDING, the median over texts on onnxruntime) or that of a few steps
(STEP, the largest over all, small beside AGAINST_FLOAT, the largest change by all the steps together).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from calibration.data import open_dataset
from calibration.sampler import sample
from compiler.frontend.checkpoint import load_checkpoint
from compiler.frontend.export import TracedModel, trace
from compiler.integer.reference import IntegerReference
from compiler.ir.linear import linears_of
from compiler.passes.manager import PassManager
from compiler.pipeline import encoder_passes
from compiler.quantize.options import QuantizeOptions
from compiler.quantize.plan import QuantPlan
from compiler.quantize.quantizer import quantize_dynamic, quantize_static
from compiler.texts import encoder_of, item_of, text_feeds
from targets.detect import machine
from targets.errors import InternalError, UsageError
from targets.runtime.items import TextItem
from tests.support.lowered import FLOAT_PRODUCTS, LOWER, S8_PRODUCTS, VNNI, Case, make_case, outputs
from tests.support.parity import Feeds, random_feeds

FLOAT, ROUNDING, STEP = 2e-5, 1e-5, 0.12
SATURATES = machine().arch == "x86_64" and not VNNI
CASES: list[tuple[str, str, dict[str, Any]]] = [
    ("bert", "text-classification", {}),
    ("roberta", "question-answering", {}),
    ("distilbert", "text-classification", {}),
    ("electra", "token-classification", {}),
    ("minilm", "feature-extraction", {"pooling": "mean", "dense": 24, "normalize": True}),
    ("xlm-roberta", "fill-mask", {}),
    ("bert", "text-classification", {"hidden_act": "gelu_new"}),
]
Trace = Callable[..., TracedModel]
Outputs = list[dict[str, NDArray[Any]]]


def case_of(traced: Trace, family: str, task: str, options: dict[str, Any]) -> Case:
    found = traced(family, task, **options)
    assert found.reference is not None
    config = found.reference.wrapper.model.config  # type: ignore[attr-defined]
    PassManager(encoder_passes()).run(found.model)
    drawn: dict[str, Any] = {"vocab_size": config.vocab_size, "pad_id": config.pad_token_id}
    feeds = [random_feeds(4, 16, seed=seed, **drawn) for seed in range(3)]
    return Case(found.model, [*feeds, random_feeds(2, 9, seed=9, **drawn)])


def run(reference: IntegerReference, feeds: list[Feeds]) -> Outputs:
    return [reference.run({name: each[name] for name in reference.input_names}) for each in feeds]


def errors(found: Outputs, wanted: Outputs, feeds: list[Feeds]) -> NDArray[np.float64]:
    """The largest difference of each text, over its tokens and all outputs."""
    worst = []
    for one, other, batch in zip(found, wanted, feeds, strict=True):
        assert one.keys() == other.keys()
        mask = batch["attention_mask"].astype(bool)
        for row in range(len(mask)):
            pairs = [(one[name][row], other[name][row]) for name in one]
            gaps = [np.abs(a - b)[mask[row]] if len(a) == len(mask[row]) else np.abs(a - b) for a, b in pairs]
            worst.append(max(float(gap.max()) for gap in gaps))
    return np.array(worst)


@pytest.mark.parametrize(("family", "task", "options"), CASES, ids=lambda each: str(each) or None)
def test_every_family(traced: Trace, family: str, task: str, options: dict[str, Any]) -> None:
    case = case_of(traced, family, task, options)
    floats = case.reference()
    plain = run(IntegerReference(case.model, QuantPlan()), case.feeds)
    assert errors(plain, floats, case.feeds).max() < FLOAT
    for runtime, lower in LOWER.items():
        scheme = S8_PRODUCTS if runtime == "openvino" and VNNI else FLOAT_PRODUCTS
        quantized = case.quantized(scheme)
        found = outputs(lower(quantized.model, quantized.plan, "int8"), case.feeds)
        expected = IntegerReference(quantized.model, quantized.plan, saturating=SATURATES)
        exact = run(expected, case.feeds)
        gaps = errors(found, exact, case.feeds)
        change = errors(exact, floats, case.feeds)
        assert gaps.max() < STEP
        assert np.sqrt(np.square(gaps).mean()) < 0.5 * np.sqrt(np.square(change).mean())
        if runtime == "onnxruntime":
            assert np.median(gaps) < ROUNDING


def test_dynamic_is_onnxruntimes(traced: Trace) -> None:
    case = make_case(traced)
    plan = quantize_dynamic(case.model, FLOAT_PRODUCTS)
    found = outputs(LOWER["onnxruntime"](case.model, plan, "int8-dynamic"), case.feeds)
    gaps = errors(
        found, run(IntegerReference(case.model, plan, saturating=SATURATES), case.feeds), case.feeds
    )
    assert gaps.max() < STEP
    assert np.median(gaps) < ROUNDING


@pytest.mark.parametrize("qmax", [127, 64])
def test_saturation_follows_from_the_weights_alone(traced: Trace, qmax: int) -> None:
    """With float attention products, half range computes the same on every CPU, to the last bit."""
    case = make_case(traced)
    scheme = replace(FLOAT_PRODUCTS, weight_qmax=qmax)  # type: ignore[arg-type]
    quantized = quantize_static(case.model, case.feeds, scheme, QuantizeOptions(threads=1))
    exact, other = (
        run(IntegerReference(quantized.model, quantized.plan, saturating=each), case.feeds)
        for each in (False, True)
    )
    gaps = errors(exact, other, case.feeds)
    assert (gaps.max() > 0) == (qmax == 127)


def test_the_bias_of_the_plan_replaces_the_graphs(traced: Trace) -> None:
    case = make_case(traced)
    quantized = case.quantized(FLOAT_PRODUCTS)
    name = list(quantized.plan.linears)[-1]
    before = run(IntegerReference(quantized.model, quantized.plan), case.feeds)
    bias = np.array([5.0, -5.0], np.float32)
    linears = {**quantized.plan.linears, name: replace(quantized.plan.linears[name], bias=bias)}
    after = run(IntegerReference(quantized.model, replace(quantized.plan, linears=linears)), case.feeds)
    linear = next(each for each in linears_of(quantized.model.graph) if each.name == name)
    assert linear.bias_array is not None
    for one, other in zip(before, after, strict=True):
        moved = other["logits"] - one["logits"]
        np.testing.assert_allclose(moved, np.tile(bias - linear.bias_array, (len(moved), 1)), atol=1e-5)


def test_as_a_backend(traced: Trace) -> None:
    case = make_case(traced)
    backend = IntegerReference(case.model, QuantPlan())
    assert backend.output_names == ("logits",)
    assert backend.run(case.feeds[0], ["logits"]).keys() == {"logits"}
    with pytest.raises(InternalError, match="the plan has 'nothing'"):
        IntegerReference(case.model, quantized_with_stray(case))
    backend.close()
    with pytest.raises(UsageError, match="closed"):
        backend.run(case.feeds[0])


def quantized_with_stray(case: Case) -> QuantPlan:
    plan = quantize_dynamic(case.model, FLOAT_PRODUCTS)
    return QuantPlan({**plan.linears, "nothing": next(iter(plan.linears.values()))})


@pytest.mark.skipif(SATURATES, reason="full-range weights saturate on this CPU")
@pytest.mark.parametrize("runtime", list(LOWER))
def test_a_fine_tuned_checkpoint(shared_data: Path, runtime: str) -> None:
    """MiniLM on sentences: the reference is much nearer to the runtime than either is to FP32."""
    checkpoint = load_checkpoint(str(shared_data / "minilm-sst2"))
    model = trace(checkpoint).model
    PassManager(encoder_passes(fuse_qkv=False)).run(model)
    encoder = encoder_of(checkpoint, model)
    calibration, evaluation = (
        list(text_feeds(sentences(shared_data / "sst2" / file, count), encoder).feeds)
        for file, count in (("train.tsv", 32), ("validation.tsv", 50))
    )
    options = QuantizeOptions(smooth=False, ranges="minmax", threads=1)
    quantized = quantize_static(model, calibration, FLOAT_PRODUCTS, options)
    floats = Case(model, evaluation).reference()
    exact, saturated = (
        run(IntegerReference(quantized.model, quantized.plan, saturating=each), evaluation)
        for each in (False, True)
    )
    found = outputs(LOWER[runtime](quantized.model, quantized.plan, "int8"), evaluation)
    # A value that rounds the other way early on moves one text in fifty as far as quantizing does.
    near, far, lost = (
        float(np.median(errors(one, other, evaluation)))
        for one, other in ((found, exact), (exact, floats), (saturated, exact))
    )
    assert near < 0.25 * far
    assert lost > 4 * near
    if runtime == "onnxruntime":
        assert near < ROUNDING


def sentences(path: Path, count: int) -> list[TextItem]:
    return [item_of(each) for each in sample(open_dataset(path, "text-classification"), count, 0)]
