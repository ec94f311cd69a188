"""The WordPiece tokenizer against the pinned `tokenizers` package and transformers.

Ids and offsets must be equal for every code point in four contexts, for random strings (100,000 with
LIGHTNING_EXHAUSTIVE=1), for real text and for very long words, with settings of case, accents and
Chinese characters: with LIGHTNING_EXHAUSTIVE=1 all of them, otherwise each pair of two settings.
"""

import itertools
import json
import os
import random
import struct
import subprocess
import unicodedata

os.environ["TOKENIZERS_PARALLELISM"] = "false"

import numpy
import pytest
import support
from covering import covering
from support import EXHAUSTIVE, bin_dir

support.needs_packages("tokenizers", "transformers")
support.minilm_folder()

import tokenizers
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from transformers import AutoTokenizer

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
# Sorted among the marks but not dropped with them, and what decomposes into such.
REORDERED = "\u302e\u302f\U0001d165\U0001d16d\U0001d15e\U0001d160\U0001d1bb\u0344\u0f73\u0f75\u0f81"
MARKS = "\u0300\u0301\u0303\u0316\u0323\u0327\u0334\u0345\u034f\u0591\u05b0\u093c\u0941\u0f71\u3099"


class Pair:
    """The same tokenizer on both sides."""

    def __init__(self, vocab, folder, lowercase=True, strip_accents=None, chinese=True):
        self.folder = folder
        folder.mkdir()
        (folder / "vocab.txt").write_text("\n".join(vocab) + "\n", newline="")
        config = {"tokenizer_class": "BertTokenizer", "do_lower_case": lowercase,
                  "strip_accents": strip_accents}
        config["tokenize_chinese_chars"] = chinese
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
        self.peer = Tokenizer(
            WordPiece({token: i for i, token in enumerate(vocab)}, unk_token="[UNK]")
        )
        self.peer.normalizer = BertNormalizer(
            clean_text=True,
            handle_chinese_chars=chinese,
            strip_accents=strip_accents,
            lowercase=lowercase,
        )
        self.peer.pre_tokenizer = BertPreTokenizer()
        self.peer.add_special_tokens(
            [AddedToken(token, special=True, normalized=False) for token in SPECIALS]
        )

    def ours(self, texts, save_to=None):
        """(tokens per text, rows of id, begin, end)"""
        data = [text.encode() for text in texts]
        command = [str(bin_dir() / "tokenizer_dump"), str(self.folder)]
        done = subprocess.run(
            command + ([str(save_to)] if save_to else []),
            input=b"".join(struct.pack("<I", len(part)) + part for part in data),
            stdout=subprocess.PIPE,
            check=True,
        )
        values = numpy.frombuffer(done.stdout, numpy.int32)
        counts, is_count, at = [], numpy.zeros(len(values), bool), 0
        for _ in texts:
            is_count[at] = True
            counts.append(int(values[at]))
            at += 1 + 3 * counts[-1]
        assert at == len(values), f"{len(values) - at} values too many"
        return counts, values[~is_count].reshape(-1, 3)

    def theirs(self, texts):
        counts, ids, offsets = [], [], []
        for begin in range(0, len(texts), 1000):
            for encoding in self.peer.encode_batch(
                texts[begin : begin + 1000], add_special_tokens=False
            ):
                ids.extend(encoding.ids)
                offsets.extend(itertools.chain.from_iterable(encoding.offsets))
                counts.append(len(encoding))
        rows = numpy.column_stack(
            (numpy.array(ids, numpy.int32), numpy.array(offsets, numpy.int32).reshape(-1, 2))
        )
        return counts, rows

    def check(self, texts):
        counts, rows = self.ours(texts)
        peer_counts, peer_rows = self.theirs(texts)
        if counts != peer_counts or not numpy.array_equal(rows, peer_rows):
            self.explain(texts, counts, rows, peer_counts, peer_rows)

    @staticmethod
    def explain(texts, counts, rows, peer_counts, peer_rows):
        at = peer_at = 0
        for text, count, peer_count in zip(texts, counts, peer_counts):
            mine, peer = rows[at : at + count].tolist(), peer_rows[peer_at : peer_at + peer_count]
            at, peer_at = at + count, peer_at + peer_count
            if mine == peer.tolist():
                continue
            differing = zip(mine + [None], peer.tolist() + [None])
            i, (a, b) = next((i, pair) for i, pair in enumerate(differing) if pair[0] != pair[1])
            begin = max(0, min(row[1] for row in (a, b) if row) - 8)
            pytest.fail(
                f"token {i}: ours (id, begin, end) is {a}, theirs {b}, in "
                f"{ascii(text[begin : begin + 40])} (from code point {begin})"
            )


def all_code_points():
    return [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]


def is_interesting(char):
    """Not one of the large blocks in which every character is treated like its neighbours."""
    if unicodedata.category(char) in ("Cn", "Co", "Cs"):
        return 0xFDD0 <= ord(char) <= 0xFDEF or ord(char) & 0xFFFF >= 0xFFFE
    name = unicodedata.name(char, "")
    return not name.startswith(("CJK UNIFIED", "HANGUL SYLLABLE", "TANGUT", "EGYPTIAN"))


def contexts(chars, per_text=200):
    """Each character as a word, inside a word, before an accent, and between accents."""
    patterns = ["{} ", "a{}b ", "{}\u0301 ", "e\u0301{}\u0316\u302e "]
    return [
        "".join(pattern.format(char) for char in chars[begin : begin + per_text])
        for pattern in patterns
        for begin in range(0, len(chars), per_text)
    ]


def character_vocab(chars):
    """Each character alone and inside a word, cased and accented: every change shows in the ids."""
    words = ["Straße", "straße", "café", "cafe", "Café", "É", "E\u0301", "##fé", "##fe", "##f"]
    singles = [c for c in chars if is_interesting(c) and c not in "\r\n"]
    hangul = [chr(code) for code in range(0xAC00, 0xAC00 + 600)]
    tokens = SPECIALS + singles + hangul + words
    return list(dict.fromkeys(tokens + ["##" + c for c in singles + hangul]))


def random_texts(count, seed, chars):
    rng = random.Random(seed)
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    alphabets = [
        letters + " ",
        letters + " .,;:'\"-()[]#$%&@!?/\\_^`{|}~<>=+* \t\n\r",
        "aeiouAEIOUéèêëàâäîïôöùûüçñÉÈÀßøåÅØæœŁłžŽšŠğĞıİſǅ" + letters + " ",
        "日本語中文漢字学校東京　、。ひらがなカタカナ한국어서울\uf900\u2f00",
        MARKS + "aeo \u0627\u05d0",
        REORDERED + MARKS + "ae" + "\u0000\u200b\u00ad",
        "\u0000\u0001\u0007\u000b\u000c\u0085\u00a0\u00ad\u200b\u200d\u2028\u2029\ufeff\ufffd" + letters,
        "😀👍🏽👨\u200d👩🇩🇪❤\ufe0f☃ " + letters,
        "ΑΒΓΔαβγδςσΣΆάΰЖжЙйЁё " + "हिन्दी বাংলা ไทย " + "עִבְרִית العَرَبِيَّة ",
        "“”‘’–—…«»‹›·•¡¿§¶†‡€£¥©®™°±×÷≠≤ ﬁﬀ①½",
        chars,
    ]
    texts = []
    for _ in range(count):
        parts = []
        for _ in range(rng.randint(1, 3)):
            alphabet = rng.choice(alphabets)
            parts.append("".join(rng.choices(alphabet, k=rng.randint(1, 20))))
            if rng.random() < 0.1:
                parts.append(rng.choice(SPECIALS + ["[sep]", "[", "##ing", "[[SEP]]"]))
            if rng.random() < 0.02:
                parts.append("".join(rng.choices(alphabet.replace(" ", "x"), k=105)))
        texts.append("".join(parts))
    return texts


def long_words():
    texts = []
    for piece in ["a", "Ab", "é", "e\u0301", "ß", "İ", "한", "각", "日", "\u0915\u093f", "😀", "!", "a\u0000"]:
        for size in [33, 34, 49, 50, 51, 99, 100, 101, 102, 20000]:
            texts += [piece * size, f"x {piece * size} y", "x" + piece * size, piece * size + "\u0301"]
    return texts + ["a" * 99 + "é", "a" * 100 + "é", "é" + "a" * 99, "é" + "a" * 100, "", " ", "\u0301"]


def test_the_packages_version():
    """The tables are those of this version."""
    assert tokenizers.__version__ == "0.23.3"


@pytest.fixture(scope="module")
def chars():
    return all_code_points()


@pytest.fixture(scope="module")
def interesting(chars):
    return "".join(filter(is_interesting, chars))


# ---- the vocabulary of MiniLM

@pytest.fixture(scope="module")
def real(minilm, work):
    vocab = (minilm / "vocab.txt").read_text(encoding="utf-8").split("\n")[:-1]
    return Pair(vocab, work / "minilm")


@pytest.mark.parametrize("path", support.squad_files())
def test_real_text(path, real):
    texts = []
    for article in json.loads(path.read_text(encoding="utf-8"))["data"]:
        for paragraph in article["paragraphs"]:
            texts.append(paragraph["context"])
            texts += [qa["question"] for qa in paragraph["qas"]]
    real.check(texts)


def test_very_long_words(real):
    real.check(long_words())


def test_every_code_point_as_a_text(chars, real):
    real.check(chars if EXHAUSTIVE else chars[:0x3400])


def test_random_strings(interesting, real):
    real.check(random_texts(40000 if EXHAUSTIVE else 8000, 1, interesting))


# ---- a vocabulary in which every change of a character shows

@pytest.fixture(scope="module")
def vocab(chars):
    return character_vocab(chars)


def test_every_code_point_in_context(chars, vocab, interesting, tmp_path):
    Pair(vocab, tmp_path / "characters").check(contexts(chars if EXHAUSTIVE else interesting))


AXES = {"lowercase": [True, False], "strip_accents": [None, True, False], "chinese": [True, False]}
CHOSEN = covering(AXES, list(itertools.combinations(AXES, 2)))
SETTINGS = [
    pytest.param(settings, id="-".join(f"{name}={value}" for name, value in settings.items()),
                 marks=[] if settings in CHOSEN else [pytest.mark.exhaustive])
    for settings in covering(AXES, [tuple(AXES)])]


@pytest.mark.parametrize("settings", SETTINGS)
def test_settings(settings, vocab, interesting, tmp_path):
    pair = Pair(vocab, tmp_path / "pair", **settings)
    seed = sum(map(ord, str(settings)))
    pair.check(random_texts(5000 if EXHAUSTIVE else 2000, seed, interesting))
    pair.check(long_words())
    # strip_accents None is checked against its meaning by the random strings; the test above has
    # the contexts with the first settings.
    if settings["strip_accents"] is not None and EXHAUSTIVE:
        pair.check(contexts(interesting))


@pytest.mark.parametrize("settings", [
    {"lowercase": True, "strip_accents": None, "chinese": False},
    {"lowercase": False, "strip_accents": True, "chinese": False}])
def test_transformers_loads_what_we_save(settings, vocab, interesting, tmp_path):
    """What save() wrote gives transformers the same tokenizer, and ourselves too."""
    pair = Pair(vocab, tmp_path / "pair", **settings)
    texts = random_texts(300, 101, interesting)
    saved = tmp_path / "saved"
    saved.mkdir()
    counts, rows = pair.ours(texts, save_to=saved)
    peer = AutoTokenizer.from_pretrained(str(saved))
    encoded = peer(texts, add_special_tokens=False, return_offsets_mapping=True)
    assert counts == [len(ids) for ids in encoded["input_ids"]]
    assert rows.tolist() == [
        [i, *offset]
        for ids, offsets in zip(encoded["input_ids"], encoded["offset_mapping"])
        for i, offset in zip(ids, offsets)
    ]
    pair.folder = saved
    again = pair.ours(texts)
    assert again[0] == counts and numpy.array_equal(again[1], rows)
