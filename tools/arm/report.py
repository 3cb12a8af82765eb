"""Tables of what each CPU made of the subjects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tools.arm.layers import CASES, STEP
from tools.arm.subject import Answer, Subject
from tools.bench_report import table

Answers = Mapping[str, Mapping[str, Answer]]
"""By CPU, then by the subject's key."""
Exact = Mapping[str, NDArray[Any]]


def layer_tables(subjects: Sequence[Subject], exact: Exact, answers: Answers) -> str:
    """A row for each case, a column for each kind of activation; CPUs whose tables are alike share one."""
    parts = []
    for runtime in dict.fromkeys(each.runtime for each in subjects):
        own = [each for each in subjects if each.runtime == runtime]
        alike: dict[str, list[str]] = {}
        for cpu, found in answers.items():
            alike.setdefault(_layers(own, exact, found), []).append(cpu)
        parts += [f"{runtime} on {', '.join(cpus)}:\n\n{lines}" for lines, cpus in alike.items()]
    return "\n\n".join(parts)


def _layers(subjects: Sequence[Subject], exact: Exact, found: Mapping[str, Answer]) -> str:
    columns = list(dict.fromkeys(each.column for each in subjects))
    lines = [["layer", *columns]]
    for row in dict.fromkeys(each.row for each in subjects):
        own = [each for each in subjects if each.row == row]
        lines.append([row, *(_layer(row, exact[each.key], found[each.key]) for each in own)])
    return table(lines)


def model_table(subjects: Sequence[Subject], exact: Exact, floats: NDArray[Any], answers: Answers) -> str:
    """A row for each form and CPU."""
    head = [
        "form",
        "CPU",
        "MSE to FP32",
        "agreement",
        "MSE to the exact plan",
        "median",
        "largest",
        "agreement",
    ]
    lines = [head]
    for each in subjects:
        plan = exact[each.key]
        lines.append([each.row, "exact plan", *_gap(plan, floats), "", "", "", ""])
        for cpu, found in answers.items():
            answer = found[each.key]
            if answer.rows is None:
                lines.append([each.row, cpu, answer.refusal[:40], "", "", "", "", ""])
                continue
            gaps = np.abs(answer.rows - plan).max(axis=1)
            mse, agreement = _gap(answer.rows, plan)
            spread = [f"{np.median(gaps):.1e}", f"{gaps.max():.1e}"]
            lines.append([each.row, cpu, *_gap(answer.rows, floats), mse, *spread, agreement])
    return table(lines)


def kernel_lists(subjects: Sequence[Subject], answers: Answers) -> str:
    """Which kernels OpenVINO computed the products of each form with."""
    lines = []
    for each in subjects:
        for cpu, found in answers.items():
            kernels = found[each.key].kernels
            listed = "; ".join(f"{count} {name}" for name, count in sorted(kernels.items()))
            if listed:
                lines.append(f"- {each.row}, {cpu}: {listed}")
    return "\n".join(lines)


def document(
    subjects: Sequence[Subject], exact: Exact, floats: NDArray[Any] | None, answers: Answers
) -> list[dict[str, Any]]:
    """The same for programs."""
    found = []
    for each in subjects:
        for cpu, by_key in answers.items():
            answer = by_key[each.key]
            entry: dict[str, Any] = {"row": each.row, "column": each.column, "runtime": each.runtime}
            entry |= {"cpu": cpu, "kernels": dict(answer.kernels), "refusal": answer.refusal}
            if answer.rows is not None:
                entry["mse_to_plan"] = float(np.square(answer.rows - exact[each.key]).mean())
                if floats is not None:
                    entry["mse_to_float"] = float(np.square(answer.rows - floats).mean())
            found.append(entry)
    return found


def _layer(row: str, exact: NDArray[Any], answer: Answer) -> str:
    """Relative root mean square; of integers, the share that differs."""
    if answer.rows is None:
        return "refused"
    gap = answer.rows - exact
    if next(each.again for each in CASES if each.name == row):
        return f"{100 * (np.abs(gap) > STEP / 4).mean():.3f}% differ"
    return f"{np.sqrt(np.square(gap).mean() / np.square(exact).mean()):.0e}"


def _gap(one: NDArray[Any], other: NDArray[Any]) -> list[str]:
    same = (one.argmax(axis=1) == other.argmax(axis=1)).mean()
    return [f"{np.square(one - other).mean():.1e}", f"{100 * same:.1f}%"]
