"""What a validation of a bundle on this machine shows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import compiler.sessions as sessions
from compiler.sessions import evidence_here, open_bundle_session, open_simulated_session
from targets.bundle.reader import Bundle
from targets.detect import machine
from targets.spec import DOT_PRODUCTS
from tests.support.tiny_runtime import table, tiny_bundle

AVX2 = (("avx2",),)
VNNI = (("avx2",), ("avx512_vnni", "avx_vnni"))
AMX = (("amx_int8",),)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("b") / "b", "onnxruntime", "text-classification", table(2))


def for_target(bundle: Bundle, arch: str, features: tuple[tuple[str, ...], ...]) -> Bundle:
    """The same files as if they had been compiled for another CPU."""
    other = Bundle.open(bundle.path)
    target = replace(bundle.manifest.target, arch=arch, cpu_features=features)
    other.manifest = replace(bundle.manifest, target=target)
    return other


def have(monkeypatch: pytest.MonkeyPatch, *features: str) -> None:
    told = replace(machine(), cpu_features=frozenset(features))
    monkeypatch.setattr(sessions, "machine", lambda: told)


@pytest.mark.parametrize(
    ("arch", "features", "evidence"),
    [
        *(("x86_64", AVX2, "simulated"), ("x86_64", (), "simulated")),
        *(("x86_64", VNNI, "measured"), ("x86_64", AMX, "measured")),
        *(("aarch64", (), "measured"), ("aarch64", (("asimddp",),), "measured")),
    ],
)
def test_cpus_that_saturate_are_simulated_on_one_that_does_not(
    bundle: Bundle,
    monkeypatch: pytest.MonkeyPatch,
    arch: str,
    features: tuple[tuple[str, ...], ...],
    evidence: str,
) -> None:
    """Those without dot products; a CPU without them has the sums of 16 bits itself, so that it measures."""
    made = for_target(bundle, arch, features)
    for each in sorted(DOT_PRODUCTS):
        have(monkeypatch, "avx2", each)
        assert evidence_here(made) == evidence
    have(monkeypatch, "avx2")
    assert evidence_here(made) == "measured"


def test_a_lesser_cpu_is_simulated_by_the_bundle_s_own_runtime(bundle: Bundle) -> None:
    made = for_target(bundle, machine().arch, AVX2 if machine().arch == "x86_64" else ())
    with open_simulated_session(made, threads=1) as one, open_bundle_session(made, threads=1) as other:
        found, expected = (each.infer(["the film", "good"]) for each in (one, other))
        for left, right in zip(found, expected, strict=True):
            np.testing.assert_array_equal(
                left.windows[0].outputs["logits"], right.windows[0].outputs["logits"]
            )
