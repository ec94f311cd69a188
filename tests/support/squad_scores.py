"""The official SQuAD v2 metric, written here anew from its definition, and ours through
squad_metric_tool."""

import collections
import json
import math
import re
import string
import subprocess

from support import bin_dir


def normalize_answer(text):
    text = text.lower()
    text = "".join(char for char in text if char not in set(string.punctuation))
    text = re.sub(r"\b(a|an|the)\b", " ", text)
    return " ".join(text.split())


def exact_of(gold, predicted):
    return int(normalize_answer(gold) == normalize_answer(predicted))


def f1_of(gold, predicted):
    gold_words, words = normalize_answer(gold).split(), normalize_answer(predicted).split()
    if not gold_words or not words:
        return int(gold_words == words)
    same = sum((collections.Counter(gold_words) & collections.Counter(words)).values())
    if same == 0:
        return 0
    precision, recall = same / len(words), same / len(gold_words)
    return 2 * precision * recall / (precision + recall)


def best_threshold(questions, predictions, scores):
    current = sum(not question["answers"] for question in questions)
    best, best_at = current, 0.0
    answers = {question["id"]: question["answers"] for question in questions}
    for key in sorted(answers, key=lambda key: predictions[key][1]):
        if answers[key]:
            current += scores[key]
        elif predictions[key][0]:
            current -= 1
        if current > best:
            best, best_at = current, predictions[key][1]
    return 100.0 * best / len(scores), best_at


def means(prefix, exact, f1, keys):
    if not keys:
        return {f"{prefix}exact": 0.0, f"{prefix}f1": 0.0, f"{prefix}total": 0}
    return {
        f"{prefix}exact": 100.0 * sum(exact[key] for key in keys) / len(keys),
        f"{prefix}f1": 100.0 * sum(f1[key] for key in keys) / len(keys),
        f"{prefix}total": len(keys),
    }


def evaluate(case):
    questions, predictions = case["questions"], case["predictions"]
    exact, f1 = {}, {}
    for question in questions:
        gold = [text for text in question["answers"] if normalize_answer(text)] or [""]
        guess = predictions[question["id"]][0]
        exact[question["id"]] = max(exact_of(text, guess) for text in gold)
        f1[question["id"]] = max(f1_of(text, guess) for text in gold)
    best_exact, best_exact_thresh = best_threshold(questions, predictions, exact)
    best_f1, best_f1_thresh = best_threshold(questions, predictions, f1)
    threshold = math.inf if case["threshold"] is None else case["threshold"]
    for question in questions:
        if predictions[question["id"]][1] > threshold:
            exact[question["id"]] = f1[question["id"]] = float(not question["answers"])
    has_answer = [question["id"] for question in questions if question["answers"]]
    has_none = [question["id"] for question in questions if not question["answers"]]
    return {
        **means("", exact, f1, has_answer + has_none),
        **means("HasAns_", exact, f1, has_answer),
        **means("NoAns_", exact, f1, has_none),
        "best_exact": best_exact,
        "best_exact_thresh": best_exact_thresh,
        "best_f1": best_f1,
        "best_f1_thresh": best_f1_thresh,
    }


def ours(texts, cases):
    command = [bin_dir() / "squad_metric_tool"]
    document = json.dumps({"texts": texts, "cases": cases}, ensure_ascii=False)
    output = subprocess.run(command, input=document.encode(), check=True, stdout=subprocess.PIPE)
    return json.loads(output.stdout)
