"""Tiny checkpoints with random weights and real tokenizers, saved as ordinary Hugging Face folders."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.tokenizers import Kind, save_tokenizer

if TYPE_CHECKING:
    import torch

FAMILIES = ("bert", "roberta", "distilbert", "electra", "minilm", "xlm-roberta")
TASKS = (
    "text-classification",
    "token-classification",
    "question-answering",
    "feature-extraction",
    "fill-mask",
)
SENTIMENT_LABELS = ("negative", "positive")
TOPIC_LABELS = ("people", "places", "companies", "opinions")
NER_LABELS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-ORG", "I-ORG")

_POOLING_KEYS = {
    "cls": "cls_token",
    "mean": "mean_tokens",
    "max": "max_tokens",
    "mean_sqrt_len": "mean_sqrt_len_tokens",
}
_AUTO_CLASSES = {
    "text-classification": "AutoModelForSequenceClassification",
    "token-classification": "AutoModelForTokenClassification",
    "question-answering": "AutoModelForQuestionAnswering",
    "feature-extraction": "AutoModel",
    "fill-mask": "AutoModelForMaskedLM",
}


@dataclass(frozen=True, slots=True)
class Family:
    """How a family names its config, its tokenizer and its positions."""

    model_type: str
    tokenizer_class: str
    tokenizer: Kind
    pad_id: int
    first_position: int = 0


_FAMILY = {
    "bert": Family("bert", "BertTokenizer", "wordpiece", 0),
    "minilm": Family("bert", "BertTokenizer", "wordpiece", 0),
    "electra": Family("electra", "ElectraTokenizer", "wordpiece", 0),
    "distilbert": Family("distilbert", "DistilBertTokenizer", "wordpiece", 0),
    "roberta": Family("roberta", "RobertaTokenizer", "bpe", 1, 2),
    "xlm-roberta": Family("xlm-roberta", "XLMRobertaTokenizer", "unigram", 1, 2),
}


def default_labels(task: str, problem_type: str | None = None) -> tuple[str, ...]:
    """The labels a checkpoint gets when the test names none; empty for tasks without labels."""
    if problem_type == "regression":
        return ("score",)
    if problem_type == "multi_label_classification":
        return TOPIC_LABELS
    return {"text-classification": SENTIMENT_LABELS, "token-classification": NER_LABELS}.get(task, ())


def _sizes(family: str, hidden: int, layers: int, heads: int, intermediate: int) -> dict[str, Any]:
    if family == "distilbert":
        return {"dim": hidden, "n_layers": layers, "n_heads": heads, "hidden_dim": intermediate}
    sizes: dict[str, Any] = {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": intermediate,
    }
    if family == "electra":
        sizes["embedding_size"] = hidden // 2
    return sizes


def _specials(family: Family) -> dict[str, Any]:
    if family.tokenizer == "wordpiece":
        return {"pad_token_id": family.pad_id}
    return {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}


def randomize(model: torch.nn.Module, seed: int) -> None:
    """Draws every weight so that activations keep a spread of about one and outputs follow the input.

    Linear weights have a standard deviation of 1.1 / sqrt(inputs) (0.2 at 32 inputs); biases and LayerNorm
    parameters are random too, so that a pass that loses one of them is seen.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)

    def draw(tensor: torch.Tensor, std: float, mean: float = 0.0) -> None:
        tensor.copy_(mean + std * torch.randn(tensor.shape, generator=generator))

    with torch.no_grad():
        for name, module in sorted(model.named_modules(), key=lambda item: item[0]):
            if isinstance(module, torch.nn.Linear):
                draw(module.weight, 1.1 / math.sqrt(module.in_features))
                if module.bias is not None:
                    draw(module.bias, 0.1)
            elif isinstance(module, torch.nn.Embedding):
                draw(module.weight, 0.3 if "word" in name else 0.1)
            elif isinstance(module, torch.nn.LayerNorm):
                draw(module.weight, 0.1, mean=1.0)
                draw(module.bias, 0.1)
        for name, parameter in sorted(model.named_parameters()):
            if "." not in name or name.endswith("predictions.bias"):
                draw(parameter, 0.1)


def _write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _write_dense(folder: Path, inputs: int, outputs: int, seed: int) -> None:
    import torch
    from safetensors.torch import save_file

    linear = torch.nn.Linear(inputs, outputs)
    randomize(linear, seed)
    activation = "torch.nn.modules.activation.Tanh"
    _write_json(
        folder / "config.json",
        {"in_features": inputs, "out_features": outputs, "bias": True, "activation_function": activation},
    )
    weights = {"linear.weight": linear.weight.data, "linear.bias": linear.bias.data}
    save_file(weights, folder / "model.safetensors")


def add_sentence_modules(
    folder: Path,
    *,
    hidden: int,
    pooling: str = "mean",
    dense: int | None = None,
    normalize: bool = False,
    max_length: int = 64,
    seed: int = 0,
) -> None:
    """Adds sentence-transformers modules to a feature-extraction checkpoint.

    Args:
        folder: the checkpoint.
        hidden: width of the encoder.
        pooling: "mean", "cls", "max" or "mean_sqrt_len".
        dense: width of a Dense module with tanh after the pooling; None for no such module.
        normalize: whether a Normalize module comes last.
        max_length: the `max_seq_length` written to sentence_bert_config.json.
        seed: seed of the dense weights.
    """
    if pooling not in _POOLING_KEYS:
        raise ValueError(f"unknown pooling {pooling!r}")
    modules = [("", "Transformer"), ("1_Pooling", "Pooling")]
    modes = {f"pooling_mode_{key}": mode == pooling for mode, key in _POOLING_KEYS.items()}
    _write_json(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": hidden, **modes})
    if dense is not None:
        modules.append((f"{len(modules)}_Dense", "Dense"))
        _write_dense(folder / modules[-1][0], hidden, dense, seed)
    if normalize:
        modules.append((f"{len(modules)}_Normalize", "Normalize"))
    _write_json(
        folder / "modules.json",
        [
            {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{name}"}
            for index, (path, name) in enumerate(modules)
        ],
    )
    _write_json(folder / "sentence_bert_config.json", {"max_seq_length": max_length, "do_lower_case": False})
    version = {"sentence_transformers": "5.0.0"}
    _write_json(folder / "config_sentence_transformers.json", {"__version__": version})


def make_checkpoint(
    folder: Path,
    family: str,
    task: str,
    *,
    hidden: int = 32,
    layers: int = 2,
    heads: int = 4,
    intermediate: int = 64,
    labels: list[str] | tuple[str, ...] | None = None,
    dtype: str = "float32",
    seed: int = 0,
    vocab_size: int = 600,
    lowercase: bool = True,
    max_length: int = 128,
    pooling: str | None = None,
    dense: int | None = None,
    normalize: bool = False,
    **config: Any,
) -> Path:
    """Writes a checkpoint that AutoTokenizer and AutoModel load, and returns its folder.

    Args:
        folder: where to write; created when missing.
        family: one of FAMILIES.
        task: one of TASKS.
        hidden: width of the residual stream.
        layers: number of encoder layers.
        heads: attention heads per layer.
        intermediate: width of the FFN.
        labels: label names in order of id; None for the defaults of the task and of config's problem_type.
        dtype: "float32", "float16" or "bfloat16": how the weights are stored.
        seed: seed of the weights.
        vocab_size: most entries the tokenizer may have; the model has exactly as many as the tokenizer.
        lowercase: whether a WordPiece tokenizer lowers its input.
        max_length: positions that the model can take, and the tokenizer's model_max_length.
        pooling: with feature-extraction, adds sentence-transformers modules with this pooling.
        dense: with pooling, adds a Dense module of this width.
        normalize: with pooling, adds a Normalize module.
        config: more keys of the model's config, such as problem_type="regression".
    """
    import torch
    import transformers

    known = _FAMILY[family]
    tokenizer = save_tokenizer(
        folder,
        known.tokenizer,
        known.tokenizer_class,
        max_length=max_length,
        vocab_size=vocab_size,
        lowercase=lowercase,
    )
    names = default_labels(task, config.get("problem_type")) if labels is None else tuple(labels)
    settings: dict[str, Any] = {
        **_sizes(family, hidden, layers, heads, intermediate),
        **_specials(known),
        "vocab_size": tokenizer.get_vocab_size(),
        "max_position_embeddings": max_length + known.first_position,
    }
    if family in ("roberta", "xlm-roberta"):
        settings["type_vocab_size"] = 1
    if names:
        settings["id2label"] = dict(enumerate(names))
        settings["label2id"] = {name: index for index, name in enumerate(names)}
    model_config = transformers.AutoConfig.for_model(known.model_type, **{**settings, **config})
    model = getattr(transformers, _AUTO_CLASSES[task]).from_config(model_config)
    randomize(model, seed)
    model.eval().to(getattr(torch, dtype)).save_pretrained(folder)
    if pooling is not None:
        add_sentence_modules(
            folder,
            hidden=hidden,
            pooling=pooling,
            dense=dense,
            normalize=normalize,
            max_length=max_length,
            seed=seed,
        )
    return folder
