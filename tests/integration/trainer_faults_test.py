"""Whole trainings on two ranks under the own launcher, torchrun and mpirun, and what becomes of
them when a rank is killed, freezes or throws in each phase: all processes end, the message names the
culprit, the newest committed checkpoint loads, and the resumed run is exact.

Weights are read by the safetensors package. Deadlines only guard against hangs.
"""

import concurrent.futures
import itertools
import os
import pathlib
import re
import shutil
import signal
import sys
import tempfile
import time

import rank_run
import trainings
from rank_run import check, expect_gone, running, wait_for_state
from safetensors.numpy import load_file
from trainings import difference

RANKS = 2
HEARTBEAT = 4.0
PHASES = ("setup", "training", "backward", "validation", "checkpoint", "end")
LAUNCHERS = {
    "local": ([], ["--trainer.devices", str(RANKS)]),
    "torchrun": ([sys.executable, "-m", "torch.distributed.run", "--standalone",
                  f"--nproc-per-node={RANKS}", "--no-python"], []),
    "mpirun": (["mpirun", "--allow-run-as-root", "--oversubscribe", "-n", str(RANKS)], []),
}


class Training:
    """A folder in which runs of the program train, one after the other."""

    def __init__(self, work, name, launcher):
        self.root = work / name
        self.launcher = launcher
        trainings.configure(self.root, {"heartbeat_timeout": f"{HEARTBEAT:g}s"},
                            model={"dropout": 0.3})

    def start(self, *arguments):
        before, after = LAUNCHERS[self.launcher]
        return rank_run.Run(*before, *trainings.command(self.root, *after, *arguments))

    def checkpoints(self):
        """Of the newest run: one that failed before its first step isn't gone on with."""
        return max(self.root.glob("lightning_logs/version_*")) / "checkpoints"

    def weights(self):
        return load_file(self.checkpoints() / "last.ckpt/model.safetensors")

    def finish(self):
        """To the end, from the newest checkpoint if there is one."""
        resume = ["--ckpt_path", "last"] if list(self.root.rglob("*.ckpt")) else []
        self.start(*resume).end(0)
        return self.weights()


def pids(run):
    return [int(match[1]) for line in list(run.lines) if (match := re.search(r"pid (\d+)", line))]


def end_failed(run):
    """Waits for the end of a run that must not succeed, and of all its processes."""
    try:
        code = run.process.wait(rank_run.DEADLINE)
    except Exception:
        for pid in pids(run):
            if running(pid):
                os.kill(pid, signal.SIGKILL)
        run.process.kill()
        rank_run.fail("the program doesn't end", run)
    for reader in run.readers:
        reader.join(rank_run.DEADLINE)
    check(code != 0, "exit code 0", run)
    expect_gone(pids(run), run)
    run.errors.append(f"[exit code {code}]\n")
    return "".join([*run.lines, *run.errors])


def culprit(fault, rank):
    return {
        "kill": rf"rank {rank} \([^)]*\) (died|ended by signal 9|is gone)",
        "freeze": rf"rank {rank} \([^)]*\) is (frozen|stopped)",
        "throw": rf"(rank {rank} \S+ failed at step \d+ in \w+.*: )?the disk of this rank is full",
    }[fault]


def check_fault(work, whole, launcher, fault, rank, phase):
    training = Training(work, f"{launcher}_{fault}{rank}_{phase}", launcher)
    run = training.start("--model.fault", fault, "--model.fault_rank", str(rank),
                         "--model.fault_phase", phase)
    text = end_failed(run)
    check(re.search(culprit(fault, rank), text), f"{culprit(fault, rank)!r} isn't told", run)
    if phase != "setup":
        check(list(training.checkpoints().glob("*.ckpt")), "no checkpoint", run)
    check(difference(training.finish(), whole) == 0.0, "the resumed run isn't exact", run)


def check_full_disk(work, whole, launcher):
    """Files of rank 0, which writes the checkpoints, can't grow: the run ends and says so."""
    training = Training(work, f"{launcher}_full_disk", launcher)
    run = training.start("--model.fault", "full_disk", "--model.fault_rank", "0")
    text = end_failed(run)
    check("File too large" in text and "HINT" in text, "the reason isn't told", run)
    check((training.checkpoints() / "step=2.ckpt").exists(), "no checkpoint", run)
    check(not (training.checkpoints() / "step=3.ckpt").exists(), "half a checkpoint", run)
    check(difference(training.finish(), whole) == 0.0, "the resumed run isn't exact", run)


def check_disagreement(work, launcher, fault, phase, text):
    training = Training(work, f"{launcher}_{fault}", launcher)
    run = training.start("--model.fault", fault, "--model.fault_phase", phase)
    told = end_failed(run)
    check(re.search(text, told), f"{text!r} isn't told", run)


def check_suspension(work, whole, launcher):
    """All ranks are stopped for twice the timeout and continued: nothing happens."""
    training = Training(work, f"{launcher}_suspended", launcher)
    run = training.start("--model.step_seconds", "0.5")
    run.wait_for(r"pid (\d+)", RANKS)
    end = time.monotonic() + rank_run.DEADLINE
    while not list(training.root.glob("lightning_logs/*/checkpoints/step=2.ckpt")):
        check(time.monotonic() < end, "no step 2", run)
        time.sleep(0.05)
    stopped = pids(run)
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    for pid in stopped:
        wait_for_state(pid, "T", run)
    time.sleep(2 * HEARTBEAT)
    for pid in reversed(stopped):
        os.kill(pid, signal.SIGCONT)
    run.end(0)
    check(difference(training.weights(), whole) == 0.0, "the run isn't exact", run)


def check_whole(work, whole, launcher):
    training = Training(work, f"{launcher}_whole", launcher)
    run = training.start().end(0)
    text = "".join([*run.lines, *run.errors])
    name = {"mpirun": "mpi"}.get(launcher, launcher)
    check(f"cluster: {name} (" in text, "the cluster isn't told", run)
    check(difference(training.weights(), whole) == 0.0, "other weights", run)


def cases(work, whole):
    for launcher in ("local", "torchrun"):
        for fault, rank, phase in itertools.product(("kill", "freeze"), range(RANKS), PHASES):
            # The agent gives a frozen worker half a minute: two phases stand for all.
            if launcher == "torchrun" and fault == "freeze" and phase not in ("setup", "backward"):
                continue
            yield check_fault, (work, whole, launcher, fault, rank, phase)
        for phase in PHASES:
            yield check_fault, (work, whole, launcher, "throw", 1, phase)
        yield check_full_disk, (work, whole, launcher)
        yield check_disagreement, (work, launcher, "extra_log", "training",
                                   r'"only_here" on rank 1 only')
        yield check_disagreement, (work, launcher, "shape", "setup", r"net\.0\.weight.*on rank 1")
        yield check_suspension, (work, whole, launcher)
    yield check_whole, (work, whole, "torchrun")
    if shutil.which("mpirun"):
        yield check_whole, (work, whole, "mpirun")
    else:
        print("mpirun not found: not tested")


def name_of(function, arguments):
    words = [a for a in arguments if isinstance(a, (str, int))]
    return " ".join(map(str, [function.__name__, *words]))


def main():
    os.environ["OMP_NUM_THREADS"] = "1"
    chosen = sys.argv[1:]
    work = pathlib.Path(tempfile.mkdtemp(prefix="trainer_faults_"))
    failed = 0
    try:
        whole = Training(work, "whole", "local").finish()
        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            futures = {}
            for function, arguments in cases(work, whole):
                name = name_of(function, arguments)
                if all(word in name for word in chosen):
                    futures[pool.submit(function, *arguments)] = name
            for future in concurrent.futures.as_completed(futures):
                error = future.exception()
                print(f"{futures[future]}: {'FAILED' if error else 'passed'}", flush=True)
                if error:
                    print(error, flush=True)
                    failed += 1
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(f"{len(futures) - failed} of {len(futures)} cases passed")
    sys.exit(1 if failed or not futures else 0)


if __name__ == "__main__":
    main()
