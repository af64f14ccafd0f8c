"""10,000 callers at once of one key that is not cached, and then of the same key."""

import re
import urllib.request

import clients
import measures
import subjects
import tables

BURST = clients.Load(100, 100, 10_000, 0)
LATENCY_MS = 200
BURSTS = 3
METRIC = re.compile(r"^ecr_broker_upstream_call_duration_seconds_count\{[^}]*\} (\d+)", re.MULTILINE)


def measure(programs, options):
    """Measures, and prints the table."""
    transport = "tcp" if "tcp" in options.transports else options.transports[-1]
    found = [burst(programs, transport) for _ in range(BURSTS)]
    rows = []
    for name in ("cold", "warm"):
        p50, p99 = ([result[name][at] * 1000 for result in found] for at in ("p50", "p99"))
        calls = sorted({str(result[f"{name} calls"]) for result in found})
        rows.append([f"{BURST.calls:,} callers, {name}", *map(tables.number, map(measures.median, (p50, p99))),
                     ", ".join(calls)])
    more = measures.median([(result["cold"]["p99"] - result["warm"]["p99"]) * 1000 - LATENCY_MS for result in found])
    print(tables.markdown([f"{subjects.TRANSPORTS[transport]}, everything on", "p50, ms", "p99, ms", "AWS calls"], rows))
    print(f"\nCold p99 less warm p99 and AWS's {LATENCY_MS} ms: {more:+.0f} ms.")


def burst(programs, transport):
    server = programs.serve(subjects.ALL, transport, aws=programs.simulated_aws(f"{LATENCY_MS}ms"))
    client = clients.OwnClient(programs, server, BURST, connect_only=True)
    cold = client.call(BURST.calls)
    cold_calls = upstream_calls(server)
    warm = [client.call(BURST.calls) for _ in range(3)]
    warm_calls = upstream_calls(server) - cold_calls
    client.close()
    programs.end(server.process)
    median = {at: measures.median([one[at] for one in warm]) for at in ("p50", "p99")}
    return {"cold": cold, "warm": median, "cold calls": cold_calls, "warm calls": warm_calls}


def upstream_calls(server):
    """Returns how often a broker has called AWS."""
    with open(server.output) as file:
        address = re.search(r"ops\S*?://(127\.0\.0\.1:\d+)", file.read())[1]
    with urllib.request.urlopen(f"http://{address}/metrics") as response:
        return sum(int(count) for count in METRIC.findall(response.read().decode()))
