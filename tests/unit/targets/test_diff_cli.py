"""`bertc diff`: what two bundles differ in, what of it does not compare, and hostile records."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from compiler.package import write_bundle
from targets.bundle.schema import FloatProducts, Manifest, PlacementRecord, ProductGroup, RuntimeSpec
from targets.cli import device_group
from targets.cli_errors import main_guard
from tests.support.bundles import FILES, edit_manifest, sample_manifest

ROOT = Path(__file__).resolve().parents[3]
FROZEN = sorted((ROOT / "tests" / "frozen").glob("*/*.bundle"))
SHA = {name: f"{number:064x}" for number, name in enumerate(("weights", "train", "dev", "other"), 1)}
VALIDATION: dict[str, Any] = {
    "metric": "accuracy",
    "baseline": 0.9,
    "compiled": 0.89,
    "delta": -0.01,
    "ci95": [-0.02, 0.005],
    "agreement": 0.99,
    "n": 200,
    "evidence": "measured",
    "status": "passed",
    "gate": {"max_drop": 0.01},
    "labelled": True,
    "metrics": {"compiled": {"accuracy": 0.89, "f1_macro": 0.88}},
}
PRUNING: dict[str, Any] = {
    "flops_kept": 0.7,
    "modules": [
        {"name": "layer0.heads", "groups": 12, "kept": 8},
        {"name": "layer0.ffn", "groups": 1536, "kept": 1280},
    ],
    "refitted": 4,
    "declined": {},
}
LATENCY: dict[str, Any] = {
    "shape": [1, 128],
    "p50_ms": 5.0,
    "p95_ms": 6.0,
    "p99_ms": 7.0,
    "fp32_p50_ms": 15.0,
    "speedup": [3.0, 2.9, 3.1],
    "threads": 0,
    "cpu": "AMD EPYC",
}
MANIFEST = replace(
    sample_manifest(),
    provenance={
        "model": "minilm",
        "files": {"model.safetensors": SHA["weights"]},
        "data": {"evaluation": {"name": "dev.tsv", "sha256": SHA["dev"], "texts": 200}},
        "tools": {"torch": "2.13.0"},
        "cpu": {"arch": "x86_64", "features": ["avx2", "avx512_vnni"]},
        "config": {"seed": 0, "prune_flops": None, "eval_samples": 200},
        "passes": [
            {"name": "FoldConstants", "options": {"max_elements": 8}, "counts": {"nodes": 0}, "declined": []},
            {"name": "FuseGelu", "options": {}, "counts": {"gelu": 6}, "declined": []},
            {"name": "FoldConstants", "options": {"max_elements": 8}, "counts": {"nodes": 1}, "declined": []},
        ],
    },
    compression={
        "quantization": {"scheme": {"kind": "static", "ranges": "auto"}, "int8_linears": 12, "float": []}
    },
    validation=VALIDATION,
)
Bertc = Callable[..., tuple[int, str, str]]
Pair = Callable[..., tuple[Path, Path]]
Edit = Callable[[dict[str, Any]], object]


@pytest.fixture
def bertc(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Bertc:
    monkeypatch.setenv("COLUMNS", "100")

    def call(*argv: object) -> tuple[int, str, str]:
        code = main_guard(device_group(), [str(argument) for argument in argv])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    """Two bundles of one manifest, B edited."""

    def make(edit: Edit = lambda _: None, reports: tuple[Any, Any] = ({}, {})) -> tuple[Path, Path]:
        paths = []
        for name, report in zip("ab", reports, strict=True):
            data = report if isinstance(report, bytes) else json.dumps(report).encode()
            files = {**FILES, "report/metrics.json": ("report", data)}
            paths.append(write_bundle(tmp_path / name, MANIFEST, files).path)
        edit_manifest(paths[1], edit)
        return paths[0], paths[1]

    return make


def checked(out: str) -> dict[str, Any]:
    schema = json.loads((ROOT / "docs" / "schemas" / "diff.schema.json").read_bytes())
    Draft202012Validator.check_schema(schema)
    document: dict[str, Any] = json.loads(out)
    Draft202012Validator(schema).validate(document)
    return document


def differing(found: dict[str, Any], section: str) -> dict[str, tuple[Any, Any]]:
    rows = found["sections"][section]["rows"]
    return {row["label"]: (row.get("a"), row.get("b")) for row in rows if not row["equal"]}


def line(out: str, start: str) -> list[str]:
    found = [each for each in out.splitlines() if each.strip().startswith(start)]
    assert len(found) == 1, out
    return found[0].removeprefix("  ").removeprefix(start).split()


def test_the_same_bundle(bertc: Bertc, pair: Pair) -> None:
    a, b = pair()
    code, out, err = bertc("diff", a, b)
    assert (code, err) == (0, "")
    assert "the same bundle: bundle.json is the same, byte for byte" in out.splitlines()
    assert "change" not in out
    assert out.splitlines()[-1].startswith("equal, shown by --all: identity ")
    found = checked(bertc("diff", a, b, "--json")[1])
    assert (found["same_content"], found["changed"]) == (True, [])
    assert all(not differing(found, name) for name in found["sections"])


def test_the_same_content_of_another_compile(bertc: Bertc, pair: Pair) -> None:
    a, b = pair(lambda d: d["provenance"]["config"].update(seed=1))
    _, out, _ = bertc("diff", a, b)
    assert "the same model, tokenizer and self-test, byte for byte (content digest " in out
    assert line(out, "seed") == ["0", "1"]
    assert "FuseGelu" not in out


def test_all_shows_what_is_equal(bertc: Bertc, pair: Pair) -> None:
    a, b = pair()
    _, out, _ = bertc("diff", a, b, "--all")
    assert line(out, "FuseGelu rewrote gelu") == ["6", "6", "="]
    assert line(out, "FoldConstants #2 rewrote nodes") == ["1", "1", "="]
    assert "shown by --all" not in out


def test_which_files_differ(bertc: Bertc, tmp_path: Path) -> None:
    a = write_bundle(tmp_path / "a", MANIFEST, FILES).path
    b = write_bundle(tmp_path / "b", MANIFEST, {**FILES, "model/model.onnx": ("model", b"onnx" * 200)}).path
    _, out, _ = bertc("diff", a, b)
    assert "the model differs, the tokenizer and the self-test are the same" in out.splitlines()
    assert "  model     1.2 kB -> 800 B (-400 B, 0.67x)" in out.splitlines()
    found = checked(bertc("diff", a, b, "--json")[1])
    assert (found["same_content"], found["changed"]) == (False, ["model"])
    [model] = [row for row in found["sections"]["sizes"]["rows"] if row["label"] == "model"]
    assert (model["difference"], model["ratio"]) == (-400, pytest.approx(2 / 3))


def test_identity_and_options(bertc: Bertc, pair: Pair) -> None:
    def edit(document: dict[str, Any]) -> None:
        document["provenance"]["tools"]["torch"] = "2.14.0"
        document["provenance"]["files"]["model.safetensors"] = SHA["other"]
        document["provenance"]["cpu"]["features"] = ["avx2", "amx_int8"]
        del document["provenance"]["config"]["prune_flops"]

    a, b = pair(edit)
    _, out, _ = bertc("diff", a, b)
    assert line(out, "compiled with torch") == ["2.13.0", "2.14.0"]
    assert line(out, "checkpoint's model.safetensors") == [SHA["weights"][:12], SHA["other"][:12]]
    assert "+amx_int8, -avx512_vnni" in out
    assert "options   " not in out, "an option that is not recorded is as one that was not given"


def test_passes(bertc: Bertc, pair: Pair) -> None:
    def edit(document: dict[str, Any]) -> None:
        fold, gelu, _ = document["provenance"]["passes"]
        gelu["declined"] = [{"where": "node_3", "reason": "it is read twice"}]
        document["provenance"]["passes"] = [gelu, fold]

    a, b = pair(edit)
    found = checked(bertc("diff", a, b, "--json")[1])
    assert differing(found, "passes") == {
        "FoldConstants #2": ("ran", None),
        "FuseGelu declined": ([], ["node_3: it is read twice"]),
        "order of those that both ran": (["FoldConstants", "FuseGelu"], ["FuseGelu", "FoldConstants"]),
    }
    assert line(bertc("diff", a, b)[1], "FoldConstants #2") == ["ran", "did", "not", "run"]


def placed(manifest: Manifest, *products: ProductGroup, kept: tuple[FloatProducts, ...] = ()) -> Manifest:
    return replace(manifest, placement=PlacementRecord("1.32.0", {"Add": 2}, products, kept))


def test_products_are_grouped(bertc: Bertc, tmp_path: Path) -> None:
    layers = [f"layer{index}" for index in (0, 1, 2, 10)]
    together = ProductGroup("QGemm", True, tuple(f"{each}.query+key" for each in layers))
    apart = tuple(f"{each}.{name}" for each in layers for name in ("query", "key", "ffn_up"))
    one = placed(MANIFEST, together, ProductGroup("QGemm", True, tuple(f"{each}.ffn_up" for each in layers)))
    other = placed(
        MANIFEST, ProductGroup("QGemm", True, apart[:-1]), kept=(FloatProducts("why", apart[-1:]),)
    )
    a, b = (write_bundle(tmp_path / n, m, FILES).path for n, m in (("a", one), ("b", other)))
    found = checked(bertc("diff", a, b, "--json")[1])
    assert differing(found, "plan") == {
        "layers 0-2, 10: query, key": ("int8 by QGemm for 2 together", "int8 by QGemm"),
        "layer 10: ffn_up": ("int8 by QGemm", "float: why"),
    }
    [row] = [each for each in found["sections"]["plan"]["rows"] if each["label"] == "layer 10: ffn_up"]
    assert row["roles"] == ["layer10.ffn_up"]
    assert "  8 products, layers 0-2, 10: query, key" in bertc("diff", a, b)[1].splitlines()


def test_operators_of_two_runtimes_are_not_compared(bertc: Bertc, pair: Pair, tmp_path: Path) -> None:
    a, b = pair(lambda d: d["placement"]["operators"].update(Add=5))
    assert line(bertc("diff", a, b)[1], "operator Add") == ["3", "5", "+2,", "1.67x"]
    runtime = RuntimeSpec("openvino", "2024.6", "2026.4.1", "model/openvino_model.xml", "int8")
    names = {"model/openvino_model.xml": b"<net/>", "model/openvino_model.bin": b"0"}
    files = {path: file for path, file in FILES.items() if path != "model/model.onnx"}
    files |= {name: ("model", data) for name, data in names.items()}
    c = write_bundle(tmp_path / "c", replace(MANIFEST, runtime=runtime), files).path
    _, out, _ = bertc("diff", b, c)
    assert line(out, "operators in all") == ["7", "5"]
    assert "each runtime has operators of its own" in out


@pytest.mark.parametrize("files", [{}, {"model.safetensors": SHA["other"]}])
def test_pruning_beside_a_dense_bundle(bertc: Bertc, pair: Pair, files: dict[str, str]) -> None:
    def edit(document: dict[str, Any]) -> None:
        document["compression"]["pruning"] = PRUNING
        document["provenance"]["files"].update(files)

    a, b = pair(edit)
    _, out, _ = bertc("diff", a, b)
    assert line(out, "encoder's FLOPs kept") == ["not", "pruned", "70.00%"]
    if files:
        assert line(out, "layer 0 heads") == ["not", "recorded", "8"], "another checkpoint has others"
    else:
        assert line(out, "layer 0 heads") == ["12", "8", "-4,", "0.67x"]
        assert line(out, "layer 0 FFN neurons") == ["1,536", "1,280", "-256,", "0.83x"]


def structure(layers: int) -> dict[str, Any]:
    part = {"parameters": 1_500_000, "bytes": 8, "flops": [5, 2, 1]}
    rows = [{**part, "layer": index, "heads": 12, "head_size": 8, "ffn": 1536} for index in range(layers)]
    return {"embeddings": part, "layers": rows, "task_head": part}


def test_structure(bertc: Bertc, pair: Pair) -> None:
    both = [{"bundle": structure(layers), "checkpoint": structure(2)} for layers in (2, 1)]
    a, b = pair(lambda d: d["compression"].update(structure=both[1], pruning=PRUNING))
    edit_manifest(a, lambda d: d["compression"].update(structure=both[0]))
    edit_manifest(b, lambda d: d["provenance"]["files"].update({"model.safetensors": SHA["other"]}))
    _, out, _ = bertc("diff", a, b)
    assert line(out, "parameters") == ["6.0M", "4.5M", "-1.5M,", "0.75x"]
    assert line(out, "FLOPs at 128 tokens") == ["66,580", "49,935", "-16,645,", "0.75x"]
    assert line(out, "layer 0 heads") == ["12", "8", "-4,", "0.67x"]


def test_accuracy(bertc: Bertc, pair: Pair) -> None:
    a, b = pair(
        lambda d: d["validation"].update(compiled=0.9, delta=0.0, ci95=[-0.01, 0.01], agreement=0.995)
    )
    _, out, _ = bertc("diff", a, b)
    lines = out.splitlines()
    assert "  accuracy  0.8900 -> 0.9000 (+0.0100)" in lines
    assert line(out, "accuracy of the bundle") == ["0.8900", "0.9000", "+0.0100"]
    assert line(out, "agreement with FP32") == ["99.00%", "99.50%", "+0.50", "points"]
    assert line(out, "ci95 of bundle - FP32") == ["-0.0200", "to", "+0.0050", "-0.0100", "to", "+0.0100"]
    assert "each ci95 is of that bundle against FP32" in out
    assert "not comparable" not in out


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda d: d["validation"].update(metric="f1_micro"), "other metrics"),
        (lambda d: d["validation"].update(n=100), "other texts: 200 of A, 100 of B"),
        (lambda d: d["validation"].update(evidence="simulated"), "measured of A, simulated of B"),
        (lambda d: d["validation"].update(labelled=False), "one was compared with labels"),
        (
            lambda d: d["provenance"]["data"]["evaluation"].update(sha256=SHA["other"]),
            "other evaluation data",
        ),
        (lambda d: d["provenance"].update(data={}), "the evaluation data are not recorded"),
        (lambda d: d["provenance"]["config"].update(seed=1), "the texts were taken by another seed"),
        (lambda d: d["provenance"]["config"].update(text_column="q"), "taken by another text_column"),
    ],
)
def test_accuracy_that_does_not_compare(bertc: Bertc, pair: Pair, edit: Edit, reason: str) -> None:
    def both(document: dict[str, Any]) -> None:
        document["validation"].update(compiled=0.8)
        edit(document)

    a, b = pair(both)
    _, out, _ = bertc("diff", a, b)
    assert f"! not comparable: {reason}" in out or ("! not comparable" in out and reason in out)
    assert "0.8900 -> 0.8000, which do not compare: see below" in out
    found = checked(bertc("diff", a, b, "--json")[1])
    rows = found["sections"]["accuracy"]["rows"]
    assert all(row["difference"] is None for row in rows)


def test_one_was_not_validated(bertc: Bertc, pair: Pair) -> None:
    a, b = pair(lambda d: d.update(validation=None))
    _, out, _ = bertc("diff", a, b)
    assert "! B was not validated" in out
    edit_manifest(a, lambda d: d.update(validation=None))
    assert "  accuracy  not validated" in bertc("diff", a, b)[1]


def speedups(out: str) -> str:
    label = "  speed-up over FP32 at 1x128  "
    [found] = [each for each in out.splitlines() if each.startswith(label) and "->" not in each]
    return found.removeprefix(label).strip()


def test_times(bertc: Bertc, pair: Pair) -> None:
    faster = {**LATENCY, "p50_ms": 4.0, "fp32_p50_ms": 15.1, "speedup": [3.8, 3.7, 3.9]}
    a, b = pair(reports=({"latency": LATENCY}, {"latency": faster}))
    _, out, _ = bertc("diff", a, b)
    assert line(out, "p50 at 1x128") == ["5.00", "ms", "4.00", "ms", "1.25x", "faster"]
    assert speedups(out) == "3.00x (2.90 to 3.10)  3.80x (3.70 to 3.90)  faster"
    assert "at different moments, not in turns" in out
    assert "p95" not in out


def test_speed_ups_over_other_models(bertc: Bertc, pair: Pair) -> None:
    a, b = pair(
        lambda d: d["provenance"]["files"].update({"model.safetensors": SHA["other"]}),
        ({"latency": LATENCY}, {"latency": {**LATENCY, "fp32_p50_ms": 30.0, "speedup": [6.0, 5.9, 6.1]}}),
    )
    _, out, _ = bertc("diff", a, b)
    assert speedups(out) == "3.00x (2.90 to 3.10)  6.00x (5.90 to 6.10)"
    assert "! the speed-ups do not compare" in out
    assert line(out, "p50 of FP32 at 1x128") == ["15.00", "ms", "30.00", "ms", "2.00x", "slower"]


def test_times_of_a_machine_that_was_busy_once(bertc: Bertc, pair: Pair) -> None:
    busy = {**LATENCY, "p50_ms": 40.0, "fp32_p50_ms": 80.0, "speedup": [2.0, 1.0, 3.0]}
    a, b = pair(reports=({"latency": LATENCY}, {"latency": busy}))
    _, out, _ = bertc("diff", a, b)
    assert "! not comparable: the same FP32 model took another time" in out
    assert line(out, "p50 at 1x128") == ["5.00", "ms", "40.00", "ms"]
    assert speedups(out) == "3.00x (2.90 to 3.10)  2.00x (1.00 to 3.00)  not told apart"


@pytest.mark.parametrize(
    ("reports", "label"),
    [
        (({"candidates": [{"runtime": "onnxruntime", "p50_ms": {"1x128": 5}}]},) * 2, "p50 at 1x128"),
        (({"tried": [{"outcome": "shipped", "p50_ms": {"8x128": 5.5}}]},) * 2, "p50 at 8x128"),
    ],
)
def test_medians_of_other_records(bertc: Bertc, pair: Pair, reports: tuple[Any, Any], label: str) -> None:
    a, b = pair(reports=reports)
    found = checked(bertc("diff", a, b, "--json")[1])
    assert [row["label"] for row in found["sections"]["latency"]["rows"]] == [label]


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"latency": None}, "B records no times"),
        ({"latency": {**LATENCY, "shape": [8, 128]}}, "other shapes"),
        ({"latency": {**LATENCY, "cpu": "Cortex-A76"}}, "other CPUs"),
        ({"latency": {**LATENCY, "threads": 1}}, "other numbers of threads"),
        ([1], "cannot be read"),
        (b"{", "cannot be read"),
        (b'{"latency": {"cpu": "\\u001b[2J"}}', "cannot be read"),
        (b'{"a":' * 2000, "cannot be read"),
        (b" " * (5 * 1024**2), "too large"),
        ({"latency": {**LATENCY, "p50_ms": "fast"}}, "B records no times"),
        ({"latency": {**LATENCY, "p50_ms": 10**400}}, "B records no times"),
        ({"latency": {**LATENCY, "p50_ms": -1}}, "B records no times"),
        ({"latency": {**LATENCY, "shape": [True, {}]}}, "B records no times"),
        ({"latency": [], "tried": {}, "candidates": [3, {"runtime": "onnxruntime"}]}, "B records no times"),
        ({"tried": [{"outcome": "shipped", "p50_ms": {"\u200f1x1": 1, "1x1": None}}]}, "B records no times"),
    ],
)
def test_times_that_do_not_compare(bertc: Bertc, pair: Pair, other: Any, reason: str) -> None:
    a, b = pair(reports=({"latency": LATENCY}, other))
    code, out, err = bertc("diff", a, b)
    assert (code, err) == (0, "")
    assert reason in out
    found = checked(bertc("diff", a, b, "--json")[1])
    assert all(row["difference"] is None for row in found["sections"]["latency"]["rows"])


def test_no_report(bertc: Bertc, tmp_path: Path) -> None:
    files = {path: file for path, file in FILES.items() if not path.startswith("report/")}
    a, b = (write_bundle(tmp_path / name, MANIFEST, files).path for name in "ab")
    assert "  latency   neither bundle records times" in bertc("diff", a, b)[1]


def test_a_damaged_report(bertc: Bertc, pair: Pair) -> None:
    a, b = pair()
    (b / "report" / "metrics.json").write_bytes(b"[]")
    code, out, err = bertc("diff", a, b)
    assert (code, out) == (5, "")
    assert "report/metrics.json" in err


def odd_values() -> list[Any]:
    deep: Any = 1
    for _ in range(20):
        deep = {"k": deep}
    return [None, True, -1, 1e308, 10**308, "x" * 5000, [], [{}], [[1]], {}, {"a": [None]}, deep]


@pytest.mark.parametrize("value", odd_values(), ids=lambda value: str(value)[:12])
def test_records_that_hold_anything(bertc: Bertc, pair: Pair, value: Any) -> None:
    keys = ("config", "passes", "data", "files", "tools", "cpu", "model")
    provenance = [dict.fromkeys(keys, value), {"passes": [value, {"name": value, "counts": value}]}]
    row = {"name": "layer0.heads", "groups": value, "kept": value, "layer": value, "flops": [value] * 3}
    compressions = [
        dict.fromkeys(("quantization", "pruning", "structure", "smoothing"), value),
        {
            "quantization": {"scheme": {"search": value}, "float": value, "int8_linears": value},
            "pruning": {"modules": [row, value], "flops_kept": value, "declined": value},
            "structure": {"bundle": {"embeddings": row, "layers": [row, value]}, "checkpoint": value},
        },
    ]
    validations = [dict.fromkeys((*VALIDATION, "reason"), value), {"metrics": {"compiled": {"f1": value}}}]
    for one, other, third in zip(provenance, compressions, validations, strict=True):
        a, b = pair(lambda d: d.update(provenance=one, compression=other, validation=third))  # noqa: B023
        for first, second in ((a, b), (b, a), (b, b)):
            for option in ((), ("--all",)):
                code, out, err = bertc("diff", first, second, *option)
                assert (code, err) == (0, ""), out
                assert max(map(len, out.splitlines()[4:])) <= 100
            checked(bertc("diff", first, second, "--json")[1])
        shutil.rmtree(a)
        shutil.rmtree(b)


def test_labels_do_not_outgrow_the_record(bertc: Bertc, pair: Pair) -> None:
    wide = {f"k{number}": number for number in range(20_000)}
    a, b = pair(lambda d: d["provenance"].update(config={"x" * 200_000: wide}))
    start = time.monotonic()
    code, out, _ = bertc("diff", a, b)
    assert (code, len(out) < 20_000) == (0, True)
    assert len(bertc("diff", a, b, "--json")[1]) < 4_000_000
    assert time.monotonic() - start < 20


def test_what_does_not_print_is_escaped(bertc: Bertc, pair: Pair) -> None:
    a, b = pair(lambda d: d["task_config"].update(labels=["a\u200fb", "positive\u00ad"]))
    _, out, _ = bertc("diff", a, b)
    assert ("\u200f" in out, "\u00ad" in out, "a\\u200fb" in out) == (False, False, True)
    edit_manifest(b, lambda d: d["task_config"].update(labels=["\x1b[2J", "b"]))
    assert bertc("diff", a, b)[0] == 5


@pytest.mark.parametrize("columns", [40, 80, 100, 200])
def test_every_pair_of_frozen_bundles(bertc: Bertc, monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    width = min(100, max(80, columns))
    for one, other in zip(FROZEN, [*FROZEN[1:], FROZEN[0]], strict=True):
        code, out, err = bertc("diff", one, other)
        assert (code, err) == (0, "")
        assert all(len(each) <= width for each in out.splitlines() if not each.startswith(("A  ", "B  ")))
        checked(bertc("diff", one, other, "--json")[1])


def test_a_frozen_bundle_beside_a_new_one(bertc: Bertc, pair: Pair) -> None:
    _, b = pair()
    for path in FROZEN:
        found = checked(bertc("diff", path, b, "--json")[1])
        assert found["a"]["schema_version"] == path.parent.name
    assert "! A does not record where products and operators run" in bertc("diff", FROZEN[0], b)[1]


def test_what_cannot_be_compared_at_all(bertc: Bertc, pair: Pair, tmp_path: Path) -> None:
    a, b = pair()
    for paths in ((a, tmp_path / "missing"), (tmp_path / "missing", b)):
        code, out, err = bertc("diff", *paths)
        assert (code, out) == (2, "")
        assert "does not exist" in err
    code, out, err = bertc("diff", a, b, "--key", tmp_path / "none.pub")
    assert (code, out) == (2, "")
    manifest = b / "bundle.json"
    manifest.write_bytes(manifest.read_bytes()[:-20])
    code, out, err = bertc("diff", a, b, "--json")
    assert (code, out) == (5, "")
    assert "bundle.json is not JSON" in err


def test_it_imports_no_backend(pair: Pair) -> None:
    a, b = pair()
    code = (
        "import sys\nfrom targets.cli import device_group\nfrom targets.cli_errors import main_guard\n"
        f"main_guard(device_group(), ['diff', {str(a)!r}, {str(b)!r}])\n"
        "heavy = {'numpy', 'tokenizers', 'onnxruntime', 'openvino', 'onnx', 'torch', 'rich'}\n"
        "sys.exit(sorted(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "the same bundle" in done.stdout
