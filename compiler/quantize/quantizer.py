"""From the float graph, calibration text and a scheme to a plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import onnx_ir as ir

from calibration.cache import ArrayCache
from calibration.sampler import thinned
from compiler.ir.edit import constant, sweep
from compiler.ir.encoder import EncoderGraph
from compiler.ir.execute import clone
from compiler.ir.linear import linears_of
from compiler.ir.work import Texts, run_work
from compiler.progress import in_turn, spread
from compiler.quantize import ranges
from compiler.quantize.apply_smoothing import apply_smoothing
from compiler.quantize.cost import site_work
from compiler.quantize.layer import Noise, QuantizedSite, quantize_site
from compiler.quantize.options import QuantizeOptions
from compiler.quantize.plan import HEAD, AttentionPlan, Decision, LinearPlan, QParam, QuantPlan, QWeight
from compiler.quantize.sites import Site, sites_of
from compiler.quantize.smooth import Smoothing, Transform
from compiler.quantize.split import split_outliers
from compiler.quantize.statistics import Batches, ChannelRange, Progress, collect
from compiler.quantize.streams import MOST_TOKENS, Streams
from compiler.quantize.weights import quantize_columns, quantize_rows
from targets.spec import QuantScheme

SMALLEST_TABLE: Final = 256
FLOAT_ATTENTION: Final = "the target's scheme leaves attention products in float"


@dataclass(frozen=True, slots=True)
class Quantized:
    """A plan, the graph it belongs to, and what led to it.

    Attributes:
        model: the graph.
        plan: by its names.
        smoothing: what was done at each site.
        noise: that each site's layers make, by the role of the first, in the graph's order.
    """

    model: ir.Model
    plan: QuantPlan
    smoothing: tuple[Smoothing, ...] = ()
    noise: Mapping[str, Noise] = field(default_factory=dict)


def quantize_static(
    model: ir.Model,
    batches: Batches,
    scheme: QuantScheme,
    options: QuantizeOptions,
    *,
    advance: Progress | None = None,
    cache: ArrayCache | None = None,
) -> Quantized:
    """Static INT8: every linear layer, and the attention products where the scheme has a form for them.

    First every text runs through the float model, for the range of each channel. Then the layers are
    quantized in order, each on what the quantized layers before it make of a bounded number of tokens.

    Args:
        model: the float IR after the passes; it is not changed.
        batches: calibration feeds.
        scheme: the target's rules for its runtime.
        options: see `QuantizeOptions`.
        advance: called with steps in proportion to the work done, `passes_over` in all.
        cache: for the ranges.
    """
    model = clone(model)
    sites = sites_of(model)
    names = {str(site.value.name) for site in sites} | _attention_operands(model, scheme)
    texts = Texts.of(batches)
    watching = run_work([each for site in sites for each in site.linears], texts)
    works = [site_work(site, Texts.of(thinned(batches, MOST_TOKENS)), options) for site in sites]
    report = spread(advance or (lambda _: None), passes_over(batches), watching + sum(works))

    def watched(seen: int) -> None:
        report(watching * seen / texts.number)

    known = collect(model, names, batches, threads=options.threads, advance=watched, cache=cache)
    if options.split:
        known = split_outliers(model, known)
        sweep(model.graph)
        sites = sites_of(model)
    done = _quantize_sites(model, sites, batches, known, scheme, options, in_turn(report, works))
    plan = QuantPlan(
        linears=_linears(model, sites, done),
        attentions=_attentions(model, sites, done, known, scheme),
        tables=_tables(model),
        scheme=_describe("static", scheme, options),
    )
    for site, each in zip(sites, done, strict=True):
        apply_smoothing(model.graph, site, each.transform)
    sweep(model.graph)
    both = list(zip(sites, done, strict=True))
    smoothing = tuple(_record(site, each) for site, each in both)
    return Quantized(model, plan, smoothing, {str(site.role): each.noise for site, each in both})


def passes_over(batches: Batches) -> int:
    """The steps that `quantize_static` tells `advance` of: both passes over every text."""
    return 2 * sum(len(feeds["attention_mask"]) for feeds in batches)


def _quantize_sites(
    model: ir.Model,
    sites: list[Site],
    batches: Batches,
    known: Mapping[str, ChannelRange],
    scheme: QuantScheme,
    options: QuantizeOptions,
    advance: Progress,
) -> list[QuantizedSite]:
    streams = Streams(model, sites, batches, sequential=options.sequential, threads=options.threads)
    done = []
    for index, site in enumerate(sites):
        rows = streams.rows(index)
        done.append(quantize_site(site, rows, known[str(site.value.name)], scheme, options))
        streams.step(index, done[-1])
        advance(1)
    return done


def _record(site: Site, done: QuantizedSite) -> Smoothing:
    transform = done.transform
    folded = transform.changes and site.fold is not None
    return Smoothing(
        str(site.value.name), site.role, transform.alpha, folded, transform.gain, transform.shifted
    )


def adapt(plan: QuantPlan, scheme: QuantScheme) -> QuantPlan:
    """The same plan for a runtime that differs in its attention products only.

    Args:
        plan: made for INT8 attention products, or for float ones if `scheme` has float ones.
        scheme: the other runtime's rules.
    """
    if scheme.attention_products != "float":
        return plan
    decision = Decision("float", FLOAT_ATTENTION)
    attentions = {name: AttentionPlan(each.role, decision) for name, each in plan.attentions.items()}
    described = {**plan.scheme, "attention_products": "float"}
    return QuantPlan(plan.linears, attentions, plan.tables, described)


def quantize_dynamic(model: ir.Model, scheme: QuantScheme) -> QuantPlan:
    """Dynamic INT8: weights now, activations by their own range on each run. Needs no data."""
    roles = EncoderGraph.find(model).roles()
    decision = Decision("int8", "activations are quantized on each run")
    linears = {
        each.name: LinearPlan(
            roles.get(each.name, HEAD), decision, quantize_columns(each.weight_array, qmax=scheme.weight_qmax)
        )
        for each in linears_of(model.graph)
    }
    return QuantPlan(
        linears, {}, _tables(model), {"kind": "dynamic", "weights": f"s8 per column, +-{scheme.weight_qmax}"}
    )


def quantize_weights(model: ir.Model, scheme: QuantScheme) -> QuantPlan:
    """INT8 weights alone, which are dequantized where a float product reads them. Needs no data."""
    plan = quantize_dynamic(model, scheme)
    decision = Decision("int8", "INT8 weights in a float product")
    linears = {name: replace(each, decision=decision) for name, each in plan.linears.items()}
    described = {
        "kind": "weights",
        "weights": f"s8 per column, +-{scheme.weight_qmax}",
        "activations": "float",
    }
    return replace(plan, linears=linears, scheme=described)


def quantize_tables(model: ir.Model) -> dict[str, QWeight]:
    """The embedding tables as INT8 rows, by the name of the Gather."""
    return _tables(model)


def _describe(kind: str, scheme: QuantScheme, options: QuantizeOptions) -> dict[str, Any]:
    form = "asymmetric" if scheme.asymmetric else "symmetric"
    return {
        "kind": kind,
        "activations": f"{scheme.activation} per tensor, {form}",
        "weights": f"s8 per column, +-{scheme.weight_qmax}",
        "attention_products": scheme.attention_products,
        "ranges": options.ranges,
        "smooth": options.smooth,
        "shift": options.smooth and options.shift,
        "split": options.split,
        "rounding": options.rounding,
        "bias_correction": options.bias_correction,
        "sequential": options.sequential,
    }


def _attention_operands(model: ir.Model, scheme: QuantScheme) -> set[str]:
    if scheme.attention_products == "float":
        return set()
    attentions = (layer.attention for layer in EncoderGraph.find(model).layers)
    operands = (value for each in attentions if each is not None for value in each.node.inputs[:3])
    return {str(value.name) for value in operands if value is not None}


def _linears(model: ir.Model, sites: list[Site], done: list[QuantizedSite]) -> dict[str, LinearPlan]:
    roles = EncoderGraph.find(model).roles()
    plans: dict[str, LinearPlan] = {}
    for site, each in zip(sites, done, strict=True):
        start = 0
        for linear in site.linears:
            columns = slice(start, start + linear.weight_array.shape[1])
            weight = QWeight(each.weight.values[:, columns], each.weight.scale[columns], axis=1)
            bias = each.bias[columns] if each.corrected else None
            role = roles.get(linear.name, HEAD)
            plans[linear.name] = LinearPlan(role, Decision("int8", "linear layer"), weight, each.param, bias)
            start = columns.stop
    for site, each in zip(sites, done, strict=True):
        if site.fold is not None and each.transform.changes:
            name = site.fold.into.name
            plans[name] = _folded(plans[name], site.fold.columns, each.transform)
    return plans


def _folded(plan: LinearPlan, columns: slice, transform: Transform) -> LinearPlan:
    """The projection whose results are to be divided and shifted: its integers stay, their steps change."""
    if plan.weight is None:
        return plan
    scale = plan.weight.scale.copy()
    scale[columns] /= transform.scale
    bias = plan.bias
    if bias is not None:
        bias = bias.copy()
        bias[columns] = transform(bias[columns])
    return replace(plan, weight=QWeight(plan.weight.values, scale, axis=1), bias=bias)


def _attentions(
    model: ir.Model,
    sites: list[Site],
    done: list[QuantizedSite],
    known: Mapping[str, ChannelRange],
    scheme: QuantScheme,
) -> dict[str, AttentionPlan]:
    contexts = {
        site.value: each.transform for site, each in zip(sites, done, strict=True) if site.fold is not None
    }
    plans: dict[str, AttentionPlan] = {}
    for layer in EncoderGraph.find(model).layers:
        if layer.attention is None:
            continue
        node = layer.attention.node
        role, name = f"layer{layer.index}.attention", str(node.name)
        if scheme.attention_products == "float":
            plans[name] = AttentionPlan(role, Decision("float", FLOAT_ATTENTION))
            continue
        query, key, value = (known[str(each.name)] for each in node.inputs[:3] if each)
        transform = contexts.get(node.outputs[0])
        if transform is not None:
            value = ChannelRange(transform(value.low), transform(value.high))
        operands = (_operand(each) for each in (query, key, value))
        plans[name] = AttentionPlan(role, Decision("int8", "attention product"), *operands)
    return plans


def _operand(known: ChannelRange) -> QParam:
    bounds = min(float(known.low.min()), 0.0), max(float(known.high.max()), 0.0)
    return ranges.param(*bounds, source="minmax", symmetric=True, signed=True)


def _tables(model: ir.Model) -> dict[str, QWeight]:
    quantized: dict[int, QWeight] = {}
    tables: dict[str, QWeight] = {}
    for gather in EncoderGraph.find(model).tables:
        array = constant(gather.inputs[0])
        if array is None or len(array) < SMALLEST_TABLE:
            continue
        key = id(gather.inputs[0])
        if key not in quantized:
            quantized[key] = quantize_rows(np.asarray(array, np.float32))
        tables[str(gather.name)] = quantized[key]
    return tables
