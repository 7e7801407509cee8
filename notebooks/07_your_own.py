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
# # Your own scenario, device, machine and study
#
# Everything that perfmodel reads is a TOML file with checked fields, and a frozen object in Python.
# This notebook writes one of each kind and puts them to use. The files go into a folder of their
# own; every function and command that takes a name takes a path as well.

# %%
import tempfile
from pathlib import Path

import attrs
from IPython.display import Image

import perfmodel as pm
from perfmodel.plot.figures import breakdown_figure
from perfmodel.plot.style import to_small_png
from perfmodel.plot.sweep import study_figure
from perfmodel.report.sweep import break_even_text
from perfmodel.studies.findings import find

folder = Path(tempfile.mkdtemp(prefix="perfmodel-"))

# %% [markdown]
# ## A scenario
#
# What happens to memory, step by step; no word about the machine. A number may be a parameter with
# a default.

# %%
(folder / "night-and-morning.toml").write_text("""
name = "night-and-morning"
description = "A service is swapped out over night; in the morning it uses some of its pages."

[parameters]
pages_used = 64

[region]
size = "32 MiB"
content = "half-random"

[[steps]]
name = "fill"
action = "fill"

[[steps]]
name = "night"
action = "pageout"

[[steps]]
name = "morning"
action = "touch"
pages_per_2mib = "$pages_used"
write = true
""")
scenario = pm.scenario(folder / "night-and-morning.toml")
for pages in (8, 64, 512):
    used = pm.scenario(folder / "night-and-morning.toml", pages_used=pages)
    print(f"{pages:3d} pages: {pm.compare(used, 'amd-zen5').fallback.sentence()}")

# %% [markdown]
# ## A device
#
# A device in prices: each one with its unit, its spread, a source, and how it is known. Say
# `assumed` where you assume. This one stands for memory behind a CXL switch, and all of it is
# invented for this notebook.

# %%
prices = {
    "read_request_ns": (600, 300),
    "write_request_ns": (600, 300),
    "decompress_page_ns": (900, 300),
    "compress_page_ns": (900, 300),
    "free_slot_ns": (20, 15),
}
lines = [
    f'{name} = {{ value = {value}, unit = "ns", spread = {spread}, how = "assumed", '
    'source = "invented for an example" }'
    for name, (value, spread) in prices.items()
]
head = 'name = "far-memory"\nkind = "pmem"\ndescription = "memory behind a switch"\n'
(folder / "far-memory.toml").write_text(head + "\n".join(lines) + "\n")
device = pm.device(folder / "far-memory.toml")
comparison = pm.compare(scenario, "amd-zen5", device=device)
print(comparison.fallback.sentence())
Image(to_small_png(breakdown_figure(comparison)))

# %% [markdown]
# ## Mistakes
#
# Every problem of a file is told at once, with its key and what would be right.

# %%
(folder / "wrong.toml").write_text("""
name = "wrong"
description = "Three mistakes."
region = { size = "3 MiB", content = "half-random" }
steps = [{ name = "fill", action = "fil" }, { name = "touch", action = "touch", pages = 3 }]
""")
try:
    pm.scenario(folder / "wrong.toml")
except pm.InputError as error:
    for problem in error.problems:
        print(f"{problem.key}: {problem.message}")

# %% [markdown]
# ## A machine that does not exist
#
# Machines are frozen; `attrs.evolve` makes another one and checks it. What if the fault handler
# were twice as fast?

# %%
machine = pm.machine("amd-zen5")
fault = machine.kernel.fault_ns
faster = attrs.evolve(
    machine,
    name="amd-zen5-fast-faults",
    kernel=attrs.evolve(machine.kernel, fault_ns=attrs.evolve(fault, value=fault.value / 2)),
)
for one in (machine, faster):
    print(f"{one.name:22s} {pm.compare(scenario, one, device=device).fallback.sentence()}")

# %% [markdown]
# ## A study
#
# All what-ifs at once: any field of any file is an axis, every cell has all entries with the same
# draws, and the point where two of them cost the same is searched for.

# %%
(folder / "far-memory-study.toml").write_text(f"""
name = "far-memory-study"
title = "How far away may memory be?"
description = "The time of one request is set, all other prices are drawn."
scenario = "{folder / "night-and-morning.toml"}"
machine = "amd-zen5"
device = "{folder / "far-memory.toml"}"
entries = ["pte", "mthp-64k", "pmd"]
pairs = [{{ above = "pmd", below = "pte" }}]
break_even = {{ axis = "read_request_ns", output = "morning" }}
draws = 100

[[axes]]
field = "device.read_request_ns"
label = "one read request"
logarithmic = {{ first = 100, last = 100000, count = 13 }}

[[outputs]]
name = "morning"
steps = ["morning"]
label = "time"
""")
swept = pm.sweep(folder / "far-memory-study.toml")
findings = find(swept)
for point in findings.break_even.points:
    print(break_even_text(point, findings.break_even.unit))
Image(to_small_png(study_figure(swept, findings)))

# %% [markdown]
# ## As data
#
# A sweep is a labelled dataset, with units; `pm.sweep(..., out=FOLDER)` keeps it, and goes on after
# an interruption.

# %%
swept.dataset["morning"].sel(bound="best").to_pandas().iloc[::4].round()

# %% [markdown]
# On the command line the same is `perfmodel compare FILE --device FILE`, and
# `perfmodel sweep FILE --out FOLDER`; `docs/sweep.md` lists all that a study can say. The same
# scenario can also be measured, which is the last notebook.
