"""Frames between two processes, and a bundle that is served through them."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import hypothesis.extra.numpy as npst
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from targets.errors import InternalError
from targets.runtime.pipe import (
    ERROR,
    HELLO,
    MAX_FRAME,
    WANTED,
    EndOfFramesError,
    open_verified,
    pack_json,
    read_frame,
    serve,
    unpack_json,
    write_frame,
)
from targets.runtime.selftest import Tolerance, make_selftest
from tests.support.tiny_runtime import session, table, tiny_bundle

ROOT = Path(__file__).resolve().parents[3]
DTYPES = ("bool", "uint8", "int8", "int32", "int64", "float16", "float32", "float64")
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0/\\:", categories=("L", "N")), min_size=1)
ARRAYS = st.sampled_from(DTYPES).flatmap(
    lambda dtype: npst.arrays(dtype, npst.array_shapes(min_dims=0, min_side=0, max_side=4))
)
FEEDS = {
    "input_ids": np.array([[2, 5, 3], [2, 7, 3]]),
    "attention_mask": np.ones((2, 3), np.int64),
    "token_type_ids": np.zeros((2, 3), np.int64),
}


def framed(data: bytes, length: int | None = None) -> io.BytesIO:
    """Bytes as a frame, which may lie about its length."""
    return io.BytesIO(struct.pack("<Q", len(data) if length is None else length) + data)


def sent(*frames: dict[str, Any]) -> io.BytesIO:
    """A stream of frames, to be read from its beginning."""
    stream = io.BytesIO()
    for each in frames:
        write_frame(stream, each)
    stream.seek(0)
    return stream


@settings(max_examples=60)
@example({})
@given(st.dictionaries(NAMES, ARRAYS, max_size=4))
def test_what_is_written_is_read(arrays: dict[str, NDArray[Any]]) -> None:
    stream = sent(arrays, {"next": np.arange(3)})
    found = read_frame(stream)
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
    assert list(read_frame(stream)) == ["next"]
    with pytest.raises(EndOfFramesError):
        read_frame(stream)


@settings(max_examples=40)
@given(st.recursive(st.none() | st.booleans() | st.integers(-9, 9) | st.text(), st.lists))
def test_json_in_an_array(value: object) -> None:
    assert unpack_json(read_frame(sent({"it": pack_json(value)}))["it"]) == value


@settings(max_examples=40)
@given(st.data())
def test_a_stream_that_ends_inside_a_frame(data: st.DataObject) -> None:
    whole = sent({"a": np.arange(5), "b": np.zeros((0, 2))}).getvalue()
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(EndOfFramesError):
        read_frame(io.BytesIO(whole[:cut]))


def test_a_frame_may_come_in_pieces() -> None:
    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(min(7, size or 0))

    whole = sent({"a": np.arange(100)}).getvalue()
    np.testing.assert_array_equal(read_frame(Slow(whole))["a"], np.arange(100))


def test_text_on_the_stream_is_no_length() -> None:
    with pytest.raises(InternalError, match="a frame of") as caught:
        read_frame(io.BytesIO(b"Traceback (most recent call last):"))
    assert caught.value.hint == "something else wrote to this stream"
    with pytest.raises(InternalError, match=str(MAX_FRAME + 1)):
        read_frame(framed(b"", MAX_FRAME + 1))


@settings(max_examples=60)
@example(b"")
@example(b"PK\x05\x06" + bytes(17))
@example(b"\x93NUMPY")
@given(st.binary(max_size=200))
def test_garbage_in_a_frame(data: bytes) -> None:
    with pytest.raises(InternalError, match="cannot be read"):
        read_frame(framed(data))


def test_an_array_that_is_no_archive_of_arrays() -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.arange(3))
    with pytest.raises(InternalError, match="cannot be read"):
        read_frame(framed(buffer.getvalue()))


@pytest.mark.parametrize("place", range(0, 240, 8))
def test_a_damaged_frame(place: int) -> None:
    """A flipped byte is an error of one kind, or goes by where nothing reads it."""
    data = bytearray(sent({"a": np.arange(4), "b": np.arange(4)}).getvalue()[8:])
    data[place] ^= 0xFF
    with suppress(InternalError):
        assert set(read_frame(framed(bytes(data)))) <= {"a", "b"}


def test_nothing_is_unpickled() -> None:
    buffer = io.BytesIO()
    np.savez(buffer, it=np.array([{"a": 1}], dtype=object))
    with pytest.raises(InternalError, match="cannot be read"):
        read_frame(framed(buffer.getvalue()))
    with pytest.raises(ValueError, match="Object arrays"):
        write_frame(io.BytesIO(), {"it": np.array([{"a": 1}], dtype=object)})


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    values = table(2)
    with session("onnxruntime", "text-classification", values) as opened:
        golden = make_selftest(opened, ["the film", "good " * 9], Tolerance(1e-3, 1e-4))
    output = tmp_path_factory.mktemp("served") / "b"
    return tiny_bundle(output, "onnxruntime", "text-classification", values, selftest=golden).path


def test_serving(bundle: Path) -> None:
    """Batches until the stream ends, then back to the caller; a batch that cannot be run costs no other."""
    batch = {**FEEDS, WANTED: pack_json(["logits"])}
    ragged = {**batch, "attention_mask": np.ones((2, 9), np.int64)}
    sink = io.BytesIO()
    serve(partial(open_verified, str(bundle), 1), sent(batch, ragged, batch), sink)
    sink.seek(0)
    hello = unpack_json(read_frame(sink)[HELLO])
    assert hello["selftest"]["ok"]
    assert hello["output_names"] == ["logits"]
    first, refused, third = (read_frame(sink) for _ in range(3))
    assert set(first) == {"logits"}
    np.testing.assert_array_equal(first["logits"], third["logits"])
    assert set(unpack_json(refused[ERROR])) == {"type", "message", "hint"}
    with pytest.raises(EndOfFramesError):
        read_frame(sink)


def test_no_bundle(tmp_path: Path) -> None:
    sink = io.BytesIO()
    serve(partial(open_verified, str(tmp_path / "none"), 0), io.BytesIO(), sink)
    sink.seek(0)
    assert unpack_json(read_frame(sink)[ERROR])["type"] == "UsageError"


def test_what_libraries_print_goes_to_standard_error(bundle: Path) -> None:
    noisy = """
import os, sys
import targets.runtime.pipe as pipe
opened = pipe.open_verified

def loud(*arguments):
    print("from Python")
    os.write(1, b"from C\\n")
    return opened(*arguments)

pipe.open_verified = loud
sys.exit(pipe.main(sys.argv[1:]))
"""
    done = subprocess.run(
        [sys.executable, "-c", noisy, str(bundle), "1"],
        input=sent({**FEEDS, WANTED: pack_json(["logits"])}).getvalue(),
        capture_output=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers = io.BytesIO(done.stdout)
    hello = unpack_json(read_frame(answers)[HELLO])
    json.dumps(hello, allow_nan=False)
    assert read_frame(answers)["logits"].shape == (2, 2)
    assert answers.read() == b""
    assert b"from Python" in done.stderr
    assert b"from C" in done.stderr
