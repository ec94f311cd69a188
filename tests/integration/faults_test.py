"""Deaths, freezes and exceptions of ranks under the own launcher, in each phase of a run.

All processes end, none is left behind, the message names the culprit, and the exit code is its.
The timeouts of the program are short; this test's deadlines only guard against hangs.
"""

import concurrent.futures
import itertools
import os
import pathlib
import re
import signal
import sys
import tempfile
import time

import rank_run
import support
from rank_run import check, expect_gone, wait_for_state

PROGRAM = support.bin_dir() / "faults_program"
RANKS = 3
TIMEOUT = 3.0  # of the heartbeat, in seconds; connecting may take twice that
LOST, STUCK = 75, 70


def start(phase, *arguments, **options):
    return rank_run.Run(PROGRAM, f"--ranks={RANKS}", f"--phase={phase}",
                        f"--timeout-ms={TIMEOUT * 1000:.0f}", *arguments, **options)


def at_phase(run, phase):
    run.wait_for(f"at {phase}", RANKS)
    return run.pids(RANKS)


def culprit_texts(phase, rank, pid, death):
    """What stderr must say, as regular expressions."""
    host = r"\(\S+\)"
    if death and rank == 0:
        # Those that learn of it from the control plane may be through before their watch prints_errors.
        if phase in ("start", "stuck"):
            return [rf"\[rank [12]\] rank 0 \(pid {pid}\) is gone"]
        return [rf"\[rank [12]\] error: rank 0 {host} died \(its connection closed\)"]
    if death:
        ended = rf"rank {rank} \(pid {pid}\) ended by signal 9 \(Killed\)"
        if phase == "start":
            return [rf"^{ended}$", rf"{ended} before it had come"]
        return [rf"^{ended}$", rf"rank {rank} {host} died \(its connection closed\)"]
    if phase == "start":
        return [r"rank 0 \(pid \d+\) is stopped, it gets SIGKILL"] if rank == 0 else [
            rf"rank {rank} of {RANKS} didn't come within"]
    return [rf"rank {rank} {host} is frozen \(nothing heard for {TIMEOUT:g} s\)"]


def exit_code(phase, rank, death):
    if rank == 0:
        return -signal.SIGKILL  # by the others when it is frozen
    if phase == "stuck":
        return STUCK
    return 128 + signal.SIGKILL if death else LOST


def check_fault(phase, rank, number):
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


def check_exception(rank):
    run = start("exception", f"--rank={rank}").end(1)
    expect_gone(run.pids(RANKS).values(), run)
    prefix = f"[rank {rank}] " if rank else ""
    check(f"{prefix}error: row 5 is damaged\n" in run.errors, "its own message", run)
    for other in set(range(RANKS)) - {rank}:
        text = (rf"^{rf'.rank {other}. ' if other else ''}error: rank {rank} \(\S+\) failed at step "
                r"7 in training_step: row 5 is damaged$")
        check(any(re.match(text, line) for line in run.errors), f"message of rank {other}", run)


def check_suspension(phase):
    """All ranks are stopped for twice the timeout and continued: nothing happens."""
    with tempfile.TemporaryDirectory() as folder:
        until = pathlib.Path(folder) / "until"
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
        check(run.errors == [], "nothing is told", run)


def check_stop(number, to_all):
    """A signal, to rank 0 or to all processes, stops all ranks at one boundary."""
    run = start("training")
    pids = at_phase(run, "training")
    for pid in pids.values() if to_all else [pids[0]]:
        os.kill(pid, number)
    run.end(0)
    boundaries = {match[1] for match in run.wait_for(r"stopped at (\d+)", RANKS)}
    check(len(boundaries) == 1, f"boundaries {boundaries}", run)


def main():
    cases = [(check_fault, case) for case in itertools.product(
        ("start", "exchange", "training", "checkpoint", "stuck", "end"), range(RANKS),
        (signal.SIGKILL, signal.SIGSTOP))]
    cases += [(check_exception, (rank,)) for rank in range(RANKS)]
    cases += [(check_suspension, (phase,)) for phase in ("exchange", "training", "checkpoint")]
    cases += [(check_stop, (signal.SIGTERM, False)), (check_stop, (signal.SIGTERM, True)),
              (check_stop, (signal.SIGINT, False))]
    if len(sys.argv) > 1:
        cases = [case for case in cases if sys.argv[1] in f"{case[0].__name__} {case[1]}"]
    failures = 0
    # They wait most of the time.
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        runs = {pool.submit(function, *case): f"{function.__name__}{case}"
                for function, case in cases}
        for run in concurrent.futures.as_completed(runs):
            if error := run.exception():
                failures += 1
                print(f"{runs[run]}: {error}", flush=True)
    print(f"{len(cases) - failures} of {len(cases)} cases ok")
    sys.exit(failures != 0)


if __name__ == "__main__":
    main()
