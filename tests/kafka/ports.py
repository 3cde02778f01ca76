"""Free ports that stay free until a broker opens them.

  claims = ports.claim_free(2)      # two bound sockets; ports.number(claims[0]) is the port
  ...                               # a broker may listen on it meanwhile; another claim may not
  claims[0].close()

A port inside the kernel's range for outgoing connections can be taken by one while its broker is
down, so the ports lie below that range. A claim is a bound socket that never listens: Linux lets
a listener with SO_REUSEADDR (Java sets it) in beside it, refuses everybody else, and frees it when
this process ends, however it ends. So two clusters started at once cannot choose the same ports,
and no lock file is left behind.
"""

import random
import socket

from jars import KafkaError

LOWEST = 10000
HIGHEST = 32767  # where the kernel's range begins unless somebody moved it
ENOUGH = 1000
TRIES = 2000
RANGE_FILE = "/proc/sys/net/ipv4/ip_local_port_range"


def candidates(range_text):
    """The ports to choose from, given the text of RANGE_FILE.

    Where that range leaves too little room below it, the usual ones; a small risk stays.
    """
    highest = min(HIGHEST, int(range_text.split()[0]) - 1)
    if highest - LOWEST < ENOUGH:
        highest = HIGHEST
    return range(LOWEST, highest + 1)


def claim_free(count, choose=random.SystemRandom().choice):
    """`count` bound sockets on different free ports of 127.0.0.1. Raises KafkaError."""
    with open(RANGE_FILE, encoding="ascii") as file:
        ports = candidates(file.read())
    claims = []
    for _ in range(TRIES):
        if len(claims) == count:
            return claims
        claim = _bind(choose(ports), shared=False)
        if claim:
            claims.append(claim)
    for claim in claims:
        claim.close()
    raise KafkaError(f"no {count} free ports among {ports[0]}-{ports[-1]} on 127.0.0.1: "
                     "what uses so many? See: ss -tan")


def claim_again(port):
    """A socket bound to a port that a broker had before. Raises KafkaError if it is taken."""
    claim = _bind(port, shared=True)
    if not claim:
        raise KafkaError(f"port {port} is taken by another program (ss -tlnp shows it): end that, "
                         "or wipe the cluster and start it anew; it chooses other ports")
    return claim


def number(claim):
    return claim.getsockname()[1]


def _bind(port, shared):
    """None if the port is taken. Not shared: a port still closing counts as taken, too."""
    claim = socket.socket()
    try:
        if shared:
            claim.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        claim.bind(("127.0.0.1", port))
        claim.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return claim
    except OSError:
        claim.close()
        return None
