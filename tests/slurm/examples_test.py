"""The examples on a real SLURM: mnist_ddp by its script, ddp_minimal under srun, and the callback
that prints SLURM's ids in sample_li."""

import re

import slurm_cluster
import support

slurm_cluster.need()

BIN = support.bin_dir()
ONE_THREAD = {"OMP_NUM_THREADS": "1"}


def submit(cluster, folder, script, *arguments):
    environment = cluster.environment | ONE_THREAD | {
        "LIGHTNING_BIN_DIR": str(BIN), "SBATCH_GRES": "none"}
    result = cluster.run("sbatch", "--parsable", "--cpus-per-task=1", "--chdir", support.ROOT,
                         "--output", folder / "%j.out",
                         support.ROOT / "sbatch" / script, *arguments, env=environment)
    job = int(result.stdout)
    found = cluster.wait(job, timeout=240)
    text = (folder / f"{job}.out").read_text()
    assert found["JobState"] == "COMPLETED", (found["JobState"], text)
    return job, text


def test_mnist_ddp(cluster, tmp_path):
    _, text = submit(cluster, tmp_path, "mnist_ddp.sbatch", "--dry_run", "true")
    hello = re.findall(r"^Hello from rank (\d) of 4 on (\S+) \(local rank (\d), cpu\)$", text, re.M)
    assert len(hello) == 4 and len({host for _, host, _ in hello}) == 2, text
    assert sorted((rank, local) for rank, _, local in hello) == [
        ("0", "0"), ("1", "1"), ("2", "0"), ("3", "1")], text
    assert len(re.findall(r"Train Epoch: 1 \[0/10800", text)) == 1, text
    assert len(re.findall(r"Accuracy: \d+/1200 ", text)) == 1, "each test image once: " + text


def test_ddp_minimal(cluster, tmp_path):
    job = cluster.sbatch(f"srun {BIN / 'ddp_minimal'} --epochs 1", "--nodes=2",
                         "--ntasks-per-node=2", "--cpus-per-task=1", cwd=tmp_path)
    found = cluster.wait(job)
    text = (tmp_path / f"{job}.out").read_text()
    assert found["JobState"] == "COMPLETED", text
    assert sorted(re.findall(r"cluster: slurm .*rank (\d) of 4 on node (\d) of 2", text)) == [
        ("0", "0"), ("1", "0"), ("2", "1"), ("3", "1")], text
    assert len(re.findall(r"epoch 1/1 \| loss", text)) == 1, text


def test_slurm_ids(cluster, tmp_path):
    job, text = submit(cluster, tmp_path, "sample_li.sbatch", "--trainer.callbacks", "[SlurmIds]",
                       "--trainer.fast_dev_run", "true")
    ids = re.findall(rf"^rank (\d): SLURM_JOB_ID {job}, SLURM_PROCID (\d), cpu \(.+\) on (\S+)$",
                     text, re.M)
    assert [(rank, task) for rank, task, _ in ids] == [(str(n), str(n)) for n in range(4)], text
    assert len({host for _, _, host in ids}) == 2, text
