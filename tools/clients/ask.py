"""Runs inside an environment of clients, without bertc: what each client answers for bundles, unchanged.

python ask.py REQUEST.json ANSWERS.npz     # prints a JSON object: versions, and what each client did

The code of a client is a file of snippets/, as docs/clients.md shows it. Its last statement is repeated for
every text; folder, text and class are put in place of the example's.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

SNIPPETS = Path(__file__).resolve().parent / "snippets"
FOLDER, TEXT, CLASS = '"out/X.bundle/model"', '"a gripping film"', "ForSequenceClassification"
OPTIONS = ", ov_config=options"
AUTO_CLASSES = {
    "text-classification": "ForSequenceClassification",
    "token-classification": "ForTokenClassification",
    "question-answering": "ForQuestionAnswering",
    "feature-extraction": "ForFeatureExtraction",
    "fill-mask": "ForMaskedLM",
}
PACKAGES = (
    *("transformers", "optimum", "optimum-onnx", "optimum-intel", "sentence-transformers"),
    *("onnxruntime", "openvino", "torch", "numpy"),
)


def main(request: Path, arrays: Path) -> None:
    asked = json.loads(request.read_text("utf-8"))
    found: dict[str, np.ndarray[Any, Any]] = {}
    done = []
    for job in asked:
        for client in job["clients"]:
            begin = time.perf_counter()
            try:
                record = ask(job, client, found)
            except Exception as error:
                record = {"error": f"{type(error).__name__}: {error}"}
            seconds = round(time.perf_counter() - begin, 2)
            done.append({"bundle": job["bundle"], "client": client, "seconds": seconds, **record})
    np.savez(arrays, **found)  # type: ignore[arg-type]
    print(json.dumps({"versions": versions(), "records": done}))


def versions() -> dict[str, str]:
    installed = {
        each.metadata["Name"].lower().replace("_", "-") for each in importlib.metadata.distributions()
    }
    return {name: importlib.metadata.version(name) for name in PACKAGES if name in installed}


def ask(job: Mapping[str, Any], client: str, found: dict[str, np.ndarray[Any, Any]]) -> dict[str, Any]:
    """One client's answers to the texts of one bundle: arrays go to `found`, the rest is returned."""
    name, _, variant = client.partition(" ")
    source = (SNIPPETS / f"{name}.py").read_text("utf-8")
    source = source.replace(FOLDER, repr(job["folder"])).replace(CLASS, AUTO_CLASSES[job["task"]])
    if variant == "defaults":
        source = source.replace(OPTIONS, "")
    before, _, last = source.rstrip().rpartition("\n")
    space: dict[str, Any] = {}
    exec(compile(before, name, "exec"), space)
    answers = []
    texts = [job["items"]] if variant == "batch" else job["items"]
    for index, item in enumerate(texts):
        exec(compile(last.replace(TEXT, literal(item, name)), name, "exec"), space)
        arrays, answer = parts(space["outputs"])
        found.update({f"{job['bundle']}/{client}/{index}/{key}": value for key, value in arrays.items()})
        answers.append(answer)
    return {"labels": labels(space.get("model")), "answers": answers}


def literal(item: Any, client: str) -> str:
    """A text, a pair, or a list of texts as the client's function takes it."""
    if isinstance(item, str):
        return repr(item)
    if client.startswith("pipeline"):
        return repr({"text": item[0], "text_pair": item[1]})
    if client.startswith("sentences"):
        return repr(item)
    return f"{item[0]!r}, {item[1]!r}"


def parts(outputs: Any) -> tuple[dict[str, np.ndarray[Any, Any]], Any]:
    """Arrays by name, without their batch axis, and what is no array: a pipeline's label and score."""
    if isinstance(outputs, list | dict) and not any(hasattr(each, "shape") for each in values(outputs)):
        return {}, outputs[0] if isinstance(outputs, list) else outputs
    if not isinstance(outputs, Mapping):
        return {"sentence_embedding": np.asarray(outputs)}, None
    arrays = {key: np.asarray(value) for key, value in outputs.items() if value is not None}
    return {key: each[0] if each.ndim > 1 else each for key, each in arrays.items()}, None


def values(outputs: list[Any] | dict[str, Any]) -> list[Any]:
    return list(outputs.values()) if isinstance(outputs, dict) else outputs


def labels(model: Any) -> list[str] | None:
    names = getattr(getattr(model, "config", None), "id2label", None)
    return None if names is None else [str(names[index]) for index in sorted(names)]


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
