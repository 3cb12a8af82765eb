"""A loaded model that takes texts and gives predictions."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING

from targets.bundle.schema import TaskConfig
from targets.errors import UsageError
from targets.runtime.backends.base import Array, Backend, closed_error
from targets.runtime.backends.threads import resolve_threads
from targets.runtime.batching import batches
from targets.runtime.feeds import check_feeds, check_inputs
from targets.runtime.inference import Inference, Window
from targets.runtime.items import TextItem, check_items, check_task, chunks
from targets.runtime.limits import MAX_RUN_TOKENS
from targets.runtime.loading import Timings, load, refused_by_bundle
from targets.runtime.outputs import check_labels
from targets.runtime.runner import Runner
from targets.runtime.settings import Objective, RunSettings, default_settings
from targets.runtime.tasks import TASK_OUTPUTS, Prediction, check_outputs, make_decoder
from targets.runtime.tokenize import Encoding, TextEncoder
from targets.runtime.tuning import settings_of

if TYPE_CHECKING:
    from targets.bundle.reader import Bundle

Progress = Callable[[int, int], None]


class Session:
    """Runs texts through a backend. A context manager; `with bundle.session() as session` closes it.

    May be used by several threads, and closed by any of them: what runs then ends, or is a UsageError. How
    much it takes at once is in `targets.runtime.limits`.

    Args:
        backend: the loaded model, which the session closes.
        encoder: the tokenizer.
        task: one of `targets.spec.TASKS`.
        task_config: labels and the like, for `predict`.
        batch_size: texts of one run, whatever their length, but no more than `MAX_RUN_TOKENS` of tokens; None
            lets the length decide.
        settings: how texts are grouped, and how many runs are made side by side; the backend was opened with
            its other fields.
        timings: what is known already.

    Raises:
        UnsupportedError: the model lacks an output of the task, or has an input that is not known.
        UsageError: a batch size below 1.
    """

    def __init__(
        self,
        backend: Backend,
        encoder: TextEncoder,
        task: str,
        task_config: TaskConfig,
        *,
        batch_size: int | None = None,
        settings: RunSettings | None = None,
        timings: Timings | None = None,
    ) -> None:
        """Takes over a loaded model and its tokenizer."""
        if batch_size is not None and batch_size < 1:
            raise UsageError(f"a batch size of {batch_size}", "give 1 or more")
        self._backend = backend
        self._batch_size = batch_size
        self._timings = timings or Timings()
        self._lock = threading.Lock()
        self._closed = False
        self._truncated = 0
        self._truncated_tokens = 0
        self.encoder = encoder
        self.task = task
        self.task_config = task_config
        self.settings = settings or RunSettings()
        self._runner = Runner(backend, encoder, task, self.settings)
        check_outputs(task, backend.output_names)
        check_inputs(backend.input_names)
        check_labels(task, task_config, getattr(backend, "output_widths", {}))

    @classmethod
    def from_bundle(
        cls,
        bundle: Bundle,
        threads: int | None = None,
        *,
        settings: RunSettings | None = None,
        objective: Objective = "latency",
        batch_size: int | None = None,
        check_device: bool = True,
        cache: bool = False,
        cuda_graphs: bool = False,
        build: bool = False,
    ) -> Session:
        """Loads a bundle's model and tokenizer, every byte checked against the manifest.

        Args:
            bundle: an open bundle.
            threads: threads of all streams; None for those of the settings, 0 for every physical core.
            settings: how to run; None for what `bertc tune` found best on this machine, or else the default.
            objective: which of its findings: the answer to one text soon, or many texts a second.
            batch_size: as for the class; a device of fixed lengths runs texts one by one in any case.
            check_device: whether to refuse a machine that the bundle was not built for.
            cache: as for `Bundle.session`.
            cuda_graphs: as for `Bundle.session`.
            build: as for `Bundle.session`.

        Raises:
            IncompatibleError: the machine or the backend's version does not fit.
            MissingBackendError: the backend is not installed.
            IntegrityError: a file is not what the manifest says, or what no bundle may hold.
        """
        if check_device:
            bundle.check_device()
        runtime = bundle.manifest.runtime
        chosen = settings or settings_of(bundle, objective)
        if chosen is None:
            available = resolve_threads(threads or 0)
            chosen = default_settings(runtime.backend, objective, available, runtime.device)
        if threads is not None:
            chosen = replace(chosen, threads=threads)
        with refused_by_bundle():
            loaded = load(bundle, chosen, cache=cache, cuda_graphs=cuda_graphs, build=build)
            return cls(
                loaded.backend,
                loaded.encoder,
                bundle.manifest.task,
                bundle.manifest.task_config,
                batch_size=1 if runtime.lengths else batch_size,
                settings=chosen,
                timings=loaded.timings,
            )

    @property
    def timings(self) -> Timings:
        """Seconds of the stages so far."""
        return replace(self._timings, first_run_s=self._runner.first_run_s)

    @property
    def truncated(self) -> int:
        """How many texts were cut since the session was opened, because the model reads no more."""
        return self._truncated

    @property
    def truncated_tokens(self) -> int:
        """How many tokens those texts lost."""
        return self._truncated_tokens

    @property
    def backend(self) -> Backend:
        """The loaded model."""
        return self._backend

    @property
    def shapes(self) -> Mapping[int, float]:
        """The lengths in tokens that a model was compiled for, and the seconds that each took."""
        return self._runner.shapes

    def prepare(self, lengths: Sequence[int]) -> dict[int, float]:
        """Compiles now what single texts of these lengths run on, where the backend gains by it.

        Args:
            lengths: tokens.

        Returns:
            Seconds by the length that was compiled, no more of them than the settings keep.

        Raises:
            UsageError: a length below 1, or the session is closed.
        """
        self._check_open()
        for length in lengths:
            if length < 1:
                raise UsageError(f"a length of {length} tokens", "give 1 or more")
        return self._runner.prepare(lengths)

    def __enter__(self) -> Session:
        """The session itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes the session."""
        self.close()

    def close(self) -> None:
        """Releases the model; running it afterwards is a UsageError."""
        self._closed = True
        self._backend.close()

    def _check_open(self) -> None:
        if self._closed:
            raise closed_error()

    def __call__(self, items: Sequence[TextItem]) -> list[Prediction]:
        """The same as `predict` with its defaults."""
        return self.predict(items)

    def run(self, feeds: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        """Runs the model on token ids.

        Args:
            feeds: integers [batch, sequence] by input name. Without `attention_mask` every token is read, and
                without `token_type_ids` all are 0.
            outputs: names of the outputs wanted; None for all.

        Returns:
            The outputs by name, arrays of the caller's own.

        Raises:
            UsageError: an unknown or missing name, a wrong type or shape, too many tokens, or numbers that
                are no tokens, token types or mask.
        """
        known = self._backend.output_names
        for name in outputs or ():
            if name not in known:
                raise UsageError(f"the model has no output {name!r}", f"it has: {', '.join(known)}")
        self._check_open()
        encoder = self.encoder
        checked = check_feeds(feeds, self._backend.input_names, encoder.max_length, encoder.max_id)
        return self._runner.run(checked, outputs)

    def infer(
        self,
        items: Sequence[TextItem],
        progress: Progress | None = None,
        *,
        outputs: Sequence[str] | None = None,
    ) -> list[Inference]:
        """The model's outputs for each text, in the order given.

        Everything is held in memory; `stream` does not.

        Args:
            items: texts and pairs.
            progress: called with the texts done and their total after every run.
            outputs: names of the outputs wanted; None for those that the task's decoding reads.
        """
        total = len(items)
        found: list[Inference | None] = [None] * total
        for index, inference in self.stream(items, progress, outputs=outputs):
            found[index] = inference
        return [inference for inference in found if inference is not None]

    def predict(
        self,
        items: Sequence[TextItem],
        *,
        top_k: int = 5,
        threshold: float = 0.5,
        progress: Progress | None = None,
    ) -> list[Prediction]:
        """What the task makes of each text, in the order given.

        Args:
            items: texts and pairs.
            top_k: candidates of fill-mask.
            threshold: the least score of a label in multi-label classification.
            progress: as for `infer`.

        Raises:
            UsageError: texts out of bounds (see `check_items`), or not what the task takes.
        """
        decode = make_decoder(self.task, self.task_config, self.encoder, top_k=top_k, threshold=threshold)
        found: list[Prediction | None] = [None] * len(items)
        for index, inference in self.stream(items, progress):
            found[index] = decode(inference)
        return [prediction for prediction in found if prediction is not None]

    def stream(
        self,
        items: Sequence[TextItem],
        progress: Progress | None = None,
        *,
        outputs: Sequence[str] | None = None,
    ) -> Iterator[tuple[int, Inference]]:
        """Yields (index, inference) as runs finish, not in order.

        Texts are tokenized some at a time (`CHUNK_TEXTS`, `CHUNK_CHARACTERS`) and grouped by length among
        those, which bounds the memory.

        Args:
            items: texts and pairs.
            progress: as for `infer`.
            outputs: as for `infer`.
        """
        checked = check_items(items)
        check_task(self.task, checked)
        self._check_open()
        names = tuple(outputs) if outputs is not None else TASK_OUTPUTS[self.task]
        windows = self.task == "question-answering"
        start = done = 0
        for chunk in chunks(checked):
            encoded = self.encoder.encode(chunk, windows=windows, first=start + 1)
            self._count(encoded)
            for finished in self._run_chunk(chunk, encoded, names):
                for index, inference in finished:
                    yield start + index, inference
                done += len(finished)
                if progress is not None:
                    progress(done, len(checked))
            start += len(chunk)

    def _run_chunk(
        self, chunk: list[TextItem], encoded: list[list[Encoding]], names: Sequence[str]
    ) -> Iterator[list[tuple[int, Inference]]]:
        """Yields after every run the texts whose windows are all there."""
        flat = [(text, number) for text, windows in enumerate(encoded) for number in range(len(windows))]
        encodings = [encoded[text][number] for text, number in flat]
        missing = [len(windows) for windows in encoded]
        found: dict[tuple[int, int], Window] = {}
        for windows in self._runner.windows(self._groups(encodings), encodings, names):
            finished = []
            for index, window in windows:
                text, _ = flat[index]
                found[flat[index]] = window
                missing[text] -= 1
                if missing[text] == 0:
                    parts = tuple(found.pop((text, number)) for number in range(len(encoded[text])))
                    finished.append((text, Inference(chunk[text], parts)))
            yield finished

    def _groups(self, encodings: list[Encoding]) -> list[list[int]]:
        settings, size = self.settings, self._batch_size
        return batches(
            encodings,
            max_batch=size or settings.max_batch,
            max_tokens=MAX_RUN_TOKENS if size else min(settings.max_tokens, MAX_RUN_TOKENS),
            run_tokens=settings.run_tokens,
        )

    def _count(self, encoded: list[list[Encoding]]) -> None:
        lost = [sum(encoding.truncated for encoding in windows) for windows in encoded]
        with self._lock:
            self._truncated_tokens += sum(lost)
            self._truncated += sum(each > 0 for each in lost)
