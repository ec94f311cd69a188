"""A small vocabulary, texts that are hard to tokenize, and what our tokenizer makes of them."""

import random
import struct
import subprocess

import support

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
# tokenizer_config.json as transformers 4 wrote it.
BERT = {
    "do_lower_case": True,
    "strip_accents": None,
    "tokenize_chinese_chars": True,
    "do_basic_tokenize": True,
    "never_split": None,
    "model_max_length": 512,
    "name_or_path": "bert",
    "clean_up_tokenization_spaces": True,
    "unk_token": "[UNK]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
}


def make_vocab():
    """Characters alone and inside words, cased and accented: what normalization does shows."""
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789éÉäÄßﬁ日本中文\u0301\u0316"
    punctuation = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~。"
    words = ["hello", "world", "the", "un", "<s>", "##able", "##ab", "Ab", "日本", "##本", "cafés"]
    tokens = SPECIALS + list(letters) + ["##" + letter for letter in letters]
    return list(dict.fromkeys(tokens + list(punctuation) + words))


def make_texts(count, seed, words=()):
    rng = random.Random(seed)
    parts = ["hello", "Hello", "WORLD", "unable", "café", "CAFÉS", "e\u0301\u0316", "日本", "a日b", "10people",
             "Ab1", "aB1x", "<Q>", "<q>", "  é\u0323x", "É\u0323X", "ﬁne", "Straße", "İ", "\u200b", "\u3000",
             "\u00a0", "[SEP]", "[sep]", "[MASK]", "[", "x" * 7, "x" * 8, "y" * 101, "...", "don't", "<s>",
             "the", "\x00", "\ufffd", "😀", "\t\r\n", "!", *words, *words]
    return ["".join(rng.choice(parts) + rng.choice(["", " ", " ", "  "])
                    for _ in range(rng.randint(1, 9))) for _ in range(count)] + [""]


def dump(folder, texts):
    """Per text its tokens: (id, begin, end)."""
    data = [text.encode() for text in texts]
    done = subprocess.run(
        [str(support.bin_dir() / "tokenizer_dump"), str(folder)], check=False, capture_output=True,
        input=b"".join(struct.pack("<I", len(part)) + part for part in data))
    assert done.returncode == 0, done.stderr.decode()
    values = struct.unpack(f"<{len(done.stdout) // 4}i", done.stdout)
    rows, at = [], 0
    for _ in texts:
        size = values[at]
        rows.append([values[at + 1 + 3 * i:at + 4 + 3 * i] for i in range(size)])
        at += 1 + 3 * size
    assert at == len(values)
    return rows
