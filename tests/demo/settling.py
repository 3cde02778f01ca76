"""When a run is over: nothing is left to write, to send or to deliver."""

import time

from processes import DemoError

SETTLE_SECONDS = 60


def settle(client, simulator, corp, poll_seconds):
    """Returns at the second quiet picture in a row; DemoError if that takes too long."""
    deadline, quiet, left = time.monotonic() + SETTLE_SECONDS, 0, {}
    while quiet < 2:
        if time.monotonic() > deadline:
            raise DemoError(f"tags, welcomes or callbacks were still open: {left}")
        left = _left_to_do(client, simulator, corp)
        quiet = 0 if any(left.values()) else quiet + 1
        time.sleep(poll_seconds)


def _left_to_do(client, simulator, corp):
    back = client.ask("writeback", "status", "--corp", corp)
    status = simulator.status()
    return {
        "tags": back["tags_wanted"] - back["tags_written"] - back["tags_refused"],
        "welcomes": (back["welcomes_requested"] - back["welcomes_sent"]
                     - back["welcomes_dropped"]),
        "callbacks": status["callbacks"]["pending"],
        "adds": status["adds"]["asked"] - status["adds"]["done"],
    }
