import copy
import unittest

import send_bench


def spread(value):
    return {"min": value, "median": value, "max": value}


def result():
    def touches(way, touches_s, times):
        return {"way": way, "touches": 10, "touches_s": spread(touches_s), "cpu_us": spread(2.0),
                "times_unary": spread(times)}

    return {
        "touches": [touches("batches of 1,000", 300_000.0, 10.0),
                    touches("batches of 10,000", 1.0, 1.0), touches("one by one", 1.0, 1.0)],
        "calls": [{"in_flight": in_flight, "calls": 10, "calls_s": spread(calls_s),
                   "cpu_us": spread(40.0), "bare_calls_s": spread(50_000.0),
                   "bare_cpu_us": spread(20.0), "ratio": spread(0.5), "cpu_ratio": spread(0.5)}
                  for in_flight, calls_s in ((64, 10_000.0), (512, 25_000.0))],
        "machine": {"cpus": 2, "cpu": "x", "memory_gb": 8.0, "load_before": 0.0, "load_after": 1.0},
        "commit": "0123456789ab", "seed": 1, "seconds": 3.0, "quick": False, "failures": [],
    }


class FailuresTest(unittest.TestCase):
    def missed(self, change):
        changed = copy.deepcopy(result())
        change(changed)
        found = list(send_bench.failures(changed))
        self.assertEqual(len(found), 1, found)
        return found[0]

    def test_good_figures_miss_nothing(self):
        self.assertEqual(list(send_bench.failures(result())), [])

    def test_too_few_touches_are_a_miss(self):
        self.assertIn("299,999/s", self.missed(
            lambda figures: figures["touches"][0].update(touches_s=spread(299_999.0))))

    def test_batches_that_gain_too_little_are_a_miss(self):
        self.assertIn("9.9 times", self.missed(
            lambda figures: figures["touches"][0].update(times_unary=spread(9.9))))

    def test_the_best_row_of_calls_counts(self):
        self.assertIn("calls: 24,999/s", self.missed(
            lambda figures: figures["calls"][1].update(calls_s=spread(24_999.0))))

    def test_people_read_rows_and_misses(self):
        text = send_bench.for_people({**result(), "failures": ["too slow"]})
        self.assertRegex(text, r"batches of 1,000 +300,000 \(300,000..300,000\)")
        self.assertIn("MISSED   too slow", text)


if __name__ == "__main__":
    unittest.main()
