"""ONNX files as the field's exporters write them, and the torch model that they came from."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from tests.support.parity import Feeds

Reference = Callable[[Feeds], dict[str, NDArray[Any]]]
NAMES = ("input_ids", "attention_mask")


def export_onnx(folder: Path, file: Path, *, attention: str, dynamo: bool, opset: int) -> Reference:
    """Export a text classifier without segment ids and return the torch model as a function of feeds.

    Args:
        folder: of the checkpoint.
        file: to be written.
        attention: "eager" or "sdpa".
        dynamo: torch.export, else the older tracing exporter.
        opset: of the file.
    """
    import torch
    import transformers

    auto = transformers.AutoModelForSequenceClassification
    model = auto.from_pretrained(folder, attn_implementation=attention).eval()

    class Wrapper(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, ids: Any, mask: Any) -> Any:
            return self.model(input_ids=ids, attention_mask=mask).logits

    samples = torch.full((2, 8), 7), torch.ones(2, 8, dtype=torch.long)
    options: dict[str, Any] = {"dynamic_axes": {name: {0: "b", 1: "s"} for name in NAMES}}
    if dynamo:
        axes = {0: torch.export.Dim("b", min=1, max=512), 1: torch.export.Dim("s", min=2, max=100)}
        options = {"dynamic_shapes": (axes, axes), "verbose": False}
    file.parent.mkdir(parents=True, exist_ok=True)
    with quiet():
        torch.onnx.export(
            Wrapper().eval(),
            samples,
            str(file),
            dynamo=dynamo,
            opset_version=opset,
            input_names=list(NAMES),
            output_names=["logits"],
            **options,
        )

    def reference(feeds: Feeds) -> dict[str, NDArray[Any]]:
        with torch.inference_mode():
            logits = model(**{name: torch.from_numpy(feeds[name]) for name in NAMES}).logits
        return {"logits": logits.numpy()}

    return reference


@contextmanager
def quiet() -> Iterator[None]:
    """Without the exporters' own warnings and progress."""
    known = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(known)
