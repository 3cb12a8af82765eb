"""Many sessions, threads and processes at once, and sessions that are closed while others run them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from targets.bundle.reader import Bundle
from targets.errors import UsageError
from targets.runtime.backends import open_backend, openvino_shapes
from targets.runtime.session import Session
from targets.runtime.settings import RunSettings, ShapePolicy
from targets.runtime.tasks import Classification
from tests.support.tiny_runtime import RUNTIMES, model_files, onnx_model, session, table, tiny_bundle

ROOT = Path(__file__).resolve().parents[3]
VALUES = table(3)
LABELS = ("a", "b", "c")
TEXTS = [("good film " * (number % 9) + "bad").strip() for number in range(60)]
LAZY = RunSettings(threads=1, shapes=ShapePolicy((4, 8, 16)))
STREAMS = RunSettings(threads=2, streams=2, max_tokens=64, shapes=ShapePolicy(()))
COUNT = 10


@contextmanager
def switching_often() -> Iterator[None]:
    """Threads take turns every few microseconds, so that what is not safe breaks."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def at_once(work: Callable[[int], Any], count: int = COUNT) -> list[Any]:
    """What a function gives in so many threads that begin together; the first error is raised."""
    found: list[Any] = [None] * count
    errors: list[BaseException] = []
    begin = threading.Barrier(count)

    def run(number: int) -> None:
        try:
            begin.wait(30)
            found[number] = work(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    with switching_often():
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    if errors:
        raise errors[0]
    return found


def scores(opened: Session, texts: list[str]) -> np.ndarray:
    found = opened.predict(texts)
    assert all(isinstance(each, Classification) for each in found)
    return np.array([list(each.scores.values()) for each in found])  # type: ignore[union-attr]


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_ten_sessions_of_one_bundle(runtime: str, tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "b", runtime, "text-classification", VALUES, LABELS)
    with bundle.session(threads=1) as one:
        expected = scores(one, TEXTS)

    def work(_: int) -> np.ndarray:
        with Bundle.open(bundle.path).session(threads=1) as own:
            return scores(own, TEXTS)

    for found in at_once(work):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("settings", [LAZY, STREAMS], ids=["lazy", "streams"])
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_ten_threads_on_one_session(runtime: str, settings: RunSettings) -> None:
    """Lists and single texts mixed; what was cut is counted once each."""
    long = "good " * 80
    with session(runtime, "text-classification", VALUES, LABELS, settings=settings) as one:
        expected = scores(one, TEXTS)
        before = one.truncated, one.truncated_tokens

        def work(number: int) -> list[np.ndarray]:
            found = [scores(one, TEXTS)]
            for turn in range(20):
                place = (number + turn) % len(TEXTS)
                np.testing.assert_allclose(scores(one, [TEXTS[place]])[0], expected[place], atol=1e-6)
                scores(one, [long])
            return found

        for found in at_once(work):
            np.testing.assert_allclose(found[0], expected, atol=1e-6)
        assert (one.truncated, one.truncated_tokens) == (before[0] + 200, before[1] + 200 * 18)


def test_a_new_length_while_the_counts_are_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_shapes, "_FORGET_AFTER", 3)
    files = model_files("openvino", onnx_model("text-classification", VALUES)).values()
    policy = ShapePolicy(tuple(range(1, 61)), memory_mb=0)
    backend: Any = open_backend("openvino", *files, threads=1, shapes=policy)

    class Interrupted(Counter[int]):
        """Another thread asks for a length that is new while these are being read."""

        def items(self) -> Any:
            for place, entry in enumerate(super().items()):
                if place == 0:
                    other.start()
                    other.join(0.2)
                yield entry

    other = threading.Thread(target=backend.padded, args=(1, 60))
    backend._models._own._asked = Interrupted()
    for length in (1, 2, 3):
        assert backend.padded(1, length) == length
    other.join(30)
    assert backend._models._own._asked[60] == 1
    backend.close()


@pytest.mark.parametrize("settings", [LAZY, STREAMS], ids=["lazy", "streams"])
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_closing_while_threads_run(runtime: str, settings: RunSettings) -> None:
    """Every thread gets right answers until it gets the error."""
    opened = session(runtime, "text-classification", VALUES, LABELS, settings=settings)
    expected = scores(opened, TEXTS)
    ready = threading.Barrier(5)

    def work(number: int) -> str:
        if number == 4:
            ready.wait(30)
            time.sleep(0.05)
            opened.close()
            return "closed"
        ready.wait(30)
        while True:
            try:
                found = scores(opened, TEXTS) if number % 2 else scores(opened, TEXTS[:1])
            except UsageError as error:
                return str(error)
            np.testing.assert_allclose(found, expected[: len(found)], atol=1e-6)

    assert at_once(work, 5) == ["the session is closed"] * 4 + ["closed"]
    for call in (lambda: opened.prepare([4]), lambda: opened.run({"input_ids": np.ones((1, 2), int)})):
        with pytest.raises(UsageError, match="session is closed"):
            call()
    opened.close()


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_closing_between_a_look_and_a_run(runtime: str) -> None:
    files = model_files(runtime, onnx_model("text-classification", VALUES)).values()
    backend = open_backend(runtime, *files, threads=1)
    ids = np.array([[2, 7, 3]])
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    expected = backend.run(feeds)["logits"]

    class Closing:
        """The names of the outputs; whoever reads them has closed the backend."""

        def __iter__(self) -> Iterator[str]:
            backend.close()
            yield "logits"

    with suppress(UsageError):
        found = backend.run(feeds, Closing())  # type: ignore[arg-type]
        np.testing.assert_array_equal(found["logits"], expected)
    with pytest.raises(UsageError, match="session is closed"):
        backend.run(feeds)


def test_a_shape_that_cannot_be_compiled_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried once in the background, prints nothing, and the model of dynamic shape answers."""
    tried: list[int] = []

    def fail(_core: Any, _network: Any, length: int, *_: Any) -> Any:
        tried.append(length)
        raise RuntimeError("out of memory")

    monkeypatch.setattr(openvino_shapes, "compile_fixed", fail)
    with session("openvino", "text-classification", VALUES, LABELS, settings=LAZY) as opened:
        first = scores(opened, ["good film"])
        for _ in range(6):
            np.testing.assert_array_equal(scores(opened, ["good film"]), first)
            for thread in threading.enumerate():
                if thread.name == "bertc-shapes":
                    thread.join(30)
        assert tried == [4]
        assert opened.shapes == {}


def test_a_closed_session_keeps_no_model() -> None:
    files = model_files("openvino", onnx_model("text-classification", VALUES)).values()
    backend: Any = open_backend("openvino", *files, threads=1, shapes=ShapePolicy((4,)))
    backend.prepare([4])
    backend.close()
    assert backend._models._own._network is None
    with pytest.raises(UsageError, match="session is closed"):
        backend.prepare([4])


PROCESSES = """
import os, sys
from targets.bundle.reader import Bundle
import targets.runtime.session

def tell(what):
    os.write(1, f"{what}\\n".encode())  # in one piece, whatever PYTHONUNBUFFERED says

children = []
for _ in range(int(sys.argv[2])):
    child = os.fork()
    if not child:
        try:
            for _ in range(2):
                with Bundle.open(sys.argv[1]).session(threads=1, cache=True) as session:
                    tell(session.predict(["good film"])[0].to_dict()["scores"])
        except BaseException as error:
            tell(repr(error))
            os._exit(1)
        os._exit(0)
    children.append(child)
sys.exit(max(os.waitpid(child, 0)[1] for child in children) != 0)
"""


def test_ten_processes_with_a_cache(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "b", "openvino", "text-classification", VALUES, LABELS)
    cache = tmp_path / "cache"
    done = subprocess.run(
        [sys.executable, "-c", PROCESSES, str(bundle.path), str(COUNT)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "BERTC_CACHE_DIR": str(cache)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    answers = done.stdout.splitlines()
    assert len(answers) == 2 * COUNT
    assert len(set(answers)) == 1
    assert [path.suffix for path in (cache / "openvino").iterdir()] == [".blob"]
