"""Does it learn as well: MiniLM fine-tuned on SQuAD by ours and by transformers, one table.

  python benchmarks/squad_quality/run.py --data SQUAD_FILE [--epochs 3] [--seeds 1 2]

Both sides train on the answerable questions of all articles but the last --val_articles and are
scored on those, once, after the last epoch. The schedule is that of configs/bert_squad/minilm.yaml
on both sides: batch 16 in length groups, AdamW 1e-4, weight decay 0.01 (none for biases and
LayerNorms), warmup over a tenth of the steps, then linearly down to 0, clip 1.0, bf16, dropout 0.1,
windows of 384 tokens with stride 128. Seeds differ in what they draw (head, order, dropout), so the
means are what to compare.

The answers are decoded alike: a first and a last token out of the 20 best of each in a window, at
most 30 tokens, the best sum of scores over all windows of a question, always an answer. Ours takes
the 20 best among the passage's tokens, the peer among all tokens and drops those outside of it.

Training seconds leave out reading, tokenizing and scoring on both sides (ours: the sum of its epoch
times); process seconds and CPU seconds are of the whole process, with all threads, from start to
exit. On a busy machine only CPU seconds mean something, and only with --threads 1: idle threads
spin.

Each result is appended to --out as a JSON line. --peer_results and --our_results take such files,
and what transformers_peer.py prints, instead of running again; of such a peer's result the CPU
seconds are those of its training alone.
"""

import argparse
import csv
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import harness  # noqa: E402
import squad_common  # noqa: E402

FOLDER = harness.ROOT / "build" / "benchmarks" / "squad_quality"
COLUMNS = [("exact", "exact"), ("f1", "f1"), ("training s", "train_seconds"),
           ("process s", "process_seconds"), ("CPU s", "cpu_seconds")]


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, help="SQuAD v1.1 or v2 JSON file")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--val_articles", type=int, default=3, help="last articles to score")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--limit_questions", type=int, default=None, help="for a quick try")
    parser.add_argument("--model", default=None, help="Hugging Face folder (default: MiniLM)")
    parser.add_argument("--peer_results", nargs="+", default=[], metavar="FILE")
    parser.add_argument("--our_results", nargs="+", default=[], metavar="FILE")
    parser.add_argument("--out", default=str(FOLDER / "results.jsonl"), help="file of JSON lines")
    arguments = parser.parse_args()
    # The programs run in the repository's folder.
    arguments.model = os.path.abspath(arguments.model or squad_common.minilm_folder())
    arguments.data = os.path.abspath(arguments.data)
    return arguments


def first_questions(articles, count):
    """The first count questions, as articles."""
    result = []
    for article in articles:
        paragraphs = []
        for paragraph in article["paragraphs"]:
            qas = paragraph["qas"][:count]
            count -= len(qas)
            if qas:
                paragraphs.append({"qas": qas, "context": paragraph["context"]})
        if paragraphs:
            result.append({"title": article["title"], "paragraphs": paragraphs})
    return result


def write_split(arguments):
    """train.json and val.json: the questions that the peer takes from --data. Their numbers."""
    articles = squad_common.read_articles(arguments.data)
    if len(articles) <= arguments.val_articles:
        raise SystemExit(f"{arguments.data} has {len(articles)} articles, expected more than the "
                         f"{arguments.val_articles} to score")
    middle = len(articles) - arguments.val_articles
    counts = {}
    for name, part in (("train", articles[:middle]), ("val", articles[middle:])):
        part = squad_common.only_answerable(part)
        if arguments.limit_questions is not None:
            part = first_questions(part, arguments.limit_questions)
        squad_common.write_squad(FOLDER / f"{name}.json", part)
        counts[f"{name}_questions"] = len(squad_common.answerable_questions(part))
    return counts


def run_process(name, command, log_file, threads):
    """(output, seconds, CPU seconds of all threads); ends the program when the process fails."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    print(f"{name}: running, its output is in {log_file}", file=sys.stderr, flush=True)
    begin = time.perf_counter()
    with open(log_file, "w", encoding="utf-8") as log:
        process = subprocess.Popen([str(part) for part in command], cwd=harness.ROOT,
                                   env=environment, stdin=subprocess.DEVNULL, stdout=log,
                                   stderr=subprocess.STDOUT)
        # subprocess reports no resource usage of one child alone.
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - begin
    output = log_file.read_text(encoding="utf-8", errors="replace")
    if process.returncode != 0:
        print(output[-3000:], file=sys.stderr)
        raise SystemExit(f"{name}: exit code {process.returncode}")
    return output, seconds, usage.ru_utime + usage.ru_stime


def last_scores(run_root):
    """(exact, f1) of the last validation in the newest run's table."""
    runs = sorted(run_root.glob("lightning_logs/version_*"),
                  key=lambda path: int(path.name.split("_")[1]))
    with open(runs[-1] / "metrics.csv", newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row.get("f1")]
    if not rows:
        raise SystemExit(f"{runs[-1]}/metrics.csv has no f1")
    return float(rows[-1]["exact"]), float(rows[-1]["f1"])


def run_ours(seed, arguments):
    if not (harness.BIN / "bert_squad").exists():
        raise SystemExit(f"{harness.BIN}/bert_squad does not exist. HINT: cmake --build --preset "
                         f"release --target bert_squad")
    root = FOLDER / f"ours-{seed}"
    root.mkdir(parents=True, exist_ok=True)
    command = [harness.BIN / "bert_squad", "fit",
               "--config", harness.ROOT / "configs" / "bert_squad" / "minilm.yaml",
               "--seed_everything", seed, "--model.pretrained", arguments.model,
               "--model.n_best", 20, "--model.max_answer_length", 30,
               "--data.train_file", FOLDER / "train.json", "--data.val_file", FOLDER / "val.json",
               "--data.batch_size", 16, "--data.max_seq_length", 384, "--data.doc_stride", 128,
               "--trainer.max_epochs", arguments.epochs,
               "--trainer.check_val_every_n_epoch", arguments.epochs,
               "--trainer.num_sanity_val_steps", 0, "--trainer.callbacks", "[]",
               "--trainer.enable_checkpointing", "false",
               "--trainer.enable_progress_bar", "false", "--trainer.default_root_dir", root]
    output, seconds, cpu_seconds = run_process(f"ours, seed {seed}", command, root / "output.txt",
                                               arguments.threads)
    epochs = [float(text) for text in re.findall(r"epoch time ([\d.]+) s", output)]
    if len(epochs) != arguments.epochs:
        raise SystemExit(f"ours: {len(epochs)} epoch times in {root}/output.txt, "
                         f"expected {arguments.epochs}")
    exact, f1 = last_scores(root)
    return {"ours": "bert_squad", "seed": seed, "epochs": arguments.epochs,
            "threads": arguments.threads, **arguments.questions,
            "exact": round(exact, 2), "f1": round(f1, 2), "train_seconds": round(sum(epochs), 1),
            "total_seconds": harness.pattern(r"Total training time: ([\d.]+) s")(output),
            "process_seconds": round(seconds, 1), "cpu_seconds": round(cpu_seconds, 1)}


def run_peer(seed, arguments):
    command = [sys.executable, "benchmarks/squad_quality/transformers_peer.py",
               "--data", arguments.data, "--model", arguments.model, "--epochs", arguments.epochs,
               "--val_articles", arguments.val_articles, "--seed", seed,
               "--threads", arguments.threads]
    if arguments.limit_questions is not None:
        command += ["--limit_questions", arguments.limit_questions]
    log_file = FOLDER / f"peer-{seed}.txt"
    output, seconds, cpu_seconds = run_process(f"transformers, seed {seed}", command, log_file,
                                               arguments.threads)
    result = last_result(output.splitlines(), seed)
    result.update(process_seconds=round(seconds, 1), cpu_seconds=round(cpu_seconds, 1))
    return result


def last_result(lines, seed, key="peer"):
    """The last JSON line of that side and seed, or None."""
    for line in reversed(lines):
        if not line.startswith("{"):
            continue
        try:
            result = json.loads(line)
        except ValueError:
            continue
        if key in result and result.get("seed") == seed:
            return result
    return None


def finished(files, key, seed, arguments):
    """A result of earlier that is in one of the files, checked to be of the same training."""
    for file in files:
        lines = pathlib.Path(file).read_text(encoding="utf-8").splitlines()
        result = last_result(lines, seed, key)
        if result is None:
            continue
        for name, wanted in {"epochs": arguments.epochs, **arguments.questions}.items():
            if result[name] != wanted:
                raise SystemExit(f"{file}: {name} of seed {seed} is {result[name]}, "
                                 f"expected {wanted}")
        return result
    return None


def results_of(key, files, run, arguments):
    results = []
    for seed in arguments.seeds:
        result = finished(files, key, seed, arguments)
        if result is None:
            result = run(seed, arguments)
            with open(arguments.out, "a", encoding="utf-8") as file:
                file.write(json.dumps(result) + "\n")
        results.append(result)
    return results


def figures(result):
    """Of all columns; None where there is none."""
    cpu_seconds = result.get("cpu_seconds", result.get("train_cpu_seconds"))
    return [result.get(key) for _, key in COLUMNS[:-1]] + [cpu_seconds]


def table_row(label, values):
    cells = ["" if value is None else f"{value:.1f}" for value in values]
    return f"| {label} | " + " | ".join(cells) + " |"


def print_table(sides, arguments):
    print(f"\n### MiniLM on SQuAD: {arguments.epochs} epochs, seeds "
          f"{', '.join(map(str, arguments.seeds))}\n\n{harness.machine()}.\n")
    print("| | " + " | ".join(title for title, _ in COLUMNS) + " |")
    print("|---" * (len(COLUMNS) + 1) + "|")
    means = {}
    for name, results in sides.items():
        for result in results:
            label = f"{name}, seed {result['seed']}, threads {result['threads']}"
            if "cpu_seconds" not in result:
                label += ", CPU of training alone"
            print(table_row(label, figures(result)))
        columns = zip(*map(figures, results))
        means[name] = [None if None in column else statistics.mean(column) for column in columns]
        print(table_row(f"**{name}, mean**", means[name]))
    ours, peer = means["ours"], means["transformers"]
    print(f"\nf1 of ours minus that of transformers: {ours[1] - peer[1]:+.2f} points.")


def main():
    arguments = parse_arguments()
    FOLDER.mkdir(parents=True, exist_ok=True)
    pathlib.Path(arguments.out).parent.mkdir(parents=True, exist_ok=True)
    arguments.questions = write_split(arguments)
    sides = {
        "ours": results_of("ours", arguments.our_results, run_ours, arguments),
        "transformers": results_of("peer", arguments.peer_results, run_peer, arguments),
    }
    print_table(sides, arguments)


if __name__ == "__main__":
    main()
