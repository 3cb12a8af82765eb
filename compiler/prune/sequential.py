"""Every product behind the first cut, solved anew from the embeddings upward on the pruned stream."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from compiler.ir.linear import Linear
from compiler.ir.work import Texts
from compiler.progress import in_turn, spread
from compiler.prune.materialize import Weights, channels
from compiler.prune.modules import PrunableModule
from compiler.prune.moments import Matrix, Moments
from compiler.prune.refit import Refit, refit
from compiler.prune.statistics import Batches, weights_of
from compiler.prune.walk import Walk
from compiler.prune.work import refit_work

STEPS: Final = 100
Scope = Literal["none", "readers", "all"]
WIDEST: Final = 8192
"""Outputs of a product beyond which it is left as it is: a vocabulary's rows are tied to the embeddings."""


@dataclass(frozen=True, slots=True)
class Cut:
    """What is left of a module.

    Attributes:
        module: the module.
        groups: those that stay, ascending.
        weight: [len(groups) * group size, out], the reader's rows before any refit.
    """

    module: PrunableModule
    groups: NDArray[np.intp]
    weight: Matrix

    @property
    def changes(self) -> bool:
        """Whether anything was cut."""
        return len(self.groups) < self.module.groups

    @property
    def columns(self) -> NDArray[np.intp]:
        """The channels that stay."""
        return channels(self.groups, self.module.group_size)


@dataclass(frozen=True, slots=True)
class _Problem:
    """One product to be solved: rows of its input and columns of its result that exist after the cut."""

    linear: Linear
    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    prior: Matrix
    stream: ir.Value | None


def solve_in_sequence(
    model: ir.Model,
    cuts: Sequence[Cut],
    batches: Batches,
    *,
    scope: Scope = "all",
    threads: int = 0,
    advance: Callable[[int], None] | None = None,
) -> tuple[dict[str, Weights], dict[str, Refit]]:
    """Weights of the pruned network, at the dense network's shapes.

    What reads a module's channels is solved so that residual and result together match the dense stream:
    Y = dense residual + dense result - pruned residual. Every other product is solved so that it gives on the
    pruned stream what it gives on the dense one.

    Args:
        model: the float IR; it is not changed.
        cuts: of all modules, in its order.
        batches: feeds with `attention_mask`.
        scope: "none" solves nothing, "readers" what reads a module's channels, "all" every product.
        threads: for onnxruntime, 0 for every core.
        advance: called with steps in proportion to the work done, `STEPS` in all.

    Returns:
        Weights by the product's name, for readers of what was cut and whatever was solved; and what came of
        each solution.
    """
    weights = {each.module.reader.name: _spread(each, each.weight, None) for each in cuts if each.changes}
    refits: dict[str, Refit] = {}
    if scope == "none" or not weights:
        if advance is not None:
            advance(STEPS)
        return weights, refits
    by_reader = {each.module.reader.matmul: each for each in cuts}
    by_writer = {writer.matmul: each for each in cuts for writer in each.module.writers}
    walk = Walk(model, batches, both=True, threads=threads)
    chosen = _to_solve(walk.linears, by_reader, scope)
    texts = Texts.of(batches)
    kept = {each: _kept(each, by_reader, by_writer) for each in chosen}
    works = [refit_work(each, texts, kept.get(each)) for each in walk.linears]
    report = in_turn(spread(advance or (lambda _: None), STEPS, sum(works)), works)
    for group in walk.groups():
        for linear in group:
            if linear not in chosen:
                report(1)
                continue
            cut = by_reader.get(linear.matmul)
            problem = _problem(linear, cut, by_writer.get(linear.matmul))
            done = _solve(walk, problem)
            refits[linear.name] = done
            if done.ridge is not None or (cut is not None and cut.changes):
                weights[linear.name] = _merged(problem, done)
                walk.give(linear, *weights[linear.name])
            report(1)
    return weights, refits


def _kept(
    linear: Linear, by_reader: Mapping[ir.Node, Cut], by_writer: Mapping[ir.Node, Cut]
) -> tuple[int, int]:
    """Rows and columns of a product that exist after the cut."""
    width, out = linear.weight_array.shape
    reads, writes = by_reader.get(linear.matmul), by_writer.get(linear.matmul)
    return (
        width if reads is None else len(reads.columns),
        out if writes is None else len(writes.columns),
    )


def _to_solve(linears: Sequence[Linear], by_reader: Mapping[ir.Node, Cut], scope: Scope) -> set[Linear]:
    """From the first product on that lost channels."""
    reached = (by_reader.get(each.matmul) for each in linears)
    first = next(index for index, cut in enumerate(reached) if cut is not None and cut.changes)
    return {
        each
        for each in linears[first:]
        if each.weight_array.shape[1] <= WIDEST and (scope == "all" or each.matmul in by_reader)
    }


def _problem(linear: Linear, reads: Cut | None, writes: Cut | None) -> _Problem:
    weight = linear.weight_array.astype(np.float64)
    rows = np.arange(len(weight)) if reads is None else reads.columns
    columns = np.arange(weight.shape[1]) if writes is None else writes.columns
    kept = weight[:, columns] if reads is None else reads.weight
    bias = linear.bias_array
    last = np.zeros(len(columns)) if bias is None else bias.astype(np.float64)[columns]
    stream = None if reads is None else reads.module.residual
    return _Problem(linear, rows, columns, np.vstack([kept, last]), stream)


def _solve(walk: Walk, problem: _Problem) -> Refit:
    linear = problem.linear
    weight = linear.weight_array.astype(np.float64)[:, problem.columns]
    bias = 0.0 if linear.bias_array is None else linear.bias_array.astype(np.float64)[problem.columns]
    fit, held_out = (Moments(len(problem.rows), len(problem.columns)) for _ in range(2))
    streams = [] if problem.stream is None else list(walk.rows(problem.stream))
    for place, rows in enumerate(walk.rows(linear.input)):
        wanted = rows.dense.astype(np.float64) @ weight + bias
        if streams:
            wanted += streams[place].dense
            wanted -= streams[place].pruned
        (held_out if rows.held_out else fit).add(rows.pruned[:, problem.rows], wanted)
    judges = held_out if held_out.rows else fit
    return refit(fit, judges, problem.prior, free_bias=linear.bias_value is not None)


def _merged(problem: _Problem, done: Refit) -> Weights:
    """The solution at the product's full shape; what it does not cover stays, rows that were cut are zero."""
    linear = problem.linear
    weight = linear.weight_array.astype(np.float64)
    weight[:, problem.columns] = 0.0
    weight[np.ix_(problem.rows, problem.columns)] = done.weight[:-1]
    if linear.bias_array is None:
        return weight, None
    bias = linear.bias_array.astype(np.float64)
    bias[problem.columns] = done.weight[-1]
    return weight, bias


def _spread(cut: Cut, weight: Matrix, bias: Matrix | None) -> Weights:
    full = np.zeros(weights_of(cut.module)[0].shape)
    full[cut.columns] = weight
    return full, bias
