"""Writes the bundles of this folder with the bertc that is imported, and what its `bertc run` answers.

    python tests/frozen/make.py [NAME ...] [--output FOLDER] [--schema VERSION]

With PYTHONPATH at another checkout, it is that one's compiler that writes and runs them.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

from compiler.package import write_bundle
from targets import Bundle
from targets.bundle.schema import SCHEMA_VERSION
from tests.support.compiling import bertc
from tests.support.corpus import sentences
from tests.support.data import write_rows, write_task_data
from tests.support.models import make_checkpoint

TINY = {"hidden": 16, "layers": 1, "heads": 2, "intermediate": 32, "vocab_size": 160, "max_length": 48}
SCORES_WITHIN = 0.02

# Padding, a pair, no text, letters that the vocabulary lacks, more tokens than the model reads.
TEXTS: list[Any] = [
    "a gripping film",
    ("a dull plot", "a boring story"),
    "",
    "José Álvarez praised the café of São Paulo — 東京 😀",
    "The battery of this phone is " + "really " * 60 + "awful.",
    "I never thought that the ending was clever!",
]
NAMES: list[Any] = ["Anna Keller left Acme Corp in New York .", "José met Li Wei in Zürich 😀", "no", ""]


@dataclass(frozen=True)
class Recipe:
    """A checkpoint, and what it is compiled for.

    The seeds are of weights that answer the texts with several labels, each of them far from the next: other
    CPUs must find the same.
    """

    family: str
    task: str
    seed: int
    target: str
    runtime: str
    runs: bool = True
    whole: bool = True
    options: dict[str, Any] = field(default_factory=dict)


RECIPES = {
    "classification-onnxruntime": Recipe("bert", "text-classification", 391, "x86-64-vnni", "onnxruntime"),
    "classification-openvino": Recipe("distilbert", "text-classification", 304, "x86-64-vnni", "openvino"),
    "tokens-onnxruntime": Recipe("bert", "token-classification", 1016, "x86-64-vnni", "onnxruntime"),
    "embedding-openvino": Recipe(
        "distilbert",
        "feature-extraction",
        0,
        "x86-64-vnni",
        "openvino",
        options={"pooling": "mean", "normalize": True},
    ),
    "classification-tensorrt": Recipe(
        "distilbert", "text-classification", 304, "jetson-orin", "tensorrt", runs=False
    ),
    "classification-tensorrt-rtx": Recipe(
        "distilbert", "text-classification", 304, "rtx-ada", "tensorrt-rtx", runs=False, whole=False
    ),
    "classification-npu": Recipe(
        "distilbert", "text-classification", 304, "intel-npu", "openvino", runs=False
    ),
    "classification-arm": Recipe(
        "bert", "text-classification", 391, "raspberry-pi-5", "onnxruntime", runs=False
    ),
}


def command(*argv: object) -> str:
    """What `bertc ARGV...` prints."""
    ran = bertc(*argv)
    if ran.code:
        raise SystemExit(ran.err)
    return ran.out


def calibration_file(work: Path, task: str) -> Path:
    """Texts of all lengths, from none on, with second texts or without: those of TEXTS are like them."""
    if task == "token-classification":
        return write_task_data(work, task, count=128, seed=1)
    first, second = (
        [" ".join(text.split()[: index * step % 14]) for index, text in enumerate(sentences(128, seed=seed))]
        for seed, step in ((1, 5), (2, 9))
    )
    rows = [{"text": one, "text_pair": two} for one, two in zip(first, second, strict=True)]
    return write_rows(work / "calibration.jsonl", rows)


def compile_to(work: Path, name: str, recipe: Recipe) -> Path:
    """The bundle of a recipe, as `bertc compile` writes it."""
    model = work / f"tiny-{recipe.family}"
    make_checkpoint(model, recipe.family, recipe.task, seed=recipe.seed, **TINY, **recipe.options)
    calibration = calibration_file(work, recipe.task)
    evaluation = write_task_data(work, recipe.task, count=16)
    options = ("--target", recipe.target, "--runtime", recipe.runtime, "--max-drop", 1, "--threads", 1)
    texts = ("--calibration-data", calibration, "--eval-data", evaluation)
    command("compile", model, "-o", work, "--name", name, *options, *texts, "--json")
    return work / f"{name}-{recipe.target}.bundle"


def as_schema(path: Path, version: str) -> Path:
    """A copy whose manifest is of an older schema."""
    bundle = Bundle.open(path)
    placement = None if version == "1.0" else bundle.manifest.placement
    older = replace(bundle.manifest, schema_version=version, placement=placement)
    files: dict[str, Any] = {each.path: (each.role, bundle.read(each.path)) for each in older.files}
    return write_bundle(path.with_name("older.bundle"), older, files).path


def answers(work: Path, bundle: Path, items: list[Any]) -> list[Any]:
    """The rows that `bertc run` prints for texts and pairs."""
    rows = [
        {"text": each} if isinstance(each, str) else dict(zip(("text", "text_pair"), each, strict=False))
        for each in items
    ]
    file = write_rows(work / "texts.jsonl", rows)
    return [json.loads(line) for line in command("run", bundle, "--file", file, "--threads", 1).splitlines()]


def write(output: Path, name: str, schema: str) -> None:
    """One bundle, and beside it what is expected of it."""
    recipe = RECIPES[name]
    for there in output.glob(f"{name}.*"):
        raise SystemExit(f"{there} is there, and stays as it is")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        os.environ["BERTC_CACHE_DIR"] = str(work / "cache")
        path = compile_to(work, name, recipe)
        if schema != SCHEMA_VERSION:
            path = as_schema(path, schema)
        if not recipe.whole:
            shutil.copy(path / "bundle.json", output / f"{name}.bundle.json")
            return
        bundle = Bundle.open(path)
        items = NAMES if recipe.task == "token-classification" else TEXTS
        expected = {
            "id": bundle.id,
            "content_digest": bundle.manifest.content_digest,
            "scores_within": SCORES_WITHIN,
            "answers": answers(work, path, items) if recipe.runs else None,
        }
        shutil.copytree(path, output / f"{name}.bundle")
    text = json.dumps(expected, ensure_ascii=False, indent=2) + "\n"
    (output / f"{name}.expected.json").write_text(text, encoding="utf-8")


def main() -> None:
    """The bundles that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(RECIPES))
    parser.add_argument("--output", type=Path, default=Path(__file__).parent)
    parser.add_argument("--schema", default=SCHEMA_VERSION)
    given = parser.parse_args()
    output = given.output / given.schema
    output.mkdir(parents=True, exist_ok=True)
    for name in given.names or RECIPES:
        write(output, name, given.schema)
        print(output / name)


if __name__ == "__main__":
    main()
