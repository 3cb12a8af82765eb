from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from targets.cli import DEVICE_COMMANDS, device_group
from targets.cli.describe import describe, shown
from targets.cli_errors import main_guard
from targets.runtime.selftest import Tolerance, make_selftest
from tests.support.tiny_runtime import RUNTIMES, session, table, tiny_bundle

ROWS = {"good": [-6.0, 6.0], "bad": [6.0, -6.0]}
LABELS = ("negative", "positive")
ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


Bertc = Callable[..., Done]


@pytest.fixture
def bertc(capsys: pytest.CaptureFixture[str]) -> Bertc:
    def call(*argv: object) -> Done:
        code = main_guard(device_group(), [str(argument) for argument in argv])
        captured = capsys.readouterr()
        return Done(code, captured.out, captured.err)

    return call


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bundles")


@pytest.fixture(scope="module")
def sentiment(folder: Path) -> Path:
    values = table(2, ROWS)
    with session("onnxruntime", "text-classification", values) as opened:
        data = make_selftest(opened, ["good film", ("bad", "film")], Tolerance(1e-3, 1e-3))
    return tiny_bundle(
        folder / "sentiment", "onnxruntime", "text-classification", values, LABELS, selftest=data
    ).path


@pytest.fixture(scope="module")
def answers(folder: Path) -> Path:
    values = table(2, {"maria": [9, 0], "silva": [0, 9]})
    return tiny_bundle(folder / "qa", "openvino", "question-answering", values).path


def stdin(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_run_for_people(bertc: Bertc, sentiment: Path) -> None:
    done = bertc("run", sentiment, "--text", "a good film", "--text", "bad", "--threads", 1)
    assert done.code == 0
    assert done.err == ""
    first, second = done.out.splitlines()
    assert first.startswith("positive 0.")
    assert first.endswith("a good film")
    assert second.startswith("negative ")


def test_run_as_json_lines(bertc: Bertc, sentiment: Path) -> None:
    done = bertc("run", sentiment, "--json", "--text", "good 東京", "--text-pair", "bad bad")
    (row,) = done.lines
    assert row["text"] == "good 東京"
    assert row["text_pair"] == "bad bad"
    assert row["label"] == "negative"
    assert set(row["scores"]) == set(LABELS)
    assert "東京" in done.out


def test_run_of_a_text_file(bertc: Bertc, sentiment: Path, tmp_path: Path) -> None:
    path = tmp_path / "texts.txt"
    path.write_bytes(b"\xef\xbb\xbfgood film\r\n\r\nbad\n\xf0\x9f\x98\x80 good")
    done = bertc("run", sentiment, "--file", path)
    assert [row["text"] for row in done.lines] == ["good film", "", "bad", "😀 good"]
    assert [row["label"] for row in done.lines if row["text"]] == ["positive", "negative", "positive"]


def test_run_of_more_than_a_chunk(bertc: Bertc, sentiment: Path, tmp_path: Path) -> None:
    path = tmp_path / "texts.txt"
    path.write_text("".join(f"{'good' if i % 3 else 'bad'} film\n" for i in range(2500)))
    labels = [row["label"] for row in bertc("run", sentiment, "--file", path).lines]
    assert labels == ["positive" if i % 3 else "negative" for i in range(2500)]


def test_run_of_json_lines(bertc: Bertc, answers: Path, tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    rows = [
        {"question": "who ?", "context": "It was Maria Silva !"},
        {"text": "who wrote it ?", "text_pair": "Maria Silva .", "id": 7},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = bertc("run", answers, "--file", path)
    assert [row["answer"] for row in done.lines] == ["Maria Silva", "Maria Silva"]
    assert done.lines[0]["text"] == "who ?"
    human = bertc("run", answers, "--text", "who ?", "--text-pair", "It was Maria Silva !")
    assert human.out.startswith("Maria Silva")
    assert "[7:18]" in human.out


def test_run_of_stdin(bertc: Bertc, sentiment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stdin(monkeypatch, b"good\nbad\n")
    assert [row["label"] for row in bertc("run", sentiment).lines] == ["positive", "negative"]
    stdin(monkeypatch, b'{"text": "good"}\n')
    assert bertc("run", sentiment, "--file", "-", "--jsonl").lines[0]["label"] == "positive"
    stdin(monkeypatch, b"")
    assert bertc("run", sentiment) == Done(0, "", "")


def test_truncation_is_said(bertc: Bertc, sentiment: Path) -> None:
    done = bertc("run", sentiment, "--text", "good " * 100, "--text", "bad")
    assert done.code == 0
    assert done.err.splitlines() == [
        "warning: 1 text is longer than the 64 tokens that the model reads: 38 tokens were left out"
    ]


@pytest.mark.parametrize(
    ("content", "name", "problem"),
    [
        (b"good\n\xff\n", "a.txt", "line 2 is not UTF-8"),
        (b"{}\n", "a.jsonl", "line 1 has no text"),
        (b'{"text": "a"}\n{"text"\n', "a.jsonl", "line 2 is not JSON"),
        (b'{"text": 1}\n', "a.jsonl", "line 1 has no text"),
        (b'{"text": "\\ud800"}\n', "a.jsonl", "half of a surrogate pair"),
        (b'[["a"]]\n', "a.jsonl", "line 1 has no text"),
    ],
)
def test_bad_files(
    bertc: Bertc, sentiment: Path, tmp_path: Path, content: bytes, name: str, problem: str
) -> None:
    (tmp_path / name).write_bytes(content)
    done = bertc("run", sentiment, "--file", tmp_path / name)
    assert done.code == 2
    assert problem in done.err
    assert len(done.err.splitlines()) == 2


@pytest.mark.parametrize(
    ("argv", "problem"),
    [
        (["--text", "a", "--file", "b"], "from --text and from a file"),
        (["--text", "a", "--text-pair", "b", "--text-pair", "c"], "1 of --text and 2 of --text-pair"),
        (["--file", "/no/such/file"], "cannot read /no/such/file"),
        (["--file", "/"], "cannot read /"),
        (["--text", "a", "--top-k", "0"], "--top-k"),
        (["--text", "a", "--threads", "-1"], "--threads"),
        (["--text", "a", "--expect-id", "abc"], "not a bundle's id"),
        (["--txt", "a"], "--txt"),
    ],
)
def test_bad_options(bertc: Bertc, sentiment: Path, argv: list[str], problem: str) -> None:
    done = bertc("run", sentiment, *argv)
    assert done.code == 2
    assert done.out == ""
    assert done.err.startswith("error: ")
    assert "hint: " in done.err
    assert problem in done.err


def test_no_text_at_a_terminal(bertc: Bertc, sentiment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stdin(monkeypatch, b"")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    done = bertc("run", sentiment)
    assert done.code == 2
    assert "there is no text" in done.err


def test_verify(bertc: Bertc, sentiment: Path, tmp_path: Path) -> None:
    done = bertc("verify", sentiment, "--json")
    assert done.code == 0
    assert done.json["ok"] is True
    assert done.json["device_checked"] is True
    identity = done.json["id"]
    human = bertc("verify", sentiment, "--no-device", "--expect-id", identity)
    assert identity in human.out
    assert "not checked" in human.out
    wrong = bertc("verify", sentiment, "--expect-id", "0" * 64)
    assert wrong.code == 5
    assert bertc("verify", tmp_path).code == 2
    assert bertc("verify", tmp_path / "missing").code == 2


def test_a_tampered_bundle(bertc: Bertc, tmp_path: Path) -> None:
    path = tiny_bundle(tmp_path / "b", "onnxruntime", "text-classification", table(2, ROWS)).path
    model = path / "model" / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"?")
    for command in (["verify", path], ["run", path, "--text", "a"], ["bench", path], ["selftest", path]):
        done = bertc(*command)
        assert done.code == 5
        assert "model/model.onnx" in done.err


def test_selftest(bertc: Bertc, sentiment: Path, tmp_path: Path) -> None:
    done = bertc("selftest", sentiment, "--json", "--threads", 1)
    assert done.code == 0
    assert done.json["ok"] is True
    assert "passed" in bertc("selftest", sentiment).out
    with session("onnxruntime", "text-classification", table(2)) as other:
        data = make_selftest(other, ["the film"], Tolerance(1e-3, 1e-3))
    path = tiny_bundle(
        tmp_path / "b", "onnxruntime", "text-classification", table(2, ROWS), LABELS, selftest=data
    ).path
    failed = bertc("selftest", path, "--json")
    assert failed.code == 6
    assert failed.json["ok"] is False
    assert "self-test failed" in failed.err
    assert "FAILED" in bertc("selftest", path).out


def test_bench(bertc: Bertc, sentiment: Path) -> None:
    done = bertc("bench", sentiment, "--json", "--iterations", 5, "--shape", "1x8", "--shape", "2x16")
    assert [(row["batch"], row["length"]) for row in done.json["shapes"]] == [(1, 8), (2, 16)]
    human = bertc("bench", sentiment, "--iterations", 5)
    assert [line.split()[0] for line in human.out.splitlines()] == [
        *("shape", "1x32", "1x64", "8x64", "load", "energy")
    ]
    assert bertc("bench", sentiment, "--shape", "8").code == 2
    assert bertc("bench", sentiment, "--shape", "1x100").code == 2
    assert bertc("bench", sentiment, "--seconds", "0").code == 2


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_bench_with_a_profile(bertc: Bertc, tmp_path: Path, runtime: str) -> None:
    path = tiny_bundle(tmp_path / "b", runtime, "text-classification", table(2, ROWS), LABELS).path
    options = ("--iterations", 5, "--seconds", 0.05, "--shape", "1x8", "--shape", "2x16", "--profile")
    found = bertc("bench", path, "--json", *options).json
    schema = json.loads((ROOT / "docs" / "schemas" / "bench.schema.json").read_bytes())
    jsonschema.validate(found, schema)
    assert [(each["batch"], each["length"]) for each in found["profile"]] == [(1, 8), (2, 16)]
    for each in found["profile"]:
        assert each["roofline"] is None
        spent = sum(kind["ms"] for kind in each["kinds"])
        assert each["outside_ms"] == pytest.approx(max(0.0, each["observed_ms"] - spent), abs=1e-3)
        assert all(kind["count"] > 0 for kind in each["kinds"])
    told = bertc("bench", path, *options).out
    assert "outside of operators" in told
    assert "2x16: " in told


def test_targets(bertc: Bertc) -> None:
    listed = bertc("targets", "--json").json
    assert listed == bertc("targets", "list", "--json").json
    names = [spec["id"] for spec in listed["targets"]]
    assert "x86-64-vnni" in names
    assert listed["native"] is None or listed["native"] in names
    human = bertc("targets").out
    assert all(name in human for name in names)
    shown_one = bertc("targets", "show", "x86-64-vnni", "--json").json
    assert shown_one in listed["targets"]
    assert "unsigned 8 bits" in bertc("targets", "show", "x86-64-vnni").out
    unknown = bertc("targets", "show", "x86-64-vnn")
    assert unknown.code == 2
    assert "x86-64-vnni" in unknown.err


def test_help_and_unknown_commands(bertc: Bertc) -> None:
    assert bertc("--help").code == 0
    for command in DEVICE_COMMANDS:
        done = bertc(command.name, "--help")
        assert done.code == 0
        assert "--json" in done.out
    assert bertc().code == 2
    assert bertc("compil").code == 2


def test_a_reader_that_leaves_early(sentiment: Path, tmp_path: Path) -> None:
    path = tmp_path / "texts.txt"
    path.write_text("good film\n" * 4000)
    command = [sys.executable, "-m", "targets.cli", "run", str(sentiment), "--file", str(path)]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b"{")
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == 0


def test_descriptions_keep_to_one_line() -> None:
    assert shown("a\n\x1b[2J b" + "c" * 200) == "a  [2J b" + "c" * 69 + "..."
    values = table(5)
    values[:, 0] = 9
    with session("onnxruntime", "token-classification", values, ("O", "B-X", "I-X", "B-Y", "I-Y")) as opened:
        (found,) = opened(["the film"])
    assert describe("the film", found) == "the film\n  (none)"
