"""`jangtq-coord demo`: starts a cluster on this machine and shows it."""
