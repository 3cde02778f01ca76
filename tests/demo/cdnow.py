"""The demo's purchases: the CDNOW file where it is, else a made-up one of the same shape.

Shape: 23,570 people who first bought in the first quarter of 1997, 69,659 purchases until
1998-06-30, sorted by customer; half of them bought once, a few very often.
"""

import datetime
import math
import os
import random
from dataclasses import dataclass

MEMBERS = 120
CUSTOMERS = 23_570
PURCHASES = 69_659
FIRST_DAY = datetime.date(1997, 1, 1)
LAST_DAY = datetime.date(1998, 6, 30)
FIRST_BUY_DAYS = 90
HEADER = " customer_id  date number_of_cds  dollar_value"
CHINA = datetime.timezone(datetime.timedelta(hours=8))


@dataclass
class Source:
    name: str  # "cdnow" or "generated"
    path: str
    customers: int
    purchases: int
    last_day: datetime.date


def locate(repository, folder):
    """The real file beside the repository, else a generated one in `folder`."""
    real = os.path.join(repository, "..", "shared", "data", "cdnow", "CDNOW_master.txt")
    if os.path.exists(real):
        return describe("cdnow", os.path.realpath(real))
    path = os.path.join(folder, "purchases.txt")
    generate(path)
    return describe("generated", path)


def describe(name, path):
    ids, purchases, last = set(), 0, ""
    with open(path, encoding="ascii") as file:
        next(file)
        for text in file:
            parts = text.split()
            if parts:
                ids.add(parts[0])
                purchases += 1
                last = max(last, parts[1])
    return Source(name, path, len(ids), purchases,
                  datetime.datetime.strptime(last, "%Y%m%d").date())


def generate(path):
    """Always the same file."""
    chance = random.Random(19970101)
    counts = [1 if chance.random() < 0.5 else 2 + int(chance.expovariate(1 / 3.3))
              for _ in range(CUSTOMERS)]
    for index in range(0, CUSTOMERS, 500):  # a few who buy very often
        counts[index] += int(chance.expovariate(1 / 40))
    counts[-1] = 2  # the last one also buys on the last day
    while (missing := PURCHASES - sum(counts)) != 0:
        step = 1 if missing > 0 else -1
        for _ in range(abs(missing)):
            index = chance.randrange(CUSTOMERS - 1)
            if counts[index] + step >= 1:
                counts[index] += step
    with open(path, "w", encoding="ascii", newline="") as file:
        file.write(HEADER + "\r\n")
        for number, count in enumerate(counts, start=1):
            file.writelines(_lines(chance, number, count))


def _lines(chance, number, count):
    span = (LAST_DAY - FIRST_DAY).days
    first = chance.randrange(FIRST_BUY_DAYS)
    # People lose interest: later purchases lie nearer to the first one than to the end.
    days = [first] + [first + round((span - first) * chance.random() ** 1.4)
                      for _ in range(count - 1)]
    if number == CUSTOMERS:
        days[-1] = span
    for day in sorted(days):
        discs = 1 + int(chance.expovariate(1 / 1.4))
        fen = 0 if chance.random() < 0.001 else round(1650 * discs * math.exp(
            chance.gauss(0, 0.4)))
        date = FIRST_DAY + datetime.timedelta(days=day)
        yield f" {number:05d} {date:%Y%m%d} {discs:2d} {fen // 100:4d}.{fen % 100:02d}\r\n"


def owner_of(number):
    return f"m{number % MEMBERS:03d}"


def customers_of(source):
    """[(external_userid, owner)] of every person in the file."""
    with open(source.path, encoding="ascii") as file:
        next(file)
        numbers = sorted({int(text.split()[0]) for text in file if text.strip()})
    return [("wm" + str(number).zfill(30), owner_of(number)) for number in numbers]


def write_customers_csv(customers, path):
    with open(path, "w", encoding="ascii") as file:
        file.write("external_userid,owner\n")
        file.writelines(f"{customer},{owner}\n" for customer, owner in customers)


def corp_day(now=None):
    """Today where the corp is."""
    return (now or datetime.datetime.now(CHINA)).astimezone(CHINA).date()


def seconds_to_midnight(now=None):
    """Until the corp's day ends."""
    now = (now or datetime.datetime.now(CHINA)).astimezone(CHINA)
    tomorrow = datetime.datetime.combine(now.date() + datetime.timedelta(days=1), datetime.time(),
                                         tzinfo=CHINA)
    return (tomorrow - now).total_seconds()
