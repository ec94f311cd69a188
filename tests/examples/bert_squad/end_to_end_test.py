"""bert_squad from training to single questions, with a tiny BERT of random weights.

fit, validate, predict and ask on a small part of the bundled questions. Checked against
transformers: the checkpoint's weights load there and give the same logits and the same answers.
`predict` and `ask` must work from the checkpoint folder alone, also after it was moved.
"""

import collections
import csv
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

os.environ["TOKENIZERS_PARALLELISM"] = "false"

import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForQuestionAnswering, BertTokenizerFast

from support import ROOT, bin_dir

DATA = ROOT / "examples/bert_squad/data"
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
MAX_SEQ_LENGTH, DOC_STRIDE = 96, 32
MAX_ANSWER_LENGTH, N_BEST = 30, 20  # the defaults of model.*


def check(condition, message):
    if not condition:
        sys.exit(f"FAILED: {message}")


# ---- what the program is given
def part_of(path, num_articles):
    document = json.loads(path.read_text(encoding="utf-8"))
    return {"version": "v2.0", "data": document["data"][:num_articles]}


def make_model(folder, documents):
    """A vocabulary of the documents' characters and frequent words, random weights."""
    text = json.dumps(documents, ensure_ascii=False).lower()
    words = collections.Counter(re.findall(r"[a-z]+", text))
    chars = sorted(set(text) - set(" \n\t"))
    tokens = SPECIALS + chars + ["##" + char for char in chars]
    tokens += [word for word, _ in words.most_common(600) if len(word) > 1]
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": true}')
    torch.manual_seed(3)
    config = BertConfig(
        vocab_size=len(tokens),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=MAX_SEQ_LENGTH,
        initializer_range=0.3,  # scores that differ
    )
    BertForQuestionAnswering(config).save_pretrained(folder)


def run(*arguments, expected_code=0):
    command = [str(bin_dir() / "bert_squad"), *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode != expected_code:
        sys.exit(f"FAILED: {command} gave {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout + done.stderr


# ---- the steps
def fit(folder):
    output = run(
        *("fit", "--config", ROOT / "configs/bert_squad/demo.yaml"),
        *("--model.pretrained", folder / "model"),
        *("--data.train_file", folder / "train.json", "--data.val_file", folder / "dev.json"),
        *("--data.batch_size", 8, "--data.max_seq_length", MAX_SEQ_LENGTH),
        *("--data.doc_stride", DOC_STRIDE, "--model.null_threshold", "null"),
        *("--trainer.max_epochs", 2, "--trainer.default_root_dir", folder / "runs"),
    )
    lines = re.findall(
        r"Epoch (\d), avg_train_loss \d+\.\d{4}, val_loss \d+\.\d{4}, "
        r"epoch time (\d+\.\d\d) s \(0 min \d+\.\d\d s\)",
        output,
    )
    check([epoch for epoch, _ in lines] == ["1", "2"], f"the epochs' lines are wrong:\n{output}")
    total = re.search(r"Total training time: (\d+\.\d\d) s", output)
    check(total and float(total[1]) >= sum(float(time) for _, time in lines), "wrong total time")
    runs = list((folder / "runs/lightning_logs").iterdir())
    check(len(runs) == 1, f"there is more than one run: {runs}")
    with open(runs[0] / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for name in ("train_loss", "avg_train_loss", "val_loss", "exact", "f1", "HasAns_f1", "NoAns_f1"):
        check(any(row.get(name) for row in rows), f"{name} is not in metrics.csv")
    logged = [f"{float(row['epoch_time']):.2f}" for row in rows if row.get("epoch_time")]
    check(logged == [time for _, time in lines], f"epoch_time is {logged}, printed was {lines}")
    logged = [f"{float(row['total_time']):.2f}" for row in rows if row.get("total_time")]
    check(logged == [total[1]], f"total_time is {logged}, printed was {total[1]}")
    check_times_in_tensorboard(runs[0])
    return runs[0]


def check_times_in_tensorboard(run_dir):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run_dir), size_guidance={"scalars": 0})
    events.Reload()
    for name, count in (("epoch_time", 2), ("total_time", 1)):
        check(name in events.Tags()["scalars"], f"{name} is not in TensorBoard's events")
        check(len(events.Scalars(name)) == count, f"{name} isn't there {count} times")


def predictions(folder, checkpoint, file, *arguments):
    """The predictions.json of a new run."""
    root = pathlib.Path(tempfile.mkdtemp(dir=folder))
    output = run(
        *("predict", "--ckpt_path", checkpoint, "--data.predict_file", file),
        *("--trainer.default_root_dir", root, *arguments),
    )
    (path,) = root.glob("lightning_logs/*/predictions.json")
    for name in ("config.yaml", "environment.json"):
        check((path.parent / name).exists(), f"{name} is missing beside predictions.json")
    check(str(path) in output, f"predict doesn't name {path}:\n{output}")
    return json.loads(path.read_text(encoding="utf-8"))


def score(output, name):
    found = re.search(rf"^{name} +([\d.]+)", output, re.M)
    check(found, f"{name} isn't printed:\n{output}")
    return found[1]


def ask(checkpoint, passage, question):
    return run("ask", "--ckpt_path", checkpoint, "--context-file", passage, "--question", question)


# ---- the same with transformers
def load_in_transformers(folder, checkpoint):
    """What a user would do: a model folder from the checkpoint's files."""
    target = folder / "for_transformers"
    target.mkdir()
    shutil.copy(checkpoint / "model.safetensors", target)
    for name in ("config.json", "vocab.txt", "tokenizer_config.json"):
        shutil.copy(checkpoint / "assets" / name, target)
    model, report = BertForQuestionAnswering.from_pretrained(target, output_loading_info=True)
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        check(not report[kind], f"transformers has {kind}: {report[kind]}")
    return target, model.eval(), BertTokenizerFast.from_pretrained(target)


def check_logits(folder, target, model, tokenizer, questions):
    # bert_dump runs the model as in training.
    config = json.loads((target / "config.json").read_text())
    config.update(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    (target / "config.json").write_text(json.dumps(config))
    texts = [(question, context) for _, question, context in questions[:6]]
    batch = dict(
        tokenizer(
            texts,
            truncation="only_second",
            max_length=MAX_SEQ_LENGTH,
            padding=True,
            return_tensors="pt",
        )
    )
    with torch.no_grad():
        peer = model(**batch)
    zeros = torch.zeros(len(texts), dtype=torch.int64)
    save_file(
        {**{k: v.contiguous() for k, v in batch.items()}, "start_positions": zeros,
         "end_positions": zeros.clone()},
        folder / "batch.safetensors",
    )
    command = [bin_dir() / "bert_dump", "gradients", target, folder / "batch.safetensors"]
    subprocess.run([*command, folder / "out.safetensors"], check=True)
    ours = load_file(folder / "out.safetensors")
    for name, logits in (("start", peer.start_logits), ("end", peer.end_logits)):
        distance = (ours[name] - logits).abs().max().item()
        bound = 1e-5 * max(1.0, logits.abs().max().item())
        check(distance <= bound, f"{name} logits differ by {distance}, more than {bound}")


def best_texts(model, tokenizer, question, context, margin=1e-3):
    """The texts of all spans whose score is within `margin` of the best one's."""
    encoded = tokenizer(
        question,
        context,
        truncation="only_second",
        max_length=MAX_SEQ_LENGTH,
        stride=DOC_STRIDE,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        padding=True,
        return_tensors="pt",
    )
    inputs = {k: encoded[k] for k in ("input_ids", "token_type_ids", "attention_mask")}
    with torch.no_grad():
        output = model(**inputs)
    spans = []
    for i in range(len(encoded["input_ids"])):
        inside = [t for t, sequence in enumerate(encoded.sequence_ids(i)) if sequence == 1]
        starts, ends = output.start_logits[i], output.end_logits[i]
        offsets = encoded["offset_mapping"][i]
        for first in sorted(inside, key=lambda t: -starts[t])[:N_BEST]:
            for last in sorted(inside, key=lambda t: -ends[t])[:N_BEST]:
                if first <= last < first + MAX_ANSWER_LENGTH:
                    score = (starts[first] + ends[last]).item()
                    spans.append((score, context[offsets[first][0] : offsets[last][1]]))
    best = max(score for score, _ in spans)
    return {text for score, text in spans if score >= best - margin}


def check_answers(model, tokenizer, questions, answers):
    check(
        list(answers) == [key for key, _, _ in questions],
        "predictions.json doesn't have the questions' ids in their order",
    )
    for key, question, context in questions:
        allowed = best_texts(model, tokenizer, question, context)
        check(answers[key] in allowed, f"{key}: {answers[key]!r} is none of {allowed}")


def questions_of(document):
    return [
        (qa["id"], qa["question"], paragraph["context"])
        for article in document["data"]
        for paragraph in article["paragraphs"]
        for qa in paragraph["qas"]
    ]


def without_answers(document):
    """As a file of questions only: what predict_file may be."""
    articles = [
        {
            "paragraphs": [
                {
                    "context": paragraph["context"],
                    "qas": [{"id": qa["id"], "question": qa["question"]} for qa in paragraph["qas"]],
                }
                for paragraph in article["paragraphs"]
            ]
        }
        for article in document["data"]
    ]
    return {"data": articles}


def main():
    with tempfile.TemporaryDirectory(prefix="bert_squad_") as temporary:
        folder = pathlib.Path(temporary)
        train, dev = part_of(DATA / "train.json", 2), part_of(DATA / "dev.json", 3)
        for name, document in (("train", train), ("dev", dev), ("bare", without_answers(dev))):
            text = json.dumps(document, ensure_ascii=False)
            (folder / f"{name}.json").write_text(text, encoding="utf-8")
        make_model(folder / "model", [train, dev])
        questions = questions_of(dev)
        passage = folder / "passage.txt"
        passage.write_text(questions[0][2], encoding="utf-8")

        run_dir = fit(folder)
        checkpoint = (run_dir / "checkpoints/best.ckpt").resolve()
        metrics = run("validate", "--ckpt_path", checkpoint, "--trainer.logger", "false",
                      "--trainer.default_root_dir", folder / "validation")
        for name in ("exact", "f1", "HasAns_f1", "NoAns_f1", "best_f1", "val_loss"):
            check(re.search(rf"^{name} +[\d.]+", metrics, re.M), f"validate gives no {name}")
        tested = run("test", "--ckpt_path", checkpoint, "--trainer.default_root_dir",
                     folder / "tests")
        own = run("test", "--ckpt_path", checkpoint, "--data.test_file", folder / "train.json",
                  "--trainer.logger", "false", "--trainer.default_root_dir", folder / "tests")
        for name in ("exact", "f1", "HasAns_f1", "NoAns_f1", "best_f1"):
            check(score(tested, name) == score(metrics, name), f"test and validate differ in {name}")
        check(score(tested, "test_loss") == score(metrics, "val_loss"), "the losses differ")
        check(score(own, "test_loss") != score(tested, "test_loss"), "test_file isn't read")
        answers = predictions(folder, checkpoint, folder / "bare.json")
        answer = ask(checkpoint, passage, questions[0][1])
        check(answer.startswith(answers[questions[0][0]] + "\n"), f"ask says {answer!r}")
        check(re.search(r"score -?\d+\.\d\d", answer), f"ask gives no score: {answer!r}")

        target, model, tokenizer = load_in_transformers(folder, checkpoint)
        check_logits(folder, target, model, tokenizer, questions)
        check_answers(model, tokenizer, questions, answers)

        # Nothing but the checkpoint is left, at another place.
        moved = folder / "elsewhere" / "renamed.ckpt"
        moved.parent.mkdir()
        shutil.move(checkpoint, moved)
        for path in (folder / "model", folder / "runs"):
            shutil.rmtree(path)
        for name in ("train.json", "dev.json"):
            (folder / name).unlink()
        check(predictions(folder, moved, folder / "bare.json") == answers, "moved: other answers")
        check(ask(moved, passage, questions[0][1]) == answer, "moved: another answer")
        never = predictions(folder, moved, folder / "bare.json", "--model.null_threshold", "-1e9")
        check(set(never.values()) == {""}, "null_threshold -1e9 leaves answers")
        silent = run("ask", "--ckpt_path", moved, "--context-file", passage, "--question", "Who?",
                     "--model.null_threshold", "-1e9")
        check(silent.startswith("(no answer)\n") and "best span: " in silent, f"ask: {silent!r}")
        error = run("ask", "--ckpt_path", moved, "--context-file", folder / "none.txt",
                    "--question", "Who?", expected_code=1)
        check("none.txt" in error and "No such file" in error, f"ask: {error!r}")
    print("fit, validate, predict and ask work; transformers gives the same logits and answers")


if __name__ == "__main__":
    main()
