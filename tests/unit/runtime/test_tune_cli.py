"""`bertc tune` on tiny bundles of both runtimes, for real and for a second."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from targets.bundle.reader import Bundle
from targets.cli import device_group
from targets.cli.tune import describe
from targets.cli_errors import main_guard
from targets.detect import EMULATED, machine
from targets.errors import IncompatibleError, UsageError
from targets.runtime.selftest import Tolerance, make_selftest
from targets.runtime.settings import DYNAMIC, RunSettings
from targets.runtime.tune.measure import OneByOne, Together
from targets.runtime.tune.race import judge
from targets.runtime.tune.run import TuneOptions, check_bundles, tune
from targets.runtime.tune.workload import SYNTHETIC_TEXTS, Texts, of_file, synthetic
from targets.runtime.tuning import read_record, record_path, settings_of
from tests.support.tiny_runtime import RUNTIMES, encoder, session, table, tiny_bundle

ROOT = Path(__file__).resolve().parents[3]
VALUES = table(2)
GOLDEN = ["good film", "a bad play in new york"]
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def bertc(capsys: pytest.CaptureFixture[str]) -> Call:
    def call(*argv: object) -> tuple[int, str, str]:
        code = main_guard(device_group(), [str(argument) for argument in argv])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture(autouse=True)
def idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0))


def make(folder: Path, runtime: str, tolerance: float = 1e-3, values: Any = VALUES) -> Bundle:
    with session(runtime, "text-classification", VALUES) as opened:
        data = make_selftest(opened, GOLDEN, Tolerance(tolerance, tolerance))
    path = folder / f"{runtime}.bundle"
    return tiny_bundle(path, runtime, "text-classification", values, ("no", "yes"), selftest=data)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Bundle]:
    folder = tmp_path_factory.mktemp("tune")
    return [make(folder, runtime) for runtime in RUNTIMES]


def checked(out: str) -> list[dict[str, Any]]:
    schema = json.loads((ROOT / "docs" / "schemas" / "tuning.schema.json").read_bytes())
    document = json.loads(out)
    Draft202012Validator(schema).validate(document)
    rows: list[dict[str, Any]] = document["bundles"]
    return rows


def test_two_bundles_are_tuned_shown_and_forgotten(bertc: Call, bundles: list[Bundle]) -> None:
    paths = [bundle.path for bundle in bundles]
    code, out, err = bertc("tune", *paths, "--seconds", 2, "--json")
    assert (code, err) == (0, "")
    for row, bundle in zip(checked(out), bundles, strict=True):
        record = read_record(bundle)
        assert record is not None
        assert json.loads(json.dumps(record.to_dict())) == row["record"]
        for name in ("latency", "throughput"):
            found = row["record"]["objectives"][name]
            assert found["workload"]["source"] == "synthetic"
            assert {each["bundle_id"] for each in found["race"]["entrants"]} == {b.id for b in bundles}
            assert min(each["figures"]["ratio"] for each in found["race"]["entrants"]) == 1.0
            assert {each["outcome"] for each in found["trials"]} >= {"reference"}
            assert settings_of(bundle, name) == record.tuned[name].settings
    code, out, _ = bertc("tune", *paths, "--show")
    assert code == 0
    assert out.count("fits this machine, and is used") == 2
    assert "bundles against each other" in out
    code, out, _ = bertc("tune", *paths, "--show", "--json")
    assert [row["misfit"] for row in checked(out)] == [None, None]
    code, out, _ = bertc("tune", *paths, "--remove", "--json")
    assert [row["removed"] for row in checked(out)] == [True, True]
    assert not record_path(bundles[0]).exists()
    code, out, _ = bertc("tune", *paths, "--show")
    assert out.count("there is no tuning record") == 2
    assert bertc("tune", paths[0], "--remove")[0] == 0


def test_there_is_nothing_to_tune_under_emulation(
    bertc: Call, bundles: list[Bundle], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(EMULATED, "haswell")
    refusal = "there is nothing to tune under emulation: times mean nothing there"
    code, out, err = bertc("tune", bundles[0].path, "--file", tmp_path / "none.txt", "--seconds", 1)
    assert (code, out) == (UsageError.exit_code, "")
    assert err.splitlines() == [f"error: {refusal}", "hint: tune on the device itself"]
    done: list[str] = []
    with pytest.raises(UsageError, match=refusal):
        tune(bundles[:1], TuneOptions(seconds=1), progress=done.append)
    assert done == []
    assert not record_path(bundles[0]).exists()
    code, out, _ = bertc("tune", bundles[0].path, "--show")
    assert (code, out) == (0, f"{bundles[0].path}: not used: there is no tuning record\n")


def test_one_objective_on_texts_of_a_file(bertc: Call, bundles: list[Bundle], tmp_path: Path) -> None:
    path = tmp_path / "texts.txt"
    path.write_text("a good film\n\nthe play was bad , in new york !\n")
    bundle = bundles[0]
    call = ("tune", bundle.path, "--file", path, "--seconds", 1)
    code, out, err = bertc(*call, "--objective", "throughput")
    assert (code, err) == (0, "")
    assert "throughput: 2 texts of --file" in out
    assert "written:" in out
    assert "latency" not in out
    first = settings_of(bundle, "throughput")
    code, out, _ = bertc(*call, "--objective", "latency", "--threads", 1)
    assert code == 0
    assert "throughput" not in out
    assert "throughput: 2 texts" in bertc("tune", bundle.path, "--show")[1]
    record = read_record(bundle)
    assert record is not None
    assert set(record.tuned) == {"latency", "throughput"}
    assert record.tuned["throughput"].settings == first
    assert record.tuned["latency"].default == RunSettings(threads=1)
    assert record.tuned["latency"].workload.longest_tokens == 11
    bertc("tune", bundle.path, "--remove")


def test_what_cannot_be_tuned(bertc: Call, bundles: list[Bundle], tmp_path: Path) -> None:
    path = bundles[0].path
    empty = tmp_path / "empty.txt"
    empty.write_text("\n  \n")
    for argv in (
        [],
        [tmp_path],
        [path, path],
        [path, "--seconds", 0],
        [path, "--seconds", "nan"],
        [path, "--objective", "energy"],
        [path, "--threads", machine().cores + 1],
        [path, "--file", empty],
        [path, "--file", tmp_path / "none.txt"],
        [path, "--show", "--remove"],
    ):
        code, _, err = bertc("tune", *argv)
        assert code == 2, argv
        assert err.startswith("error: ")
    record_path(bundles[0]).write_text("{}")
    code, _, err = bertc("tune", path, "--show")
    assert code == 5
    assert "format is missing" in err
    assert bertc("tune", path, "--remove")[0] == 0


def test_a_busy_machine_is_warned_of(
    bertc: Call, bundles: list[Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (99.0, 0.0, 0.0))
    code, _, err = bertc("tune", bundles[0].path, "--seconds", 1, "--objective", "latency")
    assert code == 0
    assert err.startswith("warning: this machine is busy (a load of 99.0")
    bertc("tune", bundles[0].path, "--remove")


def test_bundles_of_different_models(bundles: list[Bundle], tmp_path: Path) -> None:
    other = tiny_bundle(tmp_path / "o", "openvino", "text-classification", VALUES, ("a", "b"))
    with pytest.raises(UsageError, match="different models"):
        check_bundles([bundles[0], other])
    with pytest.raises(UsageError, match="given twice"):
        check_bundles([bundles[0], bundles[0]])


def test_a_bundle_that_fails_its_selftest_is_not_tuned(tmp_path: Path) -> None:
    wrong = make(tmp_path, "onnxruntime", 1e-6, VALUES + 1.0)
    with pytest.raises(IncompatibleError, match="self-test"):
        tune([wrong], TuneOptions(seconds=1))
    assert not record_path(wrong).exists()


def test_the_fastest_bundle_is_named_only_beyond_doubt(bundles: list[Bundle]) -> None:
    rng = np.random.default_rng(0)
    slow, fast = (cost * (1.0 + 0.05 * rng.normal(size=(20, 4))) for cost in (2.0, 1.0))
    found = judge(bundles, {0: slow, 1: fast}, "latency", 4)
    assert found.winner == bundles[1].id
    assert found.entrants[1].figures.value == pytest.approx(1000.0, rel=0.05)
    assert found.entrants[0].figures.ratio == pytest.approx(2.0, rel=0.05)
    again = fast * (1.0 + 0.05 * rng.normal(size=(20, 4)))
    assert judge(bundles, {0: again, 1: fast}, "throughput", 4).winner is None


def test_made_texts_are_as_long_as_sentences_are() -> None:
    made = synthetic(GOLDEN, encoder(64), "text-classification")
    lengths = sorted(made.windows)
    assert len(lengths) == SYNTHETIC_TEXTS
    assert 18 <= made.summary().median_tokens <= 22
    assert 48 <= made.summary().p95_tokens <= 60
    assert (lengths[0] >= 3, lengths[-1]) == (True, 64)
    assert made == synthetic(GOLDEN, encoder(64), "text-classification")
    pairs = synthetic([("who wrote it ?", "anna was in berlin")], encoder(32), "question-answering")
    assert all(isinstance(item, tuple) for item in pairs.items)
    assert max(pairs.windows) <= 32


def test_a_sample_is_distributed_as_the_whole() -> None:
    texts = Texts("file", tuple(str(n) for n in range(1000)), tuple((n // 10 + 1,) for n in range(1000)))
    sample = texts.sample(50)
    assert len(set(sample.items)) == 50
    assert np.percentile(sample.windows, (10, 50, 90)) == pytest.approx([10.5, 50.5, 90.5], abs=1.5)
    assert sample.windows != sorted(sample.windows)
    assert texts.sample(5000).summary() == texts.summary()


def test_texts_that_the_task_does_not_take() -> None:
    with pytest.raises(UsageError, match="no text"):
        of_file(["", " "], encoder(), "text-classification")
    with pytest.raises(UsageError, match="pair"):
        of_file([("a", "b")], encoder(), "token-classification")
    found = of_file(["good", "", "bad film"], encoder(), "text-classification")
    assert found.lengths == ((3,), (4,))


def test_settings_are_described_by_what_differs() -> None:
    default = RunSettings()
    assert describe(default, default) == "the default"
    assert describe(RunSettings(threads=2, shapes=DYNAMIC), default) == "threads 2, shapes dynamic"


class Counting:
    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.closed = False

    def infer(self, items: list[str]) -> None:
        self.calls.append(list(items))

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("kind", [OneByOne, Together])
def test_a_round_counts_each_text_once_after_a_lead_in(kind: Any) -> None:
    session = Counting()
    contestant = kind(session, list("abcdefgh"))
    seconds = contestant.round()
    if kind is OneByOne:
        assert session.calls == [[item] for item in "abcdabcdefgh"]
        assert len(seconds) == 8
    else:
        assert session.calls == [list("abcd"), list("abcdefgh")]
        assert len(seconds) == 1
    assert all(0 < each < 0.05 for each in seconds)
    contestant.close()
    assert session.closed
