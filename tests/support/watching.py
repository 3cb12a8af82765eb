"""An instrument that compares the graph with a reference after every pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import onnx_ir as ir

from compiler.ir.execute import Runner
from compiler.passes.base import Pass, PassResult
from tests.support.parity import Feeds, assert_parity


class ParityProbe:
    """Fails as soon as the graph and the reference differ.

    Args:
        reference: feeds to outputs.
        feeds: padded batches.
        atol: largest difference of an output.
    """

    def __init__(self, reference: Callable[[Any], Any], feeds: Sequence[Feeds], atol: float = 1e-4) -> None:
        self._reference = reference
        self._feeds = feeds
        self._atol = atol
        self.checked: list[str] = []

    def start(self, model: ir.Model) -> None:
        self._check("trace", model)

    def after(self, index: int, done: Pass, model: ir.Model, result: PassResult) -> None:
        del index, result
        self._check(done.name, model)

    def _check(self, name: str, model: ir.Model) -> None:
        assert_parity(self._reference, Runner(model, threads=1), self._feeds, atol=self._atol)
        self.checked.append(name)
