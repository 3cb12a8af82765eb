from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from compiler.frontend.export import TracedModel
from compiler.ir.execute import Runner
from compiler.ir.linear import Linear, linears_of
from compiler.ir.printer import to_text
from compiler.ir.stages import Stages
from compiler.passes.fuse_qkv import FuseQkv
from compiler.passes.manager import PassManager
from compiler.pipeline import encoder_passes
from tests.support.graphs import encoder, encoder_feeds, parse, ramp
from tests.support.models import FAMILIES
from tests.support.parity import random_feeds

UNFUSED = [each for each in encoder_passes() if not isinstance(each, FuseQkv)]
Values = dict[str, NDArray[Any]]


def groups_of(model: ir.Model) -> list[list[Linear]]:
    """The linear layers by what they read, in graph order."""
    groups: dict[ir.Value, list[Linear]] = {}
    for linear in linears_of(model.graph):
        groups.setdefault(linear.input, []).append(linear)
    return list(groups.values())


def compute(linear: Linear, values: Values) -> NDArray[np.float32]:
    product = values[str(linear.input.name)] @ linear.weight_array
    return np.asarray(product if linear.bias_array is None else product + linear.bias_array, np.float32)


def run_stages(model: ir.Model, groups: Sequence[Sequence[Linear]], feeds: Values) -> tuple[Values, Values]:
    """What every stage and every exact linear layer made, and what was left when all had run.

    Each stage gets the values that are not finished and nothing else, so that it fails if one was
    dropped too early.
    """
    stages = Stages(model, groups, threads=1)
    left, seen = dict(feeds), dict[str, NDArray[Any]]()
    for index, (stage, group) in enumerate(zip(stages.stages, groups, strict=True)):
        assert set(stage.reads) <= set(left)
        assert not set(stage.makes) & set(stage.reads)
        assert len(set(stage.makes)) == len(stage.makes)
        if stage.makes:
            runner = stages.runner(index)
            assert set(runner.input_names) <= set(stage.reads)
            left.update(runner(left))
        left.update({str(each.output.name): compute(each, left) for each in group})
        seen.update(left)
        for name in stage.finished:
            left.pop(name, None)
    return {name: value for name, value in seen.items() if name not in feeds}, left


def assert_float_values(model: ir.Model, seen: Values, feeds: Values, atol: float = 1e-4) -> None:
    """Every value that the stages made, padding included, is the float model's."""
    wanted = Runner(model, taps=sorted(seen), threads=1, optimize=False)(feeds)
    for name, value in wanted.items():
        assert seen[name].shape == value.shape
        np.testing.assert_allclose(seen[name], value, atol=atol, rtol=1e-4, err_msg=name)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("name", FAMILIES)
def test_exact_layers_give_the_float_values(
    traced: Callable[..., TracedModel], name: str, fused: bool
) -> None:
    found = traced(name, "text-classification")
    assert found.reference is not None
    config = found.reference.wrapper.model.config  # type: ignore[attr-defined]
    PassManager(encoder_passes() if fused else UNFUSED).run(found.model)
    sizes: dict[str, Any] = {"vocab_size": config.vocab_size, "pad_id": config.pad_token_id}
    feeds: Values = dict(random_feeds(4, 11, **sizes, seed=1))
    feeds = {each.name or "": feeds[each.name or ""] for each in found.model.graph.inputs}
    assert (feeds["attention_mask"] == 0).any()
    before, groups = to_text(found.model), groups_of(found.model)
    seen, left = run_stages(found.model, groups, feeds)
    assert to_text(found.model) == before
    assert_float_values(found.model, seen, feeds)
    assert {str(group[0].input.name) for group in groups} <= set(seen)
    assert not set(left) & {str(group[0].input.name) for group in groups}
    output = found.model.graph.outputs[0]
    assert set(left) <= {str(linear.output.name) for group in groups for linear in group}
    assert str(output.name) in left


def test_what_is_finished_is_dropped_as_soon_as_nothing_reads_it() -> None:
    model = encoder(layers=2)
    groups = groups_of(model)
    stages = Stages(model, groups, threads=1).stages
    readers = [str(group[0].input.name) for group in groups]
    assert len(set(readers)) == len(groups) == 9
    finished = [name for stage in stages for name in stage.finished]
    assert len(set(finished)) == len(finished)
    at = {name: index for index, stage in enumerate(stages) for name in stage.finished}
    assert at["input_ids"] == 0
    assert {at[name] for name in ("q0", "k0", "v0")} == {1}
    # The residual stream is read by the first group and, after the attention, by the Add.
    assert (at["x0"], at["c0"], at["o0"], at["a0"]) == (2, 1, 2, 4)
    assert "mask" in at
    assert at["mask"] == readers.index("c1")
    for index in range(len(stages)):
        needed = {name for stage in stages[index + 1 :] for name in stage.reads}
        assert not needed & {name for stage in stages[: index + 1] for name in stage.finished}


def test_groups_may_be_single_layers_of_one_input() -> None:
    model = encoder(layers=1)
    groups = [[linear] for linear in linears_of(model.graph)]
    feeds = encoder_feeds(3, 6)
    stages = Stages(model, groups, threads=1).stages
    assert [bool(stage.makes) for stage in stages[:3]] == [True, False, False]
    seen, left = run_stages(model, groups, dict(feeds))
    assert_float_values(model, seen, dict(feeds))
    assert set(left) == {"logits"}


def graph_level() -> ir.Model:
    """A group that reads an input of the graph, and one that reads the result of another."""
    text = """chain (float[batch, 4] x, float[batch, 4] y,
      float[4, 3] a, float[3, 5] b, float[4, 5] c, float[5] d)
      => (float[batch, 5] out) {
      [first] p = MatMul(x, a)
      [second] q = MatMul(p, b)
      [third] r = MatMul(x, c)
      [bias] s = Add(r, d)
      [act] t = Relu(q)
      [mix] m = Mul(t, s)
      [big] n = Relu(y)
      [cut] o = MatMul(n, c)
      [sum] out = Add(m, o)
    }"""
    arrays = {"a": ramp(4, 3), "b": ramp(3, 5, step=31), "c": ramp(4, 5, step=17), "d": ramp(5)}
    return parse(text, arrays)


def test_a_group_that_reads_an_input_of_the_graph() -> None:
    model = graph_level()
    groups = groups_of(model)
    assert [[each.name for each in group] for group in groups] == [["first", "third"], ["second"], ["cut"]]
    stages = Stages(model, groups, threads=1).stages
    assert (stages[0].makes, stages[1].makes) == (["n"], [])
    assert stages[0].reads == ["y"]
    assert [stage.finished for stage in stages] == [["x", "y"], ["p"], ["n", "q", "t", "s"]]
    rng = np.random.default_rng(0)
    feeds: Values = {name: rng.standard_normal((3, 4)).astype(np.float32) for name in "xy"}
    seen, left = run_stages(model, groups, feeds)
    assert_float_values(model, seen, feeds)
    assert set(left) == {"m", "o"}


def test_a_stage_runs_on_any_batch() -> None:
    model = encoder(layers=1)
    groups = groups_of(model)
    stages = Stages(model, groups, threads=1)
    runner = stages.runner(1)
    for batch, length in ((1, 1), (2, 7), (5, 3)):
        feeds = encoder_feeds(batch, length)
        names = sorted({*stages.stages[1].reads} - set(feeds))
        values = Runner(model, taps=[*names, "c0"], threads=1)(feeds)
        np.testing.assert_allclose(runner({**feeds, **values})["c0"], values["c0"], atol=1e-5)
