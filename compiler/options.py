"""What a user can ask of a compile, by the names that the command line uses."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypedDict

from targets.errors import UsageError
from targets.spec import PRECISIONS, RUNTIMES, Precision, Runtime

RuntimeChoice = Runtime | Literal["auto"]
PrecisionChoice = Precision | Literal["auto"]
Kind = Literal["heads", "ffn"]
PruneChoice = Literal["auto"]

PRECISION_CHOICES: Final[tuple[PrecisionChoice, ...]] = (*PRECISIONS, "auto")

DEFAULT_SAMPLES: Final = 300
DEFAULT_MAX_DROP: Final = 0.01
DEFAULT_PRUNE_SAMPLES: Final = 2048
DEFAULT_EMULATED_SAMPLES: Final = 200
KINDS: Final[tuple[Kind, ...]] = ("heads", "ffn")
AUTO_RANGES: Final = "auto"

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,95}")


@dataclass(frozen=True, slots=True)
class CompileOptions:
    """Options of `compile_model` and of `bertc compile`.

    Attributes:
        targets: ids, TOML paths, or "native" for this machine.
        runtime: "auto" builds for each of the target's runtimes that is installed and keeps the faster.
        precision: int8 and fp8 need calibration data, the others do not; on GPUs without INT8 products
            int8 is the 8-bit form that the target names; auto is int8 that leaves as little in float as
            `max_drop` and `min_agreement` allow on texts held out of the calibration data.
        task: None for the task of the checkpoint's architecture.
        revision: branch, tag or commit of a hub id.
        name: of the bundles; None for the checkpoint's.
        calibration_data: text file or `datasets` name.
        calibration_samples: texts drawn from it.
        eval_data: labelled or unlabelled text that the artifact is validated on.
        eval_samples: texts drawn from it; None for all.
        text_column, text_pair_column, label_column: None for the field's conventions.
        max_drop: largest loss of the task's metric, absolute (0.01 is one point of accuracy).
        validate_emulated: run the bundle under emulation on a target that is not here, and record that.
        emulated_samples: texts of it; the bundle keeps FP32's answers to them, and the integer reference's.
        min_agreement: least agreement with the FP32 model, from 0 to 1; None for any.
        max_length: longest text in tokens, special tokens included.
        prune_flops: share of the encoder's FLOPs to keep; None, and 1, prune nothing.
        prune_speedup: how many times as fast as the dense bundle of the same precision, by a table of
            measured times; None for no such budget.
        prune: "auto" cuts as much as `max_drop` allows on texts held out of the calibration data.
        prune_shape: batch and tokens that the times are for.
        prune_targets: what may be cut: "heads", "ffn".
        prune_align: widths of feed-forward networks are left in multiples of it.
        prune_samples: texts of the calibration data to prune by.
        seed: of every random choice.
        threads: 0 for every core.
        ranges: how activation ranges are chosen.
        smooth: whether outlying channels are moved into the weights (SmoothQuant).
        dump_ir: folder for the graph after every pass.
        sign_key: file with the private key that signs the bundles; None leaves them unsigned.
        report: write report.html, and measure what it shows: latency against FP32, accuracy on every runtime.
        keep_debug: write calibration ranges and decisions beside the bundle, into NAME.debug/.
        force: replace a bundle that is there.
    """

    targets: tuple[str, ...] = ("native",)
    runtime: RuntimeChoice = "auto"
    precision: PrecisionChoice = "int8"
    task: str | None = None
    revision: str | None = None
    name: str | None = None
    calibration_data: str | Path | None = None
    calibration_samples: int = DEFAULT_SAMPLES
    eval_data: str | Path | None = None
    eval_samples: int | None = None
    text_column: str | None = None
    text_pair_column: str | None = None
    label_column: str | None = None
    max_drop: float = DEFAULT_MAX_DROP
    min_agreement: float | None = None
    validate_emulated: bool = False
    emulated_samples: int = DEFAULT_EMULATED_SAMPLES
    max_length: int | None = None
    prune_flops: float | None = None
    prune_speedup: float | None = None
    prune: PruneChoice | None = None
    prune_shape: tuple[int, int] = (1, 128)
    prune_targets: tuple[Kind, ...] = KINDS
    prune_align: int = 64
    prune_samples: int = DEFAULT_PRUNE_SAMPLES
    seed: int = 0
    threads: int = 0
    ranges: str = AUTO_RANGES
    smooth: bool = True
    dump_ir: Path | None = None
    sign_key: Path | None = None
    report: bool = True
    keep_debug: bool = False
    force: bool = False

    def check(self) -> None:
        """Refuse what cannot be meant, before any work.

        Raises:
            UsageError: naming the flag.
        """
        _choice("--precision", self.precision, PRECISION_CHOICES)
        _choice("--runtime", self.runtime, ("auto", *RUNTIMES))
        _check_ranges(self.ranges)
        if not self.targets:
            raise UsageError("no target is given", "pass --target native, or an id of `bertc targets`")
        if self.calibrated and self.calibration_data is None:
            kind = "static INT8" if self.built == "int8" else "FP8"
            raise UsageError(
                f"{kind} needs text to calibrate on",
                "pass --calibration-data FILE, or --precision int8-dynamic, fp16 or bf16, which need none, "
                "as int8-weights on GPUs",
            )
        self._check_gate()
        if self.validate_emulated and self.eval_data is None:
            raise UsageError("--validate-emulated needs text to run", "pass --eval-data FILE")
        self._check_pruning()
        if self.name is not None and _NAME.fullmatch(self.name) is None:
            raise UsageError(
                f"--name {self.name!r} cannot be a bundle's name",
                "use letters, digits, dot, dash, plus and underscore, and begin with a letter or a digit",
            )
        for flag, count in (
            ("--calibration-samples", self.calibration_samples),
            ("--eval-samples", self.eval_samples),
            ("--prune-samples", self.prune_samples),
            ("--emulated-samples", self.emulated_samples),
        ):
            if count is not None and count < 8:
                raise UsageError(f"{flag} {count} is too few", "give 8 or more")
        if self.seed < 0:
            raise UsageError(f"--seed {self.seed} cannot be", "give 0 or a positive number")
        if self.threads < 0:
            raise UsageError(
                f"--threads {self.threads} cannot be", "give 0 for every core, or a positive number"
            )

    @property
    def built(self) -> Precision:
        """The precision of the bundle: auto is INT8 with its exceptions listed."""
        return "int8" if self.precision == "auto" else self.precision

    @property
    def calibrated(self) -> bool:
        """Whether activations get parameters from calibration text."""
        return self.built in ("int8", "fp8")

    @property
    def pruned(self) -> bool:
        """Whether anything is to be cut."""
        by_flops = self.prune_flops is not None and self.prune_flops < 1.0
        return by_flops or self.prune is not None or self.prune_speedup is not None

    @property
    def searched(self) -> bool:
        """Whether something is chosen by texts held out of the calibration data."""
        return self.precision == "auto" or self.prune is not None

    def _check_pruning(self) -> None:
        if self.prune_flops is not None and not 0.0 < self.prune_flops <= 1.0:
            raise UsageError(
                f"--prune-flops {self.prune_flops} is no share of the FLOPs to keep",
                "give a number above 0 and up to 1; 0.67 keeps two thirds of the encoder's",
            )
        budgets = {
            "--prune-flops": self.prune_flops,
            "--prune-speedup": self.prune_speedup,
            "--prune": self.prune,
        }
        given = [flag for flag, value in budgets.items() if value is not None]
        if len(given) > 1:
            raise UsageError(f"{' and '.join(given)} are {len(given)} budgets", "give one of them")
        if self.prune is not None:
            _choice("--prune", self.prune, ("auto",))
        if self.prune_speedup is not None and not 1.0 < self.prune_speedup < float("inf"):
            raise UsageError(
                f"--prune-speedup {self.prune_speedup:g} is no speed-up",
                "give a number above 1; 1.5 is usual",
            )
        if min(self.prune_shape) < 1:
            raise UsageError(
                f"--prune-shape {self.prune_shape[0]}x{self.prune_shape[1]} cannot be",
                "give BATCHxTOKENS of 1 or more, as in 1x128",
            )
        if self.pruned and self.calibration_data is None:
            raise UsageError("pruning needs text to weigh by", "pass --calibration-data FILE")
        if not self.prune_targets or not set(self.prune_targets) <= set(KINDS):
            names = ",".join(self.prune_targets)
            raise UsageError(
                f"--prune-targets {names!r} is not known", f"use one or both of: {', '.join(KINDS)}"
            )
        if self.prune_align < 1:
            raise UsageError(f"--prune-align {self.prune_align} cannot be", "give 1 or more; 64 is usual")

    def _check_gate(self) -> None:
        if not 0.0 <= self.max_drop <= 1.0:
            raise UsageError(f"--max-drop {self.max_drop} is not a drop", "give 0 to 1; 0.01 is one point")
        if self.min_agreement is None:
            return
        if not 0.0 < self.min_agreement <= 1.0:
            raise UsageError(
                f"--min-agreement {self.min_agreement} is not an agreement",
                "give a number above 0 and up to 1; 0.995 is 99.5% of the FP32 model's answers",
            )
        if self.precision == "fp32" and not self.pruned:
            raise UsageError(
                "--min-agreement is for a precision below FP32, which always agrees with itself",
                "leave it out, or pass another --precision",
            )
        if not self.searched and self.eval_data is None:
            raise UsageError(
                "--min-agreement needs text to measure the agreement on",
                "pass --eval-data FILE, or --precision auto or --prune auto, which hold texts out of "
                "--calibration-data",
            )


class OptionFields(TypedDict, total=False):
    """The fields of `CompileOptions` but the targets, as keyword arguments."""

    runtime: RuntimeChoice
    precision: PrecisionChoice
    task: str | None
    revision: str | None
    name: str | None
    calibration_data: str | Path | None
    calibration_samples: int
    eval_data: str | Path | None
    eval_samples: int | None
    text_column: str | None
    text_pair_column: str | None
    label_column: str | None
    max_drop: float
    min_agreement: float | None
    validate_emulated: bool
    emulated_samples: int
    max_length: int | None
    prune_flops: float | None
    prune_speedup: float | None
    prune: PruneChoice | None
    prune_shape: tuple[int, int]
    prune_targets: tuple[Kind, ...]
    prune_align: int
    prune_samples: int
    seed: int
    threads: int
    ranges: str
    smooth: bool
    dump_ir: Path | None
    sign_key: Path | None
    report: bool
    keep_debug: bool
    force: bool


def _check_ranges(method: str) -> None:
    from calibration.observers import RangeObserver
    from calibration.ranges import choose_range

    try:
        if method != AUTO_RANGES:
            choose_range(RangeObserver(), method, symmetric=False, signed=False)
    except UsageError as error:
        raise UsageError(
            f"--ranges {method!r} is not known",
            "use auto, minmax, mse, entropy or percentile-P with P above 50, as in percentile-99.99",
        ) from error


def _choice(flag: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UsageError(f"{flag} {value!r} is not known", f"use one of: {', '.join(known)}")
