"""Small bundles whose model is opaque bytes, and ways to damage them that keep their digests consistent."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from compiler.package import write_bundle
from targets.bundle.digest import content_digest
from targets.bundle.reader import Bundle
from targets.bundle.schema import (
    FileEntry,
    FloatProducts,
    Manifest,
    PlacementRecord,
    ProductGroup,
    Role,
    RuntimeSpec,
    TargetRecord,
    TaskConfig,
    TensorSpec,
    TokenizerSpec,
)

Edit = Callable[[dict[str, Any]], object]
Place = tuple[str | int, ...]

OPEN_TABLES = {"provenance", "compression", "validation", "options", "operators"}
"""Tables of a manifest that have no fixed keys."""

FILES: dict[str, tuple[Role, bytes | Path]] = {
    "model/model.onnx": ("model", b"onnx" * 300),
    "tokenizer/tokenizer.json": ("tokenizer", b'{"model": {}}'),
    "selftest.json": ("selftest", b'{"version": 1}'),
    "report/metrics.json": ("report", b"{}"),
    "licenses/LICENSE": ("license", "© someone".encode()),
}


def sample_manifest() -> Manifest:
    return Manifest(
        name="tiny",
        task="text-classification",
        task_config=TaskConfig("single_label_classification", ("négatif", "positive")),
        target=TargetRecord("x86-64-vnni", "x86_64", "linux", (("avx512_vnni", "avx_vnni"),), 256),
        runtime=RuntimeSpec("onnxruntime", "1.20.0", "1.32.0", "model/model.onnx", "int8"),
        inputs=(
            TensorSpec("input_ids", "int64", ("batch", "sequence")),
            TensorSpec("attention_mask", "int64", ("batch", "sequence")),
        ),
        outputs=(TensorSpec("logits", "float32", ("batch", 2)),),
        tokenizer=TokenizerSpec("BertTokenizer", 128, 0, "[PAD]", 0, "right", 103),
        provenance={"seed": 0, "versions": {"bertc": "0.1.0"}},
        compression={"linear": [1, 2.5, None, True]},
        validation={"metric": "accuracy", "n": 10},
        placement=PlacementRecord(
            "1.32.0",
            {"MatMulIntegerToFloat": 2, "Add": 3},
            (ProductGroup("MatMulIntegerToFloat", True, ("layer0.query+key+value", "head")),),
            (FloatProducts("it is sensitive", ("layer0.ffn_up",)),),
        ),
    )


def listed_manifest() -> Manifest:
    """The sample with its files listed, as it stands in bundle.json."""
    entries = tuple(
        FileEntry(path, role, len(data), hashlib.sha256(data).hexdigest())
        for path, (role, data) in sorted(FILES.items())
        if isinstance(data, bytes)
    )
    return replace(sample_manifest(), files=entries, content_digest=content_digest(entries))


def write_sample(output: Path) -> Bundle:
    return write_bundle(output, sample_manifest(), FILES)


def edit_manifest(bundle: Path, edit: Edit) -> None:
    """Change bundle.json, then make its own digest and SHA256SUMS agree with it where they still can."""
    document = json.loads((bundle / "bundle.json").read_bytes())
    edit(document)
    reseal(bundle, document)


def reseal(bundle: Path, document: dict[str, Any]) -> None:
    try:
        entries = [
            FileEntry(entry["path"], entry["role"], entry["size"], entry["sha256"])
            for entry in document["files"]
        ]
        document["content_digest"] = content_digest(entries)
        sums = {entry.path: entry.sha256 for entry in entries}
    except (KeyError, TypeError):
        sums = {}
    data = (json.dumps(document, sort_keys=True, indent=2, ensure_ascii=False) + "\n").encode(
        "utf-8", "surrogatepass"
    )
    (bundle / "bundle.json").write_bytes(data)
    sums["bundle.json"] = hashlib.sha256(data).hexdigest()
    lines = [f"{sums[path]}  {path}\n" for path in sorted(sums)]
    (bundle / "SHA256SUMS").write_text("".join(lines), encoding="utf-8", errors="surrogatepass")


def entry_of(document: dict[str, Any], path: str) -> dict[str, Any]:
    found: dict[str, Any] = next(entry for entry in document["files"] if entry["path"] == path)
    return found


def closed_tables(value: object, place: Place = ()) -> list[Place]:
    """The places of the tables of a manifest whose keys are fixed, itself among them."""
    if isinstance(value, dict):
        inner = [place for key in value.keys() - OPEN_TABLES for place in closed_tables(value[key], (key,))]
        found = [(), *sorted(inner, key=str)]
    else:
        rows = enumerate(value) if isinstance(value, list) else ()
        found = [place for index, row in rows for place in closed_tables(row, (index,))]
    return [(*place, *each) for each in found]


def table_at(document: dict[str, Any], place: Place) -> dict[str, Any]:
    found: Any = document
    for key in place:
        found = found[key]
    assert isinstance(found, dict)
    return found


def with_new_keys(document: dict[str, Any]) -> dict[str, Any]:
    """A copy with a key in every table that no version has had yet."""
    newer = copy.deepcopy(document)
    for place in closed_tables(document):
        table_at(newer, place)["added_later"] = {"a": [1, None]}
    return newer
