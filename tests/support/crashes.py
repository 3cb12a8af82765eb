"""`python -m tests.support.crashes MODEL DATA WORK KILLS SEED`: compiles that are killed, or fill a disk.

What is left of each, as JSON. In one process, which imports everything once.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.forked import Place
from tests.support.full_disks import Disk, limited, on_disk, refusal
from tests.support.kills import Killer

OPENVINO = ("--runtime", "openvino")
DEBUG = ("--runtime", "onnxruntime", "--keep-debug")
DISKS = {
    "output": Disk("out", 60),
    "output with debug": Disk("out", 60, DEBUG),
    "debug": Disk("out", 4, DEBUG),
    "output with a bundle": Disk("out", 240, (*DEBUG, "--force"), older="onnxruntime"),
    "temporary": Disk("temporary", 40),
    "temporary, at once": Disk("temporary", 16),
    "temporary of openvino": Disk("temporary", 40, OPENVINO),
    "cache": Disk("cache", 4),
}
LIMITS = {"debug": 2_000, "output with debug": 60_000}
"""Bytes of the largest file."""


def disks(killer: Killer, work: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    refused = refusal(work / "disk")
    for name, disk in DISKS.items():
        if refused is None:
            place = Place(work / f"disk of {name}").make()
            yield f"disk: {name}", on_disk(disk, place, killer)
        else:
            yield f"disk: {name}", {"refused": refused}
    for name, size in LIMITS.items():
        place = Place(work / f"limit of {name}").make()
        yield f"limit: {name}", limited(size, place, (*killer.argv, *DEBUG))


def main(model: str, data: str, work: str, kills: str, seed: str) -> None:
    killer = Killer(Path(model), Path(data), Path(work))
    rows = [row.to_json() for row in killer.kill(int(kills), random.Random(int(seed)))]
    print(json.dumps({"kills": rows, "disks": dict(disks(killer, Path(work)))}, indent=1))


if __name__ == "__main__":
    main(*sys.argv[1:])
