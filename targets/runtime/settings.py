"""How a bundle is run on a device: what tuning may choose, and nothing that changes what is computed."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final, Literal

from targets.errors import UsageError
from targets.spec import Device, lengths_within

When = Literal["lazy", "ahead"]
Objective = Literal["latency", "throughput"]

OBJECTIVES: Final[tuple[Objective, ...]] = ("latency", "throughput")
LENGTHS: Final = (16, 24, 32, 48, 64, 80, 96, 112, 128)
MAX_STREAMS: Final = 64
MAX_SHAPES: Final = 64

_STREAMS: Final = 8


@dataclass(frozen=True, slots=True)
class ShapePolicy:
    """The lengths that a backend compiles a model of their own for.

    A run of one text is padded to the next of `lengths` and computed by a model of just that shape. Any
    other run, and any run before its model is there, is computed by the model of dynamic shape. OpenVINO
    gains by it, a few tenths of a millisecond a run; onnxruntime does not, and ignores it.

    Attributes:
        lengths: tokens, ascending; none of them: the model of dynamic shape alone.
        when: "lazy" compiles a length in the background once it is asked for again; "ahead" compiles all of
            them before the session is open.
        kept: the most models held beside the dynamic one; the one asked for least goes first.
        memory_mb: what they may take together, in MiB; each holds the encoder's weights once more.
    """

    lengths: tuple[int, ...] = LENGTHS
    when: When = "lazy"
    kept: int = 8
    memory_mb: int = 300

    def __post_init__(self) -> None:
        """Refuses what no backend can do.

        Raises:
            UsageError: lengths that do not ascend, or counts out of bounds.
        """
        ascending = all(a < b for a, b in zip(self.lengths, self.lengths[1:], strict=False))
        if not ascending or any(length < 1 for length in self.lengths) or len(self.lengths) > MAX_SHAPES:
            raise UsageError(
                f"the lengths {self.lengths} are not usable", f"give up to {MAX_SHAPES}, from 1 on, ascending"
            )
        if not 1 <= self.kept <= MAX_SHAPES:
            raise UsageError(f"{self.kept} shapes to keep", f"give 1 to {MAX_SHAPES}")
        if not 0 <= self.memory_mb <= 1 << 20:
            raise UsageError(f"{self.memory_mb} MiB for the shapes", "give 0 or more")

    def padded(self, length: int) -> int | None:
        """The least of the lengths that holds so many tokens; None if none does."""
        return next((each for each in self.lengths if each >= length), None)

    def within(self, max_length: int) -> ShapePolicy:
        """The policy for a model that reads no more than `max_length` tokens."""
        return replace(self, lengths=lengths_within(self.lengths, max_length))


DYNAMIC: Final = ShapePolicy(lengths=())


@dataclass(frozen=True, slots=True)
class RunSettings:
    """How a session runs its model.

    Attributes:
        threads: of all streams together; 0 for every physical core.
        streams: runs computed side by side when there are several to do; they share the threads.
        max_batch: the most texts of a run.
        max_tokens: the most tokens of a run, padding included; a longer text runs alone.
        run_tokens: what starting one more run costs, in tokens; grouping weighs padding against it.
        shapes: which shapes are compiled for themselves.
    """

    threads: int = 0
    streams: int = 1
    max_batch: int = 32
    max_tokens: int = 1024
    run_tokens: int = 16
    shapes: ShapePolicy = field(default_factory=ShapePolicy)

    def __post_init__(self) -> None:
        """Refuses what no backend can do.

        Raises:
            UsageError: a number out of bounds.
        """
        bounds = {
            "threads": (self.threads, 0, 1024),
            "streams": (self.streams, 1, MAX_STREAMS),
            "max_batch": (self.max_batch, 1, 1024),
            "max_tokens": (self.max_tokens, 1, 1 << 20),
            "run_tokens": (self.run_tokens, 0, 1 << 20),
        }
        for name, (value, low, high) in bounds.items():
            if not low <= value <= high:
                raise UsageError(f"{name} cannot be {value}", f"give {low} to {high}")


def default_settings(backend: str, objective: Objective, threads: int, device: Device = "CPU") -> RunSettings:
    """The settings of a bundle that was not tuned.

    Many texts go through OpenVINO in streams of one thread each, up to 8, which share the weights: no thread
    then waits for another. On onnxruntime it is left to tuning: from no gain to a seventh was measured.

    Args:
        backend: the runtime's name.
        objective: what to be fast at.
        threads: that the session will have, at least 1.
        device: of OpenVINO; what was measured for CPUs is left out on the others.
    """
    if device != "CPU":
        return RunSettings(shapes=DYNAMIC)
    if objective == "throughput" and backend == "openvino":
        return RunSettings(streams=min(threads, _STREAMS), shapes=DYNAMIC)
    return RunSettings()
