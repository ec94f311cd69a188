"""A tiny BERT of random weights, parts of the bundled questions, and bert_squad on them."""

import collections
import json
import os
import re

os.environ["TOKENIZERS_PARALLELISM"] = "false"

import support
import torch
from transformers import BertConfig, BertForQuestionAnswering

PROGRAM = support.Program("bert_squad")
DATA = support.BUNDLED_SQUAD
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
MAX_SEQ_LENGTH, DOC_STRIDE = 96, 32


def run(*arguments, **options):
    """All that it said."""
    return PROGRAM(*arguments, env=os.environ | {"OMP_NUM_THREADS": "1"}, **options).text


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


def write(path, document):
    path.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")


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
