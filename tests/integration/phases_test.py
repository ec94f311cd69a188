"""Requests to stop, signals and late ranks in those parts of a Trainer's run that no batch runs in,
on two ranks: all ranks stop at one step and the resumed run is exact; long phases may take longer
than `collective_timeout`. And the errors of options about ranks.

Deadlines only guard against hangs.
"""

import os
import re
import signal
import time

import pytest
import trainings
from rank_run import check
from support import cases
from trainings import difference, weights

pytestmark = pytest.mark.usefixtures("one_thread")

LOCAL = ("--trainer.devices", "2")


@pytest.fixture
def train(start):
    """Starts a training in a new folder."""
    def train(root, *arguments, trainer=None, **options):
        trainings.configure(root, trainer, model={"dropout": 0.3})
        return start(*trainings.command(root, *arguments), **options)

    return train


@pytest.fixture(scope="module")
def whole(work):
    """The weights of the undisturbed training."""
    trainings.configure(work, model={"dropout": 0.3})
    trainings.run(work, *LOCAL)
    return weights(work)


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
    """The run after a stopped one resumes where that was, if it was anywhere."""
    trained = numbers(run, "steps")[0] > 0
    trainings.run(root, *LOCAL, *(["--ckpt_path", "last"] if trained else []))
    check(difference(weights(root, 0 if trained else 1), whole) == 0.0, "not exact", run)


@pytest.mark.parametrize(("phase", "interval", "rank", "step"), cases({
    f"{phase}-rank{rank}": (phase, interval, rank, step)
    for phase, interval, step in (("train_epoch_end", 1.0, 4), ("validation_epoch_end", 0.5, 2))
    for rank in (0, 1)
}, exhaustive=("train_epoch_end-rank0", "validation_epoch_end-rank1")))
def test_requests_in_end_hooks(phase, interval, rank, step, whole, train, tmp_path):
    """request_stop() by one rank at the end of an epoch or a validation holds at once, on all. An
    epoch has four batches."""
    run = train(tmp_path, *LOCAL, "--model.fault", "stop", "--model.fault_phase", phase,
                "--model.fault_rank", str(rank), trainer={"val_check_interval": interval}).end(0)
    check_same_step(run, [step])
    check("asked for by a rank" in run.text, "no reason", run)
    check_next_run(tmp_path, run, whole)


def test_time_limit(whole, train, tmp_path):
    """max_time ends both ranks at one step, and the run can be resumed."""
    # Seven steps of 0.7 seconds take longer than that. What happens before the first counts, too.
    run = train(tmp_path, *LOCAL, "--trainer.max_time", "00:00:00:03",
                "--model.step_seconds", "0.7").end(0)
    check_same_step(run, range(8))
    check("max_time reached" in run.text, "no reason", run)
    check_next_run(tmp_path, run, whole)


EACH_RANK = cases({"rank0": 0, "rank1": 1}, exhaustive=("rank0",))


@pytest.mark.parametrize("rank", EACH_RANK)
def test_signal_during_setup(rank, whole, train, tmp_path):
    """It is acted on as soon as training begins, by all ranks."""
    run = train(tmp_path, *LOCAL, "--model.fault", "terminate", "--model.fault_phase", "setup",
                "--model.fault_rank", str(rank)).end(128 + signal.SIGTERM)
    check_same_step(run, [0, 1])
    check("stopped by SIGTERM after step" in "".join(run.errors), "no reason", run)
    check_next_run(tmp_path, run, whole)


@pytest.mark.parametrize("first", EACH_RANK)
def test_signal_before_all_have_come(first, train, free_port, tmp_path):
    """A rank that waits for the other one, before there is a process group, has its handlers."""
    port = str(free_port())

    def join(rank):
        return train(tmp_path, env=os.environ | {
            "RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank),
            "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port})

    runs = {first: join(first)}
    # Said just before it looks for the others.
    while f"GLOBAL_RANK: {first}" not in runs[first].text:
        check(runs[first].process.poll() is None, "it ended", runs[first])
        time.sleep(0.01)
    os.kill(runs[first].process.pid, signal.SIGTERM)
    other = 1 - first
    runs[other] = join(other)
    for run in runs.values():
        run.end(128 + signal.SIGTERM)
    # Only rank 0 says it on the terminal.
    check("stopped by SIGTERM after step" in "".join(runs[0].errors), "no reason", runs[0])
    steps = [numbers(run, "steps") for run in runs.values()]
    check(steps[0] == steps[1] and steps[0][0] <= 1, f"steps {steps}", run)


@pytest.fixture
def train_late(train, tmp_path):
    """A training in which one rank takes twice the timeout in one phase."""
    def train_late(phase, rank):
        return train(tmp_path, *LOCAL, "--trainer.collective_timeout", "3s", "--model.fault",
                     "sleep", "--model.fault_phase", phase, "--model.fault_rank", str(rank))

    return train_late


@pytest.mark.parametrize(("phase", "rank"), [("prepare_data", 0), ("setup", 1), ("checkpoint", 1)])
def test_late_rank_in_a_long_phase(phase, rank, train_late):
    """It is waited for."""
    check_same_step(train_late(phase, rank).end(0), [8])


def test_late_rank_elsewhere(train_late):
    """It is named."""
    run = train_late("training", 1).end(None)
    text = (r"rank 0 waited for 3 s in .*all_reduce.* for rank 1 \([^)]*\), which is at step 2 "
            r"in training_step")
    check(re.search(text, "".join(run.errors)), f"{text!r} isn't told", run)


@pytest.mark.parametrize(("option", "value"), [("network_interface", "nothing0"),
                                               ("cluster", "slrum")])
def test_option_errors(option, value, train, tmp_path):
    """What can't be is said, with a HINT, and no rank is left waiting."""
    run = train(tmp_path, *LOCAL, f"--trainer.{option}", value).end(None)
    told = "".join(run.errors)
    check(value in told and "HINT" in told, f"{value!r} isn't told", run)
