#!/usr/bin/env python3
"""Where a call's time goes in a target's worker: asleep, waking up, in the kernel, in its own code.

    ONE='COMM ~ "ringfence*" && (id == 426 || id == 44)'
    perf record -a -m 2048 -o trace -e raw_syscalls:sys_enter --filter "$ONE" -e raw_syscalls:sys_exit --filter "$ONE" \\
        -e sched:sched_switch -e sched:sched_waking --filter 'comm ~ "ringfence*"' -- \\
        ringfence bench run --scenario spin-0 --target direct,relay,ringfence --duration 4 --out DIR
    perf script -i trace --ns -F comm,tid,cpu,time,event,trace | bench/legs.py

Of the system calls these are io_uring_enter and sendto; what others take counts as own code. All of them are too many: the generator asks without pause.
A call lasts from one write to a connection to the next. Threads are told apart by name and number; those with fewer than 1,000 calls are left out.
Recording costs time itself, about the same for each event, and the targets have equally many.
"""

import re
import sys
from collections import Counter, defaultdict

LINE = re.compile(r"^\s*(?P<comm>.+?)\s+(?P<tid>\d+)\s+\[(?P<cpu>\d+)\]\s+(?P<time>[\d.]+):\s+(?P<event>[\w:]+):\s+(?P<rest>.*)$")
SWITCH = re.compile(r"prev_pid=(\d+).*next_comm=(.+) next_pid=(\d+)")
SYSCALL = re.compile(r"NR (-?\d+) (?:\(|= )(-?\w+)")
WAKING = re.compile(r"pid=(\d+)")
# x86-64: sendto, sendmsg, write; what hands an answer to the client.
WRITES = {44, 46, 1}
CALLS_MIN = 1000
PARTS = ["asleep", "waking up", "kept waiting", "in the kernel", "own code"]


class Thread:
    """What one thread is doing, and since when."""

    def __init__(self, comm):
        self.comm = comm
        self.state, self.since, self.inside = None, 0.0, False
        self.writing = None
        self.spent = Counter()
        # By connection: what had been spent at the end of each call.
        self.ends = defaultdict(list)
        self.wakings = 0

    def turn(self, state, now):
        if self.state is not None:
            self.spent[self.state] += now - self.since
        self.state, self.since = state, now

    def call_ends(self, now):
        self.turn(self.state, now)
        self.ends[self.writing].append(Counter(self.spent))

    def calls(self):
        """What each call spent, counted at one connection: a relay writes to two in each."""
        ends = max(self.ends.values(), key=len, default=[])
        return [{part: after[part] - before[part] for part in PARTS} for before, after in zip(ends, ends[1:])]

    def waking(self, now):
        if self.state == "asleep":
            self.wakings += 1
            self.turn("waking up", now)

    def on_cpu(self, now):
        self.turn("in the kernel" if self.inside else "own code", now)

    def off_cpu(self, now, runnable):
        self.turn("kept waiting" if runnable else "asleep", now)


def main():
    threads = {}
    for line in sys.stdin:
        match = LINE.match(line)
        if not match:
            continue
        now, event, rest, tid = float(match["time"]) * 1e6, match["event"], match["rest"], int(match["tid"])
        if event == "sched:sched_waking" and (pid := WAKING.search(rest)):
            if thread := threads.get(int(pid[1])):
                thread.waking(now)
        elif event == "sched:sched_switch" and (switch := SWITCH.search(rest)):
            if thread := threads.get(int(switch[1])):
                thread.off_cpu(now, re.search(r"prev_state=R", rest) is not None)
            if thread := threads.get(int(switch[3])):
                thread.on_cpu(now)
        elif event.startswith("raw_syscalls:"):
            thread = threads.setdefault(tid, Thread(match["comm"]))
            entered = event.endswith("enter")
            thread.inside = entered
            thread.on_cpu(now)
            number, first = SYSCALL.match(rest).groups()
            if int(number) in WRITES:
                if entered:
                    thread.writing = first
                else:
                    thread.call_ends(now)
    for tid, thread in sorted(threads.items()):
        if len(calls := thread.calls()) >= CALLS_MIN:
            report(tid, thread, calls)


def report(tid, thread, calls):
    print(f"{thread.comm} {tid}: {len(calls)} calls, {thread.wakings / len(calls):.2f} wakings a call; microseconds of a call")
    rows = {part: [call[part] for call in calls] for part in PARTS}
    rows["all but asleep"] = [sum(call.values()) - call["asleep"] for call in calls]
    for name, values in rows.items():
        values.sort()
        at = [values[int(len(values) * share)] for share in (0.5, 0.9, 0.99)]
        print(f"  {name:<16} p50 {at[0]:8.1f}   p90 {at[1]:8.1f}   p99 {at[2]:8.1f}")


if __name__ == "__main__":
    main()
