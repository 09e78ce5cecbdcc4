"""Fetches bundles from the Hugging Face hub: only the bytes that one machine needs, as a slice."""
