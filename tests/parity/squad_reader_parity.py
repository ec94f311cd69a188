"""The SQuAD reader against Python: files that Python's json and csv modules and NumPy's repr() write in
the forms of the field's tools must give the questions that they were written from; files with faults
must lose what is bad and nothing else, and be scored as the official script scores them.

The rows of the tables FORMS and VALUES are those of the tables in docs/bert_squad.md.
"""

import csv
import io
import json
import random
import re
import subprocess

import numpy
import pytest
from squad_scores import evaluate, ours as scores_of
from support import ROOT, bin_dir, cases

BERLIN = "Berlin has 10 people. The river \"Spree\" is in Berlin, it's long.\n\nMany people, 3½ %, live there; 😀 日本."
RHONE = "The Rhône is a river."


def answer(context, text, nth=0):
    start = -1
    for _ in range(nth + 1):
        start = context.index(text, start + 1)
    return text, start


# What is written: id, title, context, question, answers. Contexts are shared, and come back later.
QUESTIONS = [
    ("262", "Berlin", BERLIN, "How many people live in Berlin?", [answer(BERLIN, "10 people")]),
    ("263", "Berlin", BERLIN, "Where is the river?",
     [answer(BERLIN, "Berlin", 1), answer(BERLIN, "in Berlin, it's long")]),
    ("99999999999999999999999", "Rivers", RHONE, "What, \"exactly\", is it?", [answer(RHONE, "a river")]),
    ("265", "Rivers", RHONE, "Who?\nWhere?", []),
    ("7", "Berlin", BERLIN, "Which share?", [answer(BERLIN, "3½ %"), answer(BERLIN, "日本")]),
]


def grouped():
    """Passages as SQuAD has them: neighbouring questions of one context together."""
    passages = []
    for row in QUESTIONS:
        if not passages or passages[-1][0][2] != row[2]:
            passages.append([])
        passages[-1].append(row)
    return passages


# ---- how a question is written
def squad_answers(answers):
    return [{"text": text, "answer_start": start} for text, start in answers]


def flat_answers(answers):
    return {"text": [text for text, _ in answers], "answer_start": [start for _, start in answers]}


def squad_question(row, **more):
    key, _, _, question, answers = row
    return {"question": question, "id": key, "answers": squad_answers(answers),
            "is_impossible": not answers, **more}


def flat_row(row, **more):
    key, title, context, question, answers = row
    return {"id": key, "title": title, "context": context, "question": question,
            "answers": flat_answers(answers), **more}


def articles(question=squad_question, **more):
    return [{"title": rows[0][1],
             "paragraphs": [{"qas": [question(row) for row in rows], "context": rows[0][2], **more}]}
            for rows in grouped()]


def without(key, value):
    return {name: item for name, item in value.items() if name != key}


def numpy_answers(answers):
    return repr({"text": numpy.array([text for text, _ in answers], dtype=object),
                 "answer_start": numpy.array([start for _, start in answers], dtype=numpy.int32)})


def table(rows, bom=False, **dialect):
    out = io.StringIO()
    writer = csv.DictWriter(out, rows[0].keys(), **dialect)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode("utf-8-sig" if bom else "utf-8")


def cells(written):
    return [{"": i, **flat_row(row), "answers": written(row[4])} for i, row in enumerate(QUESTIONS)]


def dumped(value, **options):
    return json.dumps(value, **options).encode()


def lines(values, **options):
    return b"".join(dumped(value, **options) + b"\n" for value in values)


# Without several answers: one column for the text, one for its place.
SINGLE = [(*row[:4], row[4][:1]) for row in QUESTIONS]


def columns(start):
    return [{**without("answers", flat_row(row)), "answer_text": row[4][0][0] if row[4] else "",
             "answer_start": start(row[4][0][1]) if row[4] else ""} for row in SINGLE]


# The forms of a file: what is written, and from which questions.
FORMS = {
    "SQuAD v2": (dumped({"version": "v2.0", "data": articles()}), QUESTIONS),
    "SQuAD v1.1": (
        dumped({"data": articles(lambda row: without("is_impossible", squad_question(row))),
                "version": "1.1"}, indent=2, ensure_ascii=False), QUESTIONS),
    "an array of articles": (dumped(articles()), QUESTIONS),
    "passages without articles": (
        dumped({"data": [article["paragraphs"][0] for article in articles()]}), QUESTIONS),
    "flat rows": (dumped({"version": "0.1", "data": [flat_row(row) for row in QUESTIONS]}), QUESTIONS),
    "an array of rows": (dumped([flat_row(row) for row in QUESTIONS], indent=1), QUESTIONS),
    "JSON Lines": (lines(map(flat_row, QUESTIONS), ensure_ascii=False), QUESTIONS),
    "CSV of `datasets`": (table(cells(numpy_answers)), QUESTIONS),
    "CSV with dicts": (table(cells(lambda answers: repr(flat_answers(answers)))), QUESTIONS),
    "CSV with JSON": (
        table(cells(lambda answers: json.dumps(squad_answers(answers))), quoting=csv.QUOTE_ALL,
              lineterminator="\n"), QUESTIONS),
    "CSV with columns": (table(columns(str)), SINGLE),
    "CSV with other delimiters": (table(columns(float), delimiter=";", bom=True), SINGLE),
}
MORE_FORMS = {
    "one line of JSON Lines": (lines([flat_row(QUESTIONS[0])]), QUESTIONS[:1]),
    "JSON Lines of articles": (lines(articles(), indent=2), QUESTIONS),
    "JSON Lines with empty lines and no end": (
        b"\n\r\n" + lines(map(flat_row, QUESTIONS)).replace(b"\n", b"\r\n\r\n").rstrip(), QUESTIONS),
    "a tab as delimiter": (table(columns(str), delimiter="\t"), SINGLE),
    "rows that end early": (table(columns(str)).replace(b",,\r\n", b"\r\n"), SINGLE),
    "columns in capitals": (table(columns(str)).replace(b"id,title,context", b"ID,Title,Context"), SINGLE),
    "columns of lists": (
        table([{**without("answers", flat_row(row)), "answers.text": repr([t for t, _ in row[4]]),
                "answers.answer_start": repr([s for _, s in row[4]])} for row in QUESTIONS]), QUESTIONS),
    "rows of texts and places": (
        lines({**flat_row(row), **flat_answers(row[4]), "answers": [t for t, _ in row[4]]}
              for row in QUESTIONS), QUESTIONS),
    "pandas' table": (
        dumped({"schema": {"fields": [{"name": "index"}]},
                "data": [{"index": i, **flat_row(row)} for i, row in enumerate(QUESTIONS)]}), QUESTIONS),
    "an answer as a cell": (
        lines({**flat_row(row), "answers": repr(flat_answers(row[4]))} for row in QUESTIONS), QUESTIONS),
}


# The values that a key may have: how a question is written, from QUESTIONS.
def with_each(change):
    return dumped({"data": articles(change)})


def value_of_answers(change):
    return lambda row: squad_question(row, answers=[change(a) for a in squad_answers(row[4])])


VALUES = {
    "`id`, a number": (
        with_each(lambda row: squad_question(row, id=int(row[0]))), QUESTIONS),
    "`title`, missing or of any kind": (
        dumped({"data": [{**article, "title": title} if title != "missing" else without("title", article)
                         for article, title in zip(articles(), (None, 5, "missing"))]}), QUESTIONS),
    "`answer_start`, a text": (
        with_each(value_of_answers(lambda a: {**a, "answer_start": str(a["answer_start"])})), QUESTIONS),
    "`answer_start`, `11.0`": (
        with_each(value_of_answers(lambda a: {**a, "answer_start": float(a["answer_start"])})), QUESTIONS),
    "`is_impossible`, 0, 1 or a text": (
        with_each(lambda row: squad_question(row, is_impossible=(
            random.Random(row[0]).choice([1, "true", "True", 1.0, "1", "yes", " Yes "] if not row[4] else
                                         [0, "false", "False", 0.0, "0", "no", "NO\n", "", None])))), QUESTIONS),
    "`answers`, `{text: [...], answer_start: [...]}`": (
        with_each(lambda row: squad_question(row, answers=flat_answers(row[4]))), QUESTIONS),
    "`answers`, one answer": (
        dumped({"data": [{"paragraphs": [{"context": row[2], "qas": [
            squad_question(row, answers=(squad_answers(row[4]) or [None])[0])]}]} for row in SINGLE]}), SINGLE),
    "`answers`, null": (
        with_each(lambda row: {**without("is_impossible", squad_question(row)),
                               "answers": squad_answers(row[4]) or None}), QUESTIONS),
    "`answers` with empty ones": (
        with_each(lambda row: squad_question(row, answers=[
            {"text": "", "answer_start": -1}, *squad_answers(row[4]), {"text": None}, None])), QUESTIONS),
    "`NaN`, `Infinity`": (
        with_each(lambda row: squad_question(row, score=float("nan"), rank=[float("inf"), -float("inf")],
                                             is_impossible=float("nan"))), QUESTIONS),
    "other keys": (
        dumped({"x": {"data": [[]]}, "data": articles(
            lambda row: squad_question(row, plausible_answers=[{"text": 1}], answer_category=None),
            document_id=3), "y": 1}), QUESTIONS),
}
MORE_VALUES = {
    "an empty answer of an unanswerable question": (
        with_each(lambda row: squad_question(
            row, answers=squad_answers(row[4]) or [{"text": "", "answer_start": 0}])), QUESTIONS),
    "the key answer": (
        dumped([{**without("answers", flat_row(row)), "answer": squad_answers(row[4])}
                for row in QUESTIONS]), QUESTIONS),
    "a number that is an answer": (
        dumped([{"id": 1, "context": "In 1984.", "question": "When?",
                 "answers": [{"text": 1984, "answer_start": 3}]}]),
        [("1", "", "In 1984.", "When?", [("1984", 3)])]),
    "lone surrogates": (
        dumped([{"id": 1, "context": "\ud83d In \udc00 1984.", "question": "When\ud83d\u0041?",
                 "answers": [{"text": "1984", "answer_start": 7}]}]),
        [("1", "", "\ufffd In \ufffd 1984.", "When\ufffdA?", [("1984", 7)])]),
    "one text in a list and its place without one": (
        dumped([{"id": 1, "context": "In 1984.", "question": "When?",
                 "answers": {"text": ["1984"], "answer_start": 3}}]),
        [("1", "", "In 1984.", "When?", [("1984", 3)])]),
    "a large float": (
        b'[{"id": 1.50, "context": "In 1984.", "question": "When?",'
        b' "answers": [{"text": "1984", "answer_start": 0.3e1}]}]',
        [("1.50", "", "In 1984.", "When?", [("1984", 3)])]),
}


def expected(questions):
    return [{"id": key, "question": question, "context": context, "answers": [list(a) for a in answers]}
            for key, _, context, question, answers in questions]


def read(files, use="train", on_bad="error"):
    command = [bin_dir() / "squad_reader_tool", use, on_bad, *files]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def read_bytes(folder, contents, **options):
    files = []
    for i, content in enumerate(contents):
        files.append(folder / f"{i}.json")  # what is in a file counts, not its name
        files[-1].write_bytes(content)
    return read(files, **options)


ALL = {**FORMS, **MORE_FORMS, **VALUES, **MORE_VALUES}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Of all tables, for training, scoring and prediction."""
    contents = [content for content, _ in ALL.values()]
    return {use: dict(zip(ALL, read_bytes(tmp_path_factory.mktemp(use), contents, use=use)))
            for use in ("train", "score", "none")}


@pytest.mark.parametrize("name", ALL)
def test_it_is_read(name, results):
    questions = expected(ALL[name][1])
    assert results["train"][name].get("error") is None, results["train"][name]
    assert results["train"][name]["questions"] == questions
    assert results["score"][name]["questions"] == questions
    asked = [{**question, "answers": []} for question in questions]
    assert results["none"][name]["questions"] == asked


@pytest.mark.parametrize("name", [name for name in FORMS if name != "CSV with other delimiters"])
def test_with_a_byte_order_mark(name, tmp_path):
    content, questions = FORMS[name]
    (result,) = read_bytes(tmp_path, [b"\xef\xbb\xbf" + content])
    assert result["questions"] == expected(questions)


def test_the_documents_tables():
    """docs/bert_squad.md lists exactly what is tested here."""
    text = (ROOT / "docs/bert_squad.md").read_text(encoding="utf-8")
    for title, rows in (("form of a file", FORMS), ("value", VALUES)):
        block = text.split(f"| {title} |", 1)[1].split("\n\n", 1)[0]
        assert re.findall(r"^\| (.+?) \|", block, re.MULTILINE) == list(rows), title


# ---- files with faults
def faulty_document(generator, count):
    """A file and, for each question, whether it is bad for training."""
    context = "The quick brown fox jumps over the lazy dog near the old river bank in autumn 1984 ."
    words = context.split()
    qas, bad = [], []
    for i in range(count):
        word = generator.choice(words)
        good = {"text": word, "answer_start": context.index(word)}
        kind = generator.randrange(40)
        answers = [good] if generator.random() < 0.5 else [good, {"text": "fox", "answer_start": 16}]
        if kind == 0:
            answers = [{"text": "a cat", "answer_start": 4}]
        elif kind == 1:
            answers = [{"text": "", "answer_start": 4}]
        elif kind == 2:
            answers = [{"text": "fox", "answer_start": generator.choice([-1, 30, 1000, 10**30])}]
        elif kind == 3:
            answers = [{"text": "fox"}]
        elif kind == 4:
            answers = [{"text": "a cat", "answer_start": 4}, *answers]  # the others stay
        elif kind == 5:
            answers = []
        qas.append({"id": f"q{i}", "question": "What?", "answers": answers})
        bad.append(kind < 4)
    return {"data": [{"title": "T", "paragraphs": [{"context": context, "qas": qas}]}]}, bad


@pytest.mark.parametrize("seed", range(3))
def test_only_what_is_bad_is_left_out(seed, tmp_path):
    document, bad = faulty_document(random.Random(seed), 400)
    qas = document["data"][0]["paragraphs"][0]["qas"]
    content = [dumped(document)]
    (result,) = read_bytes(tmp_path, content, on_bad="skip")
    kept = [qa["id"] for qa, is_bad in zip(qas, bad) if not is_bad]
    assert [question["id"] for question in result["questions"]] == kept
    assert all(question["answers"] for question in result["questions"]
               if qas[int(question["id"][1:])]["answers"])
    (warning,) = result["warnings"]
    assert f"{sum(bad)} bad questions" in warning and "among 400 questions" in warning
    (result,) = read_bytes(tmp_path, content)
    assert f"{sum(bad)} bad questions" in result["error"] and "on_bad_example skip" in result["error"]
    for use in ("score", "none"):
        (result,) = read_bytes(tmp_path, content, use=use)
        assert len(result["questions"]) == 400


@pytest.mark.parametrize("seed", range(3))
def test_scores_are_the_official_ones(seed, tmp_path):
    generator = random.Random(100 + seed)
    document, _ = faulty_document(generator, 300)
    (result,) = read_bytes(tmp_path, [dumped(document)], use="score")
    gold = [{"id": qa["id"], "answers": [a["text"] for a in qa["answers"]]}
            for qa in document["data"][0]["paragraphs"][0]["qas"]]
    predictions = {question["id"]: (generator.choice([*question["answers"], "", "the fox"]),
                                    generator.gauss(0, 2)) for question in gold}
    mine = [{"id": question["id"], "answers": [text for text, _ in question["answers"]]}
            for question in result["questions"]]
    case = {"predictions": predictions, "threshold": 0.5}
    (actual,) = scores_of([], [{**case, "questions": mine}])["scores"]
    for name, value in evaluate({**case, "questions": gold}).items():
        assert abs(actual[name] - value) <= 1e-9, name


# ---- files that are damaged
DAMAGE = cases({
    "Latin-1": lambda text: text.encode("latin-1", "ignore"),
    "UTF-16": lambda text: text.encode("utf-16"),
    "UTF-16 without a mark": lambda text: text.encode("utf-16-le"),
    "UTF-16, big-endian, without a mark": lambda text: text.encode("utf-16-be"),
    "UTF-32": lambda text: text.encode("utf-32"),
    "a NUL": lambda text: text.replace("Rh", "\0", 1).encode(),
    "cut within a character": lambda text: text[:text.index("ô") + 1].encode()[:-1],
})


@pytest.mark.parametrize("form", ["flat rows", "JSON Lines", "CSV with columns"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_the_place_of_what_is_not_utf8(damage, form, tmp_path):
    text = FORMS[form][0].decode()
    if text.isascii():
        text = json.dumps(json.loads(text), ensure_ascii=False)
    content = damage(text)
    (result,) = read_bytes(tmp_path, [content], use="none", on_bad="skip")
    found = re.search(r"bytes? (?:from )?(\d+)", result["error"])
    assert found and "UTF-8" in result["error"] and "0.json" in result["error"], result
    places = [content.index(b"\0")] if b"\0" in content else []
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        places.append(error.start)
    assert int(found[1]) == min(places), result["error"]
