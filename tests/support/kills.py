"""Compiles that are killed at random moments: what is left of each, and what the next one makes of that."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import cycle, pairwise
from pathlib import Path
from typing import Any

from targets.bundle.reader import Bundle
from targets.errors import BertcError
from tests.support.compiling import TARGET
from tests.support.forked import Child, Place, command_line, forked, import_what_is_used, stages_told

START = "starting"
NOTHING = "nothing"
SIBLING = re.compile(r"\..+\.(bundle|debug)\.(tmp|old)-[0-9]+-[0-9a-f]+")


@dataclass(frozen=True)
class Case:
    """A command that is killed.

    Attributes:
        runtime: what it compiles for.
        options: more of them.
        older: whether a bundle for the other runtime is at its output.
    """

    runtime: str
    options: tuple[str, ...] = ()
    older: bool = False

    @property
    def other(self) -> str:
        return "openvino" if self.runtime == "onnxruntime" else "onnxruntime"


CASES = (
    Case("onnxruntime"),
    Case("onnxruntime", ("--force", "--keep-debug"), older=True),
    Case("openvino", ("--keep-debug",)),
    Case("onnxruntime", ("--keep-debug",)),
    Case("onnxruntime", ("--force",), older=True),
)


@dataclass(frozen=True)
class Stage:
    """A stage of a compile that was measured, with what comes after it: seconds from the start."""

    name: str
    begin: float
    end: float


@dataclass(frozen=True)
class Moment:
    """A share of a stage's time, from 0 to 1, after it began."""

    stage: int
    share: float


@dataclass(frozen=True)
class Row:
    """A kill and the run after it.

    Attributes:
        seconds: from the start.
        stage: in which it was killed.
        command: the runtime and the options.
        older: whether there was another bundle before.
        output: "nothing", "old" or "new", else what is wrong with what is there.
        debug: "nothing" or "whole", as above.
        siblings: kinds of temporary folders beside it.
        temporary: names in the folder for temporary files.
        again: what is wrong after the next run; "" if nothing is.
    """

    seconds: float
    stage: str
    command: str
    older: bool
    output: str
    debug: str
    siblings: tuple[str, ...]
    temporary: tuple[str, ...]
    again: str

    @property
    def right(self) -> bool:
        """Whether what was there is whole, and the next run succeeded."""
        allowed = ("old", "new") if self.older else (NOTHING, "new")
        return self.output in allowed and self.debug in (NOTHING, "whole") and not self.again

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def moments(stages: Sequence[Stage], kills: int, rng: random.Random) -> list[Moment]:
    """Where to kill: once in every stage, and at jittered quantiles of the whole time; in random order."""
    chosen = [Moment(index, rng.random()) for index in range(len(stages))]
    rng.shuffle(chosen)
    chosen = chosen[:kills]
    left = kills - len(chosen)
    first, last = stages[0].begin, stages[-1].end
    for place in range(left):
        at = first + (last - first) * (place + rng.random()) / left
        index = max(index for index, stage in enumerate(stages) if stage.begin <= at)
        stage = stages[index]
        chosen.append(Moment(index, min((at - stage.begin) / (stage.end - stage.begin), 1.0)))
    rng.shuffle(chosen)
    return chosen


class Killer:
    """Compiles a model again and again in children of this process, and kills them.

    Args:
        model: a text classifier.
        data: labelled texts.
        work: a new folder.

    Attributes:
        argv: the command, without its output and runtime.
    """

    def __init__(self, model: Path, data: Path, work: Path) -> None:
        """Imports what a compile uses, and measures one for each runtime."""
        self.argv = (
            *("compile", model, "--calibration-data", data, "--eval-data", data, "--max-drop", 1),
            *("--ranges", "minmax", "--threads", 1, "--json"),
        )
        self._work = work
        warm = Place(work / "warm").make()
        import_what_is_used(warm, *self._command(warm, Case("onnxruntime")))
        self._stages: dict[str, list[Stage]] = {}
        self._digests: dict[str, str] = {}
        for runtime in ("openvino", "onnxruntime"):
            place = Place(work / runtime).make()
            self._stages[runtime] = self._measure(place, Case(runtime))
            self._digests[runtime] = Bundle.open(self.made(runtime)).manifest.content_digest

    def made(self, runtime: str) -> Path:
        """A bundle for a runtime."""
        return bundle_of(Place(self._work / runtime))

    def kill(self, kills: int, rng: random.Random) -> Iterator[Row]:
        """Kills as many compiles; the run after each goes on beside the next one that is killed."""
        waiting: Callable[[], Row] | None = None
        plan = zip(moments(self._stages["onnxruntime"], kills, rng), cycle(CASES), strict=False)
        for index, (moment, case) in enumerate(plan):
            place = Place(self._work / f"kill-{index}").make()
            found = self._killed(place, case, moment)
            if waiting is not None:
                yield waiting()
            waiting = self._again(place, case, found)
        if waiting is not None:
            yield waiting()

    def _command(self, place: Place, case: Case) -> tuple[object, ...]:
        return (*self.argv, "-o", place.out, "--runtime", case.runtime, *case.options)

    def _start(self, place: Place, case: Case, last: int | None = None) -> Child:
        def run(pipe: int) -> int:
            with stages_told(pipe, last):
                return command_line(place, *self._command(place, case))

        return forked(run)

    def _measure(self, place: Place, case: Case) -> list[Stage]:
        begin = time.monotonic()
        child = self._start(place, case)
        lines = [(START, 0.0), *((line.strip(), time.monotonic() - begin) for line in child.pipe)]
        if child.wait() != 0:
            raise RuntimeError(place.log.read_text())
        # The empty line at the end of the last one is the end of all.
        started = [*((name, at) for name, at in lines if name), lines[-1]]
        return [Stage(name, at, after) for (name, at), (_, after) in pairwise(started)]

    def _killed(self, place: Place, case: Case, moment: Moment) -> Row:
        stages = self._stages[case.runtime]
        # A stage that was over too soon is tried again, earlier, and at last killed from inside as it begins.
        for share, last in ((moment.share, None), (moment.share / 2, None), (0.0, moment.stage)):
            shutil.rmtree(place.folder)
            place.make()
            if case.older:
                shutil.copytree(self.made(case.other), bundle_of(place))
            begin = time.monotonic()
            child = self._start(place, case, last)
            told = wait_for(child, stages, Moment(moment.stage, share))
            os.kill(child.pid, signal.SIGKILL)
            seconds = time.monotonic() - begin
            stage = stage_of([*told, *child.pipe])
            if child.wait() == -signal.SIGKILL and stage.endswith(stages[moment.stage].name):
                return self._found(place, case, seconds, stage)
        raise RuntimeError(f"{stages[moment.stage].name} was not killed")

    def _found(self, place: Place, case: Case, seconds: float, stage: str) -> Row:
        names = sorted(os.listdir(place.out)) if place.out.exists() else []
        return Row(
            seconds=round(seconds, 3),
            stage=stage,
            command=" ".join((case.runtime, *case.options)),
            older=case.older,
            output=self._bundle(place, case),
            debug=debug(place),
            siblings=tuple(".".join(match.groups()) for match in map(SIBLING.fullmatch, names) if match),
            temporary=tuple(sorted(os.listdir(place.temporary))),
            again="",
        )

    def _bundle(self, place: Place, case: Case) -> str:
        path = bundle_of(place)
        if not os.path.lexists(path):
            return NOTHING
        try:
            bundle = Bundle.open(path)
            bundle.verify()
        except BertcError as error:
            return f"partial: {error.message}"
        known = {self._digests[case.runtime]: "new", self._digests[case.other]: "old"}
        return known.get(bundle.manifest.content_digest, "another")

    def _again(self, place: Place, case: Case, found: Row) -> Callable[[], Row]:
        """Starts the same command once more, with --force if there is a bundle; gives what ends it."""
        there = found.output != NOTHING and "--force" not in case.options
        options = (*case.options, *(["--force"] if there else []))
        child = self._start(place, Case(case.runtime, options))

        def finish() -> Row:
            child.pipe.read()
            code = child.wait()
            said = place.log.read_text().strip().splitlines()
            expected = [bundle_of(place).name]
            if "--keep-debug" in options:
                expected.append(debug_of(place).name)
            problems = (
                (code != 0, f"it failed: {' '.join(said[-2:])}"),
                (self._bundle(place, case) != "new", f"the bundle is {self._bundle(place, case)}"),
                ("--keep-debug" in options and debug(place) != "whole", f"debug is {debug(place)}"),
                (sorted(os.listdir(place.out)) != expected, f"there is {sorted(os.listdir(place.out))}"),
                (bool(os.listdir(place.temporary)), f"temporary: {os.listdir(place.temporary)}"),
            )
            again = "; ".join(text for wrong, text in problems if wrong)
            return Row(**{**asdict(found), "again": again})

        return finish


def wait_for(child: Child, stages: Sequence[Stage], moment: Moment) -> list[str]:
    """Waits for a moment of a child that tells its stages; gives what it told until then."""
    told: list[str] = []
    while sum(line != "\n" for line in told) < moment.stage:
        told.append(child.pipe.readline())
        if not told[-1]:
            break
    stage = stages[moment.stage]
    time.sleep(moment.share * (stage.end - stage.begin))
    return told


def bundle_of(place: Place) -> Path:
    return place.out / f"tiny-{TARGET}.bundle"


def debug_of(place: Place) -> Path:
    return bundle_of(place).with_suffix(".debug")


def debug(place: Place) -> str:
    """Whether NAME.debug is there, and whole."""
    folder = debug_of(place)
    if not folder.exists():
        return NOTHING
    try:
        document = json.loads((folder / "quantization.json").read_bytes())
    except (OSError, ValueError) as error:
        return f"partial: {error}"
    return "whole" if document["linears"] else "empty"


def stage_of(told: Sequence[str]) -> str:
    """The stage after the lines that a child told, or the one after which it was."""
    lines = [line.strip() for line in told if line]
    if not lines:
        return START
    return lines[-1] or f"after {lines[-2]}"
