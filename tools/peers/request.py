"""What a maker is asked for: needs numpy alone, because it is read in other environments."""

from __future__ import annotations

import importlib.metadata
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Feeds = dict[str, NDArray[np.int64]]

VERSIONS = "versions.json"


@dataclass(frozen=True, slots=True)
class Request:
    """One model to make.

    Attributes:
        model: the ONNX file or the checkpoint's folder that it is made from.
        feeds: file of the calibration feeds; None for a model that needs none.
        output: folder that receives the model, which is there and empty.
        options: of the recipe and its variant.
    """

    model: Path
    feeds: Path | None
    output: Path
    options: dict[str, Any]

    def write(self, path: Path) -> None:
        """Writes the request as JSON."""
        record = {
            "model": str(self.model),
            "feeds": None if self.feeds is None else str(self.feeds),
            "output": str(self.output),
            "options": self.options,
        }
        path.write_text(json.dumps(record), encoding="utf-8")

    def calibration(self) -> list[Feeds]:
        """The calibration feeds, one text each."""
        if self.feeds is None:
            raise SystemExit("this recipe needs calibration feeds")
        return load_feeds(self.feeds)


def requested() -> Request:
    """The request whose file is the first argument of the process."""
    record = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    feeds = record["feeds"]
    return Request(
        Path(record["model"]),
        None if feeds is None else Path(feeds),
        Path(record["output"]),
        record["options"],
    )


def save_feeds(path: Path, feeds: Sequence[Feeds]) -> None:
    """Writes feeds as one .npz file of arrays INDEX/INPUT."""
    arrays: dict[str, Any] = {
        f"{i}/{name}": array for i, each in enumerate(feeds) for name, array in each.items()
    }
    np.savez(path, **arrays)


def load_feeds(path: Path) -> list[Feeds]:
    """Reads what `save_feeds` wrote, in its order."""
    found: dict[int, Feeds] = {}
    with np.load(path, allow_pickle=False) as arrays:
        for key in arrays.files:
            index, name = key.split("/", 1)
            found.setdefault(int(index), {})[name] = arrays[key]
    return [found[index] for index in sorted(found)]


def record_versions(output: Path, packages: Sequence[str]) -> None:
    """Leaves the versions of this environment's packages beside the model."""
    versions = {name: importlib.metadata.version(name) for name in packages}
    (output / VERSIONS).write_text(json.dumps(versions), encoding="utf-8")
