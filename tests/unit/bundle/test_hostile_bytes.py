"""Whatever bytes a reader is given, it refuses them as it must, or they are what they say."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.hostile import READERS, Reader, temporary

SLOW = ("archive", "folder", "tokenizer")


@pytest.fixture(scope="module")
def reader() -> Iterator[Callable[[str], Reader]]:
    made = {}

    def get(name: str) -> Reader:
        if name not in made:
            made[name] = temporary(name)
        return made[name][0]

    yield get
    for _, folder in made.values():
        folder.cleanup()


@pytest.mark.parametrize("name", READERS)
def test_seeds_are_accepted(name: str, reader: Callable[[str], Reader]) -> None:
    found = reader(name)
    assert found.read(found.seeds[0])


@pytest.mark.parametrize("name", READERS)
def test_other_bytes(name: str, reader: Callable[[str], Reader]) -> None:
    found = reader(name)

    @settings(max_examples=10 if name in SLOW else 40, suppress_health_check=list(HealthCheck))
    @given(st.binary(max_size=600))
    def check(data: bytes) -> None:
        found.read(data)

    check()


@pytest.mark.parametrize("name", READERS)
def test_mutated_bytes(name: str, reader: Callable[[str], Reader]) -> None:
    found = reader(name)
    chance = random.Random(0)
    for number in range(60 if name in SLOW else 300):
        data = found.mutate(chance, found.seeds[number % len(found.seeds)])
        try:
            found.read(data)
        except Exception as error:
            raise AssertionError(f"{name}: {data!r}"[:4000]) from error


def test_a_guard_that_reads_tags_as_they_are_is_found_out(
    reader: Callable[[str], Reader], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it once did: onnxruntime's reader drops what a tag has beyond 32 bits."""
    monkeypatch.setattr("targets.runtime.backends.onnx_guard._MAX_TAG", 1 << 60)
    found, chance = reader("onnx"), random.Random(0)

    def fuzz() -> None:
        for _ in range(20_000):
            found.read(found.mutate(chance, found.seeds[0]))

    with pytest.raises(AssertionError):
        fuzz()
