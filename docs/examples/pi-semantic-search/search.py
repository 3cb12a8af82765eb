"""Find the texts of an index that are nearest to a question."""

from __future__ import annotations

import argparse
import sys

import numpy as np

from targets import Bundle
from targets.errors import BertcError


def main() -> int:
    """Prints the nearest texts, the best first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", help="the bundle that made the index")
    parser.add_argument("index", help="the .npz that index.py wrote")
    parser.add_argument("question")
    parser.add_argument("--top", type=int, default=3, help="how many texts")
    options = parser.parse_args()
    try:
        with Bundle.open(options.bundle).session() as session:
            (found,) = session.predict([options.question])
    except BertcError as error:
        print(f"error: {error.message}\nhint: {error.hint}", file=sys.stderr)
        return error.exit_code
    with np.load(options.index, allow_pickle=False) as index:
        texts, vectors = index["texts"], index["vectors"]
    scores = vectors @ (found.embedding / np.linalg.norm(found.embedding))
    for place in np.argsort(-scores, kind="stable")[: options.top]:
        print(f"{scores[place]:.3f}  {texts[place]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
