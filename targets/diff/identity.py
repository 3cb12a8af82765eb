"""What two bundles are, of what they were made, and how."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from targets.bundle.schema import Manifest, TensorSpec
from targets.diff.rows import LONGEST_NAME, Row, Section, beside, rows_of, table, tables

_ELSEWHERE: Final = frozenset({"config", "cpu", "data", "files", "passes", "tools"})
_NAMES: Final = {
    "commit": "checkpoint's commit",
    "license": "checkpoint's license",
    "model": "checkpoint",
    "model_type": "checkpoint's architecture",
    "profile": "target's profile",
    "source": "checkpoint from",
    "weights_dtype": "checkpoint's weights in",
}


def identity(a: Manifest, b: Manifest) -> Section:
    """Name, task, target, runtime, checkpoint, data, tools and CPU."""
    own = _described(a), _described(b)
    rows = [beside(label, *own, label) for label in dict.fromkeys((*own[0], *own[1]))]
    one, other = a.provenance, b.provenance
    rows += rows_of(_named(one), _named(other))
    rows += rows_of(table(one, "files"), table(other, "files"), "checkpoint's")
    rows += rows_of(_data(one), _data(other))
    rows += rows_of(table(one, "tools"), table(other, "tools"), "compiled with")
    rows += rows_of(table(one, "cpu"), table(other, "cpu"), "compiled on")
    return Section("identity", tuple(rows))


def options(a: Manifest, b: Manifest) -> Section:
    """What the compile was asked for."""
    return Section("options", tuple(rows_of(table(a.provenance, "config"), table(b.provenance, "config"))))


def passes(a: Manifest, b: Manifest) -> Section:
    """What rewrote the graph, by name; a pass that ran again is numbered."""
    one, other = (dict(_passes(each.provenance)) for each in (a, b))
    rows: list[Row] = []
    for name in dict.fromkeys((*one, *other)):
        if name in one and name in other:
            rows += rows_of(one[name], other[name], name)
        else:
            ran = [dict.fromkeys(each, "ran") for each in (one, other)]
            rows.append(beside(name, ran[0], ran[1], name, absent="did not run"))
    common = [[name for name in each if name in one and name in other] for each in (one, other)]
    rows.append(Row("order of those that both ran", common[0], common[1]))
    return Section("passes", tuple(rows))


def _described(manifest: Manifest) -> dict[str, Any]:
    """What the manifest says in fields of its own."""
    task, target, runtime, tokenizer = (
        manifest.task_config,
        manifest.target,
        manifest.runtime,
        manifest.tokenizer,
    )
    return {
        "name": manifest.name,
        "task": manifest.task,
        "problem": task.problem_type,
        "labels": list(task.labels),
        "pooling": task.pooling,
        "dimension": task.dimension,
        "target": target.id,
        "target's system": f"{target.os} on {target.arch}",
        "target's CPU features": ["/".join(each) for each in target.cpu_features],
        "target's memory, MiB": target.memory_mb,
        "target's GPUs": list(target.compute_capabilities),
        "runtime": runtime.backend,
        "runtime's version": runtime.tested_version,
        "runtime's oldest version": runtime.minimum_version,
        "precision": runtime.precision,
        "device": runtime.device,
        "fixed lengths": list(runtime.lengths),
        **{f"runtime's {key}": value for key, value in sorted(runtime.options.items())},
        "longest text, tokens": tokenizer.max_length,
        "tokenizer": tokenizer.tokenizer_class,
        "padding": f"{tokenizer.pad_token} ({tokenizer.pad_id}) on the {tokenizer.padding_side}",
        "inputs": [_tensor(each) for each in manifest.inputs],
        "outputs": [_tensor(each) for each in manifest.outputs],
        "schema": manifest.schema_version,
    }


def _tensor(spec: TensorSpec) -> str:
    return f"{spec.name} {spec.dtype}[{', '.join(map(str, spec.shape))}]"


def _named(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """What is recorded of the checkpoint, and whatever else has no place of its own."""
    return {_NAMES.get(key, key): value for key, value in provenance.items() if key not in _ELSEWHERE}


def _data(provenance: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{key} data": value for key, value in table(provenance, "data").items()}


def _passes(provenance: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    seen: dict[str, int] = {}
    for each in tables(provenance, "passes"):
        name = str(each.get("name"))[:LONGEST_NAME]
        seen[name] = seen.get(name, 0) + 1
        label = name if seen[name] == 1 else f"{name} #{seen[name]}"
        counts = {f"rewrote {key}": value for key, value in table(each, "counts").items()}
        declined = [f"{one.get('where')}: {one.get('reason')}" for one in tables(each, "declined")]
        yield label, {**counts, **table(each, "options"), "declined": declined}
