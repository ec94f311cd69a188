"""Tokenizer folders as transformers writes them, read by us and by AutoTokenizer: ids and offsets must
be equal for texts that are hard in each way that the settings concern.

The folders: tokenizer.json of the installed version with all settings of case, accents and Chinese
characters; added tokens with each combination of their flags; vocab.txt with added_tokens.json,
special_tokens_map.json and added_tokens_decoder as older versions wrote them; tokenizers that are no
BertTokenizer's but the same pipeline.
"""

import itertools
import json
import os
import random

os.environ["TOKENIZERS_PARALLELISM"] = "false"

import pytest
import support
from tokenizer_parity_support import BERT, SPECIALS, dump, make_texts, make_vocab

support.needs_packages("tokenizers", "transformers")

import transformers
from tokenizers import AddedToken
from transformers import AutoTokenizer, BertTokenizer

transformers.logging.set_verbosity_error()

VOCAB = make_vocab()
TEXTS = make_texts(400, seed=1)


def check(folder, texts=TEXTS):
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
    peer = AutoTokenizer.from_pretrained(str(folder))
    encoded = peer(texts, add_special_tokens=False, return_offsets_mapping=True)
    ours = dump(folder, texts)
    for text, rows, ids, offsets in zip(texts, ours, encoded["input_ids"],
                                        encoded["offset_mapping"]):
        theirs = [(i, *offset) for i, offset in zip(ids, offsets)]
        assert rows == theirs, ascii(text)
    return peer


def save(folder, *added, **settings):
    """As transformers 5 saves a tokenizer: tokenizer.json and tokenizer_config.json."""
    tokenizer = BertTokenizer(vocab={token: i for i, token in enumerate(VOCAB)}, **settings)
    tokenizer.add_tokens(list(added))
    tokenizer.save_pretrained(folder)
    assert (folder / "tokenizer.json").exists() and not (folder / "vocab.txt").exists()
    return tokenizer


def write_vocab(folder, config=None, **files):
    """As older versions did: vocab.txt and JSON files."""
    (folder / "vocab.txt").write_text("\n".join(VOCAB) + "\n", encoding="utf-8", newline="")
    config = {"tokenizer_class": "BertTokenizer"} | (config or {})
    for name, content in {"tokenizer_config": config, **files}.items():
        (folder / f"{name}.json").write_text(json.dumps(content))


@pytest.mark.parametrize("lowercase,strip_accents,chinese", list(itertools.product(
    [True, False], [None, True, False], [True, False])))
def test_settings(lowercase, strip_accents, chinese, tmp_path):
    settings = {"do_lower_case": lowercase, "strip_accents": strip_accents,
                "tokenize_chinese_chars": chinese}
    # Several added tokens with all of their flags, in every setting.
    save(tmp_path, AddedToken("Ab1", normalized=True), AddedToken("<Q>", normalized=False),
         AddedToken("é\u0323x", normalized=True, lstrip=True), **settings)
    check(tmp_path)


CONTENTS = ["ab", "Ab C", "10people", "<Ä>", "日本", "a日", "e\u0301\u0316x", "!!", "[CLS]x", "ﬁ"]


@pytest.mark.parametrize("lstrip,rstrip,normalized", list(itertools.product(
    [True, False], repeat=3)))
def test_flags_of_added_tokens(lstrip, rstrip, normalized, tmp_path):
    flags = {"lstrip": lstrip, "rstrip": rstrip, "normalized": normalized}
    save(tmp_path, *(AddedToken(content, **flags) for content in CONTENTS))
    rng = random.Random(2)
    glue = ["", " ", "  ", "\u3000", "x", "日", ".", "\u0301", "\n", "\u00a0", "\u200b", "X"]
    tokens = CONTENTS + [content.upper() for content in CONTENTS] + SPECIALS + ["ab c", "1", "People"]
    texts = ["".join(rng.choice(tokens) + rng.choice(glue) for _ in range(rng.randint(1, 6)))
             for _ in range(1500)]
    check(tmp_path, texts + [rng.choice(glue) + text for text in texts[:300]] + TEXTS)


def test_mixed_flags_and_special_tokens(tmp_path):
    rng = random.Random(3)
    added = [AddedToken(content, special=rng.random() < 0.3, normalized=rng.random() < 0.5,
                        lstrip=rng.random() < 0.5, rstrip=rng.random() < 0.5)
             for content in CONTENTS + ["a", "abc", "bc", "cab", "日", "[", "[MASK", "cafe"]]
    tokenizer = save(tmp_path, *added)
    tokenizer.add_special_tokens({"mask_token": AddedToken("<mask>", lstrip=True)})
    tokenizer.save_pretrained(tmp_path)
    texts = make_texts(1500, seed=4, words=[str(token) for token in added] + ["<mask>", "  <mask> "])
    check(tmp_path, texts)


def test_vocab_and_added_tokens_json(tmp_path):
    size = len(VOCAB)
    write_vocab(tmp_path, added_tokens={"10people": size, "<q>": size + 1, "cafe": size + 2},
                special_tokens_map={"additional_special_tokens": ["<q>"], "mask_token": {
                    "content": "[MASK]", "lstrip": True, "rstrip": False, "normalized": False,
                    "single_word": False}})
    texts = make_texts(600, seed=5, words=["10people", "10People", "<q>", "<Q>", "CAFÉ", " [MASK]"])
    peer = check(tmp_path, texts)
    assert peer.convert_tokens_to_ids("cafe") == size + 2


def test_added_tokens_decoder(tmp_path):
    size = len(VOCAB)
    flags = {"lstrip": False, "rstrip": True, "single_word": False}
    decoder = {str(i): {"content": token, "special": True, "normalized": False, **flags}
               for i, token in enumerate(SPECIALS)}
    decoder |= {str(size): {"content": "Fé", "special": False, "normalized": True, **flags},
                str(size + 1): {"content": "<Sep>", "special": True, "normalized": False, **flags}}
    write_vocab(tmp_path, {"added_tokens_decoder": decoder, "do_lower_case": True,
                           "additional_special_tokens": ["<Sep>"]})
    check(tmp_path, make_texts(600, seed=6, words=["Fé", "FE", "<Sep>  x", "<sep>"]))


def test_other_special_tokens(tmp_path):
    """Names that aren't BERT's, of vocab.txt and of tokenizer.json."""
    names = {"cls_token": "hello", "sep_token": "<s>", "unk_token": "world", "mask_token": "the",
             "pad_token": "un"}
    (tmp_path / "old").mkdir()
    write_vocab(tmp_path / "old", names | {"bos_token": "[CLS]", "eos_token": "[SEP]"})
    check(tmp_path / "old")
    save(tmp_path / "new", **names)
    check(tmp_path / "new")


@pytest.mark.parametrize("name", ["PreTrainedTokenizerFast", "TokenizersBackend"])
def test_tokenizer_json_as_it_is(name, tmp_path):
    """Only there may a vocabulary have another prefix and another longest word."""
    save(tmp_path, do_lower_case=False)
    path, config_path = tmp_path / "tokenizer.json", tmp_path / "tokenizer_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    vocab = {token.replace("##", "@@"): i for token, i in settings["model"]["vocab"].items()}
    settings["model"].update(vocab=vocab, continuing_subword_prefix="@@",
                             max_input_chars_per_word=7)
    settings["normalizer"] = {"type": "Sequence", "normalizers": [settings["normalizer"]]}
    path.write_text(json.dumps(settings))
    config_path.write_text(json.dumps({
        "tokenizer_class": name,
        "model_input_names": ["input_ids", "token_type_ids", "attention_mask"]}))
    peer = check(tmp_path)
    assert peer.backend_tokenizer.model.continuing_subword_prefix == "@@"
    assert any(len(word) == 7 for text in TEXTS for word in text.split())


def test_both_files(tmp_path):
    """vocab.txt beside tokenizer.json, as transformers 4 wrote them, with what was cut and padded."""
    save(tmp_path)
    path = tmp_path / "tokenizer.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    settings["truncation"] = {"max_length": 8, "strategy": "LongestFirst", "stride": 0,
                              "direction": "Right"}
    settings["padding"] = {"strategy": {"Fixed": 8}, "direction": "Right", "pad_to_multiple_of": None,
                           "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"}
    settings["post_processor"] = {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]}
    path.write_text(json.dumps(settings))
    write_vocab(tmp_path, BERT, special_tokens_map={
        "cls_token": "[CLS]", "sep_token": {"content": "[SEP]", "normalized": False}})
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    peer = AutoTokenizer.from_pretrained(str(tmp_path))
    encoded = peer(TEXTS, add_special_tokens=False)["input_ids"]
    assert [[row[0] for row in rows] for rows in dump(tmp_path, TEXTS)] == encoded
