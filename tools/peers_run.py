"""One checkpoint through every quantizer, and everything measured in this process."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from compiler.ir.execute import serialize
from compiler.progress import Advance, Clock
from compiler.validate import Predictions, Validation
from targets.errors import BertcError
from tools.bench_report import Row, ShapeResult, TextsResult
from tools.contestants import (
    BUNDLE_RUNTIMES,
    Contestant,
    Source,
    bundle_contestants,
    bundle_name,
    file_contestant,
    onnx_contestant,
    openvino_contestants,
    torch_bf16_contestant,
    torch_contestants,
)
from tools.make_peer import PeerError, make, require, write_feeds, write_origins
from tools.measure import evaluator_of, load, mean_squared_error, predict, time_shapes, time_texts
from tools.peer_report import Comparison, Quantized, Score, Tried
from tools.recipes import RECIPES, Recipe, Variant


@dataclass(frozen=True, slots=True)
class Plan:
    """What to compare.

    Attributes:
        seeds: of the calibration samples; the first one's models are timed.
        peers: keys of the recipes that are made.
        pythons: interpreters of peers that have their own environment, by key.
        rounds: of the timing at each shape; 0 to time nothing.
        texts: real texts that are timed.
    """

    seeds: tuple[int, ...]
    peers: tuple[str, ...]
    pythons: Mapping[str, str]
    rounds: int
    texts: int


@dataclass(frozen=True, slots=True)
class _Built:
    """One variant of a peer, made and scored."""

    variant: Variant
    contestant: Contestant
    validation: Validation
    error: float | None
    versions: Mapping[str, str]

    @property
    def score(self) -> Score:
        return Score.of(self.validation, self.error)


class PeersRun:
    """One comparison; `run` does it."""

    def __init__(self, source: Source, plan: Plan, folder: Path, clock: Clock) -> None:
        torch.set_num_threads(source.threads)
        self._source = source
        self._plan = plan
        self._folder = folder
        self._clock = clock
        with clock.stage("loading the checkpoint"):
            self._loaded = load(source.model)
            self._evaluator = evaluator_of(source, self._loaded)
            export = folder / "export.onnx"
            export.write_bytes(serialize(self._loaded.model))
            self._origins = write_origins(source, self._loaded, export, folder)
            self._feeds = write_feeds(source, self._loaded, plan.seeds, folder)
        self._timed: list[Contestant] = []
        self._validations: dict[str, Validation] = {}
        self._errors: dict[str, float | None] = {}
        self._skipped: list[str] = []
        self._baseline: Predictions | None = None

    def run(self) -> Comparison:
        """Measures everything."""
        self._measure_float()
        recipes = [each for each in RECIPES if each.key in self._plan.peers]
        peers = [self._peer(recipe) for recipe in recipes]
        quantized = [each for each in peers if each is not None] + self._bundles()
        return Comparison(self._rows(), tuple(quantized), tuple(self._skipped), self._plan.texts)

    def _measure_float(self) -> None:
        loaded, threads = self._loaded, self._source.threads
        contestants = [
            *torch_contestants(loaded.reference),
            torch_bf16_contestant(loaded.reference),
            onnx_contestant(loaded.model, threads),
            *openvino_contestants(self._origins["export"], threads),
        ]
        with self._clock.stage("evaluating", len(contestants)) as advance:
            for each in contestants:
                self._keep(each, *self._score(each))
                advance(1)

    def _score(self, contestant: Contestant) -> tuple[Validation, float | None]:
        own = predict(contestant, self._loaded, self._evaluator)
        if self._baseline is None:
            self._baseline = own
        validation = self._evaluator.compare(self._baseline, own, max_drop=1.0)
        return validation, mean_squared_error(self._baseline, own)

    def _keep(self, contestant: Contestant, validation: Validation, error: float | None) -> None:
        self._timed.append(contestant)
        self._validations[contestant.name] = validation
        self._errors[contestant.name] = error

    def _peer(self, recipe: Recipe) -> Quantized | None:
        seeds = self._plan.seeds
        with self._clock.stage(recipe.name, len(recipe.variants)) as advance:
            try:
                require(recipe, self._python(recipe))
            except PeerError as error:
                self._skip(str(error))
                return None
            best, tried = self._best(recipe, advance)
            if best is None:
                self._skip(f"{recipe.name}: {tried[0].error}")
                return None
            scores = {seeds[0]: best.score}
            for seed in seeds[1:] if recipe.calibrated else ():
                try:
                    other = self._build(recipe, best.variant, seed)
                except (PeerError, BertcError) as error:
                    self._clock.progress.warn(f"{error}; seed {seed} is left out of its mean")
                    continue
                scores[seed] = other.score
                other.contestant.backend.close()
        self._keep(best.contestant, best.validation, best.error)
        return Quantized(recipe.name, best.variant.name, scores, tried, best.versions)

    def _best(self, recipe: Recipe, advance: Advance) -> tuple[_Built | None, tuple[Tried, ...]]:
        """The variant with the least error with the first seed, and all that were tried."""
        best: _Built | None = None
        tried = []
        for variant in recipe.variants:
            try:
                built = self._build(recipe, variant, self._plan.seeds[0])
            except (PeerError, BertcError) as error:
                tried.append(Tried(variant.name, None, str(error)))
                self._clock.progress.warn(f"{error}; this variant is left out")
            else:
                tried.append(Tried(variant.name, built.score))
                best = _better(best, built)
            advance(1)
        return best, tuple(tried)

    def _build(self, recipe: Recipe, variant: Variant, seed: int) -> _Built:
        loaded = self._loaded
        config: Any = loaded.reference.wrapper.model.config
        made = make(
            recipe,
            variant,
            self._python(recipe),
            self._origins[recipe.origin],
            self._feeds[seed] if recipe.calibrated else None,
            self._folder / "peer",
            task=loaded.checkpoint.task,
            heads=int(config.num_attention_heads),
            hidden=int(config.hidden_size),
        )
        contestant = file_contestant(recipe.name, recipe.runtime, made.path, self._source.threads)
        return _Built(variant, contestant, *self._score(contestant), made.versions)

    def _python(self, recipe: Recipe) -> str:
        return self._plan.pythons.get(recipe.key, sys.executable)

    def _skip(self, line: str) -> None:
        self._skipped.append(line)
        self._clock.progress.warn(f"left out: {line}")

    def _bundles(self) -> list[Quantized]:
        scores: dict[str, dict[int, Score]] = {bundle_name(each): {} for each in BUNDLE_RUNTIMES}
        for seed in self._plan.seeds:
            folder = self._folder / f"bundles-{seed}"
            for each in bundle_contestants(self._source, folder, self._clock.progress, seed=seed):
                validation, error = self._score(each)
                scores[each.name][seed] = Score.of(validation, error)
                if seed == self._plan.seeds[0]:
                    self._keep(each, validation, error)
                else:
                    each.backend.close()
        return [Quantized(name, "", each) for name, each in scores.items()]

    def _rows(self) -> tuple[Row, ...]:
        plan, encoder = self._plan, self._loaded.encoder
        latency: dict[str, tuple[ShapeResult, ...]] = {}
        texts: dict[str, TextsResult] = {}
        if plan.rounds:
            latency = time_shapes(self._timed, encoder, plan.rounds, self._clock)
            texts = time_texts(self._timed, encoder, self._evaluator, plan.texts, self._clock)
        return tuple(
            Row(
                each.name,
                each.model_bytes,
                self._validations[each.name],
                latency.get(each.name, ()),
                mse=self._errors[each.name],
                texts=texts.get(each.name),
            )
            for each in self._timed
        )


def _better(best: _Built | None, built: _Built) -> _Built:
    """The one with the smaller loss; the other's model is closed."""
    if best is None:
        return built
    kept, other = (built, best) if built.score.loss < best.score.loss else (best, built)
    other.contestant.backend.close()
    return kept
