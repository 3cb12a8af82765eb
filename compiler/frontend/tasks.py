"""Which task a checkpoint is for, and which tasks its weights allow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

from targets.errors import UnsupportedError, UsageError
from targets.spec import TASKS, Task

SUPPORTED: Final = (
    "supported: encoders of the BERT family (BERT, RoBERTa, DistilBERT, ELECTRA, MiniLM, XLM-RoBERTa) for "
    + ", ".join(TASKS)
)
TASK_ALIASES: Final[Mapping[str, Task]] = {
    "sequence-classification": "text-classification",
    "ner": "token-classification",
    "embeddings": "feature-extraction",
    "sentence-similarity": "feature-extraction",
    "masked-lm": "fill-mask",
}

_HEADS: Final[tuple[tuple[str, Task], ...]] = (
    ("ForSequenceClassification", "text-classification"),
    ("ForTokenClassification", "token-classification"),
    ("ForQuestionAnswering", "question-answering"),
    ("ForMaskedLM", "fill-mask"),
    ("Model", "feature-extraction"),
)
_MLM_PREFIXES: Final = ("cls.predictions.", "lm_head.", "vocab_transform.", "generator_predictions.")
_QA_PREFIXES: Final = ("qa_outputs.",)
_CLASSIFIER_PREFIXES: Final = ("classifier.",)
_GENERATORS: Final = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration", "DecoderModel")
_OTHER_INPUTS: Final = ("vision_config", "audio_config", "image_size", "num_mel_bins", "patch_size")


def task_of_name(name: str) -> Task:
    """The task called `name`, which may be an alias; UsageError naming the tasks otherwise."""
    if name in TASKS:
        return name
    if name in TASK_ALIASES:
        return TASK_ALIASES[name]
    raise UsageError(f"unknown task {name!r}", f"choose --task from: {', '.join(TASKS)}")


def refuse_other_models(config: Mapping[str, Any], model: str) -> None:
    """Raises UnsupportedError for what is plainly no bidirectional text encoder.

    Args:
        config: the checkpoint's config.json.
        model: what errors call the checkpoint.
    """
    architectures = architectures_of(config)
    kind = f"{config.get('model_type', 'unknown')} ({', '.join(architectures) or 'no architecture named'})"
    if config.get("auto_map"):
        raise UnsupportedError(
            f"{model} needs code of its own (auto_map in config.json), which bertc does not run",
            "use a checkpoint that transformers loads without trust_remote_code, or export it to .onnx",
        )
    if config.get("quantization_config") or config.get("compression_config"):
        raise UnsupportedError(
            f"{model} is already quantized (quantization_config in config.json)",
            "pass the checkpoint in float32, float16 or bfloat16",
        )
    if config.get("is_encoder_decoder"):
        raise UnsupportedError(f"{model} is an encoder-decoder model: {kind}", SUPPORTED)
    if config.get("is_decoder") or any(name.endswith(_GENERATORS) for name in architectures):
        raise UnsupportedError(f"{model} is a text generator, not an encoder: {kind}", SUPPORTED)
    if any(key in config for key in _OTHER_INPUTS):
        raise UnsupportedError(f"{model} reads more than text: {kind}", SUPPORTED)
    _refuse_model_type(config, model, kind)


def _refuse_model_type(config: Mapping[str, Any], model: str, kind: str) -> None:
    from transformers.models.auto import modeling_auto as auto
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    model_type = config.get("model_type")
    if not isinstance(model_type, str) or model_type not in CONFIG_MAPPING:
        raise UnsupportedError(f"{model} has a model_type that transformers does not know: {kind}", SUPPORTED)
    if model_type not in auto.MODEL_MAPPING_NAMES:
        raise UnsupportedError(f"{model} is no encoder of text: {kind}", SUPPORTED)
    if model_type in auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES:
        return
    generators = (auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES)
    if any(model_type in names for names in generators):
        raise UnsupportedError(f"{model} is a text generator, not an encoder: {kind}", SUPPORTED)
    if model_type not in auto.MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES and not any(
        model_type in names
        for names in (
            auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
            auto.MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES,
        )
    ):
        raise UnsupportedError(f"{model} is no encoder of text: {kind}", SUPPORTED)


def architectures_of(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The class names in config.json's `architectures`; empty when it has none."""
    names = config.get("architectures")
    if not isinstance(names, list):
        return ()
    return tuple(name for name in names if isinstance(name, str))


def choose_task(
    config: Mapping[str, Any],
    weights: Iterable[str] | None,
    *,
    asked: str | None,
    sentence_modules: bool,
    model: str,
) -> Task:
    """The task to compile for.

    Args:
        config: the checkpoint's config.json.
        weights: names of the tensors in the checkpoint; None when names say nothing (an .onnx file).
        asked: the user's --task, or None.
        sentence_modules: whether the folder has sentence-transformers' modules.json.
        model: what errors call the checkpoint.

    Raises:
        UnsupportedError: the checkpoint has no head for the task.
        UsageError: an unknown task, or a head whose task cannot be told.
    """
    architectures = architectures_of(config)
    names = tuple(weights or ())
    named = tuple(task for name in architectures for suffix, task in _HEADS if name.endswith(suffix))
    possible = _possible(named, names, ambiguous=not architectures)
    if weights is None and not architectures:
        possible = TASKS
    if asked is not None:
        task = task_of_name(asked)
        if task not in possible:
            head = f"its architecture is {architectures[0]}" if architectures else "its weights hold none"
            raise UnsupportedError(
                f"{model} has no head for {task}: {head}", f"choose --task from: {', '.join(possible)}"
            )
        return task
    if sentence_modules:
        return "feature-extraction"
    if named:
        return named[0]
    if possible == TASKS:
        raise UsageError(
            f"the config.json of {model} names no architecture", f"pass --task, one of: {', '.join(TASKS)}"
        )
    return _guess(architectures, possible, names, model)


def _starts(names: Iterable[str], prefixes: tuple[str, ...]) -> bool:
    return any(name.startswith(prefixes) for name in names)


def _possible(named: tuple[Task, ...], weights: tuple[str, ...], *, ambiguous: bool) -> tuple[Task, ...]:
    found: set[Task] = {*named, "feature-extraction"}
    if _starts(weights, _MLM_PREFIXES):
        found.add("fill-mask")
    if _starts(weights, _QA_PREFIXES):
        found.add("question-answering")
    if ambiguous and _starts(weights, _CLASSIFIER_PREFIXES):
        found |= {"text-classification", "token-classification"}
    return tuple(task for task in TASKS if task in found)


def _guess(
    architectures: tuple[str, ...], possible: tuple[Task, ...], weights: tuple[str, ...], model: str
) -> Task:
    if not architectures and _starts(weights, _CLASSIFIER_PREFIXES):
        raise UsageError(
            f"{model} has a classifier, but its config.json names no architecture",
            "say what it classifies: --task text-classification or --task token-classification",
        )
    if architectures and not architectures[0].endswith("ForPreTraining"):
        raise UnsupportedError(
            f"{model} has a head that bertc does not compile: {architectures[0]}",
            f"without that head, choose --task from: {', '.join(possible)}",
        )
    for task in ("question-answering", "fill-mask"):
        if task in possible:
            return cast(Task, task)
    return "feature-extraction"
