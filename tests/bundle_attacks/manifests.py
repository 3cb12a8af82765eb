"""Strict JSON that says what no manifest may say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from tests.bundle_attacks.attack import Attack, Make, edit_manifest, entry_of
from tests.bundle_attacks.commands import LOADING, OPENING

Edit = Callable[[dict[str, Any]], object]


def edited(edit: Edit) -> Make:
    return lambda scene: edit_manifest(scene.bundle, edit)


def newer(edit: Edit) -> Make:
    """As a newer minor version would write it."""
    return edited(lambda d: (d.update(schema_version="1.999"), edit(d)))


def options(backend_options: dict[str, object]) -> Make:
    return edited(lambda d: d["runtime"].update(options=backend_options))


def _file(**changes: object) -> Make:
    return edited(lambda d: entry_of(d, "licenses/LICENSE").update(**changes))


_OPEN: Final[dict[str, Make]] = {
    "another format": edited(lambda d: d.update(format="zip")),
    "the next major version": edited(lambda d: d.update(schema_version="2.0")),
    "major version 0": edited(lambda d: d.update(schema_version="0.9")),
    "a version of 5000 digits": edited(lambda d: d.update(schema_version="1." + "9" * 1000)),
    "a version that is a number": edited(lambda d: d.update(schema_version=1.3)),
    "an unknown key": edited(lambda d: d.update(preload="lib.so")),
    "an unknown key of a megabyte": edited(lambda d: d.update({"k" * 900_000: 1})),
    "20000 unknown keys": edited(lambda d: d.update({f"k{i}": 1 for i in range(20_000)})),
    "a newer minor version with a path of the parent": newer(
        lambda d: entry_of(d, "licenses/LICENSE").update(path="../../outside/LICENSE")
    ),
    "a newer minor version with another precision": newer(lambda d: d["runtime"].update(precision="int2")),
    "a newer minor version with a missing key": newer(lambda d: d.pop("tokenizer")),
    "a name of the parent": edited(lambda d: d.update(name="..")),
    "a name with a slash": edited(lambda d: d.update(name="../../outside/x")),
    "a name of 1000 characters": edited(lambda d: d.update(name="a" * 1000)),
    "a target with a slash": edited(lambda d: d["target"].update(id="../x")),
    "an unknown task": edited(lambda d: d.update(task="text-generation")),
    "an unknown backend": edited(lambda d: d["runtime"].update(backend="pickle")),
    "a backend of another file": edited(lambda d: d["runtime"].update(backend="openvino")),
    "a list for a table": edited(lambda d: d.update(runtime=[])),
    "a table for a text": edited(lambda d: d.update(name={})),
    "true for a size": _file(size=True),
    "a negative size": _file(size=-1),
    "a size of a fraction": _file(size=13.5),
    "a size of 2**64": _file(size=2**64),
    "a hash in capitals": _file(sha256="A" * 64),
    "a short hash": _file(sha256="0" * 63),
    "an unknown role": _file(role="library"),
    "the role of a model": _file(role="model"),
    "64 files and more": edited(
        lambda d: d["files"].extend(
            {**entry_of(d, "licenses/LICENSE"), "path": f"licenses/{i}"} for i in range(60)
        )
    ),
    "no files": edited(lambda d: d.update(files=[])),
    "a tokenizer that is not listed": edited(
        lambda d: d["files"].remove(entry_of(d, "tokenizer/tokenizer.json"))
    ),
    "an input of a shape of 2**40": edited(lambda d: d["inputs"][0].update(shape=[2**40, 1])),
    "an input of 9 axes": edited(lambda d: d["inputs"][0].update(shape=[1] * 9)),
    "no inputs": edited(lambda d: d.update(inputs=[])),
    "an output twice": edited(lambda d: d["outputs"].append(d["outputs"][0])),
    "2**31 tokens": edited(lambda d: d["tokenizer"].update(max_length=2**31)),
    "labels that are numbers": edited(lambda d: d["task_config"].update(labels=[1, 2])),
    "a label of 2000 characters": edited(lambda d: d["task_config"].update(labels=["a" * 2000, "b"])),
    "an engine for onnxruntime": edited(
        lambda d: d.update(
            engine={
                "shapes": {"min": [1, 1], "opt": [1, 1], "max": [1, 1]},
                "variants": [{"precision": "fp32", "onnx": "model/model.onnx", "engine": "model/x.engine"}],
                "compute_capabilities": [],
                "workspace_mb": 1,
                "placement": "",
            }
        )
    ),
    "lengths for onnxruntime": edited(lambda d: d["runtime"].update(lengths=[1 << 20])),
    "an option that is a number": options({"session.qdqisint8allowed": 1}),
    "an option that is a list": options({"session.qdqisint8allowed": ["1"]}),
    "an option whose name is a path": options({"../../lib.so": "1"}),
    "33 options": options({f"o{i}": "1" for i in range(33)}),
}

_OPTIONS: Final[dict[str, dict[str, object]]] = {
    "a library of custom operators": {"session.register_custom_ops_library": "/tmp/x.so"},
    "a file for the optimized model": {"session.optimized_model_filepath": "/tmp/x.onnx"},
    "a file for the profile": {"session.profile_file_prefix": "/tmp/x"},
    "a file of external initializers": {"session.optimized_model_external_initializers_file_name": "/tmp/x"},
    "a folder of external initializers": {"session.model_external_initializers_file_folder_path": "/etc"},
    "a context that is dumped": {"ep.context_enable": "1", "ep.context_file_path": "/tmp/x.onnx"},
    "the model's own options": {"session.load_config_from_model": "1"},
    "a switch of another value": {"session.qdqisint8allowed": "2"},
    "a number that is none": {"session.dynamic_block_base": "-1"},
    "a number of 1000 digits": {"session.dynamic_block_base": "9" * 1000},
    "an optimization level that is none": {"graph_optimization_level": "/tmp/x"},
    "a number in other digits": {"session.dynamic_block_base": "\u0661\u0662"},
}
_OPENVINO_OPTIONS: Final[dict[str, dict[str, object]]] = {
    "a cache folder for OpenVINO": {"CACHE_DIR": "/tmp/x"},
    "weights of OpenVINO elsewhere": {"WEIGHTS_PATH": "/etc/passwd"},
    "a config file for OpenVINO": {"CONFIG_FILE": "/tmp/x.xml"},
    "OpenVINO's device list": {"MULTI_DEVICE_PRIORITIES": "TEMPLATE,CPU"},
}
_MACHINE: Final[dict[str, Edit]] = {
    "another architecture": lambda d: d["target"].update(arch="aarch64"),
    "another system": lambda d: d["target"].update(os="plan9"),
    "a CPU feature that none has": lambda d: d["target"].update(cpu_features=[["time_travel"]]),
    "2**53 MiB of memory": lambda d: d["target"].update(memory_mb=2**53 - 1),
    "a backend of version 999": lambda d: d["runtime"].update(minimum_version="999.0"),
}

ATTACKS: Final = (
    *(Attack("manifest", name, OPENING, make) for name, make in _OPEN.items()),
    *(Attack("options", name, LOADING, options(found)) for name, found in _OPTIONS.items()),
    *(
        Attack("options", name, LOADING, options(found), base="openvino")
        for name, found in _OPENVINO_OPTIONS.items()
    ),
    *(Attack("manifest", name, OPENING, edited(edit)) for name, edit in _MACHINE.items()),
    Attack(
        "manifest",
        "a seed below 0 in the provenance",
        ("validate",),
        edited(lambda d: d.update(provenance={"config": {"seed": -1, "eval_samples": 2}})),
        codes=(0,),
        reason="a seed that is none is left aside",
    ),
    Attack(
        "manifest",
        "fewer than no texts in the provenance",
        ("validate",),
        edited(lambda d: d.update(provenance={"config": {"emulated_samples": -5, "eval_samples": -5}})),
        codes=(0,),
        reason="they are counted for other texts than these",
    ),
    Attack(
        "manifest",
        "a newer minor version with keys that nobody knows",
        ("verify", "inspect"),
        newer(lambda d: (d.update(plugin="lib.so"), d["runtime"].update(preload=["lib.so"]))),
        codes=(0,),
        reason="a newer minor version is read without its new keys",
    ),
)
