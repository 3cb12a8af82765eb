"""The bundles that clients are asked about, and what bertc itself answers."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from targets.bundle.reader import Bundle
from targets.bundle.schema import Manifest
from targets.runtime.items import TextItem
from targets.spec import Runtime

Array = NDArray[Any]

RUNTIMES: Final[tuple[Runtime, ...]] = ("onnxruntime", "openvino")
_LONG = "the plot of this film is thin , but the actors are warm and the songs are a joy to hear . " * 12
_TEXTS: Final = ("A moving, funny and wise film.", "bad .", "Anna Keller left Acme Corp in New York.", _LONG)
_PAIRS: Final = (
    ("a dull plot", "a boring story"),
    ("Who repaired the bridge?", "The old bridge of Paris was repaired in 1998 by Grace Hopper."),
)


@dataclass(frozen=True, slots=True)
class Case:
    """A tiny checkpoint with random weights.

    Attributes:
        name: in the tables.
        family: of tests.support.models.
        task: what it does.
        options: of make_checkpoint.
        rows: of tests.support.data, for calibration: the name of the function.
        items: what clients are asked.
    """

    name: str
    family: str
    task: str
    rows: str
    items: Sequence[TextItem] = _TEXTS
    options: Mapping[str, Any] = field(default_factory=dict)


CASES: Final = (
    Case("one text, two labels", "bert", "text-classification", "classification_rows"),
    Case("pairs of texts", "roberta", "text-classification", "pair_rows", _PAIRS),
    Case(
        "several labels",
        "xlm-roberta",
        "text-classification",
        "multi_label_rows",
        options={"problem_type": "multi_label_classification"},
    ),
    Case(
        "a number",
        "electra",
        "text-classification",
        "regression_rows",
        options={"problem_type": "regression"},
    ),
    Case("entities", "bert", "token-classification", "ner_rows"),
    Case("answers to questions", "distilbert", "question-answering", "squad_rows", _PAIRS),
    Case("masks", "roberta", "fill-mask", "text_rows", ("the film is <mask> .", "a <mask> story of Paris")),
    Case(
        "embeddings: mean, normalized",
        "minilm",
        "feature-extraction",
        "text_rows",
        options={"pooling": "mean", "normalize": True},
    ),
    Case("embeddings: [CLS]", "bert", "feature-extraction", "text_rows", options={"pooling": "cls"}),
    Case(
        "embeddings: mean, dense, normalized",
        "minilm",
        "feature-extraction",
        "text_rows",
        options={"pooling": "mean", "dense": 24, "normalize": True},
    ),
)


@dataclass(frozen=True, slots=True)
class Asked:
    """A bundle, and what bertc answers.

    Attributes:
        name: of the model, in the tables.
        path: of the bundle.
        manifest: of the bundle.
        items: the texts.
        ids: token ids of each text.
        outputs: raw outputs of each text by name.
        answers: of a text classifier, each text's label and score as a pipeline words them.
        files: SHA-256 by path of everything in the bundle's folder.
    """

    name: str
    path: Path
    manifest: Manifest
    items: Sequence[TextItem]
    ids: Sequence[Sequence[int]]
    outputs: Sequence[Mapping[str, Array]]
    answers: Sequence[tuple[str, float]]
    files: Mapping[str, str]

    @property
    def key(self) -> str:
        """What tells this bundle from the others."""
        return f"{self.name}|{self.manifest.runtime.backend}"


def make_tiny(case: Case, folder: Path) -> Path:
    """Writes a case's checkpoint, with calibration.jsonl beside it."""
    from tests.support import data
    from tests.support.models import make_checkpoint

    place = folder / f"{CASES.index(case):02}"
    make_rows: Callable[[], Sequence[Mapping[str, Any]]] = getattr(data, case.rows)
    data.write_rows(place.with_suffix(".jsonl"), make_rows())
    return make_checkpoint(place, case.family, case.task, **case.options)


def compile_quickly(model: Path, calibration: Path, runtime: Runtime, output: Path) -> Path:
    """A static INT8 bundle, its ranges and accuracy of no interest."""
    from compiler.compile import compile_model

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done = compile_model(
            model, output, runtime=runtime, calibration_data=calibration, ranges="minmax", max_drop=1.0
        )
    (bundle,) = done.bundles
    return bundle.path


def ask_bertc(name: str, path: Path, items: Sequence[TextItem] = _TEXTS) -> Asked:
    """Runs a bundle as bertc does."""
    bundle = Bundle.open(path)
    manifest = bundle.manifest
    with bundle.session(threads=1) as session:
        inferences = session.infer(items, outputs=[each.name for each in manifest.outputs])
        windows = [each.windows[0] for each in inferences]
        predictions = session.predict(items) if manifest.task == "text-classification" else []
    return Asked(
        name,
        path,
        manifest,
        items,
        [[int(each) for each in window.encoding.ids] for window in windows],
        [{key: np.asarray(value) for key, value in window.outputs.items()} for window in windows],
        [_best(each.to_dict(), manifest.task_config.labels) for each in predictions],
        hashes(path),
    )


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 by path of every file below a folder, hidden ones too."""
    files = (path for path in folder.rglob("*") if not path.is_dir())
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }


def _best(prediction: Mapping[str, Any], names: Sequence[str]) -> tuple[str, float]:
    scores: Mapping[str, float] = prediction.get("scores") or {names[0]: float(prediction["score"])}
    label = max(scores, key=lambda each: scores[each])
    return label, float(scores[label])
