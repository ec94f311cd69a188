"""bert_squad on several ranks gives what one process gives: scores, answers and losses.

The windows of most questions lie on different ranks (they are dealt out one by one), and a file of
two windows leaves ranks without any.
"""

import csv
import functools
import json
import pathlib
import re
import tempfile

import pytest
import tiny_bert
from support import cases
from tiny_bert import DATA, DOC_STRIDE, MAX_SEQ_LENGTH, part_of, without_answers, write

SCORES = ("exact", "f1", "HasAns_exact", "HasAns_f1", "HasAns_best_span_f1", "NoAns_f1")
SCORES += ("best_exact", "best_exact_thresh", "best_f1", "best_f1_thresh")


def run_on(ranks, folder, command, *arguments):
    """The output, and the folder of the run."""
    root = pathlib.Path(tempfile.mkdtemp(dir=folder))
    output = tiny_bert.run(
        *(command, "--seed_everything", 1),
        *("--model.pretrained", folder / "model", "--model.dropout", 0),
        *("--data.max_seq_length", MAX_SEQ_LENGTH, "--data.doc_stride", DOC_STRIDE),
        # The loss depends on the padding (padded positions take part in the softmax, as in
        # transformers), and each rank pads its own batches.
        *("--data.padding", "longest", "--data.global_batch_size", 12),
        *("--trainer.default_root_dir", root),
        *("--trainer.accelerator", "cpu", "--trainer.devices", ranks, *arguments),
    )
    return output, root


def scores_on(ranks, folder, file):
    output, _ = run_on(ranks, folder, "validate", "--data.val_file", file)
    metrics = dict(re.findall(r"^(\w+) +(-?[\d.]+(?:e-?\d+)?)$", output, re.M))
    windows = re.search(r"(\d+) questions, (\d+) windows", output)
    assert windows, f"no number of windows:\n{output}"
    return metrics, int(windows[1]), int(windows[2])


def answers_on(ranks, folder, file):
    _, root = run_on(ranks, folder, "predict", "--data.predict_file", file)
    (path,) = root.glob("lightning_logs/*/predictions.json")
    return [json.loads(path.with_name(name).read_text(encoding="utf-8"))
            for name in ("predictions.json", "nbest_predictions.json", "null_odds.json")]


def check_same_answers(several, alone):
    """Scores agree to rounding: each rank's batches have other sizes."""
    answers, n_best, null_odds = several
    assert list(answers.items()) == list(alone[0].items())  # in the same order
    assert list(n_best) == list(null_odds) == list(answers)
    assert null_odds == pytest.approx(alone[2], abs=1e-4)
    for key, ranked in n_best.items():
        expected = alone[1][key]
        assert len(ranked) == len(expected)
        for one, other in zip(ranked, expected):
            assert one["probability"] == pytest.approx(other["probability"], abs=1e-4)
            assert (one["start_logit"] + one["end_logit"]
                    == pytest.approx(other["start_logit"] + other["end_logit"], abs=1e-4))
        assert sorted(one["text"] for one in ranked) == sorted(other["text"] for other in expected)


def losses_on(ranks, folder):
    """The mean losses of the epochs."""
    _, root = run_on(
        *(ranks, folder, "fit", "--data.train_file", folder / "train.json"),
        *("--trainer.max_epochs", 1, "--trainer.log_every_n_steps", 1),
    )
    (path,) = root.glob("lightning_logs/*/metrics.csv")
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    return [float(row["avg_train_loss"]) for row in rows if row.get("avg_train_loss")]


def few_questions(document, count):
    """The first questions, and with them the passages they are about."""
    articles, left = [], count
    for article in document["data"]:
        for paragraph in article["paragraphs"]:
            qas = paragraph["qas"][:left]
            left -= len(qas)
            if qas:
                articles.append({"title": "T", "paragraphs": [{**paragraph, "qas": qas}]})
    return {"version": "v2.0", "data": articles}


TINY = {
    "version": "v2.0",
    "data": [{"title": "T", "paragraphs": [{"context": "a b c d e f", "qas": [
        {"id": "1", "question": "a", "answers": [{"text": "c", "answer_start": 4}]},
        {"id": "2", "question": "b", "is_impossible": True, "answers": []},
    ]}]}],
}


@pytest.fixture(scope="module")
def folder(work):
    train, dev = part_of(DATA / "train.json", 2), part_of(DATA / "dev.json", 2)
    write(work / "train.json", few_questions(train, 20))
    for name, document in (("dev", few_questions(dev, 30)), ("tiny", TINY)):
        write(work / f"{name}.json", document)
        write(work / f"{name}_bare.json", without_answers(document))
    tiny_bert.make_model(work / "model", [train, dev])
    return work


@pytest.fixture(scope="module")
def alone(folder):
    """alone(name): scores, answers, questions and windows of one process."""
    @functools.cache
    def evaluate(name):
        metrics, questions, windows = scores_on(1, folder, folder / f"{name}.json")
        assert "f1" in metrics and "val_loss" in metrics, metrics
        return metrics, answers_on(1, folder, folder / f"{name}_bare.json"), questions, windows

    return evaluate


def test_windows_of_a_question_are_on_several_ranks(alone):
    _, _, questions, windows = alone("dev")
    assert windows > 1.5 * questions


@pytest.mark.parametrize(("name", "ranks"), cases({
    "dev-2": ("dev", 2), "dev-3": ("dev", 3), "dev-4": ("dev", 4), "tiny-4": ("tiny", 4),
}, exhaustive=("dev-2", "dev-4")))
def test_evaluation(name, ranks, folder, alone):
    expected, answers, _, _ = alone(name)
    several, _, _ = scores_on(ranks, folder, folder / f"{name}.json")
    assert {s: several.get(s) for s in SCORES} == {s: expected.get(s) for s in SCORES}
    loss = float(expected["val_loss"])
    assert abs(float(several["val_loss"]) - loss) <= 1e-4 * loss
    check_same_answers(answers_on(ranks, folder, folder / f"{name}_bare.json"), answers)


@pytest.fixture(scope="module")
def losses_alone(folder):
    losses = losses_on(1, folder)
    assert len(losses) == 1, losses
    return losses


@pytest.mark.parametrize("ranks", cases({"2": 2, "4": 4}, exhaustive=("4",)))
def test_training(ranks, folder, losses_alone):
    several = losses_on(ranks, folder)
    assert len(several) == 1
    assert abs(several[0] - losses_alone[0]) <= 1e-4 * losses_alone[0], (several, losses_alone)
