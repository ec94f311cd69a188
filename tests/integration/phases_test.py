"""Requests to stop, signals and late ranks in those parts of a Trainer's run that no batch runs in,
on two ranks: all ranks stop at one step and the resumed run is exact; long phases may take longer
than `collective_timeout`. And the errors of options about ranks.

Deadlines only guard against hangs.
"""

import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

import rank_run
import trainings
from rank_run import check
from trainings import difference, weights

LOCAL = ("--trainer.devices", "2")


def start(root, *arguments, **options):
    return rank_run.Run(*trainings.command(root, *arguments), **options)


def make_whole(work):
    """The undisturbed training; its weights."""
    root = work / "whole"
    if not root.exists():
        trainings.configure(root, model={"dropout": 0.3})
        start(root, *LOCAL).end(0)
    return weights(root)


def numbers(run, what):
    """What the ranks said, by rank: `what N`."""
    lines = [re.match(rf"(?:\[rank (\d)\] )?{what} (\d+)$", line) for line in run.lines]
    return {int(match[1] or 0): int(match[2]) for match in lines if match}


def check_same_step(run, expected):
    """All ranks have trained the same number of steps, one of `expected`."""
    steps = numbers(run, "steps")
    check(steps.keys() == {0, 1} and steps[0] == steps[1] and steps[0] in expected,
          f"steps {steps}, expected of {expected}", run)


def check_next_run(root, run, whole):
    """The run after a stopped one goes on from where that was, if it was anywhere."""
    trained = numbers(run, "steps")[0] > 0
    start(root, *LOCAL, *(["--ckpt_path", "last"] if trained else [])).end(0)
    check(difference(weights(root, 0 if trained else 1), whole) == 0.0, "not exact", run)


def test_requests_in_end_hooks(work):
    """request_stop() by one rank at the end of an epoch or a validation holds at once, on all."""
    whole = make_whole(work)
    # An epoch has four batches.
    for phase, rank, interval, step in (("train_epoch_end", 1, "1.0", 4),
                                        ("train_epoch_end", 0, "1.0", 4),
                                        ("validation_epoch_end", 1, "0.5", 2),
                                        ("validation_epoch_end", 0, "0.5", 2)):
        root = work / f"{phase}{rank}"
        trainings.configure(root, {"val_check_interval": float(interval)}, model={"dropout": 0.3})
        run = start(root, *LOCAL, "--model.fault", "stop", "--model.fault_phase", phase,
                    "--model.fault_rank", str(rank)).end(0)
        check_same_step(run, [step])
        check("asked for by a rank" in "".join(run.lines + run.errors), "no reason", run)
        check_next_run(root, run, whole)


def test_time_limit(work):
    """max_time ends both ranks at one step, and the run can be gone on with."""
    whole = make_whole(work)
    root = work / "max_time"
    trainings.configure(root, model={"dropout": 0.3})
    # Seven steps of 0.7 seconds take longer than that. What happens before the first counts, too.
    run = start(root, *LOCAL, "--trainer.max_time", "00:00:00:03",
                "--model.step_seconds", "0.7").end(0)
    check_same_step(run, range(8))
    check("max_time reached" in "".join(run.lines + run.errors), "no reason", run)
    check_next_run(root, run, whole)


def test_signal_during_setup(work):
    """It is acted on as soon as training begins, by all ranks."""
    whole = make_whole(work)
    for rank in (0, 1):
        root = work / f"setup_signal{rank}"
        trainings.configure(root, model={"dropout": 0.3})
        run = start(root, *LOCAL, "--model.fault", "terminate", "--model.fault_phase", "setup",
                    "--model.fault_rank", str(rank)).end(128 + signal.SIGTERM)
        check_same_step(run, [0, 1])
        check("stopped by SIGTERM after step" in "".join(run.errors), "no reason", run)
        check_next_run(root, run, whole)


def test_signal_before_all_have_come(work):
    """A rank that waits for the other one, before there is a process group, has its handlers."""
    for first in (0, 1):
        root = work / f"early_signal{first}"
        trainings.configure(root)
        port = str(rank_run.free_port())

        def join(rank):
            return start(root, env=os.environ | {
                "RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank),
                "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port})

        runs = {first: join(first)}
        # Said just before it looks for the others.
        while not any(f"GLOBAL_RANK: {first}" in line
                      for line in [*runs[first].lines, *runs[first].errors]):
            check(runs[first].process.poll() is None, "it ended", runs[first])
        os.kill(runs[first].process.pid, signal.SIGTERM)
        other = 1 - first
        runs[other] = join(other)
        for run in runs.values():
            run.end(128 + signal.SIGTERM)
        # Only rank 0 says it on the terminal.
        check("stopped by SIGTERM after step" in "".join(runs[0].errors), "no reason", runs[0])
        steps = [numbers(run, "steps") for run in runs.values()]
        check(steps[0] == steps[1] and steps[0][0] <= 1, f"steps {steps}", run)


def run_late(work, phase, rank):
    root = work / f"late_{phase}"
    trainings.configure(root)
    return start(root, *LOCAL, "--trainer.collective_timeout", "3s", "--model.fault", "sleep",
                 "--model.fault_phase", phase, "--model.fault_rank", str(rank))


def test_late_ranks(work):
    """One that takes twice the timeout is waited for in a long phase, and named elsewhere."""
    def check_long(phase, rank):
        check_same_step(run_late(work, phase, rank).end(0), [8])

    def check_step(_):
        run = run_late(work, "training", 1)
        code = run.process.wait(rank_run.DEADLINE)
        run.end(code)
        check(code != 0, "exit code 0", run)
        text = (r"rank 0 waited for 3 s in .*all_reduce.* for rank 1 \([^)]*\), which is at step 2 "
                r"in training_step")
        check(re.search(text, "".join(run.errors)), f"{text!r} isn't told", run)

    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(check_long, "prepare_data", 0), pool.submit(check_long, "setup", 1),
                   pool.submit(check_long, "checkpoint", 1), pool.submit(check_step, None)]
        for future in futures:
            future.result()


def test_option_errors(work):
    """What can't be is said, with a HINT, and no rank is left waiting."""
    root = work / "options"
    trainings.configure(root)
    cases = (
        (("--trainer.network_interface", "nothing0"), "nothing0"),
        (("--trainer.cluster", "slrum"), "slrum"),
    )
    for arguments, text in cases:
        run = start(root, *LOCAL, *arguments)
        code = run.process.wait(rank_run.DEADLINE)
        run.end(code)
        told = "".join(run.errors)
        check(code != 0 and text in told and "HINT" in told, f"{text!r} isn't told", run)


def main():
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory(prefix="phases_test_") as name:
        trainings.run_tests(globals(), pathlib.Path(name))


if __name__ == "__main__":
    main()
