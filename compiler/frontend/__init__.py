"""From a checkpoint to a traced graph: nothing here is imported before it is used."""

from __future__ import annotations

from typing import Final

OPSET: Final = 23
"""The ONNX opset of every traced graph."""
