"""Numbers of what happened: layer times, timeline, traces, traffic, expert load."""
