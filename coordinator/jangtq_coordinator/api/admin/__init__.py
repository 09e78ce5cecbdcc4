"""What the owner of a cluster asks: health, status, metrics, traces, workers, and the page."""
