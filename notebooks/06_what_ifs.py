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
# # The what-ifs, (a) to (l)
#
# Twelve questions that kernel developers ask about PMD swap entries. Each is asked here in a small
# version that takes seconds: few points, few draws. The installed studies ask the same with all
# points and 400 draws (`make studies`); their findings stand in `docs/sweep.md`. Profile: a KVM
# guest on Emerald Rapids, swap on zram with lz4, unless it says otherwise.

# %%
import attrs
from IPython.display import Image

import perfmodel as pm
from perfmodel.plot.style import to_small_png
from perfmodel.plot.sweep import study_figure
from perfmodel.report.sweep import break_even_text
from perfmodel.specs.scenario import PageContent, Region, Scenario
from perfmodel.specs.step import Step, StepAction
from perfmodel.studies.findings import find

machine = pm.machine("intel-emerald-rapids-guest")


def smaller(name, *, draws=40, entries=None, **values):
    """An installed study with fewer values on its axes and fewer draws, calculated."""
    study = pm.study(name)
    axes = []
    for axis in study.axes:
        if axis.key in values:
            axis = attrs.evolve(axis, values=values[axis.key], linear=None, logarithmic=None)
        axes.append(axis)
    pairs = tuple(p for p in study.pairs if entries is None or {p.above, p.below} <= set(entries))
    study = attrs.evolve(
        study, axes=tuple(axes), draws=draws, entries=entries or study.entries, pairs=pairs
    )
    swept = pm.sweep(study)
    return swept, find(swept)


def break_evens(findings):
    for point in findings.break_even.points:
        others = ", ".join(f"{name} {value}" for name, value in point.others.items())
        print(f"{others or 'all'}: {break_even_text(point, findings.break_even.unit)}")


# %% [markdown]
# ## (a) How many of the 512 pages must be used?
#
# One fault brings back 2 MiB, wanted or not.

# %%
swept, findings = smaller(
    "touch-density", device=("zram-lz4", "zram-zstd"), pages=(1, 4, 16, 64, 128, 256, 512)
)
break_evens(findings)
Image(to_small_png(study_figure(swept, findings)))

# %% [markdown]
# ## (b) What if the folio in the swap cache is split before the fault?
#
# HUGE becomes SPLIT with some probability, and the PTE code goes on page by page. On a RAM disk,
# where the swap cache is not left at once:

# %%
break_evens(smaller("cache-decay")[1])

# %% [markdown]
# ## (c) What if 512 free slots, or an order-9 page, cannot be had?
#
# A THP without a free cluster is split before it goes out, a PMD entry without an order-9 page when
# it comes back.

# %%
swept, _ = smaller("free-clusters", free_clusters=(0, 4, 8, 12, 16), entries=("pte", "pmd"))
out = swept.dataset["out"].sel(bound="best").to_pandas() / 1000
print("swap-out, us per 2 MiB, by free clusters for 16 THPs:")
print(out.round(0).to_string())
break_evens(smaller("fallback-probability")[1])

# %% [markdown]
# ## (d) What happens near the memory limit?
#
# A program uses n pages of every 2 MiB, round after round, in more memory than it may have
# (32 MiB). PTE entries keep what is used in memory as long as that fits; PMD entries bring back
# 2 MiB each time, but in one fault. Lines are straight between the three points that are run here;
# the break-even point (dashed) is looked for between them.

# %%
swept, findings = smaller(
    "thrash-near-limit",
    draws=20,
    entries=("pte", "pmd"),
    region=("48 MiB", "128 MiB"),
    pages=(64, 256, 512),
)
break_evens(findings)
Image(to_small_png(study_figure(swept, findings)))

# %% [markdown]
# ## (e) Which locality does a 2 MiB swap-in need?
#
# Accesses to single pages by Zipf rank, in twice the memory limit; hot pages are dealt out at
# random, or stand beside each other.

# %%
swept, _ = smaller("locality", draws=20, entries=("pte", "pmd"), exponent=(1.2,))
name = pm.study("locality").outputs[0].name
print("us per access:")
print((swept.dataset[name].sel(bound="best").squeeze().to_pandas() / 1000).round(2).to_string())

# %% [markdown]
# ## (f) Synchronous or asynchronous devices?
#
# On zram the CPU works, on an SSD it waits.

# %%
swept, _ = smaller("sync-async", device=("zram-lz4", "pmem", "optane-p5800x", "samsung-pm9a3"))
print("us per 2 MiB, half of the pages used:")
print((swept.dataset["back"].sel(bound="best").to_pandas() / 1000).round(0).to_string())

# %% [markdown]
# ## (g) What if zswap has the pages?
#
# Zswap cannot load 2 MiB at once today: a PMD entry is split at the fault, after a try in vain.
# What a 2 MiB load would be worth is shown by a share of ranges that are on a plain zram device,
# which can.

# %%
swept, findings = smaller("zswap-whole-loads", entries=("pte", "pmd"))
break_evens(findings)
Image(to_small_png(study_figure(swept, findings)))

# %% [markdown]
# ## (h) How long are locks held? (k) What do system calls gain?
#
# One PMD entry is looked at instead of 512 PTEs; where slots are counted, the cluster's 512 words
# are gone through all the same.

# %%
for study, unit in (("lock-holds", "longest hold, us"), ("callers", "us per 2 MiB")):
    swept, _ = smaller(study)
    print(unit)
    for output in swept.study.outputs:
        best = swept.dataset[output.name].sel(bound="best").to_series() / 1000
        print(f"  {output.name:22s} " + ", ".join(f"{e} {v:8.3f}" for e, v in best.items()))

# %% [markdown]
# ## (i) What does it do to page tables?
#
# Behind a PMD swap entry a PTE table is kept in reserve, so that a split cannot fail. Without that
# reserve (`pmd-lazy`) the memory comes back with the swap-out:

# %%
swept, _ = smaller("page-tables", draws=0)
print("page tables, KiB, by bytes swapped out:")
print((swept.dataset["tables"].to_pandas() / 1024).round(0).to_string())

# %% [markdown]
# ## (j) How long do pieces stay pieces, and what do they cost?
#
# khugepaged makes a range whole again, at its pace: some pages every 10 s. What stays in pieces:

# %%
waits = (1024, 16384, 65536, 131000)
swept, _ = smaller(
    "khugepaged-pace", draws=20, entries=("pte", "pmd"), pages_to_scan=(4096, 32768), waited=waits
)
pieces = swept.dataset["in_pieces"].sel(entry="pte").to_pandas()
print("MiB of 128 still mapped by PTEs, by pages_to_scan and ms waited:")
print((pieces / (1 << 20)).round(0).to_string())

# %% [markdown]
# Until then an access pays more for its translation, by CPU:

# %%
swept, _ = smaller(
    "tlb-tax",
    draws=20,
    entries=("pte", "pmd"),
    waited=(1,),
    machine=("intel-emerald-rapids-guest", "amd-zen4", "arm-neoverse-v2"),
)
tax = swept.dataset["again_difference"].squeeze(["waited", "pair"]).to_pandas()
print("ns that a uniform read of 64 MiB pays more behind PTEs than behind PMDs:")
print(tax.round(1).to_string())

# %% [markdown]
# ## (l) What do many CPUs change?
#
# Every CPU brings back its own ranges of 64 MiB. They meet at the clusters' locks, if anywhere.

# %%
for entry in ("pte", "pmd"):
    for threads in (1, 16):
        crowd = Scenario(
            name="crowd",
            description="Many CPUs swap in at a time.",
            region=Region(64 << 20, PageContent.HALF_RANDOM),
            steps=(
                Step("fill", StepAction.FILL),
                Step("pageout", StepAction.PAGEOUT),
                Step("touch", StepAction.TOUCH, threads=threads),
            ),
        )
        step = pm.simulate(crowd, machine, entry=entry, draws=20).step("touch")
        waiting = step.breakdown_ns.get("lock_wait", 0.0) / sum(step.breakdown_ns.values())
        print(
            f"{entry:4s} {threads:2d} CPUs: {step.elapsed_ns / 1e6:6.2f} ms, {waiting:5.1%} of "
            "the CPUs' time is waiting for locks"
        )

# %% [markdown]
# How to ask your own question is the subject of the next notebook.
