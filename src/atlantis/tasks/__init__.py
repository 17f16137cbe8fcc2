"""One file per task: how a question about cities is written, answered, read back and scored. Pure functions."""
