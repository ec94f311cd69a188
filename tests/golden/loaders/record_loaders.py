"""Records the batches that Lightning's CombinedLoader gives to a step, for
tests/unit/trainer/combined_loader_test.cpp.

  .venv/bin/python tests/golden/loaders/record_loaders.py

Writes combined.txt beside this script. Each case is a line `ACTION MODE LIMIT`, then a line for each call of
the step: the loader's index, then part=values (`-`: absent), and a line `mean VALUE` with the epoch's
mean of what was logged: the mean of part b's values, of the first part's where b is absent. Part a has the values
0 to 5 in batches of 4, b 100 to 114 in batches of 5, c 200 to 206 in batches of 3. Made with lightning
2.6.6.
"""

import pathlib
import warnings

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.combined_loader import CombinedLoader

FOLDER = pathlib.Path(__file__).resolve().parent
PARTS = {"a": (0, 6, 4), "b": (100, 15, 5), "c": (200, 7, 3)}

lines = []


def loaders():
    return {name: torch.utils.data.DataLoader(torch.arange(first, first + size, dtype=torch.float64),
                                              batch_size=batch_size)
            for name, (first, size, batch_size) in PARTS.items()}


def text(values):
    return "-" if values is None else ",".join(str(int(value)) for value in values)


class Module(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros((), dtype=torch.float64))

    def note(self, batch, dataloader_idx):
        parts = batch if isinstance(batch, dict) else {"batch": batch}
        lines.append(f"{dataloader_idx} " + " ".join(f"{n}={text(v)}" for n, v in parts.items()))
        first = next(values for values in parts.values() if values is not None)
        b = parts.get("b")
        self.log("mean", (first if b is None else b).mean(), on_step=False, on_epoch=True)

    def training_step(self, batch, batch_idx):
        self.note(batch, 0)
        return self.weight * 1.0

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        self.note(batch, dataloader_idx)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def record(action, mode, limit):
    lines.append(f"{action} {mode} {limit}")
    trainer = pl.Trainer(
        accelerator="cpu", devices=1, logger=False, enable_checkpointing=False, max_epochs=1,
        enable_progress_bar=False, enable_model_summary=False, limit_train_batches=limit,
        limit_val_batches=limit)
    getattr(trainer, action)(Module(), CombinedLoader(loaders(), mode))
    for name, value in sorted(trainer.callback_metrics.items()):
        lines.append(f"{name} {value.item():.12g}")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    for limit in (1.0, 2, 0.5):
        for mode in ("max_size_cycle", "min_size", "max_size"):
            record("fit", mode, limit)
        for mode in ("max_size_cycle", "min_size", "max_size", "sequential"):
            record("validate", mode, limit)
    (FOLDER / "combined.txt").write_text("\n".join(lines) + "\n")
