"""What the demo model learns, written by seeded generators. Knows no tokens."""
