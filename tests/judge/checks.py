"""The invariants I-1, I-2, I-3, I-6 and I-9: each function returns its violations as sentences.

W is the witness log, C the harness client's log, L the ledger. A create is one executed
add_msg_template call.
"""

from collections import Counter, defaultdict

from witness import CREATE


class Case:
    """All inputs of one judgement."""

    def __init__(self, witness, client_log, ledger, events, limits, campaign, audience):
        self.witness = witness
        self.client_log = client_log
        self.ledger = ledger
        self.events = events
        self.limits = limits
        self.campaign = campaign
        self.audience = audience  # computed from the raw file
        campaigns = {attempt.body: attempt.campaign for attempt in ledger.attempts.values()}
        # One whose body no attempt names still reached customers: it counts for the campaign.
        self.creates = [line for line in witness.executed(CREATE)
                        if campaigns.get(body_of(line), campaign) == campaign]
        self.attempts = {key: attempt for key, attempt in ledger.attempts.items()
                         if attempt.campaign == campaign}

    def duplicates(self):
        """Customers in more than one executed create of the campaign."""
        times = Counter()
        for line in self.creates:
            times.update(set(line["recipients"]))
        return {customer: count for customer, count in times.items() if count > 1}

    def reached(self):
        return {customer for line in self.creates for customer in line["recipients"]}

    def refused(self):
        """Customers of calls that L calls refused with a code that W answered."""
        codes = {(*attempt.body, attempt.errcode) for attempt in self.attempts.values()
                 if attempt.outcome == "REFUSED"}
        return {customer for line in self.witness.lines
                if line["verdict"] == "rejected" and (*body_of(line), line["errcode"]) in codes
                for customer in line["recipients"]}

    def parked(self):
        """Customers of parked calls, as far as W saw these calls."""
        bodies = {attempt.body for attempt in self.attempts.values() if attempt.settled == "PARKED"}
        return {customer for line in self.witness.lines if body_of(line) in bodies
                for customer in line["recipients"]} - self.reached()

    def skipped(self):
        """Customers skipped with a reason."""
        touches = self.events.touches.get(self.campaign, {})
        return {customer for customer, ends in touches.items()
                if any(kind == "touch_skipped" and reason for kind, reason in ends)}

    def lost(self):
        return self.audience - self.reached() - self.refused() - self.skipped()

    def acknowledged(self):
        """Whether C knows that the launch was or may have been taken."""
        return any("launch" in line["op"] and self.campaign in line["ids"]
                   and line["result"] in ("ok", "info") for line in self.client_log)


def body_of(line):
    return line["sha256"], line["marker"]


def no_call_twice(case):
    """I-1: no call that may not be repeated is executed twice."""
    times = Counter((line["api"], *body_of(line)) for line in case.witness.executed()
                    if line["api"] in (CREATE, "send_welcome_msg"))
    return [f"{api} with body {sha256[:16]} and marker \"{marker}\" executed {count} times"
            for (api, sha256, marker), count in times.items() if count > 1]


def no_customer_twice(case):
    """I-2: no customer in two executed tasks of the campaign."""
    return [f"{customer} is in {count} executed creates"
            for customer, count in sorted(case.duplicates().items())]


def one_end_each(case):
    """I-3: every touch of the acknowledged campaign has exactly one end, and nobody else any."""
    if not case.acknowledged():
        return [f"campaign {case.campaign} was executed but never launched by the client"
                ] if case.creates else []
    ends = {"executed": case.reached(), "refused": case.refused(), "parked": case.parked(),
            "skipped": case.skipped()}
    violations = []
    for customer in sorted(case.audience):
        found = [name for name, customers in ends.items() if customer in customers]
        if len(found) != 1:
            violations.append(f"{customer} has {len(found)} ends: {', '.join(found) or 'lost'}")
    for customer in sorted(ends["executed"] - case.audience):
        violations.append(f"{customer} was reached but is not in the audience")
    for customer, told in sorted(case.events.touches.get(case.campaign, {}).items()):
        if len(told) != 1:
            violations.append(f"{customer} has {len(told)} outcome events")
        if customer not in case.audience:
            violations.append(f"{customer} has an outcome event but is not in the audience")
    return violations


def ledger_is_true(case):
    """I-6: L accepted <=> W executed, same msgid; what L calls not executed never executes."""
    executed = defaultdict(list)  # body -> creates
    for line in case.creates:
        executed[body_of(line)].append(line)
    accepted = {(*attempt.body, attempt.msgid) for attempt in case.attempts.values()
                if attempt.accepted}
    known = {attempt.body for attempt in case.attempts.values()}
    violations = []
    for line in case.creates:
        if body_of(line) not in known:
            violations.append(f"{name_of(line)} executed without an attempt in the ledger")
        elif (*body_of(line), line["msgid"]) not in accepted:
            violations.append(f"{name_of(line)} executed as {line['msgid']} but not accepted")
    for attempts in case.ledger.by_call().values():
        for attempt, following in zip(attempts, attempts[1:] + [None]):
            if attempt.campaign != case.campaign:
                continue
            lines = executed[attempt.body]
            if attempt.accepted and attempt.msgid not in {line["msgid"] for line in lines}:
                violations.append(f"{name_of(attempt)} accepted as \"{attempt.msgid}\" "
                                  "but not executed")
            until = following.raw_ns if following else float("inf")
            if attempt.never_executed and any(attempt.raw_ns <= line["t_raw_ns"] < until
                                              for line in lines):
                violations.append(f"{name_of(attempt)} called not executed but executed")
    return violations


def name_of(call):
    if isinstance(call, dict):
        return f"create {call['sha256'][:16]} (witness seq {call['seq']})"
    return f"attempt {call.number} of call {call.call_id[:16]}"


def within_limits(case):
    """I-9: no limit exceeded in any sliding window; at most one call inside a lockout."""
    violations = [f"{label}: {peak} calls in one window"
                  for label, peak, amount in case.witness.peaks(case.limits) if peak > amount]
    violations += [f"{api} of {caller}: {inside} calls inside a lockout"
                   for api, caller, _, _, inside in case.witness.lockouts(case.limits)
                   if inside > 1]
    return violations


INVARIANTS = {"I-1": no_call_twice, "I-2": no_customer_twice, "I-3": one_end_each,
              "I-6": ledger_is_true, "I-9": within_limits}
