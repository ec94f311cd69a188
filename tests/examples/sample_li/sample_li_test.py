"""sample_li as a newcomer runs it: MNIST's files gzipped or not, drawn digits, its precision, and
what its runs say about the machine. Every config of the project loads."""

import csv
import gzip
import json
import os
import platform
import re
import struct
import subprocess

import pytest
import torch
from support import ROOT, Program

SAMPLE = Program("sample_li")
IMAGES, BATCH = 40, 4


def fit(root, *arguments, cwd=ROOT):
    return SAMPLE("fit", "--seed_everything", 3, "--trainer.accelerator", "cpu",
                  "--trainer.default_root_dir", root, "--trainer.max_epochs", 1,
                  "--trainer.log_every_n_steps", 1, "--data.batch_size", BATCH, *arguments,
                  cwd=cwd).stderr


def run_dir(root):
    return root / "lightning_logs/version_0"


def losses(root):
    with open(run_dir(root) / "metrics.csv", newline="") as file:
        return [row["train_loss"] for row in csv.DictReader(file) if row["train_loss"]]


# ---- MNIST's files

def write_idx(folder, part, zipped_images, zipped_labels, seed):
    """Small noisy images; the header says how many, 28 rows and 28 columns."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (IMAGES * 28 * 28,), generator=generator, dtype=torch.uint8)
    images = struct.pack(">iiii", 0x803, IMAGES, 28, 28) + pixels.numpy().tobytes()
    labels = struct.pack(">ii", 0x801, IMAGES) + bytes(i % 10 for i in range(IMAGES))
    folder.mkdir(parents=True)
    for name, content, zipped in ((f"{part}-images-idx3-ubyte", images, zipped_images),
                                  (f"{part}-labels-idx1-ubyte", labels, zipped_labels)):
        if zipped:
            (folder / (name + ".gz")).write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)
    return folder


def losses_on_files(folder, part, zipped_images, zipped_labels, seed):
    data = write_idx(folder / "data", part, zipped_images, zipped_labels, seed)
    text = fit(folder, "--data.data_dir", data)
    assert "digits drawn" not in text, text
    # A tenth of the images is held out for validation.
    assert " 9/9 " in text, text
    found = losses(folder)
    assert len(found) == 9
    return found


@pytest.fixture(scope="module")
def losses_on_plain_files(work):
    return losses_on_files(work / "plain", "train", False, False, 1)


@pytest.mark.parametrize(("part", "zipped_images", "zipped_labels"), [
    ("train", True, True), ("train", True, False), ("t10k", True, True)])
def test_files_gzipped_or_not(part, zipped_images, zipped_labels, losses_on_plain_files, tmp_path):
    found = losses_on_files(tmp_path, part, zipped_images, zipped_labels, 1)
    assert found == losses_on_plain_files


def test_other_images_give_other_losses(losses_on_plain_files, tmp_path):
    assert losses_on_files(tmp_path, "train", False, False, 2) != losses_on_plain_files


FEW = ("--trainer.limit_train_batches", 3)


@pytest.fixture(scope="module")
def losses_on_drawn_digits(work):
    text = fit(work / "drawn", *FEW)
    assert "digits drawn by the program" in text, text
    found = losses(work / "drawn")
    assert len(found) == 3
    return found


def test_precision_16(losses_on_drawn_digits, tmp_path):
    """On the CPU it becomes bf16-mixed, with one warning, as in Lightning."""
    text = fit(tmp_path / "p16", "--trainer.precision", 16, *FEW)
    warnings = [line for line in text.splitlines() if line.startswith("warning:")]
    assert len(warnings) == 1 and "16-mixed" in warnings[0] and "bf16-mixed" in warnings[0], text
    fit(tmp_path / "bf16", "--trainer.precision", "bf16-mixed", *FEW)
    assert losses(tmp_path / "p16") == losses(tmp_path / "bf16") != losses_on_drawn_digits


# ---- environment.json

def git(folder, *arguments):
    return subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b.c", *arguments],
                          cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def environment(root, cwd):
    fit(root, "--trainer.limit_train_batches", 1, cwd=cwd)
    return json.loads((run_dir(root) / "environment.json").read_text())


def test_environment(tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    git(work, "init", "-q")
    (work / "file").write_text("1")
    git(work, "add", "file")
    git(work, "commit", "-q", "-m", "first")
    found = environment(tmp_path / "clean", work)
    version = re.search(r"project\(\s*lightning\s+VERSION\s+([\d.]+)",
                        (ROOT / "CMakeLists.txt").read_text(), re.IGNORECASE).group(1)
    processors = [line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo")
                  if line.startswith("model name")]
    expected = {
        "lightning_version": version,
        "torch_version": torch.__version__.split("+")[0],
        "git_commit": git(work, "rev-parse", "HEAD"),
        "git_dirty": False,
        "host": platform.node(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor_capability": torch.backends.cpu.get_cpu_capability(),
        "processor_threads": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "world_size": 1,
    }
    if processors:
        expected.update(processor=processors[0])
    wrong = {key: (found.get(key), value) for key, value in expected.items()
             if found.get(key) != value}
    assert not wrong, f"(found, expected): {wrong}"
    assert re.match(r"\d+\.\d+", found["compiler"]) and found["device"], found

    (work / "file").write_text("2")
    assert environment(tmp_path / "dirty", work)["git_dirty"] is True
    outside = environment(tmp_path / "outside", tmp_path)
    assert outside["git_commit"] == "" and outside["git_dirty"] is False, outside


# ---- configs/

CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))


def test_there_are_configs():
    assert len(CONFIGS) >= 4


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_config_loads(config, tmp_path):
    name = config.parent.name if config.parent.name != "configs" else config.stem
    program = Program(name)
    if not program.path.exists() and name == "bert_squad":
        pytest.skip("bert_squad isn't built here")
    printed = program("fit", "--config", config, "--print_config", cwd=ROOT).stdout
    file = tmp_path / "printed.yaml"
    file.write_text(printed)
    assert program("fit", "--config", file, "--print_config", cwd=ROOT).stdout == printed
    for line in config.read_text().splitlines():  # what it says is what comes out
        setting = re.fullmatch(r"  (max_epochs|batch_size): (\d+)", line)
        assert not setting or re.search(rf"^  {setting[1]}: {setting[2]}\b", printed, re.M), line
