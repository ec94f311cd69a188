"""Records what Lightning sends to its loggers in evaluations, for
tests/unit/trainer/eval_metrics_test.cpp.

  .venv/bin/python tests/golden/metrics/record_eval_metrics.py

Writes eval_metrics.txt beside this script: the name of a case, then one line per row with its step
and its metrics. Made with lightning 2.6.6.
"""

import pathlib
import warnings

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers.logger import Logger

FILE = pathlib.Path(__file__).resolve().parent / "eval_metrics.txt"


class Recorder(Logger):
    name = "recorder"
    version = 0

    def __init__(self):
        super().__init__()
        self.lines = []

    def log_hyperparams(self, params):
        pass

    def log_metrics(self, metrics, step=None):
        values = sorted((k, v) for k, v in metrics.items() if k != "epoch")
        self.lines.append(" ".join([str(step)] + [f"{k}={v:g}" for k, v in values]))


class Module(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch, batch_idx):
        return self.layer(batch).mean()

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        self.log("both", batch.mean(), on_step=True)
        self.log("epoch_only", batch.mean())
        self.log("unlogged", batch.mean(), on_step=True, logger=False)

    def on_validation_batch_end(self, outputs, batch, batch_idx, dataloader_idx=0):
        self.log("largest", batch.max(), on_step=True, on_epoch=False)

    test_step = validation_step

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def loader(first, last):
    """The numbers from first to last, two in a batch."""
    numbers = torch.arange(first, last + 1, dtype=torch.float32).reshape(-1, 1)
    return torch.utils.data.DataLoader(numbers, batch_size=2)


def record(name, action, *loaders, **options):
    recorder = Recorder()
    trainer = pl.Trainer(
        accelerator="cpu", devices=1, logger=recorder, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, **options)
    getattr(trainer, action)(Module(), *loaders)
    return [name] + recorder.lines


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    lines = record("fit", "fit", loader(1, 6), loader(1, 6), max_epochs=2, num_sanity_val_steps=1)
    lines += record("fit, two loaders", "fit", loader(1, 4), [loader(1, 6), loader(11, 14)],
                    max_epochs=2, val_check_interval=1)
    lines += record("validate, two loaders", "validate", [loader(1, 6), loader(11, 14)])
    lines += record("test", "test", loader(1, 6))
    FILE.write_text("\n".join(lines) + "\n")
