"""Importing this shortens the pauses of all processes of a test run; whole runs keep those of production."""

import os

from tests.support.products import part

os.environ.setdefault("JANGTQ_TIME_SCALE", part("0.25", whole="1"))
