"""Builds the cluster, the model and the engine into one coordinator."""
