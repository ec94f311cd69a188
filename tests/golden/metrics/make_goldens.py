"""Writes the expected values of the metrics' tests with torchmetrics.

  python tests/golden/metrics/make_goldens.py           writes metric_goldens.h beside this file
  python tests/golden/metrics/make_goldens.py --check   compares it with what torchmetrics says now

Of each case the value is recorded after each of its batches. tests/unit/metrics/golden_batches.h
makes the same batches: random numbers come from the same generator, in the same order.
"""

import math
import pathlib
import re
import sys
import warnings

import torch
import torchmetrics
from torchmetrics import aggregation, classification, regression, text

PATH = pathlib.Path(__file__).resolve().parent / "metric_goldens.h"
# Kinds of batches, which come in turns.
TIES, ONE_CLASS, LOGITS, IGNORED, EMPTY, FEW_CLASSES, LABELS = range(1, 8)
KINDS = 8
PIECES = ["a ", "the ", "The", " nile", " Nile", "river ", "1950", ".", ", ", "-", " an", "É", "é", "Σ", "\u00a0",
          " b"]


class Random:
    """A linear congruential generator of 64 bits, of which the highest 24 are taken."""

    def __init__(self, seed):
        self.state = seed

    def draw(self):
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) % 2**64
        return self.state >> 40

    def below(self, n):
        return self.draw() % n

    def uniform(self):
        return self.draw() / 2**24

    def logit(self):
        return self.uniform() * 8 - 4


def filled(shape, draw, dtype):
    return torch.tensor([draw() for _ in range(math.prod(shape))], dtype=dtype).reshape(shape)


def batch_size(random, kind):
    return 0 if kind == EMPTY else 1 + random.below(12)


def target_of(random, kind, shape, classes, index, ignore):
    def draw():
        value = random.below(max(1, classes // 2) if kind == FEW_CLASSES else classes)
        if kind == ONE_CLASS:
            value = index % classes
        dropped = kind == IGNORED and random.below(3) == 0
        return ignore if dropped and ignore is not None else value

    return filled(shape, draw, torch.int64)


def classification_batch(case, index):
    kind, random = index % KINDS, Random(case["seed"] * 1000 + index)
    classes, labels = case.get("num_classes", 0), case.get("num_labels", 0)
    rows, extra = batch_size(random, kind), 2 if kind == LOGITS else 1
    shape = [rows, labels, extra] if labels else [rows, extra]
    target = target_of(random, kind, shape, classes or 2, index, case.get("ignore_index"))
    takes_labels = case["metric"] != "AUROC" and case.get("top_k", 1) == 1
    if kind == LABELS and takes_labels:
        return filled(shape, lambda: random.below(classes or 2), torch.int64), target
    has_ties = kind == TIES and case.get("top_k", 1) == 1

    def score():
        value = random.logit() if kind == LOGITS else random.uniform()
        return math.floor(value * 4) / 4 if has_ties else value

    return filled([rows, classes, extra] if classes else shape, score, torch.float32), target


def value_batch(case, index):
    kind, random = index % KINDS, Random(case["seed"] * 1000 + index)
    rows = batch_size(random, kind)

    def value():
        drawn = random.logit()
        return math.nan if kind == IGNORED and random.below(3) == 0 else drawn

    values = [filled([rows, 2], value, torch.float64)]
    if case["metric"] == "MeanMetric":
        values.append(filled([rows, 2], random.uniform, torch.float64))
    return values


def regression_batch(case, index):
    random = Random(case["seed"] * 1000 + index)
    shape = [batch_size(random, index % KINDS), case.get("num_outputs", 1)]
    return filled(shape, random.logit, torch.float64), filled(shape, random.logit, torch.float64)


def token_batch(case, index):
    kind, random = index % KINDS, Random(case["seed"] * 1000 + index)
    rows, ignore = batch_size(random, kind), case.get("ignore_index")
    target = target_of(random, kind, [rows, 3], 5, index, ignore)
    return filled([rows, 3, 5], random.logit, torch.float64), target


def question_batch(case, index):
    """A prediction and its answers."""
    random = Random(case["seed"] * 1000 + index)

    def words():
        return "".join(PIECES[random.below(len(PIECES))] for _ in range(random.below(5)))

    answers = [words() for _ in range(1 + random.below(3))]
    return (answers[0] if random.below(3) == 0 else words()), answers


def scores_cases(metric, seed, **options):
    """What accuracy, precision, recall and F1 have in common."""
    multiclass = {"metric": metric, "num_classes": 5}
    chosen = [
        {"metric": metric},
        {"metric": metric, "threshold": 0.25, "ignore_index": -1, **options},
        {**multiclass, "average": "micro"},
        {**multiclass, "average": "macro"},
        {**multiclass, "average": "weighted", "ignore_index": -100},
        {**multiclass, "average": "none", **options},
        {**multiclass, "average": "macro", "ignore_index": 2, **options},
        {**multiclass, "average": "macro", "top_k": 2, "ignore_index": -100},
        {"metric": metric, "num_labels": 3, "average": "micro"},
        {"metric": metric, "num_labels": 3, "average": "macro", "ignore_index": -1, **options},
    ]
    return [{**case, "batches": 20, "seed": seed + i} for i, case in enumerate(chosen)]


CASES = [
    *scores_cases("Accuracy", 100),
    *scores_cases("Precision", 200, zero_division=1.0),
    *scores_cases("Recall", 300, zero_division=1.0),
    *scores_cases("F1Score", 400, zero_division=1.0),
    *[{"metric": "ConfusionMatrix", "batches": 25, "seed": 500 + i, **options}
      for i, options in enumerate([
          {}, {"num_classes": 4, "ignore_index": -100}, {"num_classes": 4, "normalize": "true"},
          {"num_classes": 4, "normalize": "pred"}, {"num_classes": 4, "normalize": "all"},
          {"num_labels": 3, "normalize": "true"}, {"num_labels": 3, "ignore_index": -1},
          {"ignore_index": -1, "normalize": "all"}])],
    *[{"metric": "AUROC", "batches": 25, "seed": 600 + i, **options}
      for i, options in enumerate([
          {}, {"ignore_index": -1}, {"num_classes": 4, "average": "macro"},
          {"num_classes": 4, "average": "weighted", "ignore_index": -100},
          {"num_classes": 4, "average": "none", "ignore_index": 1}, {"thresholds": 5},
          {"thresholds": 7, "num_classes": 4, "average": "weighted", "ignore_index": -1},
          {"thresholds": [0.0, 0.3, 0.35, 0.9], "num_classes": 4, "average": "macro"}])],
    *[{"metric": metric, "batches": 100, "seed": 700 + 2 * i + j, "nan_strategy": strategy}
      for i, metric in enumerate(["MeanMetric", "SumMetric", "MinMetric", "MaxMetric"])
      for j, strategy in enumerate(["ignore", 5.5])],
    *[{"metric": metric, "batches": 70, "seed": 800 + i, **options}
      for i, (metric, options) in enumerate([
          ("MeanSquaredError", {}), ("MeanSquaredError", {"squared": False}),
          ("MeanSquaredError", {"num_outputs": 3})])],
    *[{"metric": "MeanAbsoluteError", "batches": 100, "seed": 810 + outputs, "num_outputs": outputs}
      for outputs in (1, 2)],
    *[{"metric": "Perplexity", "batches": 100, "seed": 820 + i, **options}
      for i, options in enumerate([{}, {"ignore_index": -100}])],
    {"metric": "SQuADExactMatch", "batches": 200, "seed": 830},
    {"metric": "SQuADF1", "batches": 200, "seed": 831},
]


def make_metric(case):
    name = case["metric"]
    options = {key: value for key, value in case.items() if key not in ("metric", "batches", "seed")}
    if name.startswith("SQuAD"):
        return text.SQuAD()
    for module in (aggregation, regression):
        if hasattr(module, name):
            return getattr(module, name)(**options)
    if name == "Perplexity":
        return text.Perplexity(**options)
    task = "Multiclass" if "num_classes" in case else "Multilabel" if "num_labels" in case else "Binary"
    return getattr(classification, task + name)(**options)


def fingerprint(value):
    """One number for a vector or a matrix."""
    flat = value.double().flatten()
    return (flat * torch.arange(1, len(flat) + 1)).sum().item() if value.ndim > 0 else value.item()


def update(metric, case, index):
    name = case["metric"]
    if name.startswith("SQuAD"):
        prediction, answers = question_batch(case, index)
        metric.update({"prediction_text": prediction, "id": "0"},
                      {"answers": {"answer_start": [0] * len(answers), "text": answers}, "id": "0"})
        return
    batch_of = {"Perplexity": token_batch, "MeanSquaredError": regression_batch,
                "MeanAbsoluteError": regression_batch}
    by_kind = value_batch if hasattr(aggregation, name) else classification_batch
    inputs = batch_of.get(name, by_kind)(case, index)
    # torchmetrics fails with some of the empty ones.
    if inputs[0].numel() > 0:
        metric.update(*inputs)


def values_of(case):
    metric = make_metric(case)
    values = []
    for index in range(case["batches"]):
        update(metric, case, index)
        value = metric.compute()
        if case["metric"].startswith("SQuAD"):
            value = value["f1" if case["metric"] == "SQuADF1" else "exact_match"]
        values.append(fingerprint(value))
        metric._computed = None
    return values


AVERAGES = {"micro": "kMicro", "macro": "kMacro", "weighted": "kWeighted", "none": "kNone"}
NORMALIZE = {"true": "kTrue", "pred": "kPred", "all": "kAll"}


def fields_of(case):
    """Designated initialisers."""
    def optional(name):
        return [f".{name} = {case[name]}"] if name in case else []

    thresholds = case.get("thresholds")
    return [f'.metric = "{case["metric"]}"', f".seed = {case['seed']}",
            *optional("threshold"), *optional("num_classes"), *optional("num_labels"),
            *([f".average = lm::Average::{AVERAGES[case['average']]}"] if "average" in case else []),
            *optional("top_k"), *optional("ignore_index"), *optional("zero_division"),
            *([f".normalize = lm::Normalize::{NORMALIZE[case['normalize']]}"]
              if "normalize" in case else []),
            *([f".thresholds = {thresholds}"] if isinstance(thresholds, int) else []),
            *([f".thresholds = std::vector<double>{{{', '.join(map(str, thresholds))}}}"]
              if isinstance(thresholds, list) else []),
            *([f".nan_replacement = {case['nan_strategy']}"]
              if isinstance(case.get("nan_strategy"), float) else []),
            *([".squared = false"] if case.get("squared") is False else []),
            *optional("num_outputs")]


def number_text(value):
    return "kNaN" if math.isnan(value) else f"{value:.12g}"


def header():
    lines = [f"// Written by make_goldens.py with torchmetrics {torchmetrics.__version__}.",
             "// clang-format off", "#pragma once", "", "#include <limits>", "#include <optional>",
             "#include <variant>", "#include <vector>", "",
             "#include <lightning/metrics/auroc.h>", "#include <lightning/metrics/classification.h>",
             "#include <lightning/metrics/confusion_matrix.h>", "", "namespace golden {", "",
             "namespace lm = lightning::metrics;",
             "inline constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();", "",
             "struct MetricGolden {", "  const char* metric;", "  int seed;",
             "  double threshold = 0.5;", "  std::optional<int64_t> num_classes = std::nullopt;",
             "  std::optional<int64_t> num_labels = std::nullopt;",
             "  lm::Average average = lm::Average::kMacro;", "  int64_t top_k = 1;",
             "  std::optional<int64_t> ignore_index = std::nullopt;",
             "  double zero_division = 0.0;",
             "  lm::Normalize normalize = lm::Normalize::kNone;",
             "  decltype(lm::AUROCOptions::thresholds) thresholds = std::monostate();",
             "  std::optional<double> nan_replacement = std::nullopt;",
             "  bool squared = true;", "  int64_t num_outputs = 1;",
             "  std::vector<double> values;  // after each batch", "};", "",
             "inline const std::vector<MetricGolden> kMetricGoldens = {"]
    for case in CASES:
        lines.append(f"    {{{', '.join(fields_of(case))},")
        numbers = [number_text(value) for value in values_of(case)]
        rows = [", ".join(numbers[i:i + 6]) for i in range(0, len(numbers), 6)]
        lines.append("     .values = {" + ",\n      ".join(rows) + "}},")
    return "\n".join([*lines, "};", "", "}  // namespace golden", ""])


NUMBER = re.compile(r"-?\d+\.?\d*(?:e[-+]?\d+)?")


def differs(old, new):
    """Whether two headers differ in more than the last digits (and the package's version)."""
    old, new = (content.split("\n", 1)[1] for content in (old, new))
    if NUMBER.sub("#", old) != NUMBER.sub("#", new):
        return True
    pairs = zip(NUMBER.findall(old), NUMBER.findall(new), strict=True)
    return any(abs(float(a) - float(b)) > 1e-9 * max(1.0, abs(float(a))) for a, b in pairs)


def main():
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    content = header()
    if "--check" not in sys.argv:
        PATH.write_text(content)
    elif differs(PATH.read_text(), content):
        sys.exit(f"{PATH} isn't what torchmetrics {torchmetrics.__version__} says: run make_goldens.py")
    print(f"{PATH}: {'checked' if '--check' in sys.argv else 'written'}")


if __name__ == "__main__":
    main()
