"""Whole trainings on two ranks under a launcher, and what becomes of them when a rank is killed,
freezes or throws in each phase: all processes end, the message names the culprit, the newest
committed checkpoint loads, and the resumed run is exact.

Weights are read by the safetensors package. Deadlines only guard against hangs.
"""

import dataclasses
import os
import re
import signal
import subprocess
import time

import pytest
import rank_run
import trainings
from covering import covering
from rank_run import check, wait_for_state
from safetensors.numpy import load_file
from trainings import difference

RANKS = 2
HEARTBEAT = 4.0
# By name: the options that say where and when it goes wrong.
PHASES = {name: ("--model.fault_phase", name)
          for name in ("setup", "training", "backward", "validation", "checkpoint", "end")}
PHASES["first_step"] = ("--model.fault_phase", "training", "--model.fault_step", "1")
BEFORE_CHECKPOINTS = ("setup", "first_step")


@dataclasses.dataclass
class Launcher:
    """Starts the ranks: what stands before the program and after its own arguments."""
    name: str
    before: tuple = ()
    after: tuple = ()
    # Of each rank, as messages name it: a pattern.
    hosts: tuple = (r"[^)]*",) * RANKS
    # What begins the launcher's own summary, which is to have the text of an exception, too.
    summary: str = ""
    environment: dict | None = None

    def __str__(self):
        return self.name


class Training:
    """A folder in which runs of the program train, one after the other."""

    def __init__(self, work, name, launcher):
        self.root = work / name
        self.launcher = launcher
        trainings.configure(self.root, {"heartbeat_timeout": f"{HEARTBEAT:g}s"},
                            model={"dropout": 0.3})

    def start(self, *arguments):
        words = [*self.launcher.before,
                 *trainings.command(self.root, *self.launcher.after, *arguments)]
        return rank_run.Run(*words, env=self.launcher.environment)

    def processes(self):
        """The ranks that run. Those of another pid namespace print pids that say nothing here, so
        they are known by the folder, which no other run has."""
        return rank_run.processes_of(trainings.PROGRAM.name, self.root)

    def end(self, run):
        """Waits for the end of the run and of all its processes; its exit code."""
        try:
            code = run.process.wait(rank_run.DEADLINE)
        except subprocess.TimeoutExpired:
            left = self.processes()
            self.kill(run)
            rank_run.fail(f"the program doesn't end; its ranks that run: {left}", run)
        end = time.monotonic() + rank_run.DEADLINE
        while left := self.processes():
            if time.monotonic() > end:
                self.kill(run)
                rank_run.fail(f"orphans: {left}", run)
            time.sleep(0.01)
        for reader in run.readers:
            reader.join(rank_run.DEADLINE)
            check(not reader.is_alive(), "its output is still open", run)
        return code

    def kill(self, run):
        for pid in [*self.processes(), run.process.pid]:
            if rank_run.running(pid):
                os.kill(pid, signal.SIGKILL)

    def end_well(self, run):
        code = self.end(run)
        check(code == 0, f"exit code {code}", run)
        return "".join([*run.lines, *run.errors])

    def end_failed(self, run):
        """The end of a run that must not succeed; all that it said."""
        code = self.end(run)
        check(code != 0, "exit code 0", run)
        run.errors.append(f"[exit code {code}]\n")
        return "".join([*run.lines, *run.errors])

    def checkpoints(self):
        """Of the newest run: one that failed before its first step isn't resumed."""
        return max(self.root.glob("lightning_logs/version_*")) / "checkpoints"

    def weights(self):
        return load_file(self.checkpoints() / "last.ckpt/model.safetensors")

    def finish(self):
        """To the end, from the newest checkpoint if there is one."""
        resume = ["--ckpt_path", "last"] if list(self.root.rglob("*.ckpt")) else []
        self.end_well(self.start(*resume))
        return self.weights()


def culprit(launcher, fault, rank):
    """What is said of the rank that went wrong; of an exception by the other one."""
    return {
        "kill": rf"rank {rank} \({launcher.hosts[rank]}\) (exited|ended by signal 9|has exited)",
        "freeze": rf"rank {rank} \({launcher.hosts[rank]}\) is (not responding|stopped)",
        "throw": rf"rank {rank} \({launcher.hosts[rank]}\) failed at step \d+ in \w+.*: "
                 r"the disk of this rank is full",
    }[fault]


def check_fault(work, whole, launcher, fault, rank, phase):
    training = Training(work, f"{launcher.name}_{fault}{rank}_{phase}", launcher)
    run = training.start("--model.fault", fault, "--model.fault_rank", str(rank), *PHASES[phase])
    text = training.end_failed(run)
    pattern = culprit(launcher, fault, rank)
    check(re.search(pattern, text), f"{pattern!r} isn't told", run)
    if launcher.summary and fault == "throw":
        _, begin, summary = text.rpartition(launcher.summary)
        check(begin and re.search("DistributedError: " + pattern, summary), "no summary", run)
    if phase not in BEFORE_CHECKPOINTS:
        check(list(training.checkpoints().glob("*.ckpt")), "no checkpoint", run)
    check(difference(training.finish(), whole) == 0.0, "the resumed run isn't exact", run)


def check_full_disk(work, whole, launcher):
    """Files of rank 0, which writes the checkpoints, can't grow: the run ends and says so."""
    training = Training(work, f"{launcher.name}_full_disk", launcher)
    run = training.start("--model.fault", "full_disk", "--model.fault_rank", "0")
    text = training.end_failed(run)
    check("File too large" in text and "HINT" in text, "the reason isn't told", run)
    check((training.checkpoints() / "step=2.ckpt").exists(), "no checkpoint", run)
    check(not (training.checkpoints() / "step=3.ckpt").exists(), "half a checkpoint", run)
    check(difference(training.finish(), whole) == 0.0, "the resumed run isn't exact", run)


def check_disagreement(work, _, launcher, fault, phase, pattern):
    training = Training(work, f"{launcher.name}_{fault}", launcher)
    run = training.start("--model.fault", fault, "--model.fault_phase", phase)
    text = training.end_failed(run)
    check(re.search(pattern, text), f"{pattern!r} isn't told", run)


def check_suspension(work, whole, launcher):
    """All ranks are stopped for twice the timeout and continued: nothing happens."""
    training = Training(work, f"{launcher.name}_suspended", launcher)
    run = training.start("--model.step_seconds", "0.5")
    end = time.monotonic() + rank_run.DEADLINE
    while not list(training.root.glob("lightning_logs/*/checkpoints/step=2.ckpt")):
        check(time.monotonic() < end, "no step 2", run)
        time.sleep(0.05)
    stopped = training.processes()
    check(len(stopped) == RANKS, f"processes {stopped}", run)
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    for pid in stopped:
        wait_for_state(pid, "T", run)
    time.sleep(2 * HEARTBEAT)
    for pid in reversed(stopped):
        os.kill(pid, signal.SIGCONT)
    training.end_well(run)
    check(difference(training.weights(), whole) == 0.0, "the run isn't exact", run)


def check_whole(work, whole, launcher, cluster):
    training = Training(work, f"{launcher.name}_whole", launcher)
    run = training.start()
    text = training.end_well(run)
    check(f"cluster: {cluster} (" in text, "the cluster isn't told", run)
    check(difference(training.weights(), whole) == 0.0, "other weights", run)


@dataclasses.dataclass(frozen=True)
class Case:
    """function(work, whole, launcher, *arguments) of this module."""
    function: object
    launcher: str
    arguments: tuple = ()

    def __str__(self):
        name = self.function.__name__.removeprefix("check_")
        words = [word for word in map(str, self.arguments) if word.isidentifier() or word.isdigit()]
        return "-".join([self.launcher, name, *words])


# What isn't one rank's fault, or always the same one's.
OF_ALL_RANKS = {
    "full_disk": (check_full_disk, ()),
    "extra_log": (check_disagreement, ("extra_log", "training", r'"only_here" on rank 1 only')),
    "shape": (check_disagreement, ("shape", "setup", r"net\.0\.weight.*on rank 1")),
    "suspension": (check_suspension, ()),
}


def matrix(launchers, faults, phases, allowed=lambda **case: True):
    """The cases of one faulty rank, and those of all ranks, as parameters of a test. Per commit:
    each fault under each launcher and of each rank, each phase, and each of the others under one
    launcher. The first take longest."""
    axes = {"launcher": launchers, "fault": faults, "rank": list(range(RANKS)), "phase": phases}
    chosen = covering(axes, [("launcher", "fault"), ("fault", "rank"), ("phase",)], allowed)
    everything = covering(axes, [tuple(axes)], allowed)
    found = [(Case(check_fault, case["launcher"], (case["fault"], case["rank"], case["phase"])),
              case in chosen) for case in everything]
    for i, launcher in enumerate(launchers):
        found += [(Case(function, launcher, arguments), j % len(launchers) == i)
                  for j, (function, arguments) in enumerate(OF_ALL_RANKS.values())]
    return [as_parameter(case, always) for case, always in found]


def as_parameter(case, always=True):
    return pytest.param(case, id=str(case), marks=[] if always else [pytest.mark.exhaustive])


def undisturbed(work):
    """The weights of the run that nothing happens to."""
    local = Launcher("whole", after=("--trainer.devices", str(RANKS)))
    return Training(work, "whole", local).finish()


class Faults:
    """Runs cases; `launchers` are by name."""

    def __init__(self, work, launchers):
        self.work = work
        self.launchers = {launcher.name: launcher for launcher in launchers}
        self.whole = undisturbed(work)

    def __call__(self, case):
        case.function(self.work, self.whole, self.launchers[case.launcher], *case.arguments)
