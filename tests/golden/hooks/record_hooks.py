"""Records the order in which Lightning calls hooks, for tests/unit/trainer/hooks_test.cpp.

  .venv/bin/python tests/golden/hooks/record_hooks.py

Writes the lists that the calls of record() below name beside this script, one hook per line: LM
(module), CB (callback) or DM (data module). Made with lightning 2.6.6.
"""

import pathlib
import warnings

import lightning.pytorch as pl
import torch

FOLDER = pathlib.Path(__file__).resolve().parent

STAGE_HOOKS = [
    f"on_{stage}_{moment}"
    for stage in ("train", "validation", "test", "predict")
    for moment in ("start", "end", "epoch_start", "epoch_end", "batch_start", "batch_end")
]
SHARED = STAGE_HOOKS + [
    "setup", "teardown", "on_fit_start", "on_fit_end", "on_before_zero_grad", "on_before_backward",
    "on_after_backward", "on_before_optimizer_step",
]
MODULE_HOOKS = SHARED + [
    "prepare_data", "configure_callbacks", "configure_model", "configure_optimizers",
    "training_step", "validation_step", "test_step", "predict_step", "backward",
    "optimizer_step", "optimizer_zero_grad", "configure_gradient_clipping", "lr_scheduler_step",
    "on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer",
    "on_validation_model_zero_grad", "on_validation_model_eval", "on_validation_model_train",
    "on_test_model_eval", "on_predict_model_eval",
]
CALLBACK_HOOKS = SHARED + ["on_sanity_check_start", "on_sanity_check_end", "on_exception"]
DATA_HOOKS = [
    "prepare_data", "setup", "teardown", "train_dataloader", "val_dataloader", "test_dataloader",
    "predict_dataloader", "on_exception",
]

calls = []


def recording(base, prefix, names):
    """A subclass of `base` whose hooks note that they were called."""

    def make(name):
        inherited = getattr(base, name)

        def hook(self, *args, **kwargs):
            calls.append(f"{prefix}.{name}")
            return inherited(self, *args, **kwargs)

        return hook

    return type("Recording" + base.__name__, (base,), {name: make(name) for name in names})


class Module(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)

    def training_step(self, batch, batch_idx):
        return self.layer(batch).mean()

    def validation_step(self, batch, batch_idx):
        self.layer(batch)

    def test_step(self, batch, batch_idx):
        self.layer(batch)

    def predict_step(self, batch, batch_idx):
        return self.layer(batch)

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }


class ManualModule(Module):
    """Two optimizers, each with its own backward; the schedules are left alone."""

    def __init__(self):
        super().__init__()
        self.automatic_optimization = False

    def configure_optimizers(self):
        optimizers = [torch.optim.SGD([p], lr=0.1) for p in self.layer.parameters()]
        return optimizers, [torch.optim.lr_scheduler.StepLR(optimizers[0], 1)]

    def training_step(self, batch, batch_idx):
        for optimizer in self.optimizers():
            self.toggle_optimizer(optimizer)
            optimizer.zero_grad()
            self.manual_backward(self.layer(batch).mean())
            self.clip_gradients(optimizer, gradient_clip_val=1.0)
            optimizer.step()
            self.untoggle_optimizer(optimizer)


class SkippingModule(Module):
    """Ends the first epoch before its second batch; its schedule counts epochs."""

    def on_train_batch_start(self, batch, batch_idx):
        return -1 if self.current_epoch == 0 and batch_idx == 1 else None

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1)]


class SeveralLoadersModule(Module):
    def validation_step(self, batch, batch_idx, dataloader_idx):
        self.layer(batch)


class FailingModule(Module):
    def on_before_optimizer_step(self, optimizer):
        raise RuntimeError("mine")


class PlateauModule(Module):
    """Two schedules of one optimizer, one of which watches a metric."""

    interval = "epoch"

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.layer(batch).mean())

    def training_step(self, batch, batch_idx):
        loss = self.layer(batch).mean()
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        step = torch.optim.lr_scheduler.StepLR(optimizer, 1)
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
        monitor = "val_loss" if self.interval == "epoch" else "train_loss"
        return [optimizer], [
            {"scheduler": step, "interval": self.interval},
            {"scheduler": plateau, "interval": self.interval, "monitor": monitor}]


class StepPlateauModule(PlateauModule):
    interval = "step"


class Data(pl.LightningDataModule):
    def loader(self):
        return torch.utils.data.DataLoader(torch.ones(6, 2), batch_size=2)

    train_dataloader = val_dataloader = test_dataloader = predict_dataloader = loader


class ThreeLoadersData(Data):
    def val_dataloader(self):
        return [self.loader(), self.loader(), self.loader()]


TRANSFER_HOOKS = [
    "on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer",
]


def record(file_name, action, module_class=Module, data_class=Data, data_hooks=(), callbacks=(),
           **options):
    """`data_hooks`: those that the data module overrides beside DATA_HOOKS."""
    calls.clear()
    module = recording(module_class, "LM", MODULE_HOOKS)()
    data = recording(data_class, "DM", DATA_HOOKS + list(data_hooks))()
    callback = recording(pl.Callback, "CB", CALLBACK_HOOKS)()
    trainer = pl.Trainer(
        accelerator="cpu", devices=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, callbacks=[callback, *callbacks],
        limit_val_batches=2, limit_test_batches=2, limit_predict_batches=2, **options)
    try:
        getattr(trainer, action)(module, datamodule=data)
    except RuntimeError as error:
        if str(error) != "mine":
            raise
    (FOLDER / file_name).write_text("\n".join(calls) + "\n")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    record("fit.txt", "fit", max_epochs=2, num_sanity_val_steps=1)
    record("fit_accumulate.txt", "fit", max_epochs=1, num_sanity_val_steps=0,
           accumulate_grad_batches=2, val_check_interval=2)
    record("fit_accumulation_schedule.txt", "fit", max_epochs=3, num_sanity_val_steps=0,
           callbacks=[pl.callbacks.GradientAccumulationScheduler({1: 2, 2: 3})])
    record("fit_manual.txt", "fit", module_class=ManualModule, max_epochs=1,
           num_sanity_val_steps=0)
    record("fit_plateau_epoch.txt", "fit", module_class=PlateauModule, max_epochs=2,
           num_sanity_val_steps=0)
    record("fit_plateau_step.txt", "fit", module_class=StepPlateauModule, max_epochs=1,
           num_sanity_val_steps=0, accumulate_grad_batches=2, val_check_interval=2,
           limit_train_batches=5)
    record("fit_val_loaders.txt", "fit", module_class=SeveralLoadersModule,
           data_class=ThreeLoadersData, max_epochs=1, limit_train_batches=1)
    record("fit_exception.txt", "fit", module_class=FailingModule, max_epochs=1)
    record("fit_skip_epoch.txt", "fit", module_class=SkippingModule, max_epochs=2,
           num_sanity_val_steps=0)
    record("fit_reload.txt", "fit", max_epochs=4, num_sanity_val_steps=1,
           reload_dataloaders_every_n_epochs=2)
    record("fit_transfer.txt", "fit", data_hooks=TRANSFER_HOOKS, max_epochs=1,
           num_sanity_val_steps=0)
    record("fit_transfer_some.txt", "fit", data_hooks=TRANSFER_HOOKS[:1], max_epochs=1,
           num_sanity_val_steps=0)
    record("validate.txt", "validate")
    record("test.txt", "test")
    record("predict.txt", "predict")
