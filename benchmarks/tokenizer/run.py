"""Our WordPiece tokenizer against Hugging Face tokenizers, one thread each, on SQuAD contexts.

    python benchmarks/tokenizer/run.py [--vocab FOLDER] [--squad FILE]

FOLDER needs vocab.txt and tokenizer.json; without it the pinned MiniLM package is used. Ids and
offsets of the two are compared by tests/parity/tokenizer_parity.py, here only their number.
"""

import pathlib
import struct
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import harness
import squad_common

DEFAULT_SQUAD = harness.ROOT.parent / "shared/data/squad/dev-half-v2.0.json"


def write_texts(path, squad_file):
    texts = [
        paragraph["context"].encode()
        for article in squad_common.read_articles(squad_file)
        for paragraph in article["paragraphs"]
    ]
    path.write_bytes(b"".join(struct.pack("<I", len(text)) + text for text in texts))
    return len(texts), sum(map(len, texts))


def main():
    parser = harness.argument_parser(__doc__)
    parser.add_argument("--vocab", default=None, help="folder of the model")
    parser.add_argument("--squad", default=DEFAULT_SQUAD, type=pathlib.Path, help="SQuAD file")
    parser.add_argument("--passes", default=5, type=int, help="timed passes over the texts per run")
    arguments = parser.parse_args()
    if not arguments.squad.is_file():
        print(f"SKIPPED: there is no SQuAD file {arguments.squad}. HINT: name one with --squad")
        return 77
    vocab = arguments.vocab or squad_common.minilm_folder()

    with tempfile.TemporaryDirectory() as folder:
        texts = pathlib.Path(folder) / "texts.bin"
        count, size = write_texts(texts, arguments.squad)
        options = ["--vocab", vocab, "--texts", texts, "--passes", arguments.passes]
        metrics = {
            name: harness.json_key(key)
            for name, key in [
                ("tokens/s", "tokens_per_s"),
                ("seconds to load", "load_s"),
                ("tokens", "tokens"),
            ]
        }
        peer = pathlib.Path(__file__).parent / "peer.py"
        contenders = [
            harness.Contender("ours", [harness.BIN / "benchmark_tokenizer", *options], metrics),
            harness.Contender("encode_batch", [sys.executable, peer, *options], metrics),
            harness.Contender(
                "encode", [sys.executable, peer, *options, "--call", "encode"], metrics
            ),
        ]
        results = harness.interleave(contenders, arguments)
    if len({tuple(metric["tokens"]) for metric in results.values()}) > 1:
        raise SystemExit("the contenders found different numbers of tokens")
    harness.report(
        f"Tokenizer: {count} contexts, {size} bytes, one thread",
        results,
        [
            harness.Comparison("tokens/s", "encode_batch", higher_is_better=True),
            harness.Comparison("seconds to load", "encode_batch", higher_is_better=False, unit="s"),
        ],
        arguments,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
