"""What `--verbose` says of a compile, as lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from compiler.lower.artifact import Artifact
from compiler.passes.manager import PassRecord
from compiler.quantize.plan import QuantPlan

_NAME = 28


def pass_lines(records: Sequence[PassRecord]) -> Iterator[str]:
    """Each pass with its milliseconds and counts, and below it why it left places alone."""
    for each in records:
        result = each.result
        counts = ", ".join(f"{name} {count}" for name, count in result.counts.items() if count)
        done = (counts or "changed the graph") if result.modified else "changed nothing"
        yield f"{each.name:<{_NAME}} {1e3 * each.seconds:7.1f} ms  {done}"
        places: dict[str, list[str]] = {}
        for declined in result.declined:
            places.setdefault(declined.reason, []).append(declined.where)
        for reason, where in places.items():
            more = f" and {len(where) - 1} more" if len(where) > 1 else ""
            yield f"  declined {where[0]}{more}: {reason}"


def data_line(what: str, name: str, drawn: int, rows: int | None = None) -> str:
    """Which texts are used for what.

    Args:
        what: they are for.
        name: of the file or data set.
        drawn: texts.
        rows: that the file has; None where they were not counted.
    """
    of = "" if rows is None else f" of {rows}"
    return f"{what}: {drawn}{of} rows of {name}"


def range_line(plan: QuantPlan) -> str:
    """How often each method chose the range of an activation."""
    sources = Counter(each.input.source for each in plan.linears.values() if each.input is not None)
    found = ", ".join(f"{source} {count}" for source, count in sources.most_common())
    return f"ranges of linear layers' inputs: {found}"


def placement_line(artifact: Artifact) -> str:
    """Where the runtime computes the products."""
    census = artifact.census
    kernels = Counter(each.kernel for each in census.placements)
    found = ", ".join(f"{kernel} {count}" for kernel, count in kernels.most_common())
    quantized = sum(each.int8 for each in census.placements)
    megabytes = artifact.model_bytes / 1e6
    placed = f"{quantized} of {len(census.placements)} planned products in INT8" + (
        f" ({found})" if found else ""
    )
    return f"{artifact.runtime} {census.runtime_version}, {artifact.precision}, {megabytes:.1f} MB: {placed}"


def latency_line(runtime: str, p50_ms: Mapping[str, float]) -> str:
    """The medians of one runtime."""
    return f"{runtime}: " + ", ".join(f"{shape}: {median:.1f} ms" for shape, median in p50_ms.items())
