"""SlurmJob on a real SLURM: time left, requeue of jobs and of array elements, and its refusal."""

import json

import pytest
import slurm_cluster
import support

slurm_cluster.need()

PROGRAM = support.bin_dir() / "slurm_job_program"


def objects(text):
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def check_requeue(cluster, folder, name, job, file):
    """The job was submitted; it comes back under the same name and knows its checkpoint."""
    cluster.wait_until(lambda found: found["Restarts"] == "1", name)
    cluster.start_now(name)
    found = cluster.wait(name)
    assert found["JobState"] == "COMPLETED", (found, (folder / f"{job}.out").read_text())
    first, second = objects((folder / f"{job}.out").read_text())
    assert first["name"] == second["name"] == str(name)
    assert (first["restarts"], second["restarts"]) == (0, 1)
    assert first["same_job"] and second["same_job"], second
    # --time=60, in minutes
    assert 3000 < first["left"] <= 3600, first
    assert file.read_text() == f"slurm/test/{name}"


@pytest.fixture
def submit(cluster, tmp_path):
    options = ("--nodes=2", "--ntasks-per-node=1", "--time=60", "--open-mode=append")

    def submit(file, *more, output="%j.out"):
        return cluster.sbatch(f"srun {PROGRAM} {tmp_path / file}", *options, *more,
                              cwd=tmp_path, output=output)

    return submit


def test_job_is_requeued(submit, cluster, tmp_path):
    job = submit("one", "--requeue")
    check_requeue(cluster, tmp_path, job, job, tmp_path / "one")


def test_array_element_is_requeued(submit, cluster, tmp_path):
    array = submit("two.$SLURM_ARRAY_TASK_ID", "--requeue", "--array=3", output="%A_%a.out")
    check_requeue(cluster, tmp_path, f"{array}_3", f"{array}_3", tmp_path / "two.3")


def test_requeue_is_refused(submit, cluster, tmp_path):
    job = submit("three", "--no-requeue")
    text = cluster.wait_for_text(tmp_path / f"{job}.out", "HINT")
    cluster.cancel(job)
    cluster.wait(job)
    assert f"HINT: run scontrol requeue {job}" in text and "disabled" in text, text
    assert cluster.job(job)["Restarts"] == "0"
