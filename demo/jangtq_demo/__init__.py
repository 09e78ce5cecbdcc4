"""The demo model: its corpus, training, conversion and measurement. No part of a running cluster."""
