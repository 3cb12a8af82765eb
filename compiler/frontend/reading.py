"""Reads the small files of a checkpoint."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path, PurePosixPath
from typing import Any, Final

from targets.errors import UsageError

_MAX_JSON_BYTES: Final = 64 * 1024 * 1024


def read_json(file: Path) -> dict[str, Any]:
    """The JSON object in `file`; UsageError when it is none."""
    value = read_json_value(file)
    if not isinstance(value, dict):
        raise UsageError(f"{file.name} holds no JSON object", "copy or download the checkpoint again")
    return value


def read_json_value(file: Path) -> Any:
    """The JSON value in `file`; UsageError when it cannot be read."""
    try:
        if file.stat().st_size > _MAX_JSON_BYTES:
            raise UsageError(f"{file.name} is too large", "pass a checkpoint as save_pretrained() writes it")
        return json.loads(file.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{file.name} is not valid JSON", "copy or download the file again") from error
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UsageError(f"{file.name} cannot be read: {reason}", "check the path and its rights") from error


def write_json(value: object) -> bytes:
    """Sorted, indented UTF-8 JSON with a final newline."""
    return (json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True) + "\n").encode()


def sha256(file: Path) -> str:
    """SHA-256 of a file in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def inside(folder: Path, relative: str) -> Path:
    """The file or folder `relative` of `folder`; UsageError when it would lie outside."""
    pure = PurePosixPath(relative)
    path = folder / pure
    if pure.is_absolute() or "\\" in relative or ".." in pure.parts:
        raise UsageError(
            f"the checkpoint refers to {relative!r}, outside of its folder", "use a checkpoint you trust"
        )
    return path


def safe_name(text: str) -> str:
    """`text` as a file name of letters, digits, dot, dash and underscore; "model" when nothing is left."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip(".-_") or "model"
