"""The counts of the CDNOW data set, computed elsewhere by two unlike programs, asked for by hand."""

import os
import unittest
from datetime import date, timedelta

from product import CORP, ROOT, ProductTest

DATA = os.path.join(os.path.dirname(ROOT), "shared", "data", "cdnow", "CDNOW_master.txt")
DATES = ("1997-03-31", "1997-06-30", "1997-12-31", "1998-06-30")
TABLE = {
    "orders.count >= 3": (1590, 3780, 6258, 7583),
    "orders.sum >= 100.00": (2047, 3459, 5220, 6234),
    "orders.count(90d) >= 2": (5066, 2014, 1604, 1219),
    "orders.days(90d) >= 2": (4843, 1972, 1548, 1180),
    "orders.sum(90d) >= 100.00": (2047, 916, 789, 506),
    "orders.sum = 0.00": (70, 70, 68, 68),
    "last_order within 30d": (9214, 2339, 1793, 1506),
    "not (last_order within 90d)": (0, 18248, 19394, 20269),
    "not (last_order within 180d) and orders.count >= 2": (0, 2, 4301, 6302),
    "orders.sum >= 500.00 and not (last_order within 90d)": (0, 20, 104, 210),
    "orders.count >= 3 and orders.count(30d) = 0": (391, 2181, 4699, 6163),
    "at least 2 of (orders.count >= 3, orders.sum >= 100.00, last_order within 90d)":
        (2755, 3827, 5176, 5877),
}


@unittest.skipUnless(os.path.exists(DATA), f"SKIPPED: {DATA} is missing")
class CdnowTest(ProductTest):
    def ask_count(self, expression, day):
        return self.ask("segment", "count", expression, "--as-of", day)["count"]

    def load(self, *flags):
        self.tidegate("import", "purchases", DATA, "--format", "cdnow", "--corp", CORP, "--quiet",
                      *flags)

    def check(self, column, shift_days=0):
        day = str(date.fromisoformat(DATES[column]) + timedelta(shift_days))
        for expression, counts in TABLE.items():
            self.assertEqual(self.ask_count(expression, day), counts[column],
                             f"{expression} at {day}")

    def test_counts_are_exact_fed_up_to_a_day_and_fed_whole_and_fed_twice(self):
        for column, day in enumerate(DATES):
            self.load("--until", day)
            self.check(column)
        for column in range(len(DATES)):
            self.check(column)
        self.load()
        for column in range(len(DATES)):
            self.check(column)
        # Edges: one day more or less shows.
        self.assertEqual(self.ask_count("last_order within 29d", DATES[3]), 1452)
        self.assertEqual(self.ask_count("last_order within 31d", DATES[3]), 1554)
        # All dates moved by a week: orders are corrected, not added.
        self.load("--shift-days", "7")
        for column in range(len(DATES)):
            self.check(column, shift_days=7)


class BrokenRowsTest(ProductTest):
    def test_broken_rows_are_reported_one_by_one_and_the_good_ones_stay(self):
        path = self.write("broken.txt", " customer_id  date number_of_cds  dollar_value\n"
                          " 00001 19970101  1   11.77\n"
                          " 00002 19970112  1\n"
                          " 00003 19971301  1   12.00\n"
                          " 00004 19970102  1   -5.00\n"
                          " 00005 19970103  2   77.00\n")
        _, err = self.tidegate("import", "purchases", path, "--format", "cdnow", "--corp", CORP,
                               "--quiet", code=1)
        for row in (2, 3, 4):
            self.assertIn(f"row {row}", err)
        for row in (1, 5):
            self.assertNotIn(f"row {row}", err)
        self.assertEqual(self.count("orders.count = 1"), 2)
        self.assertEqual(self.count("orders.sum = 77.00"), 1)


if __name__ == "__main__":
    unittest.main()
