"""Records what every schedule of torch.optim.lr_scheduler sets, for
tests/unit/optim/schedule_values_test.cpp.

  .venv/bin/python tests/golden/optim/record_schedules.py

Writes schedules.txt beside this script: for each case its name, then a line with the rates and, where
the schedule moves it, one with the momentum (SGD) or beta1 (Adam): before the first step and after
each of 199. A number that stands n times in a row is written as number*n. Made with torch 2.11.0.
"""

import pathlib
import warnings

import torch
from torch.optim import lr_scheduler as lr

FOLDER = pathlib.Path(__file__).resolve().parent
BASE_RATE = 0.2
VALUES = 200


def metric(i: int) -> float:
    """What ReduceLROnPlateau is given; the test computes the same."""
    return (i * 7919 % 101) / 100.0 + 20.0 / (1.0 + i)


def sgd():
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=BASE_RATE, momentum=0.5)


def adam():
    return torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=BASE_RATE)


def sequential(optimizer):
    return lr.SequentialLR(
        optimizer,
        [lr.LinearLR(optimizer, 0.1, 1.0, 20), lr.ExponentialLR(optimizer, 0.99),
         lr.CosineAnnealingLR(optimizer, 60, 0.001)],
        [20, 100])


def chained(optimizer):
    return lr.ChainedScheduler([lr.LinearLR(optimizer, 0.25, 1.0, 30),
                                lr.ExponentialLR(optimizer, 0.98),
                                lr.CosineAnnealingLR(optimizer, 220)])


CASES = {
    "lambda": (sgd, lambda o: lr.LambdaLR(o, lambda step: 1.0 / (1.0 + 0.5 * step))),
    "multiplicative": (sgd, lambda o: lr.MultiplicativeLR(o, lambda step: 1.0 - 0.5 / (1.0 + step))),
    "step": (sgd, lambda o: lr.StepLR(o, 30)),
    "multi_step": (sgd, lambda o: lr.MultiStepLR(o, [20, 50, 50, 130], 0.5)),
    "constant": (sgd, lambda o: lr.ConstantLR(o)),
    "constant_tenth_for_40": (sgd, lambda o: lr.ConstantLR(o, 0.1, 40)),
    "linear": (sgd, lambda o: lr.LinearLR(o)),
    "linear_down_150": (sgd, lambda o: lr.LinearLR(o, 1.0, 0.25, 150)),
    "exponential": (sgd, lambda o: lr.ExponentialLR(o, 0.97)),
    "polynomial": (sgd, lambda o: lr.PolynomialLR(o)),
    "polynomial_180_square": (sgd, lambda o: lr.PolynomialLR(o, 180, 2.0)),
    "cosine_60": (sgd, lambda o: lr.CosineAnnealingLR(o, 60)),
    "cosine_45_eta_min": (sgd, lambda o: lr.CosineAnnealingLR(o, 45, 0.02)),
    "restarts_25": (sgd, lambda o: lr.CosineAnnealingWarmRestarts(o, 25)),
    "restarts_10_times_2": (sgd, lambda o: lr.CosineAnnealingWarmRestarts(o, 10, 2, 0.01)),
    "cyclic": (sgd, lambda o: lr.CyclicLR(o, 0.01, 0.1, 15, 35)),
    "cyclic_triangular2": (adam, lambda o: lr.CyclicLR(o, 0.01, 0.1, 20, mode="triangular2")),
    "cyclic_exp_range": (sgd, lambda o: lr.CyclicLR(o, 0.01, 0.1, 20, mode="exp_range", gamma=0.99,
                                                    cycle_momentum=False)),
    "cyclic_scale_fn": (sgd, lambda o: lr.CyclicLR(o, 0.01, 0.1, 20, cycle_momentum=False,
                                                   scale_fn=lambda cycle: 1.0 / (1.0 + cycle))),
    "one_cycle": (sgd, lambda o: lr.OneCycleLR(o, 0.4, 199)),
    "one_cycle_linear": (adam, lambda o: lr.OneCycleLR(o, 0.4, epochs=20, steps_per_epoch=10,
                                                       anneal_strategy="linear", pct_start=0.25)),
    "one_cycle_three_phase": (sgd, lambda o: lr.OneCycleLR(
        o, 0.4, 210, three_phase=True, div_factor=10.0, final_div_factor=100.0,
        base_momentum=0.8, max_momentum=0.9)),
    "plateau": (sgd, lambda o: lr.ReduceLROnPlateau(o)),
    "plateau_max_abs": (sgd, lambda o: lr.ReduceLROnPlateau(
        o, "max", 0.5, patience=4, threshold=0.01, threshold_mode="abs", cooldown=3, min_lr=0.003)),
    "sequential": (sgd, sequential),
    "chained": (sgd, chained),
}


def momentum_of(optimizer):
    group = optimizer.param_groups[0]
    return group["betas"][0] if "betas" in group else group["momentum"]


def text(values):
    runs = []
    for value in (f"{value:.13g}" for value in values):
        if runs and runs[-1][0] == value:
            runs[-1][1] += 1
        else:
            runs.append([value, 1])
    return " ".join(value if count == 1 else f"{value}*{count}" for value, count in runs)


def record(make_optimizer, make_schedule):
    optimizer = make_optimizer()
    before = momentum_of(optimizer)
    schedule = make_schedule(optimizer)
    rates, momenta = [], []
    for i in range(VALUES):
        if i > 0:
            optimizer.step()
            plateau = isinstance(schedule, lr.ReduceLROnPlateau)
            schedule.step(metric(i)) if plateau else schedule.step()
        rates.append(optimizer.param_groups[0]["lr"])
        momenta.append(momentum_of(optimizer))
    lines = ["lr " + text(rates)]
    if any(value != before for value in momenta):
        lines.append("momentum " + text(momenta))
    return lines


def record_together():
    """Three schedules of one optimizer, each stepped on its own, one with a metric."""
    optimizer = sgd()
    linear = lr.LinearLR(optimizer, 0.1, 1.0, 40)
    exponential = lr.ExponentialLR(optimizer, 0.9)
    plateau = lr.ReduceLROnPlateau(optimizer, factor=0.5, patience=3)
    rates = [optimizer.param_groups[0]["lr"]]
    for i in range(1, VALUES):
        optimizer.step()
        linear.step()
        if i % 10 == 0:
            exponential.step()
        if i % 4 == 0:
            plateau.step(metric(i))
        rates.append(optimizer.param_groups[0]["lr"])
    return ["lr " + text(rates)]


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    lines = []
    for name, (make_optimizer, make_schedule) in CASES.items():
        lines += [name] + record(make_optimizer, make_schedule)
    lines += ["together"] + record_together()
    (FOLDER / "schedules.txt").write_text("\n".join(lines) + "\n")
