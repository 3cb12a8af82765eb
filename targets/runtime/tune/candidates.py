"""What tuning tries: the stages of each objective, as data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from targets.runtime.settings import DYNAMIC, MAX_STREAMS, Objective, RunSettings, ShapePolicy
from targets.runtime.tune.search import Stage

MAX_TOKENS: Final = (256, 512, 1024, 2048)
RUN_TOKENS: Final = (0, 8, 16, 32, 64)
STEPS: Final = (16, 4)

_ALONE_STEP: Final = 8
_MOST_SHAPES: Final = 16
_MEMORY_SHARE: Final = 40
_FULL_BATCH: Final = 64


@dataclass(frozen=True, slots=True)
class Room:
    """What the candidates are made for.

    Attributes:
        backend: only OpenVINO compiles shapes for themselves.
        threads: the most that a candidate may use.
        lengths: tokens of every run of one text in the workload.
        shapes: the most models that a candidate may hold beside the dynamic one.
    """

    backend: str
    threads: int
    lengths: Sequence[int]
    shapes: int


def room_for_shapes(memory_mb: int, model_bytes: int) -> int:
    """How many compiled shapes six open candidates can hold: together a good part of a tenth of memory.

    Args:
        memory_mb: of the machine, in MiB; 0 if it is not known, which allows the most.
        model_bytes: of one copy of the model.
    """
    if memory_mb == 0:
        return _MOST_SHAPES
    return max(1, min(_MOST_SHAPES, memory_mb * 1024 * 1024 // (_MEMORY_SHARE * max(1, model_bytes))))


def stages_of(objective: Objective, room: Room) -> list[Stage]:
    """The stages of an objective, in the order in which they are settled."""
    if objective == "latency":
        threads = Stage("threads", lambda at: _thread_options(at, room), _with_threads)
        shapes = Stage("shapes", lambda at: [at, *_shape_options(at, room)])
        return [threads, shapes] if room.backend == "openvino" else [threads]
    return [
        Stage("streams", lambda at: [at, *_stream_options(at, room.threads)]),
        Stage("batches", lambda at: [at, *_batch_options(at, room)]),
        Stage("grouping", _grouping_options),
    ]


def multiples(step: int, lengths: Sequence[int], most: int) -> ShapePolicy:
    """The multiples of `step` that the most texts need, `most` of them; a text of another pads to the next.

    Args:
        step: tokens.
        lengths: of the texts, at least one.
        most: how many models may be kept.
    """
    needed = Counter(step * -(-length // step) for length in lengths)
    used = sorted(length for length, _ in needed.most_common(most))
    return ShapePolicy(tuple(used), kept=len(used))


def _thread_options(at: RunSettings, room: Room) -> list[RunSettings]:
    """Fewer threads than all, without shapes of their own: compiling those once for each would only wait."""
    plain = replace(at, shapes=DYNAMIC) if room.backend == "openvino" else at
    counts = sorted({1, 2, room.threads // 4, room.threads // 2} - {0, room.threads})
    return [plain, *(replace(plain, threads=count) for count in counts if count < room.threads)]


def _with_threads(at: RunSettings, won: RunSettings) -> RunSettings:
    return replace(at, threads=won.threads)


def _shape_options(at: RunSettings, room: Room) -> list[RunSettings]:
    policies = [DYNAMIC, *(multiples(step, room.lengths, room.shapes) for step in STEPS)]
    return [replace(at, shapes=policy) for policy in policies]


def _stream_options(at: RunSettings, threads: int) -> list[RunSettings]:
    counts = sorted({1, 2, threads // 2, threads} - {0, at.streams})
    return [replace(at, streams=count) for count in counts if count <= min(threads, MAX_STREAMS)]


def _batch_options(at: RunSettings, room: Room) -> list[RunSettings]:
    """Other sizes of a run; and every text in a run of its own, which pads nothing."""
    sizes = [
        replace(at, max_tokens=tokens, max_batch=max(at.max_batch, _FULL_BATCH if tokens > 1024 else 0))
        for tokens in MAX_TOKENS
    ]
    alone = replace(at, max_batch=1)
    if room.backend == "openvino":
        alone = replace(alone, shapes=multiples(_ALONE_STEP, room.lengths, room.shapes))
    return [*(size for size in sizes if size.max_tokens != at.max_tokens), alone]


def _grouping_options(at: RunSettings) -> list[RunSettings]:
    if at.max_batch == 1:
        return [at]
    return [at, *(replace(at, run_tokens=tokens) for tokens in RUN_TOKENS if tokens != at.run_tokens)]
