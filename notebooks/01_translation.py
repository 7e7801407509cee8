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
# # Translation: what a huge page is good for
#
# A 2 MiB page that comes back from swap in 512 pieces costs more than its 512 faults. As long as it
# stays in pieces, every access to it needs more of the TLBs and longer page walks. This notebook
# shows that tax: what a TLB reaches, what a walk reads, what a guest adds, and how far the numbers
# can be trusted. The rules of the simulator stand in `docs/translation.md`.

# %%
import numpy as np
from IPython.display import Image

import perfmodel as pm
from perfmodel.models.translation import Mapping, TranslationSimulation, map_window, mapping_kind
from perfmodel.plot.latency import chase_figure, latency_by_size
from perfmodel.plot.style import new_figure, to_small_png
from perfmodel.results.chase import load_chase
from perfmodel.specs.catalog import measured_folders
from perfmodel.studies.chase import GUEST, predict_curves
from perfmodel.studies.latency import predict_sizes

# %% [markdown]
# ## What the TLBs reach
#
# A machine file describes every TLB array. Entries times page size is what it reaches; sizes that
# share an array compete for its entries.

# %%
machine = pm.machine("amd-zen3")
for tlb in machine.translation.tlbs:
    entries = int(tlb.entries.value)
    reach = {"4k": entries * 4 / 1024, "2m": entries * 2}
    sizes = ", ".join(f"{size}: {reach[size]:g} MiB" for size in tlb.page_sizes if size in reach)
    print(f"level {tlb.level} {tlb.name:6s} {entries:5d} entries, {tlb.accesses}; {sizes}")

# %% [markdown]
# ## What a walk reads
#
# Beyond that reach the hardware walks the page table. With nothing cached it reads one entry for
# each level, and a 2 MiB page has one level less. In a guest each of these entries has an address
# that the host must translate first, and so has the data; the host's own walk caches and its nested
# cache already help within this one cold walk.

# %%
for host in (None, "2m", "4k"):
    for size in ("4k", "2m", "1g"):
        simulation = TranslationSimulation(
            machine.translation, map_window(1 << 30, size), host_page_size=host
        )
        cold = simulation.run([0])
        guest, outer = sum(cold.table_references.values()), sum(cold.host_references.values())
        where = "bare metal" if host is None else f"guest, host pages {host}"
        print(f"{where:20s} {size}: {guest + outer:2d} references, {outer:2d} of them the host's")

# %% [markdown]
# ## The working set
#
# A pointer chase through every line of a buffer, each load's address being what the one before
# it read, shows everything: caches, the reach of the TLBs, walks, DRAM. The gap between the two
# curves is what a 2 MiB page saves in each access.

# %%
sizes = tuple(1 << exponent for exponent in range(14, 29))
latencies = predict_sizes(machine.translation, sizes, accesses=1 << 15)
figure, (ax,) = new_figure()
latency_by_size(latencies, ax)
ax.set_title(f"{machine.name}: one dependent load, predicted", fontsize="medium")
Image(to_small_png(figure))

# %% [markdown]
# ## The tax on what came back in pieces
#
# Let a program of 256 MiB have come back from swap: some of its 2 MiB ranges whole, the others in
# PTEs, at random places. It reads lines at random, one after the other. How much does each read
# pay for translation, and what does that come to for each range?

# %%
RANGES, ACCESSES = 128, 1 << 17
generator = np.random.default_rng(1)
addresses = generator.integers(0, RANGES << 21, ACCESSES) & ~np.int64(63)
order = generator.permutation(RANGES)
shares = np.linspace(0, 1, 9)


def translation_ns(name: str, share: float) -> float:
    """Mean translation time of an access if this share of the ranges is mapped by PTEs."""
    kinds = np.full(RANGES, mapping_kind("2m"))
    kinds[order[: round(share * RANGES)]] = mapping_kind("4k")
    simulation = TranslationSimulation(pm.machine(name).translation, Mapping(kinds))
    simulation.run(addresses)
    counts = simulation.run(addresses)
    return (counts.stlb_ps + counts.walk_ps + counts.wait_ps) / counts.accesses / 1000


figure, (ax,) = new_figure()
for name in ("intel-skylake-sp", "amd-zen3", "amd-zen5", "arm-neoverse-n1"):
    tax = [translation_ns(name, share) for share in shares]
    ax.plot(shares * 100, tax, marker="o", label=name)
    print(
        f"{name:18s} all huge {tax[0]:5.2f} ns, half {tax[4]:5.2f} ns, in pieces {tax[-1]:5.2f} ns"
    )
ax.set_xlabel("ranges of 2 MiB that are mapped by PTEs [%]")
ax.set_ylabel("translation, ns per access")
ax.legend(frameon=False)
Image(to_small_png(figure))

# %% [markdown]
# Nanoseconds an access against a fallback that costs a good part of a millisecond for each 2 MiB:
# the tax matters for memory that is used very often before khugepaged makes it whole again, and not
# for memory that is touched a little and goes out once more. How often is that?

# %%
tax_ns = translation_ns("amd-zen3", 1.0) - translation_ns("amd-zen3", 0.0)
fallback = pm.compare("thp-roundtrip", machine).fallback
print(fallback.sentence())
print(
    f"As much as {fallback.per_2mib_ns / tax_ns:,.0f} random reads of the range pay for walks "
    f"({tax_ns:.1f} ns each)."
)

# %% [markdown]
# ## Paging out: the other side
#
# Before a page goes out its translation must leave all TLBs. A range is dropped with all it holds:
# the entries for its pages, and on x86 every walk-cache entry of the address space. The next access
# pays for a walk.

# %%
simulation = TranslationSimulation(machine.translation, map_window(64 << 20, "2m"))
for what in ("first access", "second"):
    print(f"{what:16s} {simulation.access(5 << 21)}")
simulation.invalidate_range(5 << 21, 2 << 20)
print(f"{'after its flush':16s} {simulation.access(5 << 21)}")

# %% [markdown]
# ## How far to trust it
#
# Nothing of this was fitted to the following measurement: the same kind of chase, one line of each
# page, timed on a KVM guest (Emerald Rapids). The steps are where they are predicted, the level is
# some 20 % too low, and beyond the reach of the STLB half of the time is missing. That 2 MiB pages
# leave the L1 TLB where 4 KiB pages do says that the host maps this guest by 4 KiB pages.

# %%
profile = pm.machine("intel-emerald-rapids-guest")
evidence = [
    path
    for folder in measured_folders(profile.name)
    for path in sorted(folder.glob("*-chase-1.json"))
]
measured = load_chase(next(path for path in evidence if "calibration" not in path.name))
pages = [1 << exponent for exponent in range(4, 16)]
curves = predict_curves(profile, pages, GUEST[:1], draws=6)
Image(to_small_png(chase_figure(curves, measured)))

# %%
for curve in curves:
    points = {point.pages: point.ns() for point in measured.of(curve.page_size)}
    errors = [ns / points[count] - 1 for count, ns in zip(curve.pages, curve.ns, strict=True)]
    print(
        f"{curve.page_size} pages: median error {np.median(np.abs(errors)):.0%}, worst "
        f"{min(errors, key=lambda error: -abs(error)):+.0%}"
    )

# %% [markdown]
# `docs/latency.md` says where the rest goes, and sets the predictions beside published latencies of
# CPUs on bare metal; `perfmodel latency` draws these pictures for any machine. Next: what makes a
# page come back in pieces at all.
