"""Makes the modules of tests/demo, tests/judge and tests/kafka importable."""

import os
import sys

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
REPOSITORY = os.path.dirname(TESTS)
for _folder in ("demo", "judge", "kafka"):
    if os.path.join(TESTS, _folder) not in sys.path:
        sys.path.append(os.path.join(TESTS, _folder))
