"""What quantizing takes: memory follows the model, not the number of calibration texts."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import onnx_ir as ir
import pytest

from compiler.frontend.export import TracedModel
from compiler.passes.manager import PassManager
from compiler.pipeline import encoder_passes
from compiler.quantize.options import QuantizeOptions
from compiler.quantize.quantizer import quantize_static
from compiler.quantize.streams import MOST_TOKENS
from tests.support.lowered import FLOAT_PRODUCTS
from tests.support.parity import Feeds, random_feeds
from tools.ablation_cost import measure_cost

FEW, MANY, BATCH, LENGTH = 300, 3000, 10, 30
SLACK_MIB = 1.0
RESIDENT_SLACK_MIB = 24.0
"""What allocators keep: onnxruntime's arenas and the heap do not give everything back."""


@pytest.fixture(scope="module")
def model(traced: Callable[..., TracedModel]) -> ir.Model:
    found = traced("bert", "text-classification").model
    PassManager(encoder_passes()).run(found)
    return found


def texts(count: int) -> list[Feeds]:
    """Sentences of 30 tokens with padding; 300 of them already are more tokens than layers learn from."""
    assert FEW * LENGTH > MOST_TOKENS
    return [random_feeds(BATCH, LENGTH, vocab_size=300, seed=seed) for seed in range(count // BATCH)]


def held(feeds: list[Feeds]) -> float:
    return sum(array.nbytes for each in feeds for array in each.values()) / 2**20


def traced_peak(model: ir.Model, feeds: list[Feeds]) -> float:
    """MiB that numpy and Python hold at most while quantizing, beyond what they held before."""
    tracemalloc.start()
    try:
        quantize_static(model, feeds, FLOAT_PRODUCTS, QuantizeOptions(threads=1))
        return tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()


def test_arrays_do_not_grow_with_the_texts(model: ir.Model) -> None:
    few, many = (traced_peak(model, texts(count)) for count in (FEW, MANY))
    hidden_states = MOST_TOKENS * 32 * 4 / 2**20
    assert few > 2 * hidden_states
    assert many - few < held(texts(MANY)) - held(texts(FEW))
    assert many - few < SLACK_MIB


def test_the_process_does_not_grow_with_the_texts(model: ir.Model, tmp_path: Path) -> None:
    """Everything, onnxruntime's memory as well, in two fresh processes."""
    found = []
    for count in (FEW, MANY):
        folder = tmp_path / str(count)
        folder.mkdir()
        found.append(measure_cost(model, texts(count), FLOAT_PRODUCTS, folder))
    few, many = found
    assert (few.texts, many.texts) == (FEW, MANY)
    assert many.tokens == MANY * LENGTH
    assert few.peak_mb > few.start_mb > 0
    assert many.peak_mb - few.peak_mb < many.feeds_mb - few.feeds_mb + RESIDENT_SLACK_MIB
    assert min(few.seconds, many.seconds) > 0
