"""Where a request's instructions go, by stage, out of callgrind's files. Used by gate.py.

Code is counted where it was written: what the compiler has moved into its caller stands with the file it came from, as the debug information
has it, and what is the standard library's with the function it was moved into.
"""

import re
from collections import Counter

# The first that fits: what a stage is called, and a pattern over source files, or over functions where the file tells nothing.
STAGES = [
    ("TLS: ciphers", r"aws.lc|crypto/(fipsmodule|cipher|poly|curve)|gcm|aesni|aes_hw|vpaes|chacha|_CRYPTO|OPENSSL|EVP_"),
    ("TLS: records", r"rustls"),
    ("heads and targets read", r"src/parse/|ringfence::parse|httparse|memchr"),
    ("decided", r"src/policy/|ringfence::policy|io/vet\.rs|io/judge\.rs|io/facts\.rs|ringfence::io::(vet|judge|facts)"),
    ("recorded", r"src/audit/|ringfence::audit|rkyv|rend-|munge|io/clock\.rs"),
    ("heads written", r"io/wire\.rs|ringfence::io::wire"),
    ("counted", r"io/metrics\.rs|ringfence::io::metrics"),
    ("engine: turns, timers, sockets", r"src/io/engine/|ringfence::io::engine|io.uring-|nix-"),
    ("flow: exchanges, relaying", r"src/io/|ringfence::io"),
    ("memory moved", r"mem(cpy|move|set|cmp|chr)"),
    ("memory taken and given back", r"malloc|free|realloc|calloc|__rdl_|__rust_(de|re)?alloc"),
    ("around system calls", r"sysdeps|clock_gettime|epoll|recv|send|syscall|errno"),
]
STAGES = [(name, re.compile(pattern)) for name, pattern in STAGES]
OTHER = "other"


def stage_of(file, function):
    # The standard library's files say nothing about why they are run, and libc's little.
    place = function if file.startswith("/rustc/") or file in ("", "???") else f"{file} {function if 'sysdeps' in file or 'malloc' in file else ''}"
    for name, pattern in STAGES:
        if pattern.search(place):
            return name
    for name, pattern in STAGES:
        if pattern.search(function):
            return name
    return OTHER


def read(path):
    """Instructions by stage, and by function, of one file of callgrind's."""
    names, stages, functions = {}, Counter(), Counter()
    file = function = ""
    called = False
    with open(path) as lines:
        for line in lines:
            if found := re.match(r"(fl|fi|fe|fn|cfn|cfi|cfl|ob|cob)=\((\d+)\)(?: (.*))?$", line):
                kind, number, name = found.groups()
                kind = {"fi": "fl", "fe": "fl", "cfi": "fl", "cfl": "fl", "cfn": "fn", "cob": "ob"}.get(kind, kind)
                if name is not None:
                    names[kind, number] = name
                if found[1] in ("fl", "fi", "fe"):
                    file = names["fl", number]
                elif found[1] == "fn":
                    function = names["fn", number]
            elif line.startswith("calls="):
                called = True
            elif line[:1].isdigit() or line[:1] in "+-*":
                # The line behind a call is what the callee took, which is counted there.
                if not called:
                    count = int(line.split()[1])
                    stages[stage_of(file, function)] += count
                    functions[function] += count
                called = False
    return stages, functions


def table(few, many, requests):
    """The stages of one request: what the longer run took more, divided by its requests."""
    (few_stages, few_functions), (many_stages, many_functions) = read(few), read(many)
    stages = {name: (many_stages[name] - few_stages[name]) / requests for name in many_stages}
    whole = sum(stages.values())
    lines = [f"{'instructions for each request':<34} {whole:>9.0f}"]
    for name, count in sorted(stages.items(), key=lambda item: -item[1]):
        lines.append(f"  {name:<32} {count:>9.0f}  {count / whole:>6.1%}")
    lines.append("\nfunctions")
    functions = {name: (many_functions[name] - few_functions[name]) / requests for name in many_functions}
    for name, count in sorted(functions.items(), key=lambda item: -item[1])[:40]:
        lines.append(f"  {count:>9.0f}  {name[:140]}")
    return "\n".join(lines) + "\n"
