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
# # A calibrated benchmark run, from start to plot
#
# From an idle machine to a picture with both worlds in it: ask what can be measured, measure in
# turns, look whether the measurement is any good, fit, predict what was not fitted, draw.
#
# Measuring changes swap and THP settings (and puts them back), and needs root. So this notebook
# measures only where the machine allows it *and* the environment says
# `PERFMODEL_NOTEBOOK_MEASURES=1`. Otherwise it goes on with the recorded runs that come with
# perfmodel; everything after the measurement is the same.

# %%
import os
import tempfile
from pathlib import Path

import attrs
import numpy as np
from IPython.display import Image

import perfmodel as pm
from perfmodel.calibrate.profile import build_profile, fit_arms, fit_evidence
from perfmodel.measure.capabilities import capabilities, measurable
from perfmodel.measure.run import measure_arms
from perfmodel.plot.figures import cost_by_swapin_size
from perfmodel.plot.style import MEASURED, PREDICTED, new_figure, to_small_png
from perfmodel.report.table import comparison_table
from perfmodel.results.stability import complaints
from perfmodel.results.store import load_measurements, save_measurements
from perfmodel.specs.catalog import measured_folders

# %% [markdown]
# ## 1. What can this machine measure?
#
# `perfmodel doctor` prints the same, with what is missing and how to get it. Looking changes
# nothing. What it finds depends on the machine, so only the verdict is kept here.

# %%
held_out = ["mthp-64k", "mthp-256k", "shmem-pmd"]
needed = sorted({entry for _, entry in fit_arms()} | set(held_out))
wanted = os.environ.get("PERFMODEL_NOTEBOOK_MEASURES") == "1"
measures = wanted and set(needed) <= set(measurable(tuple(needed), capabilities()))
print("This run measures." if measures else "This run goes on with recorded measurements.")

# %% [markdown]
# ## 2. Measure
#
# All arms take turns, one repetition each, so that drift and neighbours meet all alike; the first
# turn warms up. On the command line:
#
# ```
# perfmodel calibrate --quick --out my-machine.toml --save-evidence my-run.json
# perfmodel validate --machine my-machine.toml --save-evidence my-validation.json
# perfmodel compare thp-roundtrip --machine my-machine.toml --measured yes --report report
# ```

# %%
if measures:
    arms = [(pm.scenario(name), entry) for name, entry in fit_arms()]
    arms += [(pm.scenario("thp-roundtrip"), entry) for entry in held_out]
    results = measure_arms(arms, pm.device("zram-lz4"), repetitions=15)
    file = Path(tempfile.mkdtemp(prefix="perfmodel-")) / "run.json"
    save_measurements(results, file)
    fit_files, measured = [file], results
else:
    recorded = pm.machine("intel-emerald-rapids-guest")
    fit_files = fit_evidence(recorded)
    (validation,) = (
        path
        for folder in measured_folders(recorded.name)
        for path in folder.glob("2026-11-22-validation-1.json")
    )
    measured = load_measurements(validation)
host = measured[0].provenance["host"]
print(f"{host['cpu_vendor']} family {host['cpu_family']} model {host['cpu_model']}, ", end="")
print(f"{host.get('virtualisation', '?')}, Linux {host['kernel']}; {len(measured)} arms")

# %% [markdown]
# ## 3. Is the measurement any good?
#
# Before anything is fitted, look at the repetitions. perfmodel says in words what it does not like:
# stolen time, a reference that varies, sessions that differ, few repetitions.

# %%
for line in complaints(measured) or ["nothing to complain about"]:
    print(line)

# %%
trips = {arm.entry: arm for arm in measured if arm.scenario == "thp-roundtrip"}
shown = [entry for entry in ("pte", "mthp-64k", "mthp-256k", "shmem-pmd") if entry in trips]
figure, (ax,) = new_figure(width_inches=8.0, height_inches=3.6)
for entry in shown:
    times = np.array(trips[entry].step("touch").repetitions_ns) / trips[entry].regions / 1000
    ax.plot(times, marker=".", linewidth=0.8, label=entry)
ax.set_xlabel("turn")
ax.set_ylabel("touch, us per 2 MiB")
ax.set_ylim(bottom=0)
ax.legend(frameon=False, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0))
Image(to_small_png(figure))

# %% [markdown]
# ## 4. Calibrate
#
# The fit sees `pte`, `mthp-16k` and `mthp-1024k`. Whatever it says against itself is printed.

# %%
profile, fit = build_profile(fit_files, name="this-run")
print(profile.description)
print(f"chi-square {fit.chi_square:.1f} for {fit.degrees_of_freedom:.1f} degrees of freedom")
for warning in fit.warnings:
    print("warning:", warning[:160])

# %% [markdown]
# ## 5. Predict what was not fitted, and set the measurement beside it
#
# `mthp-64k`, `mthp-256k` and the memfd that stands in for a PMD swap entry were in no fit.

# %%
comparison = pm.compare("thp-roundtrip", profile, entries=["pte", "mthp-64k", "mthp-256k", "pmd"])
comparison = attrs.evolve(comparison, measured={entry: trips[entry] for entry in shown})
print(comparison_table(comparison))

# %% [markdown]
# ## 6. Draw

# %%
figure, (ax,) = new_figure(width_inches=8.5, height_inches=4.2)
cost_by_swapin_size(comparison, ax)
Image(to_small_png(figure))

# %%
figure, (ax,) = new_figure(width_inches=8.5, height_inches=3.4)
for place, entry in enumerate(shown):
    predicted = comparison.arms["pmd" if entry == "shmem-pmd" else entry].step("touch")
    scale = trips[entry].regions * 1000
    low, high = (bound / scale for bound in predicted.interval_ns)
    ax.plot([low, high], [place, place], color=PREDICTED, linewidth=6, alpha=0.3)
    ax.plot(predicted.elapsed_ns / scale, place, "o", color=PREDICTED)
    ax.plot(trips[entry].step("touch").elapsed_ns / scale, place, "D", color=MEASURED)
ax.plot([], [], "o", color=PREDICTED, label="predicted, with its 90 % interval")
ax.plot([], [], "D", color=MEASURED, label="measured")
ax.set_yticks(range(len(shown)), shown)
ax.invert_yaxis()
ax.set_xlim(left=0)
ax.set_xlabel("touch, us per 2 MiB")
ax.legend(frameon=False, loc="lower left")
Image(to_small_png(figure))

# %% [markdown]
# ## 7. The answer
#
# With the interval that this calibration leaves, and measured where both arms were:

# %%
print(comparison.fallback.sentence())
found = comparison.measured_fallback()
if found is not None:
    print(f"Measured: {found['per_2mib_ns'] / 1000:.0f} us per 2 MiB, ratio {found['ratio']:.2f}.")

# %% [markdown]
# The evidence file keeps every repetition and the set-up of the machine, so that the fit can be
# done again, by you or by others, from `perfmodel calibrate --evidence FILE`.
