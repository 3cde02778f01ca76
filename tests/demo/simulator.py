"""The simulator's control requests, as far as the demo needs them."""

import json
import urllib.error
import urllib.request

from processes import DemoError


class Simulator:
    def __init__(self, address):
        self._base = f"http://{address}"

    def post(self, path, body):
        return self._request(path, json.dumps(body).encode(), 30)

    def get(self, path, timeout=30):
        return self._request(path, None, timeout)

    def status(self):
        return self.get("/control/status")

    def wait_create(self, timeout_ms):
        """The create that is received and not answered, or None when there was none in time. Its
        answer is held back a little, so that there is time to act."""
        answer = self.get(f"/control/wait_create?timeout_ms={timeout_ms}", timeout_ms / 1000 + 10)
        return answer if answer["received"] else None

    def _request(self, path, body, timeout):
        try:
            with urllib.request.urlopen(self._base + path, body, timeout=timeout) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise DemoError(f"simulator {path}: {error.read().decode()}") from error
        except OSError as error:
            raise DemoError(f"simulator {path}: {error}") from error
