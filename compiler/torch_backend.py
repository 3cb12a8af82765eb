"""The checkpoint in torch, where a session expects a runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from numpy.typing import NDArray

from compiler.frontend.torch_model import TorchReference


class TorchBackend:
    """The checkpoint's own module in FP32, run op by op, as a backend of `targets.runtime.session.Session`.

    Args:
        reference: the loaded checkpoint.
        attention: transformers' name of the attention that it runs with; `sdpa`, torch's fused one, is what
            transformers takes when nothing is said. None leaves the reference as it is.
    """

    name = "torch"

    def __init__(self, reference: TorchReference, *, attention: str | None = None) -> None:
        self._reference = reference
        self._attention = attention
        self.version = str(torch.__version__)
        self.input_names: tuple[str, ...] = reference.wrapper.input_names
        self.output_names: tuple[str, ...] = reference.output_names

    def run(
        self, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str] | None = None
    ) -> dict[str, NDArray[Any]]:
        """One batch; torch's own number of threads is used."""
        self._use_attention()
        found = self._reference(feeds)
        return found if outputs is None else {name: found[name] for name in outputs}

    def close(self) -> None:
        """Nothing to release before the object goes."""

    def _use_attention(self) -> None:
        config: Any = self._reference.wrapper.model.config
        if self._attention is not None and config._attn_implementation != self._attention:
            model: Any = self._reference.wrapper.model
            model.set_attn_implementation(self._attention)
