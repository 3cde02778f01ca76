"""Puts the run's figures together, says what is wrong with them, prints them for people."""

import statistics

MAKESPAN_RATIO_MAX = 1.05
KAFKA_RATIO_MAX = 1.10
RESTART_MS_MAX = 1_500
RESTART_MS_MEDIAN_MAX = 1_000
CDNOW_COUNTS = {
    "orders.count >= 3": 7_583,
    "orders.sum >= 100.00": 6_234,
    "not (last_order within 180d) and orders.count >= 2": 6_302,
}
JOURNAL_CHECKS = ("K-1", "K-2", "K-3", "K-4", "K-5", "outbox")
CAMPAIGN_FIELDS = ("calls", "touches_planned", "touches_accepted", "touches_sent", "touches_failed",
                   "touches_unconfirmed", "touches_skipped", "touches_parked")


def assemble(run, verdict, journals, deployment):
    """The object that --json prints. `run`: what the demo measured and was told; `verdict`: the
    judge's; `journals`: the journals' judge's; `deployment`: what ran. Campaign counts are the
    product's, so that they can be held against the judge's."""
    report = {name: run["report"].get(name, 0) for name in CAMPAIGN_FIELDS}
    result = {
        "seed": run["seed"],
        "window_kind": run["window_kind"],
        "seconds": run["seconds"],
        "data": run["data"],
        "ingest": run["ingest"],
        "welcome": verdict["welcome"],
        "segments": run["segments"],
        "tags": {"wanted": verdict["tags"]["wanted"], "written": verdict["tags"]["written"]},
        "plan": run["plan"],
        "campaign": {**report, "makespan_seconds": verdict["campaign"]["makespan_seconds"],
                     "optimum_seconds": verdict["campaign"]["optimum_seconds"]},
        "witness": verdict["witness"],
        "doubts": verdict["doubts"],
        "kills": run["kills"],
        **_kafka(run, journals, deployment),
        "journal": journals["journal"],
        "invariants": {**{name: each["ok"] for name, each in verdict["checks"].items()},
                       **{name: journals["violation_counts"].get(name, 0) == 0
                          for name in JOURNAL_CHECKS if name not in journals["skipped"]}},
        "folder": run["folder"],
    }
    result["failures"] = failures(result, run, verdict, journals) + [
        f"{each['check']}: {each['journal']} offset {each['offset']}: {each['what']}"
        for each in journals["violations"][:10]]
    return result


def _kafka(run, journals, deployment):
    """What only a run on Kafka has."""
    if not run["kafka"]:
        return {}
    after = {stop["pid"]: stop for stop in journals["stops"]}
    fences = {row["partition"]: row["fences"] for row in journals["journal"]}
    for process in deployment["processes"]:
        topic = {"tagging": "profiles", "segmentation": "memberships", "dispatch": "ledger"}.get(
            process["service"])
        process["fences"] = [fences.get(f"tidegate.{topic}/{p}", 0) for p in process["partitions"]]
    return {**deployment, "broker_kills": run["broker_kills"],
            "stops": [{**stop, **after.get(stop["pid"], {})} for stop in run["stops"]]}


def failures(result, run, verdict, journals):
    """Sentences; empty = all is as it should be."""
    found = []

    def expect(holds, text):
        if not holds:
            found.append(text)

    witness, campaign, welcome = result["witness"], result["campaign"], result["welcome"]
    for name in ("rejected_45009", "rejected_45033", "lockout_seconds", "duplicate_touches",
                 "lost_touches"):
        expect(witness[name] == 0, f"witness.{name} is {witness[name]}, not 0")
    expect(welcome["late"] == 0, f"welcome.late is {welcome['late']}, not 0")
    expect(welcome["requested"] == welcome["sent"] == run["added"],
           f"{run['added']} customers were added, {welcome['requested']} welcomes requested, "
           f"{welcome['sent']} sent")
    expect(run["callbacks_exhausted"] == 0, f"{run['callbacks_exhausted']} callbacks were given up")
    expect(campaign["touches_parked"] == 0, f"{campaign['touches_parked']} touches are parked")
    ends = sum(campaign["touches_" + name] for name in ("sent", "failed", "unconfirmed", "skipped"))
    expect(ends == campaign["touches_planned"],
           f"{ends} touches have an end, {campaign['touches_planned']} were planned")
    tags = verdict["tags"]
    expect(tags["wanted"] == tags["written"] and tags["unwanted"] == 0,
           f"tags: {tags['wanted']} wanted, {tags['written']} written, {tags['unwanted']} unwanted")
    for name in CAMPAIGN_FIELDS:
        expect(campaign[name] == verdict["campaign"][name],
               f"campaign.{name}: the product says {campaign[name]}, "
               f"the judge {verdict['campaign'][name]}")
    for segment in result["segments"]:
        expression = segment["expression"]
        counts = {verdict["segments"][expression]}
        if result["data"]["source"] == "cdnow":
            counts.add(CDNOW_COUNTS[expression])
        expect(counts == {segment["count"]},
               f"segment {expression}: {segment['count']}, not {sorted(counts)}")
    for name, each in verdict["checks"].items():
        expect(each["ok"], f"{name} is violated {each['count']} times: {each['violations'][:3]}")
    expect(run["exit_codes"] == {name: 0 for name in run["exit_codes"]},
           f"exit codes after SIGTERM: {run['exit_codes']}")
    if run["kafka"]:
        _expect_kafka(result, journals, expect)
    if run["kafka"] and (run["kill"] or run["kill_brokers"] or run["stop"]):
        _expect_kafka_kills(result, run, expect)
    elif run["kill"]:
        _expect_kills(result, run, expect)
    else:
        longest = campaign["optimum_seconds"] * (KAFKA_RATIO_MAX if run["kafka"] else
                                                 MAKESPAN_RATIO_MAX)
        expect(campaign["makespan_seconds"] <= longest,
               f"makespan {campaign['makespan_seconds']:.2f} s is over {longest:.2f} s")
    return found


def _expect_kafka(result, journals, expect):
    """What holds of every run on Kafka. Without calls and events the judge has nothing to judge."""
    expect(not journals["skipped"], f"the judge skipped {journals['skipped']}")
    expect(journals["calls_executed"] > 0, "the judge saw no call")
    events = result["ingest"]["events"]
    expect(journals["events_acknowledged"] == events,
           f"{events} events were imported, and the client's log names "
           f"{journals['events_acknowledged']}")
    pids = [process["pid"] for process in result["processes"]]
    expect(len(set(pids)) == len(pids), "two services share a process")


def _expect_kills(result, run, expect):
    kills = result["kills"]
    expect(len(kills) == run["kill"], f"{len(kills)} kills instead of {run['kill']}")
    doubts = result["doubts"]
    expect(doubts["opened"] >= run["kill"] // 2, f"only {doubts['opened']} doubts were opened")
    expect(doubts["parked"] == 0, f"{doubts['parked']} doubts are parked")
    restarts = [kill["restart_ms"] for kill in kills]
    if restarts:
        expect(max(restarts) <= RESTART_MS_MAX, f"a restart took {max(restarts):.0f} ms")
        median = statistics.median(restarts)
        expect(median <= RESTART_MS_MEDIAN_MAX, f"the median restart took {median:.0f} ms")


def _expect_kafka_kills(result, run, expect):
    kills = result["kills"]
    expect(len(kills) == run["kill"], f"{len(kills)} kills instead of {run['kill']}")
    expect(len(result["broker_kills"]) == run["kill_brokers"],
           f"{len(result['broker_kills'])} broker kills instead of {run['kill_brokers']}")
    expect(len(result["stops"]) == run["stop"], f"{len(result['stops'])} stops instead of "
                                                f"{run['stop']}")
    for stop in result["stops"]:
        expect(stop.get("calls_after_wake") == 0,
               f"pid {stop['pid']} called {stop.get('calls_after_wake')} times after its sleep")
    for kill in kills:
        expect(kill["service"] == "ingestion" or kill["fence_epoch_after"],
               f"{kill['service']} {kill['replica']} did not tell the epoch of its fence after the "
               f"kill of pid {kill['pid']}")
    at_create = sum(kill["service"] == "dispatch" and kill["phase"] == "create" for kill in kills)
    expect(at_create * 10 >= run["kill"] * 3,
           f"only {at_create} kills of dispatch were at a create")
    for service in ("ingestion", "tagging", "segmentation"):
        count = sum(kill["service"] == service for kill in kills)
        expect(count * 100 >= run["kill"] * 15, f"only {count} kills were of {service}")
    doubts = result["doubts"]
    expect(doubts["opened"] > 0 or not run["kill"], "no doubt was opened")
    expect(doubts["parked"] == 0, f"{doubts['parked']} doubts are parked")


def _kafka_lines(result):
    kafka, processes = result["kafka"], result["processes"]
    lines = [f"kafka     {kafka['version']}, {kafka['nodes']} nodes; {len(processes)} processes, "
             f"{sum(row['fences'] for row in result['journal'])} fences, "
             f"{sum(row['void'] for row in result['journal'])} void of "
             f"{sum(row['records'] for row in result['journal']):,} records"]
    if result["broker_kills"]:
        outages = [kill["outage_ms"] for kill in result["broker_kills"]]
        lines.append(f"brokers   {len(outages)} leaders killed, the next led after "
                     f"{statistics.median(outages):.0f} ms (median)")
    if result["stops"]:
        lines.append(f"stops     {len(result['stops'])} processes slept and were replaced, "
                     f"{sum(stop['calls_after_wake'] for stop in result['stops'])} calls and "
                     f"{sum(stop['void_records_after_wake'] for stop in result['stops'])} void "
                     "records after they woke")
    return lines


def for_people(result):
    """Lines of text."""
    data, ingest, plan = result["data"], result["ingest"], result["plan"]
    campaign, witness = result["campaign"], result["witness"]
    welcome, tags = result["welcome"], result["tags"]
    ratio = campaign["makespan_seconds"] / max(campaign["optimum_seconds"], 0.001)
    lines = [
        "",
        f"seed {result['seed']}, {result['window_kind']} windows, {result['seconds']:.0f} s",
        f"data      {data['purchases']:,} purchases of {data['customers']:,} customers "
        f"({data['source']})",
        f"ingest    {ingest['events']:,} events in {ingest['seconds']:.1f} s "
        f"({ingest['events_per_second']:,.0f}/s)",
        f"welcomes  {welcome['sent']} of {welcome['requested']} sent, {welcome['late']} late, "
        f"99 % within {welcome['p99_ms']} ms",
        f"tags      {tags['written']:,} of {tags['wanted']:,} written",
    ]
    lines += [f"segment   {each['count']:6,}  {each['expression']}  ({each['took_ms']:.1f} ms)"
              for each in result["segments"]]
    lines += [
        f"plan      {plan['audience']:,} customers, {plan['calls']} calls, "
        f"{plan['forecast_seconds']:.1f} s forecast",
        f"campaign  {campaign['touches_sent']:,} sent, {campaign['touches_failed']} failed, "
        f"{campaign['touches_unconfirmed']} unconfirmed, {campaign['touches_skipped']} skipped, "
        f"{campaign['touches_parked']} parked of {campaign['touches_planned']:,}",
        f"pace      {campaign['makespan_seconds']:.2f} s, optimum "
        f"{campaign['optimum_seconds']:.2f} s, ratio {ratio:.4f}",
        f"witness   {witness['calls']:,} calls, {witness['duplicate_touches']} duplicate and "
        f"{witness['lost_touches']} lost touches, {witness['rejected_45009']} over a limit, "
        f"{witness['rejected_45033']} over concurrency, {witness['lockout_seconds']:.0f} s locked",
    ]
    if result["kills"]:
        restarts = [kill["restart_ms"] for kill in result["kills"]]
        doubts = result["doubts"]
        lines.append(f"kills     {len(restarts)}, back after {statistics.median(restarts):.0f} ms "
                     f"(median), {max(restarts):.0f} ms (longest); {doubts['opened']} doubts: "
                     f"{doubts['accepted']} accepted, {doubts['not_executed']} not executed, "
                     f"{doubts['parked']} parked")
    if "kafka" in result:
        lines += _kafka_lines(result)
    lines.append("judge     " + ", ".join(f"{name} {'holds' if ok else 'VIOLATED'}"
                                          for name, ok in result["invariants"].items()))
    lines += [f"FAILED    {text}" for text in result["failures"]]
    lines.append("All is as it should be." if not result["failures"] else
                 f"{len(result['failures'])} expectations failed.")
    return "\n".join(lines)
