"""What the raw purchases file says, computed without the product.

Lines after the header: customer id (5 digits), date (YYYYMMDD), number of items, amount. Two equal
lines are two purchases. "Today" is the last date of the file, as after the demo's shift of all
dates.
"""

import datetime
from dataclasses import dataclass, field


@dataclass
class Customer:
    count: int = 0
    fen: int = 0
    last: datetime.date = datetime.date.min


@dataclass
class Purchases:
    customers: dict = field(default_factory=dict)  # external_userid -> Customer
    lines: int = 0
    today: datetime.date = datetime.date.min

    def within(self, customer, days):
        """Whether the last purchase is one of the last `days` days, today included."""
        return customer.last > self.today - datetime.timedelta(days=days)

    def audience(self, orders_min):
        """Who bought at least so often."""
        return {name for name, each in self.customers.items() if each.count >= orders_min}

    def segment_counts(self):
        """The demo's segments, each written again as a loop over all customers."""
        everyone = self.customers.values()
        return {
            "orders.count >= 3": sum(c.count >= 3 for c in everyone),
            "orders.sum >= 100.00": sum(c.fen >= 100_00 for c in everyone),
            "not (last_order within 180d) and orders.count >= 2":
                sum(not self.within(c, 180) and c.count >= 2 for c in everyone),
        }

    def tags(self):
        """The demo's rules: external_userid -> set of tags, for those who get any."""
        found = {}
        for name, customer in self.customers.items():
            tags = set()
            if customer.fen >= 500_00:
                tags.add("vip")
            if customer.count >= 10:
                tags.add("loyal")
            if self.within(customer, 30):
                tags.add("active")
            if tags:
                found[name] = tags
        return found


def read(path):
    purchases = Purchases()
    with open(path, encoding="ascii") as file:
        next(file)
        for text in file:
            parts = text.split()
            if not parts:
                continue
            name = "wm" + parts[0].zfill(30)
            date = datetime.datetime.strptime(parts[1], "%Y%m%d").date()
            units, _, cents = parts[3].partition(".")
            customer = purchases.customers.setdefault(name, Customer())
            customer.count += 1
            customer.fen += int(units) * 100 + int((cents + "00")[:2])
            customer.last = max(customer.last, date)
            purchases.lines += 1
            purchases.today = max(purchases.today, date)
    return purchases
