"""Runs a peer's maker in the interpreter that has its packages."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from calibration.data import open_dataset
from calibration.sampler import sample
from compiler.texts import item_of
from tools.contestants import Source
from tools.measure import Loaded
from tools.peers.request import VERSIONS, Feeds, Request, save_feeds
from tools.recipes import Origin, Recipe, Variant

_ROOT = Path(__file__).resolve().parent.parent
_OPSET = 17


class PeerError(Exception):
    """A peer that cannot be made here; the message is one line that says why."""


@dataclass(frozen=True, slots=True)
class Made:
    """A peer's model file, and the versions of the packages that made it."""

    path: Path
    versions: Mapping[str, str]


def make(
    recipe: Recipe, variant: Variant, python: str, model: Path, feeds: Path | None, folder: Path, **more: Any
) -> Made:
    """Makes one model.

    Args:
        recipe: the peer.
        variant: its settings.
        python: the interpreter that has its packages.
        model: what it is made from.
        feeds: file of the calibration feeds.
        folder: receives the model; what is in it goes.
        **more: options beside the variant's.

    Raises:
        PeerError: the maker failed.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    request = folder / "request.json"
    Request(model, feeds, folder, {**more, **variant.options}).write(request)
    _run([python, "-m", recipe.module, str(request)], f"{recipe.name} ({variant.name})")
    versions = json.loads((folder / VERSIONS).read_text(encoding="utf-8"))
    return Made(folder / recipe.file, versions)


def require(recipe: Recipe, python: str) -> None:
    """Checks that the interpreter has the peer's package.

    Raises:
        PeerError: it has not; the message says how to install it.
    """
    command = [python, "-c", f"import {recipe.needs}"]
    try:
        subprocess.run(command, check=True, capture_output=True, cwd=_ROOT)
    except FileNotFoundError as error:
        raise PeerError(f"{recipe.name}: there is no interpreter {python}") from error
    except subprocess.CalledProcessError as error:
        reason = _last_line(error.stderr.decode(errors="replace"))
        raise PeerError(f"{recipe.name}: {reason}; to have it: {recipe.install}") from error


def _run(command: Sequence[str], name: str) -> None:
    # A maker reads local files alone.
    offline = {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", cwd=_ROOT, env=offline)
    if done.returncode != 0:
        raise PeerError(f"{name}: {_last_line(done.stderr)}")


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it ended with an error and said nothing"


def calibration_feeds(source: Source, loaded: Loaded, seed: int) -> list[Feeds]:
    """The texts that a bundle is calibrated on with this seed, one a feed, so without padding."""
    data = sample(open_dataset(source.calibration, loaded.checkpoint.task), source.samples, seed)
    encoded = loaded.encoder.encode([item_of(each) for each in data])
    return [loaded.encoder.collate(windows[:1]) for windows in encoded]


def write_feeds(source: Source, loaded: Loaded, seeds: Sequence[int], folder: Path) -> dict[int, Path]:
    """The file of calibration feeds of every seed."""
    files = {seed: folder / f"feeds-{seed}.npz" for seed in seeds}
    for seed, file in files.items():
        save_feeds(file, calibration_feeds(source, loaded, seed))
    return files


def write_origins(source: Source, loaded: Loaded, export: Path, folder: Path) -> dict[Origin, Path]:
    """What the makers start from."""
    fusable = folder / "fusable.onnx"
    _export_fusable(loaded, fusable)
    return {"fusable": fusable, "export": export, "checkpoint": Path(source.model)}


def _export_fusable(loaded: Loaded, path: Path) -> None:
    """The export in which onnxruntime's transformer optimizer finds attention: TorchScript's, eager."""
    wrapper = loaded.reference.wrapper
    model: Any = wrapper.model
    attention = model.config._attn_implementation
    names, outputs = list(wrapper.input_names), list(loaded.reference.output_names)
    ids = torch.randint(5, 50, (2, 9))
    feeds = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "token_type_ids": torch.zeros_like(ids),
    }
    axes = {name: {0: "batch", 1: "sequence"} for name in names}
    per_text = {"sentence_embedding"} | (
        {"logits"} if loaded.checkpoint.task == "text-classification" else set()
    )
    axes |= {name: {0: "batch"} if name in per_text else {0: "batch", 1: "sequence"} for name in outputs}
    model.set_attn_implementation("eager")
    try:
        with warnings.catch_warnings():
            # The exporter is deprecated and its tracer warns of each Python number in transformers.
            warnings.simplefilter("ignore")
            torch.onnx.export(
                wrapper,
                tuple(feeds[name] for name in names),
                str(path),
                dynamo=False,
                opset_version=_OPSET,
                input_names=names,
                output_names=outputs,
                dynamic_axes=axes,
            )
    finally:
        model.set_attn_implementation(attention)
