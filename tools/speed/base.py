"""A checkpoint of BERT-base's shape with random weights: fast as any such, its answers without meaning."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

import torch
from transformers import AutoConfig, BertConfig, BertForSequenceClassification

_FILES: Final = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json")


def write_base(model: str, folder: Path) -> Path:
    """Twelve layers of width 768 beside the tokenizer of `model`, a local folder.

    Returns:
        The folder.
    """
    folder.mkdir(parents=True)
    vocabulary = AutoConfig.from_pretrained(model).vocab_size
    torch.manual_seed(0)
    network = BertForSequenceClassification(BertConfig(vocab_size=vocabulary))
    network.save_pretrained(folder)
    for name in _FILES:
        if (Path(model) / name).is_file():
            shutil.copy(Path(model) / name, folder / name)
    return folder
