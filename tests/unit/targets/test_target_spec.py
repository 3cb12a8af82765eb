"""Target profiles: validation on load, and how one is chosen."""

from __future__ import annotations

import re
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from targets import registry
from targets.detect import Machine
from targets.errors import BertcError, IncompatibleError, UsageError
from targets.fields import nearest
from targets.registry import detect_native, get_target, list_targets
from targets.spec import QuantScheme, TargetSpec, lengths_within, load_profile, parse_profile

VNNI = (files("targets") / "profiles" / "x86-64-vnni.toml").read_text(encoding="utf-8")
MACHINE = Machine("x86_64", "linux", "Test CPU", frozenset({"avx2", "avx_vnni"}), 2, 4096)


def parsed(text: str) -> TargetSpec:
    return parse_profile(text.encode(), "test.toml")


def test_the_vnni_profile_is_what_the_design_says() -> None:
    target = get_target("x86-64-vnni")
    assert (target.arch, target.os, target.evidence) == ("x86_64", "linux", "measured")
    assert target.cpu_features == (("avx2",), ("avx512_vnni", "avx_vnni"))
    assert target.runtime("onnxruntime").scheme == QuantScheme("u8", True, 127, "float", "float")
    assert target.runtime("openvino").scheme == QuantScheme("u8", True, 127, "s8", "float")


def test_every_profile_is_named_by_its_file_and_hashable() -> None:
    targets = list_targets()
    names = sorted(entry.name for entry in (files("targets") / "profiles").iterdir())
    assert [f"{target.id}.toml" for target in targets] == names
    assert len(set(targets)) == len(targets)


def test_a_runtime_that_the_target_does_not_have() -> None:
    target = replace(get_target("x86-64-vnni"), runtimes=get_target("x86-64-vnni").runtimes[:1])
    with pytest.raises(UsageError, match="x86-64-vnni has no runtime 'tensorrt'") as caught:
        target.runtime("tensorrt")
    assert caught.value.hint.endswith(target.runtimes[0].name)


EDITS = {
    "unknown key": ('arch = "x86_64"', 'arch = "x86_64"\nmemry_mb = 3', "'memry_mb': did you mean memory_mb"),
    "unknown nested key": ("asymmetric", "asymetric", "runtimes[0].scheme.asymmetric is missing"),
    "misspelt option table": (
        "[runtimes.scheme]",
        '[runtimes.option]\na = "b"\n[runtimes.scheme]',
        "unknown key 'runtimes[0].option': did you mean options",
    ),
    "missing key": ('evidence = "measured"', "", "evidence is missing"),
    "wrong type": ("memory_mb = 512", 'memory_mb = "512"', "memory_mb must be an integer, not a string"),
    "boolean for integer": ("threads = 0", "threads = false", "threads must be an integer, not a boolean"),
    "real for integer": ("threads = 0", "threads = 0.0", "threads must be an integer, not a float"),
    "out of range": ("memory_mb = 512", "memory_mb = 0", "memory_mb must be between 1 and"),
    "integer for boolean": ("asymmetric = true", "asymmetric = 1", "asymmetric must be true or false"),
    "unknown choice": ("weight_qmax = 127", "weight_qmax = 100", "must be one of 127, 64, not 100"),
    "boolean choice": ("weight_qmax = 127", "weight_qmax = true", "must be one of 127, 64, not a boolean"),
    "unknown arch": (
        'arch = "x86_64"',
        'arch = "riscv"',
        "arch must be one of x86_64, aarch64, any, not 'riscv'",
    ),
    "unknown runtime": ('name = "openvino"', 'name = "tvm"', "runtimes[0].name must be one of"),
    "runtime twice": ('name = "openvino"', 'name = "onnxruntime"', "names one runtime twice"),
    "flat features": (
        '[["avx2"], ["avx512_vnni", "avx_vnni"]]',
        '["avx2"]',
        "cpu_features[0] must be a non-empty list",
    ),
    "empty group": (
        '[["avx2"], ["avx512_vnni", "avx_vnni"]]',
        "[[]]",
        "cpu_features[0] must be a non-empty list",
    ),
    "feature number": (
        '[["avx2"], ["avx512_vnni", "avx_vnni"]]',
        "[[1]]",
        "cpu_features[0][0] must be a string",
    ),
    "board not a list": ("threads = 0", 'threads = 0\nboards = "Pi"', "boards must be a list, not a string"),
    "unknown device": ('name = "openvino"', 'name = "openvino"\ndevice = "TPU"', "device must be one of CPU"),
    "lengths descend": (
        'name = "openvino"',
        'name = "openvino"\nlengths = [64, 32]',
        "runtimes[0].lengths must be at most 32 integers, ascending",
    ),
    "length zero": ('name = "openvino"', 'name = "openvino"\nlengths = [0]', "lengths must be between 1 and"),
    "NPU of any shape": (
        'name = "openvino"',
        'name = "openvino"\ndevice = "NPU"',
        "lengths must be given for the device NPU",
    ),
    "device of another": (
        'name = "onnxruntime"',
        'name = "onnxruntime"\ndevice = "GPU"',
        "device and lengths are for openvino, not for onnxruntime",
    ),
    "reason a text": ('why = ["att', 'why = "x" # ["att', "runtimes[0].why must be a list, not a string"),
    "id upper case": ('id = "x86-64-vnni"', 'id = "X86"', "id must match"),
    "id a path": ('id = "x86-64-vnni"', 'id = "../x"', "id must match"),
    "not TOML": ('id = "x86-64-vnni"', "id = ", "not TOML"),
    "key twice": ("threads = 0", "threads = 0\nthreads = 1", "not TOML"),
    "deep": ("threads = 0", "threads = " + "[" * 5000, "not TOML"),
}


@pytest.mark.parametrize(("old", "new", "message"), EDITS.values(), ids=EDITS)
def test_a_profile_that_breaks_a_rule_names_the_key(old: str, new: str, message: str) -> None:
    assert old in VNNI
    with pytest.raises(UsageError, match=re.escape(message)) as caught:
        parsed(VNNI.replace(old, new, 1))
    assert caught.value.message.startswith("target profile test.toml: ")
    assert "--target" in caught.value.hint


def test_options_are_optional_strings() -> None:
    text = VNNI.replace('name = "openvino"', 'name = "openvino"\noptions = { HINT = "LATENCY" }')
    assert parsed(text).runtime("openvino").options == {"HINT": "LATENCY"}
    assert parsed(VNNI).runtime("openvino").options == {}
    with pytest.raises(UsageError, match=r"options\.HINT must be a string, not an integer"):
        parsed(text.replace('"LATENCY"', "1"))


def test_a_profile_without_runtimes() -> None:
    with pytest.raises(UsageError, match="runtimes must name one runtime at least"):
        parsed(VNNI[: VNNI.index("[[runtimes]]")] + "runtimes = []\n")


GPU = (files("targets") / "profiles" / "rtx-ada.toml").read_text(encoding="utf-8")
GPU_EDITS = {
    "a CPU with shapes": (
        'name = "tensorrt-rtx"',
        'name = "openvino"',
        "shapes must be given for a runtime on",
    ),
    "no capability": ('["8.9"]', "[]", "compute_capabilities must name those"),
    "capability": ('["8.9"]', '["sm89"]', "compute_capabilities[0] must match"),
    "shapes descend": ("opt = [1, 128]", "opt = [1, 8]", "min, opt and max must ascend"),
    "shape of three": ("opt = [1, 128]", "opt = [1, 128, 1]", "opt must be [batch, tokens]"),
    "batch zero": ("min = [1, 16]", "min = [0, 16]", "min must be [batch, tokens]"),
    "form": ('form = "fp8"', 'form = "fp4"', "scheme.form must be one of"),
}


@pytest.mark.parametrize(("old", "new", "message"), GPU_EDITS.values(), ids=GPU_EDITS)
def test_a_gpu_profile_that_breaks_a_rule_names_the_key(old: str, new: str, message: str) -> None:
    assert old in GPU
    with pytest.raises(UsageError, match=re.escape(message)):
        parsed(GPU.replace(old, new, 1))


def test_a_gpu_is_never_native() -> None:
    old = Machine("x86_64", "linux", "Test CPU", frozenset({"sse4_2"}), 2, 4096)
    with pytest.raises(IncompatibleError):
        detect_native(old)


def other(*features: str, arch: str = "aarch64", board: str = "") -> Machine:
    return Machine(arch, "linux", "Test CPU", frozenset(features), 4, 4096, board)


NATIVE = {
    "a CPU without VNNI": (other("avx2", arch="x86_64"), "x86-64-avx2"),
    "an ARM server": (other("asimd", "asimddp"), "arm64-generic"),
    "a Raspberry Pi 5": (other("asimd", "asimddp", board="Raspberry Pi 5 Model B Rev 1.0"), "raspberry-pi-5"),
    "a Raspberry Pi 4": (other("asimd", board="Raspberry Pi 4 Model B Rev 1.4"), "raspberry-pi-4"),
    "a board that no target names": (other("asimd", board="Radxa ROCK 5B"), "arm64-generic"),
}


@pytest.mark.parametrize(("machine", "name"), NATIVE.values(), ids=NATIVE)
def test_native_is_the_board_or_the_most_that_the_cpu_has(machine: Machine, name: str) -> None:
    assert detect_native(machine).id == name


def test_only_x86_without_integer_dot_products_saturates() -> None:
    saturating = {each.id for each in list_targets() if each.saturates and not each.gpu}
    assert saturating == {"x86-64-avx2"}


def test_shapes_within_a_models_length() -> None:
    shapes = get_target("rtx-ada").shapes
    assert shapes is not None
    assert shapes.within(100).all == ((1, 16), (1, 100), (8, 100))
    assert shapes.within(4096) == shapes


def test_profiles_by_path(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(VNNI.replace("x86-64-vnni", "own-board", 1), encoding="utf-8")
    assert get_target(str(path)) == get_target(path) == load_profile(path)
    assert get_target(path).id == "own-board"
    for missing in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(UsageError, match="cannot read the target profile"):
            get_target(missing)
    path.write_bytes(b"#" * 70_000)
    with pytest.raises(UsageError, match="larger than 65536 bytes"):
        get_target(path)
    path.write_bytes(b'id = "\xff"')
    with pytest.raises(UsageError, match="not TOML"):
        get_target(path)


def test_an_unknown_target_shows_the_nearest() -> None:
    with pytest.raises(UsageError, match="unknown target 'x86-64-vnn': did you mean x86-64-vnni") as caught:
        get_target("x86-64-vnn")
    assert caught.value.exit_code == 2
    with pytest.raises(UsageError, match=r"known: .*native.*x86-64-vnni"):
        get_target("qqqqqq")


def test_nearest() -> None:
    assert nearest("openvin", ["openvino", "onnxruntime"]) == "did you mean openvino?"
    assert nearest("zzz", ["b", "a"]) == "known: a, b"


def test_native_is_the_profile_that_fits() -> None:
    assert detect_native(MACHINE).id == "x86-64-vnni"


def test_native_prefers_the_profile_that_asks_the_most(monkeypatch: pytest.MonkeyPatch) -> None:
    vnni = get_target("x86-64-vnni")
    generic = replace(vnni, id="generic", cpu_features=())
    monkeypatch.setattr(registry, "list_targets", lambda: [generic, vnni])
    assert detect_native(MACHINE) is vnni
    assert detect_native(replace(MACHINE, cpu_features=frozenset())) is generic


@pytest.mark.parametrize(
    "machine",
    [
        replace(MACHINE, arch="riscv64"),
        replace(MACHINE, os="darwin"),
        replace(MACHINE, cpu_features=frozenset({"avx2"})),
    ],
)
def test_no_profile_for_this_machine(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "list_targets", lambda: [parsed(VNNI)])
    with pytest.raises(IncompatibleError, match="no target fits this machine") as caught:
        detect_native(machine)
    assert machine.arch in caught.value.message
    assert "--target" in caught.value.hint


@given(
    st.text(alphabet='abc=[]{}"\n.#', max_size=60) | st.binary(max_size=60).map(lambda b: b.decode("latin-1"))
)
def test_any_text_is_a_profile_or_a_usage_error(text: str) -> None:
    with pytest.raises(BertcError) as caught:
        parsed(text)
    assert isinstance(caught.value, UsageError)


def test_lengths_within_what_a_model_reads() -> None:
    lengths = get_target("intel-npu").runtime("openvino").lengths
    assert lengths_within(lengths, 512) == (32, 64, 128, 256, 512)
    assert lengths_within(lengths, 100) == (32, 64, 100)
    assert lengths_within(lengths, 16) == (16,)
    assert lengths_within(lengths, 8192) == lengths
    assert lengths_within((), 128) == ()


@pytest.mark.parametrize("name", ["intel-igpu", "intel-npu"])
def test_a_device_of_openvino_is_never_native(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    target = get_target(name)
    assert target.evidence == "simulated"
    monkeypatch.setattr(registry, "list_targets", lambda: [target])
    with pytest.raises(IncompatibleError):
        detect_native(MACHINE)


def test_another_board_shows_nothing_of_a_board() -> None:
    """An ARM server runs what is for a Raspberry Pi, and measures nothing of it; likewise another Pi."""
    pi4, pi5, generic = map(get_target, ("raspberry-pi-4", "raspberry-pi-5", "arm64-generic"))
    server = other("asimd", "asimddp")
    own = other("asimd", "asimddp", board="Raspberry Pi 5 Model B Rev 1.0")
    assert server.fits(pi4)
    assert [server.measures(each) for each in (pi4, pi5, generic)] == [False, False, True]
    assert [own.measures(each) for each in (pi4, pi5, generic)] == [False, True, True]
