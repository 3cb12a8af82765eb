"""numpy's linear algebra, whose results must not depend on how many cores a machine has."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

_THREADS: Final = (
    ("scipy_openblas_set_num_threads64_", "scipy_openblas_get_num_threads64_"),
    ("scipy_openblas_set_num_threads", "scipy_openblas_get_num_threads"),
    ("openblas_set_num_threads64_", "openblas_get_num_threads64_"),
    ("openblas_set_num_threads", "openblas_get_num_threads"),
    ("MKL_Set_Num_Threads", "MKL_Get_Max_Threads"),
)
"""How the libraries that numpy is built on set and tell their threads."""


@contextmanager
def one_thread(warn: Callable[[str], None]) -> Iterator[None]:
    """Within, numpy's BLAS and LAPACK compute on one thread.

    Blocked factorizations (`inv`, `cholesky`, `eigh`) and some products add up in another order on two
    threads than on one, so that weights would round otherwise on a machine with other cores. Little is lost:
    the matrices are small, and threads that wait for each other take the runtime's cores.

    Args:
        warn: told where the library is not known, and what follows.
    """
    found = _library()
    if found is None:
        warn(
            "numpy is built on a library whose threads cannot be set: "
            "on a machine with another number of cores the content digest may differ"
        )
        yield
        return
    put, get = found
    before = get()
    put(1)
    try:
        yield
    finally:
        put(before)


def _library() -> tuple[Callable[[int], object], Callable[[], int]] | None:
    from numpy.linalg import _umath_linalg

    library = ctypes.CDLL(_umath_linalg.__file__)
    for put, get in _THREADS:
        if hasattr(library, put) and hasattr(library, get):
            return getattr(library, put), getattr(library, get)
    return None
