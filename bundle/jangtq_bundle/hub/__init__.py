"""Bundles on the Hugging Face hub: only the bytes that one machine needs, into a slice of its own."""
