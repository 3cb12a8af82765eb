"""Texts that nobody writes, through every kind of tokenizer, both runtimes and the command line."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from targets.bundle.schema import TaskConfig
from targets.cli import device_group
from targets.cli.describe import describe, json_line, shown
from targets.cli_errors import main_guard
from targets.errors import UsageError
from targets.runtime.backends import open_backend
from targets.runtime.bench import check_shapes
from targets.runtime.items import TextItem, check_items, chunks
from targets.runtime.limits import MAX_CHARACTERS, MAX_LINE_BYTES, MAX_RUN_TOKENS, MAX_TOP_K
from targets.runtime.session import Session
from targets.runtime.settings import DYNAMIC, RunSettings
from targets.runtime.tasks import Answer, Classification, Entity, FillMask, MultiLabel, TokenClassification
from targets.runtime.tokenize import TextEncoder
from targets.runtime.tune import workload
from tests.support.corpus import sentences
from tests.support.tiny_runtime import (
    RUNTIMES,
    model_files,
    onnx_model,
    session,
    table,
    tiny_bundle,
    wordpiece_spec,
)
from tests.support.tokenizers import make_tokenizer

KINDS = ("wordpiece", "bpe", "unigram")
MASKS = {"wordpiece": "[MASK]", "bpe": "<mask>", "unigram": "<mask>"}
WORDS = len(table(1))
LABELS = ("O", "B-PER", "I-PER", "B-LOC")
ESCAPE = "\x1b]0;owned\x07\x1b[2J"
ODD = (
    *("", " ", " " * 300, "\n", "\t\r\n", "\0", "a\0b", "\x01\x02\x7f", ESCAPE, "\x9b31m"),
    *("\ufefffilm", "a\u2028b\u2029c", "a\rb\r", "a\x0bb\x0cc", "\u00a0\u3000film\u200b", "\u202eevil\u202c"),
    *("👩\u200d👩\u200d👧 was here", "🏴\U000e0067\U000e0062\U000e007f", "e\u0301\u0323a", "\u0301\u0301"),
    *("\u200d\u200d", "שלום anna", "مرحبا في berlin", "ﷺ", "\U0010ffff\ue000\ufffe", "東京に行く", "¾²ﬁ"),
    *("[SEP] [PAD]", "</s><pad>", "x" * 5000, "!" * 700, "😀" * 300, "a" + "\u0301" * 900),
)
TEXTS = (*ODD, *sentences(6, seed=3))


def opened(kind: str, runtime: str, task: str) -> Session:
    tokenizer = make_tokenizer(kind)  # type: ignore[arg-type]
    size = tokenizer.get_vocab_size()
    width = size if task == "fill-mask" else 2 if task == "question-answering" else len(LABELS)
    values = np.random.default_rng(0).normal(size=(size, width)).astype(np.float32)
    backend = open_backend(runtime, *model_files(runtime, onnx_model(task, values)).values(), threads=1)
    spec = wordpiece_spec(64)
    mask = tokenizer.token_to_id(MASKS[kind])
    encoder = TextEncoder(tokenizer, type(spec)("T", 64, 1, "p", 0, "right", mask), True)
    labels = LABELS if task != "text-classification" else ("a", "b", "c", "d")
    how = RunSettings(threads=1, shapes=DYNAMIC)
    return Session(backend, encoder, task, TaskConfig(None, labels), settings=how)


def numbers(value: Any) -> list[float]:
    if isinstance(value, dict):
        return [each for own in value.values() for each in numbers(own)]
    if isinstance(value, list):
        return [each for own in value for each in numbers(own)]
    return [value] if isinstance(value, float) else []


def harmless(text: str) -> bool:
    """Whether a terminal shows a text and does nothing else; joiners only join what is beside them."""
    return text.replace("\u200c", "").replace("\u200d", "").isprintable()


def check_entity(text: str, entity: Entity) -> None:
    assert 0 <= entity.start < entity.end <= len(text)
    assert entity.text == text[entity.start : entity.end]


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_text_has_its_answer(kind: str, runtime: str) -> None:
    """Finite, the same again and alone, in order, and of characters that are in the text."""
    tasks: dict[str, list[TextItem]] = {
        "text-classification": [*TEXTS, *((text, TEXTS[-1]) for text in TEXTS)],
        "token-classification": list(TEXTS),
        "question-answering": [
            *(("who ?", text) for text in TEXTS),
            *((text, TEXTS[-1]) for text in TEXTS),
        ],
        "fill-mask": [f"{text[:12]} {MASKS[kind]} {text[:40]}" for text in TEXTS],
    }
    for task, items in tasks.items():
        with opened(kind, runtime, task) as one:
            found = one.predict(items, top_k=2)
            assert one.predict(items, top_k=2) == found
            assert [each.item for each in one.infer(items)] == items
            assert len(found) == len(items)
            for item, prediction in zip(items, found, strict=True):
                document = prediction.to_dict()
                assert np.isfinite(numbers(document)).all()
                assert json.loads(json_line({"text": item, **document}))["text"] in (item, list(item))
                assert harmless(describe(item, prediction).replace("\n", ""))
                match prediction:
                    case Answer(answer, _, start, end):
                        assert 0 <= start <= end <= len(item[1])
                        assert answer == item[1][start:end]
                    case TokenClassification(entities):
                        assert isinstance(item, str)
                        for entity in entities:
                            check_entity(item, entity)
                    case FillMask(candidates):
                        assert len(candidates) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_batches_answer_as_single_texts_do(kind: str) -> None:
    with opened(kind, "onnxruntime", "token-classification") as one:
        together = one.infer(list(TEXTS))
        for text, found in zip(TEXTS, together, strict=True):
            (alone,) = one.infer([text])
            assert alone.windows[0].encoding == found.windows[0].encoding
            np.testing.assert_allclose(
                alone.windows[0].outputs["logits"], found.windows[0].outputs["logits"], atol=1e-6
            )


Run = Callable[..., tuple[int, str, str]]
VALUES = table(2, {"good": [-6.0, 6.0], "bad": [6.0, -6.0]})


@pytest.fixture(scope="module")
def sentiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("odd") / "b"
    return tiny_bundle(folder, "onnxruntime", "text-classification", VALUES, ("no", "yes")).path


@pytest.fixture
def run(sentiment: Path, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """`run(bytes or None, *options)`: bertc run on the bytes as a file; what it printed."""

    def call(content: bytes | None, *options: object, name: str = "t.txt") -> tuple[int, str, str]:
        if content is not None:
            (tmp_path / name).write_bytes(content)
            options = ("--file", tmp_path / name, *options)
        code = main_guard(device_group(), ["run", str(sentiment), *map(str, options)])
        sys.stdout.flush()
        return code, *capfd.readouterr()

    return call


def texts_of(out: str) -> list[Any]:
    return [json.loads(line)["text"] for line in out.split("\n")[:-1]]


def test_lines_before_one_that_cannot_be_read_are_answered(run: Run) -> None:
    code, out, err = run(b"good\nbad\n\xff\xfe\ngood\n")
    assert (code, texts_of(out)) == (2, ["good", "bad"])
    assert err.splitlines() == [
        "error: line 3 is not UTF-8",
        "hint: convert the file, for example with iconv",
    ]


def test_stdin_is_read_alike(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"good\n\xc3\x28\n")))
    code, out, err = run(None)
    assert (code, texts_of(out)) == (2, ["good"])
    assert "line 2 is not UTF-8" in err
    monkeypatch.setattr(sys, "stdin", None)
    assert "there is no text" in run(None)[2]


def test_errors_name_lines_beyond_the_first_chunk(run: Run) -> None:
    good = b'{"text": "good"}\n'
    code, out, err = run(good * 2000 + b"\n" + b'{"text": "a\\ud800"}\n', name="a.jsonl")
    assert (code, len(texts_of(out))) == (2, 2000)
    assert "line 2002 holds half of a surrogate pair" in err


def test_what_ends_a_line(run: Run) -> None:
    """A line feed alone, with a carriage return before it or not; a byte order mark begins a file only."""
    content = "\ufeffgood\r\nold\rmac\r\na\u2028b\x0bc\x85d\n\n  \n\ufeffbad".encode()
    code, out, err = run(content)
    assert (code, err) == (0, "")
    assert texts_of(out) == ["good", "old\rmac", "a\u2028b\x0bc\x85d", "", "  ", "\ufeffbad"]
    assert run(b"") == (0, "", "")
    assert "line 1 is not UTF-8" in run("good\n".encode("utf-16"))[2]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"text": NaN}', "line 2 has no text"),
        ('{"text": "good", "text_pair": NaN}', "line 2 has no text"),
        ('{"text": "good", "text": "bad"}', "line 2 has 'text' twice"),
        ('{"text": "good", "more": {"a": 1, "a": 2}}', "line 2 has 'a' twice"),
        ('{"text": "good", "more": ' + "[" * 100_000 + "]" * 100_000 + "}", "line 2 is not JSON"),
        ("[" * 200_000, "line 2 is not JSON"),
        ('"good"', "line 2 has no text"),
        ("null", "line 2 has no text"),
        ("good", "line 2 is not JSON"),
        ('{"text": "good"} {}', "line 2 is not JSON"),
        ('{"text": "' + "x" * (MAX_CHARACTERS + 1) + '"}', "line 2 has 1000001 characters"),
    ],
)
def test_json_lines_that_are_refused(run: Run, line: str, problem: str) -> None:
    code, out, err = run(f'{{"text": "good"}}\n{line}\n'.encode(), name="a.jsonl")
    assert (code, texts_of(out)) == (2, ["good"])
    assert problem in err
    assert len(err.splitlines()) == 2


def test_json_lines_that_are_read(run: Run) -> None:
    """Numbers that are no numbers or of many digits, where nobody reads them; blank lines have no answer."""
    lines = (
        '{"text": "good", "id": NaN, "x": -Infinity, "y": 1e999, "z": ' + "9" * 6000 + "}",
        "",
        ' {"text": "\\u0000\\u001b[2J\\ud83d\\ude00", "text_pair": null} ',
        " ",
    )
    code, out, err = run("\n".join(lines).encode(), name="a.jsonl")
    assert (code, err) == (0, "")
    assert texts_of(out) == ["good", "\0\x1b[2J😀"]


def test_long_lines(run: Run) -> None:
    code, out, err = run(b"good\n" + b"x" * (MAX_CHARACTERS + 1) + b"\ngood\n")
    assert (code, texts_of(out)) == (2, ["good"])
    assert "line 2 has 1000001 characters" in err
    code, out, err = run(b"good\n" + b"x" * (MAX_LINE_BYTES + 1))
    assert (code, texts_of(out)) == (2, ["good"])
    assert f"line 2 is longer than {MAX_LINE_BYTES} bytes" in err
    code, out, err = run(b"good " * (MAX_CHARACTERS // 5))
    assert code == 0
    assert "199938 tokens were left out" in err


def test_nothing_reaches_the_terminal_that_it_could_obey(run: Run) -> None:
    evil = f"good {ESCAPE}\x9b2J\u202e\u2066\x7f\u2028"
    for options in (("--text", evil), ("--text", evil, "--json")):
        code, out, err = run(None, *options)
        assert (code, err) == (0, "")
        assert all(char.isprintable() for char in out.removesuffix("\n"))
    assert json.loads(out)["text"] == evil
    code, out, _ = run(f"{evil}\n".encode())
    assert all(char.isprintable() for char in out.removesuffix("\n"))
    assert texts_of(out) == [evil]
    code, out, err = run(None, "--text", "a\udcffb")
    assert (code, out) == (2, "")
    assert "text 1 holds half of a surrogate pair" in err


def test_labels_and_spans_are_shown_without_commands() -> None:
    label = "yes\u202e\x1b[31m"
    for prediction in (
        Classification(label, 1.0, {label: 1.0}),
        MultiLabel((label,), {label: 1.0}),
        TokenClassification((Entity(label, 1.0, 0, 3, label),)),
        Answer(label, 1.0, 0, 3),
    ):
        lines = describe(("a\x1b[2J", "b") if isinstance(prediction, Answer) else "a\x1b[2J", prediction)
        assert harmless(lines.replace("\n", ""))
        assert "yes" in lines
    assert shown("👩\u200d👧 \u0645\u200c\u0646") == "👩\u200d👧 \u0645\u200c\u0646"


def test_masks_beyond_the_first_text(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A text without a mask ends the run after the answers to the texts before it."""
    path = tiny_bundle(tmp_path / "m", "onnxruntime", "fill-mask", table(WORDS)).path
    (tmp_path / "t.txt").write_text("the [MASK]\na [MASK]\nthe film\n[MASK]\n")
    code = main_guard(device_group(), ["run", str(path), "--file", str(tmp_path / "t.txt")])
    sys.stdout.flush()
    out, err = capfd.readouterr()
    assert (code, texts_of(out)) == (2, ["the [MASK]", "a [MASK]"])
    assert err.splitlines()[0] == "error: line 3: there is no [MASK] of the text 'the film'"


def test_fill_mask_has_bounds() -> None:
    with session("onnxruntime", "fill-mask", table(WORDS), max_length=512) as one:
        with pytest.raises(UsageError, match="top_k is 1001") as caught:
            one.predict(["[MASK]"], top_k=MAX_TOP_K + 1)
        assert caught.value.hint == "give 1 to 1000"
        with pytest.raises(UsageError, match="5 candidates for each of 500 masks") as caught:
            one.predict(["[MASK] " * 500])
        assert "8750000 characters, of 1000000 at most" in caught.value.hint
        assert len(one.predict(["[MASK] " * 100])) == 1


def test_runs_have_bounds() -> None:
    with session("onnxruntime", "text-classification", table(3)) as one:
        for feeds, problem in (
            ({"input_ids": np.ones((MAX_RUN_TOKENS // 2, 3), int)}, "196608 tokens in one run"),
            ({"input_ids": np.array([[2, WORDS]])}, f"input_ids holds {WORDS}"),
            ({"input_ids": np.array([[2, 2**63]], np.uint64)}, "input_ids holds 9223372036854775808"),
            ({"input_ids": np.ones((1, 1), int), "attention_mask": [[2]]}, "attention_mask holds 2"),
            ({"input_ids": np.ones((1, 1), int), "token_type_ids": [[7]]}, "token_type_ids holds 7"),
        ):
            with pytest.raises(UsageError, match=problem):
                one.run(feeds)  # type: ignore[arg-type]
        assert one.run({"input_ids": np.ones((2048, 64), int)})["logits"].shape == (2048, 3)
        with pytest.raises(UsageError, match="a length of 0 tokens"):
            one.prepare([0])
        assert one.prepare([10**12]) == {}


def test_shapes_to_time_have_bounds() -> None:
    check_shapes([(256, 512)], 512)
    with pytest.raises(UsageError, match="the shape 1024x512 is 524288 tokens"):
        check_shapes([(1, 8), (1024, 512)], 512)


def test_tuning_reads_no_more_than_it_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """The texts after the bound are not even read."""
    monkeypatch.setattr(workload, "MAX_TUNE_CHARACTERS", 100)
    given = iter([("a" * 20, "b" * 20), "", " ", "c" * 50, "d" * 50, "e"])
    assert workload.first_texts(given) == [("a" * 20, "b" * 20), "c" * 50]
    assert next(given) == "e"
    monkeypatch.setattr(workload, "MAX_FILE_TEXTS", 3)
    assert workload.first_texts(iter("abcdef")) == ["a", "b", "c"]


def test_a_batch_size_is_bounded_by_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = []
    with session("onnxruntime", "text-classification", table(3), batch_size=10**9) as one:
        run_it = one.backend.run
        monkeypatch.setattr("targets.runtime.session.MAX_RUN_TOKENS", 640)

        def watch(feeds: Any, outputs: Any) -> Any:
            shapes.append(feeds["input_ids"].shape)
            return run_it(feeds, outputs)

        monkeypatch.setattr(one.backend, "run", watch)
        one.predict(["good " * 60] * 50)
    assert sum(rows for rows, _ in shapes) == 50
    assert max(rows * tokens for rows, tokens in shapes) <= 640


def test_chunks_are_bounded_both_ways() -> None:
    items: list[TextItem] = ["a" * 10, ("b" * 10, "c" * 10), "", *("d" * 3,) * 7, "e" * 99, "f"]
    found = list(chunks(items, texts=4, characters=25))
    assert [each for chunk in found for each in chunk] == items
    assert [len(chunk) for chunk in found] == [1, 3, 4, 2, 1, 1]
    assert list(chunks([])) == []


def test_errors_of_the_library_name_the_text() -> None:
    with pytest.raises(UsageError, match="text 3 holds half of a surrogate pair"):
        check_items(["a", "b", ("c", "\udc80")])
    with session("onnxruntime", "text-classification", table(3)) as one:
        with pytest.raises(UsageError, match="text 2000 holds half"):
            one.predict(["a"] * 1999 + ["\ud800"])
        assert len(one.predict(["a"] * 1999)) == 1999
