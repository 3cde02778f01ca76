"""The records of a run, from Kafka or from the embedded log's export, as one kind of object.

  source = KafkaSource("127.0.0.1:9092", Schema())    # or ExportSource("out/journals", Schema())
  source.read("ledger", lambda partition, record: print(partition, record["value"]))

A record answers like a line of the export: record["offset"], ["key"], ["header"], ["value"] (proto
JSON with the field names of the proto files), and ["timestamp_ms"], the broker's time of the append
(None in an export). Header and value are decoded when asked for, so that many records can be held.

Nothing here is the product's: the messages are built at run time from proto/ by protoc.
Needs protoc and Debian's python3-protobuf, for Kafka python3-confluent-kafka as well.

  processes = Processes("out/processes.jsonl", "out/logs")

What the harness and the services wrote down about processes, for the same checks.
"""

import base64
import datetime
import glob
import hashlib
import importlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict

from journals import number

HERE = os.path.dirname(os.path.abspath(__file__))
PROTO = os.path.normpath(os.path.join(HERE, "..", "..", "proto"))
DEBIAN_PACKAGES = "/usr/lib/python3/dist-packages"

MESSAGES = {
    "events": "CustomerEvent", "profiles": "ProfileRecord", "memberships": "MembershipRecord",
    "ledger": "LedgerRecord", "audiences": "AudienceChunk", "commands": "Command",
    "definitions": "Proposal", "dead-letters": "DeadLetter"}
TOPICS = tuple(MESSAGES)
DEFAULT_PREFIX = "tidegate."
HEADER = "tidegate"  # the one Kafka header of a record

KINDS = ("RECORD_KIND_UNSPECIFIED", "RECORD_KIND_FENCE", "RECORD_KIND_DECISION",
         "RECORD_KIND_COVER", "RECORD_KIND_OUTBOX_MARK")
UNSPECIFIED, FENCE, DECISION = range(3)

NS_PER_MS = 1_000_000
DEADLINE_SECONDS = 300
ANSWER_SECONDS = 15
CONSUME_RECORDS = 5_000
PROGRESS_SECONDS = 3
FETCH_BYTES = 32 << 20  # records of 10 MB pass, however they are batched


class InputError(Exception):
    """An input is missing or cannot be read: nothing can be said about the run."""


class Unavailable(InputError):
    """A package that the reading needs is not on this machine."""


def name_of(topic, partition):
    """The product's name of a topic partition, whatever the prefix on Kafka is."""
    return f"{DEFAULT_PREFIX}{topic}/{partition}"


def debian_module(name, package):
    """A module of Debian's, also for a Python that is not Debian's own."""
    try:
        return importlib.import_module(name)
    except ImportError:
        sys.path.append(DEBIAN_PACKAGES)
    try:
        importlib.invalidate_caches()
        return importlib.import_module(name)
    except ImportError:
        raise Unavailable(f"this Python has no {name}; apt-get install {package}") from None
    finally:
        sys.path.remove(DEBIAN_PACKAGES)


class Schema:
    """The messages of tidegate.log.v1, made from the proto files when the program runs."""

    def __init__(self, folder=PROTO):
        def module(name):
            return debian_module("google.protobuf." + name, "python3-protobuf")

        self._json = module("json_format")
        self._decode_error = module("message").DecodeError
        files = module("descriptor_pb2").FileDescriptorSet.FromString(_compiled(folder))
        pool = module("descriptor_pool").DescriptorPool()
        for file in files.file:
            pool.Add(file)
        factory = module("message_factory").MessageFactory(pool)

        def message(name):
            return factory.GetPrototype(pool.FindMessageTypeByName("tidegate.log.v1." + name))

        self._header = message("RecordHeader")
        self._values = {topic: message(name) for topic, name in MESSAGES.items()}

    def header(self, data):
        """As proto JSON; None if the bytes are not a header."""
        return self._decode(self._header, data)

    def value(self, topic, data):
        """As proto JSON; None if the bytes are not the topic's message."""
        return self._decode(self._values[topic], data)

    def is_value(self, topic, data):
        return self._parse(self._values[topic], data) is not None

    def header_bytes(self, header):
        return self._encode(self._header, header)

    def value_bytes(self, topic, value):
        return self._encode(self._values[topic], value)

    def _parse(self, kind, data):
        try:
            return kind.FromString(data)
        except (self._decode_error, UnicodeDecodeError):
            return None

    def _decode(self, kind, data):
        message = self._parse(kind, data)
        if message is None:
            return None
        return self._json.MessageToDict(message, preserving_proto_field_name=True)

    def _encode(self, kind, content):
        return self._json.ParseDict(content, kind()).SerializeToString(deterministic=True)


def _compiled(folder):
    """The proto files as a serialised FileDescriptorSet."""
    files = sorted(glob.glob(os.path.join(glob.escape(folder), "tidegate/log/v1/*.proto")))
    if not files:
        raise InputError(f"no proto files in {folder}/tidegate/log/v1")
    with tempfile.TemporaryDirectory() as scratch:
        out = os.path.join(scratch, "descriptors")
        try:
            subprocess.run(["protoc", "-I", folder, "--include_imports",
                            "--descriptor_set_out=" + out, *files],
                           check=True, capture_output=True, text=True)
        except FileNotFoundError:
            raise Unavailable("there is no protoc; apt-get install protobuf-compiler") from None
        except subprocess.CalledProcessError as error:
            raise InputError(f"protoc: {error.stderr.strip()}") from None
        with open(out, "rb") as file:
            return file.read()


class Record:
    """One record. What the validity rule needs stands in fields; the rest is decoded on demand.

    `broken` names the part that is not what it should be ("header", "value"), else it is empty.
    `source` is (journal, out_seq) of what an outbox sent, else None. `digest` tells two contents
    (key and value) apart. `verdict` is the reader's.
    """
    __slots__ = ("topic", "offset", "key", "timestamp_ms", "kind", "epoch", "seq", "decided_ns",
                 "source", "broken", "digest", "verdict", "_header", "_schema", "_data")

    def __init__(self, schema, topic, offset, key, timestamp_ms, data):
        self.topic, self.offset, self.key, self.timestamp_ms = topic, offset, key, timestamp_ms
        self.verdict = self.broken = ""
        self._schema, self._data = schema, data
        header = self._decoded_header()
        if header is None:
            self.broken, header = "header", {}
        elif not self._is_value():
            self.broken = "value"
        self.kind = _kind(header.get("kind"))
        self.epoch, self.seq = number(header, "epoch"), number(header, "seq")
        self.decided_ns = number(header, "decided_time_ns")
        source = header.get("source")
        self.source = (source.get("journal", ""), number(source, "out_seq")) if source else None
        self.digest = self._digest()
        self._header = header

    def __getitem__(self, name):
        if name == "header":
            return self._header or self._decoded_header() or {}
        if name == "value":
            return self._decoded_value() or {}
        if name in ("offset", "timestamp_ms"):
            return getattr(self, name)
        if name == "key":
            return self.key.decode("utf-8", "replace")
        raise KeyError(name)

    @property
    def time_ns(self):
        """When it was appended, by the broker; in an export, when it was decided."""
        if self.timestamp_ms is None:
            return self.decided_ns
        return self.timestamp_ms * NS_PER_MS

    def whole_digest(self):
        """As digest, which is of key and value, and the header too."""
        return _digest(self._header_bytes(), self.digest)

    def pack(self):
        """Drops what can be decoded again."""
        self._header = None


class KafkaRecord(Record):
    """Bytes as they are on Kafka."""
    __slots__ = ()

    def _decoded_header(self):
        return self._schema.header(self._data[0])

    def _decoded_value(self):
        return self._schema.value(self.topic, self._data[1])

    def value_bytes(self):
        return self._data[1]

    def _header_bytes(self):
        return self._data[0]

    def _is_value(self):
        return self._schema.is_value(self.topic, self._data[1])

    def _digest(self):
        return _digest(self.key, self._data[1])


class ExportRecord(Record):
    """A line of the export; once packed only its JSON text is kept, and read again when asked."""
    __slots__ = ("_text",)

    def _decoded_header(self):
        return self._line().get("header", {})

    def _decoded_value(self):
        return self._line().get("value", {})

    def value_bytes(self):
        return self._schema.value_bytes(self.topic, self["value"])

    def pack(self):
        super().pack()
        self._data = None

    def _header_bytes(self):
        return json.dumps(self._decoded_header(), sort_keys=True).encode()

    def _line(self):
        return self._data or json.loads(self._text)

    def _is_value(self):
        return self._decoded_value() is not None

    def _digest(self):
        line = self._line()
        return _digest(self.key, json.dumps([line.get("value"), line.get("value_base64")],
                                            sort_keys=True).encode())

    @classmethod
    def from_text(cls, schema, topic, text):
        line = json.loads(text)
        key = line.get("key")
        key = base64.b64decode(line.get("key_base64", "")) if key is None else key.encode()
        record = cls(schema, topic, int(line["offset"]), key, None, line)
        record._text = text  # much smaller than what it says
        return record


def _kind(value):
    if isinstance(value, int):
        return value
    return KINDS.index(value) if value in KINDS else UNSPECIFIED


def _digest(key, value):
    """Tells two contents apart, in little memory."""
    return hashlib.blake2b(len(key).to_bytes(4, "big") + key + value, digest_size=16).digest()


class ExportSource:
    """The files tidegate.<topic>-<partition>.jsonl of `tidegate journal export`."""

    def __init__(self, folder, schema, progress=None):
        self._folder, self._schema = folder, schema
        self._progress = progress or (lambda text: None)
        if not glob.glob(os.path.join(glob.escape(folder), "tidegate.*.jsonl")):
            raise InputError(f"no exported journals in {folder}")

    def read(self, topic, consume):
        """consume(partition, record) for every record, partition by partition, in order."""
        pattern = re.compile(rf"tidegate\.{topic}-(\d+)\.jsonl")
        found = sorted((int(match[1]), name) for name in os.listdir(self._folder)
                       if (match := pattern.fullmatch(name)))
        for partition, name in found:
            path = os.path.join(self._folder, name)
            self._progress(f"reading {name}, {os.path.getsize(path) / 1e6:,.1f} MB")
            self._read_file(topic, partition, path, consume)
        return [partition for partition, _ in found]

    def _read_file(self, topic, partition, path, consume):
        with open(path, "rb") as file:
            for count, text in enumerate(file, 1):
                if not text.strip():
                    continue
                try:
                    record = ExportRecord.from_text(self._schema, topic, text)
                except (ValueError, KeyError, TypeError, AttributeError) as error:
                    raise InputError(f"{path}, line {count}: {error!r}") from None
                consume(partition, record)


def write_export(source, topic, folder):
    """One JSON-lines file per partition, as ExportSource reads it. A broken record is left out."""
    files = {}

    def write(partition, record):
        if record.broken:
            return
        if partition not in files:
            name = f"tidegate.{topic}-{partition}.jsonl"
            files[partition] = open(os.path.join(folder, name), "w", encoding="utf-8")
        line = {name: record[name] for name in ("offset", "key", "header", "value")}
        files[partition].write(json.dumps(line) + "\n")

    try:
        source.read(topic, write)
    finally:
        for file in files.values():
            file.close()


class KafkaSource:
    """All partitions from offset 0 up to the ends that they had when this was made."""

    def __init__(self, bootstrap, schema, prefix=DEFAULT_PREFIX, deadline_seconds=DEADLINE_SECONDS,
                 progress=None):
        self._kafka = debian_module("confluent_kafka", "python3-confluent-kafka")
        self._schema, self._prefix = schema, prefix
        self._progress = progress or (lambda text: None)
        self._until = time.monotonic() + deadline_seconds
        self._consumer = self._kafka.Consumer({
            "bootstrap.servers": bootstrap, "group.id": "tidegate-judge", "log_level": 0,
            "enable.auto.commit": False, "enable.auto.offset.store": False,
            "enable.partition.eof": True, "isolation.level": "read_uncommitted",
            "auto.offset.reset": "error", "max.partition.fetch.bytes": FETCH_BYTES,
            "fetch.max.bytes": 2 * FETCH_BYTES, "receive.message.max.bytes": 3 * FETCH_BYTES,
            "reconnect.backoff.max.ms": 500})
        try:
            self._ends = self._ask_ends(bootstrap)
        except self._kafka.KafkaException as error:
            self.close()
            raise InputError(f"Kafka at {bootstrap} does not answer: {error}") from None

    def close(self):
        self._consumer.close()

    def read(self, topic, consume):
        """consume(partition, record) for every record; each partition's in order of offset."""
        ends = self._ends[topic]
        left = {partition for partition, (low, high) in ends.items() if high > low}
        total = sum(high - low for low, high in ends.values())
        if left:
            self._consumer.assign([self._at(topic, partition, 0) for partition in left])
        count, told = 0, time.monotonic()
        while left:
            if time.monotonic() > self._until:
                raise InputError(f"{topic}: read {count:,} of {total:,} records when the time "
                                 "was over; see --deadline")
            for message in self._consume(topic):
                partition = message.partition()
                if message.error():
                    self._on_error(topic, message, left)
                elif partition in left:
                    high = ends[partition][1]
                    if message.offset() < high:
                        consume(partition, self._record(topic, message))
                        count += 1
                    if message.offset() + 1 >= high:
                        left.discard(partition)
            if time.monotonic() - told > PROGRESS_SECONDS:
                told = time.monotonic()
                self._progress(f"{topic}: {count:,} of {total:,} records")
        self._consumer.unassign()
        return sorted(ends)

    def _consume(self, topic):
        try:
            return self._consumer.consume(CONSUME_RECORDS, 0.5)
        except self._kafka.KafkaException as error:
            raise InputError(f"{topic}: {error}") from None

    def _ask_ends(self, bootstrap):
        topics = self._consumer.list_topics(timeout=ANSWER_SECONDS).topics
        found = {}
        for topic in TOPICS:
            name = self._prefix + topic
            if name not in topics or topics[name].error is not None:
                raise InputError(f"Kafka at {bootstrap} has no topic {name}")
            found[topic] = {}
            for partition in topics[name].partitions:
                low, high = self._consumer.get_watermark_offsets(
                    self._at(topic, partition, 0), timeout=ANSWER_SECONDS)
                if low > 0:
                    raise InputError(f"{name}/{partition} begins at offset {low}: what was before "
                                     "is deleted and cannot be judged")
                found[topic][partition] = (low, high)
        return found

    def _at(self, topic, partition, offset):
        return self._kafka.TopicPartition(self._prefix + topic, partition, offset)

    def _on_error(self, topic, message, left):
        error = message.error()
        if error.code() == self._kafka.KafkaError._PARTITION_EOF:
            # Compaction may have taken the last offsets; else the end is where it was.
            if message.offset() >= self._ends[topic][message.partition()][1]:
                left.discard(message.partition())
        elif not error.retriable() and error.code() not in (
                self._kafka.KafkaError._TRANSPORT, self._kafka.KafkaError._ALL_BROKERS_DOWN):
            raise InputError(f"{topic}/{message.partition()}: {error}")

    def _record(self, topic, message):
        kind, timestamp_ms = message.timestamp()
        if kind != self._kafka.TIMESTAMP_LOG_APPEND_TIME:
            raise InputError(f"{self._prefix}{topic} does not have the broker's timestamps: set "
                             "message.timestamp.type=LogAppendTime before the run")
        header = b""
        for name, data in message.headers() or ():
            if name == HEADER:
                header = data or b""  # the last one, as the product reads it
        return KafkaRecord(self._schema, topic, message.offset(), message.key() or b"",
                           timestamp_ms, (header, message.value() or b""))


def read_lines(path):
    """The JSON objects of a file, one a line."""
    lines = []
    with open(path, encoding="utf-8") as file:
        for count, text in enumerate(file, 1):
            if text.strip():
                try:
                    lines.append(json.loads(text))
                except ValueError as error:
                    raise InputError(f"{path}, line {count}: {error}") from None
    return lines


class Processes:
    """The harness' log of processes, and what their own logs say of journals.

    `live` holds the partition_live lines with their "pid"; `append_failed` the times (Unix ns) of
    such lines by (pid, journal). Service logs are SERVICE-REPLICA-PID.log; what in them is not a
    JSON object is skipped.
    """

    OWNERS = {"tagging": "profiles", "segmentation": "memberships", "dispatch": "ledger"}
    LOG = re.compile(r"(?P<service>.+)-(?P<replica>\d+)-(?P<pid>\d+)\.log")

    def __init__(self, path, logs=None):
        self._lines = sorted(read_lines(path), key=lambda line: line["t_ns"])
        self._starts = [line for line in self._lines if line["event"] == "start"]
        self.live = []
        self.append_failed = defaultdict(list)
        for name in sorted(os.listdir(logs)) if logs else ():
            if match := self.LOG.fullmatch(name):
                self._read_log(os.path.join(logs, name), int(match["pid"]))

    def start_of(self, pid, before_ns):
        """The newest start of the pid that is not later, or None."""
        return next((line for line in reversed(self._starts)
                     if line.get("pid") == pid and line["t_ns"] <= before_ns), None)

    def owns(self, start, topic, partition):
        """Whether the started process owns the journal: partition mod replicas = replica."""
        service = start["service"]
        if service == "tidegate":  # the embedded log: one process owns all
            return True
        replicas = start.get("replicas") or 1 + max(
            line["replica"] for line in self._starts if line["service"] == service)
        return self.OWNERS.get(service) == topic and partition % replicas == start["replica"]

    def ended(self, pid, after_ns, before_ns):
        """Whether the pid was killed, stopped or gone at some time in between."""
        return any(line.get("pid") == pid and line["event"] in ("kill", "stop", "exit")
                   and after_ns <= line["t_ns"] <= before_ns for line in self._lines)

    def stops(self):
        """Every stop with the time of its continue, None if there was none."""
        found = []
        for line in self._lines:
            if line["event"] == "stop" and line.get("pid"):
                found.append({"service": line["service"], "replica": line["replica"],
                              "pid": line["pid"], "stopped_ns": line["t_ns"],
                              "continued_ns": None})
            elif line["event"] == "continue":
                for stop in found:
                    if stop["pid"] == line.get("pid") and stop["continued_ns"] is None:
                        stop["continued_ns"] = line["t_ns"]
        return found

    def _read_log(self, path, pid):
        with open(path, encoding="utf-8", errors="replace") as file:
            for text in file:
                try:
                    line = json.loads(text)
                    event = line["event"]
                    if event == "partition_live":
                        self.live.append({**line, "journal": line["journal"], "pid": pid})
                    elif event == "append_failed":
                        self.append_failed[pid, line["journal"]].append(_unix_ns(line["time"]))
                except (ValueError, KeyError, TypeError):
                    continue


def _unix_ns(text):
    """Of "2026-11-24T17:56:44.452+00:00"."""
    since = datetime.datetime.fromisoformat(text) - datetime.datetime.fromtimestamp(
        0, datetime.timezone.utc)
    return (since // datetime.timedelta(microseconds=1)) * 1_000
