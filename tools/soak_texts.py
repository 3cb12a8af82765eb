"""Texts without end for `tools.soak`: short ones of a file's words, and now and then an odd one."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from targets.errors import UsageError
from targets.runtime.items import TextItem

MEDIAN_WORDS: Final = 12
SIGMA: Final = 0.7
LONGEST: Final = 400
ODD_EVERY: Final = 40
_MAX_BYTES: Final = 64 << 20
_ODD: Final = (
    *(
        "",
        " ",
        "\n\t ",
        "\0\x1b[2J",
        "\ufeff",
        "\u202eevil\u202c",
        "x" * 3000,
        "!" * 300,
        "a" + "\u0301" * 200,
    ),
    *("👩\u200d👩\u200d👧 😀", "שלום עולם", "مرحبا", "東京に行く", "ﷺ", "[SEP] <mask> </s>", "\u2028", "¾²ﬁ"),
)


def read_words(path: Path) -> tuple[str, ...]:
    """The words of a file, each once, in order of their first use.

    Raises:
        UsageError: it cannot be read, or has no words.
    """
    try:
        text = path.read_bytes()[:_MAX_BYTES].decode("utf-8", "replace")
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", "check --file") from error
    words = tuple(dict.fromkeys(text.split()))
    if not words:
        raise UsageError(f"{path} has no words", "give a file of text")
    return words


def made_texts(
    words: tuple[str, ...], task: str, count: int, seed: int, mask: str | None = None
) -> Iterator[TextItem]:
    """So many texts that a task takes, the same for the same seed.

    Lengths are log-normal with a median of 12 words. One in 40 is odd: empty, white space, control
    characters, emoji, other scripts, one long word, or random characters of all of Unicode.

    Args:
        words: to draw from.
        task: a pair of question and context for question answering, a mask in each text for fill-mask.
        count: how many.
        seed: of words, lengths and characters.
        mask: the mask token.
    """
    rng = random.Random(seed)
    for number in range(count):
        text = _odd(rng) if number % ODD_EVERY == ODD_EVERY - 1 else _words(rng, words)
        if task == "question-answering":
            yield _words(rng, words), text
        elif task == "fill-mask":
            yield f"{mask} {text}"
        else:
            yield text


def write_jsonl(path: Path, items: Iterator[TextItem]) -> None:
    """Writes what `bertc run --file` reads."""
    with path.open("w", encoding="utf-8") as stream:
        for item in items:
            row = {"text": item} if isinstance(item, str) else {"text": item[0], "text_pair": item[1]}
            stream.write(json.dumps(row) + "\n")


def _words(rng: random.Random, words: tuple[str, ...]) -> str:
    count = min(LONGEST, max(1, round(math.exp(rng.gauss(math.log(MEDIAN_WORDS), SIGMA)))))
    return " ".join(rng.choices(words, k=count))


def _odd(rng: random.Random) -> str:
    if rng.random() < 0.5:
        return rng.choice(_ODD)
    characters = (chr(rng.randrange(0x20, 0x110000)) for _ in range(rng.randrange(1, 60)))
    return "".join(char for char in characters if not "\ud800" <= char <= "\udfff")
