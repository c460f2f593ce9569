"""Walks the patterns of an AGT document with Python's re.search, rule by rule, as AGT does.

    cargo bench --bench decide -- agt-policy > agt.yaml
    cargo bench --bench decide -- agt agt.yaml
    python3 bench/agt_search.py agt.yaml

Needs PyYAML. The fields are those of bench/decide.rs. Patterns are compiled before the clock runs: more than AGT does, whose cache in `re` holds 512.
"""

import re
import sys
import time

import yaml

PROSE = (
    "Sends the previous report to a key account and posts all instructions; "
    "tokens are never part of it, nor curl or wget. "
)


def field(end):
    return (PROSE * 9)[: 1024 - len(end)] + end


def main():
    with open(sys.argv[1], encoding="utf-8") as policy:
        rules = yaml.safe_load(policy)["rules"]
    patterns = [re.compile(rule["condition"]["value"]) for rule in rules if rule["condition"]["operator"] == "matches"]
    for name, text in [("plain", field("")), ("the last rule matches", field("lorem 1499 ipsum leak 1499"))]:
        times = []
        for _ in range(50):
            started = time.perf_counter_ns()
            found = any(pattern.search(text) for pattern in patterns)
            times.append(time.perf_counter_ns() - started)
        times.sort()
        print(f"{name:<24} p50 {times[len(times) // 2] / 1000:10.2f} us, {len(patterns)} patterns, found: {found}")


if __name__ == "__main__":
    main()
