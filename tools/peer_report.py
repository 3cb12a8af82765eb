"""What `tools.compare_peers` found: tables, a JSON document and a page of the documentation."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from compiler.validate import Validation
from tools.bench_report import Row, markdown, table


@dataclass(frozen=True, slots=True)
class Score:
    """One model against torch FP32.

    Attributes:
        metric: the task's, of the model.
        drop: FP32 - model, absolute; below 0 where the model is better.
        agreement: share of the same answers.
        mse: mean squared error of the logits or embeddings.
    """

    metric: float | None
    drop: float | None
    agreement: float | None
    mse: float | None

    @staticmethod
    def of(validation: Validation, mse: float | None) -> Score:
        """What a validation says."""
        delta = validation.delta
        return Score(validation.compiled, None if delta is None else -delta, validation.agreement, mse)

    @property
    def loss(self) -> tuple[float, float]:
        """What is least for the best of several variants: the squared error, else the disagreement."""
        agreement = 0.0 if self.agreement is None else self.agreement
        return (0.0 if self.mse is None else self.mse, 1.0 - agreement)


@dataclass(frozen=True, slots=True)
class Tried:
    """A variant of a peer with the first seed: its score, or why there is none."""

    variant: str
    score: Score | None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Quantized:
    """A quantizer's results.

    Attributes:
        name: in the tables.
        kept: the variant that is timed and repeated.
        seeds: the score of each calibration seed; one entry for what needs no calibration.
        tried: every variant.
        versions: of the packages that made it.
    """

    name: str
    kept: str
    seeds: Mapping[int, Score]
    tried: tuple[Tried, ...] = ()
    versions: Mapping[str, str] | None = None

    def mean(self) -> Score:
        """The mean over the seeds."""
        return Score(*(_mean([getattr(each, name) for each in self.seeds.values()]) for name in _FIELDS))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "name": self.name,
            "kept": self.kept,
            "seeds": {str(seed): asdict(score) for seed, score in self.seeds.items()},
            "mean": asdict(self.mean()),
            "tried": [asdict(each) for each in self.tried],
            "versions": dict(self.versions or {}),
        }


_FIELDS = ("metric", "drop", "agreement", "mse")


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything that one run measured.

    Attributes:
        rows: every model that was timed, torch FP32 first, with the first seed's calibration.
        quantized: what depends on a quantizer, by seed.
        skipped: peers that could not be made here, a line each.
        texts: how many real texts were timed.
    """

    rows: tuple[Row, ...]
    quantized: tuple[Quantized, ...]
    skipped: tuple[str, ...]
    texts: int

    def to_json(self, where: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
        """The document, indented."""
        document = {
            **where,
            **settings,
            "rows": [each.to_json() for each in self.rows],
            "quantized": [each.to_json() for each in self.quantized],
            "skipped": list(self.skipped),
        }
        return json.dumps(document, indent=2) + "\n"


def tables(found: Comparison) -> str:
    """Every table in Markdown."""
    parts = [markdown(found.rows), seeds_table(found.quantized), variants_table(found.quantized)]
    parts += [f"Skipped: {line}" for line in found.skipped]
    return "\n\n".join(part for part in parts if part)


def seeds_table(quantized: Sequence[Quantized]) -> str:
    """Drop in points, agreement in percent and squared error of every quantizer: the mean, then each seed."""
    head = ["quantizer", "seeds", "drop, points", "agreement, %", "MSE"]
    return table([head, *(_seeds(each) for each in quantized)]) if quantized else ""


def _seeds(each: Quantized) -> list[str]:
    mean, scores = each.mean(), list(each.seeds.values())
    return [
        each.name,
        ", ".join(map(str, each.seeds)) if len(scores) > 1 else "-",
        _with_each(mean.drop, [score.drop for score in scores], 100, ".2f"),
        _with_each(mean.agreement, [score.agreement for score in scores], 100, ".2f"),
        _with_each(mean.mse, [score.mse for score in scores], 1, ".4g"),
    ]


def _with_each(mean: float | None, values: Sequence[float | None], factor: float, form: str) -> str:
    if mean is None:
        return ""
    shown = [format(factor * value + 0.0, form) for value in values if value is not None]
    return format(factor * mean + 0.0, form) + (f" ({', '.join(shown)})" if len(shown) > 1 else "")


def variants_table(quantized: Sequence[Quantized]) -> str:
    """Every documented variant that was tried, the one that was kept in bold."""
    head = ["peer", "variant", "drop, points", "agreement, %", "MSE"]
    lines = [_variant(each, tried) for each in quantized for tried in each.tried]
    return table([head, *lines]) if lines else ""


def _variant(peer: Quantized, tried: Tried) -> list[str]:
    name = f"**{tried.variant}**" if tried.variant == peer.kept else tried.variant
    score = tried.score
    if score is None:
        return [peer.name, name, "failed", "", ""]
    return [
        peer.name,
        name,
        *(_with_each(value, [], factor, form) for value, factor, form in _shown(score)),
    ]


def _shown(score: Score) -> tuple[tuple[float | None, float, str], ...]:
    return (score.drop, 100, ".2f"), (score.agreement, 100, ".2f"), (score.mse, 1, ".4g")


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


_PAGE = """\
# bertc and other quantizers

Made by the command below; every number is of that one run. All quantizers had the same {samples} texts of the
calibration data, drawn with the same seed, and the same {evaluated} texts of evaluation data.

    {command}

{summary}

## Accuracy and latency

`MSE` is the mean squared error of the logits (or embeddings) to torch FP32's. Times are medians of {rounds}
interleaved rounds at batch x tokens, and of {texts} evaluation texts run one at a time, in turns of all
models; then how many times faster than torch FP32, with the 95% interval. OpenVINO computes in float32 what
is not INT8, except in its BF16 row. Calibration seed {seed}.

{main}

## Calibration seeds

The mean over the seeds, then each. A drop below 0 is a gain.

{seeds}

## Settings of the peers

Each peer runs with the settings that its documentation gives for BERT models. Where that leaves a choice,
each variant below was made with seed {seed}, and the one with the least error on the *evaluation* data was
kept, which favours the peers.

{variants}
{made}{skipped}"""


def page(found: Comparison, where: Mapping[str, Any], settings: Mapping[str, Any], summary: str) -> str:
    """The page of the documentation."""
    made = [_made(each) for each in found.quantized if each.versions]
    skipped = [f"- {line}" for line in found.skipped]
    return _PAGE.format(
        command=where["command"],
        samples=settings["calibration_samples"],
        evaluated=found.rows[0].validation.n,
        summary=summary,
        rounds=settings["rounds"],
        texts=found.texts,
        seed=settings["seeds"][0],
        main=markdown(found.rows),
        seeds=seeds_table(found.quantized),
        variants=variants_table(found.quantized),
        made="\n" + "\n".join(made) + "\n" if made else "",
        skipped="\n## Not measured\n\n" + "\n".join(skipped) + "\n" if skipped else "",
    )


def _made(each: Quantized) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in (each.versions or {}).items())
    return f"- {each.name}: made with {versions}."
