"""The end of a test program that needs a real Kafka."""

import os
import sys
import unittest

import jars

SKIPPED = 77


def main(also=None, missing=()):
    """Runs the calling program's tests, or prints one SKIPPED line and ends with 77 where Kafka is
    not to be had. `also` may raise one of `missing` for what else is needed."""
    try:
        jars.ready()
        if also:
            also()
    except (jars.KafkaUnavailable, *missing) as reason:
        print(f"SKIPPED {os.path.basename(sys.argv[0]).removesuffix('.py')}: {reason}")
        sys.exit(SKIPPED)
    unittest.main()
