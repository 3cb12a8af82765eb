"""`bertc inspect` of models, of bundles through the host's command, and where the host's packages are not."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from compiler.cli.inspect_report import inspection_lines
from compiler.frontend.checkpoint import load_checkpoint
from compiler.frontend.export import TracedModel
from compiler.inspection import Inspection, inspect_graph
from compiler.ir.edit import add_initializer
from compiler.package import write_bundle
from compiler.passes.manager import PassManager
from compiler.pipeline import encoder_passes
from compiler.prune.cost import flops_of_group
from compiler.prune.modules import find_modules
from targets.cli import device_group
from targets.cli_errors import main_guard
from tests.support.bundles import FILES, sample_manifest
from tests.support.compiling import Checkpoints, bertc

ROOT = Path(__file__).resolve().parents[2]
Traced = Callable[..., TracedModel]


def checked(document: dict[str, Any]) -> dict[str, Any]:
    schema = json.loads((ROOT / "docs" / "schemas" / "inspect-model.schema.json").read_bytes())
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema).validate(document)
    return document


def graph_of(traced: Traced, family: str, task: str) -> ir.Model:
    model = traced(family, task).model
    PassManager(encoder_passes(fuse_qkv=False)).run(model)
    return model


def inspected(
    traced: Traced, checkpoint: Checkpoints, family: str, task: str, length: int = 16
) -> Inspection:
    opened = load_checkpoint(checkpoint(family, task), task=task)
    return inspect_graph(graph_of(traced, family, task), opened, length)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "tiny", sample_manifest(), FILES).path


def test_a_folder(checkpoint: Checkpoints) -> None:
    ran = bertc("inspect", checkpoint(), "--length", 16)
    assert ran.code == 0, ran.err
    lines = ran.out.splitlines()
    assert lines[0].endswith(": text-classification, bert from a folder")
    assert "for one text of 16 tokens" in lines[1]
    (first,) = (each.split() for each in lines if each.startswith("layer 0"))
    assert first[2:5] == ["4", "8", "64"]
    assert lines[4].endswith("4 heads x 8, 64 neurons")
    assert [each for each in lines if each.startswith("  residual stream, 32 channels")]
    assert lines[-1].startswith("prune with: bertc compile")
    assert "tracing" in ran.err


def test_json_is_as_its_schema_says(checkpoint: Checkpoints) -> None:
    ran = bertc("inspect", checkpoint(), "--json", "--length", 100000)
    assert (ran.code, ran.err) == (0, "")
    found = checked(json.loads(ran.out))
    assert found["length"] == found["max_length"] < 100000
    assert [each["prunable"] for each in found["layers"]] == [
        [
            {"name": f"layer{place}.heads", "groups": 4, "size": 8},
            {"name": f"layer{place}.ffn", "groups": 64, "size": 1},
        ]
        for place in range(2)
    ]
    for key in ("parameters", "flops", "bytes"):
        assert sum(each[key] for each in found["layers"]) == found["encoder"][key]
        parts = (found[part][key] for part in ("embeddings", "encoder", "task_head"))
        assert sum(parts) == found["model"][key]
    assert found["model"]["bytes"] == 4 * found["model"]["parameters"]


def test_parameters_are_those_of_the_checkpoint(checkpoint: Checkpoints) -> None:
    import transformers

    folder = checkpoint("distilbert")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
    found = checked(json.loads(bertc("inspect", folder, "--json").out))
    assert found["model"]["parameters"] == sum(each.numel() for each in model.parameters())


@pytest.mark.parametrize(
    ("family", "task"),
    [("bert", "text-classification"), ("electra", "token-classification"), ("roberta", "fill-mask")],
)
def test_flops_are_those_that_pruning_counts(
    traced: Traced, checkpoint: Checkpoints, family: str, task: str
) -> None:
    found = inspected(traced, checkpoint, family, task)
    checked(found.to_json())
    modules = find_modules(graph_of(traced, family, task)).modules
    for layer in found.layers:
        own = [each for each in modules if each.name.startswith(f"layer{layer.layer}.")]
        assert layer.size.flops == sum(each.groups * flops_of_group(each, found.length) for each in own)
    single = {each.name.partition(".")[0] for each in modules if each.single}
    told = [note.partition(" has fewer FLOPs")[0] for note in found.notes if "fewer FLOPs" in note]
    assert told == [name.replace("layer", "layer ") for name in sorted(single)]
    assert any("counted twice" in note for note in found.notes) == (task == "fill-mask")
    assert {each.part for each in found.left_whole} >= {"residual stream", "task head"}


def test_what_may_not_be_pruned_is_shown_with_the_reason(traced: Traced, checkpoint: Checkpoints) -> None:
    model = graph_of(traced, "bert", "text-classification")
    activation = next(node for node in model.graph if node.op_type == "Gelu")
    gain = add_initializer(model.graph, "gain", np.full(64, 2, np.float32))
    scaled = ir.node("Mul", [activation.inputs[0], gain], name="scaled")
    model.graph.insert_before(activation, scaled)
    activation.replace_input_with(0, scaled.outputs[0])
    found = inspect_graph(model, load_checkpoint(checkpoint()), 16)
    checked(found.to_json())
    lines = list(inspection_lines(found))
    place = next(i for i, each in enumerate(lines) if each.startswith("layer 0"))
    assert lines[place].endswith("  4 heads x 8")
    assert lines[place + 1] == "    layer0.ffn may not: scaled has an operand for each channel"


def test_a_bundle_goes_the_old_way(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for argv in ([], ["--json"]):
        assert main_guard(device_group(), ["inspect", str(bundle), *argv]) == 0
        assert bertc("inspect", bundle, *argv).out == capsys.readouterr().out
    bertc("inspect", bundle, "--expect-id", "0" * 64).fails(5, "id")


def test_options_of_models_with_a_bundle(bundle: Path) -> None:
    bertc("inspect", bundle, "--task", "fill-mask").fails(2, "--task is for models")


def test_what_is_neither(tmp_path: Path, checkpoint: Checkpoints) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    bertc("inspect", empty).fails(2, "empty", "neither a bundle nor a model")
    bertc("inspect", tmp_path / "missing").fails(2, "there is no such path")
    bertc("inspect", tmp_path / "missing.bundle").fails(2, "does not exist")
    bertc("inspect", empty, "--expect-id", "0" * 64).fails(2, "is not a bundle")
    bertc("inspect", empty, "--length", 0).fails(2, "--length")
    broken = tmp_path / "broken"
    shutil.copytree(checkpoint(), broken, ignore=shutil.ignore_patterns("*.safetensors"))
    (broken / "model.onnx").write_bytes(b"no graph")
    bertc("inspect", broken / "model.onnx").fails(2, "model.onnx is not a valid ONNX file")


def test_without_the_packages_of_the_host(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "torch" else find(name, *more)
    )
    bertc("inspect", tmp_path).fails(7, "inspecting a model needs torch", 'pip install "bertc[compile]"')
    assert bertc("inspect", bundle).code == 0
