"""Turns requests into tokens in one thread: queue, passes, retries."""
