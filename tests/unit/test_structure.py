"""Parts of a graph: their FLOPs as polynomials, their bytes as they are stored."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.frontend.checkpoint import load_checkpoint
from compiler.frontend.export import TracedModel
from compiler.inspection import inspect_graph
from compiler.passes.manager import PassManager
from compiler.pipeline import encoder_passes
from compiler.quantize.quantizer import quantize_dynamic
from compiler.structure import Part, structure_of
from targets.spec import QuantScheme
from tests.support.compiling import Checkpoints

Traced = Callable[..., TracedModel]


def graph_of(traced: Traced, family: str, task: str) -> ir.Model:
    model = traced(family, task).model
    PassManager(encoder_passes(fuse_qkv=False)).run(model)
    return model


@given(st.tuples(*[st.integers(0, 10**9)] * 3), st.integers(1, 4096))
def test_flops_are_a_polynomial_of_the_length(flops: tuple[int, int, int], length: int) -> None:
    constant, linear, square = flops
    assert Part(0, 0, flops).flops_at(length) == constant + length * (linear + length * square)


@pytest.mark.parametrize("task", ["text-classification", "token-classification", "fill-mask"])
def test_the_polynomial_says_what_inspect_counts(
    family: str, task: str, traced: Traced, checkpoint: Checkpoints
) -> None:
    model = graph_of(traced, family, task)
    found = structure_of(model)
    opened = load_checkpoint(checkpoint(family, task), task=task)
    for length in (1, 7, 16):
        counted = inspect_graph(model, opened, length)
        assert [each.part.flops_at(length) for each in found.layers] == [
            each.size.flops for each in counted.layers
        ]
        assert found.task_head.flops_at(length) == counted.task_head.flops
    assert found.bytes == counted.model.bytes
    assert [(each.heads, each.ffn) for each in found.layers] == [
        (each.heads, each.ffn) for each in counted.layers
    ]


def test_bytes_are_those_of_the_plan(traced: Traced) -> None:
    model = graph_of(traced, "bert", "text-classification")
    whole = structure_of(model)
    assert structure_of(model, precision="fp16").bytes * 2 == whole.bytes
    plan = quantize_dynamic(model, QuantScheme("u8", True, 127, "float", "float"))
    stored = structure_of(model, plan)
    saved = sum(
        4 * weight.values.size - weight.values.nbytes - weight.scale.nbytes
        for weight in [*(each.weight for each in plan.linears.values()), *plan.tables.values()]
        if weight is not None
    )
    assert saved > 0
    assert whole.bytes - stored.bytes == saved
    assert [each.part.flops for each in stored.layers] == [each.part.flops for each in whole.layers]
    assert stored.with_widths(whole).layers == stored.layers
