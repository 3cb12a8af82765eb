"""Runs on the CPU that is looked at: every model of a folder on its inputs, results beside them.

Needs numpy and the runtimes alone, so that any Python of any machine or emulator can run it by its path:

    python guest.py FOLDER

FOLDER/jobs.json lists the jobs; each has `name`, `runtime`, `model` and `feeds` (paths in FOLDER) and
`options`. Results go to FOLDER/NAME.npz as "run/output"; what OpenVINO runs, to FOLDER/NAME.json.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

Runs = list[dict[str, Any]]
_KEPT = ("layerType", "runtimePrecision", "primitiveType", "originalLayersNames")


def main(folder: Path) -> None:
    """Runs the jobs of a folder."""
    for job in json.loads((folder / "jobs.json").read_text()):
        runs = read_runs(folder / job["feeds"])
        try:
            results, nodes = RUNTIMES[job["runtime"]](folder / job["model"], job["options"], runs)
        except Exception as error:  # a runtime's refusal is a result too
            results, nodes = [], [{"error": str(error).splitlines()[0]}]
        arrays = {
            f"{place}/{name}": array for place, run in enumerate(results) for name, array in run.items()
        }
        np.savez(folder / f"{job['name']}.npz", **arrays)
        (folder / f"{job['name']}.json").write_text(json.dumps(nodes))
        print(job["name"], flush=True)


def read_runs(path: Path) -> Runs:
    """The inputs or outputs of each run, in order, by name."""
    found: dict[int, dict[str, Any]] = {}
    with np.load(path) as arrays:
        for key in arrays.files:
            place, name = key.split("/", 1)
            found.setdefault(int(place), {})[name] = arrays[key]
    return [found[place] for place in sorted(found)]


def run_openvino(path: Path, options: Mapping[str, str], runs: Runs) -> tuple[Runs, list[dict[str, Any]]]:
    """Results, and the operators of the compiled model with the types of their inputs and output."""
    import openvino as ov

    compiled = ov.Core().compile_model(path, "CPU", {"INFERENCE_NUM_THREADS": "1", **options})
    names = [port.get_any_name() for port in compiled.outputs]
    wanted = {name for port in compiled.inputs for name in port.get_names()}
    results = []
    for run in runs:
        found = compiled({name: array for name, array in run.items() if name in wanted})
        results.append({name: np.array(found[place]) for place, name in enumerate(names)})
    return results, list(_nodes(compiled.get_runtime_model()))


def _nodes(model: Any) -> Iterator[dict[str, Any]]:
    for node in model.get_ordered_ops():
        info = node.get_rt_info()
        kept: dict[str, Any] = {key: str(info[key].astype(str)) for key in _KEPT if key in info}
        kept["inputs"] = [
            node.get_input_element_type(place).get_type_name() for place in range(len(node.inputs()))
        ]
        kept["outputs"] = [port.get_element_type().get_type_name() for port in node.outputs()]
        yield kept


def run_onnxruntime(path: Path, options: Mapping[str, str], runs: Runs) -> tuple[Runs, list[dict[str, Any]]]:
    """Results; onnxruntime says nothing of its operators."""
    import onnxruntime as ort

    settings = ort.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    for key, value in options.items():
        settings.add_session_config_entry(key, value)
    session = ort.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_outputs()]
    wanted = {each.name for each in session.get_inputs()}
    results = []
    for run in runs:
        found = session.run(names, {name: array for name, array in run.items() if name in wanted})
        results.append(dict(zip(names, found, strict=True)))
    return results, []


RUNTIMES: dict[str, Callable[[Path, Mapping[str, str], Runs], tuple[Runs, list[dict[str, Any]]]]] = {
    "openvino": run_openvino,
    "onnxruntime": run_onnxruntime,
}

if __name__ == "__main__":
    main(Path(sys.argv[1]))
