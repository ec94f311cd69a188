"""Broken input of every kind: one clear message, a non-zero exit, and nothing lost.

Result.check_error() says what is expected of each. In the end the checkpoint that was there before
all of it still loads.
"""

import gzip
import json
import os
import shutil
import struct

import numpy
import pytest
from safetensors.numpy import save_file
from support import Program, cases

SAMPLE = Program("sample_li")
BERT = Program("bert_squad")


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
        {"context": "the cat sat", "qas": [question]}]}]}


class World:
    """What the cases share."""

    def __init__(self, folder):
        self.folder = folder
        self.root = folder / "root"
        self.squad = write(folder / "squad.json", json.dumps(squad()))
        self.bert = make_bert(folder / "bert")
        SAMPLE("fit", "--trainer.max_steps", 2, "--trainer.default_root_dir", self.root,
               "--trainer.accelerator", "cpu")
        self.checkpoint = (self.root / "lightning_logs/version_0/checkpoints/last.ckpt").resolve()

    def sample(self, arguments, *words):
        """sample_li fit with such arguments must fail with these words."""
        SAMPLE.fail("fit", "--trainer.accelerator", "cpu", "--trainer.max_steps", 2,
                    "--trainer.default_root_dir", self.root, *arguments).check_error(*words)

    def bert_fit(self, *words, bert=None, train=None, arguments=()):
        BERT.fail(
            "fit", "--trainer.accelerator", "cpu", "--trainer.max_steps", 1,
            "--trainer.default_root_dir", self.root, "--data.max_seq_length", 32,
            "--data.doc_stride", 4, "--model.pretrained", bert or self.bert,
            "--data.train_file", train or self.squad, *arguments).check_error(*words)


@pytest.fixture(scope="module")
def world(work):
    return World(work)


# ---- config files and options

@pytest.mark.parametrize(("text", "words"), cases({
    "misspelt key": ("trainer:\n  max_epoch: 2\n",
                     (".yaml:2", "trainer.max_epoch", "trainer.max_epochs")),
    "unknown section": ("trainner:\n  max_epochs: 2\n", ("trainner", "trainer")),
    "text for a number": ("trainer: {max_epochs: two}\n", ("max_epochs", "two", "integer")),
    "decimal for an integer": ("trainer: {max_epochs: 1.5}\n", ("max_epochs", "1.5")),
    "yes for a bool": ("trainer: {deterministic: yes}\n", ("deterministic", "yes")),
    "unknown precision": ("trainer: {precision: bf17}\n", ("precision", "bf17", "bf16-mixed")),
    "syntax error": ("trainer: {max_epochs: 2\n", (".yaml:",)),
    "duplicate key": ("trainer: {max_epochs: 2}\ntrainer: {max_epochs: 3}\n", ("trainer",)),
    "unknown callback": ("trainer: {callbacks: [{class_path: EarlyStoping}]}\n",
                         ("EarlyStoping", "EarlyStopping")),
    "misspelt init_args": ("trainer:\n  callbacks:\n    - class_path: EarlyStopping\n"
                           "      init_args: {monitr: x}\n", ("monitr", "monitor")),
    "no monitor": ("trainer: {callbacks: [{class_path: EarlyStopping}]}\n",
                   ("EarlyStopping", "monitor")),
    "broken file name template": ("trainer:\n  callbacks:\n    - class_path: ModelCheckpoint\n"
                                  "      init_args: {filename: '{epoch'}\n", ("{epoch", "HINT")),
}, exhaustive=("decimal for an integer", "yes for a bool", "no monitor")))
def test_config_file(text, words, world, tmp_path):
    path = write(tmp_path / "config.yaml", text)
    SAMPLE.fail("fit", "--config", path, "--trainer.default_root_dir",
                world.root).check_error(*words)


def test_config_that_is_no_file(world):
    world.sample(["--config", world.folder / "none.yaml"], "none.yaml")
    world.sample(["--config", world.folder], str(world.folder))


@pytest.mark.parametrize(("arguments", "words"), cases({
    "misspelt option": (["fit", "--trainer.max_epoch", 2], ("max_epoch", "max_epochs")),
    "unknown command": (["fitt"], ("fitt", "fit")),
    "option without a value": (["fit", "--trainer.max_epochs"], ("max_epochs",)),
}))
def test_command_line(arguments, words):
    SAMPLE.fail(*arguments).check_error(*words)


@pytest.mark.parametrize(("option", "value"), cases({
    f"{option} {value}": (option, value) for option, value in (
        ("accumulate_grad_batches", 0), ("gradient_clip_val", -1.0), ("devices", 0),
        ("num_nodes", 2), ("accelerator", "tpu"), ("limit_train_batches", 2.5),
        ("limit_train_batches", 0.00001), ("val_check_interval", 100000), ("max_epochs", -7),
        ("log_every_n_steps", -1))
}, exhaustive=("gradient_clip_val -1.0", "limit_train_batches 2.5", "max_epochs -7",
               "log_every_n_steps -1")))
def test_option_of_the_trainer(option, value, world):
    world.sample([f"--trainer.{option}", value], option)


@pytest.mark.parametrize("strategy", ["fsdp", "deepspeed_stage_2"])
def test_strategy_to_come(strategy, world):
    world.sample(["--trainer.strategy", strategy], f'unknown strategy "{strategy}"',
                 "command line (--trainer.strategy)", "expected one of ddp")


@pytest.mark.parametrize(("arguments", "words"), cases({
    "batch size 0": (["--data.batch_size", 0], ("batch_size",)),
    "negative workers": (["--data.num_workers", -1], ("num_workers",)),
    "a monitor that isn't logged": (
        ["--trainer.callbacks", "[{class_path: EarlyStopping, init_args: {monitor: val_los}}]",
         "--trainer.limit_train_batches", 2], ("val_los", "val_loss")),
    "a loss that explodes": (["--model.learning_rate", 1e30, "--trainer.max_steps", 40],
                             ("not finite at step", "HINT")),
    "a full disk": (["--trainer.logger", "[{class_path: CSVLogger, init_args: {dir: /dev, "
                     "file: full}}]", "--trainer.log_every_n_steps", 1], ("/dev/full",)),
}, exhaustive=("negative workers",)))
def test_training_that_cannot_be(arguments, words, world):
    world.sample(arguments, *words)


def test_run_below_a_file(world):
    blocked = write(world.folder / "file", "not a folder")
    world.sample(["--trainer.default_root_dir", blocked], str(blocked))


# ---- checkpoints

def test_missing_checkpoint(world):
    world.sample(["--ckpt_path", world.folder / "none.ckpt"], "none.ckpt")
    world.sample(["--ckpt_path", "last", "--trainer.default_root_dir", world.folder / "empty"],
                 "last", "HINT")


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(("name", "damage"), cases({
    "a flipped bit": ("model.safetensors", flip_a_bit),
    "a truncated file": ("state.json", lambda path: path.write_bytes(path.read_bytes()[:-10])),
    "no manifest": ("manifest.json", lambda path: path.unlink()),
    "a file is missing": ("state.safetensors", lambda path: path.unlink()),
}))
def test_damaged_checkpoint(name, damage, world, tmp_path):
    copy = tmp_path / "damaged.ckpt"
    shutil.copytree(world.checkpoint, copy)
    damage(copy / name)
    world.sample(["--ckpt_path", copy], name)


def test_checkpoint_of_another_model(world):
    BERT.fail("validate", "--ckpt_path", world.checkpoint, "--data.val_file", world.squad,
              "--model.pretrained", world.bert).check_error()


# ---- data

PIXELS = struct.pack(">iiii", 0x803, 4, 28, 28) + bytes(4 * 784)
LABELS = struct.pack(">ii", 0x801, 4) + bytes(4)


@pytest.mark.parametrize(("images", "ending"), cases({
    "truncated": (PIXELS[:-1], ""),
    "trailing bytes": (PIXELS + b"x", ""),
    "wrong magic number": (b"\0\0\7\3" + PIXELS[4:], ""),
    "damaged gzip": (gzip.compress(PIXELS)[:-9], ".gz"),
}))
def test_images(images, ending, world, tmp_path):
    (tmp_path / f"train-images-idx3-ubyte{ending}").write_bytes(images)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(LABELS)
    world.sample(["--data.data_dir", tmp_path], "train-images")


def test_missing_images(world):
    world.sample(["--data.data_dir", world.folder / "nowhere"], "nowhere", "HINT")


# ---- BERT and SQuAD

@pytest.mark.parametrize(("config", "word"), cases({
    "another model type": ({"model_type": "roberta"}, "roberta"),
    "unknown activation": ({"hidden_act": "swish"}, "swish"),
    "relative positions": ({"position_embedding_type": "relative_key"}, "relative_key"),
    "weights of other shapes": ({"hidden_size": 16}, "word_embeddings"),
}, exhaustive=("unknown activation", "relative positions")))
def test_model_config(config, word, world, tmp_path):
    world.bert_fit(word, bert=make_bert(tmp_path / "bert", config))


def test_model_config_without_a_key(world, tmp_path):
    folder = make_bert(tmp_path / "bert")
    (folder / "config.json").write_text(json.dumps(
        {k: v for k, v in BERT_CONFIG.items() if k != "hidden_size"}))
    world.bert_fit("hidden_size", bert=folder)


@pytest.mark.parametrize(("vocabulary", "word"), cases({
    "without [CLS]": ([t for t in VOCABULARY if t != "[CLS]"], "[CLS]"),
    "a token twice": (VOCABULARY[:-1] + ["cat"], "cat"),
}))
def test_vocabulary(vocabulary, word, world, tmp_path):
    world.bert_fit(word, bert=make_bert(tmp_path / "bert", vocabulary=vocabulary))


def test_weights(world, tmp_path):
    world.bert_fit("nowhere", bert=tmp_path / "nowhere")
    folder = make_bert(tmp_path / "bert")
    file = folder / "model.safetensors"
    weights = file.read_bytes()
    file.write_bytes(weights[:-20])
    world.bert_fit("model.safetensors", bert=folder)
    # A header that claims to be larger than the file.
    file.write_bytes(struct.pack("<Q", 1 << 40) + weights[8:])
    world.bert_fit("model.safetensors", bert=folder)
    file.rename(folder / "pytorch_model.bin")
    world.bert_fit("pytorch_model.bin", "HINT", bert=folder)


def test_windows(world):
    world.bert_fit("max_seq_length", "64", arguments=["--data.max_seq_length", 128])
    world.bert_fit("doc_stride", "HINT", arguments=["--data.doc_stride", 31])


def test_missing_options_of_bert(world):
    BERT.fail("fit", "--model.pretrained", world.bert, "--trainer.default_root_dir",
              world.root).check_error("train_file")
    BERT.fail("fit", "--data.train_file", world.squad).check_error("model.pretrained", "HINT")
    BERT.fail("ask", "--question", "x?", "--context_file", world.squad).check_error("ckpt_path")


@pytest.mark.parametrize(("content", "words"), cases({
    "damaged JSON": (json.dumps(squad())[:-9], ()),
    "an answer elsewhere": (squad(start=1), ("q1", "Cats", "sat")),
    "a key is missing": (squad(question=None), ("q1", "question")),
    "no data": ({"version": "v2.0"}, ("data",)),
    "no questions": ({"version": "v2.0", "data": []}, ("HINT",)),
    "Latin-1": (json.dumps(squad()).replace("what", "wh\xe9t").encode("latin-1"), ("byte", "0xe9")),
    "UTF-16": (json.dumps(squad()).encode("utf-16"), ("UTF-16", "HINT")),
    "UTF-16 without a mark": (json.dumps(squad()).encode("utf-16-le"), ("byte 1", "UTF-16LE")),
    "a NUL": (json.dumps(squad()).replace("what", "\0").encode(), ("byte", "NUL")),
    "a cut character": (json.dumps(squad()).encode() + b"\xe6\x97", ("ends within a character",)),
    "a NUL in an id": (squad(id="a\0b\x1b", answers=5), (r"a\x00b\x1b",)),
    "depth": (b'{"data": ' + 100000 * b"[", ("nested",)),
}))
def test_questions(content, words, world, tmp_path):
    if not isinstance(content, bytes):
        content = (content if isinstance(content, str) else json.dumps(content)).encode()
    path = tmp_path / "squad.json"
    path.write_bytes(content)
    world.bert_fit(str(path), *words, train=path)


def test_a_passage_in_another_encoding(world, tmp_path):
    path = tmp_path / "passage.txt"
    for content, words in ((b"cat\nsat \xe9", ("byte 8 (0xe9) in line 2",)),
                           ("the cat".encode("utf-16"), ("UTF-16",))):
        path.write_bytes(content)
        BERT.fail("ask", "--model.pretrained", world.bert, "--question", "x?", "--context_file",
                  path).check_error(str(path), *words)


def test_messages_about_other_bytes_are_utf8(world, tmp_path):
    """A name that isn't UTF-8, and such values in a config file, a vocabulary and JSON."""
    world.bert_fit(r"\xe9.json", train=os.fsdecode(os.fsencode(tmp_path) + b"/\xe9.json"))
    config = tmp_path / "c.yaml"
    config.write_bytes(b"trainer: {max_epochs: caf\xe9}\n")
    world.sample(["--config", config], r"caf\xe9", "max_epochs")
    folder = make_bert(tmp_path / "bert")
    (folder / "vocab.txt").write_bytes(b"[PAD]\n[UNK]\n[CLS]\n[SEP]\ncaf\xe9\n")
    world.bert_fit("vocab.txt", bert=folder)
    folder = make_bert(tmp_path / "bert2")
    (folder / "config.json").write_bytes(b'{"hidden_act": "caf\xe9"}')
    world.bert_fit("config.json", bert=folder)


def test_the_first_checkpoint_still_loads(world):
    """After all of the above: pytest runs a file's tests in their order."""
    SAMPLE("validate", "--ckpt_path", world.checkpoint, "--trainer.accelerator", "cpu",
           "--trainer.default_root_dir", world.root)
