"""bert_squad from training to single questions, with a tiny BERT of random weights.

fit, validate, predict, ask and export on a small part of the bundled questions. Checked against
transformers: the exported folder opens there and gives the same logits, the same answers and the same
n best of them.
`predict` and `ask` must work from the checkpoint folder alone, also after it was moved.
"""

import csv
import json
import os
import pathlib
import pty
import re
import shutil
import subprocess
import tempfile
import types

import numpy as np
import pytest
import support
import tiny_bert
import torch
from safetensors.torch import load_file, save_file
from support import ROOT
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_bert import DATA, DOC_STRIDE, MAX_SEQ_LENGTH, part_of, without_answers, write
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

MAX_ANSWER_LENGTH, N_BEST = 30, 20  # the defaults of model.*
PREDICTION_FILES = ("predictions.json", "nbest_predictions.json", "null_odds.json")
# What a checkpoint carries along and a model folder doesn't.
SETTINGS = ("--data.max_seq_length", MAX_SEQ_LENGTH, "--data.doc_stride", DOC_STRIDE,
            "--model.null_threshold", "null")


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


def predict(folder, file, *arguments):
    """The folder of a new run that predicts."""
    root = pathlib.Path(tempfile.mkdtemp(dir=folder))
    output = tiny_bert.run("predict", "--data.predict_file", file, "--trainer.default_root_dir", root,
                           *arguments)
    (path,) = root.glob("lightning_logs/*/predictions.json")
    for name in ("config.yaml", "environment.json"):
        assert (path.parent / name).exists(), f"{name} is missing beside predictions.json"
    for name in PREDICTION_FILES:
        assert str(path.with_name(name)) in output, f"predict doesn't name {name}:\n{output}"
    return path.parent


def read_json(path):
    return json.loads(path.read_text(encoding="utf-8"))


def predictions(folder, checkpoint, file, *arguments):
    """The predictions.json of a new run."""
    run = predict(folder, file, "--ckpt_path", checkpoint, *arguments)
    return read_json(run / "predictions.json")


def score(output, name):
    found = re.search(rf"^{name} +([\d.]+)", output, re.M)
    assert found, f"{name} isn't printed:\n{output}"
    return found[1]


def ask(checkpoint, passage, question):
    return tiny_bert.run("ask", "--ckpt_path", checkpoint, "--context-file", passage, "--question",
                         question)


# ---- the same with transformers
def export(source, target):
    """A folder that `export` made, as transformers opens it."""
    tiny_bert.run("export", *source, "--output", target)
    model, report = AutoModelForQuestionAnswering.from_pretrained(target, output_loading_info=True)
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        assert not report[kind], f"transformers has {kind}: {report[kind]}"
    return model.eval(), AutoTokenizer.from_pretrained(target)


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


def scored_windows(model, tokenizer, question, context):
    """Start and end logits of each window, its offsets and the positions of its context tokens."""
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
    for i in range(len(encoded["input_ids"])):
        inside = [t for t, sequence in enumerate(encoded.sequence_ids(i)) if sequence == 1]
        yield (output.start_logits[i].numpy(), output.end_logits[i].numpy(),
               encoded["offset_mapping"][i].tolist(), inside)


def n_best(windows, context, with_none):
    """(start logit, end logit, text) of the n best answers, best first, and of all candidates; how much
    better "no answer" is than the best one."""
    spans, none = [], None
    for starts, ends, offsets, inside in windows:
        if none is None or starts[0] + ends[0] < none[0] + none[1]:
            none = (starts[0], ends[0], "")
        for first in sorted(inside, key=lambda t: -starts[t])[:N_BEST]:
            for last in sorted(inside, key=lambda t: -ends[t])[:N_BEST]:
                if first <= last < first + MAX_ANSWER_LENGTH:
                    text = context[offsets[first][0] : offsets[last][1]]
                    spans.append((starts[first], ends[last], text))
    odds = none[0] + none[1] - max(start + end for start, end, _ in spans)
    everything = [*spans, none] if with_none else spans
    best = sorted(everything, key=lambda span: -(span[0] + span[1]))[:N_BEST]
    if with_none and none not in best:
        best.append(none)
    return best, everything, odds


def check_n_best(answers, expected, candidates):
    assert len(answers) == len(expected)
    scores = np.array([start + end for start, end, _ in expected], dtype=np.float64)
    weights = np.exp(scores - scores.max())
    for answer, score, weight in zip(answers, scores, weights / weights.sum()):
        assert list(answer) == ["text", "probability", "start_logit", "end_logit"]
        assert answer["start_logit"] + answer["end_logit"] == pytest.approx(score, abs=1e-3)
        assert answer["probability"] == pytest.approx(weight, abs=1e-3)
        assert any(answer["text"] == text and abs(answer["start_logit"] - start) < 1e-3
                   and abs(answer["end_logit"] - end) < 1e-3 for start, end, text in candidates), answer


def check_answers(model, tokenizer, questions, answers):
    assert list(answers) == [key for key, _, _ in questions], (
        "predictions.json doesn't have the questions' ids in their order")
    for key, question, context in questions:
        windows = scored_windows(model, tokenizer, question, context)
        (best, *_), spans, _ = n_best(windows, context, with_none=False)
        # Those whose score is nearly the best one's.
        allowed = {text for start, end, text in spans if start + end >= best[0] + best[1] - 1e-3}
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


@pytest.fixture(scope="module")
def exported(trained):
    """The folder that `export` makes of the checkpoint, and what transformers makes of it."""
    target = trained.folder / "exported"
    return target, *export(("--ckpt_path", trained.checkpoint), target)


def test_transformers_gives_the_same(trained, exported):
    target, model, tokenizer = exported
    check_answers(model, tokenizer, trained.questions, trained.answers)
    without_dropout = trained.folder / "without_dropout"
    shutil.copytree(target, without_dropout)
    check_logits(trained.folder, without_dropout, model, tokenizer, trained.questions)


def test_n_best_answers_are_those_of_transformers(trained, exported):
    _, model, tokenizer = exported
    for threshold in ("null", 0.0, -3.5):
        run = predict(trained.folder, trained.folder / "bare.json", "--ckpt_path", trained.checkpoint,
                      "--model.null_threshold", threshold)
        answers, best, odds = (read_json(run / name) for name in PREDICTION_FILES)
        ids = [key for key, _, _ in trained.questions]
        assert list(answers) == list(best) == list(odds) == ids
        for key, question, context in trained.questions:
            windows = scored_windows(model, tokenizer, question, context)
            expected, candidates, null_odds = n_best(windows, context, threshold != "null")
            check_n_best(best[key], expected, candidates)
            assert odds[key] == pytest.approx(null_odds, abs=1e-3)
            none = threshold != "null" and odds[key] > threshold
            span = next(answer["text"] for answer in best[key] if answer["text"])
            assert answers[key] == ("" if none else span)


def test_an_exported_folder_predicts_the_same(trained, exported):
    target, _, _ = exported
    bare = trained.folder / "bare.json"
    checkpoint = predict(trained.folder, bare, "--ckpt_path", trained.checkpoint)
    # Any command but fit takes a model folder by either option.
    for option in ("--model.pretrained", "--ckpt_path"):
        folder = predict(trained.folder, bare, option, target, *SETTINGS)
        for name in PREDICTION_FILES:
            assert (folder / name).read_bytes() == (checkpoint / name).read_bytes(), name
        answer = tiny_bert.run("ask", option, target, "--context-file", trained.passage, "--question",
                               trained.questions[0][1], *SETTINGS)
        assert answer == trained.first_answer
    error = tiny_bert.run("fit", "--ckpt_path", target, expect=2)
    assert f"HINT: --model.pretrained {target}" in error
    error = tiny_bert.run("ask", "--model.pretrained", trained.checkpoint, "--context-file",
                          trained.passage, "--question", "Who?", expect=2)
    assert f"--ckpt_path {trained.checkpoint}" in error
    error = tiny_bert.run("export", "--ckpt_path", trained.checkpoint, "--output", target, expect=2)
    assert f"output {target} is a folder with files in it" in error
    # A checkpoint has its own model: another one beside it is an error, whether it is there or not.
    for command in ("validate", "test", "predict", "ask", "export"):
        for source in (target, "/nowhere/model"):
            error = tiny_bert.run(command, "--ckpt_path", trained.checkpoint, "--model.pretrained",
                                  source, expect=2)
            assert f"ckpt_path is {trained.checkpoint} and model.pretrained is {source}" in error
            assert "take either" in error
    config = trained.folder / "other.yaml"
    config.write_text("model: {pretrained: /nowhere/model}\n")
    error = tiny_bert.run("export", "--config", config, "--ckpt_path", trained.checkpoint, expect=2)
    assert "take either" in error
    own = (trained.checkpoint / "config.yaml", "--print_config")
    shown = tiny_bert.run("export", "--ckpt_path", trained.checkpoint, "--config", *own)
    assert f"pretrained: {trained.folder / 'model'}" in shown
    error = tiny_bert.run("export", "--ckpt_path", trained.checkpoint / "manifest.json", expect=1)
    assert f"HINT: give the folder above it, {trained.checkpoint}." in error
    # A training that resumes keeps the source of its model.
    shown = tiny_bert.run("fit", "--ckpt_path", trained.checkpoint, "--model.pretrained",
                          "/nowhere/model", "--print_config")
    assert f"pretrained: {trained.folder / 'model'}" in shown
    # A folder of the field's own tools is a source, too.
    again = trained.folder / "exported_again"
    export(("--model.pretrained", target), again)
    for path in target.iterdir():
        assert (again / path.name).read_bytes() == path.read_bytes(), path.name


def test_export_of_a_model_with_tokenizer_json_alone(trained, exported):
    """As transformers 5 saves it: the checkpoint carries it along."""
    _, model, tokenizer = exported
    source = trained.folder / "today"
    model.save_pretrained(source)
    tokenizer.save_pretrained(source)
    assert (source / "tokenizer.json").exists() and not (source / "vocab.txt").exists()
    tiny_bert.run("fit", "--model.pretrained", source, "--data.train_file", trained.folder / "train.json",
                  *SETTINGS, "--trainer.max_steps", 1, "--trainer.default_root_dir",
                  trained.folder / "today_runs")
    (last,) = trained.folder.glob("today_runs/lightning_logs/*/checkpoints/last.ckpt")
    target = trained.folder / "today_exported"
    _, own = export(("--ckpt_path", last), target)
    assert (target / "tokenizer.json").read_bytes() == (source / "tokenizer.json").read_bytes()
    for _, question, context in trained.questions:
        assert own(question, context)["input_ids"] == tokenizer(question, context)["input_ids"]
    bare = trained.folder / "bare.json"
    runs = [predict(trained.folder, bare, "--ckpt_path", last),
            predict(trained.folder, bare, "--model.pretrained", target, *SETTINGS)]
    for name in PREDICTION_FILES:
        one, other = ((run / name).read_bytes() for run in runs)
        assert one == other, name


def test_what_ask_refuses(trained):
    def error(context_file, question="Who?", expect=1):
        return tiny_bert.run("ask", "--ckpt_path", trained.checkpoint, "--context_file", context_file,
                             "--question", question, expect=expect)

    def file(name, content):
        path = trained.folder / name
        path.write_bytes(content)
        return path

    assert "No such file" in error(trained.folder / "none.txt")
    assert "HINT: give a file" in error(file("blank.txt", b" \n\t\n"), expect=2)
    assert "byte 4 (0xe9)" in error(file("latin.txt", b"The \xe9"))
    assert "question is empty" in error(trained.passage, "  ", expect=2)
    assert "is a folder" in error(trained.folder)


def test_ask_writes_the_answer_alone_to_stdout(trained):
    """Also for a question that is cut and a text of many windows."""
    text = trained.folder / "long.txt"
    text.write_text(" ".join(context for _, _, context in trained.questions), encoding="utf-8")
    command = [support.bin_dir() / "bert_squad", "ask", "--ckpt_path", trained.checkpoint,
               "--context_file", text, "--question", "who is it " * 60]
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    assert re.fullmatch(r"[^\n]*\n  score [^\n]*\n", result.stdout), result.stdout
    assert re.search(r"question has \d+ tokens, only the first \d+ are used", result.stderr)
    assert "windows" not in result.stderr

    # The same with a terminal: progress, cleared at the end, on stderr.
    terminal, end = pty.openpty()
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=end, text=True)
    os.close(end)
    shown = b""
    while True:
        try:
            part = os.read(terminal, 4096)
        except OSError:
            break
        if not part:
            break
        shown += part
    os.close(terminal)
    assert process.communicate()[0] == result.stdout
    assert re.search(rb"ask: 32 of \d+ windows", shown), shown
    assert shown.endswith(b"\r\x1b[K"), shown


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
