"""Every attack."""

from __future__ import annotations

from tests.bundle_attacks import (
    archives,
    escapes,
    files,
    json_text,
    manifests,
    onnx_models,
    openvino_models,
    outputs,
    paths,
    races,
    reports,
    selftests,
    signatures,
    tokenizers,
    tunings,
)
from tests.bundle_attacks.attack import Attack

_MODULES = (
    *(paths, files, json_text, manifests, escapes, onnx_models, openvino_models, outputs, tokenizers),
    *(selftests, reports, tunings, archives, signatures, races),
)


def attacks() -> tuple[Attack, ...]:
    """All of them, in the order of their kinds.

    Raises:
        ValueError: two have one name.
    """
    found = tuple(attack for module in _MODULES for attack in module.ATTACKS)
    if len({attack.id for attack in found}) != len(found):
        raise ValueError("two attacks have one name")
    return found
