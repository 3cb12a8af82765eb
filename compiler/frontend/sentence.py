"""The sentence-transformers modules of a folder: what happens between the encoder and the embedding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, cast

from compiler.frontend.reading import inside, read_json, read_json_value
from targets.errors import UnsupportedError, UsageError

MODULES_FILE: Final = "modules.json"

PoolingMode: TypeAlias = Literal["cls", "max", "mean", "mean_sqrt_len", "weightedmean", "lasttoken"]

# In the order in which sentence-transformers concatenates them.
_POOLING_KEYS: Final[tuple[tuple[str, PoolingMode], ...]] = (
    ("pooling_mode_cls_token", "cls"),
    ("pooling_mode_max_tokens", "max"),
    ("pooling_mode_mean_tokens", "mean"),
    ("pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len"),
    ("pooling_mode_weightedmean_tokens", "weightedmean"),
    ("pooling_mode_lasttoken", "lasttoken"),
)
_ACTIVATIONS: Final = frozenset(
    {"Identity", "Tanh", "ReLU", "GELU", "Sigmoid", "SiLU", "LeakyReLU", "ELU", "Softsign"}
)
_SETTINGS_FAMILIES: Final = ("bert", "roberta", "distilbert", "camembert", "xlm-roberta")
_KEPT_SETTINGS: Final = ("prompts", "similarity_fn_name")
_SUPPORTED: Final = "supported modules: Transformer, Pooling, Dense, LayerNorm, Dropout, Normalize"


@dataclass(frozen=True, slots=True)
class DenseModule:
    """A linear layer with its activation, a class name of torch.nn; weights in `file`."""

    file: Path
    inputs: int
    outputs: int
    bias: bool
    activation: str


@dataclass(frozen=True, slots=True)
class LayerNormModule:
    """A LayerNorm over the embedding; weights in `file`."""

    file: Path
    dimension: int


@dataclass(frozen=True, slots=True)
class NormalizeModule:
    """Division by the L2 norm, at least 1e-12."""


Stage: TypeAlias = DenseModule | LayerNormModule | NormalizeModule


@dataclass(frozen=True, slots=True)
class SentenceModules:
    """How token vectors become one embedding.

    Attributes:
        encoder: the folder of the transformer itself.
        pooling: modes whose results are concatenated in this order.
        stages: what follows the pooling.
        max_length: the modules' own limit in tokens, else None.
        lowercase: whether texts are lowered before tokenizing.
        settings: of config_sentence_transformers.json, what does not change an embedding: its named
            prompts, which no text gets by itself, and how embeddings are compared.
        files: the configuration and weight files that were read.
        notes: what the compiled model will not do, one line each.
    """

    encoder: Path
    pooling: tuple[PoolingMode, ...] = ("mean",)
    stages: tuple[Stage, ...] = ()
    max_length: int | None = None
    lowercase: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict, hash=False)
    files: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def token_vectors(self) -> bool:
        """Whether a client may pool the vector of each token by itself and come to the same embedding.

        Not where weights follow the pooling, which the model holds in the precision of the bundle, nor where
        the last layer computes the [CLS] vector alone.
        """
        weighted = any(not isinstance(stage, NormalizeModule) for stage in self.stages)
        return self.pooling != ("cls",) and not weighted

    def dimension(self, hidden: int) -> int:
        """Length of the embedding when the encoder's vectors have `hidden` components."""
        size = hidden * len(self.pooling)
        for stage in self.stages:
            size = stage.outputs if isinstance(stage, DenseModule) else size
        return size


def read_modules(folder: Path) -> SentenceModules | None:
    """Reads modules.json and what it names; None when the folder has none.

    Raises:
        UsageError: a file is missing or broken.
        UnsupportedError: a module or an option that cannot be compiled.
    """
    listing = folder / MODULES_FILE
    if not listing.is_file():
        return None
    entries = read_json_value(listing)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UsageError(f"{MODULES_FILE} is no list of modules", "copy or download the checkpoint again")
    kinds = [(str(entry.get("type", "")).rsplit(".", 1)[-1], str(entry.get("path", ""))) for entry in entries]
    if not kinds or kinds[0][0] != "Transformer":
        first = kinds[0][0] if kinds else "nothing"
        raise UnsupportedError(f"{MODULES_FILE} starts with {first}, not with a Transformer", _SUPPORTED)
    encoder = inside(folder, kinds[0][1])
    pooling: tuple[PoolingMode, ...] | None = None
    stages: list[Stage] = []
    files = [listing]
    for kind, path in kinds[1:]:
        place = inside(folder, path)
        if kind == "Pooling":
            if pooling is not None or stages:
                raise UnsupportedError(f"{MODULES_FILE} has a Pooling that is not right after it", _SUPPORTED)
            pooling = _pooling(read_json(_existing(place / "config.json")))
            files.append(place / "config.json")
        else:
            stage = _stage(kind, place)
            if stage is not None:
                stages.append(stage)
            if isinstance(stage, DenseModule | LayerNormModule):
                files += [place / "config.json", stage.file]
    if pooling is None:
        raise UnsupportedError(
            f"{MODULES_FILE} has no Pooling: the model gives no sentence vector", _SUPPORTED
        )
    max_length, lowercase, settings = _settings(encoder)
    shared = _shared_settings(folder)
    return SentenceModules(
        encoder,
        pooling,
        tuple(stages),
        max_length,
        lowercase,
        {key: shared[key] for key in _KEPT_SETTINGS if key in shared},
        (*files, *settings),
        _prompt_notes(shared),
    )


def _existing(file: Path) -> Path:
    if not file.is_file():
        raise UsageError(
            f"{MODULES_FILE} needs {file.parent.name}/{file.name}, which is missing",
            "copy or download the whole checkpoint",
        )
    return file


def _pooling(config: Mapping[str, Any]) -> tuple[PoolingMode, ...]:
    named = config.get("pooling_mode")
    if named is not None:
        wanted = [named] if isinstance(named, str) else list(named)
        known = {mode for _, mode in _POOLING_KEYS}
        unknown = [str(mode) for mode in wanted if mode not in known]
        modes = tuple(cast(PoolingMode, mode) for mode in wanted)
    else:
        modes = tuple(mode for key, mode in _POOLING_KEYS if config.get(key))
        known_keys = {key for key, _ in _POOLING_KEYS}
        unknown = [
            key
            for key, value in config.items()
            if key.startswith("pooling_mode_") and value is True and key not in known_keys
        ]
    if unknown or not modes:
        raise UnsupportedError(
            f"the Pooling module asks for {', '.join(unknown) or 'no mode'}",
            f"supported: {', '.join(mode for _, mode in _POOLING_KEYS)}",
        )
    return modes


def _stage(kind: str, place: Path) -> Stage | None:
    if kind == "Normalize":
        return NormalizeModule()
    if kind == "Dropout":
        return None
    if kind == "Dense":
        return _dense(place)
    if kind == "LayerNorm":
        dimension = read_json(_existing(place / "config.json")).get("dimension")
        if not isinstance(dimension, int):
            raise UsageError(f"{place.name}/config.json has no dimension", "download the checkpoint again")
        return LayerNormModule(_weights(place), dimension)
    raise UnsupportedError(f"{MODULES_FILE} has the module {kind}, which bertc does not compile", _SUPPORTED)


def _dense(place: Path) -> DenseModule:
    config = read_json(_existing(place / "config.json"))
    inputs, outputs = config.get("in_features"), config.get("out_features")
    if not isinstance(inputs, int) or not isinstance(outputs, int):
        raise UsageError(
            f"{place.name}/config.json has no in_features or out_features", "download the checkpoint again"
        )
    activation = str(config.get("activation_function", "torch.nn.modules.activation.Tanh"))
    module, _, name = activation.rpartition(".")
    if name not in _ACTIVATIONS or not module.startswith("torch.nn"):
        raise UnsupportedError(
            f"{place.name} has the activation {activation}", f"supported: {', '.join(sorted(_ACTIVATIONS))}"
        )
    for key in ("module_input_name", "module_output_name"):
        if config.get(key) not in (None, "sentence_embedding"):
            raise UnsupportedError(
                f"{place.name} works on {config[key]!r}, not on the sentence vector", _SUPPORTED
            )
    return DenseModule(_weights(place), inputs, outputs, bool(config.get("bias", True)), name)


def _weights(place: Path) -> Path:
    file = place / "model.safetensors"
    if not file.is_file() and (place / "pytorch_model.bin").is_file():
        raise UnsupportedError(
            f"{place.name} has only pickled weights (pytorch_model.bin), which can run code when loaded",
            "convert them in a sandbox you trust: SentenceTransformer(FOLDER).save(OUT)",
        )
    return _existing(file)


def _settings(encoder: Path) -> tuple[int | None, bool, tuple[Path, ...]]:
    places = [encoder / f"sentence_{family}_config.json" for family in _SETTINGS_FAMILIES]
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        return None, False, ()
    config = read_json(file)
    limit = config.get("max_seq_length")
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
        raise UsageError(f"{file.name} has max_seq_length {limit!r}", "write a number of tokens there")
    return limit, bool(config.get("do_lower_case", False)), (file,)


def _shared_settings(folder: Path) -> Mapping[str, Any]:
    file = folder / "config_sentence_transformers.json"
    return read_json(file) if file.is_file() else {}


def _prompt_notes(config: Mapping[str, Any]) -> tuple[str, ...]:
    default, prompts = config.get("default_prompt_name"), config.get("prompts")
    prompt = prompts.get(default) if isinstance(prompts, dict) and isinstance(default, str) else None
    if not prompt:
        return ()
    return (f"the model's default prompt {prompt!r} is not added: put it before your texts yourself",)
