"""detect_topology() in tasks of a real SLURM, and under a real torchrun and mpirun there."""

import json
import sys

import pytest
import slurm_cluster
import support

slurm_cluster.need()
pytestmark = pytest.mark.usefixtures("one_thread")

PROGRAM = support.bin_dir() / "topology_program"


def lines(text):
    # A terminal may put control characters before the first line.
    found = [json.loads(line[line.index("{"):]) for line in text.splitlines() if "{" in line]
    return sorted(found, key=lambda line: line["rank"])


def column(ranks, name):
    return [rank[name] for rank in ranks]


class Jobs:
    def __init__(self, cluster, folder):
        self.cluster = cluster
        self.folder = folder

    def output(self, script, *options, expect="COMPLETED"):
        job = self.cluster.sbatch(script, *options, cwd=self.folder)
        found = self.cluster.wait(job)
        text = (self.folder / f"{job}.out").read_text()
        assert found["JobState"] == expect, (found["JobState"], text)
        return job, text

    def ranks(self, script, *options):
        job, text = self.output(script, *options)
        return job, lines(text)


@pytest.fixture
def jobs(cluster, tmp_path):
    return Jobs(cluster, tmp_path)


def test_two_nodes(jobs):
    job, ranks = jobs.ranks(f"srun {PROGRAM} devices=2 num_nodes=2", "--nodes=2",
                            "--ntasks-per-node=2")
    assert column(ranks, "cluster") == ["slurm"] * 4
    assert column(ranks, "rank") == [0, 1, 2, 3]
    assert column(ranks, "local_rank") == [0, 1, 0, 1]
    assert column(ranks, "node") == [0, 0, 1, 1]
    assert column(ranks, "host") == ["node1", "node1", "node2", "node2"]
    assert column(ranks, "main_host") == ["node1"] * 4
    assert column(ranks, "run_id") == [f"{job}.0.0"] * 4
    assert all(rank["ports"] == ranks[0]["ports"] for rank in ranks)
    assert "SLURM_PROCID=3" in ranks[3]["text"], ranks[3]["text"]


def test_uneven(jobs):
    _, ranks = jobs.ranks(f"srun {PROGRAM} num_nodes=2", "--nodes=2", "--ntasks=4")
    assert column(ranks, "local_rank") == [0, 1, 2, 0], ranks
    assert column(ranks, "local_world") == [3, 3, 3, 1]
    assert column(ranks, "node") == [0, 0, 0, 1]


def test_second_step_on_the_other_node(jobs):
    job, ranks = jobs.ranks(f"srun true; srun -N1 -n2 -w node2 {PROGRAM}; srun -N2 -n2 {PROGRAM}",
                            "--nodes=2", "--ntasks-per-node=2")
    one_node = [rank for rank in ranks if rank["nodes"] == 1]
    assert column(one_node, "host") == ["node2"] * 2
    assert column(one_node, "main_host") == ["127.0.0.1"] * 2
    assert column(one_node, "run_id") == [f"{job}.1.0"] * 2
    two_nodes = [rank for rank in ranks if rank["nodes"] == 2]
    assert column(two_nodes, "run_id") == [f"{job}.2.0"] * 2
    assert one_node[0]["ports"] != two_nodes[0]["ports"]


def test_without_srun(jobs):
    job, text = jobs.output(f"{PROGRAM}", "--nodes=2", "--ntasks-per-node=2", expect="FAILED")
    assert f"batch script of job {job} (2 nodes, 4 tasks)" in text, text
    assert "HINT: write srun before" in text, text
    # One task may be started by hand, and may start more.
    _, ranks = jobs.ranks(f"{PROGRAM} devices=2", "--nodes=1")
    assert ranks[0]["cluster"] == "local" and ranks[0]["launch"], ranks


def test_wrong_sizes(jobs):
    _, text = jobs.output(f"srun {PROGRAM} devices=2 num_nodes=2", "--nodes=2",
                          "--ntasks-per-node=1", expect="FAILED")
    assert "'#SBATCH --nodes=2' and '#SBATCH --ntasks-per-node=2'" in text, text
    _, text = jobs.output(f"srun {PROGRAM} devices=4 num_nodes=1", "--nodes=2",
                          "--ntasks-per-node=2", expect="FAILED")
    assert "'#SBATCH --nodes=1' and '#SBATCH --ntasks-per-node=4'" in text, text


def test_array(jobs):
    job = jobs.cluster.sbatch(f"srun {PROGRAM}", "--array=3-4", "--ntasks=2", cwd=jobs.folder,
                              output="%A_%a.out")
    ids = set()
    for element in (3, 4):
        jobs.cluster.wait(f"{job}_{element}")
        ranks = lines((jobs.folder / f"{job}_{element}.out").read_text())
        assert column(ranks, "rank") == [0, 1]
        ids.add(ranks[0]["run_id"])
    assert len(ids) == 2, ids


def test_gpus(jobs):
    options = ("--nodes=2", "--ntasks-per-node=2")
    _, ranks = jobs.ranks(f"srun {PROGRAM} gpus=yes", *options, "--gpus-per-task=1")
    assert column(ranks, "device") == [0, 0, 0, 0], ranks
    _, ranks = jobs.ranks(f"srun {PROGRAM} gpus=yes", *options, "--gres=gpu:2")
    assert column(ranks, "device") == [0, 1, 0, 1], ranks
    _, text = jobs.output(f"srun {PROGRAM} gpus=yes", *options, "--gres=gpu:1", expect="FAILED")
    assert "'#SBATCH --gres=gpu:2'" in text, text


def test_shells(jobs):
    cluster = jobs.cluster
    shell = lines(cluster.exec("salloc", "-N2", "-n4", PROGRAM, "devices=2").stdout)
    assert column(shell, "cluster") == ["local"] and shell[0]["launch"], shell
    tasks = lines(cluster.exec("salloc", "-N2", "-n4", "srun", PROGRAM).stdout)
    assert column(tasks, "cluster") == ["slurm"] * 4 and tasks[3]["rank"] == 3, tasks
    # A terminal: only the program that bash runs, not one that srun starts from there.
    script = f"{PROGRAM}; srun --overlap -n2 {PROGRAM}"
    text = support.run(
        "script", "-qec", f"{slurm_cluster.SCRIPT} exec srun -N1 -n2 --pty bash -c '{script}'",
        "/dev/null", env=cluster.environment).stdout
    found = lines(text)
    assert sorted(column(found, "cluster")) == ["local", "slurm", "slurm"], text


def test_torchrun(jobs):
    """Inside a job, whose variables say something else."""
    torchrun = f"{sys.executable} -m torch.distributed.run --nproc-per-node=2 --standalone"
    _, ranks = jobs.ranks(f"{torchrun} --no-python {PROGRAM} devices=2", "--nodes=1", "--ntasks=2")
    assert column(ranks, "cluster") == ["torchrun"] * 2, ranks
    assert column(ranks, "local_rank") == [0, 1]


def test_mpirun(mpirun, jobs):
    # Without SLURM's support in mpirun, which would ask for srun's own plugins.
    command = f"{mpirun} --allow-run-as-root --oversubscribe -n 2"
    command += " --mca plm isolated --mca ras ^slurm"
    job, ranks = jobs.ranks(f"{command} {PROGRAM} devices=2", "--nodes=1", "--ntasks=2")
    assert column(ranks, "cluster") == ["mpi"] * 2, ranks
    assert column(ranks, "local_rank") == [0, 1]
    assert column(ranks, "main_host") == ["127.0.0.1"] * 2
    assert ranks[0]["run_id"] == ranks[1]["run_id"]
    assert str(job) in ranks[0]["run_id"]
