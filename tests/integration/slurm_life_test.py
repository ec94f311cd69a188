"""How a job of SLURM ends when it is told that its time is up: requeued, or not, and with which
exit code. Without a SLURM: the variables of a job with one task, and scripts of our own for its
commands, which note how they are called. (tests/slurm has a real one.)

Weights are read by the safetensors package. Deadlines guard against hangs: they decide nothing.
"""

import os
import pathlib
import signal
import subprocess
import tempfile
import time

import trainings
from trainings import checkpoints, difference, weights

VARIABLES = {"SLURM_JOB_ID": "77", "SLURM_JOB_NAME": "life", "SLURM_CLUSTER_NAME": "test",
             "SLURM_PROCID": "0", "SLURM_NTASKS": "1", "SLURM_JOB_NUM_NODES": "1"}
DEADLINE = 120


class Job:
    """Runs of one job, one after the other, on two ranks that the first one starts, or on one."""

    def __init__(self, work, name, ranks=2, **commands):
        self.root = work / name
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
        return subprocess.Popen(
            trainings.command(self.root, "--trainer.devices", self.ranks, *arguments),
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def start_and_signal(self, number, *arguments):
        """After the second step."""
        process = self.start("--model.step_seconds", 0.3, *arguments)
        end = time.monotonic() + DEADLINE
        while not (checkpoints(self.root) / "step=2.ckpt").exists():
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < end, "no second step"
            time.sleep(0.02)
        process.send_signal(number)
        return process

    def requeue_checkpoints(self):
        return list(checkpoints(self.root).glob("requeue-*.ckpt"))


def end(process, code):
    output, _ = process.communicate(timeout=DEADLINE)
    assert process.returncode == code, (process.returncode, output)
    return output


def test_another_signal_requeues(work):
    """The signal is an option; a run that was requeued ends with 0, and goes on exactly."""
    whole = Job(work, "whole")
    end(whole.start(), 0)
    for name in ("SIGUSR1", "SIGUSR2"):
        job = Job(work, name)
        process = job.start_and_signal(getattr(signal, name),
                                       "--trainer.slurm.requeue_signal", name)
        text = end(process, 0)
        assert f"stopped by {name} after step" in text, text
        assert job.calls("scontrol") == ["scontrol requeue 77"], job.calls("scontrol")
        assert len(job.requeue_checkpoints()) == 1
        text = end(job.start(restart=1), 0)
        assert "job 77 was started again (restart 1), it goes on from" in text, text
        assert difference(weights(whole.root), weights(job.root)) == 0.0, name


def test_no_requeue_without_a_step(work):
    """Whoever is told to stop before the first step since the start would be told so for ever."""
    # The run asks for its time before it begins: the signal comes then. (Several ranks make a step
    # before they all know.)
    job = Job(work, "no_step", ranks=1, squeue="kill -USR1 $PPID; echo 1:00:00")
    text = end(job.start(), 128 + signal.SIGUSR1)
    assert "Nothing was trained" in text and "made no step since it was started" in text, text
    assert not job.calls("scontrol") and not job.requeue_checkpoints(), text

    # Also when earlier starts made some.
    job = Job(work, "no_step_again", ranks=1)
    end(job.start_and_signal(signal.SIGUSR1), 0)
    assert job.calls("scontrol") == ["scontrol requeue 77"]
    job.write("squeue", "kill -USR1 $PPID; echo 1:00:00")
    text = end(job.start(restart=1), 128 + signal.SIGUSR1)
    assert "restart 1), it goes on from" in text, text
    assert "Job 77 is not requeued: job 77 made no step since it was started" in text, text
    assert job.calls("scontrol") == ["scontrol requeue 77"], job.calls("scontrol")


def test_no_scontrol(work):
    """What is to be run is printed, and the exit code says that nobody did."""
    job = Job(work, "no_scontrol", scontrol=None)
    text = end(job.start_and_signal(signal.SIGUSR1), 128 + signal.SIGUSR1)
    assert "HINT: run scontrol requeue 77" in text and "No such file" in text, text
    assert len(job.requeue_checkpoints()) == 1

    # Or it says no.
    job = Job(work, "refused", scontrol="echo 'Requested operation is disabled'; exit 1")
    text = end(job.start_and_signal(signal.SIGUSR1), 128 + signal.SIGUSR1)
    assert "HINT: run scontrol requeue 77" in text and "is disabled" in text, text


def main():
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as name:
        trainings.run_tests(globals(), pathlib.Path(name))


if __name__ == "__main__":
    main()
