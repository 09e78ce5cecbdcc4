"""Makes slices: a directory with the part of a bundle for one machine, experts or everything else."""
