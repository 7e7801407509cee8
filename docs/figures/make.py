"""Draws fallback.svg, the picture of README.md and of the site: what the demo predicts."""

from pathlib import Path

import perfmodel as pm
from perfmodel.plot.figures import cost_by_swapin_size
from perfmodel.plot.style import new_figure, save_figure

figure, (ax,) = new_figure(width_inches=8.0, height_inches=3.8)
cost_by_swapin_size(pm.compare("thp-roundtrip", "intel-emerald-rapids-guest"), ax)
save_figure(figure, Path(__file__).with_name("fallback.svg"))
