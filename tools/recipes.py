"""How each peer is asked to quantize: its documented settings, and where they leave a choice, the choices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

Origin = Literal["fusable", "export", "checkpoint"]


@dataclass(frozen=True, slots=True)
class Variant:
    """One documented choice of settings.

    Attributes:
        name: what it does.
        options: what the maker is told.
    """

    name: str
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Recipe:
    """One peer.

    Attributes:
        name: in the table.
        key: on the command line.
        runtime: which runs its model.
        module: the maker, run with `python -m`.
        file: what the maker leaves in its folder.
        needs: a package that the maker imports, by the name of the import.
        install: how to get it.
        origin: what it starts from: the ONNX file in which the transformer optimizer finds attention, the
            export that bertc compiles, or the checkpoint.
        calibrated: whether it depends on the calibration texts.
        variants: all are made and measured with the first seed, and the one with the least error is kept.
    """

    name: str
    key: str
    runtime: str
    module: str
    file: str
    needs: str
    install: str
    origin: Origin
    calibrated: bool
    variants: tuple[Variant, ...]


def _onnxruntime(name: str, variants: tuple[Variant, ...], *, calibrated: bool = False) -> Recipe:
    return Recipe(
        name,
        "onnxruntime",
        "onnxruntime",
        "tools.peers.onnxruntime_int8",
        "model.onnx",
        "onnxruntime",
        'pip install "bertc[compile]"',
        "fusable",
        calibrated,
        variants,
    )


def _dynamic(name: str, *, per_channel: bool, weight_type: str) -> Variant:
    return Variant(name, {"method": "dynamic", "per_channel": per_channel, "weight_type": weight_type})


def _static(
    name: str,
    *,
    calibration: str = "MinMax",
    form: str = "QDQ",
    activations: str = "QUInt8",
    everything: bool = False,
) -> Variant:
    options = {
        "method": "static",
        "format": form,
        "activation_type": activations,
        "per_channel": True,
        "calibration": calibration,
        "operators": None if everything else ["MatMul", "Gemm"],
        "weights_only": not everything,
    }
    return Variant(name, options)


def _bias_correction(**options: Any) -> tuple[Variant, ...]:
    return (
        Variant("fast bias correction", {"fast_bias_correction": True, **options}),
        Variant("full bias correction", {"fast_bias_correction": False, **options}),
    )


RECIPES: Final = (
    _onnxruntime("onnxruntime FP32, optimizer", (Variant("fused attention", {"method": "float"}),)),
    _onnxruntime(
        "onnxruntime INT8, dynamic",
        (
            _dynamic("fused attention, S8 weights per channel", per_channel=True, weight_type="QInt8"),
            _dynamic("fused attention, S8 weights per tensor", per_channel=False, weight_type="QInt8"),
            _dynamic("fused attention, U8 weights per tensor", per_channel=False, weight_type="QUInt8"),
        ),
    ),
    _onnxruntime(
        "onnxruntime INT8, static",
        (
            _static("linear layers, QDQ U8S8 per channel, MinMax"),
            _static("linear layers, QDQ U8S8 per channel, Percentile", calibration="Percentile"),
            _static("linear layers, QDQ U8S8 per channel, Entropy", calibration="Entropy"),
            _static("linear layers, QOperator U8S8 per channel, MinMax", form="QOperator"),
            _static("every operator, QDQ S8S8 per channel, MinMax", activations="QInt8", everything=True),
        ),
        calibrated=True,
    ),
    Recipe(
        "NNCF INT8, openvino",
        "nncf",
        "openvino",
        "tools.peers.nncf_int8",
        "openvino_model.xml",
        "nncf",
        "pip install nncf, here or in another environment that --peer-python nncf=PYTHON names",
        "export",
        True,
        _bias_correction(),
    ),
    Recipe(
        "optimum-intel INT8, openvino",
        "optimum",
        "openvino",
        "tools.peers.optimum_int8",
        "openvino_model.xml",
        "optimum.intel",
        'pip install "optimum-intel[openvino,nncf]" in an environment of its own, because it asks for '
        "another transformers, and name it with --peer-python optimum=PYTHON",
        "checkpoint",
        True,
        _bias_correction(smooth_quant_alpha=None),
    ),
)
"""In the order of the table."""

KEYS: Final = tuple(dict.fromkeys(each.key for each in RECIPES))
