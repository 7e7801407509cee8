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
# # A tour of perfmodel
#
# Linux swaps a 2 MiB transparent huge page (THP) out in one piece and leaves 512 PTE-level swap
# entries behind, so that the page comes back in pieces and stays in pieces. A proposed change
# leaves *one* PMD-level swap entry. It is a compact encoding of 512 ordinary swap slots and
# promises nothing about the swap cache; where the range cannot be handled whole, it is split, and
# the PTE code goes on slot by slot: the *fallback to PTEs*.
#
# This tour asks what that fallback costs, in the model. Everything here runs without root.

# %%
import attrs
from IPython.display import SVG, Image

import perfmodel as pm
from perfmodel.plot.figures import breakdown_figure, cost_by_swapin_size
from perfmodel.plot.style import new_figure, to_small_png, to_svg

# %% [markdown]
# ## One scenario, one machine
#
# A scenario says what happens to memory and names no machine. A machine says what each event costs,
# and where every number comes from.

# %%
scenario = pm.scenario("thp-roundtrip")
[(step.name, step.action.value) for step in scenario.steps]

# %%
machine = pm.machine("amd-zen3")
machine.kernel.fault_ns

# %% [markdown]
# `simulate` counts events exactly, under the kernel's own names, and prices them.

# %%
pte = pm.simulate(scenario, machine, entry="pte")
pmd = pm.simulate(scenario, machine, entry="pmd")
for result in (pte, pmd):
    counters = {name: n for name, n in result.step("touch").counters.items() if n}
    print(f"{result.entry}: {result.per_2mib_us('touch'):.0f} us per 2 MiB, {counters}")

# %% [markdown]
# ## What the fallback costs
#
# `compare` runs several arms with the same draws from what is uncertain about the machine, so that
# the interval is that of the *difference*.

# %%
comparison = pm.compare(scenario, machine)
print(comparison.fallback.sentence())

# %%
Image(to_small_png(breakdown_figure(comparison)))

# %%
figure, (ax,) = new_figure()
cost_by_swapin_size(comparison, ax)
SVG(to_svg(figure))

# %% [markdown]
# The published numbers leave wide intervals. A fitted profile narrows them: `perfmodel calibrate`
# makes one of your machine (it needs root and zram), and one comes with perfmodel.

# %%
from perfmodel.specs.catalog import names

fitted = [name for name in names("machine") if pm.machine(name).fit is not None]
for name in fitted:
    print(name, "-", pm.machine(name).description)
    print("  ", pm.compare(scenario, name).fallback.sentence())

# %% [markdown]
# ## When a PMD entry is a loss
#
# One fault brings 2 MiB, whether all of it is wanted or one page. So touch fewer pages:

# %%
for pages in (1, 8, 64, 256, 512):
    sparse = pm.compare(pm.scenario("thp-sparse-touch", pages_touched=pages), machine)
    print(f"{pages:3d} of 512 pages: {sparse.fallback.sentence()}")

# %% [markdown]
# ## When no huge page can be had
#
# A PMD swap entry promises nothing. If no order-9 page can be allocated, it is split to 512 PTE
# swap entries, and the same fault goes on with one page.

# %%
for probability in (0.0, 0.1, 0.5, 1.0):
    arm = pm.simulate(scenario, machine, entry="pmd", order9_failure=probability)
    counters = arm.step("touch").counters
    print(
        f"{probability:4.0%}: {arm.per_2mib_us('touch'):5.0f} us per 2 MiB, "
        f"{counters['pgmajfault']:5d} major faults, "
        f"{counters['hugepages-2048kB/stats/swpin_fallback']} fallbacks"
    )

# %% [markdown]
# ## What if
#
# Machines are frozen; `attrs.evolve` makes another one, and checks it.

# %%
slow_faults = attrs.evolve(
    machine,
    kernel=attrs.evolve(
        machine.kernel, fault_ns=attrs.evolve(machine.kernel.fault_ns, value=2000.0)
    ),
)
print(pm.compare(scenario, slow_faults).fallback.sentence())

# %% [markdown]
# ## As data
#
# A result is a labelled dataset, too.

# %%
pte.to_dataset()["breakdown_ns"].to_pandas().T.round()
