"""The pages of the repository: their links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES += sorted((ROOT / "docs").rglob("*.md"))
_LINK = re.compile(r"\]\(\s*<?([^)\s>]+)")
_CODE = re.compile(r"^```.*?^```|^ {4}.*?$|`[^`\n]+`", re.MULTILINE | re.DOTALL)
_ELSEWHERE = ("http://", "https://", "mailto:", "#")


def links(text: str) -> list[str]:
    """What a page's links lead to within the repository, without the part of the page."""
    found = _LINK.findall(_CODE.sub("", text))
    return [link.partition("#")[0] for link in found if not link.startswith(_ELSEWHERE)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file(page: Path) -> None:
    broken = [link for link in links(page.read_text("utf-8")) if not (page.parent / link).exists()]
    assert broken == []


def test_links_are_found() -> None:
    text = """A [page](docs/a.md#part), [two
words](b.md), [elsewhere](https://c.org/d.md), [here](#part), `[code](e.md)` and

    [more](f.md)

```
[code](g.md)
```
([last](h.md "title"))
"""
    assert links(text) == ["docs/a.md", "b.md", "h.md"]
    assert "docs/benchmarks.md" in links((ROOT / "README.md").read_text("utf-8"))
