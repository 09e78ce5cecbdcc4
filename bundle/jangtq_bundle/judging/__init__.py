"""Judges bundles: every byte against its hash, and matrices against the checkpoint they were made of."""
