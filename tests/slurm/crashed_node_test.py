"""A node crashes under a job of a real SLURM: the ranks on the other one end and say whose node it
was; SLURM starts the job again, and it goes on exactly, without being asked.

SLURM is told of the crash, or finds out by itself after half a minute. Each case has a SLURM of its
own, since they mostly wait. Deadlines are guards against hangs: they decide nothing.
"""

import concurrent.futures
import contextlib
import os
import pathlib
import re
import tempfile

import slurm
import trainings
from slurm_jobs import Jobs

CASES = [(node, silent) for silent in (True, False) for node in (1, 2)]


def said_by(folder, ranks):
    """What these ranks wrote to their log files: srun, which prints the rest, may be gone."""
    logs = trainings.run_dir(folder) / "logs"
    return "".join((logs / f"rank_{rank}.log").read_text() for rank in ranks)


def check_crash(jobs, node, silent):
    folder = jobs.folder(f"crashed{node}{'_silently' if silent else ''}")
    job = jobs.submit(folder, "--model.step_seconds", 0.6)
    jobs.wait_for_step(folder, 3, job)
    jobs.cluster.kill_node(node, silent)
    jobs.cluster.wait_until(lambda found: found["Restarts"] == "1", job)
    jobs.cluster.start_node(node)
    jobs.cluster.start_now(job)
    text = jobs.finish(folder, job)
    assert "restart 1), it goes on from" in text, text

    lost, left = ("[01]", (2, 3)) if node == 1 else ("[23]", (0, 1))
    pattern = rf"rank {lost} \(node{node}\) died"
    said = said_by(folder, left)
    assert re.search(pattern, said), said
    # srun and the batch script ran on node 1.
    assert node == 1 or re.search(pattern, text), text
    jobs.same_as_undisturbed(folder)


def main():
    os.environ["OMP_NUM_THREADS"] = "1"
    with contextlib.ExitStack() as stack:
        work = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        # One after the other: each looks for free ports.
        all_jobs = [Jobs(stack.enter_context(slurm.Cluster()), work) for _ in CASES]
        whole = all_jobs[0].undisturbed()
        for jobs in all_jobs:
            jobs.whole = whole
        with concurrent.futures.ThreadPoolExecutor(len(CASES)) as pool:
            ends = {case: pool.submit(check_crash, jobs, *case)
                    for case, jobs in zip(CASES, all_jobs, strict=True)}
        for (node, silent), end in ends.items():
            end.result()
            print(f"node {node}, SLURM is {'not ' if silent else ''}told: passed", flush=True)


if __name__ == "__main__":
    main()
