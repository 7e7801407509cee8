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
# # Devices: who waits for what
#
# What a fallback costs depends first of all on where the pages are. A RAM-based swap device works
# on the CPU that asks: 512 faults decompress 512 pages, and so does one. A disk is asked and waited
# for, so that one request for 2 MiB and 512 requests for 4 KiB are two different worlds. This
# notebook shows both kinds. The rules stand in `docs/devices.md`.

# %%
from IPython.display import Image

import perfmodel as pm
from perfmodel.models.devices import Workload, queue_depth_sweep
from perfmodel.plot.devices import device_figure
from perfmodel.plot.style import PREDICTED, new_figure, to_small_png
from perfmodel.specs.catalog import names
from perfmodel.studies.published_devices import compare_published_devices

# %% [markdown]
# ## What is installed
#
# A device does its work on the CPU that asks, or is served in a queue of its own, or is known by
# its prices only.

# %%
for name in names("device"):
    device = pm.device(name)
    model = "served in a queue" if device.service is not None else "prices only"
    model = "on the CPU" if device.kind.synchronous else model
    print(f"{name:28s} {device.kind.value:10s} {model:18s} {device.description[:70]}")

# %% [markdown]
# ## One number and its source
#
# Every number in a device's file has a unit, a spread, a source, and how it is known.

# %%
drive = pm.device("optane-p4800x")
number = drive.service.read_link_bytes_per_s
print(f"{number.value:g} {number.unit}, spread {number.spread:g}, {number.how}: {number.source}")

# %% [markdown]
# ## A device under load
#
# Requests go through a front end, dies, channels and a link; whatever is busy makes the next one
# wait. So latency against queue depth comes out of the simulation, and can be set beside what was
# published: squares went into the device's file, circles are checks that nothing was fitted to.

# %%
shown = ["optane-p4800x", "intel-p3700", "micron-9100-max", "samsung-990-pro"]
load = Workload(requests=20_000)
depths = (1, 2, 4, 8, 16, 32, 64, 128)
sweeps = {name: queue_depth_sweep(pm.device(name), depths, load) for name in shown}
compared = compare_published_devices(shown, requests=20_000)
Image(to_small_png(device_figure(sweeps, compared)))

# %%
for comparison in compared:
    for value in comparison.of("check"):
        print(
            f"{comparison.device:16s} {value.measure.value:14s} at queue depth "
            f"{value.queue_depth:3d}: published {value.published:12,.0f}, simulated "
            f"{value.simulated:12,.0f} ({value.relative_error:+.0%})"
        )

# %% [markdown]
# Means and rates hold; far tails do not: what happens once in 100,000 requests is not in numbers
# of queue depth 1.
#
# ## A huge page is one request
#
# 2 MiB as one contiguous stretch are split into as many commands as the device's largest one
# needs. The same bytes as 512 requests of 4 KiB cost as much as latency, queue and front end make
# of it.

# %%
for name in shown:
    device = pm.device(name)
    whole = queue_depth_sweep(device, [1], Workload(block_bytes=2 << 20, requests=2000))[0]
    pieces = {
        depth: queue_depth_sweep(device, [depth], Workload(requests=20_000))[0] for depth in (1, 8)
    }
    print(
        f"{name:16s} whole {whole.all.mean_ns / 1000:6.0f} us in "
        f"{whole.commands_per_request:2.0f} commands; 512 pages "
        + "; ".join(
            f"{512 / point.iops * 1e6:6.0f} us at queue depth {depth}"
            for depth, point in pieces.items()
        )
    )

# %% [markdown]
# A fault waits for its page, so without readahead PTE entries work at queue depth 1.
#
# ## The fallback on every kind of device
#
# The same scenario: half of the pages of every 2 MiB, every second one, are used again, so that
# readahead reads pages that nobody wants; nothing is left in the swap cache.

# %%
scenario = pm.study("sync-async").scenario
chosen = ("zram-lz4", "zram-zstd", "pmem", "optane-p5800x", "samsung-pm9a3")
fallbacks = {
    name: pm.compare(scenario, "intel-emerald-rapids-guest", device=name, draws=20).fallback
    for name in chosen
}
for name, fallback in fallbacks.items():
    print(f"{name:16s} {fallback.sentence()}")

# %%
figure, (ax,) = new_figure(width_inches=8.0, height_inches=3.6)
for place, fallback in enumerate(fallbacks.values()):
    low, high = fallback.ratio_interval
    ax.plot([low, high], [place, place], color=PREDICTED, linewidth=5, alpha=0.3)
    ax.plot(fallback.ratio, place, "o", color=PREDICTED)
ax.axvline(1, color="0.3", linestyle="--")
ax.set_xscale("log")
ax.set_yticks(range(len(fallbacks)), fallbacks)
ax.invert_yaxis()
ax.set_xlabel("swap-in with PTE entries over PMD entries, 90 % interval")
Image(to_small_png(figure))

# %% [markdown]
# Where the CPU decompresses, a PMD entry saves what is beside the codec. Where the CPU waits, it
# saves the waiting. `perfmodel device` draws any device at any size, depth and mix of reads.
