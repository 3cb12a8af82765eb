"""Feature extraction: one vector for a text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from targets.runtime.inference import Inference
from targets.runtime.tasks.scores import finite


@dataclass(frozen=True, slots=True, eq=False)
class Embedding:
    """The sentence embedding, float32 [dimension]; pooling and normalizing are inside the model."""

    embedding: NDArray[np.float32]

    def to_dict(self) -> dict[str, Any]:
        """The fields, ready for JSON."""
        return {"embedding": [float(str(value)) for value in self.embedding]}


def decode(inference: Inference) -> Embedding:
    """Takes `sentence_embedding` [dimension] as it is."""
    found = np.array(inference.windows[0].outputs["sentence_embedding"], dtype=np.float32)
    return Embedding(finite(found))
