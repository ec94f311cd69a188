"""SQuAD features against transformers' tokenizer.

Windows (question first): input ids, token types, masks, offsets and answer labels must be those of
one tokenizer call with truncation="only_second", stride and return_overflowing_tokens, labelled by
the rule of the well-known question-answering script. The course's own mode (context first): those
of truncation=True, with positions by char_to_token, one example per answer. On the bundled data, on
texts made to be awkward and, where it is there, on real SQuAD.
"""

import json
import os
import subprocess

os.environ["TOKENIZERS_PARALLELISM"] = "false"

import numpy
import pytest
import support
from support import bin_dir

support.needs_packages("transformers")
support.minilm_folder()

from transformers import BertTokenizerFast

MODEL_MAX_LENGTH = 512


def questions_of(path):
    """(question, context, [(text, start)]) in the file's order."""
    articles = json.loads(path.read_text(encoding="utf-8"))["data"]
    return [
        (qa["question"], paragraph["context"], [(a["text"], a["answer_start"]) for a in qa["answers"]])
        for article in articles
        for paragraph in article["paragraphs"]
        for qa in paragraph["qas"]
    ]


def ours(path, folder, layout, max_seq_length, doc_stride, pad_to):
    command = [bin_dir() / "squad_features_dump", path, folder, layout]
    command += [str(number) for number in (max_seq_length, doc_stride, pad_to)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    values = numpy.frombuffer(output, dtype=numpy.int32)
    features, at = [], 0
    while at < len(values):
        question, width, begin, end, start_label, end_label = map(int, values[at : at + 6])
        at += 6
        ids, types, mask = values[at : at + 3 * width].reshape(3, width).tolist()
        at += 3 * width
        offsets = values[at : at + 2 * (end - begin)].reshape(-1, 2).tolist()
        at += 2 * (end - begin)
        features.append(
            {
                "question": question,
                "ids": ids,
                "types": types,
                "mask": mask,
                "context": (begin, end),
                "offsets": offsets,
                "label": (start_label, end_label),
            }
        )
    return features


def context_tokens(sequence_ids, which):
    inside = [i for i, sequence in enumerate(sequence_ids) if sequence == which]
    return (inside[0], inside[-1] + 1) if inside else None


def script_label(offsets, context, answers):
    """First and last token of the first answer; the first token when it is not wholly inside."""
    if not answers or context is None:
        return 0, 0
    text, start_char = answers[0]
    end_char = start_char + len(text)
    first, last = context[0], context[1] - 1
    if not (offsets[first][0] <= start_char and offsets[last][1] >= end_char):
        return 0, 0
    # The script runs into the closing [SEP], whose offset is 0, when the answer begins with the
    # window's last token; its comment says that this is not meant.
    while first < context[1] and offsets[first][0] <= start_char:
        first += 1
    while last >= context[0] and offsets[last][1] >= end_char:
        last -= 1
    return first - 1, last + 1


def expected_windows(tokenizer, questions, max_seq_length, doc_stride):
    encoded = tokenizer(
        [question for question, _, _ in questions],
        [context for _, context, _ in questions],
        truncation="only_second",
        max_length=max_seq_length,
        stride=doc_stride,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    for i, sample in enumerate(encoded["overflow_to_sample_mapping"]):
        offsets = encoded["offset_mapping"][i]
        context = context_tokens(encoded.sequence_ids(i), 1)
        begin, end = context or (len(offsets) - 1, len(offsets) - 1)
        yield {
            "question": sample,
            "ids": encoded["input_ids"][i],
            "types": encoded["token_type_ids"][i],
            "mask": encoded["attention_mask"][i],
            "context": (begin, end),
            "offsets": [list(offset) for offset in offsets[begin:end]],
            "label": script_label(offsets, context, questions[sample][2]),
        }


def expected_context_first(tokenizer, questions, max_seq_length):
    rows = [
        (index, answer)
        for index, (_, _, answers) in enumerate(questions)
        for answer in answers
    ]
    encoded = tokenizer(
        [questions[index][1] for index, _ in rows],
        [questions[index][0] for index, _ in rows],
        truncation=True,
        max_length=max_seq_length,
        padding=True,
        return_offsets_mapping=True,
    )
    for i, (index, (text, start)) in enumerate(rows):
        begin, end = context_tokens(encoded.sequence_ids(i), 0)
        first = encoded.char_to_token(i, start)
        last = encoded.char_to_token(i, start + len(text) - 1)
        yield {
            "question": index,
            "ids": encoded["input_ids"][i],
            "types": encoded["token_type_ids"][i],
            "mask": encoded["attention_mask"][i],
            "context": (begin, end),
            "offsets": [list(offset) for offset in encoded["offset_mapping"][i][begin:end]],
            "label": tuple(max_seq_length if t is None else t for t in (first, last)),
        }


def pad(feature, width):
    """The peer's feature as one row of a batch of that width; [PAD] is 0."""
    missing = width - len(feature["ids"])
    padded = {key: feature[key] + [0] * missing for key in ("ids", "types", "mask")}
    return {**feature, **padded}


def compare(actual, expected):
    assert len(actual) == len(expected)
    for i, (mine, peer) in enumerate(zip(actual, expected)):
        peer = pad(peer, len(mine["ids"]))
        wrong = [key for key in mine if mine[key] != peer[key]]
        assert not wrong, f"feature {i}\n{mine}\n{peer}"


def check_batch_padding(actual, expected):
    """Batches of 8 are as wide as their longest row."""
    for begin in range(0, len(actual), 8):
        longest = max(len(feature["ids"]) for feature in expected[begin : begin + 8])
        widths = {len(feature["ids"]) for feature in actual[begin : begin + 8]}
        assert widths == {longest}, f"rows {begin} to {begin + 7}"


@pytest.fixture(scope="module")
def tokenizer(minilm):
    return BertTokenizerFast.from_pretrained(minilm, model_max_length=MODEL_MAX_LENGTH)


each_file = pytest.mark.parametrize("path", support.squad_files())


@each_file
@pytest.mark.parametrize(("max_seq_length", "doc_stride"), [(384, 128), (96, 32)])
def test_windows(path, max_seq_length, doc_stride, minilm, tokenizer):
    questions = questions_of(path)
    actual = ours(path, minilm, "windows", max_seq_length, doc_stride, 0)
    expected = list(expected_windows(tokenizer, questions, max_seq_length, doc_stride))
    compare(actual, expected)
    check_batch_padding(actual, expected)
    assert any(feature["label"] != (0, 0) for feature in expected)


@each_file
@pytest.mark.parametrize("max_seq_length", [MODEL_MAX_LENGTH, 96])
def test_context_first(path, max_seq_length, minilm, tokenizer):
    expected = list(expected_context_first(tokenizer, questions_of(path), max_seq_length))
    longest = max(len(feature["ids"]) for feature in expected)
    compare(ours(path, minilm, "context_first", max_seq_length, 0, longest), expected)


def awkward_questions():
    """Texts that stress offsets, windows and both ways of cutting."""
    words = "naïve Zürich 東京 e\u0301te\u0301 co\u0308operate ½ １２ don't U.S.A. \u200b 😀 supercalifragilistic"
    long = " ".join(f"{word}{i % 7}" for i in range(40) for word in words.split())
    accents = "The cafe\u0301 in Malmo\u0308 (Sko\u030ane) sold 3½ kg — “fresh” ﬁsh.\u00a0Über all, 東京 won."
    yield "", "Where was it sold?", accents, ["cafe\u0301", "Malmo\u0308", "Sko\u030ane", "3½ kg", "“fresh” ﬁsh", "東京"]
    yield "", "What ends it?", "It ends with one word", ["word", "It ends with one word", "It"]
    yield "", "Where?", long, [f"Zürich{i}" for i in range(7)] + [long[-30:]]
    yield "", "  " + " ".join(["how"] * 30) + "  ", long, [long[:40], long[300:340]]
    yield "context_first", " ".join(["why"] * 70), long, [long[:4], long[200:240]]
    yield "context_first", " ".join(["why"] * 95), "Short context here.", ["Short", "here"]
    yield "context_first", " ".join(["why"] * 700), long * 3, [long[:4]]


def write_awkward(path, mode):
    qas = []
    for number, (only, question, context, texts) in enumerate(awkward_questions()):
        if only and only != mode:
            continue
        answers = [{"text": text, "answer_start": context.index(text)} for text in texts]
        for k, answer in enumerate(answers):
            # Windows are labelled with the first answer: each is the first one once.
            qa = {"id": f"{number}-{k}", "question": question, "answers": [answer] + answers}
            qas.append({"context": context, "qas": [qa]})
    document = {"version": "v2.0", "data": [{"title": "Awkward", "paragraphs": qas}]}
    path.write_text(json.dumps(document), encoding="utf-8")


@pytest.mark.parametrize(("max_seq_length", "doc_stride"), [(384, 128), (96, 32), (96, 0)])
def test_windows_of_awkward_texts(max_seq_length, doc_stride, minilm, tokenizer, tmp_path):
    path = tmp_path / "awkward.json"
    write_awkward(path, "windows")
    expected = expected_windows(tokenizer, questions_of(path), max_seq_length, doc_stride)
    compare(ours(path, minilm, "windows", max_seq_length, doc_stride, 0), list(expected))


@pytest.mark.parametrize("max_seq_length", [MODEL_MAX_LENGTH, 96, 95])
def test_awkward_texts_first(max_seq_length, minilm, tokenizer, tmp_path):
    path = tmp_path / "awkward.json"
    write_awkward(path, "context_first")
    expected = list(expected_context_first(tokenizer, questions_of(path), max_seq_length))
    width = len(expected[0]["ids"])
    compare(ours(path, minilm, "context_first", max_seq_length, 0, width), expected)
