"""Broken input of every kind: one clear message, a non-zero exit, and nothing lost.

Each case runs a program and expects exit code 1 or 2, exactly one line that begins with "error:",
the given words in it or in the lines that belong to it, and no C++ backtrace. In the end the
checkpoint that was there before all of it still loads.
"""

import gzip
import json
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile

import numpy
import support
from safetensors.numpy import save_file

SAMPLE = support.bin_dir() / "sample_li"
BERT = support.bin_dir() / "bert_squad"


def run(program, *arguments, cwd=None):
    return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True,
                          timeout=120, cwd=cwd)


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


# ---- a tiny BERT and a tiny SQuAD file

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "who", "what", "the", "cat", "sat", "?"]
BERT_CONFIG = {
    "model_type": "bert", "vocab_size": len(VOCABULARY), "hidden_size": 8, "num_hidden_layers": 1,
    "num_attention_heads": 2, "intermediate_size": 16, "max_position_embeddings": 64,
    "type_vocab_size": 2, "hidden_act": "gelu", "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0, "layer_norm_eps": 1e-12, "initializer_range": 0.02,
    "pad_token_id": 0, "position_embedding_type": "absolute",
}


def bert_weights():
    hidden, inner = 8, 16
    shapes = {
        "embeddings.word_embeddings.weight": (len(VOCABULARY), hidden),
        "embeddings.position_embeddings.weight": (64, hidden),
        "embeddings.token_type_embeddings.weight": (2, hidden),
    }
    layer = "encoder.layer.0."
    for name in ("attention.self.query", "attention.self.key", "attention.self.value",
                 "attention.output.dense"):
        shapes[layer + name + ".weight"] = (hidden, hidden)
        shapes[layer + name + ".bias"] = (hidden,)
    shapes[layer + "intermediate.dense.weight"] = (inner, hidden)
    shapes[layer + "intermediate.dense.bias"] = (inner,)
    shapes[layer + "output.dense.weight"] = (hidden, inner)
    shapes[layer + "output.dense.bias"] = (hidden,)
    for name in ("embeddings.LayerNorm", layer + "attention.output.LayerNorm",
                 layer + "output.LayerNorm"):
        shapes[name + ".weight"] = shapes[name + ".bias"] = (hidden,)
    random = numpy.random.default_rng(0)
    return {name: random.normal(0, 0.1, shape).astype(numpy.float32)
            for name, shape in shapes.items()}


def make_bert(folder, config=None, vocabulary=None):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({**BERT_CONFIG, **(config or {})}))
    (folder / "vocab.txt").write_text("\n".join(vocabulary or VOCABULARY) + "\n")
    save_file(bert_weights(), folder / "model.safetensors")
    return folder


def squad(start=8, text="sat", **changes):
    question = {"id": "q1", "question": "what?", "is_impossible": False,
                "answers": [{"text": text, "answer_start": start}], **changes}
    return {"version": "v2.0", "data": [{"title": "Cats", "paragraphs": [
        {"context": "the cat sat", "qas": [question] * 1}]}]}


class Table:
    """The cases, with what they share."""

    def __init__(self, folder):
        self.folder = folder
        self.count = 0
        self.failures = []
        self.root = folder / "root"
        self.squad = write(folder / "squad.json", json.dumps(squad()))
        self.bert = make_bert(folder / "bert")
        good = run(SAMPLE, "fit", "--trainer.max_steps", 2, "--trainer.default_root_dir", self.root,
                   "--trainer.accelerator", "cpu")
        if good.returncode != 0:
            sys.exit(f"the run before all others failed:\n{good.stderr}")
        self.checkpoint = (self.root / "lightning_logs/version_0/checkpoints/last.ckpt").resolve()

    def check(self, name, program, arguments, *words):
        self.count += 1
        result = run(program, *arguments)
        text = result.stderr
        errors = [line for line in text.splitlines() if line.startswith("error:")]
        problems = []
        if result.returncode not in (1, 2):
            problems.append(f"exit code {result.returncode}")
        if len(errors) != 1:
            problems.append(f"{len(errors)} lines begin with 'error:'")
        message = text[text.find("error:"):]
        problems += [f"no '{word}'" for word in words if word not in message]
        problems += [f"'{bad}' in it" for bad in ("frame #", "terminate called", "what():")
                     if bad in text]
        if problems:
            self.failures.append(f"{name}: {', '.join(problems)}\n{text[-1500:]}")

    def sample(self, name, arguments, *words, command="fit"):
        self.check(name, SAMPLE, [command, "--trainer.accelerator", "cpu", "--trainer.max_steps", 2,
                                  "--trainer.default_root_dir", self.root, *arguments], *words)

    def yaml(self, name, text, *words):
        path = write(self.folder / "configs" / f"{self.count}.yaml", text)
        self.check(name, SAMPLE, ["fit", "--config", path, "--trainer.default_root_dir", self.root],
                   *words)

    def bert_fit(self, name, *words, bert=None, train=None, arguments=()):
        self.check(name, BERT, [
            "fit", "--trainer.accelerator", "cpu", "--trainer.max_steps", 1,
            "--trainer.default_root_dir", self.root, "--data.max_seq_length", 32,
            "--data.doc_stride", 4, "--model.pretrained", bert or self.bert,
            "--data.train_file", train or self.squad, *arguments], *words)

    def squad_file(self, name, content, *words):
        text = content if isinstance(content, str) else json.dumps(content)
        path = write(self.folder / "squads" / f"{self.count}.json", text)
        self.bert_fit(name, str(path), *words, train=path)

    def damaged_checkpoint(self, name, damage, *words):
        copy = self.folder / f"damaged{self.count}.ckpt"
        shutil.copytree(self.checkpoint, copy)
        damage(copy)
        self.sample(name, ["--ckpt_path", copy], *words)


def config_cases(table):
    table.yaml("misspelt key", "trainer:\n  max_epoch: 2\n", ".yaml:2", "trainer.max_epoch",
               "trainer.max_epochs")
    table.yaml("unknown section", "trainner:\n  max_epochs: 2\n", "trainner", "trainer")
    table.yaml("text for a number", "trainer: {max_epochs: two}\n", "max_epochs", "two", "integer")
    table.yaml("decimal for an integer", "trainer: {max_epochs: 1.5}\n", "max_epochs", "1.5")
    table.yaml("yes for a bool", "trainer: {deterministic: yes}\n", "deterministic", "yes")
    table.yaml("unknown precision", "trainer: {precision: bf17}\n", "precision", "bf17",
               "bf16-mixed")
    table.yaml("syntax error", "trainer: {max_epochs: 2\n", ".yaml:")
    table.yaml("duplicate key", "trainer: {max_epochs: 2}\ntrainer: {max_epochs: 3}\n", "trainer")
    table.yaml("unknown callback", "trainer: {callbacks: [{class_path: EarlyStoping}]}\n",
               "EarlyStoping", "EarlyStopping")
    table.yaml("misspelt init_args", "trainer:\n  callbacks:\n    - class_path: EarlyStopping\n"
               "      init_args: {monitr: x}\n", "monitr", "monitor")
    table.yaml("no monitor", "trainer: {callbacks: [{class_path: EarlyStopping}]}\n",
               "EarlyStopping", "monitor")
    table.yaml("broken file name template", "trainer:\n  callbacks:\n    - class_path: "
               "ModelCheckpoint\n      init_args: {filename: '{epoch'}\n", "{epoch", "HINT")
    table.sample("no such config", ["--config", table.folder / "none.yaml"], "none.yaml")
    table.sample("config is a folder", ["--config", table.folder], str(table.folder))
    table.sample("misspelt option", ["--trainer.max_epoch", 2], "max_epoch", "max_epochs")
    table.check("unknown command", SAMPLE, ["fitt"], "fitt", "fit")
    table.check("option without a value", SAMPLE, ["fit", "--trainer.max_epochs"], "max_epochs")


def option_cases(table):
    for option, value in (
            ("accumulate_grad_batches", 0), ("gradient_clip_val", -1.0), ("devices", 0),
            ("num_nodes", 2), ("accelerator", "tpu"), ("limit_train_batches", 2.5),
            ("limit_train_batches", 0.00001), ("val_check_interval", 100000), ("max_epochs", -7),
            ("log_every_n_steps", -1)):
        table.sample(f"{option} {value}", [f"--trainer.{option}", value], option)
    for strategy in ("fsdp", "deepspeed_stage_2"):
        table.sample(f"strategy {strategy}", ["--trainer.strategy", strategy],
                     f'strategy is "{strategy}"', "aren't there yet", "HINT: use ddp")
    table.sample("batch size 0", ["--data.batch_size", 0], "batch_size")
    table.sample("negative workers", ["--data.num_workers", -1], "num_workers")
    table.sample("a monitor that nobody logs", ["--trainer.callbacks", "[{class_path: EarlyStopping,"
                 " init_args: {monitor: val_los}}]", "--trainer.limit_train_batches", 2],
                 "val_los", "val_loss")
    table.sample("a loss that explodes", ["--model.learning_rate", 1e30, "--trainer.max_steps", 40],
                 "not finite at step", "HINT")


def checkpoint_cases(table):
    def flip(folder):
        path = folder / "model.safetensors"
        data = bytearray(path.read_bytes())
        data[-5] ^= 1
        path.write_bytes(data)

    def truncate(name):
        def damage(folder):
            path = folder / name
            path.write_bytes(path.read_bytes()[:-10])
        return damage

    table.sample("no such checkpoint", ["--ckpt_path", table.folder / "none.ckpt"], "none.ckpt")
    table.sample("no last checkpoint", ["--ckpt_path", "last", "--trainer.default_root_dir",
                                        table.folder / "empty"], "last", "HINT")
    table.damaged_checkpoint("a flipped bit", flip, "model.safetensors")
    table.damaged_checkpoint("a truncated file", truncate("state.json"), "state.json")
    table.damaged_checkpoint("no manifest", lambda f: (f / "manifest.json").unlink(),
                             "manifest.json")
    table.damaged_checkpoint("a file is missing", lambda f: (f / "state.safetensors").unlink(),
                             "state.safetensors")
    table.check("another model's checkpoint", BERT, [
        "validate", "--ckpt_path", table.checkpoint, "--data.val_file", table.squad,
        "--model.pretrained", table.bert], "error")


def data_cases(table):
    mnist = table.folder / "mnist"
    pixels = struct.pack(">iiii", 0x803, 4, 28, 28) + bytes(4 * 784)
    labels = struct.pack(">ii", 0x801, 4) + bytes(4)

    def files(images, zipped=False):
        shutil.rmtree(mnist, ignore_errors=True)
        mnist.mkdir()
        ending = ".gz" if zipped else ""
        (mnist / ("train-images-idx3-ubyte" + ending)).write_bytes(images)
        (mnist / "train-labels-idx1-ubyte").write_bytes(labels)
        return ["--data.data_dir", mnist]

    table.sample("no MNIST there", ["--data.data_dir", table.folder / "nowhere"], "nowhere", "HINT")
    table.sample("truncated IDX", files(pixels[:-1]), "train-images")
    table.sample("trailing bytes", files(pixels + b"x"), "train-images")
    table.sample("wrong magic", files(b"\0\0\7\3" + pixels[4:]), "train-images")
    table.sample("damaged gzip", files(gzip.compress(pixels)[:-9], zipped=True), "train-images")
    blocked = write(table.folder / "file", "not a folder")
    table.sample("a run below a file", ["--trainer.default_root_dir", blocked], str(blocked))
    table.sample("a full disk", ["--trainer.logger", "[{class_path: CSVLogger, init_args: "
                                 "{dir: /dev, file: full}}]", "--trainer.log_every_n_steps", 1],
                 "/dev/full")


def bert_cases(table):
    folder = table.folder / "berts"
    table.bert_fit("no such model folder", "nowhere", bert=folder / "nowhere")
    table.bert_fit("another model type", "roberta",
                   bert=make_bert(folder / "type", {"model_type": "roberta"}))
    table.bert_fit("unknown activation", "swish",
                   bert=make_bert(folder / "act", {"hidden_act": "swish"}))
    table.bert_fit("relative positions", "relative_key", bert=make_bert(
        folder / "position", {"position_embedding_type": "relative_key"}))
    table.bert_fit("weights of other shapes", "word_embeddings", bert=make_bert(
        folder / "shape", {"hidden_size": 16}))
    table.bert_fit("vocabulary without [CLS]", "[CLS]", bert=make_bert(
        folder / "cls", vocabulary=[t for t in VOCABULARY if t != "[CLS]"]))
    table.bert_fit("a token twice", "cat", bert=make_bert(
        folder / "twice", vocabulary=VOCABULARY[:-1] + ["cat"]))
    key = make_bert(folder / "key")
    (key / "config.json").write_text(json.dumps(
        {k: v for k, v in BERT_CONFIG.items() if k != "hidden_size"}))
    table.bert_fit("config without a key", "hidden_size", bert=key)
    short = make_bert(folder / "short")
    weights = (short / "model.safetensors").read_bytes()
    (short / "model.safetensors").write_bytes(weights[:-20])
    table.bert_fit("truncated weights", "model.safetensors", bert=short)
    (short / "model.safetensors").write_bytes(struct.pack("<Q", 1 << 40) + weights[8:])
    table.bert_fit("a lying header", "model.safetensors", bert=short)
    (short / "model.safetensors").rename(short / "pytorch_model.bin")
    table.bert_fit("pickled weights only", "pytorch_model.bin", "HINT", bert=short)
    table.bert_fit("too long a window", "max_seq_length", "64",
                   arguments=["--data.max_seq_length", 128])
    table.bert_fit("stride as long as the window", "doc_stride", "HINT",
                   arguments=["--data.doc_stride", 31])
    table.check("no training file", BERT, ["fit", "--model.pretrained", table.bert,
                                           "--trainer.default_root_dir", table.root], "train_file")
    table.check("no model", BERT, ["fit", "--data.train_file", table.squad], "model.pretrained",
                "HINT")
    table.check("ask without a checkpoint", BERT, ["ask", "--question", "x?", "--context_file",
                                                   table.squad], "ckpt_path")
    table.squad_file("damaged JSON", json.dumps(squad())[:-9])
    table.squad_file("an answer elsewhere", squad(start=1), "q1", "Cats", "sat")
    table.squad_file("a key is missing", squad(question=None), "q1", "question")
    table.squad_file("no data", {"version": "v2.0"}, "data")
    table.squad_file("no questions", {"version": "v2.0", "data": []}, "HINT")


def main():
    with tempfile.TemporaryDirectory() as name:
        table = Table(pathlib.Path(name))
        for cases in (config_cases, option_cases, checkpoint_cases, data_cases, bert_cases):
            cases(table)
        again = run(SAMPLE, "validate", "--ckpt_path", table.checkpoint, "--trainer.accelerator",
                    "cpu", "--trainer.default_root_dir", table.root)
        if again.returncode != 0:
            table.failures.append(f"the first checkpoint no longer loads:\n{again.stderr}")
        assert table.count >= 40, table.count
        print(f"{table.count} broken inputs, {len(table.failures)} failures")
        if table.failures:
            sys.exit("\n".join(table.failures))


if __name__ == "__main__":
    main()
