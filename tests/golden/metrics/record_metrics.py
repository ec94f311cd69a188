"""Records what Lightning sends to its loggers, for
tests/unit/trainer/{eval,train,log}_metrics_test.cpp and
tests/unit/callbacks/learning_rate_monitor_test.cpp, and its grad_norm() for
tests/unit/trainer/module_helpers_test.cpp.

  .venv/bin/python tests/golden/metrics/record_metrics.py

Writes eval_metrics.txt, train_metrics.txt, metric_objects.txt and learning_rates.txt beside this
script: the name of a case, then one line per row with its step and its metrics; and grad_norms.txt
with one line per norm. Made with lightning 2.6.6 and torchmetrics 1.9.
"""

import pathlib
import warnings

import lightning.pytorch as pl
import torch
import torchmetrics
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import grad_norm

FOLDER = pathlib.Path(__file__).resolve().parent


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


class TrainingModule(pl.LightningModule):
    """Logs in every way that training has."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def on_train_epoch_start(self):
        self.log("at_start", 10.0 + self.current_epoch)

    def training_step(self, batch, batch_idx):
        value = batch.mean()
        self.log("step_only", value)
        self.log("both", value, on_epoch=True)
        self.log("epoch_only", value, on_step=False, on_epoch=True)
        self.log("weighted", value, on_step=False, on_epoch=True, batch_size=batch_idx + 1)
        for name in ("sum", "min", "max"):
            self.log(name, value, on_step=True, on_epoch=True, reduce_fx=name)
        self.log("unlogged", value, on_epoch=True, logger=False)
        return self.layer(batch).mean()

    def on_train_batch_end(self, outputs, batch, batch_idx):
        self.log("largest", batch.max())

    def on_train_epoch_end(self):
        self.log("at_end", 20.0 + self.current_epoch)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class MetricModule(pl.LightningModule):
    """Logs metrics of torchmetrics instead of values."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.train_error = torchmetrics.MeanAbsoluteError()
        self.train_accuracy = torchmetrics.classification.BinaryAccuracy()
        self.train_auroc = torchmetrics.classification.BinaryAUROC()
        self.train_largest = torchmetrics.MaxMetric()
        self.val_error = torchmetrics.MeanAbsoluteError()
        self.val_auroc = torchmetrics.classification.BinaryAUROC()

    @staticmethod
    def scored(batch):
        return (batch * 7 % 5) / 5, (batch % 2).long()

    def training_step(self, batch, batch_idx):
        scores, target = self.scored(batch)
        self.train_error(scores, target)
        self.train_accuracy(scores, target)
        self.train_auroc.update(scores, target)
        self.train_largest(batch)
        self.log("error", self.train_error, on_epoch=True)
        self.log("accuracy", self.train_accuracy)
        self.log("auroc", self.train_auroc, on_step=False, on_epoch=True)
        self.log("largest", self.train_largest, on_epoch=True)
        self.log("unlogged", batch.mean(), logger=False)
        return self.layer(batch).mean()

    def validation_step(self, batch, batch_idx):
        scores, target = self.scored(batch)
        self.val_error(scores, target)
        self.val_auroc.update(scores, target)
        self.log("val_error", self.val_error, on_step=True)

    def on_validation_epoch_end(self):
        self.log("val_auroc", self.val_auroc)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class ScheduledModule(pl.LightningModule):
    """Two layers under a schedule."""

    def __init__(self, optimizer, schedule, interval, groups=1, name=None, frequency=1):
        super().__init__()
        self.layers = torch.nn.ModuleList(torch.nn.Linear(1, 1) for _ in range(2))
        self.optimizer, self.schedule, self.groups = optimizer, schedule, groups
        self.config = {"interval": interval, "frequency": frequency, "name": name}

    def training_step(self, batch, batch_idx):
        return sum(layer(batch).mean() for layer in self.layers)

    def configure_optimizers(self):
        if self.groups == 1:
            optimizer = self.optimizer(self.parameters(), lr=0.5)
        else:
            optimizer = self.optimizer(
                [{"params": layer.parameters(), "lr": 0.5 * 4.0 ** i}
                 for i, layer in enumerate(self.layers)])
        if self.schedule is None:
            return optimizer
        return {"optimizer": optimizer,
                "lr_scheduler": {"scheduler": self.schedule(optimizer), **self.config}}


class TwoOptimizers(pl.LightningModule):
    """The second has a schedule and two groups; both are stepped by hand."""

    def __init__(self):
        super().__init__()
        self.layers = torch.nn.ModuleList(torch.nn.Linear(1, 1) for _ in range(3))
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        self.manual_backward(sum(layer(batch).mean() for layer in self.layers))
        for optimizer in self.optimizers():
            optimizer.step()

    def on_train_epoch_end(self):
        self.lr_schedulers().step()

    def configure_optimizers(self):
        first = torch.optim.SGD(self.layers[0].parameters(), lr=0.5, momentum=0.9)
        second = torch.optim.SGD(
            [{"params": self.layers[1].parameters(), "lr": 2.0},
             {"params": self.layers[2].parameters(), "lr": 4.0, "weight_decay": 0.01}], lr=1.0)
        return [first, second], [torch.optim.lr_scheduler.StepLR(second, 1, gamma=0.5)]


class ThreeSchedules(ScheduledModule):
    """Of one optimizer, the last one named."""

    def __init__(self):
        super().__init__(torch.optim.AdamW, None, "step", groups=2)

    def configure_optimizers(self):
        optimizer = super().configure_optimizers()

        def halved():
            return torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)

        # Rising as 1, 2, 3, ... from step to step, in the form that chains.
        rising = torch.optim.lr_scheduler.MultiplicativeLR(
            optimizer, lambda step: (1 + step) / step)
        return [optimizer], [
            {"scheduler": halved()}, {"scheduler": rising, "interval": "step"},
            {"scheduler": halved(), "name": "named"}]


def loader(first, last):
    """The numbers from first to last, two in a batch."""
    numbers = torch.arange(first, last + 1, dtype=torch.float32).reshape(-1, 1)
    return torch.utils.data.DataLoader(numbers, batch_size=2)


def record(name, action, module, *loaders, **options):
    recorder = Recorder()
    trainer = pl.Trainer(
        accelerator="cpu", devices=1, logger=recorder, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, **options)
    getattr(trainer, action)(module, *loaders)
    return [name] + recorder.lines


def write(name, *cases):
    (FOLDER / name).write_text("\n".join(sum(cases, [])) + "\n")


def record_evaluations():
    write("eval_metrics.txt",
          record("fit", "fit", Module(), loader(1, 6), loader(1, 6), max_epochs=2,
                 num_sanity_val_steps=1),
          record("fit, two loaders", "fit", Module(), loader(1, 4), [loader(1, 6), loader(11, 14)],
                 max_epochs=2, val_check_interval=1),
          record("validate, two loaders", "validate", Module(), [loader(1, 6), loader(11, 14)]),
          record("test", "test", Module(), loader(1, 6)))


def record_training():
    def case(name, **options):
        # 7 numbers: the last batch weighs half.
        return record(name, "fit", TrainingModule(), loader(1, 7), max_epochs=2, **options)

    write("train_metrics.txt",
          case("every step", log_every_n_steps=1),
          case("every third step", log_every_n_steps=3),
          case("two batches per step", log_every_n_steps=1, accumulate_grad_batches=2))


def record_metric_objects():
    def case(name, *loaders, **options):
        return record(name, "fit", MetricModule(), loader(1, 7), *loaders, max_epochs=2, **options)

    write("metric_objects.txt",
          case("every step", log_every_n_steps=1),
          case("every third step", log_every_n_steps=3),
          case("validation in the middle", loader(1, 9), log_every_n_steps=1, val_check_interval=2,
               num_sanity_val_steps=1))


def record_grad_norms():
    module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 1), torch.nn.Linear(1, 1))
    numbers = iter(range(1, 100))
    for parameter in list(module.parameters())[:4]:  # the last layer has no gradients
        parameter.grad = torch.tensor(
            [float(next(numbers)) * (-1) ** i for i in range(parameter.numel())]
        ).reshape(parameter.shape)
    norms = [norm for norm_type in (2, 1.5, float("inf"))
             for norm in grad_norm(module, norm_type).items()]
    (FOLDER / "grad_norms.txt").write_text(
        "".join(f"{name} {float(norm):.6g}\n" for name, norm in norms))


def record_learning_rates():
    def case(name, module, interval, last=6, values=False, **options):
        monitor = pl.callbacks.LearningRateMonitor(
            logging_interval=interval, log_momentum=values, log_weight_decay=values)
        return record(name, "fit", module, loader(1, last), max_epochs=3, callbacks=[monitor],
                      **options)

    def halved(optimizer):
        return torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)

    def rising(optimizer):
        return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 + step)

    sgd, adamw = torch.optim.SGD, torch.optim.AdamW
    write("learning_rates.txt",
          case("steps of a schedule per epoch", ScheduledModule(sgd, halved, "epoch"), "step",
               log_every_n_steps=1),
          case("every second epoch", ScheduledModule(sgd, halved, "epoch", frequency=2), "epoch",
               log_every_n_steps=1),
          case("two groups", ScheduledModule(adamw, rising, "step", groups=2), "step",
               log_every_n_steps=1),
          # Lightning counts the batches of an epoch for `frequency`: an even number of them.
          case("named", ScheduledModule(adamw, rising, "step", name="rate", frequency=2), "step",
               last=8, log_every_n_steps=3),
          case("no schedule", ScheduledModule(adamw, None, "step"), "step", log_every_n_steps=3),
          case("momentum and weight decay", ScheduledModule(adamw, rising, "step"), "step",
               values=True, log_every_n_steps=1),
          case("two optimizers", TwoOptimizers(), "step", values=True, log_every_n_steps=1),
          case("no interval, schedule per epoch", ScheduledModule(sgd, halved, "epoch"), None,
               log_every_n_steps=1),
          case("no interval, schedule per step", ScheduledModule(sgd, halved, "step"), None,
               log_every_n_steps=1),
          case("three schedules", ThreeSchedules(), "step", log_every_n_steps=1))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    record_evaluations()
    record_training()
    record_learning_rates()
    record_metric_objects()
    record_grad_norms()
