"""A tuning record beside the bundle: whatever it holds, the bundle runs as if there were none."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from typing import Any, Final

from tests.bundle_attacks.attack import Attack, Make, Scene

_SETTINGS: Final = {
    "threads": 1,
    "streams": 1,
    "max_batch": 1,
    "max_tokens": 64,
    "run_tokens": 16,
    "shapes": {"lengths": [], "when": "lazy", "kept": 8, "memory_mb": 0},
}
_COUNTS: Final = ("texts", "median_tokens", "p95_tokens", "longest_tokens")
_FIGURES: Final = {"value": 1.0, "ratio": 1.0, "low": 1.0, "high": 1.0, "rounds": 1}


def record(edit: Callable[[dict[str, Any]], object] = lambda _: None) -> Make:
    """A record of this bundle on this machine, changed."""

    def make(scene: Scene) -> None:
        from dataclasses import asdict

        from targets.bundle.device import backend_version
        from targets.runtime.tuning import describe_machine

        tuned = {
            "settings": _SETTINGS,
            "figures": _FIGURES,
            "default": _SETTINGS,
            "default_figures": _FIGURES,
            "workload": {"source": "given", **dict.fromkeys(_COUNTS, 1)},
            "trials": [],
            "race": None,
        }
        document: dict[str, Any] = {
            "format": "bertc-tuning",
            "version": 1,
            "bundle_id": hashlib.sha256((scene.bundle / "bundle.json").read_bytes()).hexdigest(),
            "backend": "onnxruntime",
            "backend_version": backend_version("onnxruntime"),
            "machine": asdict(describe_machine()),
            "objectives": json.loads(json.dumps({"latency": tuned, "throughput": tuned})),
        }
        edit(document)
        scene.record.write_text(json.dumps(document))

    return make


def settings(**changes: object) -> Make:
    return record(lambda d: d["objectives"]["latency"]["settings"].update(changes))


def shapes(**changes: object) -> Make:
    return record(lambda d: d["objectives"]["latency"]["settings"]["shapes"].update(changes))


def _linked(scene: Scene) -> None:
    scene.record.symlink_to(scene.outside / "bundle.json")


_REFUSED: Final[dict[str, Make]] = {
    "no JSON": lambda scene: scene.record.write_bytes(b"\xff"),
    "100 MiB": lambda scene: scene.record.write_bytes(b" " * 100 * (1 << 20)),
    "a symbolic link": _linked,
    "a fifo": lambda scene: os.mkfifo(scene.record),
    "a folder": lambda scene: scene.record.mkdir(),
    "2**40 threads": settings(threads=2**40),
    "2000 streams": settings(streams=2000),
    "a batch of 2**40": settings(max_batch=2**40),
    "65 lengths": shapes(lengths=list(range(1, 66))),
    "lengths that descend": shapes(lengths=[64, 16]),
    "2**40 MiB for shapes": shapes(memory_mb=2**40),
    "a machine of terminal escapes": record(lambda d: d["machine"].update(cpu_model="\x1b[2J")),
    "a setting that is a library": settings(plugin="/tmp/x.so"),
}
_OTHERS: Final[dict[str, Make]] = {
    "more threads than cores": settings(threads=1024),
    "another bundle": record(lambda d: d.update(bundle_id="0" * 64)),
    "another machine": record(lambda d: d["machine"].update(cpu_model="<b>other</b>")),
    "the largest batch": settings(max_batch=1024, max_tokens=1 << 20),
}

ATTACKS: Final = (
    *(Attack("tuning", name, ("tune --show",), make) for name, make in _REFUSED.items()),
    *(
        Attack(
            "tuning",
            f"{name}, while the bundle runs",
            ("run",),
            make,
            codes=(0,),
            reason="a record that cannot be used is left aside",
        )
        for name, make in {**_REFUSED, **_OTHERS}.items()
    ),
)
