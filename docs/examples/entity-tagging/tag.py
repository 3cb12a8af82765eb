"""Find the entities of texts, one text a line: marked in the text, or as JSON lines with their places."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from targets import Bundle
from targets.errors import BertcError
from targets.runtime.session import Session
from targets.runtime.tasks.token_classification import Entity

CHUNK = 256


def chunks(lines: Iterator[str]) -> Iterator[list[str]]:
    """The lines without their ends, some at a time; blank ones are left out."""
    chunk: list[str] = []
    for line in lines:
        if text := line.strip():
            chunk.append(text)
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def marked(text: str, entities: tuple[Entity, ...]) -> str:
    """The text with each entity in brackets, its kind behind it."""
    parts, end = [], 0
    for each in sorted(entities, key=lambda entity: entity.start):
        parts += [text[end : each.start], f"[{text[each.start : each.end]}]({each.label})"]
        end = each.end
    return "".join([*parts, text[end:]])


def tag(session: Session, lines: Iterator[str], *, as_json: bool) -> None:
    """Prints a line for each text."""
    for chunk in chunks(lines):
        for text, found in zip(chunk, session.predict(chunk), strict=True):
            line = json.dumps({"text": text, **found.to_dict()}, ensure_ascii=False)
            print(line if as_json else marked(text, found.entities))


def main() -> int:
    """Tags a file, or stdin."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", help="a token-classification bundle")
    parser.add_argument("file", nargs="?", type=Path, help="texts, one a line; stdin if left out")
    parser.add_argument("--json", action="store_true", help="JSON lines with character offsets and scores")
    options = parser.parse_args()
    try:
        with Bundle.open(options.bundle).session() as session:
            if options.file is None:
                tag(session, iter(sys.stdin), as_json=options.json)
            else:
                with options.file.open(encoding="utf-8") as lines:
                    tag(session, lines, as_json=options.json)
    except BertcError as error:
        print(f"error: {error.message}\nhint: {error.hint}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
