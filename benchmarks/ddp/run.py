"""DDP on two processes: ours against Python's Lightning, one thread a rank on both sides; ours in
shared memory, Lightning over Gloo.

  python benchmarks/ddp/run.py --squad SQUAD_FILE [--data MNIST_FOLDER] [--repeats 5] [--out FILE]

sample_li  steps per second with batch 32 on each rank, and the start: for Lightning the time from the
           start of the first process to the end of its first step; for ours the whole life of a
           one-step run of both ranks, which is longer than what is compared.
minilm     seconds per fine-tuning step of MiniLM-L6, batch 4 on each rank, by the rules of
           benchmarks/bert_squad; the first of two epochs is warm-up.
checkpoint how long a checkpoint of 21 M weights and AdamW's moments delays the step after it, written
           in the step and behind its back (checkpoint_stall.cpp); no peer.

Ours starts its second rank itself (trainer.devices 2); Lightning does the same (strategy "ddp"). All
run on a pseudo-terminal, so that the progress bars draw as for a user. --parts picks some of the
three; --out FILE keeps the samples of each part in FILE.PART.json.
"""

import copy
import os
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import harness  # noqa: E402
import squad_common  # noqa: E402
from bert_squad import run as bert_squad  # noqa: E402
from sample_li import run as sample_li  # noqa: E402

RANKS = 2
PARTS = ("sample_li", "minilm", "checkpoint")


def of_part(arguments, part):
    """The arguments with the file for this part's samples."""
    copied = copy.copy(arguments)
    if arguments.out:
        copied.out = f"{arguments.out}.{part}.json"
    return copied


def run_sample_li(arguments):
    contenders = [
        sample_li.ours(arguments, "ours", arguments.steps,
                       {sample_li.RATE: sample_li.OUR_RATE}, RANKS),
        sample_li.lightning(arguments, "Lightning", arguments.peer_steps,
                            {sample_li.RATE: harness.json_key("steps_per_second"),
                             sample_li.START: harness.json_key("seconds_to_first_step")}, RANKS),
        sample_li.ours(arguments, "ours, one step", 1,
                       {sample_li.START: harness.PROCESS_SECONDS}, RANKS),
    ]
    results = harness.interleave(contenders, arguments)
    harness.report(f"sample_li, {RANKS} ranks, one thread each", results, [
        harness.Comparison(sample_li.RATE, "Lightning", higher_is_better=True),
        harness.Comparison(sample_li.START, "Lightning", higher_is_better=False),
    ], of_part(arguments, "sample_li"))


def run_minilm(arguments):
    subset = bert_squad.FOLDER / "subset.json"
    bert_squad.FOLDER.mkdir(parents=True, exist_ok=True)
    bert_squad.make_subset(arguments.squad, arguments.questions, subset)
    lengths = [len(f.ids) for f in bert_squad.features_of(subset)]
    steps = len(squad_common.length_grouped_batches(lengths, bert_squad.BATCH, seed=1, epoch=1))
    fast = ["--mode", "fast"]
    results = harness.interleave([
        bert_squad.ours(arguments, subset, steps, RANKS),
        bert_squad.peer(arguments, "Lightning", subset, fast, devices=RANKS),
        bert_squad.peer(arguments, "Lightning, freed memory kept", subset, fast,
                        bert_squad.KEEP_MEMORY, RANKS),
    ], arguments)
    harness.report(f"MiniLM on SQuAD text, {RANKS} ranks, one thread each", results, [
        harness.Comparison(bert_squad.SECONDS, name, higher_is_better=False, unit="s")
        for name in results if name != "ours"
    ], of_part(arguments, "minilm"))


def run_checkpoint(arguments):
    done = subprocess.run(
        [harness.BIN / "benchmark_checkpoint_stall", str(arguments.repeats)], cwd=harness.ROOT,
        env={**os.environ, **sample_li.ONE_THREAD}, check=False, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise SystemExit(f"benchmark_checkpoint_stall: exit code {done.returncode}\n{done.stdout}")
    table = [line for line in done.stdout.splitlines() if line.startswith("|")]
    print(f"\n### Checkpoints, {RANKS} ranks, one thread each\n\n{harness.machine()}; "
          f"{arguments.repeats} interleaved repeats.\n\n" + "\n".join(table), flush=True)


def main():
    parser = harness.argument_parser(__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--squad", help="SQuAD v1.1 or v2 JSON file, for minilm")
    parser.add_argument("--questions", type=int, default=96)
    parser.add_argument("--data", default=None, help="folder with MNIST IDX files, for sample_li")
    parser.add_argument("--samples", type=int, default=None,
                        help="training images (default: 9000 with --data, else 55000)")
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--peer_steps", type=int, default=1500)
    parser.add_argument("--num_threads", type=int, default=1, help="of each rank, for minilm")
    arguments = parser.parse_args()
    arguments.samples = arguments.samples or (9000 if arguments.data else 55000)
    arguments.ours = []
    if "minilm" in arguments.parts and not arguments.squad:
        parser.error("minilm needs --squad")
    for part, run in zip(PARTS, (run_sample_li, run_minilm, run_checkpoint)):
        if part in arguments.parts:
            run(arguments)


if __name__ == "__main__":
    main()
