"""A TCP relay in front of the simulated WeCom whose connections can be one-way black holes for a while.

While it holds requests, what callers send stays here, as it would stay in the caller's kernel when
the network swallows it: one that resets its connection takes it back, as a kernel throws away what
it had not delivered; one that closes in order, as a kernel does for a process without SO_LINGER, has
it delivered when the network heals, however long it has been dead. While it holds answers, WeCom
executes and nobody hears of it.

  with Relay("127.0.0.1:7700") as relay:
      relay.hold("requests")
      ... relay.await_held(b"/add_msg_template", 5) ...
      relay.spare_new()  # connections from now on are none, those held still are
      relay.heal()
"""

import contextlib
import selectors
import socket
import struct
import threading
import time

READ_BYTES = 1 << 16
POLL_SECONDS = 0.01
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: a close resets


class Side:
    """One end of a relayed connection, and what is on its way to it."""

    def __init__(self, end, direction):
        self.socket = end
        self.direction = direction  # of what is sent to this end
        self.waiting = bytearray()
        self.held = False
        self.other = None
        self.ended = False  # it sends nothing more
        self.told = False   # that the other end sends nothing more


class Relay:
    def __init__(self, target):
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._selector = selectors.DefaultSelector()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._listener.setblocking(False)
        self._wake, self._woken = socket.socketpair()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._lock = threading.Lock()  # over all below
        self._sides = set()
        self._holding = None  # new connections too
        self._closing = False
        self.taken_back = 0       # connections reset by the caller with a request held
        self.delivered_late = 0   # requests delivered after their caller had closed
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        with self._lock:
            self._closing = True
        self._wake.send(b"x")
        self._thread.join()

    @property
    def address(self):
        return "127.0.0.1:%d" % self._listener.getsockname()[1]

    def hold(self, direction):
        """`requests` or `answers`: from now on they are not delivered, on open and new connections."""
        with self._lock:
            self._holding = direction
            for side in self._sides:
                side.held = side.direction == direction

    def spare_new(self):
        """Connections opened from now on are delivered, those that are held stay so."""
        with self._lock:
            self._holding = None

    def heal(self):
        with self._lock:
            self._holding = None
            for side in self._sides:
                side.held = False
        self._wake.send(b"x")

    def held(self, text):
        """How many connections have `text` in what is held."""
        with self._lock:
            return sum(side.held and text in side.waiting for side in self._sides)

    def await_held(self, text, seconds):
        """Whether something with `text` was held in time."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.held(text):
                return True
            time.sleep(POLL_SECONDS)
        return False

    def _run(self):
        while True:
            events = self._selector.select()
            with self._lock:
                if self._closing:
                    self._close_all()
                    return
                # First what the ends have to say: a reset is older than what would be delivered.
                for key, mask in events:
                    if key.fileobj is self._listener:
                        self._accept()
                    elif key.fileobj is self._woken:
                        self._woken.recv(READ_BYTES)
                    elif mask & selectors.EVENT_READ and key.data in self._sides:
                        self._read(key.data)
                for side in list(self._sides):
                    if side in self._sides:
                        self._deliver(side)

    def _accept(self):
        with contextlib.suppress(BlockingIOError):
            caller, _ = self._listener.accept()
            try:
                server = socket.create_connection(self._target, timeout=5)
            except OSError:
                reset(caller)
                return
            to_caller, to_server = Side(caller, "answers"), Side(server, "requests")
            to_caller.other, to_server.other = to_server, to_caller
            for side in (to_caller, to_server):
                side.held = side.direction == self._holding
                side.socket.setblocking(False)
                side.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._sides.add(side)
                self._selector.register(side.socket, selectors.EVENT_READ, side)

    def _read(self, side):
        try:
            data = side.socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self._reset(side)
            return
        if data:
            side.other.waiting += data
        else:
            side.ended = True
            self._selector.unregister(side.socket)

    def _deliver(self, side):
        if side.held:
            return
        if side.waiting:
            late = side.direction == "requests" and side.other.ended
            try:
                sent = side.socket.send(side.waiting)
            except BlockingIOError:
                sent = 0
            except OSError:
                self._reset(side)
                return
            del side.waiting[:sent]
            self.delivered_late += late and not side.waiting
        if side.other.ended and not side.waiting and not side.told:
            side.told = True
            with contextlib.suppress(OSError):
                side.socket.shutdown(socket.SHUT_WR)
        if side.told and side.other.told:
            self._forget(side)
            side.socket.close()
            side.other.socket.close()

    def _reset(self, side):
        """This end reset the connection: the other one learns it, what it had sent is gone."""
        self.taken_back += bool(side.direction == "answers" and side.other.waiting)
        self._forget(side)
        reset(side.socket)
        reset(side.other.socket)

    def _forget(self, side):
        for each in (side, side.other):
            self._sides.discard(each)
            with contextlib.suppress(KeyError):
                self._selector.unregister(each.socket)

    def _close_all(self):
        for side in self._sides:
            side.socket.close()
        for each in (self._listener, self._wake, self._woken):
            each.close()
        self._selector.close()


def reset(end):
    with contextlib.suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    end.close()
