"""A dry run of N ranks counts what a real run of N ranks counts, and leaves nothing behind.

The real runs' ranks are started by the program itself; each writes what it has sent at the end of
its fit.
"""

import re

import pytest
import support
import trainings
from support import cases

COLLECTIVES = {"all_reduce", "all_gather", "broadcast", "reduce_scatter", "barrier"}

CONFIG = """
seed_everything: 3
trainer:
  accelerator: cpu
  precision: 64-true
  max_epochs: 2
  log_every_n_steps: 1
  enable_checkpointing: false
  enable_progress_bar: false
  enable_model_summary: false
  logger: false
data:
  size: 41
"""


def fit(root, *arguments, expect=0, command="fit"):
    root.mkdir(parents=True, exist_ok=True)
    config = root.with_suffix(".yaml")
    config.write_text(CONFIG)
    return support.run(trainings.PROGRAM, command, "--config", config,
                       "--trainer.default_root_dir", root, *arguments, expect=expect).text


def real(root, ranks, *arguments):
    """What each rank has counted: [{name: (messages, bytes)}]."""
    fit(root, "--trainer.devices", ranks, "--model.counters", root / "counters", *arguments)
    return [{name: (int(messages), int(size)) for name, messages, size in
             map(str.split, (root / f"counters.{rank}").read_text().splitlines())}
            for rank in range(ranks)]


class Report:
    """The tables of a dry run."""

    def __init__(self, output):
        self.tables = {}
        self.traffic = {}
        rows = None
        part = None
        for line in output.splitlines():
            cells = re.split(r"  +", line.strip())
            if cells[0] in ("dry run", "data of an epoch", "memory of a rank", "sent by a rank"):
                rows = self.tables.setdefault(cells[0], {})
            elif rows is None or len(cells) < 2:
                continue
            elif cells[0] in COLLECTIVES | {"control plane", "nothing"}:
                self.traffic[part][cells[0].replace(" ", "_")] = (int(cells[-2]), int(cells[-1]))
            elif len(cells) > 3 and cells[-3] in COLLECTIVES | {"control plane", "nothing"}:
                part = re.sub(r" \(.*", "", cells[0])
                self.traffic[part] = {cells[-3].replace(" ", "_"): (int(cells[-2]), int(cells[-1]))}
            else:
                rows[cells[0]] = cells[1:]
        assert len(self.tables) == 4 and "this run" in self.traffic, output


def dry(root, ranks, *arguments):
    report = Report(fit(root, "--dry_run", "--world_size", ranks, *arguments))
    assert list(root.iterdir()) == [], f"{root} isn't empty"
    return report


def collectives(counters):
    return {name: value for name, value in counters.items() if name in COLLECTIVES}


def less(counters, others):
    """The kinds of which something was sent between two counts."""
    names = COLLECTIVES | {"control_plane"}
    differences = {name: tuple(a - b for a, b in zip(counters.get(name, (0, 0)),
                                                     others.get(name, (0, 0)))) for name in names}
    return {name: value for name, value in differences.items() if value[0] != 0}


# Per commit each kind of option on 2 or 4 ranks.
OPTIONS = {
    "plain": [],
    "one_step": ["--trainer.max_steps", 1],
    "two_epochs": ["--trainer.max_steps", 6, "--trainer.log_every_n_steps", 2],
    "accumulating": ["--trainer.accumulate_grad_batches", 3, "--trainer.max_steps", 4],
    "buffers": ["--model.batch_norm", "true"],
    "batch_norm": ["--model.batch_norm", "true", "--trainer.sync_batchnorm", "true"],
    "buckets": ["--trainer.ddp.bucket_cap_mb", 0.0001, "--trainer.ddp.find_unused_parameters",
                "true", "--trainer.ddp.gradient_as_bucket_view", "true"],
    "compressed": ["--trainer.ddp.comm_hook", "bf16_compress"],
    "without_sanity_check": ["--trainer.num_sanity_val_steps", 0, "--trainer.val_check_interval", 2],
    "padded": ["--trainer.uneven_inputs", "pad", "--trainer.max_epochs", 1,
               "--trainer.max_steps", 9],
    "dropped": ["--trainer.uneven_inputs", "drop", "--trainer.max_epochs", 1,
                "--trainer.max_steps", 9],
}


@pytest.mark.parametrize(("name", "ranks"), cases({
    f"{name}-{ranks}": (name, ranks) for name in OPTIONS for ranks in (2, 4)
}, exhaustive=(
    "one_step-2", "one_step-4", "buffers-2", "buffers-4",
    *(f"{name}-4" for name in ("plain", "batch_norm", "compressed", "padded", "two_epochs")),
    *(f"{name}-2" for name in ("accumulating", "buckets", "without_sanity_check", "dropped")))))
def test_counts_what_a_real_run_counts(name, ranks, tmp_path):
    arguments = OPTIONS[name]
    report = dry(tmp_path / "dry", ranks, *arguments)
    steps = [] if "--trainer.max_steps" in arguments else ["--trainer.max_steps", 3]
    counted = real(tmp_path / "real", ranks, *arguments, *steps)
    where = (report.traffic, counted[0])
    assert collectives(report.traffic["this run"]) == collectives(counted[0]), where
    # A real run also exchanges where its memory is, whether all have it, and its folder.
    exchanges = report.traffic["this run"]["control_plane"][0]
    assert exchanges + 3 == counted[0]["control_plane"][0], where
    batches, samples = counted[0]["batches"][0], counted[0]["samples"][0]
    this_run = report.tables["dry run"]["this run"][0]
    assert this_run.endswith(f"{batches} batches, {samples} samples"), (where, this_run)


EPOCHS = {
    "plain": [],
    "rows": ["--trainer.log_every_n_steps", 2, "--trainer.val_check_interval", 0.5],
    "accumulating": ["--trainer.accumulate_grad_batches", 2],
}


@pytest.mark.parametrize(("name", "ranks"), cases({
    f"{name}-{ranks}": (name, ranks) for name in EPOCHS for ranks in (2, 4)
}, exhaustive=("plain-2", "plain-4", "rows-4", "accumulating-2")))
def test_an_epoch_is_what_a_later_epoch_sends(name, ranks, tmp_path):
    arguments = EPOCHS[name]
    report = dry(tmp_path / "dry", ranks, *arguments)
    one = real(tmp_path / "one", ranks, *arguments, "--trainer.max_epochs", 1)
    two = real(tmp_path / "two", ranks, *arguments, "--trainer.max_epochs", 2)
    assert report.traffic["an epoch"] == less(two[0], one[0]), report.traffic
    data = report.tables["data of an epoch"]
    for rank, column in ((0, 1), (ranks - 1, 2)):
        assert int(data["training batches"][column]) == one[rank]["batches"][0], data
        assert int(data["training samples"][column]) == one[rank]["samples"][0], data
    assert data["training samples"][0] == "41" and data["validation samples"][0] == "13"


def test_many_ranks(tmp_path):
    report = dry(tmp_path / "dry", 1024, "--trainer.num_nodes", 128, "--data.global_batch_size", 4096,
                 "--data.size", 20000)
    assert report.tables["dry run"]["nodes x devices"] == ["128 x 8"]
    assert report.tables["dry run"]["optimizer steps per epoch"] == ["5"]
    data = report.tables["data of an epoch"]
    assert data["samples per step"] == ["4096", "4", "4"]
    # The last batch has 3616 samples: 3 or 4 for each rank.
    assert data["training samples"] == ["20000", "20", "19"]
    assert data["training batches"] == ["5", "5", "5"]
    assert data["validation batches"] == ["1", "1", "0"]
    memory = {name: int(cells[0]) for name, cells in report.tables["memory of a rank"].items()}
    # 4 x 8 + 8 and 8 x 1 + 1 numbers of 64 bits; a bucket also carries four numbers of the batch.
    assert memory["weights"] == memory["gradients"] == 49 * 8
    assert memory["gradient buckets"] == 49 * 8 + 4 * 8
    assert memory["optimizer state"] >= 2 * 49 * 8
    in_tensors = memory["peak in tensors of this process"]
    assert in_tensors >= memory["gradients"] + memory["gradient buckets"] + memory["optimizer state"]
    assert memory["peak resident size of this process"] > max(memory["sum"], in_tensors)
    assert report.traffic["a step"] == {"all_reduce": (1, 49 * 8 + 4 * 8)}


@pytest.mark.parametrize("ranks", [
    ["--trainer.devices", 5],
    ["--dry_run", "--world_size", 5],
    ["--dry_run", "--trainer.devices", 5],  # without --world_size it is num_nodes times devices
])
def test_what_cant_run_is_the_error_of_a_real_run(ranks, tmp_path):
    output = fit(tmp_path / "run", *ranks, expect=2)
    assert "global_batch_size is 12, a multiple of the 5 ranks was expected" in output, output


@pytest.mark.parametrize("command", ["validate", "test", "predict"])
def test_only_fit_has_a_dry_run(command, tmp_path):
    output = fit(tmp_path / "run", "--dry_run", expect=2, command=command)
    assert f"dry_run is true and this is {command}()" in output, output


def test_resumes_and_leaves_the_run_alone(tmp_path):
    root = tmp_path / "run"
    fit(root, "--trainer.devices", 2, "--trainer.max_steps", 3, "--trainer.enable_checkpointing",
        "true", "--trainer.callbacks", "[{class_path: ModelCheckpoint, init_args: "
        "{every_n_train_steps: 3}}]")

    def files():
        return sorted((path, path.lstat().st_mtime_ns) for path in root.rglob("*"))

    before = files()
    output = fit(root, "--dry_run", "--world_size", 4, "--ckpt_path", "last",
                 "--trainer.callbacks", "[ModelCheckpoint]")
    assert files() == before
    # Three steps from there on: the last of the first epoch and two of the next one.
    assert Report(output).tables["dry run"]["this run"] == ["3 steps, 3 batches, 8 samples"], output
