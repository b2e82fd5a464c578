"""A point that computes nothing: waits, then leaves a record.  Stands in for a run where only scheduling is looked at.

    python trivial_point.py FOLDER ID VERSION SECONDS

Like a real point it ends when its standard input closes.
"""

import json
import os
import select
import sys
import time

folder, name, version, seconds = sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4])
begin = time.perf_counter()
with open(f"{folder}/plan.json") as stream:
    point = next(point for point in json.load(stream)["points"] if point["id"] == name)
if select.select([sys.stdin], [], [], seconds)[0]:
    sys.exit(1)
place = f"{folder}/points/{name}"
os.makedirs(place, exist_ok=True)
numbers = [value for value in point["values"].values() if isinstance(value, (int, float))]
record = {
    "status": "ok", "version": version, "case_hash": point["case_hash"], "files": [],
    "metrics": {"figure": {"value": sum(numbers) ** -0.5, "error": 0.001, "unit": "1"}},
    "mesh": {"cells": 1, "dofs": 1}, "seconds": {"total": time.perf_counter() - begin},
}  # fmt: skip
with open(f"{place}/.result.json", "w") as stream:
    json.dump(record, stream)
os.replace(f"{place}/.result.json", f"{place}/result.json")
