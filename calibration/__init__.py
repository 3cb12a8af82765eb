"""Text data in, statistics and metrics out: data sets, samples, observers, ranges, task metrics, cache."""

from __future__ import annotations

from calibration.answers import answer_scores, normalize_answer, squad_em_f1
from calibration.bootstrap import Interval, paired_bootstrap, paired_bootstrap_metric
from calibration.cache import ArrayCache, cache_key, default_cache_dir
from calibration.columns import ColumnMap, resolve_columns
from calibration.data import Dataset, open_dataset
from calibration.entities import Span, entity_counts, entity_f1, entity_f1_of, entity_spans
from calibration.examples import DataOptions, Example
from calibration.labels import IGNORED_TAG, normalize_labels, normalize_tags
from calibration.metrics import (
    accuracy,
    agreement,
    confusion_matrix,
    cosine,
    dense_ranks,
    exact_match,
    f1_macro,
    matthews,
    multilabel_f1,
    overlap_at_k,
    pearson,
    ranks,
    spearman,
)
from calibration.observers import RangeObserver
from calibration.qparams import (
    QuantParams,
    dequantize,
    fake_quantize,
    integer_bounds,
    qparams,
    quantize,
    representable,
)
from calibration.ranges import METHODS, choose_range, expected_error
from calibration.sampler import MIN_SAMPLES, sample

__all__ = [
    "IGNORED_TAG",
    "METHODS",
    "MIN_SAMPLES",
    "ArrayCache",
    "ColumnMap",
    "DataOptions",
    "Dataset",
    "Example",
    "Interval",
    "QuantParams",
    "RangeObserver",
    "Span",
    "accuracy",
    "agreement",
    "answer_scores",
    "cache_key",
    "choose_range",
    "confusion_matrix",
    "cosine",
    "default_cache_dir",
    "dense_ranks",
    "dequantize",
    "entity_counts",
    "entity_f1",
    "entity_f1_of",
    "entity_spans",
    "exact_match",
    "expected_error",
    "f1_macro",
    "fake_quantize",
    "integer_bounds",
    "matthews",
    "multilabel_f1",
    "normalize_answer",
    "normalize_labels",
    "normalize_tags",
    "open_dataset",
    "overlap_at_k",
    "paired_bootstrap",
    "paired_bootstrap_metric",
    "pearson",
    "qparams",
    "quantize",
    "ranks",
    "representable",
    "resolve_columns",
    "sample",
    "spearman",
    "squad_em_f1",
]
