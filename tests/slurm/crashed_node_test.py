"""A node crashes under a job of a real SLURM: the ranks on the other one end and say whose node it
was; SLURM starts the job again, and it resumes exactly, without being asked.

SLURM is told of the crash, or finds out by itself after half a minute. Each case has a SLURM of its
own, since they mostly wait. Deadlines are guards against hangs: they decide nothing.
"""

import contextlib
import re

import pytest
import slurm_cluster
import trainings
from slurm_jobs import Jobs
from support import cases

slurm_cluster.need()
pytestmark = pytest.mark.usefixtures("one_thread")


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
    jobs.check_resumed(text, 1)

    lost, left = ("[01]", (2, 3)) if node == 1 else ("[23]", (0, 1))
    pattern = rf"rank {lost} \(node{node}\) exited"
    said = said_by(folder, left)
    assert re.search(pattern, said), said
    # srun and the batch script ran on node 1.
    assert node == 1 or re.search(pattern, text), text
    jobs.same_as_undisturbed(folder)


CASES = cases({f"node{node}-{'silent' if silent else 'told'}": ((node, silent),)
               for silent in (True, False) for node in (1, 2)},
              exhaustive=("node2-silent", "node1-told"))


@pytest.fixture(scope="module")
def running(work, in_threads):
    with contextlib.ExitStack() as stack:
        whole = Jobs(stack.enter_context(slurm_cluster.Cluster()), work).undisturbed()

        def run(case):
            with slurm_cluster.Cluster() as cluster:
                jobs = Jobs(cluster, work)
                jobs.whole = whole
                check_crash(jobs, *case)

        yield in_threads(run, at_a_time=len(CASES))


@pytest.mark.parametrize("case", CASES)
def test_crash(case, running):
    running.result(case)
