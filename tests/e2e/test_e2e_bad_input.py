"""Whatever is wrong with what a user gives: two lines, the right exit code, and nothing left behind."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import compiler.package
from targets import Bundle
from tests.support.compiling import (
    RUNTIMES,
    TARGET,
    Bundles,
    Checkpoints,
    Ran,
    bertc,
    build,
    everything,
    own_caches,
)
from tests.support.corpus import sentences
from tests.support.data import Row, classification_rows, write_rows

WEIGHTS = "model.safetensors"
BUNDLE = f"tiny-{TARGET}.bundle"


@pytest.fixture
def broken(checkpoint: Checkpoints, tmp_path: Path) -> Callable[[], Path]:
    """A new copy of a good checkpoint, to be damaged."""

    def copy() -> Path:
        return Path(shutil.copytree(checkpoint(layers=1), tmp_path / "broken"))

    return copy


@pytest.fixture
def compiles(data: Path, out: Path) -> Iterator[Callable[..., Ran]]:
    """`compiles(model, *options)`; at the end nothing may be at the output."""

    def run(model: object, *options: object, calibration: object = data) -> Ran:
        return bertc("compile", model, "-o", out, "--calibration-data", calibration, *options)

    yield run
    assert not out.exists()


def poison(file: Path, value: float) -> str:
    tensors = load_file(file)
    name = sorted(tensors)[3]
    tensors[name].flat[1] = value
    save_file(tensors, file, metadata={"format": "pt"})
    return name


class TestModels:
    def test_no_such_path(self, compiles: Callable[..., Ran], tmp_path: Path) -> None:
        compiles(tmp_path / "missing").fails(2, "no such path")

    def test_a_near_name_is_shown(self, compiles: Callable[..., Ran], broken: Callable[[], Path]) -> None:
        compiles(f"{broken()}n").fails(2, "did you mean", "broken")

    def test_a_hub_id_offline(self, compiles: Callable[..., Ran]) -> None:
        compiles("someone/some-model").fails(2, "someone/some-model", "HF_HUB_OFFLINE")

    def test_not_a_model_folder(self, compiles: Callable[..., Ran], tmp_path: Path) -> None:
        compiles(tmp_path).fails(2, "not a model folder", "config.json")

    def test_not_a_model_file(self, compiles: Callable[..., Ran], tmp_path: Path) -> None:
        file = tmp_path / "model.h5"
        file.write_bytes(b"x")
        compiles(file).fails(3, "neither a model folder nor an .onnx file")

    def test_a_broken_onnx_file(
        self, compiles: Callable[..., Ran], broken: Callable[[], Path], onnx_model: Path
    ) -> None:
        file = broken() / "model.onnx"
        file.write_bytes(onnx_model.read_bytes()[:5000])
        compiles(file).fails(2, "not a valid ONNX file")

    def test_no_weights(self, compiles: Callable[..., Ran], broken: Callable[[], Path]) -> None:
        folder = broken()
        (folder / WEIGHTS).unlink()
        compiles(folder).fails(2, "has no weights", WEIGHTS)

    def test_pickled_weights_only(self, compiles: Callable[..., Ran], broken: Callable[[], Path]) -> None:
        folder = broken()
        (folder / WEIGHTS).rename(folder / "pytorch_model.bin")
        compiles(folder).fails(3, "only pickled weights", "can run code", "safe_serialization=True")

    def test_no_tokenizer(self, compiles: Callable[..., Ran], broken: Callable[[], Path]) -> None:
        folder = broken()
        for file in folder.glob("*token*"):
            file.unlink()
        compiles(folder).fails(2, "has no tokenizer", "save_pretrained")

    @pytest.mark.parametrize("keep", [0, 5, 1000, -1])
    def test_truncated_weights(
        self, compiles: Callable[..., Ran], broken: Callable[[], Path], keep: int
    ) -> None:
        file = broken() / WEIGHTS
        file.write_bytes(file.read_bytes()[:keep])
        compiles(file.parent).fails(2, WEIGHTS, "truncated")

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_weights_that_are_no_numbers(
        self, compiles: Callable[..., Ran], broken: Callable[[], Path], value: float
    ) -> None:
        folder = broken()
        name = poison(folder / WEIGHTS, value)
        compiles(folder).fails(3, name, "NaN or infinite")

    def test_no_head_for_the_task(self, compiles: Callable[..., Ran], broken: Callable[[], Path]) -> None:
        compiles(broken(), "--task", "question-answering").fails(3, "no head for question-answering")

    def test_an_unknown_task(self, compiles: Callable[..., Ran], broken: Callable[[], Path]) -> None:
        compiles(broken(), "--task", "summarization").fails(2, "unknown task", "fill-mask")

    @pytest.mark.parametrize("kind", ["gpt2", "t5", "clip"])
    def test_other_models(self, compiles: Callable[..., Ran], broken: Callable[[], Path], kind: str) -> None:
        folder = broken()
        (folder / "config.json").write_text(json.dumps({"model_type": kind, "architectures": ["X"]}))
        compiles(folder).fails(3, kind, "BERT, RoBERTa, DistilBERT, ELECTRA, MiniLM, XLM-RoBERTa")

    def test_own_code_is_not_run(self, compiles: Callable[..., Ran], broken: Callable[[], Path]) -> None:
        file = broken() / "config.json"
        config = {**json.loads(file.read_text()), "auto_map": {"AutoModel": "modeling.Evil"}}
        file.write_text(json.dumps(config))
        compiles(file.parent).fails(3, "auto_map")


class TestOptions:
    @pytest.mark.parametrize(
        ("options", "parts"),
        [
            (["--target", "x86-64-vnn"], ["unknown target", "x86-64-vnni"]),
            (["--target", "toaster"], ["unknown target", "native", "x86-64-vnni"]),
            (["--target", "native", "--target", TARGET], [TARGET, "twice"]),
            (["--target", "missing.toml"], ["missing.toml"]),
            (["--precision", "int4"], ["int4", "int8-dynamic"]),
            (["--runtime", "tensorrt"], ["tensorrt", "openvino"]),
            (["--max-drop", "2"], ["--max-drop", "0 to 1"]),
            (["--max-drop", "nan"], ["--max-drop"]),
            (["--calibration-samples", "7"], ["--calibration-samples 7", "8 or more"]),
            (["--eval-samples", "3"], ["--eval-samples 3"]),
            (["--threads", "-1"], ["--threads"]),
            (["--seed", "-1"], ["--seed"]),
            (["--ranges", "best"], ["--ranges 'best'", "percentile-99.99"]),
            (["--ranges", "percentile-30"], ["--ranges"]),
            (["--name", "../escape"], ["--name '../escape'"]),
            (["--name", ""], ["--name"]),
            (["--max-length", "4096"], ["--max-length 4096", "128 positions"]),
            (["--max-length", "1"], ["--max-length 1"]),
            (["--colour"], ["--colour", "--help"]),
        ],
    )
    def test_refused_before_any_work(
        self, compiles: Callable[..., Ran], onnx_model: Path, options: list[str], parts: list[str]
    ) -> None:
        ran = compiles(onnx_model, *options)
        ran.fails(2, *parts)
        assert "tracing" not in ran.err

    def test_int8_without_calibration_data(self, onnx_model: Path, out: Path) -> None:
        ran = bertc("compile", onnx_model, "-o", out)
        ran.fails(2, "--calibration-data", "int8-dynamic", "fp16", "bf16")
        assert not out.exists()

    def test_a_precision_that_the_runtime_lacks(self, compiles: Callable[..., Ran], onnx_model: Path) -> None:
        ran = compiles(onnx_model, "--precision", "bf16", "--runtime", "onnxruntime")
        ran.fails(3, "bf16", "--runtime openvino")

    def test_nothing_at_all(self) -> None:
        bertc("compile").fails(2, "MODEL", "--help")
        bertc("compil").fails(2, "compil", "'compile'")


class TestData:
    def rows(self, tmp_path: Path, name: str, rows: list[Row]) -> Path:
        return write_rows(tmp_path / name, rows)

    @pytest.mark.parametrize("flag", ["--text-column", "--text-pair-column", "--label-column"])
    def test_a_column_that_is_not_there(
        self, compiles: Callable[..., Ran], onnx_model: Path, flag: str
    ) -> None:
        compiles(onnx_model, flag, "remark").fails(2, "'remark'", "'text', 'label'", flag)

    def test_no_column_of_text(self, compiles: Callable[..., Ran], onnx_model: Path, tmp_path: Path) -> None:
        file = self.rows(tmp_path, "odd.csv", [{"x": f"a {i}", "y": 1} for i in range(9)])
        compiles(onnx_model, calibration=file).fails(2, "'x', 'y'", "--text-column")

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("a.jsonl", ""),
            ("a.csv", ""),
            ("a.csv", "text,label\n"),
            ("a.tsv", "text\tlabel\n"),
            ("a.txt", ""),
        ],
    )
    @pytest.mark.parametrize("which", ["calibration", "evaluation"])
    def test_an_empty_file(
        self,
        compiles: Callable[..., Ran],
        onnx_model: Path,
        data: Path,
        tmp_path: Path,
        name: str,
        content: str,
        which: str,
    ) -> None:
        file = tmp_path / name
        file.write_text(content, encoding="utf-8")
        calibration = file if which == "calibration" else data
        compiles(onnx_model, "--eval-data", file, calibration=calibration).fails(2, name, "file")

    def test_no_such_file(self, compiles: Callable[..., Ran], onnx_model: Path) -> None:
        compiles(onnx_model, calibration="/no/such.jsonl").fails(2, "/no/such.jsonl", "no such file")
        compiles(onnx_model, "--eval-data", "/no/such.csv").fails(2, "/no/such.csv", "no such file")

    def test_broken_lines(self, compiles: Callable[..., Ran], onnx_model: Path, tmp_path: Path) -> None:
        file = tmp_path / "a.jsonl"
        file.write_text('{"text": "a"}\n{"text": \n', encoding="utf-8")
        compiles(onnx_model, calibration=file).fails(2, "a.jsonl", "line 2")
        file.write_bytes(b'{"text": "a"}\n{"text": "\xff"}\n')
        compiles(onnx_model, calibration=file).fails(2, "a.jsonl", "UTF-8")

    def test_fewer_than_8_rows(self, compiles: Callable[..., Ran], onnx_model: Path, tmp_path: Path) -> None:
        file = self.rows(tmp_path, "few.jsonl", classification_rows(7))
        compiles(onnx_model, calibration=file).fails(2, "7 rows of calibration data", "at least 8")

    @pytest.mark.parametrize("label", ["neutral", 2, -1, 0.5])
    def test_labels_outside_of_the_models(
        self, compiles: Callable[..., Ran], onnx_model: Path, tmp_path: Path, label: Any
    ) -> None:
        rows = classification_rows(12)
        rows[6]["label"] = label
        file = self.rows(tmp_path, "odd.jsonl", rows)
        ran = compiles(onnx_model, "--eval-data", file)
        ran.fails(2, "row 7", str(label), "'negative', 'positive'")
        assert "tracing" not in ran.err

    def test_labels_in_some_rows(
        self, compiles: Callable[..., Ran], onnx_model: Path, tmp_path: Path
    ) -> None:
        rows = classification_rows(12)
        rows[3]["label"] = None
        compiles(onnx_model, "--eval-data", self.rows(tmp_path, "gap.jsonl", rows)).fails(2, "row 4")


class TestOutput:
    def test_it_is_there_already(self, onnx_model: Path, data: Path, out: Path) -> None:
        (out / BUNDLE).mkdir(parents=True)
        args = ("compile", onnx_model, "-o", out, "--calibration-data", data)
        ran = bertc(*args)
        ran.fails(2, BUNDLE, "exists already", "--force")
        assert "tracing" not in ran.err
        (out / BUNDLE / "mine.txt").write_text("mine")
        bertc(*args, "--force").fails(2, "not replaced")
        assert everything(out) == [BUNDLE, f"{BUNDLE}/mine.txt"]

    def test_the_debug_folder_is_there_already(self, onnx_model: Path, data: Path, out: Path) -> None:
        debug = f"tiny-{TARGET}.debug"
        (out / debug).mkdir(parents=True)
        ran = bertc("compile", onnx_model, "-o", out, "--calibration-data", data, "--keep-debug")
        ran.fails(2, debug, "exists already", "--force")
        assert everything(out) == [debug]

    def test_it_is_a_file(self, onnx_model: Path, data: Path, tmp_path: Path) -> None:
        file = tmp_path / "file"
        file.write_text("x")
        ran = bertc("compile", onnx_model, "-o", file, "--calibration-data", data)
        ran.fails(2, "is not a folder", "-o")
        assert file.read_text() == "x"

    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO])
    @pytest.mark.parametrize("which", [0, 3, -1])
    def test_the_disk_fails(
        self,
        onnx_model: Path,
        data: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        number: int,
        which: int,
    ) -> None:
        out = tmp_path / "new" / "out"
        whole = compiler.package.write_file
        seen: list[str] = []

        def write(path: Path, chunks: Any) -> Any:
            seen.append(path.name)
            if len(seen) - 1 == which or (which < 0 and path.name == "bundle.json"):
                raise OSError(number, os.strerror(number), str(path))
            return whole(path, chunks)

        monkeypatch.setattr(compiler.package, "write_file", write)
        ran = bertc(
            *("compile", onnx_model, "-o", out, "--calibration-data", data, "--keep-debug"),
            *("--ranges", "minmax", "--runtime", "onnxruntime"),
        )
        ran.fails(
            2, "cannot write", os.strerror(number), "free some space" if number == errno.ENOSPC else "-o"
        )
        assert not (tmp_path / "new").exists()

    def test_what_was_there_survives_a_failure(
        self, onnx_model: Path, data: Path, out: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        built = build(onnx_model, out, runtime="onnxruntime", calibration_data=data)
        before = {path: (out / path).read_bytes() for path in everything(out) if (out / path).is_file()}

        def fail(*_: Any) -> Any:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(compiler.package, "_write", fail)
        ran = bertc(
            *("compile", onnx_model, "-o", out, "--calibration-data", data, "--force", "--keep-debug"),
            *("--ranges", "minmax", "--runtime", "onnxruntime"),
        )
        ran.fails(2, "cannot write")
        assert {
            path: (out / path).read_bytes() for path in everything(out) if (out / path).is_file()
        } == before
        assert bertc("verify", built.path).code == 0


@pytest.fixture(scope="module")
def hard(onnx_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Texts labelled with the FP32 model's own answers, and the same without labels."""
    folder = tmp_path_factory.mktemp("hard")
    with own_caches(folder / "cache"):
        path = build(onnx_model, folder, precision="fp32", runtime="onnxruntime").path
    texts = sentences(200, seed=4)
    with Bundle.open(path).session(threads=1) as session:
        labels = [found.to_dict()["label"] for found in session.predict(texts)]
    rows = [{"text": text, "label": label} for text, label in zip(texts, labels, strict=True)]
    plain = [{"text": text} for text in texts]
    return write_rows(folder / "hard.jsonl", rows), write_rows(folder / "plain.txt", plain)


class TestGate:
    @pytest.mark.parametrize("runtime", [*RUNTIMES, "auto"])
    def test_too_much_lost(
        self, compiles: Callable[..., Ran], onnx_model: Path, hard: tuple[Path, Path], runtime: str
    ) -> None:
        labelled, _ = hard
        options = ("--eval-data", labelled, "--max-drop", 0, "--ranges", "percentile-51", "--no-smooth")
        ran = compiles(onnx_model, *options, "--runtime", runtime, "--keep-debug", "--json")
        ran.fails(4, TARGET, "accuracy 1.0000 in FP32 -> 0.", "95% interval", "over 200 texts", "gate failed")
        assert "--calibration-data" in ran.errors[1]
        assert "--max-drop" in ran.errors[1]

    def test_too_little_agreement(
        self, compiles: Callable[..., Ran], onnx_model: Path, hard: tuple[Path, Path]
    ) -> None:
        _, plain = hard
        options = ("--eval-data", plain, "--max-drop", 0, "--ranges", "percentile-51", "--no-smooth")
        compiles(onnx_model, *options, "--runtime", "onnxruntime").fails(4, "agreement", "gate failed")

    def test_a_failed_gate_leaves_the_old_bundle(
        self, onnx_model: Path, data: Path, hard: tuple[Path, Path], out: Path
    ) -> None:
        before = build(onnx_model, out, runtime="onnxruntime", calibration_data=data).path
        identity = (before / "bundle.json").read_bytes()
        ran = bertc(
            *("compile", onnx_model, "-o", out, "--calibration-data", data, "--eval-data", hard[0]),
            *("--max-drop", 0, "--ranges", "percentile-51", "--no-smooth", "--force"),
            *("--runtime", "onnxruntime"),
        )
        ran.fails(4)
        assert [path.name for path in out.iterdir()] == [BUNDLE]
        assert (before / "bundle.json").read_bytes() == identity

    def test_validate_has_the_gate_too(
        self, onnx_model: Path, data: Path, hard: tuple[Path, Path], out: Path
    ) -> None:
        built = build(
            onnx_model,
            out,
            runtime="onnxruntime",
            calibration_data=data,
            eval_data=hard[0],
            ranges="percentile-51",
            smooth=False,
        )
        assert bertc("validate", built.path, "--eval-data", hard[0]).code == 0
        ran = bertc("validate", built.path, "--eval-data", hard[0], "--max-drop", 0)
        assert ran.code == 4
        assert "gate failed" in ran.errors[0]
        assert "accuracy" in ran.out


class TestBundles:
    def test_not_a_bundle(self, tmp_path: Path, data: Path) -> None:
        for command in (["run", tmp_path, "--text", "a"], ["verify", tmp_path], ["bench", tmp_path]):
            bertc(*command).fails(2, "not a bundle", "bundle.json")
        bertc("validate", tmp_path / "no", "--eval-data", data).fails(2, "does not exist")

    @pytest.mark.parametrize("runtime", RUNTIMES)
    def test_a_damaged_bundle(self, bundles: Bundles, tmp_path: Path, data: Path, runtime: str) -> None:
        copy = tmp_path / "x.bundle"
        shutil.copytree(bundles("bert", "text-classification", runtime).path, copy)
        model = next((copy / "model").glob("*.[bo]*n*"))
        content = bytearray(model.read_bytes())
        content[len(content) // 2] ^= 1
        model.write_bytes(content)
        for command in (["verify"], ["selftest"], ["bench"], ["run", "--text", "a"]):
            bertc(command[0], copy, *command[1:]).fails(5, model.name, "SHA-256")
        bertc("validate", copy, "--eval-data", data).fails(5, model.name)

    def test_another_bundle_than_expected(self, bundles: Bundles) -> None:
        path = bundles("bert", "text-classification", "onnxruntime").path
        bertc("run", path, "--text", "a", "--expect-id", "0" * 64).fails(5, "id")

    def test_a_device_without_the_features(self, bundles: Bundles, monkeypatch: pytest.MonkeyPatch) -> None:
        import targets.bundle.device
        from targets.detect import Machine

        old = Machine("x86_64", "linux", "An Old CPU", frozenset({"avx2"}), 2, 4096)
        monkeypatch.setattr(targets.bundle.device, "this_machine", lambda: old)
        path = bundles("bert", "text-classification", "onnxruntime").path
        bertc("verify", path).fails(6, "An Old CPU", "avx512_vnni")
