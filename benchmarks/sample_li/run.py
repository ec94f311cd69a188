"""sample_li against Python's Lightning and against a bare LibTorch loop, one thread each.

  python benchmarks/sample_li/run.py [--data FOLDER] [--repeats 5] [--out results.json]

Steps per second: each program trains the same autoencoder with batch 32 on the same number of
images. Ours runs with its loader, log() at every step, CSV logger and progress bar; checkpoints and
validation are off on all sides. All run on a pseudo-terminal, so that the bars draw as for a user.

Start: one-step runs. For Lightning the time from the start of the process to the end of the first
step; for ours from the start of the process to its exit, which is longer than what is compared.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import harness  # noqa: E402

RATE = "steps per second"
START = "seconds to first step"
OUR_RATE = harness.pattern(r"training batches alone ([\d.]+) steps/s")
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def ours(arguments, name, steps, metrics, devices=1):
    command = [harness.BIN / "sample_li", "fit",
               "--config", harness.ROOT / "configs" / "sample_li.yaml",
               "--trainer.precision", "32-true",
               "--trainer.limit_train_batches", "1.0",
               "--trainer.max_epochs", "-1",
               "--trainer.max_steps", steps,
               "--trainer.limit_val_batches", "0",
               "--trainer.enable_checkpointing", "false",
               "--trainer.default_root_dir", "build/benchmarks/sample_li",
               *arguments.ours]
    if arguments.data:
        command += ["--data.data_dir", arguments.data]
    if devices > 1:
        command += ["--trainer.devices", devices]
    return harness.Contender(name, command, metrics, ONE_THREAD, terminal=True)


def lightning(arguments, name, steps, metrics, devices=1):
    command = [sys.executable, "benchmarks/sample_li/lightning_peer.py", "--steps", steps,
               "--samples", arguments.samples, "--devices", devices]
    if arguments.data:
        command += ["--data", arguments.data]
    return harness.Contender(name, command, metrics, ONE_THREAD, terminal=True)


def main():
    parser = harness.argument_parser(__doc__)
    parser.add_argument("--data", default=None, help="folder with MNIST IDX files, for both")
    parser.add_argument("--samples", type=int, default=None,
                        help="training images (default: 9000 with --data, else 55000)")
    parser.add_argument("--steps", type=int, default=20000)
    parser.add_argument("--peer_steps", type=int, default=3000)
    parser.add_argument("--ours", nargs="*", default=[], help="more arguments for sample_li")
    arguments = parser.parse_args()
    arguments.samples = arguments.samples or (9000 if arguments.data else 55000)

    contenders = [
        ours(arguments, "ours", arguments.steps, {RATE: OUR_RATE}),
        harness.Contender(
            "bare loop",
            [harness.BIN / "bare_loop", "--steps", arguments.steps, "--samples", arguments.samples],
            {RATE: harness.pattern(r"([\d.]+) steps/s")}, ONE_THREAD, terminal=True),
        lightning(arguments, "Lightning", arguments.peer_steps,
                  {RATE: harness.json_key("steps_per_second")}),
        ours(arguments, "ours, one step", 1, {START: harness.PROCESS_SECONDS}),
        lightning(arguments, "Lightning, one step", 1,
                  {START: harness.json_key("seconds_to_first_step")}),
    ]
    results = harness.interleave(contenders, arguments)
    harness.report("sample_li, one thread", results, [
        harness.Comparison(RATE, "Lightning", higher_is_better=True),
        harness.Comparison(RATE, "bare loop", higher_is_better=True),
        harness.Comparison(START, "Lightning, one step", higher_is_better=False),
    ], arguments)


if __name__ == "__main__":
    main()
