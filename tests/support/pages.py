"""The code blocks of documentation pages, to be run."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_FENCED = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of a page of docs/ in one language, in order."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return [code for kind, code in _FENCED.findall(text) if kind == language]
