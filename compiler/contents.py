"""The files of a bundle, from what a compile has made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from compiler.clients import client_files
from compiler.frontend.checkpoint import Checkpoint
from compiler.lower.artifact import Artifact
from compiler.texts import selftest_items
from targets.bundle.schema import Manifest, Role
from targets.runtime.items import TextItem
from targets.runtime.selftest import Tolerance, make_selftest
from targets.runtime.session import Session

_RELATIVE_TOLERANCE: Final = 0.02
_LEAST_TOLERANCE: Final = 1e-4
_LICENSES: Final = ("LICENSE", "LICENSE.txt", "LICENSE.md", "NOTICE", "NOTICE.txt")

Files = dict[str, tuple[Role, bytes | Path]]


def bundle_files(
    checkpoint: Checkpoint,
    artifact: Artifact,
    selftest: bytes,
    report: Mapping[str, bytes],
    manifest: Manifest,
) -> Files:
    """Role and content by path in the bundle.

    Args:
        checkpoint: whose tokenizer and license ship.
        artifact: the model.
        selftest: of `golden_outputs`.
        report: content by name in report/.
        manifest: of the bundle.
    """
    files: Files = {"selftest.json": ("selftest", selftest)}
    files |= {f"model/{path}": ("model", data) for path, data in client_files(checkpoint, manifest).items()}
    files |= {path: ("model", data) for path, data in artifact.files.items()}
    files |= {f"tokenizer/{name}": ("tokenizer", data) for name, data in checkpoint.tokenizer.files.items()}
    files |= {f"report/{name}": ("report", data) for name, data in report.items()}
    folder = checkpoint.path if checkpoint.path.is_dir() else checkpoint.path.parent
    present = [name for name in _LICENSES if (folder / name).is_file()]
    return files | {f"licenses/{name}": ("license", folder / name) for name in present}


def golden_outputs(session: Session, others: Sequence[Session] = ()) -> bytes:
    """selftest.json: golden texts, and a tolerance that follows the size of the outputs.

    Args:
        session: of the very artifact that ships.
        others: of its other forms, which the device may take: as far as they lie from it is allowed too.
    """
    items = selftest_items(session.task)
    outputs = _outputs(session, items)
    scale = max(float(np.abs(array).max(initial=0.0)) for array in outputs)
    apart = [
        float(np.abs(one - two).max(initial=0.0))
        for other in others
        for one, two in zip(outputs, _outputs(other, items), strict=True)
    ]
    worst = max(_RELATIVE_TOLERANCE * scale, _LEAST_TOLERANCE) + max(apart, default=0.0)
    tolerance = Tolerance(max_abs=float(f"{worst:.3g}"), mean_abs=float(f"{worst / 4:.3g}"))
    return make_selftest(session, items, tolerance)


def _outputs(session: Session, items: Sequence[TextItem]) -> list[Any]:
    return [array for found in session.infer(items) for array in found.windows[0].outputs.values()]
