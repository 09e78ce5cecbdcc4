"""Judges bundles: every byte against its hash, and matrices against the original checkpoint."""
