"""Embed the lines of a text file, and keep texts and vectors in an .npz."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from targets import Bundle
from targets.errors import BertcError


def main() -> int:
    """Writes the index."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", help="a sentence-embedding bundle")
    parser.add_argument("texts", type=Path, help="one text a line")
    parser.add_argument("index", type=Path, help="the .npz to write")
    options = parser.parse_args()
    texts = [line for line in options.texts.read_text(encoding="utf-8").splitlines() if line.strip()]
    try:
        with Bundle.open(options.bundle).session(objective="throughput") as session:
            found = session.predict(texts)
    except BertcError as error:
        print(f"error: {error.message}\nhint: {error.hint}", file=sys.stderr)
        return error.exit_code
    vectors = np.stack([each.embedding for each in found])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    np.savez(options.index, texts=np.array(texts, dtype=np.str_), vectors=vectors)
    print(f"{len(texts)} texts, {vectors.shape[1]} numbers each")
    return 0


if __name__ == "__main__":
    sys.exit(main())
