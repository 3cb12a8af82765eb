"""ONNX models on onnxruntime's CPU provider."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnxruntime as ort

from targets.errors import FailedRunError, IncompatibleError
from targets.runtime.backends.base import Array, check_options, closed_error
from targets.runtime.backends.onnx_guard import check_self_contained

_SWITCH = frozenset({"0", "1"})

ALLOWED_OPTIONS: Mapping[str, frozenset[str] | None] = {
    "graph_optimization_level": frozenset({"all", "extended", "basic", "disable"}),
    "session.disable_prepacking": _SWITCH,
    "session.disable_double_qdq_remover": _SWITCH,
    "session.disable_quant_qdq": _SWITCH,
    "session.dynamic_block_base": None,
    "session.enable_quant_qdq_cleanup": _SWITCH,
    "session.intra_op.allow_spinning": _SWITCH,
    "session.qdqisint8allowed": _SWITCH,
    "session.qdq_matmulnbits_accuracy_level": None,
    "session.set_denormal_as_zero": _SWITCH,
    "session.use_env_allocators": _SWITCH,
    "session.x64quantprecision": _SWITCH,
    "mlas.enable_gemm_fastmath_arm64_bfloat16": _SWITCH,
    "optimization.enable_gelu_approximation": _SWITCH,
}

_LEVELS = {
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
    "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "disable": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
}


class OnnxRuntimeBackend:
    """A model on onnxruntime.

    Args:
        model: the bytes of an ONNX file with its weights inside, or a trusted path.
        threads: intra-op threads of one run, at least 1; calls may be made side by side.
        options: each on `ALLOWED_OPTIONS`.

    Raises:
        IncompatibleError: this onnxruntime cannot load the model.
        UnsupportedError: an option off the list, or a model from bytes that names files or foreign operators.
    """

    name = "onnxruntime"

    def __init__(self, model: bytes | Path, *, threads: int, options: Mapping[str, str]) -> None:
        """Loads the model."""
        check_options(self.name, options, ALLOWED_OPTIONS)
        if isinstance(model, bytes):
            check_self_contained(model)
        source = model if isinstance(model, bytes) else str(model)
        try:
            session = ort.InferenceSession(
                source, session_options(threads, options), providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's own exceptions share no base class
            raise IncompatibleError(
                f"onnxruntime {ort.__version__} cannot load the model: {_first_line(error)}",
                'run `bertc verify` on the bundle, or: pip install -U "bertc[onnxruntime]"',
            ) from error
        self._session: Any = session
        self.version: str = ort.__version__
        self.input_names: tuple[str, ...] = tuple(item.name for item in session.get_inputs())
        self.output_names: tuple[str, ...] = tuple(item.name for item in session.get_outputs())
        self.output_widths: Mapping[str, int] = {
            item.name: item.shape[-1]
            for item in session.get_outputs()
            if item.shape and isinstance(item.shape[-1], int)
        }

    def run(self, feeds: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        """Runs the model; see `targets.runtime.backends.base.Backend.run`."""
        session = self._session  # what another thread closes is released when this run is done
        if session is None:
            raise closed_error()
        names = self.output_names if outputs is None else tuple(outputs)
        try:
            values = session.run(names, dict(feeds))
        except Exception as error:  # as above
            raise FailedRunError(
                f"onnxruntime failed to run the model: {_first_line(error)}",
                "run `bertc selftest` on the bundle",
            ) from error
        return dict(zip(names, values, strict=True))

    def close(self) -> None:
        """Releases the session."""
        self._session = None


def session_options(threads: int, options: Mapping[str, str]) -> ort.SessionOptions:
    """A session's options, from those that `ALLOWED_OPTIONS` names."""
    result = ort.SessionOptions()
    result.intra_op_num_threads = threads
    result.inter_op_num_threads = 1
    # Fatal alone: what is wrong is raised, and said once.
    result.log_severity_level = 4
    for key, value in options.items():
        if key == "graph_optimization_level":
            result.graph_optimization_level = _LEVELS[value]
        else:
            result.add_session_config_entry(key, value)
    return result


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
