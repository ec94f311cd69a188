"""Writes a small SQuAD file: questions with an answer, evenly spread over a bigger file.

  python benchmarks/bert_squad/make_subset.py --data FILE --questions 320 --out subset.json
"""

import argparse
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import squad_common  # noqa: E402


def make_subset(data, questions, out):
    articles = squad_common.spread_subset(squad_common.read_articles(data), questions)
    pathlib.Path(out).parent.mkdir(parents=True, exist_ok=True)
    squad_common.write_squad(out, articles)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--questions", type=int, default=320)
    parser.add_argument("--out", required=True)
    arguments = parser.parse_args()
    make_subset(arguments.data, arguments.questions, arguments.out)
