"""Text of a data set as the feeds of a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import onnx_ir as ir
from numpy.typing import NDArray

from calibration.examples import Example
from compiler.frontend.checkpoint import Checkpoint
from targets.runtime.batching import batches
from targets.runtime.items import TextItem
from targets.runtime.tokenize import TextEncoder

MAX_BATCH: Final = 16
MAX_TOKENS: Final = 2048

SELFTEST_TEXTS: Final = (
    "The quick brown fox jumps over the lazy dog.",
    "A warm, funny and quietly moving story.",
    "The plot makes no sense, and it takes two hours to say so!",
    "Maria flew from Lisbon to New York on 3 May 2021 with Air Portugal.",
    "Ünïcödé, naïve café prices: €12.50 (or $13)?",
    "no",
    "In the morning the harbour was silent; by noon, boats from every island had arrived, and the market was "
    "so full that one could hardly walk from the church to the old customs house.",
)
"""What every bundle's self-test runs: short and long, punctuation, digits and letters beyond ASCII."""


@dataclass(frozen=True, slots=True)
class TextFeeds:
    """Texts grouped by length.

    Attributes:
        feeds: int64 arrays [batch, sequence] by input name, padded to the longest of their group.
        texts: how many texts they hold.
        truncated: how many of them were cut to the model's length.
    """

    feeds: tuple[Mapping[str, NDArray[Any]], ...]
    texts: int
    truncated: int


def item_of(example: Example) -> TextItem:
    """The text or pair that a session would be given."""
    return example.text if example.text_pair is None else (example.text, example.text_pair)


def items_of(examples: Iterable[Example], task: str) -> list[TextItem]:
    """What sessions are given for these rows: an embedding is of one text, so that a pair gives two."""
    items = [item_of(each) for each in examples]
    if task != "feature-extraction":
        return items
    return [text for item in items for text in ((item,) if isinstance(item, str) else item)]


def selftest_items(task: str) -> list[TextItem]:
    """Golden texts for a task: pairs where it reads two texts."""
    if task != "question-answering":
        return list(SELFTEST_TEXTS)
    context = SELFTEST_TEXTS[6]
    return [("When had the boats arrived?", context), ("Who flew to New York?", SELFTEST_TEXTS[3])]


def encoder_of(checkpoint: Checkpoint, model: ir.Model) -> TextEncoder:
    """The checkpoint's tokenizer, as a device will use it."""
    return tokenizer_of(checkpoint, any(each.name == "token_type_ids" for each in model.graph.inputs))


def tokenizer_of(checkpoint: Checkpoint, needs_type_ids: bool = False) -> TextEncoder:
    """The checkpoint's tokenizer, before there is a graph that says whether it reads token types."""
    assets = checkpoint.tokenizer
    return TextEncoder.from_bytes(assets.files["tokenizer.json"], assets.spec, needs_type_ids)


def truncation_note(truncated: int, texts: int, what: str, encoder: TextEncoder) -> tuple[str, ...]:
    """What to say of texts that were cut; nothing where none was."""
    if not truncated:
        return ()
    return (f"{truncated} of {texts} {what} texts are longer than {encoder.max_length} tokens and were cut",)


def text_feeds(items: Sequence[TextItem], encoder: TextEncoder, *, windows: bool = False) -> TextFeeds:
    """Tokenize and group texts.

    Args:
        items: texts and pairs.
        encoder: the model's tokenizer.
        windows: give a long context several windows, as question answering does.
    """
    encoded = encoder.encode(items, windows=windows)
    flat = [each for group in encoded for each in group]
    groups = batches(flat, max_batch=MAX_BATCH, max_tokens=MAX_TOKENS)
    feeds = tuple(encoder.collate([flat[index] for index in group]) for group in groups)
    return TextFeeds(feeds, len(items), sum(any(each.truncated for each in group) for group in encoded))
