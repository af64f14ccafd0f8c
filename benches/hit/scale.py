"""Hits among many keys, and under many grants: both must cost the same as one.

Raw hyper with as many copies of its answer says which part of that the caches of the processor take from any server.
"""

import dataclasses

import clients
import matrix
import measures
import subjects
import tables

KEYS = (1, 1_000, 10_000)
GRANTS = (1, 100, 1_000)
LOADS = ("1x1", "10x10")
RAW = "raw hyper"


def measure(programs, options):
    """Measures, and prints the table: in brackets the ratio to one key and one grant, and to one answer."""
    cases = {f"{keys:,} keys": (subjects.AUDITED, keys) for keys in KEYS}
    cases |= {f"{grants:,} grants": (dataclasses.replace(subjects.AUDITED, grants=grants), 1) for grants in GRANTS[1:]}
    cases |= {f"{RAW}, {many:,} answers": (dataclasses.replace(subjects.RAW, answers=many), many) for many in KEYS}
    transport = options.transports[-1] if "unix" not in options.transports else "unix"
    loads = [name for name in LOADS if name in options.loads]
    servers, connected = {}, {}
    for label, (subject, keys) in cases.items():
        servers[label] = programs.serve(subject, transport)
        if subject.program == "broker":
            matrix.fill(programs, servers[label], keys)
        for load in loads:
            connected[label, load] = clients.OwnClient(programs, servers[label], clients.LOADS[load], keys)
    cpu = matrix.rounds(options.rounds, {
        key: lambda key=key: measures.cpu_of_call(
            servers[key[0]], connected[key], int(clients.LOADS[key[1]].calls * options.scale))
        for key in sorted(connected, key=lambda key: key[1])
    })
    matrix.end(programs, servers, connected)
    counted = {}
    if "instructions" in options.measures:
        counted = {
            label: matrix.counted(programs, subject, transport, keys)
            for label, (subject, keys) in cases.items() if subject.program == "broker"
        }
    print(table(cases, loads, cpu, counted, transport))


def table(cases, loads, cpu, counted, transport):
    firsts = {program: next(label for label, (subject, _) in cases.items() if subject.program == program)
              for program in ("broker", "raw")}
    rows = []
    for label, (subject, _) in cases.items():
        first = firsts[subject.program]
        cells = [tables.ratio(cpu[label, load], cpu[first, load]) for load in loads]
        if counted:
            cells.append(tables.ratio(*(counted.get(one, [None])[0] for one in (label, first))))
        rows.append([label if label != firsts["broker"] else "1 key, 1 grant", *cells])
    heading = [f"{subjects.TRANSPORTS[transport]}, grant and audit", *(f"CPU, {load}" for load in loads)]
    return tables.markdown(heading + (["instructions"] if counted else []), rows)
