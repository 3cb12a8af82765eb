"""The soak benchmark: its texts, the line it fits, and a few hundred texts through tiny bundles."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from targets.errors import UsageError
from targets.runtime.items import check_items, check_task
from tests.support.tiny_runtime import RUNTIMES, table, tiny_bundle
from tools.soak import soak_tool
from tools.soak_report import environment, fit, page, result_of
from tools.soak_run import SESSION, Sample, Soak
from tools.soak_texts import ODD_EVERY, made_texts, read_words

WORDS = ("a", "good", "film")


@pytest.mark.parametrize("task", ["text-classification", "question-answering", "fill-mask"])
def test_texts_are_what_the_task_takes(task: str) -> None:
    items = list(made_texts(WORDS, task, 400, 3, "[MASK]"))
    assert len(items) == 400
    assert items == list(made_texts(WORDS, task, 400, 3, "[MASK]"))
    assert items != list(made_texts(WORDS, task, 400, 4, "[MASK]"))
    check_task(task, check_items(items))
    if task == "fill-mask":
        assert all(isinstance(item, str) and item.startswith("[MASK] ") for item in items)
    if task == "text-classification":
        plain = [item for number, item in enumerate(items, start=1) if number % ODD_EVERY]
        assert all(isinstance(item, str) and set(item.split()) <= set(WORDS) for item in plain)
        assert len({len(item) for item in items}) > 20


def test_words_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    path.write_bytes("good film\tgood\n\n東京 \xff".encode() + b"\xff\n")
    assert read_words(path)[:3] == ("good", "film", "東京")
    path.write_bytes(b" \n")
    for wrong in (path, tmp_path / "none"):
        with pytest.raises(UsageError):
            read_words(wrong)


@pytest.mark.parametrize(
    ("warming", "rss", "objects", "flat"),
    [
        (0, 0, 0, True),
        (50e6, 0, 0, True),
        (0, -90, 0, True),
        (0, 300, 0, False),
        (50e6, 300, 0, False),
        (0, 0, 0.1, False),
    ],
)
def test_what_is_flat(warming: float, rss: float, objects: float, flat: bool) -> None:
    """Memory that grows while it warms up is; what grows with every text is not."""
    samples = [
        Sample(
            texts,
            texts / 100,
            int(100e6 + warming * min(texts, 2000) / 2000 + rss * texts + 9000 * (texts % 1000 == 0)),
            1 << 30,
            int(50_000 + objects * texts),
        )
        for texts in range(0, 10_001, 500)
    ]
    found = result_of(Soak(SESSION, samples, 10_000, 100.0))
    assert found.flat is flat
    assert found.warm.texts == 2500
    assert found.texts_per_s == 100
    told = page(environment("python -m tools.soak"), "tiny", [found])
    assert "| session | 10000 |     100 |" in told
    assert ("NOT FLAT" in told) is not flat


def test_a_line() -> None:
    found = fit([100, 200, 300], [1000, 1500, 2000])
    assert found.slope == pytest.approx(5)
    assert found.rise == pytest.approx(1)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_short_soak(runtime: str, tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "b", runtime, "text-classification", table(2), ("no", "yes")).path
    words = tmp_path / "words.txt"
    words.write_text("a good film was in berlin")
    options = ["--file", str(words), "--texts", "400", "--every", "50", "--threads", "1"]
    done = CliRunner().invoke(soak_tool, [str(bundle), *options, "--json"], standalone_mode=False)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    document = json.loads(done.stdout)
    assert document["bundle"] == f"tiny, fp32 on {runtime}"
    session, command = document["runs"]
    assert [run["texts"] for run in document["runs"]] == [400, 400]
    assert [each["texts"] for each in session["samples"]] == list(range(0, 401, 50))
    assert [each["texts"] for each in command["samples"]] == [1, *range(50, 400, 50)]
    for each in (*session["samples"], *command["samples"]):
        assert 1 << 20 < each["rss"] <= each["peak"]
    assert all(each["objects"] > 1000 for each in session["samples"])


def test_too_few_samples(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        soak_tool, [str(tmp_path), "--file", "x", "--texts", "100", "--every", "50"], standalone_mode=False
    )
    assert isinstance(done.exception, UsageError)
