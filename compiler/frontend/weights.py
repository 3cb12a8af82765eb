"""Finds and checks a checkpoint's safetensors files without loading them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np

from compiler.frontend.reading import read_json
from targets.errors import BertcError, UnsupportedError, UsageError

SINGLE_FILE: Final = "model.safetensors"
INDEX_FILE: Final = "model.safetensors.index.json"

_MAX_HEADER: Final = 100_000_000
_CHUNK_BYTES: Final = 1 << 24
# dtype: bytes of an element, and for floats the mask of the exponent's bits (all set: NaN or infinity).
_DTYPES: Final[dict[str, tuple[int, int | None]]] = {
    "F64": (8, 0x7FF0000000000000),
    "F32": (4, 0x7F800000),
    "F16": (2, 0x7C00),
    "BF16": (2, 0x7F80),
    **{name: (size, None) for name, size in (("I64", 8), ("I32", 4), ("I16", 2), ("I8", 1))},
    **{name: (size, None) for name, size in (("U64", 8), ("U32", 4), ("U16", 2), ("U8", 1), ("BOOL", 1))},
}
_PICKLED: Final = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_OTHER_FRAMEWORKS: Final = ("tf_model.h5", "flax_model.msgpack", "model.ckpt.index")


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of a safetensors file; `start` and `stop` are byte positions in that file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class WeightFiles:
    """The weight files of a checkpoint, in the order of their names.

    Attributes:
        files: the safetensors files.
        index: the index of a sharded checkpoint, else None.
        names: the names of all tensors.
        dtypes: the dtypes of the floating-point tensors, as safetensors spells them.
    """

    files: tuple[Path, ...]
    index: Path | None
    names: frozenset[str]
    dtypes: frozenset[str]


def open_weights(folder: Path, model: str) -> WeightFiles:
    """Finds the weights in `folder` and checks every byte of them.

    Args:
        folder: where config.json is.
        model: what errors call the checkpoint.

    Raises:
        UsageError: no weights, a missing shard, a truncated or corrupt file.
        UnsupportedError: pickled weights only, a quantized storage type, NaN or infinity in a tensor.
    """
    index = folder / INDEX_FILE
    if (folder / SINGLE_FILE).is_file():
        files: tuple[Path, ...] = (folder / SINGLE_FILE,)
        promised, used_index = frozenset[str](), None
    elif index.is_file():
        files, promised = _shards(index, model)
        used_index = index
    else:
        raise _no_weights(folder, model)
    tensors = [tensor for file in files for tensor in _check_file(file)]
    names = frozenset(tensor.name for tensor in tensors)
    if missing := sorted(promised - names):
        raise UsageError(
            f"{model}: {INDEX_FILE} lists {missing[0]}, which none of the shards holds",
            "copy or download the checkpoint again",
        )
    floats = frozenset(tensor.dtype for tensor in tensors if _DTYPES[tensor.dtype][1] is not None)
    return WeightFiles(files, used_index, names, floats)


def check_weight_file(file: Path) -> frozenset[str]:
    """Checks one safetensors file as `open_weights` does, and returns the names of its tensors."""
    return frozenset(tensor.name for tensor in _check_file(file))


def _shards(index: Path, model: str) -> tuple[tuple[Path, ...], frozenset[str]]:
    table = read_json(index).get("weight_map")
    if not isinstance(table, dict) or not all(isinstance(name, str) for name in table.values()):
        raise UsageError(
            f"{model}: {INDEX_FILE} has no usable weight_map", "copy or download the checkpoint again"
        )
    files = []
    for name in sorted(set(table.values())):
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise UnsupportedError(
                f"{model}: {INDEX_FILE} names {name!r}, which is no safetensors file of that folder",
                "save the checkpoint again with save_pretrained(folder, safe_serialization=True)",
            )
        file = index.parent / name
        if not file.is_file():
            raise UsageError(
                f"{model}: the shard {name}, listed in {INDEX_FILE}, is missing",
                "copy or download every shard into the folder",
            )
        files.append(file)
    if not files:
        raise UsageError(f"{model}: {INDEX_FILE} lists no shard", "copy or download the checkpoint again")
    return tuple(files), frozenset(table)


def _no_weights(folder: Path, model: str) -> BertcError:
    pickled = sorted(path.name for pattern in _PICKLED for path in folder.glob(pattern))
    pickled = [name for name in pickled if name != "training_args.bin"]
    if pickled:
        return UnsupportedError(
            f"{model} has only pickled weights ({pickled[0]}), which can run code when they are loaded",
            "convert them in a sandbox you trust: AutoModelForX.from_pretrained(FOLDER, weights_only=True)"
            ".save_pretrained(OUT, safe_serialization=True), with the Auto class of your task",
        )
    if (folder / "adapter_config.json").is_file():
        return UnsupportedError(
            f"{model} is an adapter, not a whole model",
            "merge it: PeftModel.from_pretrained(BASE, FOLDER).merge_and_unload().save_pretrained(OUT)",
        )
    for name in _OTHER_FRAMEWORKS:
        if (folder / name).is_file():
            return UnsupportedError(
                f"{model} has only weights of another framework ({name})",
                "convert them to safetensors, or export the model to .onnx and pass that file",
            )
    if found := sorted(path.relative_to(folder).as_posix() for path in folder.glob("**/*.onnx")):
        return UsageError(
            f"{model} has no {SINGLE_FILE}, but it holds {found[0]}", "pass the .onnx file itself as MODEL"
        )
    return UsageError(
        f"{model} has no weights: neither {SINGLE_FILE} nor {INDEX_FILE} is there",
        "pass a folder that save_pretrained() wrote, or a hub id",
    )


def _check_file(file: Path) -> tuple[Tensor, ...]:
    with file.open("rb") as stream:
        tensors = _header(stream, file)
        for tensor in tensors:
            mask = _DTYPES[tensor.dtype][1]
            if mask is not None and not _finite(stream, tensor, mask):
                raise UnsupportedError(
                    f"{file.name}: the tensor {tensor.name} holds NaN or infinite values",
                    "train or export the checkpoint again: its outputs would be NaN as well",
                )
    return tensors


def _corrupt(file: Path, what: str) -> UsageError:
    return UsageError(f"{file.name} {what}", "copy or download the file again")


def _header(stream: BinaryIO, file: Path) -> tuple[Tensor, ...]:
    size = file.stat().st_size
    length = int.from_bytes(stream.read(8), "little")
    if size < 8 or length > min(_MAX_HEADER, size - 8):
        raise _corrupt(file, f"is truncated or no safetensors file ({size} bytes)")
    try:
        table = json.loads(stream.read(length))
        entries = [(name, entry) for name, entry in table.items() if name != "__metadata__"]
        tensors = tuple(_tensor(name, entry, 8 + length) for name, entry in entries)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _corrupt(file, "has a header that is no safetensors header") from error
    for tensor in tensors:
        if tensor.dtype not in _DTYPES:
            raise UnsupportedError(
                f"{file.name}: the tensor {tensor.name} is stored as {tensor.dtype}",
                "save the checkpoint in float32, float16 or bfloat16",
            )
        if tensor.stop - tensor.start != math.prod(tensor.shape) * _DTYPES[tensor.dtype][0]:
            raise _corrupt(file, f"declares a wrong size for the tensor {tensor.name}")
    end = max((tensor.stop for tensor in tensors), default=8 + length)
    if size != end:
        word = "truncated" if size < end else "corrupt"
        raise _corrupt(file, f"is {word}: its header describes {end} bytes, it has {size}")
    return tensors


def _tensor(name: str, entry: dict[str, Any], base: int) -> Tensor:
    start, stop = (int(offset) for offset in entry["data_offsets"])
    shape = tuple(int(dim) for dim in entry["shape"])
    if not 0 <= start <= stop or any(dim < 0 for dim in shape):
        raise ValueError(name)
    return Tensor(name, str(entry["dtype"]), shape, base + start, base + stop)


def _finite(stream: BinaryIO, tensor: Tensor, mask: int) -> bool:
    width = _DTYPES[tensor.dtype][0]
    bits = np.dtype(f"<u{width}").type(mask)
    for chunk in _chunks(stream, tensor):
        if np.any((np.frombuffer(chunk, dtype=f"<u{width}") & bits) == bits):
            return False
    return True


def _chunks(stream: BinaryIO, tensor: Tensor) -> Iterator[bytes]:
    stream.seek(tensor.start)
    left = tensor.stop - tensor.start
    while left:
        chunk = stream.read(min(left, _CHUNK_BYTES))
        if not chunk:
            raise UsageError(f"{tensor.name} cannot be read to its end", "copy or download the file again")
        left -= len(chunk)
        yield chunk
