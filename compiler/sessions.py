"""Sessions for measuring a model on the host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from compiler.lower.tensorrt.simulation import SimulatedBackend
from compiler.progress import Clock, Steps, by_length
from compiler.validate import Evaluator, Predictions
from targets.bundle.reader import Bundle
from targets.bundle.schema import TOKENIZER_PATH, TaskConfig, model_files
from targets.detect import machine
from targets.errors import IncompatibleError, MissingBackendError
from targets.runtime.backends import open_backend
from targets.runtime.backends.base import Backend
from targets.runtime.session import Session
from targets.runtime.settings import DYNAMIC, RunSettings
from targets.runtime.tokenize import TextEncoder
from targets.spec import Evidence, saturates

FILL_MASK_BATCH: Final = 4
"""Texts of one run of fill-mask: its output has the vocabulary's size for every token."""


def open_session(backend: Backend, encoder: TextEncoder, task: str, config: TaskConfig) -> Session:
    """A session over a backend that this process made."""
    return Session(backend, encoder, task, config, batch_size=batch_size(task))


def predict_in_stage(
    clock: Clock, stage: str, evaluator: Evaluator, opened: Callable[[], Session]
) -> tuple[Predictions, Session]:
    """Loads a model and runs evaluation data through it, as one stage.

    Args:
        clock: told of the stage, and of every run.
        stage: what the user reads meanwhile.
        evaluator: of the data.
        opened: the session, which is closed afterwards.

    Returns:
        The predictions, and the closed session with its counts.
    """
    with clock.stage(stage) as steps, opened() as session:
        return evaluator.predict(session, text_steps(steps, evaluator, session)), session


def text_steps(steps: Steps, evaluator: Evaluator, session: Session) -> Callable[[int, int], None]:
    """What a session reports its texts to, so that the time left is known."""
    longest = None if evaluator.task == "question-answering" else session.encoder.max_length
    steps.expect(len(evaluator.items))
    return by_length(steps, evaluator.items, longest)


def open_bundle_session(bundle: Bundle, *, threads: int = 0) -> Session:
    """A session over a bundle as it was compiled, whatever it was tuned to."""
    settings = RunSettings(threads=threads, shapes=DYNAMIC)
    return Session.from_bundle(bundle, settings=settings, batch_size=batch_size(bundle.manifest.task))


def open_simulated_session(bundle: Bundle, *, threads: int = 0) -> Session:
    """A session over a bundle for a GPU, an NPU or a lesser CPU, computed on this CPU.

    Raises:
        IntegrityError: a file is not what the manifest says.
    """
    manifest = bundle.manifest
    if manifest.engine is not None:
        backend: Backend = SimulatedBackend(bundle.read(manifest.engine.variants[0].onnx), threads=threads)
    elif manifest.runtime.device != "CPU":
        model, weights = (bundle.read(path) for path in model_files(manifest.runtime))
        backend = open_backend(manifest.runtime.backend, model, weights, threads=threads)
    else:
        return open_bundle_session(bundle, threads=threads)
    return open_session(backend, bundle_encoder(bundle), manifest.task, manifest.task_config)


def bundle_encoder(bundle: Bundle) -> TextEncoder:
    """A bundle's tokenizer, for the inputs that its model has."""
    manifest = bundle.manifest
    needs_type_ids = any(each.name == "token_type_ids" for each in manifest.inputs)
    return TextEncoder.from_bytes(bundle.read(TOKENIZER_PATH), manifest.tokenizer, needs_type_ids)


def evidence_here(bundle: Bundle) -> Evidence:
    """What a validation on this machine shows.

    Bundles for a GPU or NPU are simulated where there is none, and so are those for x86 CPUs without integer
    dot products on one that has them: it does not saturate.
    """
    target = bundle.manifest.target
    if bundle.manifest.engine is None and bundle.manifest.runtime.device == "CPU":
        lesser = saturates(target.arch, target.cpu_features) and machine().dot_products
        return "simulated" if lesser else "measured"
    try:
        bundle.check_device()
    except (IncompatibleError, MissingBackendError):
        return "simulated"
    return "measured"


def batch_size(task: str) -> int | None:
    """Texts of one run; None lets their lengths decide."""
    return FILL_MASK_BATCH if task == "fill-mask" else None
