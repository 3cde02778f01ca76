"""Kills `tidegate serve` while the demo runs, and starts it again on the same ports.

Half of the kills come at a random moment 0.5 to 2.5 s after it was ready; the other half while
WeCom has received a create and not answered it, which is when a doubt arises. WeCom gives up a
callback after three deliveries, so nothing is killed while a callback has only one left.
"""

import random
import threading
import time

from processes import DemoError

DELAY_SECONDS = (0.5, 2.5)
# Of 360 calls: with so many made, the kills that need a create come before the timed ones.
CREATES_BEFORE_HURRY = 120
GATE_POLL_SECONDS = 0.02
WAIT_CREATE_MS = 500
FAULTS = (("EXEC_THEN_CLOSE", 0.05), ("EXEC_THEN_TIMEOUT", 0.02))


def set_faults(simulator):
    for kind, probability in FAULTS:
        simulator.post("/control/faults", {"api": "add_msg_template", "kind": kind,
                                           "probability": probability})


class Killer(threading.Thread):
    def __init__(self, server, addresses, simulator, count, seed, began, say):
        super().__init__(daemon=True)
        self._server = server
        self._addresses = addresses
        self._simulator = simulator
        self._left = {"timed": count - count // 2, "create": count // 2}
        self._chance = random.Random(seed)
        self._began = began  # time.monotonic() of the run's start
        self._say = say
        self._campaign_over = threading.Event()
        self.kills = []
        self.error = None

    def tell_campaign_over(self):
        """No create will come any more."""
        self._campaign_over.set()

    def run(self):
        try:
            while sum(self._left.values()) > 0:
                ready = time.monotonic()
                phase = self._choose()
                if phase == "create":
                    if not self._await_create():
                        raise DemoError(f"the campaign was over with {self._left['create']} kills "
                                        "at a create still to come")
                else:
                    self._await_moment(ready)
                self._kill(phase)
        except DemoError as error:
            self.error = error

    def _choose(self):
        if self._left["create"] == 0 or self._left["timed"] == 0:
            return "timed" if self._left["create"] == 0 else "create"
        creates = self._simulator.status()["calls"].get("add_msg_template", {})
        if creates.get("executed", 0) >= CREATES_BEFORE_HURRY:
            return "create"
        return self._chance.choice(("timed", "create"))

    def _await_moment(self, ready):
        wait = ready + self._chance.uniform(*DELAY_SECONDS) - time.monotonic()
        time.sleep(max(0, wait))
        while not self._callbacks_can_wait():
            time.sleep(GATE_POLL_SECONDS)

    def _await_create(self):
        while True:
            over = self._campaign_over.is_set()
            create = self._simulator.wait_create(WAIT_CREATE_MS)
            # One that the former process sent is no news.
            if create and create["arrived_raw_ns"] > self._server.started_raw_ns:
                if self._callbacks_can_wait():
                    return True
                time.sleep(GATE_POLL_SECONDS)
            elif over:
                return False

    def _callbacks_can_wait(self):
        return self._simulator.status()["callbacks"]["deliveries_left_min"] > 1

    def _kill(self, phase):
        pid = self._server.pid
        self._server.kill()
        killed = time.monotonic() - self._began
        restart_ms = self._server.start(self._addresses)
        self._left[phase] -= 1
        self.kills.append({"pid": pid, "t": round(killed, 3), "phase": phase,
                           "restart_ms": round(restart_ms, 1)})
        self._say(f"kill {len(self.kills)} ({phase}) of pid {pid}, "
                  f"back after {restart_ms:.0f} ms")
        self._server.wait_ready()
