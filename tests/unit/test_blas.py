"""Linear algebra that does not depend on the number of cores."""

from __future__ import annotations

import numpy as np
import pytest

from compiler import blas
from compiler.blas import one_thread


def matrix() -> np.ndarray:
    rows = np.random.default_rng(0).standard_normal((512, 256))
    return np.asarray(rows.T @ rows)


def test_factorizations_are_the_same_whatever_there_was_before() -> None:
    library = blas._library()
    if library is None:
        pytest.skip("numpy's BLAS is none whose threads can be set")
    put, get = library
    before = get()
    found = []
    try:
        for threads in (1, 2, 4):
            put(threads)
            wanted = get()
            with one_thread(pytest.fail):
                assert get() == 1
                found.append(np.linalg.cholesky(np.linalg.inv(matrix())))
            assert get() == wanted
    finally:
        put(before)
    for each in found[1:]:
        np.testing.assert_array_equal(each, found[0])


def test_the_threads_come_back_after_an_error() -> None:
    library = blas._library()
    if library is None:
        pytest.skip("numpy's BLAS is none whose threads can be set")
    before = library[1]()
    with pytest.raises(RuntimeError), one_thread(pytest.fail):
        raise RuntimeError
    assert library[1]() == before


def test_an_unknown_library_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blas, "_THREADS", (("no_such_function", "nor_this"),))
    warnings: list[str] = []
    with one_thread(warnings.append):
        np.linalg.inv(matrix())
    (warning,) = warnings
    assert "another number of cores" in warning
