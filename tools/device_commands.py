"""What both checks of a device's install know: packages that it must not have, and a text for each task."""

from __future__ import annotations

import json
from pathlib import Path

HOST = (
    *("torch", "transformers", "onnx", "onnx_ir", "onnxscript", "huggingface_hub", "safetensors", "rich"),
    *("scipy", "pyarrow"),
)
RUNTIMES = ("onnxruntime", "openvino")
FOUND = (
    "import importlib.util, json, sys; "
    "print(json.dumps([n for n in sys.argv[1:] if importlib.util.find_spec(n) is not None]))"
)
"""Prints which of the modules named as arguments can be imported."""


def forbidden(runtime: str) -> tuple[str, ...]:
    """What a device with one runtime must not have."""
    return (*HOST, *(name for name in RUNTIMES if name != runtime))


def sample_text(bundle: Path, task: str) -> list[str]:
    """Options of `bertc run` with a text for a task."""
    texts = ["--text", "a gripping film"]
    if task == "question-answering":
        texts += ["--text-pair", "It is a gripping film."]
    if task == "fill-mask":
        tokenizer = json.loads((bundle / "tokenizer" / "special_tokens_map.json").read_bytes())
        mask = tokenizer["mask_token"]
        texts[1] += f" {mask if isinstance(mask, str) else mask['content']}"
    return texts
