"""The pruning stage of a compile."""

from __future__ import annotations

import onnx_ir as ir

from compiler.options import CompileOptions
from compiler.passes.fold_constants import FoldConstants
from compiler.passes.fuse_qkv import FuseQkv
from compiler.passes.manager import PassManager, PassRecord
from compiler.progress import Clock
from compiler.prune.modules import find_modules
from compiler.prune.prune import Pruned, PruneOptions, prune
from compiler.texts import TextFeeds

LENGTH = 128
TOKENS_A_GROUP = 10


def prune_graph(
    model: ir.Model, texts: TextFeeds, options: CompileOptions, max_length: int, clock: Clock
) -> tuple[Pruned, list[PassRecord]]:
    """Prune a graph whose queries, keys and values are apart, and join them where the precision has them so.

    Args:
        model: the float IR; it is not changed.
        texts: to weigh by.
        options: of the compile, with a budget.
        max_length: tokens that the model reads; FLOPs are counted for 128, or for these where they are fewer.
        clock: told of every module, and of too few tokens.

    Returns:
        What was done, and the records of the passes after it.

    Raises:
        UsageError: a budget out of reach.
    """
    modules = [each for each in find_modules(model).modules if each.kind in options.prune_targets]
    tokens = sum(int(feeds["attention_mask"].sum()) for feeds in texts.feeds)
    groups = max((each.groups for each in modules), default=0)
    if tokens < TOKENS_A_GROUP * groups:
        clock.progress.warn(
            f"{tokens} tokens to weigh {groups} neurons by, ten for each are advised: raise --prune-samples"
        )
    settings = PruneOptions(
        1.0 if options.prune_flops is None else options.prune_flops,
        targets=options.prune_targets,
        align=options.prune_align,
        length=min(LENGTH, max_length),
        threads=options.threads,
    )
    with clock.stage("pruning", 2 * len(modules)) as advance:
        pruned = prune(model, texts.feeds, settings, lambda *_: advance(1))
    if options.built == "int8":
        return pruned, []
    return pruned, PassManager((FuseQkv(), FoldConstants())).run(pruned.model)
