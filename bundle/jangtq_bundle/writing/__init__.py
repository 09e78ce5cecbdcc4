"""Writes bundles: planned shards that survive interruptions, and dense models for tests and the demo."""
