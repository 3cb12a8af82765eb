"""What Hugging Face's clients read beside a model, so that they load a bundle's `model/` unchanged.

`optimum` takes config.json and the model from one folder, `transformers` the tokenizer from there too, and
`sentence-transformers` modules.json with the settings of each module. A client pools `last_hidden_state` by
itself: the vector of each token, or the embedding alone (see `SentenceModules.token_vectors`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from compiler.frontend.checkpoint import Checkpoint
from compiler.frontend.reading import write_json
from compiler.frontend.sentence import NormalizeModule, PoolingMode, SentenceModules
from targets.bundle.schema import Manifest, TensorSpec

_PREFIX: Final = "sentence_transformers.models."
_POOLING_KEYS: Final[Mapping[PoolingMode, str]] = {
    "cls": "pooling_mode_cls_token",
    "max": "pooling_mode_max_tokens",
    "mean": "pooling_mode_mean_tokens",
    "mean_sqrt_len": "pooling_mode_mean_sqrt_len_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}


def client_files(checkpoint: Checkpoint, manifest: Manifest) -> dict[str, bytes]:
    """Content by path in `model/`: configuration, tokenizer, and the modules of a sentence embedding.

    Args:
        checkpoint: what is compiled.
        manifest: of its bundle; its files may be missing yet.
    """
    files = dict(checkpoint.tokenizer.files)
    files["config.json"] = write_json(_model_config(checkpoint))
    tokens = next((each for each in manifest.outputs if each.name == "last_hidden_state"), None)
    if checkpoint.modules is None or tokens is None:
        return files
    return files | _module_files(checkpoint.modules, tokens, manifest)


def _model_config(checkpoint: Checkpoint) -> dict[str, Any]:
    """config.json with what kind of answer the bundle gives, which clients would guess otherwise."""
    config = {key: value for key, value in checkpoint.config.items() if key != "_name_or_path"}
    problem = checkpoint.task_config.problem_type
    return config if problem is None else {**config, "problem_type": problem}


def _module_files(modules: SentenceModules, tokens: TensorSpec, manifest: Manifest) -> dict[str, bytes]:
    _, rows, width = tokens.shape
    pooling: Sequence[PoolingMode] = ("cls",) if rows == 1 else modules.pooling
    kinds = [("Transformer", ""), ("Pooling", "1_Pooling")]
    if rows != 1 and any(isinstance(stage, NormalizeModule) for stage in modules.stages):
        kinds.append(("Normalize", "2_Normalize"))
    listing = [
        {"idx": index, "name": str(index), "path": path, "type": _PREFIX + kind}
        for index, (kind, path) in enumerate(kinds)
    ]
    wanted = {key: mode in pooling for mode, key in _POOLING_KEYS.items()}
    return {
        "modules.json": write_json(listing),
        "sentence_bert_config.json": write_json(_settings(manifest)),
        "config_sentence_transformers.json": write_json(dict(modules.settings)),
        "1_Pooling/config.json": write_json({"word_embedding_dimension": width, **wanted}),
    }


def _settings(manifest: Manifest) -> dict[str, Any]:
    """Length, and OpenVINO's options; texts are lowered by tokenizer.json where the model wants that."""
    settings = {"do_lower_case": False, "max_seq_length": manifest.max_length}
    options = dict(manifest.runtime.options)
    if manifest.runtime.backend != "openvino" or not options:
        return settings
    return {**settings, "model_args": {"ov_config": options}}
