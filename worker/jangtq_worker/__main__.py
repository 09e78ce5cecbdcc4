"""`python -m jangtq_worker`, the same as `jangtq-worker`."""

import sys

from jangtq_worker.cli import main

sys.exit(main())
