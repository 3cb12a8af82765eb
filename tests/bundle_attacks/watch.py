"""Which files of a folder are opened or changed, by whomever: the kernel says so, native code included."""

from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path
from types import TracebackType
from typing import Final

_OPEN, _MODIFY, _ATTRIB, _CREATE, _DELETE, _MOVED = 0x20, 0x2, 0x4, 0x100, 0x200, 0xC0
_EVENTS: Final = _OPEN | _MODIFY | _ATTRIB | _CREATE | _DELETE | _MOVED
_READ: Final = 0x1 | _MODIFY | _ATTRIB
_HEADER: Final = struct.Struct("iIII")


class Watch:
    """inotify over a folder: each of its files and folders by itself, so that other names of them count."""

    def __init__(self, folder: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor: int = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._descriptor < 0:
            raise OSError(ctypes.get_errno(), "inotify is not there")
        self._names: dict[int, str] = {}
        for path in (folder, *folder.rglob("*")):
            # A hard link is the bundle's own file as well: it may be opened, to see that it is one.
            events = _READ if path.is_file() and path.stat().st_nlink > 1 else _EVENTS
            found = libc.inotify_add_watch(self._descriptor, os.fsencode(path), events)
            if found < 0:
                raise OSError(ctypes.get_errno(), "cannot watch", str(path))
            self._names[found] = str(path.relative_to(folder.parent))

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)

    def names(self) -> tuple[str, ...]:
        """What was opened or changed so far, sorted."""
        found: set[str] = set()
        while True:
            try:
                data = os.read(self._descriptor, 1 << 16)
            except BlockingIOError:
                return tuple(sorted(found))
            place = 0
            while place < len(data):
                number, _, _, size = _HEADER.unpack_from(data, place)
                place += _HEADER.size
                name = data[place : place + size].rstrip(b"\0").decode("utf-8", "backslashreplace")
                place += size
                found.add(f"{self._names.get(number, '?')}/{name}".rstrip("/"))
