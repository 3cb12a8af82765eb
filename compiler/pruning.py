"""The pruning stage of a compile."""

from __future__ import annotations

import onnx_ir as ir

from compiler.options import CompileOptions
from compiler.passes.fold_constants import FoldConstants
from compiler.passes.fuse_qkv import FuseQkv
from compiler.passes.manager import PassManager, PassRecord
from compiler.progress import Clock
from compiler.prune.cost import Flops
from compiler.prune.directions import Answer
from compiler.prune.options import PruneOptions
from compiler.prune.prune import Pruned, Pruner
from compiler.texts import TextFeeds

LENGTH = 128
TOKENS_A_GROUP = 10


class Pruning:
    """Weighs a graph when it is first asked to, and cuts it to any budget.

    Args:
        model: the float IR, queries, keys and values apart; it is not changed.
        texts: to weigh by.
        answers: the outputs that count.
        options: of the compile.
        max_length: tokens that the model reads; FLOPs are counted for 128, or for these where they are fewer.
        clock: told of every module, and of too few tokens.
    """

    def __init__(
        self,
        model: ir.Model,
        texts: TextFeeds,
        answers: tuple[Answer, ...],
        options: CompileOptions,
        max_length: int,
        clock: Clock,
    ) -> None:
        self._clock = clock
        self._options = options
        self._length = min(LENGTH, max_length)
        settings = PruneOptions(
            targets=options.prune_targets,
            align=options.prune_align,
            threads=options.threads,
            seed=options.seed,
        )
        self._pruner = Pruner(model, texts.feeds, answers, settings, warn=clock.progress.warn)
        self._check_tokens(texts)

    def by_flops(self, share: float) -> Pruned:
        """The graph with at most this share of the encoder's FLOPs.

        Raises:
            UsageError: out of reach.
        """
        self._weigh()
        return self._cut(self._pruner.allocate(Flops(self._length), share))

    def _weigh(self) -> None:
        if not self._pruner.weighed:
            with self._clock.stage("weighing heads and neurons", self._pruner.steps) as advance:
                self._pruner.weigh(advance)

    def _cut(self, kept: dict[str, int]) -> Pruned:
        with self._clock.stage("pruning", len(self._pruner.modules)) as advance:
            return self._pruner.cut(kept, self._length, advance)

    def _check_tokens(self, texts: TextFeeds) -> None:
        tokens = sum(int(feeds["attention_mask"].sum()) for feeds in texts.feeds)
        groups = max((each.groups for each in self._pruner.modules), default=0)
        if tokens < TOKENS_A_GROUP * groups:
            self._clock.progress.warn(
                f"{tokens} tokens to weigh {groups} neurons by, ten for each are advised: give more or "
                "longer texts, and raise --prune-samples"
            )


def joined(model: ir.Model, options: CompileOptions) -> list[PassRecord]:
    """Join queries, keys and values of a pruned graph where the precision has them so."""
    return [] if options.built == "int8" else PassManager((FuseQkv(), FoldConstants())).run(model)
