"""Opens a checkpoint: what it is, which task it is for, and whether every part of it is there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from compiler.frontend.quiet import quiet_transformers
from compiler.frontend.reading import read_json, sha256
from compiler.frontend.sentence import SentenceModules, read_modules
from compiler.frontend.source import Source, SourceKind, resolve_source
from compiler.frontend.tasks import SUPPORTED, choose_task, refuse_other_models
from compiler.frontend.tokenizer import LoadedTokenizer, TokenizerAssets, load_tokenizer
from compiler.frontend.weights import WeightFiles, check_weight_file, open_weights
from targets.bundle.schema import PROBLEM_TYPES, ProblemType, TaskConfig
from targets.errors import UnsupportedError, UsageError
from targets.spec import Task

CONFIG_FILE: Final = "config.json"

# These count positions from the padding id's successor, as RoBERTa does.
_PADDED_POSITIONS: Final = frozenset(
    {"roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "roberta-prelayernorm", "data2vec-text"}
    | {"mpnet", "xmod", "ibert", "longformer", "luke"}
)
_LABEL_TASKS: Final = ("text-classification", "token-classification")
_MIN_LENGTH: Final = 8
_LICENSE: Final = re.compile(r"^license:\s*[\"']?([A-Za-z0-9._+ -]{1,64}?)[\"']?\s*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint whose files have been checked, ready to be traced.

    Attributes:
        source: "folder", "hub" or "onnx".
        name: base name or the tail of the hub id, in letters, digits, dot, dash and underscore.
        path: the folder, or the .onnx file.
        encoder_path: the folder with the transformer's config.json.
        config: that config.json.
        model_type: its model_type.
        task: the task to compile for.
        task_config: labels, problem type, pooling, dimension.
        tokenizer: the tokenizer's files and limits; `tokenizer.spec.max_length` is the length to compile for.
        positions: tokens that the model's position embeddings can take, special tokens included.
        modules: what follows the encoder of a feature-extraction model, else None.
        provenance: origin, commit, SHA-256 of the files, storage types, license.
        notes: what a user should know before relying on the result, one line each.
    """

    source: SourceKind
    name: str
    path: Path
    encoder_path: Path
    config: Mapping[str, Any]
    model_type: str
    task: Task
    task_config: TaskConfig
    tokenizer: TokenizerAssets
    positions: int
    modules: SentenceModules | None
    provenance: Mapping[str, object]
    notes: tuple[str, ...] = ()


def load_checkpoint(
    model: str | Path,
    *,
    task: str | None = None,
    max_length: int | None = None,
    revision: str | None = None,
) -> Checkpoint:
    """Opens a Hugging Face folder, a hub id or an .onnx file, and checks all of it but the graph.

    Args:
        model: a folder, a hub id, or an .onnx file with config.json and tokenizer beside or above it.
        task: one of `targets.spec.TASKS` or an alias; None for the task of the config's architecture.
        max_length: longest text in tokens; None for the smaller of the tokenizer's and the model's limit.
        revision: branch, tag or commit of a hub id.

    Raises:
        UsageError: something is missing, broken or out of range (exit code 2).
        UnsupportedError: a model, task, or way of storing weights that is not compiled (exit code 3).
    """
    source = resolve_source(model, revision)
    folder = _folder_of(source)
    modules = read_modules(folder)
    encoder = folder if modules is None else modules.encoder
    config = _read_config(encoder, source)
    refuse_other_models(config, source.name)
    weights = None if source.kind == "onnx" else open_weights(encoder, source.name)
    chosen = choose_task(
        config,
        None if weights is None else weights.names,
        asked=task,
        sentence_modules=modules is not None,
        model=source.name,
    )
    used = (modules or SentenceModules(encoder)) if chosen == "feature-extraction" else None
    _check_stages(used)
    parsed = _transformers_config(encoder, source.name)
    loaded = _tokenizer(encoder, folder, source.name, config, used)
    positions = _positions(config, parsed)
    length = _max_length(max_length, loaded, used, positions)
    files = _hashed_files(source, encoder, weights, loaded, used)
    return Checkpoint(
        source=source.kind,
        name=source.name,
        path=source.path,
        encoder_path=encoder,
        config=config,
        model_type=str(config["model_type"]),
        task=chosen,
        task_config=_task_config(chosen, parsed, used, source.name),
        tokenizer=loaded.assets(config, length),
        positions=positions,
        modules=used,
        provenance=_provenance(source, folder, config, weights, files),
        notes=(*loaded.notes, *(used.notes if used is not None else ())),
    )


def _folder_of(source: Source) -> Path:
    if source.kind != "onnx":
        return source.path
    beside = source.path.parent
    for folder in (beside, beside.resolve().parent):
        if (folder / CONFIG_FILE).is_file():
            return folder
    raise UsageError(
        f"{source.path.name} has no {CONFIG_FILE} beside it or in the folder above",
        "put the checkpoint's config.json and tokenizer.json into the folder of the .onnx file",
    )


def _read_config(encoder: Path, source: Source) -> dict[str, Any]:
    file = encoder / CONFIG_FILE
    if file.is_file():
        return read_json(file)
    inner = sorted(entry.parent.name for entry in source.path.glob(f"*/{CONFIG_FILE}"))
    near = [f"{source.path.name}/{name}" for name in inner[:3]]
    raise UsageError(
        f"{source.name} is not a model folder: it has no {CONFIG_FILE}",
        f"did you mean {' or '.join(near)}?" if near else "pass a folder that save_pretrained() wrote",
    )


def _transformers_config(encoder: Path, model: str) -> Any:
    from transformers import AutoConfig

    try:
        with quiet_transformers():
            return AutoConfig.from_pretrained(encoder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # a config's own validators raise what they like
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UnsupportedError(f"{model} has a config.json that is not valid: {reason}", SUPPORTED) from error


def _tokenizer(
    encoder: Path, folder: Path, model: str, config: Mapping[str, Any], modules: SentenceModules | None
) -> LoadedTokenizer:
    lowercase = modules is not None and modules.lowercase
    places = (encoder, folder)
    has_own = any((encoder / name).is_file() for name in ("tokenizer.json", "vocab.txt", "vocab.json"))
    return load_tokenizer(places[0 if has_own else 1], model, config=config, lowercase=lowercase)


def _positions(config: Mapping[str, Any], parsed: Any) -> int:
    positions = getattr(parsed, "max_position_embeddings", None)
    if not isinstance(positions, int) or positions < 1:
        return 512
    if config.get("model_type") in _PADDED_POSITIONS:
        pad = getattr(parsed, "pad_token_id", None)
        positions -= (pad if isinstance(pad, int) else 1) + 1
    return positions


def _max_length(
    asked: int | None, loaded: LoadedTokenizer, modules: SentenceModules | None, positions: int
) -> int:
    if asked is not None:
        if asked > positions:
            raise UsageError(
                f"--max-length {asked} is more than the {positions} positions of the model",
                f"pass --max-length {positions} or less",
            )
        if asked < _MIN_LENGTH:
            raise UsageError(f"--max-length {asked} is too short", f"pass at least {_MIN_LENGTH}")
        return asked
    own = modules.max_length if modules is not None and modules.max_length else loaded.spec.max_length
    return min(own or positions, positions)


def _task_config(task: Task, parsed: Any, modules: SentenceModules | None, model: str) -> TaskConfig:
    if task == "feature-extraction" and modules is not None:
        hidden = int(parsed.hidden_size)
        return TaskConfig(pooling="+".join(modules.pooling), dimension=modules.dimension(hidden))
    if task not in _LABEL_TASKS:
        return TaskConfig()
    table = {int(key): str(value) for key, value in parsed.id2label.items()}
    if sorted(table) != list(range(len(table))):
        raise UsageError(
            f"{model}: id2label in config.json does not number the labels from 0 on",
            "number them 0, 1, 2, ... in id2label",
        )
    labels = tuple(table[index] for index in range(len(table)))
    if task == "token-classification":
        return TaskConfig(labels=labels)
    return TaskConfig(problem_type=_problem_type(parsed.problem_type, len(labels), model), labels=labels)


def _problem_type(configured: object, labels: int, model: str) -> ProblemType:
    if configured is None:
        return "regression" if labels == 1 else "single_label_classification"
    if configured not in PROBLEM_TYPES:
        raise UnsupportedError(
            f"{model} has the problem_type {configured!r}", f"supported: {', '.join(PROBLEM_TYPES)}"
        )
    return configured


def _check_stages(modules: SentenceModules | None) -> None:
    for file in () if modules is None else modules.files:
        if file.suffix == ".safetensors":
            check_weight_file(file)


def _hashed_files(
    source: Source,
    encoder: Path,
    weights: WeightFiles | None,
    tokenizer: LoadedTokenizer,
    modules: SentenceModules | None,
) -> dict[str, str]:
    files = [encoder / CONFIG_FILE, *tokenizer.files, *(() if modules is None else modules.files)]
    if weights is not None:
        files += [*weights.files, *([weights.index] if weights.index is not None else [])]
    else:
        from compiler.frontend.onnx_file import external_files

        files += [source.path, *external_files(source.path)]
    root = source.path if source.path.is_dir() else source.path.parent
    names = {(_relative(file, root), file) for file in files}
    return {name: sha256(file) for name, file in sorted(names)}


def _relative(file: Path, root: Path) -> str:
    for base, prefix in ((root, ""), (root.resolve(), ""), (root.resolve().parent, "../")):
        if file.is_relative_to(base):
            return prefix + file.relative_to(base).as_posix()
    return file.name


def _provenance(
    source: Source,
    folder: Path,
    config: Mapping[str, Any],
    weights: WeightFiles | None,
    files: Mapping[str, str],
) -> dict[str, object]:
    record: dict[str, object] = {"source": source.kind, "model": source.origin, "files": dict(files)}
    if source.commit is not None:
        record["commit"] = source.commit
    if weights is not None:
        record["weights_dtype"] = sorted(weights.dtypes)
    if (name := _license(folder, config)) is not None:
        record["license"] = name
    return record


def _license(folder: Path, config: Mapping[str, Any]) -> str | None:
    readme = folder / "README.md"
    if readme.is_file():
        with readme.open(encoding="utf-8", errors="replace") as stream:
            head = stream.read(64 * 1024)
        front = head.split("\n---", 1)[0] if head.startswith("---") else ""
        if found := _LICENSE.search(front):
            return found.group(1)
    configured = config.get("license")
    return configured if isinstance(configured, str) else None
