"""Removes userlands and QEMUs: those of older locks after a set-up, and all of them for a user."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from compiler.emulate.folders import disk_size, emulators_folder, make_emulators_folder, writing
from compiler.emulate.locks import alone, alone_at_once
from compiler.emulate.userland import ARCHES, RECORD
from compiler.progress import Clock
from targets.bundle.atomic_dir import remove_stale

_TRACES: Final = r"(?:\.lock|\.(?:tmp|old)-[0-9]+-[0-9a-f]+)?"
_QEMU: Final = r"qemu-[0-9].*?"


def remove_older(names: Iterable[str], kept: Iterable[Path], clock: Clock) -> None:
    """Removes userlands of other locks and QEMUs of other versions, those from which a program runs excepted.

    Args:
        names: of userlands.
        kept: folders to keep.
        clock: is told what cannot be removed.
    """
    for folder in {*_folders(_userlands(names)), *_folders(_QEMU)} - {*kept}:
        try:
            with alone_at_once(folder) as free:
                if free:
                    _remove(folder)
        except OSError as error:
            clock.progress.warn(
                f"{folder} cannot be removed and goes on using disk space: {error.strerror or error}"
            )


def remove(name: str, clock: Clock) -> int:
    """Removes every userland of a name, whatever lock it was made of.

    Args:
        name: of the userland.
        clock: told what is waited for.

    Returns:
        Bytes of the disk that are free now.

    Raises:
        UsageError: a program runs from one, or the file system refuses.
        IntegrityError: others can write to the folder of emulators.
    """
    return _removed(_userlands([name]), clock)


def remove_qemu(clock: Clock) -> int:
    """Removes every QEMU of the cache folder where there is no userland any more; as `remove`."""
    return 0 if _folders(_userlands(ARCHES)) else _removed(_QEMU, clock)


def _removed(pattern: str, clock: Clock) -> int:
    place = emulators_folder()
    if not place.is_dir():
        return 0
    before = disk_size(make_emulators_folder())
    for folder in _folders(pattern):
        with writing(folder), alone(folder, clock):
            _remove(folder)
    return max(before - disk_size(place), 0)


def _remove(folder: Path) -> None:
    remove_stale(folder)
    if folder.is_symlink():
        folder.unlink()
    elif folder.is_dir():
        # First, so that what is left of an interrupted removal is not taken for a userland.
        (folder / RECORD).unlink(missing_ok=True)
        shutil.rmtree(folder)


def _userlands(names: Iterable[str]) -> str:
    return rf"(?:{'|'.join(map(re.escape, names))})-[0-9a-f]{{12}}"


def _folders(pattern: str) -> list[Path]:
    """Folders whose names match, those of which only a lock or something half made is there too."""
    place = emulators_folder()
    if not place.is_dir():
        return []
    matches = (re.fullmatch(rf"\.?({pattern}){_TRACES}", path.name) for path in place.iterdir())
    return sorted({place / match[1] for match in matches if match is not None})
