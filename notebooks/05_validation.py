# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Validation: predictions that could have failed
#
# A model that was fitted to everything proves nothing. Here the fit has seen `pte` and two mTHP
# sizes of two scenarios; what follows judges its prediction of everything else: the other sizes,
# the other scenarios, and a memfd THP, which a stock kernel swaps in whole and which stands in for
# a PMD swap entry. Mechanism is judged by equality, cost by errors and intervals.

# %%
from collections import defaultdict

import attrs
import numpy as np
import pandas as pd
from IPython.display import Image

import perfmodel as pm
from perfmodel.calibrate.baselines import baselines, summarise_baselines
from perfmodel.calibrate.gates import broken
from perfmodel.calibrate.judge import judge
from perfmodel.calibrate.observations import observe
from perfmodel.calibrate.profile import fit_evidence
from perfmodel.plot.calibration import validation_figure
from perfmodel.plot.style import to_small_png
from perfmodel.results.store import load_measurements
from perfmodel.specs.catalog import load_gates, load_problem, measured_folders

# %% [markdown]
# ## The runs
#
# Three measuring runs, some hours apart, that no fit has seen. Each arm has taken turns with all
# others, so that all arms of a run have met the same neighbours.

# %%
machine = pm.machine("intel-emerald-rapids-guest")
files = sorted(
    path for folder in measured_folders(machine.name) for path in folder.glob("*-validation-?.json")
)
runs = [load_measurements(path) for path in files]
validation = judge(machine, runs)
held_out = validation.held_out()
print(f"{len(files)} runs, {len(validation.runs)} steps, {len(held_out)} of them held out")

# %% [markdown]
# ## Mechanism: equal, or not
#
# Every counter that both worlds have, of every step of every run:

# %%
different = [run for run in validation.runs if run.different_counters]
print(f"{len(different)} of {len(validation.runs)} steps have a counter that differs")

# %% [markdown]
# ## Cost: predicted against measured
#
# Left, a mark for each step: bars are the interval of the prediction, and the least and the most of
# the measured runs; hollow marks have been fitted. Right, all errors in order of size, beside the
# noise floor: how well one run predicts another. That difference has the noise of two runs in it,
# so that a good prediction may lie below.

# %%
Image(to_small_png(validation_figure(machine.name, validation.runs)))

# %% [markdown]
# The worst case first, then the median, and how often the 90 % interval held:

# %%
summary = pd.DataFrame(validation.summary()["groups"]).T.round(3)
summary[["count", "max_abs_error", "median_abs_error", "median_noise_floor", "coverage"]]

# %% [markdown]
# ## Where it is worst
#
# An error that repeats in every run is the model's, not noise.

# %%
by_step = defaultdict(list)
for run in held_out:
    by_step[run.scenario, run.entry, run.step].append(run)
sizes = {key: abs(np.median([r.relative_error for r in rows])) for key, rows in by_step.items()}
for scenario, entry, step in sorted(sizes, key=sizes.get, reverse=True)[:8]:
    rows = by_step[scenario, entry, step]
    predicted = rows[0].predicted_ns / rows[0].regions / 1000
    times = " / ".join(f"{row.measured_ns / row.regions / 1000:.1f}" for row in rows)
    print(f"{scenario:18s} {entry:10s} {step:12s} predicted {predicted:7.1f} us, measured {times}")

# %% [markdown]
# The worst are second touches of a few pages far apart: the price of a data access is a constant in
# the engine, and cache lines of page-table entries that nobody has used yet are not.
#
# ## The stand-in
#
# A stock kernel has no PMD swap entry. A memfd THP comes back by one fault of 2 MiB with its PMD
# mapping restored, which is what is predicted for one:

# %%
for run in held_out:
    if run.entry == "shmem-pmd" and run.step == "touch" and run.scenario == "thp-roundtrip":
        low, high = (bound / run.regions / 1000 for bound in run.interval_ns)
        print(
            f"run {run.run + 1}: predicted {run.predicted_ns / run.regions / 1000:.0f} us "
            f"({low:.0f} to {high:.0f}), measured {run.measured_ns / run.regions / 1000:.0f} us"
        )

# %% [markdown]
# ## Is the mechanism worth it?
#
# Simpler predictors, fitted to the same arms and judged at the same steps. What they share with the
# model is the median; what they lack is the worst case, and anything to say about PMD entries.

# %%
problem = load_problem()
base, device = pm.machine(machine.fit.base), pm.device(problem.device)
fitted = [load_measurements(path) for path in fit_evidence(machine)]
observations = observe(fitted, problem, base, device)
rivals = summarise_baselines(baselines(held_out, runs, observations, base, problem.device))
pd.DataFrame([attrs.asdict(line) for line in rivals]).round(3)

# %% [markdown]
# ## It must stay so
#
# Gates hold every prediction to its error of today: a change of the model that moves one further
# away fails a test. They are of these runs and of those of other scenarios, on two devices.

# %%
others = sorted(
    path
    for folder in measured_folders(machine.name)
    for path in folder.glob("*[0-9]-held-out-[0-9].json")
)
everything = judge(machine, [*runs, *map(load_measurements, others)])
print(broken(load_gates(machine.name), everything) or "all gates hold")

# %% [markdown]
# `perfmodel validate` does all this on the machine you sit at, or with `--evidence` on files.
# `docs/calibration.md` discusses what is missed, and why.
