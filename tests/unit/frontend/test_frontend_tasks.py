from __future__ import annotations

from typing import Any

import pytest

from compiler.frontend.tasks import choose_task, refuse_other_models, task_of_name
from targets.errors import UnsupportedError, UsageError

MLM = ("bert.embeddings.word_embeddings.weight", "cls.predictions.bias")


def choose(
    *architectures: str, weights: tuple[str, ...] | None = (), asked: str | None = None, modules: bool = False
) -> str:
    config: dict[str, Any] = {"architectures": list(architectures)} if architectures else {}
    return choose_task(config, weights, asked=asked, sentence_modules=modules, model="m")


@pytest.mark.parametrize(
    ("architecture", "task"),
    [
        ("BertForSequenceClassification", "text-classification"),
        ("XLMRobertaForTokenClassification", "token-classification"),
        ("DistilBertForQuestionAnswering", "question-answering"),
        ("ElectraForMaskedLM", "fill-mask"),
        ("RobertaModel", "feature-extraction"),
    ],
)
def test_from_the_architecture(architecture: str, task: str) -> None:
    assert choose(architecture) == task


def test_pretraining_checkpoints() -> None:
    assert choose("BertForPreTraining", weights=MLM) == "fill-mask"
    assert choose("ElectraForPreTraining", weights=("discriminator_predictions.dense.weight",)) == (
        "feature-extraction"
    )


def test_sentence_modules_decide() -> None:
    assert choose("BertForMaskedLM", weights=MLM, modules=True) == "feature-extraction"
    assert choose("BertForMaskedLM", weights=MLM, modules=True, asked="fill-mask") == "fill-mask"


def test_without_an_architecture() -> None:
    assert choose(weights=("bert.x", "qa_outputs.weight")) == "question-answering"
    assert choose(weights=MLM) == "fill-mask"
    assert choose(weights=("embeddings.x",)) == "feature-extraction"
    with pytest.raises(UsageError, match="names no architecture"):
        choose(weights=("classifier.weight",))
    assert choose(weights=("classifier.weight",), asked="ner") == "token-classification"
    with pytest.raises(UsageError, match="names no architecture") as caught:
        choose(weights=None)
    assert "--task" in caught.value.hint
    assert choose(weights=None, asked="question-answering") == "question-answering"


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("sequence-classification", "text-classification"),
        ("ner", "token-classification"),
        ("embeddings", "feature-extraction"),
        ("sentence-similarity", "feature-extraction"),
        ("masked-lm", "fill-mask"),
        ("fill-mask", "fill-mask"),
    ],
)
def test_aliases(name: str, task: str) -> None:
    assert task_of_name(name) == task


def test_unknown_task() -> None:
    with pytest.raises(UsageError, match="unknown task 'summarization'") as caught:
        choose("BertModel", asked="summarization")
    assert "text-classification" in caught.value.hint


@pytest.mark.parametrize(
    ("architecture", "asked"),
    [
        ("BertForSequenceClassification", "token-classification"),
        ("BertForTokenClassification", "text-classification"),
        ("BertModel", "question-answering"),
        ("BertForSequenceClassification", "fill-mask"),
    ],
)
def test_no_head_for_the_task(architecture: str, asked: str) -> None:
    with pytest.raises(UnsupportedError, match=f"no head for {asked}.*{architecture}") as caught:
        choose(architecture, weights=("classifier.weight",), asked=asked)
    assert "feature-extraction" in caught.value.hint


def test_other_heads_are_declined() -> None:
    with pytest.raises(UnsupportedError, match="BertForMultipleChoice") as caught:
        choose("BertForMultipleChoice", weights=("classifier.weight",))
    assert "feature-extraction" in caught.value.hint
    assert choose("BertForMultipleChoice", asked="feature-extraction") == "feature-extraction"


@pytest.mark.parametrize(
    ("config", "word"),
    [
        ({"model_type": "t5", "is_encoder_decoder": True}, "encoder-decoder"),
        ({"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}, "text generator"),
        ({"model_type": "llama", "architectures": ["LlamaForSequenceClassification"]}, "text generator"),
        ({"model_type": "bert", "is_decoder": True}, "text generator"),
        ({"model_type": "vit", "image_size": 224}, "more than text"),
        ({"model_type": "vit"}, "no encoder of text"),
        ({"model_type": "wav2vec2"}, "no encoder of text"),
        ({"model_type": "clip", "vision_config": {}}, "more than text"),
        ({"model_type": "made-up"}, "does not know"),
        ({}, "does not know"),
        ({"model_type": "bert", "auto_map": {"AutoModel": "modeling.X"}}, "code of its own"),
        ({"model_type": "bert", "quantization_config": {"bits": 4}}, "already quantized"),
    ],
)
def test_other_models_are_declined(config: dict[str, Any], word: str) -> None:
    with pytest.raises(UnsupportedError, match=word) as caught:
        refuse_other_models(config, "m")
    assert caught.value.hint


@pytest.mark.parametrize(
    "model_type",
    ["bert", "roberta", "distilbert", "electra", "xlm-roberta", "camembert", "mpnet", "deberta-v2", "albert"],
)
def test_encoders_are_let_through(model_type: str) -> None:
    refuse_other_models({"model_type": model_type, "architectures": ["XModel"]}, "m")
