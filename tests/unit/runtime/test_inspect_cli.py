"""`bertc inspect`: what it says of a bundle, of an older one, and of what is none."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from compiler.package import write_bundle
from targets.bundle.schema import FloatProducts, PlacementRecord, ProductGroup
from targets.cli import device_group
from targets.cli_errors import main_guard
from tests.support.bundles import FILES, edit_manifest, sample_manifest

ROOT = Path(__file__).resolve().parents[3]
SCHEME = {
    "kind": "static",
    "activations": "u8 per tensor, asymmetric",
    "weights": "s8 per column, +-127",
    "attention_products": "float",
    "smooth": True,
    "shift": False,
}
PLACEMENT = PlacementRecord(
    "1.32.0",
    {"MatMulIntegerToFloat": 4, "Add": 12, "MatMul": 1},
    (
        ProductGroup(
            "MatMulIntegerToFloat",
            True,
            ("head", "layer10.ffn_up", "layer2.query+key+value", "layer2.ffn_up", "embeddings"),
        ),
    ),
    (
        FloatProducts("it costs accuracy", ("layer2.ffn_down",)),
        FloatProducts("faster in float", ("layer2.attention", "layer10.attention")),
    ),
)
Bertc = Callable[..., tuple[int, str, str]]


@pytest.fixture
def bertc(capsys: pytest.CaptureFixture[str]) -> Bertc:
    def call(*argv: object) -> tuple[int, str, str]:
        code = main_guard(device_group(), [str(argument) for argument in argv])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    compression = {"quantization": {"scheme": SCHEME, "int8_tables": 2}}
    manifest = replace(sample_manifest(), placement=PLACEMENT, compression=compression)
    return write_bundle(tmp_path / "b", manifest, FILES).path


def test_text(bertc: Bertc, bundle: Path) -> None:
    code, out, err = bertc("inspect", bundle)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "tiny: text-classification for x86-64-vnni on onnxruntime"
    assert "runtime    onnxruntime 1.20.0 or newer, tested on 1.32.0" in lines
    assert "quantization: static INT8: activations have parameters fixed by calibration" in lines
    assert "  activations: u8 per tensor, asymmetric" in lines
    assert ("  smooth: on" in lines, "  shift: off" in lines) == (True, True)
    assert "  embedding tables stored as INT8 rows: 2" in lines
    assert "placement, read back from onnxruntime 1.32.0:" in lines
    assert "  5 of 5 products planned as INT8 run in INT8" in lines
    start = lines.index("layers (this bundle does not record their sizes):")
    assert lines[start + 2 : start + 7] == [
        "  part          INT8  kernels",
        "  embeddings  1 of 1  MatMulIntegerToFloat",
        "  layer 2     2 of 4  MatMulIntegerToFloat",
        "  layer 10    1 of 2  MatMulIntegerToFloat",
        "  task head   1 of 1  MatMulIntegerToFloat",
    ]
    assert "  layer2.attention, layer10.attention: faster in float" in lines
    assert "  layer2.ffn_down: it costs accuracy" in lines
    assert lines[-4:] == [
        "operators:",
        "  Add                   12",
        "  MatMulIntegerToFloat  4",
        "  MatMul                1",
    ]


def test_every_product(bertc: Bertc, bundle: Path) -> None:
    _, out, _ = bertc("inspect", bundle, "--products")
    lines = out.splitlines()
    start = lines.index("  layer  product          precision  kernel")
    assert lines[start + 1 : start + 9] == [
        "  -      embeddings       int8       MatMulIntegerToFloat",
        "  2      query+key+value  int8       MatMulIntegerToFloat",
        "  2      ffn_up           int8       MatMulIntegerToFloat",
        "  2      ffn_down         float      -",
        "  2      attention        float      -",
        "  10     ffn_up           int8       MatMulIntegerToFloat",
        "  10     attention        float      -",
        "  -      head             int8       MatMulIntegerToFloat",
    ]


def layer(index: int, heads: int, parameters: int, stored: int, flops: list[int]) -> dict[str, Any]:
    sizes = {"parameters": parameters, "bytes": stored, "flops": flops}
    return {"layer": index, "heads": heads, "head_size": 8, "ffn": 64, **sizes}


TASK_HEAD = {"parameters": 10, "bytes": 40, "flops": [5, 0, 0]}
STRUCTURE: dict[str, Any] = {
    "bundle": {
        "embeddings": {"parameters": 1000, "bytes": 1100, "flops": [0, 0, 0]},
        "layers": [layer(2, 3, 500, 510, [7, 2, 3])],
        "task_head": TASK_HEAD,
    },
    "checkpoint": {
        "embeddings": {"parameters": 1000, "bytes": 4000, "flops": [0, 0, 0]},
        "layers": [layer(2, 4, 700, 2800, [7, 4, 5]), layer(3, 4, 700, 2800, [0, 4, 5])],
        "task_head": TASK_HEAD,
    },
}


def test_parts_beside_those_of_the_checkpoint(bertc: Bertc, bundle: Path) -> None:
    edit_manifest(bundle, lambda d: d["compression"].update(structure=STRUCTURE))
    found = checked(bertc("inspect", bundle, "--json", "--length", 10)[1])
    assert found["length"] == 10
    second, third = found["parts"][1:3]
    assert (second["part"], second["heads"], second["heads_before"]) == ("layer 2", 3, 4)
    assert (second["flops"], second["flops_before"]) == (7 + 20 + 300, 7 + 40 + 500)
    assert (third["part"], third["heads"], third["ffn"], third["parameters"]) == ("layer 3", 0, 0, 0)
    _, out, _ = bertc("inspect", bundle, "--length", 100000)
    lines = out.splitlines()
    assert "layers; FLOPs are those of products, for one text of 128 tokens:" in lines
    assert [each.split()[2:6] for each in lines if each.startswith("  layer 2 ")] == [["3", "of", "4", "8"]]
    assert [each.split()[2:5] for each in lines if each.startswith("  layer 3 ")] == [["0", "of", "4"]]
    assert [each.split()[5] for each in lines if each.startswith("  whole model")] == ["1,510"]


@pytest.mark.parametrize(
    "structure",
    [None, [], {"bundle": 3}, {**STRUCTURE, "checkpoint": {}}, {"bundle": {"layers": [{"layer": -1}]}}],
)
def test_a_structure_that_cannot_be_read_is_none(bertc: Bertc, bundle: Path, structure: Any) -> None:
    edit_manifest(bundle, lambda d: d["compression"].update(structure=structure))
    code, out, _ = bertc("inspect", bundle, "--json")
    assert (code, checked(out)["parts"]) == (0, None)
    assert "does not record their sizes" in bertc("inspect", bundle)[1]


def checked(out: str) -> dict[str, Any]:
    schema = json.loads((ROOT / "docs" / "schemas" / "inspect.schema.json").read_bytes())
    Draft202012Validator.check_schema(schema)
    document: dict[str, Any] = json.loads(out)
    Draft202012Validator(schema).validate(document)
    return document


def test_json_is_as_its_schema_says(bertc: Bertc, bundle: Path) -> None:
    code, out, _ = bertc("inspect", bundle, "--json")
    assert code == 0
    found = checked(out)
    assert found["runtime"]["precision"] == "int8"
    assert found["model_bytes"] == 1200
    assert found["quantization"]["attention_products"] == "float"
    assert found["placement"]["operators"] == {"Add": 12, "MatMul": 1, "MatMulIntegerToFloat": 4}
    assert [row["role"] for row in found["products"]][:2] == ["embeddings", "layer2.query+key+value"]
    assert sum(row["precision"] == "int8" for row in found["products"]) == 5


def test_an_operator_in_float_is_not_hidden(bertc: Bertc, bundle: Path) -> None:
    def edit(document: dict[str, Any]) -> None:
        document["placement"]["products"].append(
            {"kernel": "Gemm", "int8": False, "roles": ["layer3.ffn_up"]}
        )

    edit_manifest(bundle, edit)
    _, out, _ = bertc("inspect", bundle, "--products")
    assert "  5 of 6 products planned as INT8 run in INT8" in out.splitlines()
    assert "  3      ffn_up           float      Gemm" in out.splitlines()


def test_a_bundle_of_schema_1_0(bertc: Bertc, bundle: Path) -> None:
    def edit(document: dict[str, Any]) -> None:
        del document["placement"], document["engine"], document["target"]["compute_capabilities"]
        del document["runtime"]["device"], document["runtime"]["lengths"]
        document.update(schema_version="1.0")

    edit_manifest(bundle, edit)
    code, out, _ = bertc("inspect", bundle)
    assert code == 0
    assert out.splitlines()[-1].startswith("placement: not recorded in this bundle")
    assert checked(bertc("inspect", bundle, "--json")[1])["placement"] is None


@pytest.mark.parametrize("compression", [{}, {"quantization": None}, {"quantization": {"scheme": [1]}}])
def test_a_model_in_float(bertc: Bertc, bundle: Path, compression: dict[str, Any]) -> None:
    def edit(document: dict[str, Any]) -> None:
        document["compression"] = compression
        document["runtime"]["precision"] = "fp32"
        document["placement"].update(products=[], kept_float=[])

    edit_manifest(bundle, edit)
    code, out, _ = bertc("inspect", bundle)
    assert code == 0
    assert "quantization: none, the model computes in fp32" in out
    assert "left in float: no product" in out
    assert "kernel" not in out


def test_what_is_no_bundle(bertc: Bertc, bundle: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    for path, problem in ((tmp_path / "missing", "does not exist"), (empty, "is not a bundle")):
        code, out, err = bertc("inspect", path)
        assert (code, out) == (2, "")
        assert problem in err
        assert len(err.splitlines()) == 2
    code, _, err = bertc("inspect", bundle / "bundle.json")
    assert (code, "is not a folder" in err) == (2, True)
    assert bertc("inspect", bundle, "--expect-id", "0" * 64)[0] == 5


def test_a_damaged_manifest(bertc: Bertc, bundle: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(bundle, damaged)
    manifest = damaged / "bundle.json"
    manifest.write_bytes(manifest.read_bytes()[:-20])
    code, out, err = bertc("inspect", damaged, "--json")
    assert (code, out) == (5, "")
    assert "bundle.json is not JSON" in err
    edit_manifest(bundle, lambda d: d["placement"]["products"][0].update(roles=[]))
    code, _, err = bertc("inspect", bundle)
    assert (code, len(err.splitlines())) == (5, 2)
    assert "placement.products[0].roles" in err


def test_it_imports_no_backend(bundle: Path) -> None:
    code = (
        "import sys\nfrom targets.cli import device_group\nfrom targets.cli_errors import main_guard\n"
        f"main_guard(device_group(), ['inspect', {str(bundle)!r}])\n"
        "heavy = {'numpy', 'tokenizers', 'onnxruntime', 'openvino', 'onnx', 'torch'}\n"
        "sys.exit(sorted(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "MatMulIntegerToFloat" in done.stdout
