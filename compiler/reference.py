"""The FP32 model that everything is compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from compiler.frontend.export import Reference
from compiler.ir.execute import Runner
from targets.errors import InternalError

PARITY: Final = 1e-3


class ReferenceBackend:
    """The float IR in onnxruntime, as a backend of `targets.runtime.session.Session`.

    Args:
        model: the float IR.
        threads: 0 for every core.
    """

    def __init__(self, model: ir.Model, *, threads: int = 0) -> None:
        """Builds the session."""
        import onnxruntime

        self._runner = Runner(model, threads=threads)
        self.name = "onnxruntime"
        self.version = str(onnxruntime.__version__)

    @property
    def input_names(self) -> tuple[str, ...]:
        """The model's inputs."""
        return self._runner.input_names

    @property
    def output_names(self) -> tuple[str, ...]:
        """The model's outputs."""
        return self._runner.output_names

    def run(
        self, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str] | None = None
    ) -> dict[str, NDArray[Any]]:
        """One batch."""
        return self._runner(feeds, outputs)

    def close(self) -> None:
        """Nothing to release before the object goes."""


def check_parity(model: ir.Model, reference: Reference, feeds: Mapping[str, NDArray[Any]]) -> float:
    """Compare the IR with the checkpoint in torch on one padded batch.

    Args:
        model: the IR after the passes.
        reference: the checkpoint.
        feeds: one batch with padding in it.

    Returns:
        The largest absolute difference, over the rows of tokens, relative to the largest output if
        that is above 1.

    Raises:
        InternalError: it is above 1e-3, so that no accuracy measured against this IR would mean anything.
    """
    runner = Runner(model)
    expected = reference({name: feeds[name] for name in runner.input_names})
    found = runner(feeds)
    mask = feeds["attention_mask"].astype(bool)
    worst = max(_difference(expected[name], found[name], mask) for name in found)
    if not worst <= PARITY:
        raise InternalError(
            f"the compiled graph differs from the checkpoint by {worst:.2g} before quantization"
        )
    return worst


def _difference(expected: NDArray[Any], found: NDArray[Any], mask: NDArray[np.bool_]) -> float:
    if expected.ndim >= 2 and expected.shape[:2] == mask.shape:
        expected, found = expected[mask], found[mask]
    scale = max(1.0, float(np.abs(expected).max(initial=0.0)))
    return float(np.abs(expected - found).max(initial=0.0)) / scale
