"""What a developer of a model wants to see and a device does not: NAME.debug/."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from compiler.lower.artifact import Census
from compiler.quantize.mixed import Choice
from compiler.quantize.quantizer import Quantized
from targets.bundle.atomic_dir import remove_stale, staged_directory
from targets.bundle.output import write_file
from targets.bundle.strict_json import canonical_json
from targets.errors import UsageError


@contextmanager
def debug_folder(
    bundle: Path, quantized: Quantized, census: Census, choice: Choice | None = None, *, wanted: bool
) -> Iterator[None]:
    """Write every parameter and decision of a plan beside the bundle that is written inside.

    The folder, named as the bundle with `.debug` for `.bundle`, appears only if the bundle does.

    Raises:
        UsageError: it cannot be written.
    """
    if not wanted:
        yield
        return
    folder = _path(bundle)
    try:
        with staged_directory(folder, replace=True) as staging:
            record = canonical_json(_record(quantized, census, choice), indent=2)
            write_file(staging / "quantization.json", [record])
            yield
    except OSError as error:
        raise _cannot_write(folder, error) from error


def check_debug(bundle: Path, *, force: bool, wanted: bool) -> None:
    """Refuse to replace what is there, unless `force`.

    What killed runs left beside it is removed, whether a folder is wanted or not.

    Raises:
        UsageError: something is there, and a folder is wanted.
    """
    folder = _path(bundle)
    try:
        remove_stale(folder)
    except OSError as error:
        raise _cannot_write(folder, error) from error
    if not wanted:
        return
    if os.path.lexists(folder) and (not force or folder.is_symlink() or not folder.is_dir()):
        raise UsageError(f"{folder} exists already", "remove it, or pass --force to replace a folder")


def _path(bundle: Path) -> Path:
    return bundle.with_suffix(".debug")


def _cannot_write(folder: Path, error: OSError) -> UsageError:
    return UsageError(
        f"cannot write {folder}: {error.strerror or error}", "pass another -o, or leave out --keep-debug"
    )


def _record(quantized: Quantized, census: Census, choice: Choice | None) -> dict[str, Any]:
    plan = quantized.plan
    searched = {} if choice is None else {"search": plan.scheme.get("search"), "ranking": choice.to_json()}
    return {
        **searched,
        "linears": {
            name: {
                "role": each.role,
                "compute": each.decision.compute,
                "reason": each.decision.reason,
                "input": None if each.input is None else each.input.to_json(),
            }
            for name, each in plan.linears.items()
        },
        "attentions": {
            name: {"role": each.role, "compute": each.decision.compute, "reason": each.decision.reason}
            for name, each in plan.attentions.items()
        },
        "smoothing": [asdict(each) for each in quantized.smoothing],
        "placements": [asdict(each) for each in census.placements],
    }
