"""Which kill comes when: everything from the seed.

Six of ten kills are at a named crash point, each point in turn; the rest are at a random moment, in a
SIGSTOP, in a black hole of the network, or by SIGTERM under load.
"""

import random
from typing import NamedTuple

# What the process has reached when it dies; docs/proofs.md says where each is in the code.
POINTS = ("P1", "P2", "P3", "P4", "S5", "S6", "S7", "S8", "S9", "S10", "S11", "S12", "S13",
          "R1", "R2", "R3", "R4", "R5", "T1", "D1")
POINT_SHARE = 0.6
OTHERS = (("random", 4), ("hole", 3), ("stop", 2), ("term", 1))
# Each of these is met often; of the rest (doubts, tokens, ends) the first one counts.
FREQUENT = ("P", "S")
HIT_MAX = 8


class Kill(NamedTuple):
    kind: str       # point | random | hole | stop | term
    point: str = ""
    hit: int = 0    # the process dies when it meets the point for this time

    @property
    def name(self):
        return self.point or self.kind


def make(kills, seed, only=None):
    """As many kills as asked for, shuffled; or all of one kind."""
    if only and only != "point":
        return [Kill(only)] * kills
    chance = random.Random(f"{seed} plan")
    planned = []
    for number in range(kills if only else round(kills * POINT_SHARE)):
        if number % len(POINTS) == 0:
            turn = chance.sample(POINTS, len(POINTS))
        point = turn[number % len(POINTS)]
        hit = chance.randint(1, HIT_MAX) if point.startswith(FREQUENT) else 1
        planned.append(Kill("point", point, hit))
    weights = [kind for kind, weight in OTHERS for _ in range(weight)]
    chance.shuffle(weights)
    for number in range(kills - len(planned)):
        planned.append(Kill(weights[number % len(weights)]))
    chance.shuffle(planned)
    return planned
