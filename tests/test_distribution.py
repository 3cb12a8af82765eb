"""What a wheel holds, and what installing it asks for."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("compiler", "targets", "calibration")
HOST_ONLY = {
    "torch",
    "transformers",
    "onnx",
    "onnx-ir",
    "onnxscript",
    "huggingface-hub",
    "safetensors",
    "rich",
    "matplotlib",
    "jinja2",
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.Path:
    """A wheel built from a copy of the sources, without network and without touching the checkout."""
    source = tmp_path_factory.mktemp("source")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "tests", source / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    out = tmp_path_factory.mktemp("wheel")
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--wheel-dir", str(out)]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", *options, str(source)],
        env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (path,) = out.glob("*.whl")
    return zipfile.Path(path)


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.Path) -> Message:
    """The METADATA of the wheel."""
    (info,) = (entry for entry in wheel.iterdir() if entry.name.endswith(".dist-info"))
    return Parser().parsestr((info / "METADATA").read_text(encoding="utf-8"))


def names(wheel: zipfile.Path) -> list[str]:
    return wheel.root.namelist()


def requirements(metadata: Message, extra: str | None = None) -> set[str]:
    """Names of the distributions that an extra asks for, through bertc's own extras; None: the base."""
    found: set[str] = set()
    for line in metadata.get_all("Requires-Dist", []):
        requirement, _, marker = line.partition(";")
        wanted = re.search(r"extra == ['\"]([\w-]+)['\"]", marker)
        if (wanted.group(1) if wanted else None) != extra:
            continue
        name = re.match(r"[\w.-]+", requirement)
        assert name is not None
        if name.group() == "bertc":
            for inner in requirement[requirement.index("[") + 1 : requirement.index("]")].split(","):
                found |= requirements(metadata, inner.strip())
        else:
            found.add(re.sub(r"[-_.]+", "-", name.group()).lower())
    return found


def test_top_level_is_the_three_packages(wheel: zipfile.Path) -> None:
    top = {name.partition("/")[0] for name in names(wheel)}
    assert {name for name in top if not name.endswith(".dist-info")} == set(PACKAGES)
    assert len(top) == len(PACKAGES) + 1


def test_every_module_and_data_file_is_inside(wheel: zipfile.Path) -> None:
    expected = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.suffix in (".py", ".toml", ".json", ".txt", ".j2", ".css") or path.name == "py.typed"
    }
    assert expected <= set(names(wheel)), sorted(expected - set(names(wheel)))
    assert {f"{package}/py.typed" for package in PACKAGES} <= expected
    assert "targets/profiles/x86-64-vnni.toml" in expected
    assert "targets/bundle/bundle.schema.json" in expected
    assert "compiler/report/page/page.html.j2" in expected


def test_nothing_else_is_inside(wheel: zipfile.Path) -> None:
    data = (
        r"targets/profiles/.*\.toml|targets/bundle/.*\.json|targets/requirements/.*\.txt|"
        r"compiler/emulate/.*\.toml|compiler/report/page/page\.(html\.j2|css)"
    )
    allowed = re.compile(rf".*\.py|.*/py\.typed|{data}|.*/")
    others = [name for name in names(wheel) if ".dist-info/" not in name and not allowed.fullmatch(name)]
    assert others == []


def test_metadata(metadata: Message, wheel: zipfile.Path) -> None:
    assert metadata["Name"] == "bertc"
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "Apache-2.0"
    (info,) = (entry for entry in wheel.iterdir() if entry.name.endswith(".dist-info"))
    assert "bertc = compiler.cli:main" in (info / "entry_points.txt").read_text()
    assert "Apache License" in (info / "licenses" / "LICENSE").read_text()


def test_a_device_installs_no_host_package(metadata: Message) -> None:
    assert requirements(metadata) == {"numpy", "tokenizers", "click"}
    assert requirements(metadata, "onnxruntime") == {"onnxruntime"}
    assert requirements(metadata, "openvino") == {"openvino"}
    assert requirements(metadata, "compile") >= HOST_ONLY | {"onnxruntime", "openvino"}


def test_everything_that_is_installed_is_pinned() -> None:
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    exact = [line for line in pins if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in exact)
    pinned = {re.sub(r"[-_.]+", "-", line.partition("==")[0]).lower() for line in exact}
    assert len(pinned) == len(exact)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [
        *project["dependencies"],
        *(item for extra in project["optional-dependencies"].values() for item in extra),
    ]
    for requirement in asked:
        name = re.match(r"[\w.-]+", requirement)
        assert name is not None
        normal = re.sub(r"[-_.]+", "-", name.group()).lower()
        assert normal == "bertc" or normal in pinned, f"{normal} has no pin in constraints.txt"
