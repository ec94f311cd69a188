"""bert_squad on several ranks gives what one process gives: scores, answers and losses.

The windows of most questions lie on different ranks (they are dealt out one by one), and a file of
two windows leaves ranks without any.
"""

import csv
import json
import pathlib
import re
import tempfile

from end_to_end_test import (
    DATA,
    DOC_STRIDE,
    MAX_SEQ_LENGTH,
    check,
    make_model,
    part_of,
    run,
    without_answers,
)
SCORES = ("exact", "f1", "HasAns_exact", "HasAns_f1", "HasAns_best_span_f1", "NoAns_f1")
SCORES += ("best_exact", "best_exact_thresh", "best_f1", "best_f1_thresh")


def run_on(ranks, folder, command, *arguments):
    """The output, and the folder of the run."""
    root = pathlib.Path(tempfile.mkdtemp(dir=folder))
    output = run(
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
    check(windows, f"no number of windows:\n{output}")
    return metrics, int(windows[1]), int(windows[2])


def answers_on(ranks, folder, file):
    _, root = run_on(ranks, folder, "predict", "--data.predict_file", file)
    (path,) = root.glob("lightning_logs/*/predictions.json")
    return path.read_text(encoding="utf-8")


def check_evaluation(folder, name, ranks_to_try):
    alone, questions, windows = scores_on(1, folder, folder / f"{name}.json")
    answers = answers_on(1, folder, folder / f"{name}_bare.json")
    check("f1" in alone and "val_loss" in alone, f"one process gives {alone}")
    for ranks in ranks_to_try:
        several, _, _ = scores_on(ranks, folder, folder / f"{name}.json")
        for score in SCORES:
            check(
                several.get(score) == alone.get(score),
                f"{name}: {score} is {several.get(score)} on {ranks} ranks, {alone.get(score)} on one",
            )
        loss, expected = float(several["val_loss"]), float(alone["val_loss"])
        check(abs(loss - expected) <= 1e-4 * expected, f"{name}: val_loss {loss}, not {expected}")
        check(
            answers_on(ranks, folder, folder / f"{name}_bare.json") == answers,
            f"{name}: {ranks} ranks predict other answers than one",
        )
    return questions, windows


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


def write(folder, name, document):
    text = json.dumps(document, ensure_ascii=False)
    (folder / f"{name}.json").write_text(text, encoding="utf-8")


def main():
    with tempfile.TemporaryDirectory(prefix="bert_squad_ranks_") as temporary:
        folder = pathlib.Path(temporary)
        train, dev = part_of(DATA / "train.json", 2), part_of(DATA / "dev.json", 2)
        tiny = {
            "version": "v2.0",
            "data": [{"title": "T", "paragraphs": [{"context": "a b c d e f", "qas": [
                {"id": "1", "question": "a", "answers": [{"text": "c", "answer_start": 4}]},
                {"id": "2", "question": "b", "is_impossible": True, "answers": []},
            ]}]}],
        }
        write(folder, "train", few_questions(train, 20))
        for name, document in (("dev", few_questions(dev, 30)), ("tiny", tiny)):
            write(folder, name, document)
            write(folder, f"{name}_bare", without_answers(document))
        make_model(folder / "model", [train, dev])

        questions, windows = check_evaluation(folder, "dev", (2, 3, 4))
        check(windows > 1.5 * questions, f"{questions} questions have only {windows} windows")
        check_evaluation(folder, "tiny", (4,))

        alone = losses_on(1, folder)
        check(len(alone) == 1, f"one epoch gives the losses {alone}")
        for ranks in (2, 4):
            several = losses_on(ranks, folder)
            check(
                len(several) == 1 and abs(several[0] - alone[0]) <= 1e-4 * alone[0],
                f"avg_train_loss is {several} on {ranks} ranks, {alone} on one",
            )
    print("scores, answers and losses on several ranks are those of one process")


if __name__ == "__main__":
    main()
