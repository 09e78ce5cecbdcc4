"""Arithmetic of routed experts on packed JANGTQ codes. Knows no files, no network and no model."""
