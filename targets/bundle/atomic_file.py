"""A file that appears complete or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO, Final

from targets.bundle.atomic_dir import remove_stale, sibling_prefix, sync_directory
from targets.temporary import held

_FLAGS: Final = os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def staged_file(
    output: Path, *, replace: bool, beside: Path | None = None, mode: int = 0o666
) -> Iterator[IO[bytes]]:
    """Give a new sibling file to write, and rename it to `output` when the block ends without an exception.

    The sibling is named `.NAME.tmp-<pid>-<random>`, and is synced before it is renamed. Whatever ends the
    block otherwise removes it; what killed processes left is removed first.

    Args:
        output: the file to make; its folder is there.
        replace: whether a file that is there already is replaced, in one step.
        beside: what the new file stands beside until then, on the same file system; None for `output`.
        mode: permissions of the new file, less the process's umask.

    Raises:
        OSError: the file system refuses, or `output` is there and `replace` is false.
    """
    place = output if beside is None else beside
    remove_stale(place)
    with held(place.parent, sibling_prefix(place), partial(_make, mode=mode)) as staging:
        with os.fdopen(os.open(staging, _FLAGS), "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        if replace:
            staging.replace(output)
        else:
            _publish_new(staging, output)
    with suppress(OSError):
        sync_directory(output.parent)


def _make(path: Path, mode: int) -> None:
    os.close(os.open(path, _FLAGS | os.O_CREAT | os.O_EXCL, mode))


def _publish_new(staging: Path, output: Path) -> None:
    """Give the file its name in one step that fails where the name is taken."""
    try:
        os.link(staging, output, follow_symlinks=False)
    except FileExistsError:
        raise
    except OSError:
        # File systems without hard links, such as FAT: the check and the renaming are two steps.
        if os.path.lexists(output):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(output)) from None
        staging.rename(output)
        return
    staging.unlink()
