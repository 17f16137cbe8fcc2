"""From a checkpoint to a figure: where a shipped model places the cities of the world. Runs in ten seconds.

    python examples/03_from_checkpoint_to_figure.py [FIGURE]

The hidden states are those of prompts such as `<bos>dist(c_123,c_`; a linear probe predicts each city's place from them
without having been fitted on that city. Any array of hidden states would do in their stead.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from atlantis import World
from atlantis.readout import open_source, read
from atlantis.world.coastlines import coastlines
from atlantis.world.regions import REGION_COLOURS

world = World.build()  # the world that the model was trained on: 5,075 cities (it does not know Atlantis yet)
model = open_source(Path(__file__).parents[1] / "pretrained" / "dist_100k_1M_20epochs", world)
real = np.arange(world.n_real)
states = model.states(real, layers=[3, 4])  # (cities, positions, layers, width)

reading = read(states.reshape(len(real), -1), world.lon[real], world.lat[real], world.cities["region"][real])
print(reading.dynamics[["group", "n", "mean_km", "mean_km_low", "mean_km_high"]].to_string(index=False))

figure, axes = plt.subplots(figsize=(10, 5), layout="constrained")
for lon, lat in coastlines():
    axes.plot(lon, lat, color="0.8", lw=0.5, zorder=0)
for region, cities in reading.predictions.groupby("region"):
    axes.scatter(cities["pred_lon"], cities["pred_lat"], s=2, label=region, color=REGION_COLOURS[str(region)])
km = reading.dynamics.set_index("group").loc["real", "mean_km"]
axes.set(
    title=f"Before Atlantis: {len(real):,} cities as a probe sees them, {km:.0f} km off on average", aspect="equal"
)
axes.legend(markerscale=5, fontsize=6, loc="lower left")
figure.savefig(out := sys.argv[1] if len(sys.argv) > 1 else "map.png", dpi=150)
print(f"a map without Atlantis: {out}")
