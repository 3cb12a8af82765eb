"""onnxruntime's own quantization of a BERT, as its documentation describes it for transformers.

The graph goes through the transformer optimizer and then through the quantizer's pre-processing. Attention is
fused where the quantizer knows the fused operator (dynamic) and left as matrix products where it does not
(static). The pre-processing's own graph optimization stays off: the transformer optimizer has done that
work, and onnxruntime would split Softmax and Gelu into elementary operators here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tools.peers.request import Feeds, Request, record_versions, requested

MODEL = "model.onnx"


def main() -> None:
    """Makes the model that is asked for."""
    request = requested()
    target = request.output / MODEL
    method = request.options["method"]
    if method == "float":
        _optimize(request, target, attention=True)
    else:
        prepared = _prepare(request, attention=method == "dynamic")
        (_dynamic if method == "dynamic" else _static)(request, prepared, target)
        prepared.unlink()
    record_versions(request.output, ["onnxruntime", "onnx"])


def _optimize(request: Request, target: Path, *, attention: bool) -> None:
    from onnxruntime.transformers.fusion_options import FusionOptions
    from onnxruntime.transformers.optimizer import optimize_model

    options = FusionOptions("bert")
    options.enable_attention = attention
    options.enable_embed_layer_norm = attention
    optimized = optimize_model(
        str(request.model),
        model_type="bert",
        num_heads=request.options["heads"],
        hidden_size=request.options["hidden"],
        optimization_options=options,
        opt_level=0,
    )
    optimized.save_model_to_file(str(target))


def _prepare(request: Request, *, attention: bool) -> Path:
    from onnxruntime.quantization.shape_inference import quant_pre_process

    optimized, prepared = request.output / "optimized.onnx", request.output / "prepared.onnx"
    _optimize(request, optimized, attention=attention)
    quant_pre_process(str(optimized), str(prepared), skip_optimization=True, auto_merge=True)
    optimized.unlink()
    return prepared


def _dynamic(request: Request, prepared: Path, target: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    options = request.options
    weights = QuantType[options["weight_type"]]
    quantize_dynamic(prepared, target, per_channel=options["per_channel"], weight_type=weights)


def _static(request: Request, prepared: Path, target: Path) -> None:
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    options = request.options
    quantize_static(
        prepared,
        target,
        _reader(request.calibration()),
        quant_format=QuantFormat[options["format"]],
        op_types_to_quantize=options["operators"],
        per_channel=options["per_channel"],
        reduce_range=False,
        activation_type=QuantType[options["activation_type"]],
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod[options["calibration"]],
        extra_options=_extra_options(options),
    )


def _extra_options(options: dict[str, Any]) -> dict[str, Any]:
    extra = {"MatMulConstBOnly": options["weights_only"]}
    # Without a stride the histograms take arrays of one shape alone, and texts differ in length.
    return extra if options["calibration"] == "MinMax" else {**extra, "CalibStridedMinMax": 1}


def _reader(feeds: list[Feeds]) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc, unused-ignore]
        """One text at a time, so that no padding enters the statistics."""

        def __init__(self) -> None:
            self.set_range(0, len(feeds))

        def __len__(self) -> int:
            return len(feeds)

        def set_range(self, start_index: int, end_index: int) -> None:
            self._rest = iter(feeds[start_index:end_index])

        def get_next(self) -> Any:
            return next(self._rest, None)

    return Reader()


if __name__ == "__main__":
    main()
