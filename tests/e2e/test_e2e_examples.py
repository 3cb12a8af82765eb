"""The examples of docs/examples, as the processes that a reader starts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from targets.bundle.signature import generate_key
from tests.support.compiling import Bundles

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "docs" / "examples"
HEAVY = ("torch", "transformers", "onnx", "onnx_ir", "compiler")
LIGHT = f"""
import runpy, sys
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    heavy = sorted(set(sys.modules) & set({HEAVY!r}))
    if heavy:
        print("imported", *heavy, file=sys.stderr)
"""


def command(*argv: object) -> list[str]:
    """A script that says so if it imports what a device does not have."""
    return [sys.executable, "-W", "error", "-c", LIGHT, *map(str, argv)]


def run(*argv: object, text: str | None = None) -> tuple[int, str, str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command(*argv), input=text, capture_output=True, text=True, timeout=120, check=False, env=env
    )
    return done.returncode, done.stdout, done.stderr


class Served:
    """The server of the sentiment example, over a bundle."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.process = process
        self.url = url

    def get(self, path: str) -> tuple[int, Any]:
        return self._open(urllib.request.Request(self.url + path))

    def post(self, path: str, body: bytes) -> tuple[int, Any]:
        return self._open(urllib.request.Request(self.url + path, data=body))

    @staticmethod
    def _open(request: urllib.request.Request) -> tuple[int, Any]:
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)


@pytest.fixture(scope="module")
def sentiment(bundles: Bundles) -> Path:
    return bundles("bert", "text-classification", "onnxruntime").path


@pytest.fixture
def served(sentiment: Path) -> Iterator[Served]:
    argv = command(EXAMPLES / "gateway-sentiment" / "serve.py", sentiment, "--port", 0)
    with subprocess.Popen(
        argv,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        # A shell that starts jobs in the background makes them ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        assert process.stdout is not None
        first = process.stdout.readline().split()
        assert first[:2] == ["serving", "on"]
        yield Served(process, first[2])
        process.kill()


def test_a_server_answers(served: Served) -> None:
    assert served.get("/health") == (200, {"status": "ok"})
    texts = ["a gripping film", "two hours that nobody gives back"]
    status, answer = served.post("/predict", json.dumps({"texts": texts}).encode())
    assert status == 200
    assert len(answer["predictions"]) == 2
    for each in answer["predictions"]:
        assert each["label"] == max(each["scores"], key=each["scores"].get)
        assert sum(each["scores"].values()) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/predict", b"{", 400),
        ("/predict", b"[" * 100_000, 400),
        ("/predict", b'{"texts": "one"}', 400),
        ("/predict", b'{"texts": []}', 400),
        ("/predict", b'{"texts": [3]}', 400),
        ("/predict", b'{"texts": ["\\ud83d"]}', 400),
        ("/predict", json.dumps({"texts": ["a"] * 257}).encode(), 400),
        ("/predict", b" " * 1_000_001, 413),
        ("/other", b"{}", 404),
    ],
)
def test_what_a_server_refuses(served: Served, path: str, body: bytes, status: int) -> None:
    try:
        found, answer = served.post(path, body)
    except (ConnectionError, urllib.error.URLError):
        # The server has answered and hung up before it was sent everything.
        assert status == 413
    else:
        assert (found, list(answer)) == (status, ["error"])
    assert served.get("/health")[0] == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_many_clients_and_an_end(served: Served, number: signal.Signals) -> None:
    answers: list[tuple[int, Any]] = []
    body = json.dumps({"texts": ["a film", "a longer text about another film"]}).encode()
    clients = [
        threading.Thread(target=lambda: answers.append(served.post("/predict", body))) for _ in range(16)
    ]
    for each in clients:
        each.start()
    for each in clients:
        each.join()
    assert [status for status, _ in answers] == [200] * 16
    assert all(answer == answers[0][1] for _, answer in answers)
    served.process.send_signal(number)
    assert served.process.wait(timeout=30) == 0
    assert served.process.stderr is not None
    assert served.process.stderr.read() == ""


def test_a_server_wants_the_signature(sentiment: Path, tmp_path: Path) -> None:
    public = generate_key(tmp_path / "deploy")
    argv = (EXAMPLES / "gateway-sentiment" / "serve.py", sentiment, "--key", public, "--port", 0)
    code, out, err = run(*argv)
    assert (code, out) == (5, "")
    assert [line.partition(":")[0] for line in err.splitlines()] == ["error", "hint"]


def test_search_finds_the_text_itself(bundles: Bundles, tmp_path: Path) -> None:
    bundle = bundles("minilm", "feature-extraction", "onnxruntime").path
    folder = EXAMPLES / "pi-semantic-search"
    notes = folder / "notes.txt"
    index = tmp_path / "notes.npz"
    code, out, err = run(folder / "index.py", bundle, notes, index)
    assert (code, err) == (0, "")
    lines = notes.read_text(encoding="utf-8").splitlines()
    assert out.startswith(f"{len(lines)} texts")
    with np.load(index, allow_pickle=False) as found:
        assert np.linalg.norm(found["vectors"], axis=1) == pytest.approx(1.0, abs=1e-5)
    code, out, err = run(folder / "search.py", bundle, index, lines[4], "--top", 2)
    assert (code, err) == (0, "")
    best, second = out.splitlines()
    assert best == f"1.000  {lines[4]}"
    assert float(second.split()[0]) <= 1.0
    code, _, err = run(folder / "search.py", tmp_path, index, "x")
    assert (code, "is not a bundle" in err) == (2, True)


def test_tags_are_spans_of_the_text(bundles: Bundles, tmp_path: Path) -> None:
    bundle = bundles("bert", "token-classification", "onnxruntime").path
    script = EXAMPLES / "entity-tagging" / "tag.py"
    texts = ["Maria flew from Lisbon to Porto with Air Portugal.", "", "  naïve café in Berlin  "]
    code, out, err = run(script, bundle, "--json", text="\n".join(texts))
    assert (code, err) == (0, "")
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["text"] for row in rows] == [texts[0], texts[2].strip()]
    assert any(row["entities"] for row in rows)
    for row in rows:
        for each in row["entities"]:
            assert row["text"][each["start"] : each["end"]] == each["text"]
    file = tmp_path / "texts.txt"
    file.write_text("\n".join(texts), encoding="utf-8")
    code, out, err = run(script, bundle, file)
    assert (code, err) == (0, "")
    for line, row in zip(out.splitlines(), rows, strict=True):
        assert line.count("](") == len(row["entities"])
        for each in row["entities"]:
            assert f"[{each['text']}]({each['label']})" in line
