"""Kept answers in report/, which `bertc validate` reads."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from tests.bundle_attacks.attack import Attack, Make, Scene

PATH: Final = "report/reference.npz"


def raw(change: Callable[[bytes], bytes]) -> Make:
    return lambda scene: scene.put(PATH, change((scene.bundle / PATH).read_bytes()))


def archive(entries: Callable[[], dict[str, bytes]], method: int = zipfile.ZIP_STORED) -> Make:
    """A zip file of these entries."""

    def make(scene: Scene) -> None:
        found = io.BytesIO()
        with zipfile.ZipFile(found, "w", method) as writer:
            for name, data in entries().items():
                writer.writestr(name, data)
        scene.put(PATH, found.getvalue())

    return make


def with_array(make_array: Callable[[Any], dict[str, Any]]) -> Make:
    """The benign answers with another array, for the same texts."""

    def change(data: bytes) -> bytes:
        with np.load(io.BytesIO(data)) as stored:
            arrays = {name: stored[name] for name in stored}
        found = io.BytesIO()
        np.savez(found, digest=arrays["digest"], **make_array(arrays["logits"]))
        return found.getvalue()

    return raw(change)


def npy(header: str, data: bytes = b"") -> bytes:
    """An array whose header says what it likes."""
    text = header.encode("latin1") + b" " * 64 + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def _array(shape: str, descr: str = "'<f4'", data: bytes = b"") -> bytes:
    return npy(f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}", data)


class _Runs:
    def __reduce__(self) -> tuple[Any, ...]:
        import os

        return os.system, ("touch /tmp/pickled",)


def _pickled() -> bytes:
    return _array("(1,)", "'|O'", pickle.dumps([_Runs()]))


def _overlapping(data: bytes) -> bytes:
    """A thousand names of the one array of 8 MiB."""
    del data
    content = _array(f"({1 << 21},)", data=bytes(1 << 23))
    found = io.BytesIO()
    with zipfile.ZipFile(found, "w") as writer:
        writer.writestr("x0000.npy", content)
    one = found.getvalue()
    place = one.rindex(b"PK\x01\x02")
    end = one.rindex(b"PK\x05\x06")
    entry = one[place:end]
    entries = b"".join(entry.replace(b"x0000", b"x%04d" % number) for number in range(1000))
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1000, 1000, len(entries), place, 0)
    return one[:place] + entries + tail


def _larger(data: bytes) -> bytes:
    """Entries whose sizes in the directory are 3 GiB."""
    place = data.index(b"PK\x01\x02")
    size = struct.pack("<L", 3 << 30)
    return data[: place + 20] + size + size + data[place + 28 :]


_READ: Final[dict[str, Make]] = {
    "nothing": raw(lambda _: b""),
    "no zip file": raw(lambda _: b"\x93NUMPY" + bytes(1000)),
    "cut short": raw(lambda data: data[: len(data) // 2]),
    "a bomb of zeros": archive(lambda: {"logits.npy": bytes(1 << 27)}, zipfile.ZIP_DEFLATED),
    "a bomb of bzip2": archive(lambda: {"logits.npy": bytes(1 << 25)}, zipfile.ZIP_BZIP2),
    "a bomb of xz": archive(lambda: {"logits.npy": bytes(1 << 25)}, zipfile.ZIP_LZMA),
    "a thousand names of one array": raw(_overlapping),
    "sizes of 3 GiB in its directory": raw(_larger),
    "a pickled object": archive(lambda: {"digest.npy": _pickled()}),
    "a pickle in place of an array": archive(lambda: {"digest.npy": pickle.dumps(_Runs())}),
    "an array of 2**60 numbers": archive(lambda: {"digest.npy": _array(f"({2**60},)")}),
    "an array of -1 numbers": archive(lambda: {"digest.npy": _array("(-1,)")}),
    "an array of 300 axes": archive(lambda: {"digest.npy": _array("(" + "1," * 300 + ")", data=bytes(4))}),
    "a header of 8000 brackets": archive(lambda: {"digest.npy": npy("(" * 8000)}),
    "a header that calls": archive(lambda: {"digest.npy": npy("__import__('os').system('id')")}),
    "a header of a huge power": archive(lambda: {"digest.npy": _array("(9**9**9,)")}),
    "two arrays of one name": raw(lambda _: _twice()),
    "no digest": archive(lambda: {"logits.npy": _array("(1,)", data=bytes(4))}),
    "fewer answers than texts": with_array(lambda logits: {"logits": logits[:1]}),
    "answers of another width": with_array(lambda logits: {"logits": logits[:, :1]}),
    "answers of another name": with_array(lambda logits: {"scores": logits}),
    "answers that are texts": with_array(lambda logits: {"logits": logits.astype("U32")}),
    "answers of NaN": with_array(lambda logits: {"logits": logits * np.nan}),
    "answers of no numbers": with_array(lambda logits: {"logits": logits[:0]}),
}


def _twice() -> bytes:
    import warnings

    found = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(found, "w") as writer:
        warnings.simplefilter("ignore")
        for _ in range(2):
            writer.writestr("digest.npy", _array("(1,)", data=bytes(4)))
    return found.getvalue()


ATTACKS: Final = tuple(Attack("report", name, ("validate",), make) for name, make in _READ.items())
