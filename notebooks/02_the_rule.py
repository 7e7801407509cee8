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
# # The rule and its callers
#
# A PMD swap entry stands for 512 ordinary swap slots, and promises nothing about the swap cache.
# Everything else follows from one rule. Whoever meets such an entry and needs its pages looks at
# the 512 slot words first:
#
# * **EMPTY**: no slot is cached. A swap-in of 2 MiB may be tried, and may still fail.
# * **HUGE**: one folio of 2 MiB covers all slots. It is taken whole.
# * **SPLIT**: anything else. The entry is split to 512 PTE swap entries, and the PTE code goes on
#   slot by slot: the *fallback to PTEs*.
#
# This notebook runs the rule. All it shows is counted by the model, whose counters equal those of
# a live kernel wherever a stock kernel can show the same. The rules stand in `docs/mechanism.md`.

# %%
from collections import Counter

import numpy as np
import pandas as pd
from IPython.display import Image
from matplotlib.colors import ListedColormap

import perfmodel as pm
from perfmodel.plot.style import new_figure, to_small_png
from perfmodel.specs.callers import RangeClass
from perfmodel.specs.catalog import names
from perfmodel.studies.callers import behaviours

# %% [markdown]
# ## One fault, three classes
#
# Each caller is run on one range of 2 MiB that was brought into each class before. Class `pte` is
# what Linux 6.18 leaves behind: 512 PTE swap entries. A fault for one page:

# %%
rows = behaviours()
for row in rows:
    if row.caller == "page fault, read":
        print(f"{row.kind:6s} {row.handling}; then {row.state}")
        print("       " + ", ".join(f"{count} {name}" for name, count in row.events.items()))

# %% [markdown]
# EMPTY reads 2 MiB for one fault; HUGE reads nothing, as all is there; SPLIT writes 512 entries to
# map one page. The swap-in of `pte` has readahead: one fault, several pages.
#
# ## Everybody else
#
# The fault is one caller of many. What they do with a range depends on its class, and many do not
# have to ask: to free the slots, or to report that a page is swapped out, the entry says enough.

# %%
classes = [RangeClass.EMPTY, RangeClass.HUGE, RangeClass.SPLIT, RangeClass.PTE]
handlings = ["not touched", "whole", "slot by slot", "entry by entry", "split"]
found = {(row.caller, row.kind): row for row in rows}
callers = list(dict.fromkeys(row.caller for row in rows if (row.caller, "EMPTY") in found))
table = np.full((len(callers), len(classes)), np.nan)
for line, caller in enumerate(callers):
    for column, kind in enumerate(classes):
        if (caller, kind) in found:
            table[line, column] = handlings.index(found[caller, kind].handling)

figure, (ax,) = new_figure(width_inches=8.0, height_inches=0.24 * len(callers) + 1.0)
colours = ListedColormap(["#DDDDDD", "#117733", "#88CCEE", "#DDCC77", "#CC6677"])
ax.pcolormesh(np.ma.masked_invalid(table), cmap=colours, vmin=-0.5, vmax=4.5, edgecolors="white")
for line, caller in enumerate(callers):
    for column, kind in enumerate(classes):
        if (caller, kind) in found and found[caller, kind].asks_the_rule:
            ax.plot(column + 0.5, line + 0.5, marker=".", color="black")
ax.set_yticks(np.arange(len(callers)) + 0.5, callers, fontsize="small")
ax.set_xticks(np.arange(len(classes)) + 0.5, [str(kind) for kind in classes])
ax.invert_yaxis()
ax.tick_params(length=0)
for number, handling in enumerate(handlings):
    ax.plot([], [], "s", color=colours(number), label=handling, markersize=10)
ax.plot([], [], ".", color="black", label="asks the rule")
ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False)
Image(to_small_png(figure))

# %% [markdown]
# Red in the columns EMPTY and HUGE is what a PMD swap entry cannot do whole. The reasons:

# %%
reasons = Counter(
    reason for row in rows if row.kind in ("EMPTY", "HUGE") for reason in row.fallbacks
)
pd.Series(dict(reasons.most_common()), name="callers and classes").to_frame()

# %% [markdown]
# ## What it saves, what it does not
#
# A caller that only looks at page tables visits one entry instead of 512. One that counts or frees
# slots still goes through all 512 words, under the cluster's lock.

# %%
lines = {}
for caller in ("fork", "mincore", "pagemap", "smaps", "mremap, aligned", "munmap, whole"):
    for kind in (RangeClass.PTE, RangeClass.EMPTY):
        row = found.get((caller, kind))
        if row is not None:
            lines[caller, str(kind)] = row.longest_holds
pd.DataFrame(lines).T.fillna(0).astype(int)

# %% [markdown]
# ## Every reason to split, as a scenario
#
# Each way into the fallback is an installed scenario, too. They are small, exact, and most of them
# can be measured on a live kernel. Both entries end in the same counters, or the PMD entry has the
# fewer faults; it never has more.

# %%
told = []
for name in names("scenario"):
    if not name.startswith("fallback-"):
        continue
    scenario = pm.scenario(name)
    device = "swap-file" if "block-device" in name else "zram-lz4"
    faults = {}
    for entry in ("pte", "pmd"):
        result = pm.simulate(scenario, "amd-zen3", device=device, entry=entry, draws=20)
        faults[entry] = sum(step.counters.get("pgmajfault", 0) for step in result.steps)
        why = [reason for step in result.steps for reason, n in step.fallbacks.items() if n]
    told.append((name, faults["pte"], faults["pmd"], ", ".join(dict.fromkeys(why))))
pd.DataFrame(told, columns=["scenario", "faults, pte", "faults, pmd", "why it splits"])

# %% [markdown]
# ## What a fallback costs beyond PTE entries
#
# It is not free to have tried. If no order-9 page can be had, the fault has asked for one, looked
# at 512 words and written 512 entries before it is where PTE entries are from the start.

# %%
shares = np.linspace(0, 1, 6)
machine = pm.machine("intel-emerald-rapids-guest")
pte = pm.simulate("thp-roundtrip", machine, entry="pte").step("touch")
points = [
    pm.simulate("thp-roundtrip", machine, entry="pmd", order9_failure=float(share), seed=3)
    for share in shares
]
times = [point.per_2mib_us("touch") for point in points]
regions = points[0].regions
figure, (ax,) = new_figure(width_inches=7.5, height_inches=3.8)
ax.plot(shares * 100, times, marker="o", label="pmd")
ax.axhline(pte.elapsed_ns / 1000 / regions, color="0.3", linestyle="--", label="pte")
ax.set_xlabel("chance that no order-9 page can be had [%]")
ax.set_ylabel("swap-in, us per 2 MiB")
ax.set_ylim(bottom=0)
ax.legend(frameon=False)
print(f"always: {times[-1]:.0f} us, PTE entries {pte.elapsed_ns / 1000 / regions:.0f} us")
Image(to_small_png(figure))

# %% [markdown]
# So a PMD entry is a bet with a small stake, where all pages are wanted, as here. What 2 MiB cost
# where few are is question (a) of the what-ifs. `docs/callers.md` has every caller with every
# class; `perfmodel show mechanism` prints it.
