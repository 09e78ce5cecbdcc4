"""Who may connect, and for how long."""
