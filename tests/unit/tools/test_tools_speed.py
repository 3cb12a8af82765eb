"""The speed comparison: what is run how often, and what the page says of it."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from targets.errors import InternalError
from targets.runtime.backends import open_backend_from_path
from tests.support.tiny_runtime import encoder, onnx_model, session, table
from tools.speed import roofline, startup, timing
from tools.speed.models import HINTS, Reshaped
from tools.speed.page import page, ratios, to_json
from tools.speed.peers_async import AsyncPeer
from tools.speed.run import Race, Speed
from tools.speed.startup import Start
from tools.speed.timing import Timed, bundle_pass, peer_pass, sorted_batches, time_passes, time_stream

TEXTS = ["a good film", "bad", "the film was good in berlin", "good", "it was bad !"]
VALUES = table(3)


class Counting:
    """Counts what it is asked to run."""

    def __init__(self) -> None:
        self.seen: Counter[int] = Counter()

    def run(self, feeds: Any) -> object:
        self.seen[feeds["input_ids"].shape[1]] += 1
        return None

    def close(self) -> None:
        """Holds nothing."""


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "_SETTLE", 0.0)


def feeds(length: int) -> dict[str, Any]:
    ids = np.ones((1, length), np.int64)
    return {"input_ids": ids, "attention_mask": ids, "token_type_ids": np.zeros_like(ids)}


def test_every_round_runs_a_block_of_every_model() -> None:
    models = {"one": Counting(), "other": Counting()}
    advanced: list[int] = []
    found = timing.time_shape(models, feeds(7), 3, advanced.append)
    assert advanced == [1, 1, 1]
    for name, model in models.items():
        assert model.seen == {7: 3 * 14}
        assert found[name].blocks.shape == (3,)
        assert found[name].runs.shape == (30,)


def test_a_stream_keeps_its_first_pass_apart() -> None:
    model = Counting()
    texts = [feeds(1 + number % 9) for number in range(120)]
    first, later = time_stream({"one": model}, texts, 2, lambda _: None)["one"]
    assert first.runs.shape == (120,)
    assert first.blocks.shape == (3,)
    assert later.runs.shape == (240,)
    assert sum(model.seen.values()) == 3 * (120 + 3 * 4)
    assert first.blocks[0] == pytest.approx(first.runs[:50].mean())


def test_ratios_compare_blocks_of_one_round() -> None:
    slow, fast = Timed(np.array([2.0, 4.0, 6.0]), np.zeros(3)), Timed(np.array([1.0, 2.0, 3.0]), np.zeros(3))
    ratio = fast.faster_than(slow)
    assert (ratio.value, ratio.low, ratio.high) == (2.0, 2.0, 2.0)


def test_bulk_runs_every_text(tmp_path: Path) -> None:
    batches = sorted_batches(encoder(), TEXTS, 2)
    assert [len(each["input_ids"]) for each in batches] == [2, 2, 1]
    widths = [each["input_ids"].shape[1] for each in batches]
    assert widths == sorted(widths, reverse=True)
    model = tmp_path / "model.onnx"
    model.write_bytes(onnx_model("text-classification", VALUES))
    backend = open_backend_from_path("openvino", model, threads=1)
    outputs: Any = peer_pass(backend, encoder(), TEXTS, 2)()
    own = np.concatenate([each["logits"] for each in outputs])
    kept: Any = AsyncPeer(model, 1).all_texts(encoder(), TEXTS, 2)()
    np.testing.assert_allclose(np.concatenate([kept[place] for place in sorted(kept)]), own, atol=1e-6)
    with session("onnxruntime", "text-classification", VALUES) as opened:
        answers: Any = bundle_pass(opened, TEXTS)()
        assert len(answers) == len(TEXTS)
    times = time_passes({"one": lambda: 1}, 4, lambda _: None)
    assert times["one"].blocks.shape == (4,)


@pytest.mark.parametrize("hint", HINTS)
def test_reshaped_models_answer_as_the_dynamic_one(tmp_path: Path, hint: str) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(onnx_model("text-classification", VALUES))
    own = Reshaped(model, (1, 6), hint, 1)
    expected = open_backend_from_path("openvino", model, threads=1).run(feeds(6))["logits"]
    np.testing.assert_allclose(own.run(feeds(6)), expected, atol=2e-2)
    own.close()


def test_the_products_of_an_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roofline, "_SECONDS", 0.02)
    config = SimpleNamespace(hidden_size=8, intermediate_size=16, num_hidden_layers=2)
    layer = 3 * 5 * (4 * 8 * 8 + 2 * 8 * 16) + 3 * (2 * 5 * 5 * 8)
    assert roofline.encoder_products(config, 3, 5) == 2 * layer
    assert roofline.measured_rate(1) > 1e9


def test_the_start_of_a_process() -> None:
    seconds, megabytes = startup._once([sys.executable, "-S", "-c", "print('x' * 3)"])
    assert 0 < seconds < 60
    assert 1 < megabytes < 200
    with pytest.raises(InternalError, match="exit status 3"):
        startup._once([sys.executable, "-S", "-c", "print(1); raise SystemExit(3)"])
    with pytest.raises(InternalError, match="failed"):
        startup._once([sys.executable, "-S", "-c", "pass"])


def timed(*milliseconds: float) -> Timed:
    values = np.array(milliseconds)
    return Timed(values, values)


def speed() -> Speed:
    own, used, hand = timed(1.0, 1.0), timed(3.0, 3.0), timed(1.5, 1.5)
    times = {"bertc INT8, openvino": own, "NNCF INT8, openvino": used, "NNCF, reshaped to 1x8": hand}
    best = "bertc INT8, openvino"
    shape = Race(
        "1x8",
        times,
        best,
        ("NNCF INT8, openvino", own.faster_than(used)),
        ("NNCF, reshaped to 1x8", own.faster_than(hand)),
        products=10**6,
    )
    two = {best: own, "NNCF INT8, openvino": used}
    stream = Race("real texts", two, best, ("NNCF INT8, openvino", own.faster_than(used)))
    bulk = Race("all texts in bulk", two, best, ("NNCF INT8, openvino", own.faster_than(used)))
    starts = {"bertc run": Start(0.3, 150.0)}
    return Speed((shape, stream, bulk), 4e9, 2, two, {8: 0.25}, starts)


def test_the_page_says_what_was_measured() -> None:
    found = page({"tiny": speed()}, "a machine", "python -m tools.compare_speed")
    for line in (
        "3.00x [3.00, 3.00]",
        "1.50x [1.50, 1.50]",
        "| the products alone, at the rate below | 0.25 ms |",
        "their share of bertc's time",
        "Large INT8 products reach 4 GMAC/s",
        "NNCF, reshaped ",
        "8 (0.25 s)",
        "2000",
        "0.30 s",
        "150 MiB",
    ):
        assert line in found, line
    assert "tiny, 1x8" in ratios({"tiny": speed()})
    document = json.loads(to_json({"tiny": speed()}, {"command": "x"}))
    (shape, stream, _) = document["models"]["tiny"]["races"]
    assert shape["as_used"]["value"] == 3.0
    assert stream["reshaped"] is None
    assert document["models"]["tiny"]["starts"]["bertc run"]["memory_mb"] == 150.0
