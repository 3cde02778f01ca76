import copy
import unittest

import log_bench
import stages


def spread(value):
    return {"min": value, "median": value, "max": value}


def result():
    return {
        "append": [{"log": "kafka", "batch": 10, "outstanding": 64, "records_s": spread(800.0),
                    "p50_ms": spread(1.0), "p99_ms": spread(2.0), "ratio": spread(0.8),
                    "cpu_us": spread(20.0), "bare": {"name": "librdkafka", "cpu_us": spread(13.0),
                                                     "records_s": spread(1000.0)}}],
        "transactional": {"batch": 100, "records_s": spread(4000.0), "p50_ms": spread(26.0),
                          "p99_ms": spread(30.0)},
        "pipeline": {"embedded": {"events": 40, "seconds": 2.0, "events_s": 20.0,
                                  "publish_seconds": 1.0, "count": 10, "count_expected": 10,
                                  "count_over": 0}},
        "welcome": {log: {"p50_ms": 9, "p99_ms": 240, "p99_ms_min": 90, "p99_ms_max": 300,
                          "count": 600, "asked": 600, "load_per_second": 1000,
                          "load_per_second_min": 990.0} for log in ("embedded", "kafka")},
        "machine": {"cpus": 2, "cpu": "x", "memory_gb": 8.0, "load_before": 0.0, "load_after": 1.0},
        "commit": "0123456789ab", "seed": 1, "seconds": 3.0, "failures": [],
    }


class FailuresTest(unittest.TestCase):
    def missed(self, change):
        changed = copy.deepcopy(result())
        change(changed)
        found = log_bench.failures(changed)
        self.assertEqual(len(found), 1, found)
        return found[0]

    def test_good_figures_miss_nothing(self):
        self.assertEqual(log_bench.failures(result()), [])

    def test_a_low_ratio_is_named_with_its_row(self):
        def change(figures):
            figures["append"][0]["ratio"] = {"min": 0.5, "median": 0.69, "max": 1.2}

        self.assertIn("append kafka, 10 records, 64 at a time: 0.69", self.missed(change))

    def test_each_log_has_its_own_bound_of_welcomes(self):
        self.assertIn("welcome embedded: p99 251", self.missed(
            lambda figures: figures["welcome"]["embedded"].update(p99_ms=251)))
        self.assertIn("welcome kafka: p99 501", self.missed(
            lambda figures: figures["welcome"]["kafka"].update(p99_ms=501)))

    def test_a_welcome_that_was_not_sent_is_a_miss(self):
        self.assertIn("599 of 600", self.missed(
            lambda figures: figures["welcome"]["kafka"].update(count=599)))

    def test_less_load_than_meant_is_a_miss(self):
        self.assertIn("only 900 purchases/s", self.missed(
            lambda figures: figures["welcome"]["embedded"].update(load_per_second_min=900.0)))

    def test_a_wrong_count_is_a_miss(self):
        self.assertIn("9 customers", self.missed(
            lambda figures: figures["pipeline"]["embedded"].update(count=9)))
        self.assertIn("1 have too many", self.missed(
            lambda figures: figures["pipeline"]["embedded"].update(count_over=1)))

    def test_people_read_misses_and_why_kafka_was_left_out(self):
        text = log_bench.for_people({**result(), "failures": ["too slow"], "skipped": "no Java"})
        self.assertIn("MISSED   too slow", text)
        self.assertIn("SKIPPED Kafka: no Java", text)


class Record(dict):
    def __init__(self, key, value, offset=0, decided_ns=0, timestamp_ms=None):
        super().__init__(key=key, value=value, offset=offset, timestamp_ms=timestamp_ms)
        self.decided_ns = decided_ns


def journals(stored):
    """One welcome; times in milliseconds from 1,000 on."""
    def at(ms):
        return ms if stored else None

    def ns(ms):
        return ms * stages.NS_PER_MS

    topics = {
        "events": [Record("c/wm9", {"follow": {"welcome_code": "x"},
                                    "received_time_ns": str(ns(1_001))}, 0, 0, at(1_003)),
                   Record("c/wm1", {"order": {}, "received_time_ns": "5"})],
        "profiles": [Record("c/wm9", {"commands": [{"welcome": {}}]}, 0, ns(1_007), at(1_010))],
        "commands": [Record("c/m/wm9", {"mark_tag": {}}, 3),
                     Record("c/m/wm9", {"welcome": {}}, 4, 0, at(1_012))],
        "ledger": [Record("", {"attempt": {"target": {"welcome": {"positions": ["4"]}},
                                           "stamp": {"wall_ns": str(ns(1_015))}}},
                          0, 0, at(1_018)),
                   Record("", {"attempt": {"target": {"mark_tag": {"positions": ["4"]}}}})],
    }

    def read(topic, consume):
        for record in topics[topic]:
            consume(0, record)

    return read, [{"recipients": ["wm9"], "t_wall": ns(1_020), "age_ms": 20}]


class StagesTest(unittest.TestCase):
    def test_the_broker_tells_when_records_were_stored(self):
        self.assertEqual([values for values in stages.intervals(*journals(stored=True)).values()],
                         [[1], [2], [4], [3], [2], [3], [3], [2]])

    def test_without_a_broker_it_goes_from_decision_to_decision(self):
        self.assertEqual([values for values in stages.intervals(*journals(stored=False)).values()],
                         [[1], [6], [8], [5]])


if __name__ == "__main__":
    unittest.main()
