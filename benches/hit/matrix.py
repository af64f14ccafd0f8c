"""Every subject over every transport under every load, and under clients that are not ours."""

import collections

import clients
import measures
import subjects
import tables

# Instructions are counted for one call at a time.
COUNTED_LOAD = "1x1"
# Connections and calls at a time on each, for clients that are not ours.
OTHER_LOADS = {"h2load": ((1, 1), (10, 10)), "ghz": ((1, 1), (10, 5))}
# As many calls at a time as the broker makes to AWS in a region.
FILL = clients.Load(1, 8, 0, 0)
OTHER_SUBJECTS = ("tonic", "raw", "audit", "all")


def started(programs, names, transports):
    """Starts a server for each subject and transport."""
    pairs = [(transport, name) for transport in transports for name in names]
    return {pair: programs.serve(subjects.SUBJECTS[pair[1]], pair[0]) for pair in pairs}


def rounds(count, cells):
    """Measures each cell in turn, `count` times after a round that warms up. Returns the medians."""
    found = collections.defaultdict(list)
    for turn in range(count + 1):
        for key, measure in cells.items():
            value = measure()
            if turn:
                found[key].append(value)
    return {key: measures.median(values) for key, values in found.items()}


def own(programs, options):
    """Measures with our client, and prints the table."""
    servers = started(programs, options.subjects, options.transports)
    loads = {name: clients.LOADS[name] for name in options.loads}
    connected = {
        (*pair, name): clients.OwnClient(programs, server, load)
        for pair, server in servers.items() for name, load in loads.items()
    }
    found = {}
    if "cpu" in options.measures:
        found["cpu"] = rounds(options.rounds, {
            key: lambda key=key: measures.cpu_of_call(
                servers[key[:2]], connected[key], int(loads[key[2]].calls * options.scale))
            for key in by_load(connected)
        })
    if "syscalls" in options.measures:
        found["syscalls"] = {
            key: measures.syscalls(servers[key[:2]], client, loads[key[2]].traced, programs.work)
            for key, client in connected.items()
        }
    if "instructions" in options.measures:
        found["instructions"] = {
            pair: counted(programs, subjects.SUBJECTS[pair[1]], pair[0]) for pair in servers
        }
    print(table(found, options))
    if "syscalls" in found:
        print("\n" + syscall_table(found["syscalls"]))
    end(programs, servers, connected)


def by_load(keys):
    """Sorts the cells so that those to compare follow each other."""
    return sorted(keys, key=lambda key: (key[0], key[2]))


def end(programs, servers, connected):
    for client in connected.values():
        client.close()
    for server in servers.values():
        programs.end(server.process)


def counted(programs, subject, transport, registries=1):
    """Returns instructions and allocations of a call, one at a time."""
    load = clients.LOADS[COUNTED_LOAD]

    def client(server):
        fill(programs, server, registries)
        return clients.OwnClient(programs, server, load, registries)

    return measures.instructions(programs, subject, transport, client, load.traced)


def fill(programs, server, registries):
    """Lets a broker cache every registry, and then answer each once from the cache."""
    client = clients.OwnClient(programs, server, FILL, registries)
    client.call(2 * registries)
    client.close()


def table(found, options):
    """Returns the table: in brackets the ratio to bare tonic over the same transport."""
    heading = ["", *(f"CPU, {load}" for load in options.loads if "cpu" in found)]
    heading += ["instructions", "allocations"] if "instructions" in found else []
    heading += [f"syscalls, {load}" for load in options.loads if "syscalls" in found]
    rows = []
    for transport in options.transports:
        rows.append([f"**{subjects.TRANSPORTS[transport]}**"] + [""] * (len(heading) - 1))
        base = row(found, options.loads, (transport, subjects.BASELINE))
        for name in options.subjects:
            values = row(found, options.loads, (transport, name))
            cells = [tables.ratio(value, against) for value, against in zip(values, base)]
            rows.append([subjects.SUBJECTS[name].label, *cells])
    return tables.markdown(heading, rows)


def row(found, loads, pair):
    cpu, syscalls = found.get("cpu"), found.get("syscalls")
    values = [cpu.get((*pair, load)) for load in loads] if cpu else []
    values += found["instructions"].get(pair, (None, None)) if "instructions" in found else []
    totals = [syscalls.get((*pair, load)) for load in loads] if syscalls else []
    return values + [sum(total.values()) if total else None for total in totals]


def syscall_table(found):
    """Returns which system calls a call makes."""
    rows = []
    for (transport, name, load), counts in found.items():
        most = sorted(counts.items(), key=lambda item: -item[1])
        texts = [f"{call} {tables.number(count)}" for call, count in most if count >= 0.01]
        rows.append([f"{subjects.TRANSPORTS[transport]}, {subjects.SUBJECTS[name].label}, {load}", ", ".join(texts)])
    return tables.markdown(["", "system calls a call"], rows)


def others(programs, options):
    """Measures with h2load and ghz, and prints the table."""
    names = [name for name in options.subjects if name in OTHER_SUBJECTS]
    servers = started(programs, names, options.transports)
    cells = {}
    for (transport, name), server in servers.items():
        for client, loads in OTHER_LOADS.items():
            if transport not in clients.OTHERS[client].transports:
                continue
            for shape in loads:
                cells[transport, name, client, shape] = other_cell(programs, server, client, shape, options.scale)
    ordered = sorted(cells, key=lambda key: (key[0], key[2:]))
    cpu = rounds(options.rounds, {key: cells[key] for key in ordered})
    columns = [(client, shape) for client, loads in OTHER_LOADS.items() for shape in loads]
    rows = []
    for transport in options.transports:
        for name in names:
            values = [cpu.get((transport, name, *column)) for column in columns]
            base = [cpu.get((transport, subjects.BASELINE, *column)) for column in columns]
            label = f"{subjects.TRANSPORTS[transport]}, {subjects.SUBJECTS[name].label}"
            rows.append([label, *map(tables.ratio, values, base)])
    heading = ["", *(f"{client}, {shape[0]}x{shape[1]}" for client, shape in columns)]
    print(tables.markdown(heading, rows))
    end(programs, servers, {})


def other_cell(programs, server, name, shape, scale):
    client = clients.OTHERS[name](programs, server, *shape)
    calls = int(client.calls * scale) if shape != (1, 1) else int(client.calls * scale / 4)
    return lambda: measures.cpu_of_call(server, client, calls)
