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
# # Calibration: from measured times to prices
#
# The model counts events exactly; what each of them costs must be learned from a machine. Time is
# then a sum of counts times prices, and the prices come out of a least-squares fit with a prior,
# with all that it leaves open. This notebook does the fit of the profile that comes with perfmodel
# again, from the measurements that come with it. It needs no root: `perfmodel calibrate` measures,
# this only reads. How it is done, and why, stands in `docs/calibration.md`.

# %%
import numpy as np
from IPython.display import Image

import perfmodel as pm
from perfmodel.calibrate.profile import build_profile, fit_evidence
from perfmodel.plot.style import MEASURED, PREDICTED, new_figure, to_small_png
from perfmodel.results.store import load_measurements
from perfmodel.specs.catalog import load_problem
from perfmodel.studies.influence import influence

# %% [markdown]
# ## The evidence
#
# Files of raw measurements, with every repetition. The profile names them and their checksums, so
# that they cannot change under it.

# %%
shipped = pm.machine("intel-emerald-rapids-guest")
files = fit_evidence(shipped)
runs = [load_measurements(path) for path in files]
print(shipped.description)
for path, run in zip(files, runs, strict=True):
    steps = {result.scenario: len(result.steps[0].repetitions_ns) for result in run}
    print(f"{path.name}: {len(run)} arms, repetitions {steps}")

# %% [markdown]
# ## Noise only adds
#
# Neighbours on a shared machine make a step slower, never faster. So a step's time is the 25 %
# quantile over its repetitions, and its error is bootstrapped. The touch of `thp-roundtrip`, in all
# repetitions of all runs:

# %%
figure, (ax,) = new_figure(width_inches=8.0, height_inches=3.8)
for number, run in enumerate(runs):
    for place, entry in enumerate(("pte", "mthp-16k", "mthp-1024k")):
        wanted = ("thp-roundtrip", "zram-lz4", entry)
        (arm,) = (r for r in run if (r.scenario, r.device, r.entry) == wanted)
        times = np.array(arm.step("touch").repetitions_ns) / arm.regions / 1000
        at = place + 0.25 * (number - 1)
        ax.plot(np.full(times.size, at), times, ".", color=PREDICTED, alpha=0.4)
        low = float(np.quantile(times, 0.25))
        ax.plot([at - 0.08, at + 0.08], [low, low], color=MEASURED, linewidth=2.5)
ax.set_xticks(range(3), ["pte", "mthp-16k", "mthp-1024k"])
ax.set_ylabel("touch, us per 2 MiB")
ax.set_title(f"{len(runs)} runs side by side; line: 25 % quantile", fontsize="medium")
ax.set_ylim(bottom=0)
Image(to_small_png(figure))

# %% [markdown]
# ## The fit
#
# The problem file says which steps are observed, and which prices are free. Only `pte` and two
# mTHP sizes are ever seen; every other entry is kept for the judgement in the next notebook.

# %%
problem = load_problem(shipped.fit.problem)
profile, fit = build_profile(files, name="fitted-here", problem=problem)
print(f"{len(problem.arms())} arms, {len(fit.residuals)} observed steps, {len(fit.names)} prices")
print(
    f"chi-square {fit.chi_square:.1f} for {fit.degrees_of_freedom:.1f} degrees of freedom; runs "
    f"drift by {fit.run_to_run:.1%}; constant prices miss {fit.model_error:.1%} of a step"
)
for warning in fit.warnings:
    print("warning:", warning)

# %% [markdown]
# ## What the data have told
#
# Each bar is what is known of a price before the fit, and after it, both over the value before.
# Where both are alike the measurements say nothing about this price; its neighbours may still be
# known in sum.

# %%
base = pm.machine(shipped.fit.base)
known = pm.prior(shipped)
prior = [known[name] for name in fit.names]
order = np.argsort([spread / p.spread for spread, p in zip(fit.spreads, prior, strict=True)])
figure, (ax,) = new_figure(width_inches=8.5, height_inches=11.0)
for place, index in enumerate(order):
    before, value = prior[index], float(fit.values[index])
    unit = before.value
    for width, centre, spread, colour in (
        (7, before.value, before.spread, "0.8"),
        (3, value, float(fit.spreads[index]), PREDICTED),
    ):
        ends = [max(centre - 1.645 * spread, unit / 20) / unit, (centre + 1.645 * spread) / unit]
        ax.plot(ends, [place, place], color=colour, linewidth=width, solid_capstyle="butt")
    ax.plot(value / unit, place, "o", color=PREDICTED, markersize=5)
ax.set_yticks(range(len(order)), [fit.names[index] for index in order], fontsize="small")
ax.invert_yaxis()
ax.set_xscale("log")
ax.set_xlabel("90 % range over the value before the fit: before (grey) and after (blue)")
Image(to_small_png(figure))

# %% [markdown]
# ## Prices that cannot be told apart
#
# What always happens together can only be known together. The covariance keeps that: both prices
# are uncertain, their sum is not. The strongest correlations:

# %%
rows, columns = np.triu_indices(len(fit.names), 1)
strongest = np.argsort(-np.abs(fit.correlation[rows, columns]))[:6]
for row, column in zip(rows[strongest], columns[strongest], strict=True):
    print(f"{fit.correlation[row, column]:+.2f}  {fit.names[row]}, {fit.names[column]}")

# %% [markdown]
# ## What it is worth
#
# The same question before and after:

# %%
for machine in (base, profile, shipped):
    print(f"{machine.name:28s} {pm.compare('thp-roundtrip', machine).fallback.sentence()}")

# %% [markdown]
# ## What to measure next
#
# The share that each number has in the variance of the answer, and which further step would take
# most of it away:

# %%
hangs = influence(pm.scenario("thp-roundtrip"), shipped, shipped.devices["zram-lz4"], draws=5000)
for number in hangs.numbers[:6]:
    print(f"{number.share:4.0%} {number.name} ({number.how})")
for candidate in hangs.candidates[:3]:
    print(
        f"measure {candidate.scenario} {candidate.entry} {candidate.step}: takes "
        f"{candidate.gain:.0%}"
    )

# %% [markdown]
# To calibrate your own machine: `perfmodel doctor`, then `perfmodel calibrate` as root. The next
# notebook asks whether a profile deserves trust.
