"""Records of compiles, read from manifests that may come from anyone."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.environment import cpu_record, target_digest, tool_versions
from compiler.manifest import config_record
from compiler.options import CompileOptions
from compiler.replay import record as reading
from compiler.replay.comparison import NOT_EXPLAINED, compare
from compiler.replay.record import CALIBRATION, DATASET_NAME, EVALUATION, Record, read_record
from targets.errors import IntegrityError, UsageError
from targets.registry import get_target
from tests.support.bundles import listed_manifest

TARGET = get_target("x86-64-vnni")
SHA = "a" * 64
SEARCH = {
    "float": ["layer0.ffn_down"],
    "trials": 4,
    "texts": 128,
    "metric": "accuracy",
    "labelled": True,
    "delta": -0.01,
    "ci95": [-0.02, 0.0],
    "uncertainty": 0.01,
    "agreement": 0.99,
    "gate": {"max_drop": 0.01, "min_agreement": None},
}
PRUNING = {
    "flops_kept": 0.5,
    "modules": [
        {"name": "layer0.heads", "groups": 4, "kept": 3},
        {"name": "layer0.ffn", "groups": 64, "kept": 0},
    ],
    "latency": {
        "source": "measured",
        "runtime": "openvino",
        "precision": "int8",
        "shape": [1, 128],
        "fixed_ms": 0.5,
        "modules": {"heads 4x8 of 32": [[0, 0.0], [4, 1.5]]},
        "expected_speedup": 1.5,
        "measured_speedup": [1.4, 1.3, 1.5],
    },
    "tried": [{"expected_speedup": 1.1, "delta": -0.001, "agreement": None, "holds": True}],
}


def document() -> dict[str, Any]:
    """A manifest of a compile that chose all that can be chosen."""
    config = config_record(CompileOptions(precision="auto", prune="auto", prune_shape=(2, 64), seed=3))
    manifest = replace(
        listed_manifest(),
        provenance={
            "source": "hub",
            "model": "owner/tiny",
            "commit": "0123456789abcdef0123456789abcdef01234567",
            "files": {"config.json": SHA, "1_Pooling/config.json": "b" * 64},
            "config": config,
            "data": {
                "calibration": {"name": "train.tsv", "sha256": SHA, "texts": 300},
                "pruning": {"name": "train.tsv", "sha256": SHA, "texts": 2048},
                "held_out": {"name": "train.tsv", "sha256": SHA, "texts": 2048},
                "evaluation": {"name": "glue/sst2:validation", "sha256": "b" * 64, "texts": 872},
            },
            "tools": tool_versions(),
            "cpu": cpu_record(),
            "profile": target_digest(TARGET),
        },
        compression={
            "pruning": copy.deepcopy(PRUNING),
            "quantization": {
                "float": [{"name": "node_3", "role": "layer0.ffn_down", "reason": "it is sensitive"}],
                "scheme": {"kind": "static", "search": copy.deepcopy(SEARCH)},
            },
        },
        validation={"evidence": "measured"},
    )
    parsed: dict[str, Any] = json.loads(manifest.to_json())
    return parsed


def read(changed: dict[str, Any], folder: Path) -> Record:
    path = folder / "bundle.json"
    path.write_text(json.dumps(changed), encoding="utf-8")
    return read_record(path)


def test_a_record(tmp_path: Path) -> None:
    found = read(document(), tmp_path)
    assert found == read_record(tmp_path)
    assert found.options == CompileOptions(
        targets=("x86-64-vnni",),
        name="tiny",
        task="text-classification",
        precision="auto",
        prune="auto",
        prune_shape=(2, 64),
        seed=3,
    )
    assert found.origin.model == "owner/tiny"
    assert found.origin.files["config.json"] == SHA
    assert set(found.data) == {CALIBRATION, EVALUATION}
    assert found.data[CALIBRATION].name == "train.tsv"
    assert found.decisions.runtime == "onnxruntime"
    assert found.decisions.cut is not None
    assert found.decisions.cut.modules == {"layer0.heads": (4, 3), "layer0.ffn": (64, 0)}
    assert found.decisions.cut.latency == PRUNING["latency"]
    assert list(found.decisions.cut.tried) == PRUNING["tried"]
    assert found.decisions.floats is not None
    assert found.decisions.floats.found
    assert found.decisions.floats.reasons == {"node_3": "it is sensitive"}
    assert found.decisions.floats.search == SEARCH
    assert found.environment.evidence == "measured"


def test_every_option_that_is_recorded_is_read() -> None:
    assert set(reading._CONFIG) == set(config_record(CompileOptions()))
    assert set(reading._CONFIG) <= {each.name for each in fields(CompileOptions)}


def test_numbers_stay_as_they_are_written(tmp_path: Path) -> None:
    changed = document()
    changed["provenance"]["config"] |= {"max_drop": 1, "prune": None, "prune_speedup": 2}
    found = read(changed, tmp_path)
    assert [repr(found.options.max_drop), repr(found.options.prune_speedup)] == ["1", "2"]


def test_what_was_not_asked_for_is_not_read(tmp_path: Path) -> None:
    changed = document()
    changed["compression"] = {}
    changed["provenance"]["config"] |= {"precision": "int8", "prune": None}
    assert read(changed, tmp_path).decisions == read(changed, tmp_path).decisions.__class__("onnxruntime")
    changed["provenance"]["config"]["prune"] = "auto"
    assert read(changed, tmp_path).decisions.cut is None


def test_an_older_bundle_says_less(tmp_path: Path) -> None:
    changed = document()
    for key in ("cpu", "profile", "tools", "commit"):
        del changed["provenance"][key]
    del changed["provenance"]["config"]["smooth"]
    changed["validation"] = None
    found = read(changed, tmp_path)
    assert found.options.smooth is CompileOptions().smooth
    environment = found.environment
    assert (environment.arch, environment.features, environment.profile, environment.evidence) == (None,) * 4
    assert environment.tools == {}
    comparison = compare(found, found.manifest, TARGET)
    assert (comparison.same, comparison.causes) == (True, ())


Edit = Callable[[dict[str, Any]], object]

HOSTILE: dict[str, tuple[Edit, str]] = {
    "no record": (lambda d: d.update(provenance={}), "provenance.config is missing"),
    "options of another type": (
        lambda d: d["provenance"].update(config=[]),
        "provenance.config must be a table",
    ),
    "an unknown option": (
        lambda d: d["provenance"]["config"].update(shell="rm"),
        "'provenance.config.shell'",
    ),
    "a text for a number": (
        lambda d: d["provenance"]["config"].update(seed="3"),
        "config.seed must be an integer",
    ),
    "a flag for a number": (
        lambda d: d["provenance"]["config"].update(seed=True),
        "config.seed must be an integer",
    ),
    "a huge number": (
        lambda d: d["provenance"]["config"].update(max_drop=10**400),
        "config.max_drop must be",
    ),
    "no precision": (
        lambda d: d["provenance"]["config"].update(precision="int2"),
        "precision must be one of",
    ),
    "no runtime": (lambda d: d["provenance"]["config"].update(runtime="sh"), "runtime must be one of"),
    "a shape of floats": (
        lambda d: d["provenance"]["config"].update(prune_shape=[1.0, 8]),
        "[batch, tokens]",
    ),
    "a shape of one": (lambda d: d["provenance"]["config"].update(prune_shape=[1]), "[batch, tokens]"),
    "no hub id": (lambda d: d["provenance"].update(model="../../etc"), "provenance.model must match"),
    "no source": (lambda d: d["provenance"].update(source="ftp"), "provenance.source must be one of"),
    "no commit": (lambda d: d["provenance"].update(commit="main; ls"), "provenance.commit must match"),
    "no files": (lambda d: d["provenance"].update(files={}), "provenance.files must have between 1 and"),
    "no hash": (lambda d: d["provenance"]["files"].update(a="b"), "provenance.files.a must match"),
    "data of no hash": (
        lambda d: d["provenance"]["data"]["evaluation"].update(sha256=None),
        "sha256 must be",
    ),
    "data of two files": (
        lambda d: d["provenance"]["data"]["pruning"].update(sha256="c" * 64),
        "of one file",
    ),
    "tools of numbers": (
        lambda d: d["provenance"]["tools"].update(numpy=2),
        "provenance.tools.numpy must be",
    ),
    "a CPU of text": (lambda d: d["provenance"].update(cpu="fast"), "provenance.cpu must be a table"),
    "no pruning": (
        lambda d: (
            d["provenance"]["config"].update(prune=None, prune_speedup=2.0),
            d["compression"].pop("pruning"),
        ),
        "compression.pruning is missing",
    ),
    "more than all": (lambda d: d["compression"]["pruning"]["modules"][0].update(kept=5), "between 0 and 4"),
    "no table of times": (lambda d: d["compression"]["pruning"].pop("latency"), "pruning.latency is missing"),
    "times of text": (
        lambda d: d["compression"]["pruning"]["latency"].update(modules={"heads": "fast"}),
        "pruning.latency.modules.heads must be pairs",
    ),
    "huge times": (
        lambda d: d["compression"]["pruning"]["latency"].update(modules={"heads": [[0, 0], [1, 10**400]]}),
        "pruning.latency.modules.heads must be pairs",
    ),
    "more in the times": (
        lambda d: d["compression"]["pruning"]["latency"].update(html="<b>"),
        "unknown key 'compression.pruning.latency.html'",
    ),
    "a speed-up of two": (
        lambda d: d["compression"]["pruning"]["latency"].update(measured_speedup=[1, 2]),
        "measured_speedup must be 3 numbers",
    ),
    "a trial of text": (lambda d: d["compression"]["pruning"].update(tried=["all"]), "tried must be a table"),
    "no search": (
        lambda d: d["compression"]["quantization"]["scheme"].pop("search"),
        "quantization.scheme.search is missing",
    ),
    "a search of text": (
        lambda d: d["compression"]["quantization"]["scheme"]["search"].update(delta="0"),
        "search.delta must be a number",
    ),
    "floats without names": (lambda d: d["compression"]["quantization"].update(float=[{}]), "float[0].name"),
    "too many floats": (
        lambda d: d["compression"]["quantization"].update(float=[{"name": "a", "reason": "b"}] * 5000),
        "more than 4096",
    ),
    "another digest": (
        lambda d: d.update(content_digest="sha256:" + "0" * 64),
        "content_digest does not agree",
    ),
    "evidence of a kind": (lambda d: d["validation"].update(evidence="sworn"), "validation.evidence must be"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_values(tmp_path: Path, name: str) -> None:
    edit, part = HOSTILE[name]
    changed = document()
    edit(changed)
    with pytest.raises(IntegrityError) as caught:
        read(changed, tmp_path)
    assert part in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.hint


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, each in items for place in _places(each, (*path, key)))]


_PLACES = [place for place in _places(document()) if place[:1] in (("provenance",), ("compression",))]
_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.just(10**400),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(codec="utf-8"), max_size=8),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=4), st.integers(), max_size=2),
)


@given(place=st.sampled_from(_PLACES), value=_VALUES)
def test_whatever_stands_there(
    tmp_path_factory: pytest.TempPathFactory, place: tuple[Any, ...], value: Any
) -> None:
    changed = document()
    inner = changed
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    try:
        found = read(changed, tmp_path_factory.getbasetemp())
    except IntegrityError:
        return
    assert compare(found, found.manifest, TARGET).describe()


def test_what_is_no_file(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "bundle.json", tmp_path / ("long" * 100), Path("/dev/null")):
        with pytest.raises(UsageError) as caught:
            read_record(path)
        assert caught.value.hint


@pytest.mark.parametrize("name", ["glue/sst2:validation", "imdb", "a/b-c_d", "owner/set/part:test"])
def test_names_of_data_sets(name: str) -> None:
    assert DATASET_NAME.fullmatch(name)


@pytest.mark.parametrize(
    "name", ["", "../x", "/etc/passwd", "a/../b", "a//b", ".x", "a b", "a/", "x" * 50 + "/./" * 50]
)
def test_no_names_of_data_sets(name: str) -> None:
    assert not DATASET_NAME.fullmatch(name)


def test_a_comparison_names_what_differs(tmp_path: Path) -> None:
    found = read(document(), tmp_path)
    files = [
        replace(each, sha256="0" * 64) if each.role != "license" else each for each in found.manifest.files
    ]
    built = replace(found.manifest, files=tuple(files[:-1]), validation={"evidence": "simulated"})
    same = compare(found, replace(built, validation={"evidence": "measured"}), TARGET)
    assert same.files == ("model/model.onnx", "selftest.json", "tokenizer/tokenizer.json")
    assert same.describe() == (
        f"model/model.onnx, selftest.json and tokenizer/tokenizer.json; {NOT_EXPLAINED}"
    )
    assert compare(found, built, TARGET).causes == ("validation measured then, simulated now",)
    other = replace(
        found,
        environment=replace(
            found.environment, tools={"bertc": "0.0.1", "own": "1"}, arch="riscv", profile="0" * 64
        ),
    )
    causes = compare(other, found.manifest, TARGET).causes
    assert f"bertc 0.0.1 then, {tool_versions()['bertc']} now" in causes
    assert "own 1 then, none now" in causes
    assert f"a CPU of riscv then, of {cpu_record()['arch']} now" in causes
    assert "the profile of x86-64-vnni says something else now" in causes
