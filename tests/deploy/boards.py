"""What is wrong with a board: unknown or missing keys, overlaps, unknown metrics, unused variables.

Checks return sentences; none is good. `board-check` of tools.py decodes boards by Grafana's own
types; here is what those leave open.
"""

import glob
import json
import os
import re

import tools

BOARDS = os.path.join(tools.REPOSITORY, "helm", "files", "boards")
NAMES = os.path.join(tools.REPOSITORY, "common", "metrics", "names.h")

UNITS = {"s", "short", "percentunit", "cps", "reqps", "bytes"}
SCHEMA_VERSIONS = range(39, 43)
COLUMNS = 24

# ---- Structure: the keys that an object must have, and no other. A dict goes on below. ----

ANY = object()
DATASOURCE = {"type": str, "uid": str}
GRID = {"h": int, "w": int, "x": int, "y": int}
TARGET = {"refId": str, "datasource": DATASOURCE, "editorMode": str, "expr": str,
          "legendFormat": str, "range": bool}
THRESHOLDS = {"mode": str, "steps": [{"color": str, "value": ANY}]}
GRAPH_STYLE = {"drawStyle": str, "fillOpacity": int, "lineWidth": int, "showPoints": str,
               "spanNulls": bool, "stacking": {"group": str, "mode": str},
               "thresholdsStyle": {"mode": str}}
GRAPH_OPTIONS = {"legend": {"calcs": [str], "displayMode": str, "placement": str,
                            "showLegend": bool},
                 "tooltip": {"mode": str, "sort": str}}
STAT_OPTIONS = {"colorMode": str, "graphMode": str, "justifyMode": str, "orientation": str,
                "reduceOptions": {"calcs": [str], "fields": str, "values": bool}, "textMode": str,
                "percentChangeColorMode": str, "showPercentChange": bool, "wideLayout": bool}


def panel_shape(style, options):
    return {"id": int, "type": str, "title": str, "description": str, "datasource": DATASOURCE,
            "gridPos": GRID, "options": options, "targets": [TARGET],
            "fieldConfig": {"defaults": {"unit": str, "min": int, "max": int,
                                         "color": {"mode": str}, "custom": style,
                                         "mappings": [ANY], "thresholds": THRESHOLDS},
                            "overrides": [ANY]}}


PANELS = {"timeseries": panel_shape(GRAPH_STYLE, GRAPH_OPTIONS),
          "stat": panel_shape({}, STAT_OPTIONS),
          "row": {"id": int, "type": str, "title": str, "collapsed": bool, "gridPos": GRID,
                  "panels": [ANY]}}
VARIABLES = {
    "datasource": {"type": str, "name": str, "label": str, "query": str, "regex": str,
                   "refresh": int, "hide": int, "includeAll": bool, "multi": bool,
                   "options": [ANY], "current": {"text": str, "value": str}},
    "query": {"type": str, "name": str, "label": str, "datasource": DATASOURCE, "definition": str,
              "query": {"query": str, "refId": str}, "regex": str, "refresh": int, "sort": int,
              "hide": int, "includeAll": bool, "allValue": str, "multi": bool, "options": [ANY],
              "current": {"selected": bool, "text": [str], "value": [str]}}}
LINK = {"type": str, "title": str, "tags": [str], "asDropdown": bool, "icon": str,
        "includeVars": bool, "keepTime": bool, "targetBlank": bool, "tooltip": str, "url": str}
BOARD = {"uid": str, "title": str, "description": str, "tags": [str], "schemaVersion": int,
         "version": int, "editable": bool, "graphTooltip": int, "refresh": str,
         "time": {"from": str, "to": str}, "timepicker": {}, "timezone": str,
         "annotations": {"list": [ANY]}, "links": [LINK], "templating": {"list": [ANY]},
         "panels": [ANY]}
# `max` stands only where the unit has a natural end.
OPTIONAL = {"max"}


def shape_faults(value, shape, where):
    if shape is ANY:
        return
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            yield f"{where} is no object"
            return
        for key in sorted(value.keys() - shape.keys()):
            yield f"{where} has an unknown key {key}"
        for key in sorted(shape.keys() - value.keys() - OPTIONAL):
            yield f"{where} has no {key}"
        for key in value.keys() & shape.keys():
            yield from shape_faults(value[key], shape[key], f"{where}.{key}")
    elif isinstance(shape, list):
        if not isinstance(value, list):
            yield f"{where} is no list"
            return
        for index, item in enumerate(value):
            yield from shape_faults(item, shape[0], f"{where}[{index}]")
    elif type(value) is not shape:  # a bool is no int here
        yield f"{where} is {type(value).__name__}, not {shape.__name__}"


# ---- Names ----

def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def known_metrics():
    """Series by name, as common/metrics/names.h lists them, and what Prometheus makes itself."""
    series = {"up", "ALERTS"}
    for name, kind in re.findall(r'\{"([a-z_]+)",\s*MetricType::k(\w+)', read(NAMES)):
        series |= {f"{name}_{part}" for part in ("bucket", "sum", "count")} \
            if kind == "Histogram" else {name}
    return series


def metrics_of(expression):
    bare = re.sub(r'"[^"]*"', '""', expression)
    return set(re.findall(r"\b(?:tidegate|grpc_server|process)_\w+|\bup\b|\bALERTS\b", bare))


def panels_of(board):
    return [panel for panel in board.get("panels", []) if panel.get("type") != "row"]


def expressions_of(board):
    """(place, expression) of every query."""
    for panel in panels_of(board):
        for target in panel.get("targets", []):
            yield ((board.get("uid"), panel.get("title"), target.get("legendFormat")),
                   target.get("expr", ""))


def board_faults(board, known):
    uid = board.get("uid")
    yield from shape_faults(board, BOARD, f"{uid}")
    if not re.fullmatch(r"tidegate-[a-z]{1,30}", uid or ""):
        yield f"{uid} is no fixed uid"
    if board.get("schemaVersion") not in SCHEMA_VERSIONS:
        yield f"{uid}: schemaVersion {board.get('schemaVersion')}"
    ids, cells = set(), set()
    for panel in board.get("panels", []):
        where = f"{uid}: {panel.get('title')}"
        shape = PANELS.get(panel.get("type"))
        if shape is None:
            yield f"{where} has the unknown type {panel.get('type')}"
            continue
        faults = list(shape_faults(panel, shape, where))
        yield from faults
        if faults:
            continue
        if panel["id"] in ids:
            yield f"{where} repeats the id {panel['id']}"
        ids.add(panel["id"])
        at = panel["gridPos"]
        if at["x"] < 0 or at["w"] < 1 or at["h"] < 1 or at["x"] + at["w"] > COLUMNS:
            yield f"{where} stands outside the board"
        own = {(x, y) for x in range(at["x"], at["x"] + at["w"])
               for y in range(at["y"], at["y"] + at["h"])}
        if own & cells:
            yield f"{where} overlaps another panel"
        cells |= own
        if panel["type"] != "row":
            yield from panel_faults(panel, where, known)
    yield from variable_faults(board)


def panel_faults(panel, where, known):
    if not panel["description"].endswith("."):
        yield f"{where} has no description"
    if panel["fieldConfig"]["defaults"]["unit"] not in UNITS:
        yield f"{where} has the unknown unit {panel['fieldConfig']['defaults']['unit']}"
    if not panel["targets"]:
        yield f"{where} asks nothing"
    if panel["datasource"]["uid"] != "${datasource}":
        yield f"{where} names a data source of its own"
    ref_ids = [target["refId"] for target in panel["targets"]]
    if len(set(ref_ids)) != len(ref_ids):
        yield f"{where} repeats a refId"
    for target in panel["targets"]:
        expression = target["expr"]
        if not metrics_of(expression):
            yield f"{where}: no metric in {expression!r}"
        for name in sorted(metrics_of(expression) - known):
            yield f"{where}: unknown metric {name}"
        if re.search(r"rate\([^\[]*\[(?!\$__rate_interval\])", expression):
            yield f"{where}: a rate over a fixed time"


def variable_faults(board):
    uid = board.get("uid")
    variables = board.get("templating", {}).get("list", [])
    names = [variable.get("name") for variable in variables]
    if names[:1] != ["datasource"] or variables[0].get("type") != "datasource":
        yield f"{uid}: the first variable is not the data source"
    for variable in variables:
        shape = VARIABLES.get(variable.get("type"))
        where = f"{uid}: variable {variable.get('name')}"
        if shape is None:
            yield f"{where} has the unknown type {variable.get('type')}"
        else:
            yield from shape_faults(variable, shape, where)
    used = set()
    for _, expression in expressions_of(board):
        used |= set(re.findall(r"\$\{?(\w+)", expression))
    for name in sorted(used - set(names) - {"__rate_interval"}):
        yield f"{uid}: ${name} is used and not defined"
    for name in sorted(set(names) - used - {"datasource"}):
        yield f"{uid}: ${name} is defined and not used"


def load_boards():
    return [json.loads(read(path)) for path in sorted(glob.glob(os.path.join(BOARDS, "*.json")))]
