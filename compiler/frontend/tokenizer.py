"""The checkpoint's tokenizer as one tokenizer.json with what a device must know beside it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from compiler.frontend.quiet import quiet_transformers
from compiler.frontend.reading import read_json, write_json
from targets.bundle.schema import TokenizerSpec
from targets.errors import UsageError
from targets.temporary import scratch_folder

TOKENIZER_FILE: Final = "tokenizer.json"
CONFIG_FILE: Final = "tokenizer_config.json"
SPECIALS_FILE: Final = "special_tokens_map.json"

_SLOW_FILES: Final = ("vocab.txt", "vocab.json", "sentencepiece.bpe.model", "spiece.model", "spm.model")
# Keys that hold paths or the saving process's own state.
_PRIVATE_KEYS: Final = (
    *("name_or_path", "_name_or_path", "special_tokens_map_file", "tokenizer_file", "vocab_file"),
    *("merges_file", "is_local", "local_files_only", "from_slow", "cache_dir", "auto_map"),
)
_SANE_LENGTH: Final = 1_000_000
_PROBES: Final = (
    "Hello, world! It's 9:30 and naïve café-goers paid $12.50.",
    "  Two  spaces, UPPER lower, e-mail@example.org 東京 ½ don't",
)
_FAST_HINT: Final = "save a fast one: AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)"


@dataclass(frozen=True, slots=True)
class TokenizerAssets:
    """The tokenizer's files, and what tokenizer.json does not say.

    Attributes:
        files: content by file name: tokenizer.json without truncation and padding, and the
            configuration files that Hugging Face clients read.
        spec: class, limits and padding.
    """

    files: Mapping[str, bytes]
    spec: TokenizerSpec


@dataclass(frozen=True, slots=True)
class LoadedTokenizer:
    """A tokenizer before its maximum length is decided.

    Attributes:
        document: tokenizer.json without truncation and padding.
        config: tokenizer_config.json without paths.
        specials: special_tokens_map.json.
        spec: with `max_length` being the tokenizer's own limit, or 0 when it has none.
        files: the files it came from.
        notes: what a user should know, one line each.
    """

    document: Mapping[str, Any]
    config: Mapping[str, Any]
    specials: Mapping[str, Any]
    spec: TokenizerSpec
    files: tuple[Path, ...]
    notes: tuple[str, ...]

    def assets(self, config: Mapping[str, Any], max_length: int) -> TokenizerAssets:
        """The files of a bundle, for texts of at most `max_length` tokens."""
        model_config = {key: value for key, value in config.items() if key != "_name_or_path"}
        files = {
            TOKENIZER_FILE: _compact_json(self.document),
            CONFIG_FILE: write_json({**self.config, "model_max_length": max_length}),
            "config.json": write_json(model_config),
        }
        if self.specials:
            files[SPECIALS_FILE] = write_json(self.specials)
        old = self.spec
        spec = TokenizerSpec(
            tokenizer_class=old.tokenizer_class,
            max_length=max_length,
            pad_id=old.pad_id,
            pad_token=old.pad_token,
            pad_type_id=old.pad_type_id,
            padding_side=old.padding_side,
            mask_token_id=old.mask_token_id,
        )
        return TokenizerAssets(files, spec)


def _compact_json(document: Mapping[str, Any]) -> bytes:
    """In the order given, which tokenizers relies on, without the spaces that are a quarter of its size."""
    return (json.dumps(document, ensure_ascii=False, separators=(",", ":")) + "\n").encode()


def load_tokenizer(
    folder: Path, model: str, *, config: Mapping[str, Any], lowercase: bool = False
) -> LoadedTokenizer:
    """Loads the tokenizer of `folder`, converting it to a fast one when it is none.

    tokenizer.json is followed where there is one; transformers gives the special tokens and limits.

    Args:
        folder: where the tokenizer's files are.
        model: what errors call the checkpoint.
        config: the checkpoint's config.json.
        lowercase: whether texts are lowered first (sentence-transformers' do_lower_case).

    Raises:
        UsageError: no tokenizer, one that cannot be converted, or one that is not this model's.
    """
    files = _tokenizer_files(folder, model)
    tokenizer = _load(folder, model)
    document = json.loads(tokenizer.backend_tokenizer.to_str())
    notes: tuple[str, ...] = ()
    saved = _saved(tokenizer)
    if (folder / TOKENIZER_FILE).is_file():
        document, notes = _own_document(folder, tokenizer, document)
    document = {**document, "truncation": None, "padding": None}
    notes += _check_vocabulary(document, config, model)
    if lowercase:
        document["normalizer"] = _lowered(document.get("normalizer"))
    public = _public(_own_or(folder / CONFIG_FILE, saved))
    class_name = str(public.get("tokenizer_class") or type(tokenizer).__name__)
    return LoadedTokenizer(
        document,
        public,
        _own_or(folder / SPECIALS_FILE, saved),
        _spec(tokenizer, class_name, config),
        files,
        notes,
    )


def _tokenizer_files(folder: Path, model: str) -> tuple[Path, ...]:
    sources = [folder / name for name in (TOKENIZER_FILE, *_SLOW_FILES) if (folder / name).is_file()]
    if not sources:
        raise UsageError(
            f"{model} has no tokenizer: neither {TOKENIZER_FILE} nor a vocabulary is there",
            "put one beside config.json: AutoTokenizer.from_pretrained(BASE).save_pretrained(FOLDER)",
        )
    names = (CONFIG_FILE, SPECIALS_FILE, "merges.txt", "added_tokens.json")
    used = sources[:1] if sources[0].name == TOKENIZER_FILE else sources
    return (*used, *(folder / name for name in names if (folder / name).is_file()))


def _load(folder: Path, model: str) -> Any:
    from transformers import AutoTokenizer

    for name in (TOKENIZER_FILE, CONFIG_FILE, SPECIALS_FILE):
        if (folder / name).is_file():
            read_json(folder / name)
    try:
        with quiet_transformers():
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # tokenizers raises plain Exception
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UsageError(f"the tokenizer of {model} cannot be loaded: {reason}", _FAST_HINT) from error
    if getattr(tokenizer, "backend_tokenizer", None) is None:
        raise UsageError(
            f"the tokenizer of {model} ({type(tokenizer).__name__}) has no fast form", _FAST_HINT
        )
    return tokenizer


def _own_document(
    folder: Path, tokenizer: Any, converted: dict[str, Any]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    from tokenizers import Tokenizer

    document = read_json(folder / TOKENIZER_FILE)
    if all(document.get(key) == converted[key] for key in converted if key not in ("truncation", "padding")):
        return document, ()
    ours = Tokenizer.from_str(json.dumps({**document, "truncation": None, "padding": None}))
    theirs = Tokenizer.from_str(json.dumps({**converted, "truncation": None, "padding": None}))
    if all(ours.encode(text).ids == theirs.encode(text).ids for text in _PROBES):
        return document, ()
    name = type(tokenizer).__name__
    return document, (
        f"tokenizer.json and transformers' {name} split some texts differently: the bundle follows "
        "tokenizer.json, so token ids can differ from those transformers gives",
    )


def _saved(tokenizer: Any) -> dict[str, dict[str, Any]]:
    with scratch_folder("tokenizer") as place, quiet_transformers():
        tokenizer.save_pretrained(place)
        files = [place / name for name in (CONFIG_FILE, SPECIALS_FILE)]
        return {file.name: read_json(file) for file in files if file.is_file()}


def _own_or(file: Path, saved: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    return read_json(file) if file.is_file() else saved.get(file.name, {})


def _public(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in _PRIVATE_KEYS}


def _lowered(normalizer: Mapping[str, Any] | None) -> dict[str, Any]:
    lower: dict[str, Any] = {"type": "Lowercase"}
    if normalizer is None:
        return lower
    inner = list(normalizer["normalizers"]) if normalizer.get("type") == "Sequence" else [normalizer]
    return {"type": "Sequence", "normalizers": [lower, *inner]}


def _check_vocabulary(document: Mapping[str, Any], config: Mapping[str, Any], model: str) -> tuple[str, ...]:
    from tokenizers import Tokenizer

    rows = config.get("vocab_size")
    if not isinstance(rows, int):
        return ()
    tokenizer = Tokenizer.from_str(json.dumps(document))
    outside = {token: index for token, index in tokenizer.get_vocab().items() if index >= rows}
    if not outside:
        return ()
    added = {entry["content"] for entry in document.get("added_tokens") or ()}
    if not outside.keys() <= added:
        raise UsageError(
            f"the tokenizer of {model} has ids up to {max(outside.values())}, the model {rows} embeddings",
            "use the tokenizer that belongs to this checkpoint",
        )
    tokens = ", ".join(sorted(outside)[:3])
    return (f"the model has no embedding for the added tokens {tokens}: texts that hold them will fail",)


def _spec(tokenizer: Any, name: str, config: Mapping[str, Any]) -> TokenizerSpec:
    pad_token, pad_id = tokenizer.pad_token, tokenizer.pad_token_id
    if pad_id is None:
        configured = config.get("pad_token_id")
        pad_id = configured if isinstance(configured, int) else 0
        pad_token = tokenizer.convert_ids_to_tokens(pad_id) or "[PAD]"
    limit = tokenizer.model_max_length
    sane = isinstance(limit, int) and 0 < limit < _SANE_LENGTH
    return TokenizerSpec(
        tokenizer_class=re.sub(r"[^A-Za-z0-9_]", "", name)[:64] or type(tokenizer).__name__,
        max_length=limit if sane else 0,
        pad_id=int(pad_id),
        pad_token=str(pad_token),
        pad_type_id=int(tokenizer.pad_token_type_id),
        # Absolute positions count from the first token: padding on the left would move them.
        padding_side="right",
        mask_token_id=tokenizer.mask_token_id,
    )
