"""Loads a checkpoint's weights into transformers' model, in float32, and nothing that was not stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from compiler.frontend.checkpoint import Checkpoint
from compiler.frontend.heads import EncoderWrapper, SentenceHead, load_sentence_head, output_names
from compiler.frontend.quiet import quiet_transformers
from compiler.frontend.tasks import SUPPORTED
from targets.errors import BertcError, UnsupportedError, UsageError
from targets.spec import Task

_AUTO_CLASSES: Final[Mapping[Task, str]] = {
    "text-classification": "AutoModelForSequenceClassification",
    "token-classification": "AutoModelForTokenClassification",
    "question-answering": "AutoModelForQuestionAnswering",
    "feature-extraction": "AutoModel",
    "fill-mask": "AutoModelForMaskedLM",
}


class TorchReference:
    """The checkpoint itself as a function of numpy arrays: what every later stage is compared with.

    Args:
        wrapper: the model with canonical inputs and outputs.
        names: names of its outputs.
    """

    def __init__(self, wrapper: EncoderWrapper, names: tuple[str, ...]) -> None:
        self.wrapper = wrapper
        self.output_names = names

    def __call__(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Runs int64 [batch, sequence] feeds by name; inputs that the model does not have are ignored."""
        tensors = {
            name: torch.tensor(np.asarray(feeds[name], dtype=np.int64)) for name in self.wrapper.input_names
        }
        with torch.inference_mode():
            values = self.wrapper(**tensors)
        return {name: value.numpy() for name, value in zip(self.output_names, values, strict=True)}


def load_reference(checkpoint: Checkpoint) -> TorchReference:
    """Loads the weights and builds the reference.

    Raises:
        UnsupportedError: the weights lack a part that the task needs.
        UsageError: the weights do not fit config.json.
    """
    model = _load_model(checkpoint)
    head: SentenceHead | None = None
    if checkpoint.modules is not None:
        head = load_sentence_head(checkpoint.modules, int(model.config.hidden_size))
    names = output_names(checkpoint.task, checkpoint.modules)
    rows = checkpoint.modules is None or checkpoint.modules.token_vectors
    wrapper = EncoderWrapper(model, checkpoint.task, head, token_vectors=rows).eval()
    return TorchReference(wrapper, names)


def _load_model(checkpoint: Checkpoint) -> Any:
    import transformers

    auto = getattr(transformers, _AUTO_CLASSES[checkpoint.task])
    try:
        with quiet_transformers():
            model, info = auto.from_pretrained(
                checkpoint.encoder_path,
                dtype=torch.float32,
                attn_implementation="eager",
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
    except (ValueError, RuntimeError, OSError, KeyError, ImportError, AttributeError) as error:
        raise _load_error(checkpoint, error) from error
    _require_all(checkpoint, info)
    model.config.chunk_size_feed_forward = 0
    for module in model.modules():
        if hasattr(module, "chunk_size_feed_forward"):
            module.chunk_size_feed_forward = 0
    return model.eval().requires_grad_(False)


def _load_error(checkpoint: Checkpoint, error: Exception) -> BertcError:
    text = str(error).strip() or type(error).__name__
    if "size mismatch" in text or "mismatched" in text.lower():
        return UsageError(
            f"the weights of {checkpoint.name} do not have the shapes that its config.json says",
            "use the config.json that was saved with these weights",
        )
    if "Unrecognized configuration class" in text:
        return UnsupportedError(
            f"transformers has no {checkpoint.task} model for {checkpoint.model_type}", SUPPORTED
        )
    reason = text.splitlines()[0]
    return UsageError(f"{checkpoint.name} cannot be loaded: {reason}", "check the checkpoint's files")


def _require_all(checkpoint: Checkpoint, info: Mapping[str, Any]) -> None:
    if info.get("mismatched_keys"):
        raise UsageError(
            f"the weights of {checkpoint.name} do not have the shapes that its config.json says",
            "use the config.json that was saved with these weights",
        )
    missing = sorted(info["missing_keys"])
    if checkpoint.task == "feature-extraction":
        # The pooler's output is no part of the traced graph.
        missing = [name for name in missing if not name.startswith("pooler.")]
    if not missing:
        return
    heads = sorted({name.split(".", 1)[0] for name in missing})
    raise UnsupportedError(
        f"{checkpoint.name} has no weights for {checkpoint.task}: {missing[0]} is missing"
        + (f" ({len(missing)} tensors of {', '.join(heads)})" if len(missing) > 1 else ""),
        "choose another --task, or fine-tune the model for this one first",
    )
