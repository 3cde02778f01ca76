"""What the demo sets up: the corp, its members, channels, rules, segments, campaign and limits."""

import json
import os
import secrets
import string
import typing

CORP = "wwdemo0123456789ab"
AGENT = "1000002"
CAMPAIGN = "spring"
AUDIENCE = "orders.count >= 3"
SEGMENTS = (AUDIENCE, "orders.sum >= 100.00",
            "not (last_order within 180d) and orders.count >= 2")
RULES = (("vip", "orders.sum >= 500.00"), ("loyal", "orders.count >= 10"),
         ("active", "last_order within 30d"))
CHANNELS = ("shop", "web", "fair")
VARIANTS = tuple(f"{text}|https://shop.example/spring?v={letter}|Spring offers"
                 for letter, text in (("a", "Spring is here: 20 % off for you"),
                                      ("b", "A spring present is waiting for you"),
                                      ("c", "New this spring, picked for you")))
ADDED = 500
ADDED_PER_SECOND = 25
LIMITS = {
    "limits": [
        {"api": "add_msg_template", "scope": "corp", "amount": 60, "window_ms": 5_000,
         "lockout_ms": 5_000},
        {"api": "add_msg_template", "scope": "corp", "amount": 250, "window_ms": 50_000,
         "lockout_ms": 50_000},
    ],
    "in_flight": [{"api": "add_msg_template", "amount": 4}, {"api": "mark_tag", "amount": 5}],
    "http_deadline_ms": 1_000,
    "settle": {"user_timeout_ms": 500, "hold_ms": 1_000, "list_lag_ms": 500, "skew_ms": 100,
               "factor": 1.5, "list_gap_ms": 500},
    "results": {"first_poll_ms": 1_000, "poll_ms": 5_000, "close_after_ms": 25_000},
}


def channel_tag(channel):
    return f"channel_{channel}"


def tags():
    return [tag for tag, _ in RULES] + [channel_tag(channel) for channel in CHANNELS]


class Files(typing.NamedTuple):
    limits: str
    corps: str


class Secrets:
    """Made afresh for each run."""

    def __init__(self):
        letters = string.ascii_letters + string.digits

        def text(length):
            return "".join(secrets.choice(letters) for _ in range(length))

        self.secret, self.token, self.aes_key = text(43), text(24), text(43)


def write(folder, keys):
    """Writes the limits and corps files, and the secrets beside them."""
    def private(name, text):
        path = os.path.join(folder, name)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    private(f"secret-{AGENT}", keys.secret)
    private(f"aes-{AGENT}", keys.aes_key)
    corps = private("corps.json", json.dumps({"corps": [{"corp_id": CORP, "apps": [
        {"agent_id": AGENT, "secret_file": f"secret-{AGENT}", "token": keys.token,
         "aes_key_file": f"aes-{AGENT}"}]}]}))
    limits = os.path.join(folder, "limits.json")
    with open(limits, "w", encoding="utf-8") as file:
        json.dump(LIMITS, file, indent=1)
    return Files(limits, corps)


def added_customers(owner_of):
    """The customers who come by a channel code, in turn by each channel."""
    return [{"external_userid": "wm9" + str(number).zfill(29), "member": owner_of(number),
             "state": CHANNELS[number % len(CHANNELS)]} for number in range(ADDED)]
