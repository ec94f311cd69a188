"""What the bundled question-answering data set promises: train.json and dev.json are in the SQuAD v2
format. Every broken promise is told on a line of its own."""

import collections
import json
import re

from support import BUNDLED_SQUAD

MIN_PASSAGES = 60
MIN_WORDS, MAX_WORDS = 60, 130
MIN_ANSWERABLE, MIN_UNANSWERABLE = 600, 200
MAX_PATTERN_SHARE = 0.03
PARTS = ("train", "dev")


class Report:
    """Collects the broken promises and the figures of the summary."""

    def __init__(self):
        self.problems = []
        self.titles = {part: set() for part in PARTS}
        self.word_counts = {part: [] for part in PARTS}
        self.questions = {part: [] for part in PARTS}
        self.answerable = collections.Counter()
        self.unanswerable = collections.Counter()
        self.ids = collections.Counter()
        self.contexts = collections.Counter()

    def require(self, condition, message):
        if not condition:
            self.problems.append(message)


def pattern(question):
    """The first three words of a question, without case and punctuation."""
    return " ".join(re.findall(r"[\w'’-]+", question.lower())[:3])


def check_span(report, where, context, answer):
    text, start = answer["text"], answer["answer_start"]
    if not isinstance(start, int) or isinstance(start, bool) or start < 0 or not text:
        report.problems.append(f"{where}: answer {text!r} at {start!r} is not a span")
        return
    # Python strings are indexed by code point, as answer_start is.
    found = context[start : start + len(text)]
    report.require(
        found == text, f"{where}: the passage has {found!r} at {start}, not the answer {text!r}"
    )
    report.require(text == text.strip(), f"{where}: answer {text!r} has space around it")


def check_question(report, part, title, context, qa):
    where = f"{part}.json, article {title!r}, question {qa['id']}"
    report.ids[qa["id"]] += 1
    report.questions[part].append(qa["question"])
    report.require(qa["question"].strip(), f"{where}: the question is empty")
    impossible = qa["is_impossible"]
    report.require(isinstance(impossible, bool), f"{where}: is_impossible is not true or false")
    if impossible:
        report.unanswerable[part] += 1
        report.require(not qa["answers"], f"{where}: is_impossible, but it has answers")
    else:
        report.answerable[part] += 1
        report.require(qa["answers"], f"{where}: it has no answer and is not is_impossible")
    for answer in qa["answers"] + qa.get("plausible_answers", []):
        check_span(report, where, context, answer)


def check_part(report, part, path):
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        report.problems.append(f"{path}: cannot be read as JSON: {error}")
        return
    try:
        report.require(content["version"] == "v2.0", f"{path}: the version is not \"v2.0\"")
        for article in content["data"]:
            title = article["title"]
            report.titles[part].add(title.casefold().strip())
            for paragraph in article["paragraphs"]:
                context = paragraph["context"]
                words = len(context.split())
                report.contexts[context] += 1
                report.word_counts[part].append(words)
                report.require(
                    MIN_WORDS <= words <= MAX_WORDS,
                    f"{part}.json, article {title!r}: a passage has {words} words, "
                    f"expected {MIN_WORDS} to {MAX_WORDS}",
                )
                for qa in paragraph["qas"]:
                    check_question(report, part, title, context, qa)
    except (AttributeError, KeyError, TypeError) as error:
        report.problems.append(f"{path}: not in the SQuAD v2 format: {error!r}")


def check_totals(report):
    passages = sum(map(len, report.word_counts.values()))
    report.require(
        passages >= MIN_PASSAGES, f"{passages} passages, expected at least {MIN_PASSAGES}"
    )
    for name, counts, least in (
        ("answerable", report.answerable, MIN_ANSWERABLE),
        ("unanswerable", report.unanswerable, MIN_UNANSWERABLE),
    ):
        total = sum(counts.values())
        report.require(total >= least, f"{total} {name} questions, expected at least {least}")
    for title in sorted(report.titles["train"] & report.titles["dev"]):
        report.problems.append(f"article {title!r} is in both parts")
    for identifier, count in report.ids.items():
        report.require(count == 1, f"question id {identifier!r} is used {count} times")
    for context, count in report.contexts.items():
        report.require(count == 1, f"the passage {context[:40]!r}... occurs {count} times")


def check_patterns(report):
    """Returns the most common pattern and its count."""
    questions = report.questions["train"] + report.questions["dev"]
    patterns = collections.Counter(map(pattern, questions))
    for words, count in patterns.items():
        report.require(
            count <= MAX_PATTERN_SHARE * len(questions),
            f"{count} of {len(questions)} questions begin with {words!r}, "
            f"expected at most {MAX_PATTERN_SHARE:.0%}",
        )
    return patterns.most_common(1)[0] if patterns else ("", 0)


def print_summary(report, most_common):
    for part in PARTS:
        words = report.word_counts[part] or [0]
        print(
            f"{part}: {len(report.titles[part])} articles, {len(report.word_counts[part])} "
            f"passages of {min(words)} to {max(words)} words, "
            f"{report.answerable[part]} answerable and "
            f"{report.unanswerable[part]} unanswerable questions"
        )
    total = sum(map(len, report.questions.values()))
    print(f"most common beginning of a question: {most_common[0]!r}, {most_common[1]} of {total}")


def test_data_set():
    report = Report()
    for part in PARTS:
        check_part(report, part, BUNDLED_SQUAD / f"{part}.json")
    check_totals(report)
    print_summary(report, check_patterns(report))
    assert not report.problems, "\n" + "\n".join(report.problems)
