"""Every family and task: the graph computes what torch computes, after every single pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from compiler.frontend.export import TracedModel
from compiler.ir.encoder import EncoderGraph
from compiler.ir.verify import verify
from compiler.passes.manager import PassManager
from compiler.pipeline import encoder_passes
from tests.support.parity import Feeds, random_feeds
from tests.support.watching import ParityProbe

Trace = Callable[..., TracedModel]
CASES: list[tuple[str, str, dict[str, Any]]] = [
    ("bert", "text-classification", {}),
    ("bert", "token-classification", {}),
    ("bert", "question-answering", {}),
    ("bert", "feature-extraction", {"pooling": "cls"}),
    ("bert", "fill-mask", {}),
    ("roberta", "text-classification", {}),
    ("distilbert", "question-answering", {}),
    ("electra", "token-classification", {}),
    ("minilm", "feature-extraction", {"pooling": "mean", "dense": 24, "normalize": True}),
    ("xlm-roberta", "fill-mask", {}),
    ("bert", "text-classification", {"hidden_act": "gelu_new", "layers": 1}),
    ("bert", "text-classification", {"hidden_act": "relu", "layers": 3, "heads": 2}),
]


def feeds_of(model: Any, reference: Any, family: str) -> list[Feeds]:
    config = reference.wrapper.model.config
    options: dict[str, Any] = {"vocab_size": config.vocab_size, "pad_id": config.pad_token_id}
    options["type_ids"] = any(value.name == "token_type_ids" for value in model.graph.inputs)
    side = "left" if family == "distilbert" else "right"
    return [random_feeds(3, 12, **options), random_feeds(2, 19, seed=1, padding_side=side, **options)]


@pytest.mark.parametrize(("family", "task", "options"), CASES, ids=lambda each: str(each) or None)
def test_every_pass_keeps_what_the_model_computes(
    traced: Trace, family: str, task: str, options: dict[str, Any]
) -> None:
    found = traced(family, task, **options)
    model, reference = found.model, found.reference
    assert reference is not None
    interface = [(value.name, str(value.shape)) for value in (*model.graph.inputs, *model.graph.outputs)]
    probe = ParityProbe(reference, feeds_of(model, reference, family))
    passes = encoder_passes()
    records = PassManager(passes, [probe]).run(model)
    assert probe.checked == ["trace", *(each.name for each in passes)]

    layers = options.get("layers", 2)
    encoder = EncoderGraph.find(model).require()
    assert len(encoder.layers) == layers
    heads = options.get("heads", 4)
    assert [(e.heads, e.head_size, e.intermediate) for e in encoder.layers] == [
        (heads, 32 // heads, 64)
    ] * layers
    assert len(encoder.tables) == (2 if family == "distilbert" else 3)
    assert [(v.name, str(v.shape)) for v in (*model.graph.inputs, *model.graph.outputs)] == interface

    counts = {name: count for record in records for name, count in record.result.counts.items()}
    cls_only = task == "text-classification" or options.get("pooling") == "cls"
    assert (counts["attention"], counts["mask"], counts["scale"]) == (layers, 1, layers)
    assert (counts.get("layer", 0), counts["pair"]) == ((1, 1) if cls_only else (0, 0))
    assert counts["qkv"] == layers - cls_only

    for each in passes:
        assert not each.run(model).modified, f"{each.name} is not idempotent"
    verify(model)


def test_every_family_and_task_occurs() -> None:
    from tests.support.models import FAMILIES, TASKS

    assert {family for family, _, _ in CASES} == set(FAMILIES)
    assert {task for _, task, _ in CASES} == set(TASKS)


def test_roles_cover_every_product(traced: Trace) -> None:
    model = traced("electra", "token-classification").model
    PassManager(encoder_passes()).run(model)
    roles = EncoderGraph.find(model).roles()
    assert sorted(set(roles.values())) == [
        "embeddings",
        *(
            f"layer{i}.{role}"
            for i in (0, 1)
            for role in ("attention_output", "ffn_down", "ffn_up", "query+key+value")
        ),
    ]


def test_a_tied_decoder_keeps_the_table(traced: Trace) -> None:
    found = traced("bert", "fill-mask")
    PassManager(encoder_passes()).run(found.model)
    assert found.reference is not None
    words = found.reference.wrapper.model.config.vocab_size  # type: ignore[attr-defined]
    shapes = [tuple(v.shape.numpy()) for v in found.model.graph.initializers.values() if v.shape is not None]
    assert (words, 32) in shapes
    assert (32, words) in shapes
