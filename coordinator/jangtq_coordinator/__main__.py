"""`python -m jangtq_coordinator`, the same as `jangtq-coord`."""

import sys

from jangtq_coordinator.cli.main import main

sys.exit(main())
