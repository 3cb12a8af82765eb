from __future__ import annotations

import io
import zipfile
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from compiler.validate import load_predictions, save_predictions
from targets.errors import IntegrityError, InternalError

DIGEST = "ab" * 32
SAMPLE: dict[str, NDArray[Any]] = {
    "logits": np.arange(6, dtype=np.float32).reshape(3, 2),
    "lengths": np.array([1, 2], dtype=np.int64),
}


@given(
    hnp.arrays(
        st.sampled_from([np.float32, np.float64, np.int32, np.int64, np.bool_]), hnp.array_shapes(min_side=0)
    )
)
def test_arrays_come_back_as_they_were(array: NDArray[Any]) -> None:
    array = np.nan_to_num(array)
    loaded = load_predictions(save_predictions(DIGEST, {"a": array}), DIGEST)
    assert loaded is not None
    assert list(loaded) == ["a"]
    assert loaded["a"].dtype == array.dtype
    np.testing.assert_array_equal(loaded["a"], array)


def test_the_same_predictions_are_the_same_bytes() -> None:
    turned = dict(reversed(list(SAMPLE.items())))
    assert save_predictions(DIGEST, SAMPLE) == save_predictions(DIGEST, turned)
    strided = {**SAMPLE, "logits": np.asfortranarray(SAMPLE["logits"])}
    assert save_predictions(DIGEST, SAMPLE) == save_predictions(DIGEST, strided)
    with np.load(io.BytesIO(save_predictions(DIGEST, SAMPLE)), allow_pickle=False) as archive:
        assert set(archive.files) == {"digest", "logits", "lengths"}


def test_other_examples_give_none() -> None:
    assert load_predictions(save_predictions(DIGEST, SAMPLE), "cd" * 32) is None


@given(st.data())
def test_damage_is_seen(data: st.DataObject) -> None:
    whole = save_predictions(DIGEST, SAMPLE)
    if data.draw(st.booleans()):
        damaged = whole[: data.draw(st.integers(0, len(whole) - 1))]
    else:
        place = data.draw(st.integers(0, len(whole) - 1))
        damaged = whole[:place] + bytes([whole[place] ^ data.draw(st.integers(1, 255))]) + whole[place + 1 :]
    try:
        loaded = load_predictions(damaged, DIGEST)
    except IntegrityError:
        return
    # A byte that carries nothing, such as the date of an entry.
    assert loaded is None or all(np.array_equal(loaded[name], SAMPLE[name]) for name in loaded)


@pytest.mark.parametrize(
    "write",
    [
        lambda file: np.savez_compressed(file, digest=np.array(DIGEST), a=np.zeros(9)),
        lambda file: np.savez(file, digest=np.array(DIGEST), a=np.array([{}], dtype=object)),
        lambda file: np.savez(file, digest=np.array(DIGEST), a=np.array(["text"])),
        lambda file: np.savez(file, a=np.zeros(9)),
        lambda file: np.save(file, np.zeros(9)),
    ],
    ids=["compressed", "pickled", "text", "no digest", "not an archive"],
)
def test_other_files_are_refused(write: Any) -> None:
    file = io.BytesIO()
    write(file)
    with pytest.raises(IntegrityError):
        load_predictions(file.getvalue(), DIGEST)


def test_a_header_that_promises_too_much_allocates_nothing() -> None:
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }"
    header += b" " * (117 - len(header)) + b"\n"
    content = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.npy", content)
    with pytest.raises(IntegrityError, match="size"):
        load_predictions(file.getvalue(), DIGEST)


def test_texts_are_not_stored() -> None:
    with pytest.raises(InternalError):
        save_predictions(DIGEST, {"a": np.array(["text"])})
    with pytest.raises(InternalError):
        save_predictions(DIGEST, {"digest": np.zeros(1)})


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_is_damage(value: float) -> None:
    with pytest.raises(IntegrityError, match="a holds NaN or infinity"):
        load_predictions(save_predictions(DIGEST, {"a": np.array([0, value], np.float32)}), DIGEST)
