"""How a job of SLURM ends when it is told that its time is up: requeued, or not, and with which
exit code. Without a SLURM: the variables of a job with one task, and scripts of our own for its
commands, which note how they are called. (tests/slurm has a real one.)

Weights are read by the safetensors package. Deadlines guard against hangs: they decide nothing.
"""

import os
import signal
import time

import pytest
import trainings
from rank_run import check
from slurm_jobs import Jobs
from trainings import checkpoints, difference, weights

pytestmark = pytest.mark.usefixtures("one_thread")

VARIABLES = {"SLURM_JOB_ID": "77", "SLURM_JOB_NAME": "life", "SLURM_CLUSTER_NAME": "test",
             "SLURM_PROCID": "0", "SLURM_NTASKS": "1", "SLURM_JOB_NUM_NODES": "1"}
DEADLINE = 120


class Job:
    """Runs of one job, one after the other, on two ranks that the first one starts, or on one."""

    def __init__(self, begin, root, ranks=2, **commands):
        self.begin = begin
        self.root = root
        self.ranks = ranks
        trainings.configure(self.root, model={"dropout": 0.3})
        self.commands = self.root / "commands"
        self.commands.mkdir()
        self.calls_file = self.root / "calls"
        for command, lines in {"scontrol": "", "squeue": "echo 1:00:00", **commands}.items():
            if lines is not None:
                self.write(command, lines)

    def write(self, command, lines):
        file = self.commands / command
        file.write_text(f'#!/bin/sh\necho "{command} $*" >> {self.calls_file}\n{lines}\n')
        file.chmod(0o755)

    def calls(self, command):
        lines = self.calls_file.read_text().splitlines() if self.calls_file.exists() else []
        return [line for line in lines if line.split()[0] == command]

    def start(self, *arguments, restart=0):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("SLURM")}
        environment |= VARIABLES | {"PATH": str(self.commands)}
        if restart:
            environment["SLURM_RESTART_COUNT"] = str(restart)
        return self.begin(
            *trainings.command(self.root, "--trainer.devices", self.ranks, *arguments),
            env=environment)

    def start_and_signal(self, number, *arguments):
        """After the second step."""
        run = self.start("--model.step_seconds", 0.3, *arguments)
        end = time.monotonic() + DEADLINE
        while not (checkpoints(self.root) / "step=2.ckpt").exists():
            check(run.process.poll() is None and time.monotonic() < end, "no second step", run)
            time.sleep(0.02)
        run.process.send_signal(number)
        return run

    def requeue_checkpoints(self):
        return list(checkpoints(self.root).glob("requeue-*.ckpt"))


@pytest.fixture
def make_job(start, tmp_path):
    """make_job(name, ranks=2, command=lines of sh...)"""
    return lambda name="job", **options: Job(start, tmp_path / name, **options)


@pytest.fixture(scope="module")
def whole(work):
    """The weights of the training that is left alone."""
    trainings.configure(work, model={"dropout": 0.3})
    trainings.run(work, "--trainer.devices", 2)
    return weights(work)


@pytest.mark.parametrize("name", ["SIGUSR1", "SIGUSR2"])
def test_another_signal_requeues(name, make_job, whole):
    """The signal is an option; a run that was requeued ends with 0, and resumes exactly."""
    job = make_job()
    run = job.start_and_signal(getattr(signal, name), "--trainer.slurm.requeue_signal", name).end(0)
    check(f"stopped by {name} after step" in run.text, "no reason", run)
    assert job.calls("scontrol") == ["scontrol requeue 77"]
    assert len(job.requeue_checkpoints()) == 1
    run = job.start(restart=1).end(0)
    Jobs.check_resumed(run.text, 1, 77)
    assert difference(whole, weights(job.root)) == 0.0


def test_no_requeue_without_a_step(make_job):
    """A job that is told to stop before its first step since the start would be told so forever."""
    # The run asks for its time before it begins: the signal comes then. (Several ranks make a step
    # before they all know.)
    job = make_job(ranks=1, squeue="kill -USR1 $PPID; echo 1:00:00")
    run = job.start().end(128 + signal.SIGUSR1)
    check("Nothing was trained" in run.text and "made no progress since it started" in run.text,
          "no reason", run)
    assert not job.calls("scontrol") and not job.requeue_checkpoints()


def test_no_requeue_without_a_step_after_others(make_job):
    """Also when earlier starts made some."""
    job = make_job(ranks=1)
    job.start_and_signal(signal.SIGUSR1).end(0)
    assert job.calls("scontrol") == ["scontrol requeue 77"]
    job.write("squeue", "kill -USR1 $PPID; echo 1:00:00")
    run = job.start(restart=1).end(128 + signal.SIGUSR1)
    Jobs.check_resumed(run.text, 1)
    check("Job 77 is not requeued: job 77 made no progress since it started" in run.text,
          "no reason", run)
    assert job.calls("scontrol") == ["scontrol requeue 77"]


@pytest.mark.parametrize(("scontrol", "reason"), [
    (None, "No such file"),
    ("echo 'Requested operation is disabled'; exit 1", "is disabled"),
])
def test_scontrol_fails(scontrol, reason, make_job):
    """What is to be run is printed, and the exit code says that it wasn't."""
    job = make_job(scontrol=scontrol)
    run = job.start_and_signal(signal.SIGUSR1).end(128 + signal.SIGUSR1)
    check("HINT: run scontrol requeue 77" in run.text and reason in run.text, "no HINT", run)
    assert len(job.requeue_checkpoints()) == 1
