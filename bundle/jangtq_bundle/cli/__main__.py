"""`python -m jangtq_bundle.cli`, the same as `jangtq-bundle`."""

import sys

from jangtq_bundle.cli.main import main

sys.exit(main())
