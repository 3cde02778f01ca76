"""What planning is held to, and that a missed target is told."""

import unittest

import plan_bench


def row(median, owners=1_000, quota=6e6):
    return {"recipients": 1000, "owners": owners, "variants": 3, "calls": 9,
            "plan_s": {"min": 1.0, "median": median, "max": 9e6},
            "quota_s": {"min": 1.0, "median": quota, "max": 9e6},
            "copy_s": {"min": 5e7, "median": 6e7, "max": 7e7},
            "ratio": {"min": 0.1, "median": 0.15, "max": 0.2}}


class PlanTest(unittest.TestCase):
    def test_the_median_is_judged(self):
        self.assertEqual(list(plan_bench.failures({"rows": [row(5e6), row(8e6)]})), [])
        self.assertEqual(list(plan_bench.failures({"rows": [row(5e6), row(4.9e6)]})),
                         ["1,000 members, 3 contents: 4,900,000 recipients a second, "
                          "wanted 5,000,000"])
        self.assertEqual(list(plan_bench.failures({"rows": [row(5e6, quota=4e6)]})),
                         ["1,000 members, 3 contents, with a quota: 4,000,000 recipients a second, "
                          "wanted 5,000,000"])
        self.assertEqual(list(plan_bench.failures({"rows": [row(3e6, owners=30_000)]})), [])

    def test_the_table_has_a_line_for_each(self):
        self.assertEqual(len(plan_bench.table({"rows": [row(5e6), row(8e6)]}).splitlines()), 3)


if __name__ == "__main__":
    unittest.main()
