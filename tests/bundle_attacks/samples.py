"""The benign bundles and archives that attacks are made of."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Final

from compiler.validate import save_predictions
from compiler.validate.make import make_evaluator
from targets.bundle.archive import pack
from targets.bundle.signature import generate_key, load_private_key
from targets.runtime.selftest import Tolerance, make_selftest
from tests.bundle_attacks.attack import NAME, OUTSIDE_NAMES, Base, Scene
from tests.support.tiny_runtime import (
    model_files,
    onnx_model,
    session,
    table,
    tiny_manifest,
    wordpiece,
)

LABELS: Final = ("negative", "positive")
TASK: Final = "text-classification"

_ROWS: Final = {"good": [-6.0, 6.0], "bad": [6.0, -6.0]}
_TEXTS: Final = (("a good film", "positive"), ("bad", "negative"), ("the film was good", "positive"))


def make_samples(folder: Path) -> None:
    """Makes every benign bundle and archive, a key that signed some, and evaluation data, in a new folder."""
    folder.mkdir()
    rows = [{"text": text, "label": label} for text, label in _TEXTS]
    (folder / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    generate_key(folder / "key")
    for runtime, name in (("onnxruntime", "onnx"), ("openvino", "openvino")):
        bundle = _bundle(folder / name / NAME, runtime, folder / "texts.jsonl")
        pack(bundle, folder / f"{name}.tar")
    shutil.copytree(folder / "onnx", folder / "signed")
    from targets.bundle.reader import Bundle

    signed = Bundle.open(folder / "signed" / NAME)
    signed.sign(load_private_key(folder / "key"))
    pack(signed, folder / "signed.tar")


def set_scene(samples: Path, base: Base, root: Path) -> Scene:
    """A new scene with a copy of a benign bundle or archive, and canaries."""
    scene = Scene(root)
    scene.place.mkdir(parents=True)
    (root / "cwd").mkdir()
    scene.outside.mkdir()
    (scene.outside / "folder").mkdir()
    for name in OUTSIDE_NAMES:
        (scene.outside / name).write_bytes(b"canary " + name.encode())
        (scene.outside / "folder" / name).write_bytes(b"canary " + name.encode())
    shutil.copy(samples / "texts.jsonl", scene.texts)
    shutil.copy(samples / "key.pub", scene.key)
    name = base.removesuffix("-archive")
    if name != base:
        shutil.copy(samples / f"{name}.tar", scene.archive)
    else:
        shutil.copytree(samples / name / NAME, scene.bundle)
    return scene


def _bundle(output: Path, runtime: str, texts: Path) -> Any:
    from calibration.data import open_dataset
    from calibration.examples import DataOptions
    from compiler.package import write_bundle
    from targets.bundle.schema import TaskConfig
    from tests.support.tiny_runtime import encoder

    values = table(2, _ROWS)
    config = TaskConfig("single_label_classification", LABELS)
    evaluator = make_evaluator(open_dataset(str(texts), TASK, DataOptions()), TASK, config, encoder())
    with session(runtime, TASK, values, LABELS) as opened:
        selftest = make_selftest(opened, ["good film", ("bad", "film")], Tolerance(1e-3, 1e-3))
        answers = evaluator.predict(opened)
    files: dict[str, Any] = {
        path: ("model", data) for path, data in model_files(runtime, onnx_model(TASK, values)).items()
    }
    files["tokenizer/tokenizer.json"] = ("tokenizer", wordpiece().to_str().encode())
    files["selftest.json"] = ("selftest", selftest)
    files["report/metrics.json"] = ("report", b"{}")
    files["report/reference.npz"] = ("report", save_predictions(evaluator.digest, answers))
    files["licenses/LICENSE"] = ("license", b"do as you like")
    output.parent.mkdir()
    return write_bundle(output, tiny_manifest(runtime, TASK, LABELS), files)
