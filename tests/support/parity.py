"""Padded random feeds and the comparison of two ways to compute the same model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Feeds = dict[str, NDArray[np.int64]]
Outputs = Mapping[str, NDArray[Any]]
PER_TOKEN = frozenset({"last_hidden_state"})


def random_feeds(
    batch: int = 3,
    length: int = 12,
    *,
    vocab_size: int = 200,
    type_ids: bool = True,
    pad_id: int = 0,
    lengths: Sequence[int] | None = None,
    padding_side: str = "right",
    seed: int = 0,
) -> Feeds:
    """Random token ids with padding in the batch.

    Args:
        batch: number of rows; the first one is as long as `length`.
        length: padded length.
        vocab_size: ids are drawn from the upper part of [0, vocab_size), clear of the special tokens.
        type_ids: whether the model takes token_type_ids; the second half of each row then is segment 1.
        pad_id: id of the padding token.
        lengths: real length of each row; None draws them, the first row full, the last one padded.
        padding_side: "right" or "left".
        seed: seed of ids and lengths.

    Returns:
        int64 arrays [batch, length] named as the model's inputs.
    """
    rng = np.random.default_rng(seed)
    if lengths is None:
        drawn = rng.integers(2, max(3, length), size=max(batch - 1, 0)).tolist()
        lengths = [length, *drawn]
    if len(lengths) != batch or max(lengths) > length:
        raise ValueError("lengths must name one length of at most `length` for each row")
    ids = np.full((batch, length), pad_id, dtype=np.int64)
    mask = np.zeros((batch, length), dtype=np.int64)
    types = np.zeros((batch, length), dtype=np.int64)
    for row, count in enumerate(lengths):
        span = slice(0, count) if padding_side == "right" else slice(length - count, length)
        ids[row, span] = rng.integers(min(5, vocab_size - 1), vocab_size, size=count)
        mask[row, span] = 1
        types[row, span] = np.arange(count) >= (count + 1) // 2
    feeds = {"input_ids": ids, "attention_mask": mask}
    return {**feeds, "token_type_ids": types} if type_ids else feeds


def feeds_for(config: Any, batch: int = 3, length: int = 12, *, seed: int = 0, **options: Any) -> Feeds:
    """Random feeds for a transformers config: its vocabulary, padding id and segment ids."""
    type_ids = config.model_type in ("bert", "electra") and getattr(config, "type_vocab_size", 0) > 1
    return random_feeds(
        batch,
        length,
        vocab_size=config.vocab_size,
        type_ids=type_ids,
        pad_id=config.pad_token_id,
        seed=seed,
        **options,
    )


@dataclass(frozen=True, slots=True)
class Parity:
    """The largest absolute difference of every output, over the positions that hold a token."""

    max_abs: dict[str, float]

    @property
    def worst(self) -> float:
        """The largest difference of all outputs."""
        return max(self.max_abs.values())


def _real(name: str, values: NDArray[Any], mask: NDArray[np.int64]) -> NDArray[Any]:
    """Drops padded positions of outputs that run along the sequence."""
    along_sequence = values.ndim >= 2 and values.shape[:2] == mask.shape
    per_token = name in PER_TOKEN and values.shape[1] != 1
    return values[mask.astype(bool)] if along_sequence or per_token else values


def compare(expected: Outputs, actual: Outputs, mask: NDArray[np.int64]) -> Parity:
    """Differences of two sets of outputs, which must agree in names and shapes and be finite."""
    assert set(actual) == set(expected), f"outputs {sorted(actual)} instead of {sorted(expected)}"
    differences: dict[str, float] = {}
    for name, reference in expected.items():
        value = np.asarray(actual[name])
        assert value.shape == reference.shape, f"{name}: shape {value.shape} instead of {reference.shape}"
        wanted, got = _real(name, np.asarray(reference), mask), _real(name, value, mask)
        assert np.isfinite(wanted).all(), f"{name}: the expected values are not finite"
        assert np.isfinite(got).all(), f"{name}: the values are not finite"
        gap = np.abs(wanted.astype(np.float64) - got.astype(np.float64))
        differences[name] = float(gap.max()) if gap.size else 0.0
    return Parity(differences)


def assert_parity(
    expected: Callable[[Feeds], Outputs],
    actual: Callable[[Feeds], Outputs],
    feeds: Feeds | Sequence[Feeds],
    *,
    atol: float = 1e-4,
) -> Parity:
    """Runs both callables on the same feeds and fails when an output differs by more than `atol`.

    The outputs at padded positions are not compared. Returns the worst differences over all feeds.
    """
    worst: dict[str, float] = {}
    for item in [feeds] if isinstance(feeds, dict) else feeds:
        found = compare(expected(dict(item)), actual(dict(item)), item["attention_mask"])
        for name, value in found.max_abs.items():
            worst[name] = max(value, worst.get(name, 0.0))
    over = {name: value for name, value in worst.items() if not value <= atol}
    assert not over, f"max abs difference above {atol}: {over}"
    return Parity(worst)


def torch_callable(
    model: Any, outputs: Sequence[str] | None = None
) -> Callable[[Feeds], dict[str, NDArray[Any]]]:
    """A transformers model in eval mode as a callable on numpy feeds.

    Args:
        model: the model; its result's keys name the outputs.
        outputs: which outputs to return; None for every tensor of the result.
    """
    import torch

    model.eval()

    def call(feeds: Feeds) -> dict[str, NDArray[Any]]:
        with torch.inference_mode():
            result = model(**{name: torch.from_numpy(array) for name, array in feeds.items()})
        names = [name for name in result if torch.is_tensor(result[name])] if outputs is None else outputs
        return {name: result[name].float().numpy() for name in names}

    return call
