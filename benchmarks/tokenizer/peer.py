"""Times Hugging Face tokenizers on one thread; the counterpart of benchmark_tokenizer.cpp."""

import argparse
import json
import os
import pathlib
import struct
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"

import tokenizers


def read_texts(path):
    data = pathlib.Path(path).read_bytes()
    at, texts = 0, []
    while at < len(data):
        (size,) = struct.unpack_from("<I", data, at)
        texts.append(data[at + 4 : at + 4 + size].decode())
        at += 4 + size
    return texts


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vocab", required=True)
    parser.add_argument("--texts", required=True)
    parser.add_argument("--passes", type=int, default=5)
    parser.add_argument("--call", choices=["encode_batch", "encode"], default="encode_batch")
    arguments = parser.parse_args()
    texts = read_texts(arguments.texts)
    begin = time.perf_counter()
    tokenizer = tokenizers.Tokenizer.from_file(os.path.join(arguments.vocab, "tokenizer.json"))
    load_seconds = time.perf_counter() - begin
    tokenizer.no_truncation()
    tokenizer.no_padding()

    def encode_all():
        if arguments.call == "encode_batch":
            return tokenizer.encode_batch(texts, add_special_tokens=False)
        return [tokenizer.encode(text, add_special_tokens=False) for text in texts]

    tokens = sum(len(encoding) for encoding in encode_all())
    begin = time.perf_counter()
    for _ in range(arguments.passes):
        encode_all()
    seconds = (time.perf_counter() - begin) / arguments.passes
    print(json.dumps({"tokens": tokens, "seconds": seconds, "tokens_per_s": tokens / seconds,
                      "load_s": load_seconds}))


if __name__ == "__main__":
    main()
