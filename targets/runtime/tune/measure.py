"""Sessions as contestants: one text at a time, or many at once.

The threads of a runtime spin for some tens of milliseconds after a run (onnxruntime's do), which slows
whatever runs next: OpenVINO by 15% over a round of 40 texts. So a round begins with a pause, in which the
contestant before comes to rest, and with a few texts that are not counted and fill the caches again.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from targets.runtime.items import TextItem
from targets.runtime.settings import DYNAMIC, Objective, RunSettings
from targets.runtime.tune.workload import Texts

if TYPE_CHECKING:
    from targets.bundle.reader import Bundle
    from targets.runtime.session import Session

_PROBE_TEXTS: Final = 16
_PASSES: Final = 60
_PAUSE_S: Final = 0.05
_LEAD_IN: Final = 4
_LATENCY_TEXTS: Final = (12, 48)
_THROUGHPUT_TEXTS: Final = (128, 1024)


class OneByOne:
    """Latency: each text is a unit of its own, from text to the model's outputs."""

    def __init__(self, session: Session, items: Sequence[TextItem]) -> None:
        """Takes over a session."""
        self._session = session
        self._items = items

    def round(self) -> list[float]:
        """Runs every text alone; seconds of each."""
        seconds = []
        _settle(self._session, self._items, 1)
        for item in self._items:
            start = time.perf_counter()
            self._session.infer([item])
            seconds.append(time.perf_counter() - start)
        return seconds

    def close(self) -> None:
        """Closes the session."""
        self._session.close()


class Together:
    """Throughput: all texts in one call are the only unit."""

    def __init__(self, session: Session, items: Sequence[TextItem]) -> None:
        """Takes over a session."""
        self._session = session
        self._items = items

    def round(self) -> list[float]:
        """Runs all texts; the seconds of that."""
        _settle(self._session, self._items, _LEAD_IN)
        start = time.perf_counter()
        self._session.infer(self._items)
        return [time.perf_counter() - start]

    def close(self) -> None:
        """Closes the session."""
        self._session.close()


def _settle(session: Session, items: Sequence[TextItem], together: int) -> None:
    time.sleep(_PAUSE_S)
    for start in range(0, min(_LEAD_IN, len(items)), together):
        session.infer(items[start : start + together])


def open_contestant(
    bundle: Bundle, settings: RunSettings, objective: Objective, texts: Texts
) -> OneByOne | Together:
    """Opens a session and warms it up: shapes compiled, a round that is not counted.

    Raises:
        BertcError: the bundle does not run so.
    """
    from targets.runtime.session import Session

    session = Session.from_bundle(bundle, settings=settings, check_device=False)
    try:
        if objective == "latency" or settings.max_batch == 1:
            session.prepare(shapes_needed(settings, texts.windows))
        kind = OneByOne if objective == "latency" else Together
        contestant = kind(session, texts.items)
        contestant.round()
    except BaseException:
        session.close()
        raise
    return contestant


def shapes_needed(settings: RunSettings, lengths: Sequence[int]) -> list[int]:
    """The compiled lengths that runs of these lengths use, the most used first."""
    padded = Counter(found for length in lengths if (found := settings.shapes.padded(length)) is not None)
    return [length for length, _ in padded.most_common()]


def texts_for(
    bundle: Bundle, settings: RunSettings, objective: Objective, texts: Texts, seconds: float, seed: int
) -> Texts:
    """As many texts as a heat of `seconds` can time often enough, found by running a few.

    Args:
        bundle: to run.
        settings: the default.
        objective: whether texts run alone or together.
        texts: to choose among.
        seconds: of a heat.
        seed: of the choice.
    """
    least, most = _LATENCY_TEXTS if objective == "latency" else _THROUGHPUT_TEXTS
    probe = texts.sample(_PROBE_TEXTS if objective == "latency" else least, seed)
    contestant = open_contestant(bundle, replace(settings, shapes=DYNAMIC), objective, probe)
    try:
        spent = min(sum(contestant.round()) for _ in range(2)) / len(probe.items)
    finally:
        contestant.close()
    fitting = int(seconds / (_PASSES * max(spent, 1e-6)))
    return texts.sample(max(least, min(most, fitting)), seed)
