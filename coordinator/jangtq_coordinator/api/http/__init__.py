"""HTTP itself: access, limits, errors, logs of requests, server-sent events."""
