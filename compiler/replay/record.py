"""Reads what a bundle says of its own compile, which may come from anyone."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args

from compiler.frontend.source import HUB_ID, SourceKind
from compiler.options import PRECISION_CHOICES, CompileOptions
from compiler.replay.decisions import Decisions
from compiler.replay.record_decisions import read_decisions
from targets.bundle.digest import content_digest
from targets.bundle.parse import parse_manifest
from targets.bundle.paths import MANIFEST_NAME
from targets.bundle.schema import MAX_MANIFEST_BYTES, Manifest
from targets.errors import IntegrityError, UsageError
from targets.fields import Fields
from targets.spec import EVIDENCE, FEATURE_PATTERN, MAX_LENGTH, RUNTIMES

CALIBRATION: Final = "calibration"
EVALUATION: Final = "evaluation"
_CALIBRATING: Final = (CALIBRATION, "pruning", "held_out")
"""Data sets that come out of one file."""

DATASET_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*([./:][A-Za-z0-9_-]+)*")
"""A name of the `datasets` library, as in "glue/sst2:validation"; no path that leads upward."""

_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_COMMIT: Final = re.compile(r"[0-9a-f]{7,64}")
_TOOL: Final = re.compile(r"[A-Za-z0-9._+-]{1,128}")
_MOST_FILES: Final = 256
_MOST_FEATURES: Final = 256
_RANK: Final = 2


@dataclass(frozen=True, slots=True)
class Origin:
    """The checkpoint of a record.

    Attributes:
        kind: where it lay.
        model: its hub id, or the base name of its folder or file.
        commit: of the hub; None for local ones.
        files: SHA-256 in hexadecimal by name.
    """

    kind: SourceKind
    model: str
    commit: str | None
    files: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class RecordedData:
    """A data set: the name of its file, or its name in the `datasets` library, and its SHA-256."""

    name: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Environment:
    """What the compile computed with; what a bundle of an older bertc does not say is None.

    Attributes:
        tools: release by package.
        arch: of the CPU.
        features: of the CPU, by which kernels are chosen.
        profile: digest of the target (`compiler.environment.target_digest`).
        evidence: of the validation.
    """

    tools: Mapping[str, str]
    arch: str | None
    features: frozenset[str] | None
    profile: str | None
    evidence: str | None


@dataclass(frozen=True, slots=True)
class Record:
    """A compile, as the bundle that came out of it says.

    Attributes:
        manifest: of that bundle.
        options: of the compile, without its data.
        decisions: what it chose by measuring.
        origin: its checkpoint.
        data: its data by what it was for, `CALIBRATION` or `EVALUATION`.
        environment: what it computed with.
    """

    manifest: Manifest
    options: CompileOptions
    decisions: Decisions
    origin: Origin
    data: Mapping[str, RecordedData]
    environment: Environment


def read_record(path: Path) -> Record:
    """Read a bundle's record of its compile.

    Args:
        path: bundle.json, or the folder that it is in; the rest of the bundle need not be there.

    Raises:
        UsageError: nothing is there.
        IntegrityError: no manifest, or a record that cannot be one of a compile.
    """
    manifest = parse_manifest(_read(path))
    if content_digest(manifest.files) != manifest.content_digest:
        raise fail("content_digest does not agree with files")
    provenance = Fields(manifest.provenance, "provenance", fail, lenient=True)
    options = _options(provenance, manifest)
    compression = Fields(manifest.compression, "compression", fail, lenient=True)
    return Record(
        manifest=manifest,
        options=options,
        decisions=read_decisions(compression, options, manifest.runtime.backend, fail),
        origin=_origin(provenance),
        data=_data(provenance.table("data")),
        environment=_environment(provenance, manifest),
    )


def fail(problem: str) -> IntegrityError:
    """What is wrong with a record."""
    return IntegrityError(
        f"bundle.json: {problem}", "pass the bundle.json of a bundle as `bertc compile` has written it"
    )


def _read(path: Path) -> bytes:
    hint = "pass the folder that `bertc compile -o` wrote, or the bundle.json in it"
    try:
        file = path / MANIFEST_NAME if path.is_dir() else path
        if not file.is_file():
            raise UsageError(f"there is no {MANIFEST_NAME} at {path}", hint)
        with file.open("rb") as stream:
            return stream.read(MAX_MANIFEST_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(f"cannot read {path}: {reason}", hint) from error


def _check_shape(fields: Fields, key: str) -> None:
    values = fields.items(key)
    whole = all(isinstance(each, int) and not isinstance(each, bool) for each in values)
    if len(values) != _RANK or not whole or not all(0 < each <= MAX_LENGTH for each in values):
        raise fail(f"{fields.place(key)} must be [batch, tokens]")


_Check = Callable[[Fields, str], object]

_CONFIG: Final[Mapping[str, _Check]] = {
    "precision": lambda fields, key: fields.choice(key, PRECISION_CHOICES),
    "runtime": lambda fields, key: fields.choice(key, ("auto", *RUNTIMES)),
    "max_drop": Fields.real,
    "min_agreement": Fields.real_or_null,
    "calibration_samples": Fields.integer,
    "eval_samples": Fields.integer_or_null,
    "validate_emulated": Fields.flag,
    "emulated_samples": Fields.integer,
    "text_column": Fields.text_or_null,
    "text_pair_column": Fields.text_or_null,
    "label_column": Fields.text_or_null,
    "max_length": Fields.integer_or_null,
    "prune_flops": Fields.real_or_null,
    "prune_speedup": Fields.real_or_null,
    "prune": lambda fields, key: fields.choice_or_null(key, ("auto",)),
    "prune_shape": _check_shape,
    "prune_targets": Fields.texts,
    "prune_align": Fields.integer,
    "prune_samples": Fields.integer,
    "seed": Fields.integer,
    "ranges": Fields.text,
    "smooth": Fields.flag,
}
"""What `provenance.config` may hold; what is not there has the value that it has by default."""


def _options(provenance: Fields, manifest: Manifest) -> CompileOptions:
    """The options as they were given: a number stays the number that it is in the record."""
    written = provenance.free("config")
    fields = Fields(written, provenance.place("config"), fail)
    found: dict[str, Any] = {}
    for key, check in _CONFIG.items():
        if fields.has(key):
            check(fields, key)
            found[key] = tuple(written[key]) if isinstance(written[key], list) else written[key]
    fields.close()
    return CompileOptions(targets=(manifest.target.id,), name=manifest.name, task=manifest.task, **found)


def _origin(provenance: Fields) -> Origin:
    files = provenance.free("files")
    if not 0 < len(files) <= _MOST_FILES:
        raise fail(f"provenance.files must have between 1 and {_MOST_FILES} entries")
    hashes = Fields(files, "provenance.files", fail)
    kind = provenance.choice("source", get_args(SourceKind))
    return Origin(
        kind=kind,
        model=provenance.text("model", HUB_ID if kind == "hub" else None),
        commit=provenance.text("commit", _COMMIT) if provenance.has("commit") else None,
        files={name: hashes.text(name, _SHA256) for name in sorted(files)},
    )


def _data(fields: Fields) -> dict[str, RecordedData]:
    found = {}
    for kind in (*_CALIBRATING, EVALUATION):
        if fields.has(kind):
            table = fields.table(kind)
            found[kind] = RecordedData(table.text("name"), table.text("sha256", _SHA256))
    drawn = [found.pop(kind) for kind in _CALIBRATING if kind in found]
    if len({each.sha256 for each in drawn}) > 1:
        raise fail(f"provenance.data: {', '.join(_CALIBRATING)} must be of one file")
    return {**found, CALIBRATION: drawn[0]} if drawn else found


def _environment(provenance: Fields, manifest: Manifest) -> Environment:
    cpu = provenance.table("cpu") if provenance.has("cpu") else None
    features = None if cpu is None else cpu.texts("features", FEATURE_PATTERN)[:_MOST_FEATURES]
    validation = Fields(manifest.validation or {}, "validation", fail, lenient=True)
    known = validation.choice("evidence", ("none", *EVIDENCE)) if validation.has("evidence") else None
    return Environment(
        tools=provenance.text_map("tools", _TOOL) if provenance.has("tools") else {},
        arch=None if cpu is None else cpu.text("arch", FEATURE_PATTERN),
        features=None if features is None else frozenset(features),
        profile=provenance.text("profile", _SHA256) if provenance.has("profile") else None,
        evidence=known,
    )
