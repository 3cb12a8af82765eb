"""optimum-intel's full quantization of a checkpoint: its own export to OpenVINO, then its OVQuantizer."""

from __future__ import annotations

from tools.peers.request import record_versions, requested

_CLASSES = {
    "text-classification": "OVModelForSequenceClassification",
    "token-classification": "OVModelForTokenClassification",
    "question-answering": "OVModelForQuestionAnswering",
    "fill-mask": "OVModelForMaskedLM",
}


def main() -> None:
    """Makes the model that is asked for."""
    import nncf  # type: ignore[import-not-found, unused-ignore]
    import optimum.intel as intel  # type: ignore[import-not-found, unused-ignore]

    request = requested()
    task = request.options["task"]
    if task not in _CLASSES:
        raise SystemExit(f"optimum-intel exports no whole graph for {task}")
    feeds = request.calibration()
    model = getattr(intel, _CLASSES[task]).from_pretrained(request.model, export=True, compile=False)
    config = intel.OVQuantizationConfig(
        num_samples=len(feeds),
        fast_bias_correction=request.options["fast_bias_correction"],
        smooth_quant_alpha=request.options["smooth_quant_alpha"],
    )
    intel.OVQuantizer.from_pretrained(model).quantize(
        calibration_dataset=nncf.Dataset(feeds),
        ov_config=intel.OVConfig(quantization_config=config),
        save_directory=request.output,
    )
    record_versions(request.output, ["optimum-intel", "transformers", "nncf", "openvino"])


if __name__ == "__main__":
    main()
