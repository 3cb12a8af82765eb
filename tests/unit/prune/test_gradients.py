"""Directions of the answers, and sensitivities against finite differences."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from calibration.sampler import thinned
from compiler.frontend.export import TracedModel
from compiler.ir.execute import Runner
from compiler.passes.manager import PassManager
from compiler.pipeline import encoder_passes
from compiler.prune.directions import Answer, answers_of, draw, moved
from compiler.prune.gradients import sensitivities, square_root
from compiler.prune.materialize import materialize
from compiler.prune.modules import PrunableModule, find_modules
from compiler.prune.moments import Matrix
from targets.errors import UnsupportedError
from targets.runtime.tasks import TASK_OUTPUTS
from tests.support.models import TASKS
from tests.support.parity import Feeds, random_feeds

Traced = Callable[..., TracedModel]

CLASSES = Answer("logits", "classes", per_token=False)
TAGS = Answer("logits", "classes", per_token=True)
STARTS = Answer("start_logits", "positions", per_token=True)
NUMBERS = Answer("last_hidden_state", "numbers", per_token=True)
EMBEDDING = Answer("sentence_embedding", "numbers", per_token=False)
SCORE = Answer("logits", "numbers", per_token=False)
STEP = 1e-3


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=seeded(seed + 1000))


def mask_of(lengths: list[int], length: int) -> torch.Tensor:
    return torch.arange(length) < torch.tensor(lengths)[:, None]


@given(st.integers(0, 500), st.integers(2, 6), st.booleans())
def test_classes_are_a_margin_of_the_best_over_another(seed: int, labels: int, per_token: bool) -> None:
    mask = mask_of([5, 2, 1], 5)
    output = normal(3, 5, labels, seed=seed) if per_token else normal(3, labels, seed=seed)
    found = draw(TAGS if per_token else CLASSES, output, mask, seeded(seed))
    assert found.shape == output.shape
    rows, scores = (found[mask], output[mask]) if per_token else (found, output)
    assert torch.equal(rows.sort(dim=-1).values[:, [0, -1]], torch.tensor([[-1.0, 1.0]]).expand(len(rows), 2))
    assert torch.equal(rows.count_nonzero(dim=-1), torch.full((len(rows),), 2))
    assert rows.gather(-1, scores.argmax(dim=-1, keepdim=True)).abs().eq(1.0).all()
    if per_token:
        assert not found[~mask].any()


def test_the_other_class_is_drawn_by_its_probability_and_the_sign_is_even() -> None:
    output = torch.tensor([4.0, 1.0, 1.0 + float(np.log(3.0)), -40.0]).expand(4000, 4)
    found = draw(CLASSES, output, mask_of([1] * 4000, 1), seeded())
    chosen = found[:, 1:].ne(0).double().mean(dim=0)
    np.testing.assert_allclose(chosen.numpy(), [0.25, 0.75, 0.0], atol=0.03)
    assert abs(float(found[:, 0].mean())) < 0.06


def test_of_a_large_vocabulary_some_tokens_stand_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    import compiler.prune.directions as module

    answer = Answer("logits", "classes", True)
    output, mask = torch.randn(4, 6, 50), torch.ones(4, 6, dtype=torch.bool)
    mask[1:, 4:] = False
    whole = draw(answer, output, mask, torch.Generator().manual_seed(0))
    monkeypatch.setattr(module, "MOST_NUMBERS", 4 * 50)
    some = draw(answer, output, mask, torch.Generator().manual_seed(0))
    rows = (some != 0).any(dim=-1)
    assert rows.sum() == 4
    assert not rows[~mask].any()
    assert float((some**2).sum()) == pytest.approx(float((whole**2).sum()))


def test_the_margin_does_not_vanish_where_the_model_is_sure() -> None:
    output = torch.tensor([[300.0, -300.0, -900.0]]).expand(8, 3)
    found = draw(CLASSES, output, mask_of([1] * 8, 1), seeded())
    assert torch.equal(found[:, 1].abs(), torch.ones(8))
    assert torch.equal(found[:, 0], -found[:, 1])


@given(st.integers(0, 500), st.lists(st.integers(2, 6), min_size=1, max_size=4))
def test_positions_never_point_at_pad(seed: int, lengths: list[int]) -> None:
    mask = mask_of(lengths, 6)
    output = normal(len(lengths), 6, seed=seed).masked_fill(~mask, 50.0)
    found = draw(STARTS, output, mask, seeded(seed))
    assert not found[~mask].any()
    assert torch.equal(found.abs().sum(dim=-1), torch.full((len(lengths),), 2.0))
    assert torch.equal(found.sum(dim=-1), torch.zeros(len(lengths)))
    best = output.masked_fill(~mask, -torch.inf).argmax(dim=-1, keepdim=True)
    assert found.gather(-1, best).abs().eq(1.0).all()


def test_the_only_position_of_a_text_does_not_point_at_pad() -> None:
    mask = mask_of([1, 1, 1, 1], 6)
    for seed in range(8):
        assert not draw(STARTS, normal(4, 6, seed=seed), mask, seeded(seed))[~mask].any()


@pytest.mark.parametrize("answer", [NUMBERS, EMBEDDING])
def test_numbers_are_scaled_by_their_length(answer: Answer) -> None:
    mask = mask_of([5, 2], 5)
    output = normal(2, 5, 16) if answer.per_token else normal(2, 16)
    lengths = torch.tensor([1.0, 100.0]).reshape(2, *(1,) * (output.ndim - 1))
    one = draw(answer, output, mask, seeded())
    scaled = draw(answer, output * lengths, mask, seeded())
    torch.testing.assert_close(scaled * lengths, one)
    unit = one * output.norm(dim=-1, keepdim=True)
    spread = (unit[mask] if answer.per_token else unit).square().mean()
    assert 0.6 < float(spread) < 1.5
    if answer.per_token:
        assert not one[~mask].any()
        assert one[mask].ne(0).all()


@pytest.mark.parametrize("answer", [SCORE, CLASSES])
def test_one_number_is_used_as_it_is(answer: Answer) -> None:
    outputs = [scale * normal(2000, 1) for scale in (1.0, 1e3)]
    mask = mask_of([1] * 2000, 1)
    found = [draw(answer, each, mask, seeded()) for each in outputs]
    assert torch.equal(found[0], found[1])
    assert 0.9 < float(found[0].square().mean()) < 1.1


@pytest.mark.parametrize("answer", [CLASSES, TAGS, STARTS, NUMBERS, EMBEDDING, SCORE])
def test_equal_seeds_give_equal_draws(answer: Answer) -> None:
    output = (
        normal(4, 6) if answer.kind == "positions" else normal(*((4, 6, 5) if answer.per_token else (4, 5)))
    )
    mask = mask_of([6, 4, 3, 2], 6)
    one, same, other = (draw(answer, output, mask, seeded(seed)) for seed in (3, 3, 4))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_what_moves_is_the_sum_along_the_drawn_directions() -> None:
    mask = mask_of([6, 3], 6)
    outputs = {"start_logits": normal(2, 6, seed=1), "end_logits": normal(2, 6, seed=2)}
    answers = {each.name: each for each in answers_of("question-answering")}
    generator = seeded(5)
    wanted = sum(
        float((each * draw(answers[name], each, mask, generator)).sum()) for name, each in outputs.items()
    )
    assert float(moved(answers, outputs, mask, 5)) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_its_answers(task: str) -> None:
    kinds = {"question-answering": "positions", "feature-extraction": "numbers"}
    found = answers_of(task)
    assert [each.name for each in found] == list(TASK_OUTPUTS[task])
    assert {each.kind for each in found} == {kinds.get(task, "classes")}


@pytest.mark.parametrize("problem", ["regression", "multi_label_classification"])
def test_scores_that_are_no_classes_are_numbers(problem: str) -> None:
    assert answers_of("text-classification", problem) == (SCORE,)
    assert answers_of("text-classification", "single_label_classification") == (CLASSES,)


def passed(traced: Traced, task: str = "text-classification", **options: Any) -> ir.Model:
    model = traced("bert", task, **options).model
    PassManager(encoder_passes(fuse_qkv=False)).run(model)
    return model


def weighed(model: ir.Model, feeds: list[Feeds], answer: Answer, seed: int = 0) -> dict[str, Matrix]:
    return sensitivities(model, find_modules(model).modules, feeds, (answer,), seed=seed, threads=1)


def shifted(model: ir.Model, module: PrunableModule, by: Matrix) -> Runner:
    """The model with something added to the bias of a module's reader."""
    bias = module.reader.bias_array
    assert bias is not None
    return Runner(
        materialize(model, {}, {module.reader.name: (module.reader.weight_array, bias + by)}), threads=1
    )


def margins(found: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
    logits = found["logits"].astype(np.float64)
    return np.asarray(logits[..., 1] - logits[..., 0])


def squared_change(model: ir.Model, module: PrunableModule, by: Matrix, feeds: list[Feeds]) -> float:
    """The squared change of two classes' margins, summed over the answers of a text, the mean over texts."""
    ahead, back = (shifted(model, module, sign * STEP * by) for sign in (1.0, -1.0))
    total, texts = 0.0, 0
    for each in feeds:
        change = (margins(ahead(each)) - margins(back(each))) / (2 * STEP)
        if change.ndim > 1:
            change = change * each["attention_mask"]
        total += float(np.sum(change**2))
        texts += len(change)
    return total / texts


def perturbation(module: PrunableModule, seed: int) -> Matrix:
    width = module.reader.weight_array.shape[1]
    return np.random.default_rng(seed).normal(size=(width,))


def assert_predicts(
    model: ir.Model, module: PrunableModule, moments: Matrix, feeds: list[Feeds], seed: int
) -> None:
    by = perturbation(module, seed)
    direct = squared_change(model, module, by, feeds)
    assert direct > 1e-4
    assert by @ moments @ by == pytest.approx(direct, rel=0.01)


@pytest.mark.parametrize("seed", range(3))
def test_one_row_of_each_text_moves_the_margin_as_predicted(traced: Traced, seed: int) -> None:
    model = passed(traced)
    feeds = [random_feeds(4, 12, vocab_size=300, seed=each) for each in range(3)]
    found = weighed(model, feeds, CLASSES, seed)
    last = find_modules(model).modules[-1]
    assert last.single
    assert_predicts(model, last, found[last.name], feeds, seed)


def test_every_module_of_texts_of_one_token_moves_the_margin_as_predicted(traced: Traced) -> None:
    model = passed(traced)
    feeds = [random_feeds(5, 4, vocab_size=300, lengths=[1] * 5, seed=each) for each in range(2)]
    found = weighed(model, feeds, CLASSES)
    modules = find_modules(model).modules
    assert list(found) == [each.name for each in modules]
    for place, each in enumerate(modules):
        assert_predicts(model, each, found[each.name], feeds, place)


def test_the_tags_of_a_text_move_as_predicted_and_pad_does_not_count(traced: Traced) -> None:
    model = passed(traced, "token-classification", labels=("O", "X"))
    feeds = [random_feeds(4, 9, vocab_size=300, seed=each) for each in range(2)]
    assert not all(each["attention_mask"].all() for each in feeds)
    last = find_modules(model).modules[-1]
    assert last.name == "layer1.ffn"
    assert_predicts(model, last, weighed(model, feeds, TAGS)[last.name], feeds, 7)


def test_the_draws_of_many_seeds_agree_on_the_tags_of_an_earlier_module(traced: Traced) -> None:
    model = passed(traced, "token-classification", labels=("O", "X"))
    feeds = [random_feeds(6, 2, vocab_size=300, lengths=[1] * 6, seed=each) for each in range(2)]
    first = find_modules(model).modules[0]
    one, other = (weighed(model, feeds, TAGS, seed)[first.name] for seed in (0, 9))
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-8)
    assert_predicts(model, first, one, feeds, 1)


@pytest.mark.parametrize("task", ["text-classification", "token-classification", "question-answering"])
def test_sensitivities_are_symmetric_and_positive_semidefinite(traced: Traced, task: str) -> None:
    model = passed(traced, task)
    feeds = [random_feeds(3, 8, vocab_size=300, seed=each) for each in range(2)]
    modules = find_modules(model).modules
    told: list[int] = []
    found = sensitivities(model, modules, feeds, answers_of(task), threads=1, advance=told.append)
    assert told == [1, 1]
    for each in modules:
        moments = found[each.name]
        assert moments.shape == (each.reader.weight_array.shape[1],) * 2
        np.testing.assert_array_equal(moments, moments.T)
        values = np.linalg.eigvalsh(moments)
        assert values[-1] > 0
        assert values[0] >= -1e-9 * values[-1]


def test_equal_seeds_give_equal_sensitivities(traced: Traced) -> None:
    model = passed(traced, "token-classification")
    feeds = [random_feeds(3, 8, vocab_size=300)]
    one, same, other = (weighed(model, feeds, TAGS, seed)["layer0.ffn"] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.allclose(one, other)


def test_they_are_a_mean_over_texts(traced: Traced) -> None:
    model = passed(traced)
    feeds = random_feeds(4, 8, vocab_size=300)
    doubled = {name: np.concatenate([each, each]) for name, each in feeds.items()}
    one, both = (weighed(model, [each], CLASSES) for each in (feeds, doubled))
    for name, moments in one.items():
        np.testing.assert_allclose(both[name], moments, rtol=1e-4, atol=1e-7)


def test_an_output_that_no_answer_names_does_not_count(traced: Traced) -> None:
    model = passed(traced, "question-answering")
    feeds = [random_feeds(3, 8, vocab_size=300)]
    modules = find_modules(model).modules
    start, end = answers_of("question-answering")
    found = [
        sensitivities(model, modules, feeds, each, threads=1)["layer1.ffn"]
        for each in ((start,), (end,), (start, end))
    ]
    assert np.trace(found[2]) > max(np.trace(found[0]), np.trace(found[1]))


@given(st.integers(0, 200), st.integers(1, 8), st.integers(0, 8))
def test_a_square_root_squared_is_the_matrix(seed: int, size: int, rank: int) -> None:
    half = np.random.default_rng(seed).normal(size=(size, rank))
    moments = half @ half.T
    root = square_root(moments)
    np.testing.assert_allclose(root @ root.T, moments, atol=1e-10 * (1 + np.abs(moments).max()))


def test_a_root_of_what_rounding_made_negative_is_finite() -> None:
    root = square_root(np.diag([1.0, -1e-18]))
    np.testing.assert_allclose(root @ root.T, np.diag([1.0, 0.0]), atol=1e-12)


@given(st.integers(1, 40), st.integers(0, 2000))
def test_thinned_batches_hold_the_limit_and_are_spread_evenly(count: int, most: int) -> None:
    batches = [
        {"attention_mask": np.ones((2, 8), np.int64), "place": np.array(each)} for each in range(count)
    ]
    places = [int(each["place"]) for each in thinned(batches, most)]
    assert len(places) == min(count, max(1, most // 16))
    assert places == sorted(set(places))
    assert places[0] == 0
    gaps = np.diff([*places, count])
    assert gaps.max() - gaps.min() <= 1


def test_pad_counts_when_batches_are_thinned() -> None:
    batches: list[Feeds] = [{"attention_mask": np.eye(4, 16, dtype=np.int64)} for _ in range(10)]
    assert len(thinned(batches, 5 * 64)) == 5
    assert thinned(batches, 10 * 64) == batches


def test_what_torch_computes_otherwise_is_not_differentiated(
    traced: Callable[..., TracedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    import compiler.ir.torch_graph as operators

    model = passed(traced)
    wrong = {**operators._OPERATORS, "Gelu": operators._plain(torch.relu)}
    monkeypatch.setattr(operators, "_OPERATORS", wrong)
    with pytest.raises(UnsupportedError, match="torch and onnxruntime do not agree"):
        sensitivities(
            model, find_modules(model).modules, [random_feeds(2, 8)], answers_of("text-classification")
        )


def test_threads_are_given_back(traced: Callable[..., TracedModel]) -> None:
    model = passed(traced)
    before = torch.get_num_threads()
    modules = find_modules(model).modules
    sensitivities(model, modules, [random_feeds(2, 8)], answers_of("text-classification"), threads=1)
    assert torch.get_num_threads() == before
