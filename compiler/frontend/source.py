"""Finds out what MODEL is: a folder, an .onnx file, or a hub id to download."""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

from compiler.frontend.reading import safe_name
from targets.errors import BertcError, UnsupportedError, UsageError

SourceKind: TypeAlias = Literal["folder", "hub", "onnx"]

# Pickled weights are never downloaded, nor are exports for other tools.
HUB_PATTERNS: Final = ("*.json", "*.safetensors", "*.model", "vocab.txt", "merges.txt", "README.md")
HUB_IGNORED: Final = ("onnx/*", "openvino/*", "coreml/*", "checkpoint-*/*", "runs/*")

HUB_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}(/[A-Za-z0-9][A-Za-z0-9._-]{0,95})?")
_GENERIC_STEMS: Final = frozenset({"model", "onnx", "encoder"})


@dataclass(frozen=True, slots=True)
class Source:
    """Where a checkpoint lies.

    Attributes:
        kind: "folder", "hub" (downloaded to a folder) or "onnx".
        path: the folder, or the .onnx file.
        name: a short name of letters, digits, dot, dash and underscore.
        origin: what provenance records: hub id or base name, never an absolute path.
        commit: the commit of a hub snapshot, else None.
    """

    kind: SourceKind
    path: Path
    name: str
    origin: str
    commit: str | None = None


def resolve_source(model: str | Path, revision: str | None = None) -> Source:
    """Resolves MODEL, downloading it from the hub when it is no path.

    Args:
        model: a folder, an .onnx file, or a hub id.
        revision: branch, tag or commit of a hub id.

    Raises:
        UsageError: no such path and no hub id, or the hub or the repository cannot be reached.
        UnsupportedError: a single file that is no .onnx file.
    """
    text = str(model)
    path = Path(os.path.expanduser(model))
    if text.strip() and _exists(path):
        return _local(path)
    if isinstance(model, Path) or HUB_ID.fullmatch(text) is None or path.suffix == ".onnx":
        raise _not_found(text, path)
    return _download(text, revision)


def nearest_folders(path: Path) -> list[str]:
    """Folders and .onnx files beside `path` whose names are like its own."""
    parent = path.parent
    try:
        beside = [entry.name for entry in parent.iterdir() if entry.is_dir() or entry.suffix == ".onnx"]
    except OSError:
        return []
    near = difflib.get_close_matches(path.name, sorted(beside), n=3, cutoff=0.6)
    return [str(parent / name) for name in near]


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that no file system takes
        return False


def _local(path: Path) -> Source:
    if path.is_dir():
        name = path.resolve().name
        return Source("folder", path, safe_name(name), name)
    if path.suffix == ".onnx" and path.is_file():
        return Source("onnx", path, safe_name(_onnx_name(path)), path.name)
    if path.suffix in (".safetensors", ".json", ".bin", ".txt"):
        raise UsageError(f"{path.name} is a single file of a checkpoint", f"Pass its folder: {path.parent}")
    raise UnsupportedError(
        f"{path.name} is neither a model folder nor an .onnx file",
        "pass a Hugging Face folder, a hub id or an .onnx file",
    )


def _onnx_name(path: Path) -> str:
    resolved = path.resolve()
    for name in (resolved.stem, resolved.parent.name, resolved.parent.parent.name):
        if name and name.lower() not in _GENERIC_STEMS:
            return name
    return resolved.stem


def _not_found(text: str, path: Path) -> UsageError:
    near = nearest_folders(path)
    hint = f"did you mean {' or '.join(near)}?" if near else "pass a model folder, an .onnx file or a hub id"
    return UsageError(f"no model at {text!r}: there is no such path", hint)


def _download(hub_id: str, revision: str | None) -> Source:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        folder = snapshot_download(
            hub_id,
            revision=revision,
            allow_patterns=list(HUB_PATTERNS),
            ignore_patterns=list(HUB_IGNORED),
        )
    except (OSError, ValueError, HfHubHTTPError) as error:
        raise _hub_error(hub_id, revision, error) from error
    path = Path(folder)
    return Source("hub", path, safe_name(hub_id.rsplit("/", 1)[-1]), hub_id, path.name)


def _hub_error(hub_id: str, revision: str | None, error: Exception) -> BertcError:
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    near = nearest_folders(Path(hub_id))
    local = f"did you mean the folder {' or '.join(near)}?" if near else "a local model folder works as well"
    if isinstance(error, GatedRepoError):
        return UsageError(
            f"the hub repository {hub_id} is gated", "accept its terms on the hub and run `hf auth login`"
        )
    if isinstance(error, RepositoryNotFoundError):
        return UsageError(f"{hub_id!r} is neither a path nor a repository of the hub", local)
    if isinstance(error, RevisionNotFoundError):
        return UsageError(f"{hub_id} has no revision {revision!r}", "pass a branch, a tag or a commit")
    return UsageError(
        f"there is no folder {hub_id!r}, and the hub cannot be reached to look for {hub_id}",
        f"{local.rstrip('?')}; for the hub, connect and unset HF_HUB_OFFLINE",
    )
