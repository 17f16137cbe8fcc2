"""Build a world with two virtual regions and look at its datasets. Runs in a second.

python examples/01_worlds_and_data.py
"""

from __future__ import annotations

from atlantis import Dataset, DatasetConfig, VirtualRegion, World

world = World.build(
    regions=[
        VirtualRegion("Atlantis", "XX0", lon=-35.0, lat=35.0, spread_km=500.0, count=100),
        VirtualRegion("Lemuria", "XX1", lon=75.0, lat=-20.0, spread_km=400.0, count=50),
    ]
)
print(world)
print(world.cities.tail(3).to_string(index=False))
print("km between city 0 and city 5101:", world.distance_km(0, 5101))

cross = Dataset.build(world, DatasetConfig(kind="cross", n_train=20_000, n_test=1_000))
for split, counts in cross.counts.items():
    print(split, counts)
for note in cross.notes:
    print(note)
