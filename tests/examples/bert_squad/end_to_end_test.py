"""bert_squad from training to single questions, with a tiny BERT of random weights.

fit, validate, predict and ask on a small part of the bundled questions. Checked against
transformers: the checkpoint's weights load there and give the same logits and the same answers.
`predict` and `ask` must work from the checkpoint folder alone, also after it was moved.
"""

import csv
import json
import pathlib
import re
import shutil
import tempfile
import types

import pytest
import support
import tiny_bert
import torch
from safetensors.torch import load_file, save_file
from support import ROOT
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_bert import DATA, DOC_STRIDE, MAX_SEQ_LENGTH, part_of, without_answers, write
from transformers import BertForQuestionAnswering, BertTokenizerFast

MAX_ANSWER_LENGTH, N_BEST = 30, 20  # the defaults of model.*


# ---- the steps
def fit(folder):
    output = tiny_bert.run(
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
    assert [epoch for epoch, _ in lines] == ["1", "2"], f"the epochs' lines are wrong:\n{output}"
    total = re.search(r"Total training time: (\d+\.\d\d) s", output)
    assert total and float(total[1]) >= sum(float(time) for _, time in lines), "wrong total time"
    runs = list((folder / "runs/lightning_logs").iterdir())
    assert len(runs) == 1, f"there is more than one run: {runs}"
    with open(runs[0] / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for name in ("train_loss", "avg_train_loss", "val_loss", "exact", "f1", "HasAns_f1", "NoAns_f1"):
        assert any(row.get(name) for row in rows), f"{name} is not in metrics.csv"
    logged = [f"{float(row['epoch_time']):.2f}" for row in rows if row.get("epoch_time")]
    assert logged == [time for _, time in lines], f"epoch_time is {logged}, printed was {lines}"
    logged = [f"{float(row['total_time']):.2f}" for row in rows if row.get("total_time")]
    assert logged == [total[1]], f"total_time is {logged}, printed was {total[1]}"
    check_times_in_tensorboard(runs[0])
    return runs[0]


def check_times_in_tensorboard(run_dir):
    events = EventAccumulator(str(run_dir), size_guidance={"scalars": 0})
    events.Reload()
    for name, count in (("epoch_time", 2), ("total_time", 1)):
        assert name in events.Tags()["scalars"], f"{name} is not in TensorBoard's events"
        assert len(events.Scalars(name)) == count, f"{name} isn't there {count} times"


def predictions(folder, checkpoint, file, *arguments):
    """The predictions.json of a new run."""
    root = pathlib.Path(tempfile.mkdtemp(dir=folder))
    output = tiny_bert.run(
        *("predict", "--ckpt_path", checkpoint, "--data.predict_file", file),
        *("--trainer.default_root_dir", root, *arguments),
    )
    (path,) = root.glob("lightning_logs/*/predictions.json")
    for name in ("config.yaml", "environment.json"):
        assert (path.parent / name).exists(), f"{name} is missing beside predictions.json"
    assert str(path) in output, f"predict doesn't name {path}:\n{output}"
    return json.loads(path.read_text(encoding="utf-8"))


def score(output, name):
    found = re.search(rf"^{name} +([\d.]+)", output, re.M)
    assert found, f"{name} isn't printed:\n{output}"
    return found[1]


def ask(checkpoint, passage, question):
    return tiny_bert.run("ask", "--ckpt_path", checkpoint, "--context-file", passage, "--question",
                         question)


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
        assert not report[kind], f"transformers has {kind}: {report[kind]}"
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
    support.run(support.bin_dir() / "bert_dump", "gradients", target, folder / "batch.safetensors",
                folder / "out.safetensors")
    ours = load_file(folder / "out.safetensors")
    for name, logits in (("start", peer.start_logits), ("end", peer.end_logits)):
        distance = (ours[name] - logits).abs().max().item()
        bound = 1e-5 * max(1.0, logits.abs().max().item())
        assert distance <= bound, f"{name} logits differ by {distance}, more than {bound}"


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
    assert list(answers) == [key for key, _, _ in questions], (
        "predictions.json doesn't have the questions' ids in their order")
    for key, question, context in questions:
        allowed = best_texts(model, tokenizer, question, context)
        assert answers[key] in allowed, f"{key}: {answers[key]!r} is none of {allowed}"


def questions_of(document):
    return [
        (qa["id"], qa["question"], paragraph["context"])
        for article in document["data"]
        for paragraph in article["paragraphs"]
        for qa in paragraph["qas"]
    ]


@pytest.fixture(scope="module")
def trained(work):
    """What the tests share; the checkpoint is that of a run with a line per epoch."""
    train, dev = part_of(DATA / "train.json", 2), part_of(DATA / "dev.json", 3)
    for name, document in (("train", train), ("dev", dev), ("bare", without_answers(dev))):
        write(work / f"{name}.json", document)
    tiny_bert.make_model(work / "model", [train, dev])
    questions = questions_of(dev)
    passage = work / "passage.txt"
    passage.write_text(questions[0][2], encoding="utf-8")
    checkpoint = (fit(work) / "checkpoints/best.ckpt").resolve()
    answers = predictions(work, checkpoint, work / "bare.json")
    return types.SimpleNamespace(
        folder=work, questions=questions, passage=passage, checkpoint=checkpoint, answers=answers,
        first_answer=ask(checkpoint, passage, questions[0][1]))


def test_validate_and_test(trained):
    metrics = tiny_bert.run("validate", "--ckpt_path", trained.checkpoint, "--trainer.logger",
                            "false", "--trainer.default_root_dir", trained.folder / "validation")
    tests = ("test", "--ckpt_path", trained.checkpoint, "--trainer.default_root_dir",
             trained.folder / "tests")
    tested = tiny_bert.run(*tests)
    own = tiny_bert.run(*tests, "--data.test_file", trained.folder / "train.json",
                        "--trainer.logger", "false")
    for name in ("exact", "f1", "HasAns_f1", "NoAns_f1", "best_f1"):
        assert score(tested, name) == score(metrics, name), name
    assert score(tested, "test_loss") == score(metrics, "val_loss")
    assert score(own, "test_loss") != score(tested, "test_loss"), "test_file isn't read"


def test_ask_gives_the_predicted_answer(trained):
    answer = trained.first_answer
    assert answer.startswith(trained.answers[trained.questions[0][0]] + "\n"), answer
    assert re.search(r"score -?\d+\.\d\d", answer), answer


def test_transformers_gives_the_same(trained):
    target, model, tokenizer = load_in_transformers(trained.folder, trained.checkpoint)
    check_logits(trained.folder, target, model, tokenizer, trained.questions)
    check_answers(model, tokenizer, trained.questions, trained.answers)


def test_the_checkpoint_alone(trained):
    """Moved, without the files that it was trained with. The last test: it moves the checkpoint."""
    folder, passage = trained.folder, trained.passage
    moved = folder / "elsewhere" / "renamed.ckpt"
    moved.parent.mkdir()
    shutil.move(trained.checkpoint, moved)
    for path in (folder / "model", folder / "runs"):
        shutil.rmtree(path)
    for name in ("train.json", "dev.json"):
        (folder / name).unlink()
    assert predictions(folder, moved, folder / "bare.json") == trained.answers
    assert ask(moved, passage, trained.questions[0][1]) == trained.first_answer
    never = predictions(folder, moved, folder / "bare.json", "--model.null_threshold", "-1e9")
    assert set(never.values()) == {""}, "null_threshold -1e9 leaves answers"
    silent = tiny_bert.run("ask", "--ckpt_path", moved, "--context-file", passage, "--question",
                           "Who?", "--model.null_threshold", "-1e9")
    assert silent.startswith("(no answer)\n") and "best span: " in silent, silent
    error = tiny_bert.run("ask", "--ckpt_path", moved, "--context-file", folder / "none.txt",
                          "--question", "Who?", expect=1)
    assert "none.txt" in error and "No such file" in error, error
