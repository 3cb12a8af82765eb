"""Run an IR with onnxruntime on the host: calibration taps, parity probes, the FP32 reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import onnx_ir as ir
from numpy.typing import NDArray

from compiler.ir.edit import weight_bytes
from compiler.ir.wire import encoded
from targets.errors import UnsupportedError

Feeds = Mapping[str, NDArray[Any]]

LARGEST_MODEL: Final = 2**31 - 2**24
"""Bytes of weights that still fit, with the graph beside them, into a protobuf message of 2 GiB."""


def clone(model: ir.Model) -> ir.Model:
    """A copy of the graph that shares the weights."""
    return model.clone()


def serialize(model: ir.Model) -> bytes:
    """The ONNX bytes of a model, weights inside.

    Raises:
        UnsupportedError: the model is larger than the 2 GiB that one protobuf message holds.
    """
    size = weight_bytes(model)
    if size > LARGEST_MODEL:
        raise UnsupportedError(
            f"the model has {size / 2**30:.1f} GiB of weights in FP32, and one ONNX file holds 2",
            "compile a smaller model of the family (base instead of large)",
        )
    return encoded(ir.to_proto(model))


class Runner:
    """An onnxruntime session over an IR: numpy in, numpy out.

    Args:
        model: the IR; it is not changed.
        taps: values to return in place of the graph's outputs, by name; what they do not need is not run.
        threads: intra-op threads, 0 for every core.
        optimize: let onnxruntime fuse; switch it off to compare op by op.
    """

    def __init__(
        self, model: ir.Model, *, taps: Sequence[str] = (), threads: int = 0, optimize: bool = True
    ) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        # Between runs others compute: threads that spin would take their cores.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if not optimize:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        data = serialize(_executable(model, taps))
        self._session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        self.input_names = tuple(each.name for each in self._session.get_inputs())
        self.output_names = tuple(each.name for each in self._session.get_outputs())

    def __call__(self, feeds: Feeds, outputs: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
        """Every output, or those named, for one batch; feeds that the model lacks are left out."""
        names = list(outputs or self.output_names)
        known = {name: feeds[name] for name in self.input_names}
        return dict(zip(names, self._session.run(names, known), strict=True))


def _executable(model: ir.Model, taps: Sequence[str]) -> ir.Model:
    from compiler.ir.attention import to_multi_head_attention
    from compiler.ir.edit import sweep

    copy = clone(model)
    if taps:
        values = {out.name: out for node in copy.graph for out in node.outputs}
        copy.graph.outputs.clear()
        copy.graph.outputs.extend(values[name] for name in taps)
        sweep(copy.graph)
    to_multi_head_attention(copy)
    return copy
