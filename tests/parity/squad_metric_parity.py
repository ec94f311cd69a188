"""Our SQuAD v2 metric against the official one, which support/squad_scores.py has from its definition.

Normalization (lower case, without punctuation, without articles, single spaces) must be the same
for every code point and for random strings; all numbers must be equal for random predictions.
"""

import json
import random
import unicodedata

import pytest
import support
from squad_scores import evaluate, normalize_answer, ours
from support import EXHAUSTIVE

UNICODE_VERSION = "14.0.0"  # of lightning/metrics/detail/python_tables.cpp
SURROGATES = range(0xD800, 0xE000)


def check_normalization(texts):
    for text, actual in zip(texts, ours(texts, [])["normalized"], strict=True):
        assert actual == normalize_answer(text), repr(text)


def check_scores(cases):
    for case, actual in zip(cases, ours([], cases)["scores"], strict=True):
        expected = evaluate(case)
        assert actual.keys() == expected.keys()
        for key, value in expected.items():
            assert abs(actual[key] - value) <= 1e-9, f"{key}: {actual[key]}, not {value}\n{case}"


PIECES = (
    ["a", "an", "the", "The", "AN", "A", "tHe", "ana", "then", "aa", "b", "x1", "1950", "3.5"]
    + [" ", "  ", "\t", "\n", "\u00a0", "\u2003", "\u2028", "\x1c", "\x85", "\u200b", "\ufeff"]
    + list("-–—_.,'’\"«»()[]{}|~`$€%&@#*/\\…·")
    + ["é", "e\u0301", "ü", "ñ", "\u0301", "\u0308", "İ", "I\u0307", "ı", "ß", "ẞ", "ﬁ", "ǅ"]
    + ["Σ", "ΑΣ", "ΑΣ.", "Σ'", "ΣΑ", "ς", "σ", "Ａ", "ａ", "ª", "²", "½", "Ⅷ", "ⓐ", "٣", "०"]
    + ["東京", "ไทย", "कि", "한국", "א", "ا", "😀", "a\u0301", "the\u0301", "\u0301a", "🇫🇷", "𝐀", "Ꭰ"]
)


def random_text(generator):
    return "".join(generator.choice(PIECES) for _ in range(generator.randint(0, 9)))


def random_case(generator, size):
    """Predictions that are right, nearly right, empty or something else; scores with ties."""
    questions, predictions = [], {}
    for number in range(size):
        key = f"q{number}-{generator.randint(0, 9)}"
        answers = [random_text(generator) for _ in range(generator.choice([0, 0, 1, 1, 2, 4]))]
        guess = random_text(generator)
        if answers and generator.random() < 0.6:
            guess = generator.choice(answers)
            guess = generator.choice([guess, guess.upper(), f"the {guess}.", f"{guess} b", guess[1:]])
        elif generator.random() < 0.3:
            guess = ""
        questions.append({"id": key, "answers": answers})
        predictions[key] = (guess, generator.choice([0.0, -1.5, 2.25, generator.gauss(0, 4)]))
    threshold = generator.choice([None, 0.0, 2.25, generator.gauss(0, 3)])
    return {"questions": questions, "predictions": predictions, "threshold": threshold}


def adversarial_cases():
    """Each pair of gold and predicted text alone, answerable and not."""
    texts = ["", " ", ".", "a", "the", "A.", "–", "a–b", "a - b", "the-b", "é", "e\u0301", "a\u0301"]
    texts += ["an apple", "apple", "the the", "b b c", "b c c", "Σ", "ΑΣ", "ας", "İ", "i̇", "\u00a0b"]
    for gold in texts:
        for guess in texts:
            for answers in ([gold], [gold, "b"], []):
                yield {
                    "questions": [{"id": "q", "answers": answers}],
                    "predictions": {"q": (guess, 0.5)},
                    "threshold": None,
                }


def real_case(generator, path):
    """Guesses drawn from the answers of all questions."""
    articles = json.loads(path.read_text(encoding="utf-8"))["data"]
    questions = [
        {"id": qa["id"], "answers": [answer["text"] for answer in qa["answers"]]}
        for article in articles
        for paragraph in article["paragraphs"]
        for qa in paragraph["qas"]
    ]
    pool = [text for question in questions for text in question["answers"]]
    predictions = {}
    for question in questions:
        guess = generator.choice(question["answers"] or pool)
        guess = generator.choice([guess, guess, " ".join(guess.split()[1:]), "The " + guess, ""])
        predictions[question["id"]] = (guess, generator.gauss(0, 3) - len(question["answers"]))
    return {"questions": questions, "predictions": predictions, "threshold": 0.25}


def of_large_blocks(char):
    """Of characters that are all treated alike: unassigned ones, ideographs, syllables."""
    return (unicodedata.category(char) in ("Cn", "Co")
            or unicodedata.name(char, "").startswith(("CJK UNIFIED", "HANGUL SYLLABLE", "TANGUT")))


@pytest.mark.skipif(unicodedata.unidata_version != UNICODE_VERSION,
                    reason=f"Python has Unicode {unicodedata.unidata_version}, "
                           f"the tables are of {UNICODE_VERSION}")
def test_normalization_of_code_points():
    codes = [chr(code) for code in range(0x110000) if code not in SURROGATES]
    if not EXHAUSTIVE:
        codes = [c for i, c in enumerate(codes) if i % 97 == 0 or not of_large_blocks(c)]
    check_normalization([f"{c}a{c}the Σ{c}B A{c}Σ" for c in codes])


def test_normalization_of_random_strings():
    generator = random.Random(7)
    check_normalization([random_text(generator) for _ in range(100_000 if EXHAUSTIVE else 20_000)])


def test_scores_of_adversarial_texts():
    check_scores(list(adversarial_cases()))


def test_scores_of_random_predictions():
    generator = random.Random(7)
    sizes = [generator.choice([1, 2, 3, 10, 60]) for _ in range(2_000 if EXHAUSTIVE else 500)]
    check_scores([random_case(generator, size) for size in sizes])


@pytest.mark.parametrize("path", support.squad_files())
def test_scores_of_questions(path):
    generator = random.Random(7)
    check_scores([real_case(generator, path) for _ in range(2)])
