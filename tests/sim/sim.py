#!/usr/bin/env python3
"""Simulated days of dispatch: its core, as it runs in the product, against the simulated WeCom on a
fake clock, judged by what WeCom counted.

dispatch    for each kind of window that WeCom may have (fixed, sliding, sliding that counts refusals):
            many corps that always have calls share one address for --hours; the same for a quarter of
            an hour where nothing but the address holds them back; and one corp makes N calls.
            Calls are mark_tag under the documented limits: 10,000 a minute and 150,000 an hour for a
            corp, 20,000 and 600,000 for an address. Networks take time, stand still for 3 s every 5
            minutes, and lose answers; WeCom holds calls back and executes them when nobody waits for
            them any more. The journal is a delay.
            Then --urgent welcomes, two a second of each corp and one of each at once every 10 s, while
            calls of mark_tag take all that the address allows: how long each is in dispatch before its
            call is released, before its first byte, whether WeCom took it within its 20 s, and how much
            later the others end; with connections of their own, as in the product, and with those that
            bulk calls use; and with stalls of the network, of which the time in dispatch is not judged.
            Two and ten campaigns of one corp, of which one is a thousand times as large. And N calls
            through a corp's calls at once: 5 of mark_tag, 4 of add_msg_template, and 5 where the
            product was told 10. And beside another program, under limits that bind nobody: it takes 5
            of 10 for an hour, and 2 of 5 for ten minutes.
outreach    a day of 1,000,000 customers of 3,000 members: two campaigns of one corp, each to two thirds
            of them, launched together at 09:00, with three reminders; a customer may receive one a day;
            quiet hours from 22:00 to 08:00. Of the members 40 % confirm within two hours, the others
            after a reminder or never. Counted are the customers who were reached by 20:00, beside the
            most that can be: all tasks there at 09:00, each reminder as early as it may be.
yardstick   what other ways to keep a limit let through, and how often WeCom refuses them

Targets of dispatch: 0.995 of the best schedule in steady state, nothing refused, no lockout, the end
of N calls at most 1.01 of the best (N >= 500,000), 1.02 (300,000), or 60 s behind it, Jain's index of
corps 0.999 and of campaigns 0.99; of welcomes 0 missed, 99.9 % released within 50 ms, the others at most
1.05 later; N calls through so many at once at most 1.02 of the best, none of them refused, or where the
product was told more, one for each time after the first that it learnt so, and 10 of 10,000 at most.
Targets of outreach: 0.99 of the customers who can be reached; none over the quota, none that WeCom had to
refuse for it; of a task at most 3 reminders in 24 h; no task and no reminder in quiet hours; no refusal.
Exit code 0: all are met. 1: one is missed; the text says which. 2: wrong flags.

Examples:
  ./dev sim dispatch                          24 hours of 100 corps; about 20 minutes on 2 cores
  ./dev sim dispatch --hours 2 --corps 20 --calls 160000 --seed 7
  ./dev sim dispatch --window fixed --json
  ./dev sim dispatch --out docs/results/sim-dispatch.json
  ./dev sim outreach --json
  ./dev sim outreach --customers 100000 --members 300 --seed 7
  ./dev sim yardstick --seed 7
"""

import argparse
import concurrent.futures
import datetime
import json
import os
import platform
import subprocess
import sys

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.append(os.path.join(REPOSITORY, "tests", "demo"))

from long_run import tree  # noqa: E402

WINDOWS = ("fixed", "sliding", "sliding_counting_refusals")
CALLS = (10_000, 150_000, 160_000, 300_000, 500_000, 1_000_000)
UTILISATION_MIN = 0.995
JAIN_MIN = 0.999
# Of the makespan; below the smallest number the seconds behind the optimum count.
OVER_OPTIMUM_MAX = ((500_000, 1.01), (300_000, 1.02))
BEHIND_SECONDS_MAX = 60
# Of each kind of window: a million in all.
URGENT = 333_334
URGENT_P999_MS_MAX = 50
BULK_INFLATION_MAX = 1.05
JAIN_CAMPAIGNS_MIN = 0.99
OVER_BEST_MAX = 1.02
REFUSED_PER_CEILING_MAX = 1.0
REFUSED_PER_10000_MAX = 10
REACHED_MIN = 0.99
REMINDERS_MAX = 3


class SimError(Exception):
    """A simulation did not end as it should."""


def run(program, *arguments):
    done = subprocess.run([program, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          text=True, check=False)
    if done.returncode:
        raise SimError(f"{os.path.basename(program)} ended with exit code {done.returncode}")
    return json.loads(done.stdout)


def dispatch(options):
    """One object for each kind of window."""
    program = os.path.join(options.build, "tests", "sim", "dispatch_sim")
    common = ["--hours", str(options.hours), "--corps", str(options.corps),
              "--seed", str(options.seed), "--urgent", str(options.urgent),
              *(word for calls in options.calls for word in ("--calls", str(calls)))]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return list(pool.map(lambda window: run(program, *common, "--kind", window),
                             options.window))


def failures(results):
    """Sentences; empty = every target is met."""
    for result in results:
        window, steady = result["window"], result["steady"]
        if steady["utilisation"] < UTILISATION_MIN:
            yield (f"{window}: utilisation {steady['utilisation']:.4f}, wanted {UTILISATION_MIN}")
        fair = result.get("fair")
        if fair and fair["jain_corps"]["mean"] < JAIN_MIN:
            yield (f"{window}: Jain's index of corps {fair['jain_corps']['mean']:.5f}, "
                   f"wanted {JAIN_MIN}")
        for row in (steady, *([fair] if fair else []), *result["makespan"]):
            where = f"{window}, {row['calls']} calls" if "calls" in row else f"{window}, days"
            if row["rejected"] or row["lockout_seconds"]:
                yield (f"{where}: {row['rejected']} refused, {row['lockout_seconds']} s of "
                       "lockouts, wanted none")
        for row in result["makespan"]:
            yield from makespan_failures(window, row)
        for row in result["urgent"]:
            # The other one shows what connections together would cost.
            if row["urgent_connections"]:
                yield from urgent_failures(window, row)
        for row in result["campaigns"]:
            if row["jain_campaigns"] < JAIN_CAMPAIGNS_MIN:
                yield (f"{window}: Jain's index of {row['campaigns']} campaigns "
                       f"{row['jain_campaigns']:.4f}, wanted {JAIN_CAMPAIGNS_MIN}")
        for row in result["concurrency"]:
            yield from concurrency_failures(window, row)


def urgent_failures(window, row):
    if row["urgent_missed"]:
        yield f"{window}: {row['urgent_missed']} of {row['urgent_calls']} welcomes missed"
    # While the network stands still a corp's calls at once do, too.
    if not row["stall_seconds"] and row["urgent_p999_ms"] > URGENT_P999_MS_MAX:
        yield (f"{window}: 99.9 % of welcomes released within {row['urgent_p999_ms']:.1f} ms, "
               f"wanted {URGENT_P999_MS_MAX}")
    if row["bulk_inflation"] > BULK_INFLATION_MAX:
        yield (f"{window}: bulk calls end {row['bulk_inflation']:.3f} later beside welcomes, "
               f"wanted {BULK_INFLATION_MAX}")
    if row["rejected"] or row["bulk_fulfilled"] < row["bulk_calls"]:
        yield (f"{window}: beside welcomes {row['rejected']} refused, {row['bulk_fulfilled']} of "
               f"{row['bulk_calls']} fulfilled")


def concurrency_failures(window, row):
    where = f"{window}, {row['at_once']} at once of {row['api']}"
    # Beside another program the run ends with some on their way.
    if not row["calls"] or row["fulfilled"] < row["calls"] and not row.get("others"):
        yield f"{where}: {row['fulfilled']} of {row['calls']} fulfilled"
    if row["refused_per_10000"] > REFUSED_PER_10000_MAX:
        yield (f"{where}, told {row['known']}: {row['refused_per_10000']:.1f} of 10,000 refused, "
               f"wanted {REFUSED_PER_10000_MAX}")
    if row.get("others"):
        if row["all_used_after_seconds"] is None:
            yield f"{where}, {row['others']} of them another program's: never all used afterwards"
        return
    if row["known"] > row["at_once"]:
        if row.get("refused_per_later_ceiling", 0) > REFUSED_PER_CEILING_MAX:
            yield (f"{where}, told {row['known']}: {row['refused_per_later_ceiling']:.2f} refused for "
                   f"each ceiling learnt after the first, wanted {REFUSED_PER_CEILING_MAX}")
    elif row["rejected"]:
        yield f"{where}: {row['rejected']} refused, wanted none"
    if row["over_best"] > OVER_BEST_MAX:
        yield f"{where}: {row['over_best']:.4f} of the best end, wanted {OVER_BEST_MAX}"


def makespan_failures(window, row):
    where = f"{window}, {row['calls']} calls"
    if row["fulfilled"] < row["calls"]:
        yield f"{where}: {row['fulfilled']} fulfilled"
    for least, most in OVER_OPTIMUM_MAX:
        if row["calls"] >= least:
            if row["over_optimum"] > most:
                yield f"{where}: {row['over_optimum']:.4f} of the best end, wanted {most}"
            return
    behind = row["seconds"] - row["optimum_seconds"]
    if behind > BEHIND_SECONDS_MAX:
        yield f"{where}: {behind:.1f} s behind the best end, wanted {BEHIND_SECONDS_MAX}"


def dispatch_table(results):
    lines = [f"{'window':27}{'accepted':>12}{'of the best':>13}{'refused':>9}{'lockout s':>11}"
             f"{'Jain, corps':>13}"]
    for result in results:
        steady = result["steady"]
        jain = result.get("fair", {}).get("jain_corps")
        lines.append(f"{result['window']:27}{steady['accepted']:12,}{steady['utilisation']:13.5f}"
                     f"{steady['rejected']:9}{steady['lockout_seconds']:11.0f}"
                     + (f"{jain['mean']:13.5f}" if jain else f"{'-':>13}"))
    lines.append(f"{'window':27}{'calls':>12}{'seconds':>13}{'best':>9}{'over best':>11}"
                 f"{'refused':>13}")
    for result in results:
        for row in result["makespan"]:
            over = f"{row['over_optimum']:11.4f}" if "over_optimum" in row else f"{'-':>11}"
            lines.append(f"{result['window']:27}{row['calls']:12,}{row['seconds']:13,.1f}"
                         f"{row['optimum_seconds']:9,.0f}{over}{row['rejected']:13}")
    lines.append(f"{'window':27}{'welcomes':>12}{'missed':>13}{'p99.9 ms':>9}{'1st byte':>11}"
                 f"{'bulk later':>13}  connections, network")
    for result in results:
        for row in result["urgent"]:
            lines.append(f"{result['window']:27}{row['urgent_calls']:12,}{row['urgent_missed']:13}"
                         f"{row['urgent_p999_ms']:9.1f}{row['first_byte_p999_ms']:11.1f}"
                         f"{row['bulk_inflation']:13.4f}  "
                         + ("of their own" if row["urgent_connections"] else "with the rest")
                         + (", stalls" if row["stall_seconds"] else ", no stalls"))
    lines.append(f"{'window':27}{'campaigns':>12}{'Jain':>13}{'sizes':>12}")
    for result in results:
        for row in result["campaigns"]:
            lines.append(f"{result['window']:27}{row['campaigns']:12}{row['jain_campaigns']:13.5f}"
                         f"{row['sizes']:>12}")
    lines.append(f"{'window':27}{'at once':>12}{'told':>13}{'calls':>9}{'over best':>11}"
                 f"{'refused':>13}  api")
    for result in results:
        for row in result["concurrency"]:
            over = f"{row['over_best']:11.4f}" if "over_best" in row else f"{'-':>11}"
            lines.append(f"{result['window']:27}{row['at_once']:12}{row['known']:13}"
                         f"{row['calls']:9,}{over}{row['rejected']:13}  {row['api']}"
                         + (f", another program takes {row['others']}" if row.get("others") else ""))
    return "\n".join(lines)


def judged(result):
    """What targets are set for, by one name each; `None` where it was not run."""
    of_their_own = [row for row in result["urgent"] if row["urgent_connections"]]
    calm = [row["urgent_p999_ms"] for row in of_their_own if not row["stall_seconds"]]
    steady, fair = result["steady"], result.get("fair")
    return {"utilisation": steady["utilisation"],
            "rejected": steady["rejected"],
            "lockout_seconds": steady["lockout_seconds"],
            "makespan_over_optimum": {str(row["calls"]): row.get("over_optimum")
                                      for row in result["makespan"]},
            "jain_corps": fair["jain_corps"]["mean"] if fair else None,
            "jain_campaigns": min((row["jain_campaigns"] for row in result["campaigns"]),
                                  default=None),
            "urgent_p999_ms": max(calm, default=None),
            "urgent_missed": sum(row["urgent_missed"] for row in of_their_own),
            "bulk_inflation": max((row["bulk_inflation"] for row in of_their_own), default=None),
            "refused_per_later_ceiling": max((row["refused_per_later_ceiling"] for row in result["concurrency"]
                                        if not row.get("others") and "refused_per_later_ceiling" in row),
                                       default=None)}


def yardstick(options):
    program = os.path.join(options.build, "tests", "sim", "yardstick")
    seed = ("--seed", str(options.seed))
    return {"calm": run(program, *seed), "stalls": run(program, *seed, "--stalls")}


def yardstick_table(found):
    lines = []
    for name, result in found.items():
        lines.append(f"{name + ': utilisation / refused / lockouts':44}{'sliding':>24}{'fixed':>24}")
        for row in result["policies"]:
            cells = [f"{row[kind]['utilisation']:8.1%} / {row[kind]['refused']} / "
                     f"{row[kind]['lockouts']}" for kind in ("sliding", "fixed")]
            lines.append(f"{row['policy']:44}{cells[0]:>24}{cells[1]:>24}")
    return "\n".join(lines)


def yardstick_failures(found):
    """Ours must never be refused, and keep nearly all."""
    for name, result in found.items():
        ours = result["policies"][-1]
        for kind in ("sliding", "fixed"):
            if ours[kind]["refused"] or ours[kind]["utilisation"] < UTILISATION_MIN:
                yield f"{name}, {kind}: {ours[kind]}"


def outreach(options):
    program = os.path.join(options.build, "tests", "sim", "outreach_sim")
    return run(program, "--customers", str(options.customers), "--members", str(options.members),
               "--seed", str(options.seed))


def outreach_failures(found):
    if found["ratio"] < REACHED_MIN:
        yield f"reached {found['ratio']:.4f} of the customers who can be, wanted {REACHED_MIN}"
    if found["over_quota"] or found["said_over_quota"]:
        yield (f"{found['over_quota']} customers got more than one a day, WeCom refused "
               f"{found['said_over_quota']}, wanted none")
    if found["most_reminders"] > REMINDERS_MAX:
        yield f"{found['most_reminders']} reminders of a task in 24 h, wanted {REMINDERS_MAX}"
    if found["in_quiet_hours"]:
        yield f"{found['in_quiet_hours']} tasks and reminders in quiet hours, wanted none"
    if found["refused"]:
        yield f"refused: {found['refused']}, wanted none"


def outreach_table(found):
    return "\n".join(f"{name.replace('_', ' '):22}"
                     + (f"{value:.4f}" if isinstance(value, float) else
                        f"{value:,}" if isinstance(value, int) else json.dumps(value))
                     for name, value in found.items())


def record(options, proven, results):
    """What is committed of a long run."""
    return {**proven,
            "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "seed": options.seed, "hours": options.hours, "corps": options.corps,
            "machine": {"cores": os.cpu_count(), "system": platform.platform()},
            "windows": results}


def parse(arguments):
    parser = argparse.ArgumentParser(prog="./dev sim", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=os.path.join(REPOSITORY, "build", "dev"))
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="dispatch|outreach|yardstick")
    days = verbs.add_parser("dispatch", help="simulated days")
    days.add_argument("--hours", type=float, default=24)
    days.add_argument("--corps", type=int, default=100)
    days.add_argument("--calls", type=int, action="append",
                      help="of one corp, whose end is awaited; may be repeated")
    days.add_argument("--urgent", type=int, default=URGENT,
                      help="welcomes of each kind of window")
    days.add_argument("--window", action="append", choices=WINDOWS, help="may be repeated")
    days.add_argument("--out", metavar="FILE", help="also write results, commit, seed and date")
    outreach_day = verbs.add_parser("outreach", help="a day of two campaigns")
    outreach_day.add_argument("--customers", type=int, default=1_000_000)
    outreach_day.add_argument("--members", type=int, default=3_000)
    others = verbs.add_parser("yardstick", help="other ways to keep a limit")
    for verb in (days, outreach_day, others):
        verb.add_argument("--seed", type=int, default=1)
        verb.add_argument("--json", action="store_true", help="JSON instead of a table")
    options = parser.parse_args(arguments)
    if options.verb == "dispatch":
        options.calls = options.calls or list(CALLS)
        options.window = options.window or list(WINDOWS)
        if min(options.hours, options.corps, options.urgent, *options.calls) <= 0:
            parser.error("--hours, --corps, --calls and --urgent are above 0")
    if options.verb == "outreach" and not 1 <= options.members <= options.customers / 10:
        parser.error("--members are at least 1 and at most a tenth of --customers")
    return options


def main(arguments=None):
    options = parse(arguments)
    try:
        if options.verb == "dispatch":
            proven = tree() if options.out else {}
            results = dispatch(options)
            missed = list(failures(results))
            if options.json:
                for result in results:
                    print(json.dumps({"window": result["window"], "seed": options.seed,
                                      **judged(result), "runs": result}))
            else:
                print(dispatch_table(results))
            if options.out:
                with open(options.out, "w", encoding="utf-8") as file:
                    json.dump(record(options, proven, results), file, indent=1)
                    file.write("\n")
        elif options.verb == "outreach":
            found = outreach(options)
            missed = list(outreach_failures(found))
            print(json.dumps({**found, "seed": options.seed}) if options.json
                  else outreach_table(found))
        else:
            found = yardstick(options)
            missed = list(yardstick_failures(found))
            print(json.dumps(found) if options.json else yardstick_table(found))
    except SimError as error:
        print(f"sim: {error}", file=sys.stderr)
        return 1
    for sentence in missed:
        print(f"sim: {sentence}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
