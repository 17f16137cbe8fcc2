"""What can be read off a checkpoint: answers to the task, hidden states, linear probes.

`read` probes any array of hidden states whose rows are places:

    from atlantis.readout import read

    reading = read(features, lon, lat, groups=continents)   # features (n, p), degrees (n,), one label per row
    print(reading.dynamics)                                 # R2 and km, over all and per group, with 95 % intervals
    print(reading.predictions)                              # where the probe sees each place
"""

from atlantis.readout.probes import Reading, read

__all__ = ["Reading", "read"]
