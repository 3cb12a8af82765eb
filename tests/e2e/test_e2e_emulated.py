"""The whole round under the real emulators: Debian's userlands, QEMU, the device's own runtimes.

It needs apt and its archives the first time, for minutes, and keeps what it made in pytest's cache; where
these are not, it skips and says why.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from calibration.examples import DataOptions
from compiler.compile import compile_model
from compiler.emulate.cpus import emulated_cpu, find_cpu
from compiler.emulate.guest import guest_output, open_emulated_model
from compiler.emulate.readiness import missing, require_emulator
from compiler.emulate.setup import set_up
from compiler.emulate.userland import ARCHES
from compiler.integer.product import integer_product, saturating_product
from compiler.progress import Clock
from compiler.revalidate import revalidate
from targets import Bundle
from targets.errors import IncompatibleError, MissingBackendError
from targets.registry import get_target
from targets.runtime.cache import cache_folder
from tests.support.compiling import QUICK, Recorder

SAMPLE = 12
Ready = Callable[[str], None]
CASES = {
    "raspberry-pi-5": ("raspberry-pi-5", "onnxruntime"),
    "raspberry-pi-4": ("raspberry-pi-4", "onnxruntime"),
    "avx2 on onnxruntime": ("x86-64-avx2", "onnxruntime"),
    "avx2 on openvino": ("x86-64-avx2", "openvino"),
}


@dataclass
class Shared:
    """What the tests of this file share: the emulators' folder, why one cannot be, and bundles."""

    cache: str
    folder: Path
    reasons: dict[str, str] = field(default_factory=dict)
    bundles: dict[str, Bundle] = field(default_factory=dict)


@pytest.fixture(scope="module")
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Shared:
    """The user's own emulators if they are ready, else the tests' own, which stay for the next run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("BERTC_CACHE_DIR", raising=False)
        ready = not any(missing(name) for name in ARCHES)
        own = str(cache_folder("emulators").parent)
    return Shared(
        own if ready else str(_kept(request.config, tmp_path_factory)), tmp_path_factory.mktemp("emulated")
    )


def _kept(config: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pytest's cache; one of the session where pytest runs without."""
    cache = getattr(config, "cache", None)
    return tmp_path_factory.mktemp("emulators") if cache is None else Path(cache.mkdir("emulators"))


@pytest.fixture
def emulators(shared: Shared, monkeypatch: pytest.MonkeyPatch) -> Ready:
    """Sets an emulator up, or skips."""
    monkeypatch.setenv("BERTC_CACHE_DIR", shared.cache)

    def ready(name: str) -> None:
        if name not in shared.reasons:
            shared.reasons[name] = _set_up(name)
        if shared.reasons[name]:
            pytest.skip(f"the emulator {name} cannot be set up here: {shared.reasons[name]}")

    return ready


def _set_up(name: str) -> str:
    """Why there can be no emulator here: no apt, or no network. Everything else is a failure."""
    if shutil.which("apt-get") is None:
        return "there is no apt-get"
    try:
        set_up(name, Clock(Recorder()))
    except MissingBackendError as error:
        if error.message.startswith("apt-get failed"):
            return error.message
        raise
    return ""


@pytest.fixture
def compiled(emulators: Ready, shared: Shared, onnx_model: Path, data: Path) -> Callable[[str], Bundle]:
    """A bundle of `CASES`, validated under emulation when it was compiled."""

    def get(case: str) -> Bundle:
        target, runtime = CASES[case]
        emulators(emulated_cpu(get_target(target)).userland)
        if case not in shared.bundles:
            result = compile_model(
                onnx_model,
                shared.folder / runtime,
                target=target,
                runtime=runtime,  # type: ignore[arg-type]
                calibration_data=data,
                eval_data=data,
                validate_emulated=True,
                emulated_samples=SAMPLE,
                progress=Recorder(),
                **QUICK,
            )
            shared.bundles[case] = Bundle.open(result.bundles[0].path)
        return shared.bundles[case]

    return get


@pytest.mark.parametrize("case", CASES)
def test_a_bundle_computes_on_the_device_what_the_integer_reference_says(
    compiled: Callable[[str], Bundle], case: str
) -> None:
    record: dict[str, Any] = dict(compiled(case).manifest.validation or {})
    target, runtime = CASES[case]
    assert (record["evidence"], record["n"], record["status"]) == ("emulated", SAMPLE, "passed")
    assert record["emulator"]["cpu"] == get_target(target).emulation
    assert (record["emulator"]["runtime"], record["emulator"]["selftest"]) == (runtime, True)
    assert record["integer"]["agreement"] == 1.0
    assert record["integer"]["max_abs"] < 1e-3
    assert record["simulated"]["evidence"] == "simulated"


def test_validating_again_gives_the_same_record(compiled: Callable[[str], Bundle], data: Path) -> None:
    bundle = compiled("raspberry-pi-5")
    again, notes = revalidate(bundle, str(data), DataOptions(), emulate="raspberry-pi-5")
    recorded = dict(bundle.manifest.validation or {})
    del recorded["simulated"]
    assert (again.to_json(), notes) == (recorded, ())


def test_another_cpu_of_the_same_instruction_set(compiled: Callable[[str], Bundle], data: Path) -> None:
    """What was compiled for a CPU without dot products gives the same on one that has them."""
    bundle = compiled("raspberry-pi-4")
    found, _ = revalidate(bundle, str(data), DataOptions(), emulate="cortex-a76")
    assert found.integer is not None
    assert (found.status, found.integer["agreement"]) == ("passed", 1.0)


def on_device(cpu: str, *arguments: str) -> str:
    found = find_cpu(cpu)
    return guest_output(
        found, require_emulator(found.userland), "onnxruntime", ["-m", "targets.cli", *arguments]
    )


def test_the_device_s_commands(compiled: Callable[[str], Bundle]) -> None:
    """They work with nothing installed but a device's packages."""
    path = str(compiled("raspberry-pi-5").path)
    lines = on_device("raspberry-pi-5", "run", path, "--json", "--text", "good", "--text", "bad").splitlines()
    assert [json.loads(line)["text"] for line in lines] == ["good", "bad"]
    assert json.loads(on_device("raspberry-pi-5", "verify", path, "--json"))["device_checked"] is True
    assert json.loads(on_device("raspberry-pi-5", "check-device", path, "--json"))["ok"] is True
    assert json.loads(on_device("raspberry-pi-5", "selftest", path, "--json"))["ok"] is True
    bench = json.loads(on_device("raspberry-pi-5", "bench", path, "--json", "--shape", "1x8"))
    assert bench["emulated"] == "cortex-a76"
    assert (bench["shapes"][0]["p50_ms"], bench["load_s"], bench["energy_j"]) == (None, None, None)


def test_no_host_package_is_there(emulators: Ready) -> None:
    emulators("arm64")
    names = ["torch", "transformers", "onnx", "onnx_ir", "rich", "compiler", "calibration", "openvino"]
    code = f"import importlib.util as u; print([n for n in {names!r} if u.find_spec(n)])"
    cpu = find_cpu("raspberry-pi-5")
    assert guest_output(cpu, require_emulator("arm64"), "onnxruntime", ["-c", code]).strip() == "[]"


class Trap:
    """U8 x S8 whose pairs leave 16 bits: what full-range weights meet on CPUs without VNNI."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.x = rng.integers(200, 256, (4, 64), dtype=np.uint8)
        self.w = rng.choice(np.array([-127, 127], np.int8), (64, 16))

    def write(self, path: Path) -> Path:
        """`MatMulInteger` of the ids, clipped to U8, and the weights: [batch, 64] to logits [batch, 16]."""
        nodes = [
            helper.make_node("Cast", ["input_ids"], ["x"], to=TensorProto.UINT8),
            helper.make_node("MatMulInteger", ["x", "w"], ["sums"]),
            helper.make_node("Cast", ["sums"], ["logits"], to=TensorProto.FLOAT),
        ]
        graph = helper.make_graph(
            nodes,
            "trap",
            [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", 64])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 16])],
            [numpy_helper.from_array(self.w, "w")],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.save(model, path)
        return path


def test_the_saturation_trap_springs_as_the_reference_predicts(emulators: Ready, tmp_path: Path) -> None:
    emulators("avx2")
    trap = Trap()
    path = trap.write(tmp_path / "trap.onnx")
    cpu = find_cpu("haswell")
    with open_emulated_model("onnxruntime", path, cpu, require_emulator("avx2")) as backend:
        found = backend.run({"input_ids": trap.x.astype(np.int64)})["logits"]
    assert np.array_equal(found, saturating_product(trap.x, trap.w))
    exact = integer_product(trap.x, trap.w)
    assert np.abs(found - exact).max() > 0.1 * np.abs(exact).max()


def test_the_trap_does_not_spring_on_arm(emulators: Ready, tmp_path: Path) -> None:
    emulators("arm64")
    trap = Trap()
    path = trap.write(tmp_path / "trap.onnx")
    for name in ("raspberry-pi-4", "raspberry-pi-5"):
        with open_emulated_model("onnxruntime", path, find_cpu(name), require_emulator("arm64")) as backend:
            found = backend.run({"input_ids": trap.x.astype(np.int64)})["logits"]
        assert np.array_equal(found, integer_product(trap.x, trap.w)), name


def test_avx2_bundles_are_refused_where_vnni_is_asked_for(
    emulators: Ready, bundles: Callable[..., Any], data: Path
) -> None:
    emulators("avx2")
    bundle = Bundle.open(bundles("bert", "text-classification", "onnxruntime").path)
    with pytest.raises(IncompatibleError, match="has no avx512_vnni or avx_vnni") as refused:
        revalidate(bundle, str(data), DataOptions(), emulate="x86-64-avx2")
    assert "--target x86-64-avx2" in refused.value.hint
