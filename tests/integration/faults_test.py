"""Deaths, freezes and exceptions of ranks under the own launcher, in each phase of a run.

All processes end, none is left behind, the message names the culprit, and the exit code is its.
The timeouts of the program are short; this test's deadlines only guard against hangs.
"""

import os
import re
import signal
import time

import pytest
import rank_run
import support
from covering import covering
from rank_run import check, expect_gone, wait_for_state

PROGRAM = support.Program("faults_program")
RANKS = 3
TIMEOUT = 3.0  # of the heartbeat, in seconds; connecting may take twice that
LOST, STUCK = 75, 70


def start(phase, *arguments, **options):
    return rank_run.Run(PROGRAM.path, f"--ranks={RANKS}", f"--phase={phase}",
                        f"--timeout-ms={TIMEOUT * 1000:.0f}", *arguments, **options)


def at_phase(run, phase):
    run.wait_for(f"at {phase}", RANKS)
    return run.pids(RANKS)


def culprit_texts(phase, rank, pid, death):
    """What stderr must say, as regular expressions."""
    host = r"\(\S+\)"
    if death and rank == 0:
        # Those that learn of it from the control plane may be through before their watch prints.
        if phase in ("start", "stuck"):
            return [rf"\[rank [12]\] rank 0 \(pid {pid}\) has exited"]
        return [rf"\[rank [12]\] error: rank 0 {host} exited \(its connection closed\)"]
    if death:
        ended = rf"rank {rank} \(pid {pid}\) ended by signal 9 \(Killed\)"
        if phase == "start":
            return [rf"^{ended}$", rf"{ended} before it connected"]
        return [rf"^{ended}$", rf"rank {rank} {host} exited \(its connection closed\)"]
    if phase == "start":
        return [r"rank 0 \(pid \d+\) is stopped; sending SIGKILL"] if rank == 0 else [
            rf"rank {rank} of {RANKS} did not connect within"]
    return [rf"rank {rank} {host} is not responding \(no message for {TIMEOUT:g} s\)"]


def exit_code(phase, rank, death):
    if rank == 0:
        return -signal.SIGKILL  # by the others when it is frozen
    if phase == "stuck":
        return STUCK
    return 128 + signal.SIGKILL if death else LOST


def check_fault(_, phase, rank, number):
    """SIGKILL or SIGSTOP of one rank in one phase."""
    death = number == signal.SIGKILL
    run = start(phase, f"--rank={rank}", "--grace-ms=2000")
    pids = at_phase(run, phase)
    os.kill(pids[rank], number)
    run.end(exit_code(phase, rank, death))
    expect_gone(pids.values(), run)
    errors = "".join(run.errors)
    for text in culprit_texts(phase, rank, pids[rank], death):
        check(re.search(text, errors, re.MULTILINE), f"{text!r} isn't told", run)


def check_exception(_, rank):
    run = start("exception", f"--rank={rank}").end(1)
    expect_gone(run.pids(RANKS).values(), run)
    prefix = f"[rank {rank}] " if rank else ""
    check(f"{prefix}error: row 5 is damaged\n" in run.errors, "its own message", run)
    for other in set(range(RANKS)) - {rank}:
        text = (rf"^{rf'.rank {other}. ' if other else ''}error: rank {rank} \(\S+\) failed at step "
                r"7 in training_step: row 5 is damaged$")
        check(any(re.match(text, line) for line in run.errors), f"message of rank {other}", run)


def check_suspension(work, phase):
    """All ranks are stopped for twice the timeout and continued: nothing happens."""
    until = work / f"until_{phase}"
    run = start(phase, f"--until={until}")
    pids = at_phase(run, phase)
    for pid in pids.values():
        os.kill(pid, signal.SIGSTOP)
    for pid in pids.values():
        wait_for_state(pid, "T", run)
    time.sleep(2 * TIMEOUT)
    for rank in (1, 0, 2):
        os.kill(pids[rank], signal.SIGCONT)
    time.sleep(TIMEOUT / 2)
    until.touch()
    run.end(0)
    check(run.errors == [], "something is told", run)


def check_stop(_, number, to_all):
    """A signal, to rank 0 or to all processes, stops all ranks at one boundary."""
    run = start("training")
    pids = at_phase(run, "training")
    for pid in pids.values() if to_all else [pids[0]]:
        os.kill(pid, number)
    run.end(0)
    boundaries = {match[1] for match in run.wait_for(r"stopped at (\d+)", RANKS)}
    check(len(boundaries) == 1, f"boundaries {boundaries}", run)


AXES = {"phase": ["start", "exchange", "training", "checkpoint", "stuck", "end"],
        "rank": list(range(RANKS)), "number": [signal.SIGKILL, signal.SIGSTOP]}
# Per commit: each signal in each phase and to each rank.
CHOSEN = covering(AXES, [("phase", "number"), ("rank", "number")])

CASES = support.cases({
    **{f"{case['phase']}-rank{case['rank']}-{case['number'].name}":
       ((check_fault, *case.values()),) for case in covering(AXES, [tuple(AXES)])},
    **{f"exception-rank{rank}": ((check_exception, rank),) for rank in range(RANKS)},
    **{f"suspension-{phase}": ((check_suspension, phase),)
       for phase in ("exchange", "training", "checkpoint")},
    "SIGTERM to rank 0": ((check_stop, signal.SIGTERM, False),),
    "SIGTERM to all": ((check_stop, signal.SIGTERM, True),),
    "SIGINT to rank 0": ((check_stop, signal.SIGINT, False),),
}, exhaustive=(
    *(f"{case['phase']}-rank{case['rank']}-{case['number'].name}"
      for case in covering(AXES, [tuple(AXES)]) if case not in CHOSEN),
    "exception-rank2", "suspension-exchange", "suspension-checkpoint"))


@pytest.fixture(scope="module")
def running(work, in_threads):
    def run(case):
        function, *arguments = case
        function(work, *arguments)

    return in_threads(run, at_a_time=4)


@pytest.mark.parametrize("case", CASES)
def test_fault(case, running):
    running.result(case)
