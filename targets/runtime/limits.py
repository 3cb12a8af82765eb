"""How much a session takes at once. What is beyond is a UsageError, and costs no more than that."""

from __future__ import annotations

from typing import Final

MAX_TEXTS: Final = 100_000
"""Texts of one call."""

MAX_CHARACTERS: Final = 1_000_000
"""Characters of one text, and of each text of a pair."""

MAX_LINE_BYTES: Final = 16 * MAX_CHARACTERS
"""Bytes of a line of a file or of stdin: room for every character written as a JSON escape."""

MAX_WINDOW_TOKENS: Final = 1 << 20
"""Tokens of all windows of one context together."""

MAX_RUN_TOKENS: Final = 1 << 17
"""Tokens of one run of the model, padding included."""

MAX_TOP_K: Final = 1000
"""Candidates of fill-mask for each mask."""

MAX_FILLED_CHARACTERS: Final = 1_000_000
"""Characters of the texts that fill-mask writes for one text: one text for each candidate of each mask."""

MAX_TUNE_CHARACTERS: Final = 10 * MAX_CHARACTERS
"""Characters of the texts of a file that tuning times, together; what comes after is not read."""

CHUNK_TEXTS: Final = 1024
"""Texts that are tokenized, grouped by length and run before the next are looked at."""

CHUNK_CHARACTERS: Final = 1 << 18
"""Characters of those texts; one that is longer is looked at by itself."""

PIECE_CHARACTERS: Final = 1 << 15
"""Characters that the tokenizer is given at once, which bounds its memory: it takes up to 1 KiB for each."""
