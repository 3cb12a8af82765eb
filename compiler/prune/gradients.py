"""How far the model's answers move with what each module adds to the stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray

from calibration.sampler import thinned
from compiler.ir.execute import Runner
from compiler.ir.torch_graph import TorchGraph, downstream, tensor_of
from compiler.prune.directions import Answer, moved
from compiler.prune.modules import PrunableModule
from compiler.prune.moments import Matrix
from targets.errors import UnsupportedError

Batches = Sequence[Mapping[str, NDArray[Any]]]

MOST_TOKENS: Final = 16_384
_SAME: Final = 1e-2


def sensitivities(
    model: ir.Model,
    modules: Sequence[PrunableModule],
    batches: Batches,
    answers: Sequence[Answer],
    *,
    seed: int = 0,
    threads: int = 0,
    advance: Callable[[int], None] | None = None,
) -> dict[str, Matrix]:
    """S of every module: the mean over texts of g g' summed over tokens, g the gradient of the answers.

    An error E [tokens, out] of what a module gives moves the answers of a text by the sum of e . g over its
    tokens, so that tr(E'E S) / tokens is the square of that movement where inputs and gradients are
    independent (K-FAC, Martens & Grosse 2015, section 3; for pruning Wang et al., EigenDamage, ICML 2019).
    g is along directions drawn by `directions.draw`.

    Args:
        model: the float IR; it is not changed.
        modules: in its order, at least one.
        batches: feeds with `attention_mask`; evenly thinned out to `MOST_TOKENS`.
        answers: outputs of the model to differentiate.
        seed: of the directions.
        threads: for onnxruntime and torch, 0 for every core.
        advance: called with 1 after every batch.

    Returns:
        float64 [out, out] by the module's name.

    Raises:
        UnsupportedError: an operator behind the first module that cannot be differentiated, or that torch
            computes otherwise than onnxruntime.
    """
    start = modules[0].reader.output
    graph = TorchGraph(downstream(start))
    watched = {each.reader.output: each.name for each in modules}
    named = {each.name: each for each in answers}
    outputs = {str(each.name): each for each in model.graph.outputs if each.name in named}
    inputs = {str(each.name) for each in model.graph.inputs}
    taps = [str(each.name) for each in (start, *graph.reads) if str(each.name) not in inputs]
    runner = Runner(model, taps=list(dict.fromkeys(taps)), threads=threads)
    found = {each.name: np.zeros((each.reader.weight_array.shape[1],) * 2) for each in modules}
    texts = 0
    for place, feeds in enumerate(thinned(batches, MOST_TOKENS)):
        known = {**feeds, **runner(feeds)}
        given = {each: tensor_of(known[str(each.name)]) for each in (start, *graph.reads)}
        given[start].requires_grad_()
        with torch_threads(threads):
            values = {**given, **graph(given)}
        if place == 0:
            _check_same(model, feeds, {name: values[out] for name, out in outputs.items()}, threads)
        mask = tensor_of(np.asarray(feeds["attention_mask"]).astype(bool))
        target = moved(named, {name: values[out] for name, out in outputs.items()}, mask, seed + place)
        with torch_threads(threads):
            gradients = torch.autograd.grad(target, [values[each] for each in watched], allow_unused=True)
        for name, gradient in zip(watched.values(), gradients, strict=True):
            if gradient is not None:
                rows = gradient.reshape(-1, gradient.shape[-1]).numpy().astype(np.float64)
                found[name] += rows.T @ rows
        texts += len(mask)
        if advance is not None:
            advance(1)
    return {name: each / max(texts, 1) for name, each in found.items()}


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """So many threads in torch, 0 for as many as it has, and what it had afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _check_same(
    model: ir.Model, feeds: Mapping[str, NDArray[Any]], found: Mapping[str, torch.Tensor], threads: int
) -> None:
    wanted = Runner(model, threads=threads)(feeds, list(found))
    for name, array in wanted.items():
        own = found[name].detach().numpy()
        scale = float(np.max(np.abs(array), initial=0.0)) + 1e-6
        if own.shape != array.shape or not float(np.max(np.abs(own - array), initial=0.0)) <= _SAME * scale:
            raise UnsupportedError(
                f"{name} cannot be differentiated: torch and onnxruntime do not agree on it"
            )


def square_root(moments: Matrix) -> Matrix:
    """A root R of a positive semidefinite matrix, R R' = S."""
    values, vectors = np.linalg.eigh(moments)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)), np.float64)
