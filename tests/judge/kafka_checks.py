"""The checks K-1 to K-5 and of the outboxes, for runs on Kafka and on the embedded log.

  run = Run(client_ids)
  run.read(source)                      # folds all topics, K-1 and the outboxes on the way
  validity(run, processes)              # ... each check adds to run.found

A violation is {"check", "journal", "offset", "what"}; for calls of the witness the journal is
"witness" and the offset its seq.

**K-1, validity.** A record of a journal counts if and only if its epoch is that of the newest
winning fence before it and its seq is the last counted one + 1; a fence wins if its epoch is above
all before it. Everything else is void, and most void records are harmless: those of an older epoch
(a former owner who does not know yet), a fence that lost a race, an exact repeat, bytes that no
owner wrote. These void records prove a fault:

* *a gap*: a record of the current epoch with a seq beyond last + 1. An owner gives out seqs one by
  one, has one batch outstanding (at most 1,000 records), and its producer keeps their order. So a
  seq can only be missing if its append failed or was lost. After a failed append the owner must
  fence itself before it goes on. Hence a gap is explained only if the next winning fence is by the
  same owner, or by another after the owner's process was killed, stopped or ended (by the harness'
  log); if nothing of that epoch counts after the gap; and if the gapped seqs are within one batch.
  Anything else means that a durable record vanished or that an owner went on without it.
* *an epoch that no fence began*: nobody appends before his own fence came back from the journal.
* *another content under a seq that the same epoch has already counted*, or a seq of the current
  epoch from before its fence: two writers in one epoch. An exact repeat is no fault.
* *a value that is not the journal's message* in a record that would count. It does not count.

Winning epochs are 1, 2, 3, ...: an owner takes the newest epoch in the journal + 1, so a jump means
that a fence vanished. Offsets have no holes: the topics are never cut or compacted.

**K-2, events.** Covers of counted records never go back, so no position is taken twice; an
acknowledged event must lie before its profiles journal's last cover, and its fingerprint must be in
the customer's last counted profile (`seen_events` keeps 6,000: with as many it cannot be told).
Raw callbacks have no profile, and a dead letter of the event's position stands for it.

**K-3, K-5, calls.** Attempts and calls of equal content (API, body, marker) are alike, so calls are
matched in order of arrival, each with the newest unused *counted* attempt that is not later than
the call (Kafka's timestamp is cut to whole milliseconds, so never later than the append). Since what may match only grows with time, this finds a match for every call whenever one
exists. Only a call that is left over is held against a void attempt, a later one, or none. An
attempt makes at most one call. K-3 matches executed calls alone, so that nothing else can take
their attempts; K-5 all of them, answered or not.

**K-4, fences.** The first winning fence of a process in a journal is explained by its start, each
further one by one append_failed line of its own for this journal.
"""

import base64
import hashlib
from bisect import bisect_right
from collections import Counter, defaultdict
from types import SimpleNamespace

import checks
from journals import number
from kafka_journals import FENCE, UNSPECIFIED, name_of
from witness import CREATE

JOURNALS = ("profiles", "memberships", "ledger")
TARGETS = ("events", "audiences", "commands", "dead-letters")
BATCH_RECORDS_MAX = 1_000
SEEN_EVENTS_MAX = 6_000
NO_ATTEMPT = ("gettoken", "unknown")  # APIs that the ledger does not know


class Found:
    """The violations of a run."""

    def __init__(self):
        self.violations = []

    def add(self, check, journal, offset, what):
        self.violations.append({"check": check, "journal": journal, "offset": offset,
                                "what": what})

    def counts(self):
        return dict(sorted(Counter(each["check"] for each in self.violations).items()))


class Fence:
    """A fence that won. `next` is the one after it, or None."""

    def __init__(self, record):
        fence = record["header"].get("fence") or {}
        self.offset, self.epoch = record.offset, record.epoch
        self.owner = fence.get("owner", "")
        self.wall_ns = number(fence, "wall_time_ns")
        parts = self.owner.split("/")  # HOST/PID/...
        self.pid = int(parts[1]) if len(parts) > 1 and parts[1].isdigit() else 0
        self.next = None

    def next_of_another(self):
        fence = self.next
        while fence and fence.owner == self.owner:
            fence = fence.next
        return fence


class Journal:
    """One journal, folded record by record under the validity rule."""

    def __init__(self, topic, partition, found):
        self.name, self.topic, self.partition = name_of(topic, partition), topic, partition
        self.fences, self.void = [], []
        self.counted = 0
        self.kept = []        # counted records of the ledger
        self.newest = {}      # of profiles: key -> its last counted record
        self.dead = set()     # of profiles: positions of dead letters
        self.covers = {}      # input -> its last cover
        self.marks = {}       # target -> its last outbox mark
        self.gaps = []        # (first gapped record, last seq before it, its epoch's fence)
        self._found = found
        self._sha256 = hashlib.sha256()
        self._next_offset = self._seq = 0
        self._gap = None      # the first gapped record of the current epoch
        self._went_on = False
        self._of_epoch = {}   # seq -> digest, of the current epoch

    @property
    def epoch(self):
        return self.fences[-1].epoch if self.fences else 0

    def sha256(self):
        """Over the counted records, fences left out: seq (8 bytes), then key and value, each after
        its length (4 bytes); big-endian. The value of an export is serialised again for it."""
        return self._sha256.hexdigest()

    def fence_of(self, epoch):
        return next((fence for fence in self.fences if fence.epoch == epoch), None)

    def add(self, record):
        if record.offset != self._next_offset:
            self._fault(record, f"the offsets from {self._next_offset} on are missing")
        self._next_offset = record.offset + 1
        if record.broken == "header":
            self._drop(record)
        elif record.kind == FENCE:
            self._add_fence(record)
        elif record.kind == UNSPECIFIED or record.epoch < self.epoch:
            self._drop(record)
        elif record.epoch > self.epoch or not self.fences:
            self._fault(record, f"epoch {record.epoch} was begun by no fence")
            self._drop(record)
        elif record.seq <= self._seq:
            self._add_repeat(record)
        elif record.seq > self._seq + 1:
            self._add_gapped(record)
        elif record.broken:
            self._fault(record, f"seq {record.seq} has a value that cannot be decoded")
            self._drop(record)
        else:
            self._count(record)

    def _fault(self, record, what, check="K-1"):
        self._found.add(check, self.name, record.offset, what)

    def _drop(self, record):
        record.verdict = "void"
        record.pack()
        self.void.append(record)

    def _add_fence(self, record):
        if record.epoch <= self.epoch:
            self._drop(record)
            return
        if record.epoch != self.epoch + 1:
            self._fault(record, f"the fence of epoch {record.epoch} follows epoch {self.epoch}")
        record.verdict = "fence"
        fence = Fence(record)
        if self.fences:
            self.fences[-1].next = fence
        self.fences.append(fence)
        if self.topic == "ledger":
            self.kept.append(record)
        record.pack()
        self._gap, self._went_on = None, False
        self._of_epoch = {}

    def _add_repeat(self, record):
        what = f"seq {record.seq} of epoch {record.epoch}"
        if record.seq not in self._of_epoch:
            self._fault(record, f"{what} is from before its fence")
        elif self._of_epoch[record.seq] != record.whole_digest():
            self._fault(record, f"{what} comes again with another content")
        self._drop(record)

    def _add_gapped(self, record):
        if self._gap is None:
            self._gap = record
            self.gaps.append((record, self._seq, self.fences[-1] if self.fences else None))
        if record.seq > self._seq + BATCH_RECORDS_MAX and not self._went_on:
            self._went_on = True
            self._fault(record, f"seq {record.seq} follows {self._seq}: the owner went on after a "
                        "gap for more than one batch")
        self._drop(record)

    def _count(self, record):
        if self._gap is not None:
            self._fault(record, f"seq {record.seq} counts after the gap at offset "
                        f"{self._gap.offset} in the same epoch")
        record.verdict = "counted"
        self.counted += 1
        self._seq = record.seq
        self._of_epoch[record.seq] = record.whole_digest()
        value = record.value_bytes()
        for part in (record.seq.to_bytes(8, "big"), len(record.key).to_bytes(4, "big"), record.key,
                     len(value).to_bytes(4, "big"), value):
            self._sha256.update(part)
        header = record["header"]
        for cover in header.get("covers") or ():
            self._add_cover(record, cover)
        for mark in header.get("outbox_marks") or ():
            self.marks[mark.get("target", "")] = number(mark, "out_seq")
        self._keep(record)
        record.pack()

    def _add_cover(self, record, cover):
        name = cover.get("input", "")
        now = {"position": number(cover, "position"), "epoch": number(cover, "epoch"),
               "seq": number(cover, "seq"),
               **{each.get("journal", ""): number(each, "out_seq")
                  for each in cover.get("sources") or ()}}
        before = self.covers.get(name, {})
        for what, value in before.items():
            if now.get(what, 0) < value:
                self._fault(record, f"the cover of {name} goes back: {what} from {value} to "
                            f"{now.get(what, 0)}", "K-2" if "events/" in name else "K-1")
        self.covers[name] = {**before, **now}

    def _keep(self, record):
        """What later checks need: all of the ledger, of profiles the last of every key."""
        if self.topic == "ledger":
            self.kept.append(record)
        elif self.topic == "profiles":
            if record.key:
                self.newest[record.key] = record
            elif dead := record["value"].get("dead_letter"):
                self.dead.add((dead.get("input", ""), number(dead, "position")))


class Outbox:
    """What one source journal has sent to one target partition."""

    def __init__(self):
        self.digests = []  # of the first record of out_seq 1, 2, 3, ...

    def add(self, record, target, found):
        source, out_seq = record.source
        if 1 <= out_seq <= len(self.digests):
            if self.digests[out_seq - 1] != record.digest:
                found.add("outbox", target, record.offset,
                          f"out_seq {out_seq} of {source} comes again with another content")
            return
        if out_seq != len(self.digests) + 1:
            found.add("outbox", target, record.offset,
                      f"out_seq {out_seq} of {source} follows {len(self.digests)}")
            self.digests += [None] * (out_seq - len(self.digests) - 1)
        self.digests.append(record.digest)


class Run:
    """All that the checks need of the topics. `acknowledged`: event ids, see K-2."""

    def __init__(self, acknowledged=()):
        self.found = Found()
        self.journals = {}        # (topic, partition) -> Journal
        self.outboxes = {}        # (source journal, target) -> Outbox
        self.acknowledged = set(acknowledged)
        self.first = {}           # (event id, source, corp) -> (partition, offset, value)
        self.unreadable = []      # (partition, offset) of events that are no message
        self.blamed = set()       # seqs of the witness' calls that K-3 found

    def read(self, source):
        """Folds all topics, one after the other."""
        for topic in JOURNALS + TARGETS:
            add = self._add_to_journal if topic in JOURNALS else self._add_to_target
            for partition in source.read(topic, lambda at, record: add(topic, at, record)):
                if topic in JOURNALS:
                    self._journal(topic, partition)

    def of(self, topic):
        return [journal for (name, _), journal in sorted(self.journals.items()) if name == topic]

    def in_order(self):
        return [journal for topic in JOURNALS for journal in self.of(topic)]

    def _journal(self, topic, partition):
        if (topic, partition) not in self.journals:
            self.journals[topic, partition] = Journal(topic, partition, self.found)
        return self.journals[topic, partition]

    def _add_to_journal(self, topic, partition, record):
        self._journal(topic, partition).add(record)

    def _add_to_target(self, topic, partition, record):
        if record.source:
            target = name_of(topic, partition)
            outbox = self.outboxes.setdefault((record.source[0], target), Outbox())
            outbox.add(record, target, self.found)
        if topic != "events":
            return
        if record.broken == "value":
            self.unreadable.append((partition, record.offset))
            return
        value = record["value"]
        if value.get("event_id") in self.acknowledged:
            event = value["event_id"], value.get("source", ""), value.get("corp", "")
            self.first.setdefault(event, (partition, record.offset,
                                          value.get("customer", ""), bool(value.get("raw"))))


def validity(run, processes):
    """K-1, what only the end of a journal tells: every gap has its cause."""
    for journal in run.in_order():
        for record, last, fence in journal.gaps:
            following = fence.next if fence else None
            what = f"seq {record.seq} of epoch {record.epoch} follows {last}"
            if following is None:
                what += " and no newer fence explains it: a record was lost"
            elif following.owner == fence.owner or (
                    processes and processes.ended(fence.pid, fence.wall_ns, following.wall_ns)):
                continue
            else:
                what += (f"; the next fence is by {following.owner} and {fence.owner} was not "
                         "ended before: a record was lost")
            run.found.add("K-1", journal.name, record.offset, what)


def events(run):
    """K-2."""
    missing = run.acknowledged - {event_id for event_id, _, _ in run.first}
    for event_id in sorted(missing):
        run.found.add("K-2", "client", 0, f"event {event_id} was acknowledged and is not on "
                      "tidegate.events")
    journals = {journal.partition: journal for journal in run.of("profiles")}
    for (event_id, source, corp), (partition, offset, customer, raw) in sorted(run.first.items()):
        name, journal = name_of("events", partition), journals.get(partition)
        if not _is_covered(journal, name, offset):
            run.found.add("K-2", name, offset, f"event {event_id} was acknowledged and is covered "
                          f"by no counted record of {name_of('profiles', partition)}")
        elif not raw and (name, offset) not in journal.dead:
            what = _missing_in_profile(journal, f"{corp}/{customer}", source, event_id)
            if what:
                run.found.add("K-2", name, offset, what)
    for partition, offset in run.unreadable:
        name, journal = name_of("events", partition), journals.get(partition)
        if _is_covered(journal, name, offset) and (name, offset) not in journal.dead:
            run.found.add("K-2", name, offset, "not an event, was read, and is no dead letter")


def _is_covered(journal, name, offset):
    return journal is not None and journal.covers.get(name, {}).get("position", 0) > offset


def _missing_in_profile(journal, key, source, event_id):
    record = journal.newest.get(key.encode())
    if record is None:
        return f"event {event_id} is covered but {key} has no profile in {journal.name}"
    seen = (record["value"].get("profile") or {}).get("seen_events") or ()
    digest = hashlib.sha256(source.encode() + b"\0" + event_id.encode()).digest()[:16]
    times = seen.count(base64.b64encode(digest).decode())
    if times == 1 or (times == 0 and len(seen) >= SEEN_EVENTS_MAX):
        return ""
    return (f"event {event_id} is covered but the profile of {key} at {journal.name} offset "
            f"{record.offset} has seen it {times} times")


class Attempt:
    """An attempt record of the ledger, void or not."""

    def __init__(self, journal, record, body):
        self.journal, self.record = journal, record
        self.void = record.verdict == "void"
        self.content = (body.get("api", ""),
                        base64.b64decode(body.get("request_sha256") or "").hex(),
                        body.get("marker", ""))

    def __str__(self):
        return f"attempt at {self.journal.name} offset {self.record.offset}"


def attempts_of(run):
    """content -> (counted attempts, void attempts), each in order of time."""
    found = defaultdict(lambda: ([], []))
    for journal in run.of("ledger"):
        for record in journal.kept + journal.void:
            body = None if record.broken else record["value"].get("attempt")
            if body:
                attempt = Attempt(journal, record, body)
                found[attempt.content][attempt.void].append(attempt)
    for kinds in found.values():
        for attempts in kinds:
            attempts.sort(key=lambda attempt: (attempt.record.time_ns, attempt.record.offset))
    return found


def match(lines, attempts):
    """[(line, attempt or None, "ok" | "void" | "late" | "none")]: see K-3 above."""
    by_content = defaultdict(list)
    for line in lines:
        by_content[line["api"], line["sha256"], line["marker"]].append(line)
    matched = []
    for content, group in by_content.items():
        counted, void = attempts.get(content, ((), ()))
        matched += _match_alike(sorted(group, key=lambda line: line["t_wall"]), counted, void)
    return matched


def _match_alike(lines, counted, void):
    times = [attempt.record.time_ns for attempt in counted]
    free, unused, taken = 0, [], []
    left = []
    for line in lines:
        until = bisect_right(times, line["t_wall"])
        unused += counted[free:until]
        free = until
        if unused:
            taken.append((line, unused.pop(), "ok"))
        else:
            left.append(line)
    late, void = list(counted[free:]), list(void)
    for line in left:
        before = [attempt for attempt in void if attempt.record.time_ns <= line["t_wall"]]
        if before:
            void.remove(before[-1])
            taken.append((line, before[-1], "void"))
        elif late:
            taken.append((line, late.pop(0), "late"))
        else:
            taken.append((line, None, "none"))
    return taken


def calls_with_attempt(witness):
    return [line for line in witness.lines if line["api"] not in NO_ATTEMPT]


def executed(run, witness, attempts):
    """K-3."""
    lines = [line for line in calls_with_attempt(witness) if line["verdict"] == "executed"]
    for line, attempt, how in match(lines, attempts):
        if how != "ok":
            run.blamed.add(line["seq"])
            _blame(run, "K-3", line, attempt, how)
    for what in checks.no_call_twice(SimpleNamespace(witness=witness)):
        run.found.add("K-3", "witness", 0, what)
    return len(lines)


def _blame(run, check, line, attempt, how):
    call = (f"{line['api']} {line['sha256'][:16]} (witness seq {line['seq']}, {line['verdict']}, "
            f"arrived {line['t_wall']} ns)")
    if how == "none":
        run.found.add(check, "witness", line["seq"],
                      f"{call} has no attempt of its own in the ledger")
        return
    at = attempt.record.time_ns
    run.found.add(check, attempt.journal.name, attempt.record.offset,
                  f"the attempt of {call} is void" if how == "void" else
                  f"the attempt of {call} was appended {at - line['t_wall']} ns after the call")


def released(run, witness, attempts, processes):
    """K-5; the stops with what happened after each."""
    matched = match(calls_with_attempt(witness), attempts)
    for line, attempt, how in matched:
        if how == "void" or (how != "ok" and line["seq"] not in run.blamed):
            _blame(run, "K-5", line, attempt, how)
    stops = processes.stops() if processes else []
    for stop in stops:
        stop.update(calls_after_wake=0, counted_calls_after_wake=0, void_records_after_wake=0)
    by_pid = defaultdict(list)
    for stop in stops:
        by_pid[stop["pid"]].append(stop)
    for line, attempt, how in matched:
        if how in ("ok", "void"):
            _count_after_wake(run, by_pid, line, attempt)
    for journal in run.in_order():
        for record in journal.void:
            fence = _owner_of(journal, record)
            newer = fence.next_of_another() if fence else None
            stop = _stop_before(by_pid, fence, record.time_ns)
            if stop and newer and record.offset > newer.offset:
                stop["void_records_after_wake"] += 1
    return stops


def _count_after_wake(run, by_pid, line, attempt):
    """A call of a void attempt is a fault. That of a counted one is none: it was released before
    its time was over, and the new owner holds it for a doubt."""
    fence = _owner_of(attempt.journal, attempt.record)
    stop = _stop_before(by_pid, fence, line["t_wall"])
    if stop is None or stop["continued_ns"] is None or line["t_wall"] <= stop["continued_ns"]:
        return
    if attempt.void:
        stop["calls_after_wake"] += 1
        run.found.add("K-5", "witness", line["seq"], f"{stop['service']} {stop['replica']} (pid "
                      f"{stop['pid']}) made this call after it woke, by the void {attempt}")
    elif (newer := fence.next_of_another()) and newer.wall_ns < line["t_wall"]:
        stop["counted_calls_after_wake"] += 1


def _owner_of(journal, record):
    """The fence of the owner that wrote the record."""
    return None if record.kind in (FENCE, UNSPECIFIED) else journal.fence_of(record.epoch)


def _stop_before(by_pid, fence, time_ns):
    """The owner's last stop before that time, else its first one."""
    stops = by_pid.get(fence.pid, ()) if fence else ()
    before = [stop for stop in stops if stop["stopped_ns"] <= time_ns]
    return before[-1] if before else next(iter(stops), None)


def fences(run, processes):
    """K-4: (explained, unexplained)."""
    explained = unexplained = 0
    for journal in run.in_order():
        times = Counter()  # winning fences of each process
        for fence in journal.fences:
            why = _why_unexplained(journal, fence, processes, times)
            explained += not why
            unexplained += bool(why)
            if why:
                run.found.add("K-4", journal.name, fence.offset,
                              f"the fence of epoch {fence.epoch} by {fence.owner}: {why}")
    for line in processes.live:
        journal = next((each for each in run.in_order() if each.name == line["journal"]), None)
        fence = journal.fence_of(number(line, "epoch")) if journal else None
        if fence is None or fence.pid != line["pid"]:
            run.found.add("K-4", line["journal"], 0, f"pid {line['pid']} was live in epoch "
                          f"{line.get('epoch')} and has no winning fence of it")
    return explained, unexplained


def _why_unexplained(journal, fence, processes, times):
    """Empty if the fence has its cause."""
    start = processes.start_of(fence.pid, fence.wall_ns)
    if start is None:
        return f"no start of pid {fence.pid} before it"
    if not processes.owns(start, journal.topic, journal.partition):
        return f"{start['service']} {start.get('replica', 0)} does not own this partition"
    key = fence.pid, start["t_ns"]
    times[key] += 1
    further = times[key] - 1
    failed = sum(start["t_ns"] <= at <= fence.wall_ns
                 for at in processes.append_failed.get((fence.pid, journal.name), ()))
    if failed < further:
        return (f"it is no. {further + 1} of this process, and {failed} append_failed lines stand "
                "before it")
    return ""


def outboxes(run):
    """The outbox marks: a source that says so much was acknowledged has sent so much. What the
    targets tell by themselves was found while reading."""
    for journal in run.in_order():
        for target, out_seq in sorted(journal.marks.items()):
            there = run.outboxes.get((journal.name, target))
            if out_seq > (len(there.digests) if there else 0):
                run.found.add("outbox", target, 0, f"{journal.name} was acknowledged out_seq "
                              f"{out_seq} and only {len(there.digests) if there else 0} are there")
