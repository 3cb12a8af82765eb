"""NNCF's post-training quantization of an ONNX file, by its recipe for transformers, as OpenVINO IR.

The preset (mixed for transformers) and SmoothQuant with its alpha are NNCF's defaults for the model type.
"""

from __future__ import annotations

from tools.peers.request import record_versions, requested

MODEL = "openvino_model.xml"


def main() -> None:
    """Makes the model that is asked for."""
    import nncf  # type: ignore[import-not-found, unused-ignore]
    import openvino as ov

    request = requested()
    feeds = request.calibration()
    quantized = nncf.quantize(
        ov.Core().read_model(str(request.model)),
        nncf.Dataset(feeds),
        preset=nncf.QuantizationPreset.MIXED,
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(feeds),
        fast_bias_correction=request.options["fast_bias_correction"],
    )
    ov.save_model(quantized, request.output / MODEL)
    record_versions(request.output, ["nncf", "openvino"])


if __name__ == "__main__":
    main()
