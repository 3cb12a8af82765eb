from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from compiler.validate import embeddings
from tests.support.data import scored_pair_rows
from tests.support.evaluation import evaluator_of, predicted
from tests.support.tiny_runtime import RUNTIMES, WORDS, table

TEXTS = [" ".join((*WORDS[i : i + 3], *WORDS[i : i + i % 3])) for i in range(16)]


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_cosine_to_fp32(tmp_path: Path, runtime: str) -> None:
    evaluator = evaluator_of(tmp_path, "feature-extraction", [{"text": text} for text in TEXTS])
    assert (evaluator.metric, evaluator.n, evaluator.labelled) == ("cosine", 16, False)
    values = table(8)
    baseline = predicted(evaluator, values, runtime=runtime)
    assert baseline["embeddings"].shape == (16, 8)
    assert baseline["embeddings"].dtype == np.float32
    same = evaluator.compare(baseline, baseline, max_drop=0.0)
    assert (same.baseline, same.compiled, same.ci95, same.status) == (1.0, 1.0, (0.0, 0.0), "passed")
    assert same.metrics["compiled"] == {"cosine": 1.0, "overlap_at_10": 1.0}
    noisy = predicted(evaluator, values + 0.3 * table(8, seed=1), runtime=runtime)
    found = evaluator.compare(baseline, noisy, max_drop=0.001)
    assert found.compiled is not None
    assert 0.8 < found.compiled < 0.99
    assert found.status == "failed"
    assert found.agreement == found.compiled
    assert found.metrics["compiled"]["overlap_at_10"] < 1.0


def test_scored_pairs(tmp_path: Path) -> None:
    rows = scored_pair_rows(24)
    evaluator = evaluator_of(tmp_path, "feature-extraction", rows)
    assert (evaluator.metric, evaluator.n, evaluator.scored) == ("spearman", 24, 24)
    assert evaluator.items[:2] == (rows[0]["sentence1"], rows[0]["sentence2"])
    rng = np.random.default_rng(0)
    vectors = np.zeros((48, 2), dtype=np.float32)
    vectors[:, 0] = 1.0
    angles = (5.0 - np.array([row["score"] for row in rows])) / 5.0
    vectors[1::2] = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    baseline = {"embeddings": vectors}
    assert evaluator.metrics(baseline)["spearman"] == pytest.approx(1.0)
    compiled = {"embeddings": vectors + rng.normal(0, 0.4, vectors.shape).astype(np.float32)}
    found = evaluator.compare(baseline, compiled, max_drop=0.01)
    assert found.delta is not None
    assert found.ci95 is not None
    assert found.ci95[0] < found.delta < found.ci95[1]
    assert set(found.metrics["compiled"]) == {"spearman", "cosine", "overlap_at_10"}
    assert found.status == "failed"


def test_labels_without_use_are_not_read(tmp_path: Path) -> None:
    rows = [{"text": text, "label": "good"} for text in TEXTS]
    assert not evaluator_of(tmp_path, "feature-extraction", rows).labelled
    named = [{"premise": text, "hypothesis": text, "label": "neutral"} for text in TEXTS]
    evaluator = evaluator_of(tmp_path, "feature-extraction", named)
    assert (evaluator.labelled, evaluator.n, evaluator.scored) == (False, 16, 32)


def test_one_text_has_no_neighbours(tmp_path: Path) -> None:
    evaluator = evaluator_of(tmp_path, "feature-extraction", [{"text": "a film"}])
    baseline = predicted(evaluator, table(4))
    found = evaluator.compare(baseline, baseline, max_drop=0.0)
    assert found.metrics["compiled"] == {"cosine": 1.0}
    assert found.status == "passed"


def test_retrieval_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embeddings, "_MAX_RETRIEVAL", 5)
    sizes = []

    def overlap(compiled: np.ndarray, baseline: np.ndarray, k: int) -> np.ndarray:
        sizes.append((len(compiled), len(baseline), k))
        return np.ones(len(compiled))

    monkeypatch.setattr(embeddings, "overlap_at_k", overlap)
    evaluator = evaluator_of(tmp_path, "feature-extraction", [{"text": text} for text in TEXTS])
    baseline = predicted(evaluator, table(4))
    evaluator.fidelity(baseline, baseline)
    assert sizes == [(4, 4, 10)]


def test_other_dimensions_do_not_fit(tmp_path: Path) -> None:
    evaluator = evaluator_of(tmp_path, "feature-extraction", [{"text": text} for text in TEXTS])
    assert evaluator.fits({"embeddings": np.zeros((16, 3))})
    assert not evaluator.fits({"embeddings": np.zeros((15, 3))})
    assert not evaluator.fits({"embeddings": np.zeros((16, 0))})
