"""Engines that this device has built, in the user's own cache folder."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from targets.bundle.strict_json import canonical_json, parse_json
from targets.errors import BertcError, IntegrityError
from targets.fields import Fields
from targets.gpu import Gpu
from targets.runtime.cache import cache_folder, forget_oldest, read_own, write_own
from targets.spec import PRECISIONS, Precision

if TYPE_CHECKING:
    from targets.bundle.reader import Bundle

KEPT: Final = 16
_MAX_RECORD: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Place:
    """Where engines of a bundle are kept, and for what they hold.

    Attributes:
        stem: path without suffix, named by everything that an engine depends on: the graphs' hashes,
            TensorRT's version, the GPU and its driver, and the flags of the build.
    """

    stem: Path

    @property
    def engine(self) -> Path:
        """The engine's file."""
        return self.stem.with_suffix(".engine")

    @property
    def record(self) -> Path:
        """What is known of it, JSON."""
        return self.stem.with_suffix(".json")


@dataclass(frozen=True, slots=True)
class VariantRecord:
    """One variant's build.

    Attributes:
        precision: of its products.
        build_s: seconds that the build took.
        passed: whether the bundle's self-test passed on it.
        p50_ms: median of a run of the typical shape; None where it was not timed.
    """

    precision: Precision
    build_s: float
    passed: bool
    p50_ms: float | None


@dataclass(frozen=True, slots=True)
class Stored:
    """What was built and kept.

    Attributes:
        chosen: precision of the engine that is kept.
        sha256: of its bytes.
        variants: all that were tried.
    """

    chosen: Precision
    sha256: str
    variants: tuple[VariantRecord, ...]


def place_of(bundle: Bundle, version: str, gpu: Gpu, driver: str, *, version_compatible: bool) -> Place:
    """Where the engines of a bundle are kept for a version of TensorRT, a GPU and a driver."""
    record = bundle.manifest.engine
    graphs = {each.path: each.sha256 for each in bundle.manifest.files if each.path.endswith(".onnx")}
    known = {
        "graphs": graphs,
        "shapes": None if record is None else asdict(record.shapes),
        "workspace_mb": None if record is None else record.workspace_mb,
        "tensorrt": version,
        "gpu": [gpu.name, gpu.compute_capability],
        "driver": driver,
        "version_compatible": version_compatible,
    }
    digest = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()
    return Place(cache_folder("tensorrt") / f"{bundle.id[:16]}-{digest[:32]}")


def keep(place: Place, engine: bytes, chosen: Precision, variants: tuple[VariantRecord, ...]) -> Stored:
    """Keep an engine and its record; the record comes last, so that it never speaks of half an engine.

    Raises:
        OSError: the cache folder cannot be written.
    """
    stored = Stored(chosen, hashlib.sha256(engine).hexdigest(), variants)
    write_own(place.engine, engine)
    write_own(place.record, canonical_json({"version": 1, **asdict(stored)}))
    forget_oldest(place.stem.parent, ".engine", KEPT)
    return stored


def find(place: Place) -> Stored | None:
    """The record of an engine that is there; None if none is, or if it is not this version's."""
    data = read_own(place.record)
    if data is None or not place.engine.exists():
        return None
    try:
        document: dict[str, Any] = parse_json(data, place.record.name, _MAX_RECORD)
        return _parsed(document)
    except IntegrityError:
        return None


def read(place: Place, stored: Stored) -> bytes:
    """The engine's bytes, their hash compared.

    Raises:
        IntegrityError: it is not the engine that was kept.
    """
    data = read_own(place.engine)
    if data is None or hashlib.sha256(data).hexdigest() != stored.sha256:
        raise IntegrityError(
            f"{place.engine.name} is not the engine that was built", "build it again: `bertc build --force`"
        )
    return data


def _parsed(document: dict[str, Any]) -> Stored:
    fields = Fields(document, "", _damaged)
    fields.integer("version", 1, 1)
    stored = Stored(
        fields.choice("chosen", PRECISIONS),
        fields.text("sha256"),
        tuple(_variant(each) for each in fields.tables("variants")),
    )
    fields.close()
    return stored


def _variant(fields: Fields) -> VariantRecord:
    variant = VariantRecord(
        fields.choice("precision", PRECISIONS),
        fields.real("build_s"),
        fields.flag("passed"),
        fields.real_or_null("p50_ms"),
    )
    fields.close()
    return variant


def _damaged(problem: str) -> BertcError:
    return IntegrityError(f"the record of an engine is damaged: {problem}", "build it again")
