"""What a call costs a server: CPU time, system calls, instructions and allocations."""

import os
import re
import signal
import statistics
import subprocess
import sys

# Calls before those that are counted.
WARM_UP = 200
ALLOCATOR = re.compile(
    r"(_rjem_|je_|mi_|__libc_)?(malloc|calloc|realloc|memalign|aligned_alloc|posix_memalign|mallocx|rallocx"
    r"|zalloc|malloc_aligned|zalloc_aligned|realloc_aligned)(@.*|'\d+)?"
)


def cpu(pid):
    """Returns the CPU time of a process' threads so far, in ns, without those that have ended."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{task}/schedstat") as file:
                total += int(file.read().split()[0])
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total


def cpu_of_call(server, client, calls):
    """Returns the CPU time of a call, in us."""
    before = cpu(server.pid)
    client.call(calls)
    return (cpu(server.pid) - before) / calls / 1000


def median(values):
    return statistics.median(values) if values else None


def syscalls(server, client, calls, work):
    """Returns how often a call makes each system call. Needs root."""
    output = f"{work}/strace"
    command = ["strace", "-c", "-f", "-o", output, "-p", str(server.pid)]
    strace = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    if "attached" not in (said := strace.stderr.readline()):
        sys.exit(f"hit: strace failed: {said}; run as root")
    client.call(calls)
    strace.send_signal(signal.SIGINT)
    strace.communicate()
    rows = [line.split() for line in open(output) if re.match(r"\s*\d+\.\d+\s", line)]
    # The last row is the total. The column of errors is empty where there are none.
    return {row[-1]: int(row[3]) / calls for row in rows if row[-1] != "total"}


def instructions(programs, subject, transport, client_of, calls):
    """Returns the instructions and the allocations of a call, of the whole program, by callgrind."""
    output = f"{programs.work}/callgrind"
    prefix = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={output}"]
    server = programs.serve(subject, transport, prefix)
    client = client_of(server)
    client.call(WARM_UP)
    _control("--instr=on", server)
    client.call(WARM_UP)
    _control("--zero", server)
    client.call(calls)
    _control("--dump", server)
    programs.end(server.process)
    with open(f"{output}.1") as file:
        return [count / calls for count in profile(file)]


def _control(action, server):
    command = ["callgrind_control", action, str(server.pid)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def profile(lines):
    """Returns the instructions and the calls of an allocator that a callgrind profile has."""
    names, total, allocations, function, callee = {}, 0, 0, "", ""
    for line in lines:
        if named := re.match(r"(c?fn)=\((\d+)\)(?: (.*))?", line):
            kind, number, name = named.groups()
            names.setdefault(number, name)
            if kind == "fn":
                function = names[number]
            else:
                callee = names[number]
        elif line.startswith("calls=") and ALLOCATOR.fullmatch(callee) and not ALLOCATOR.fullmatch(function):
            allocations += int(line[6:].split()[0])
        elif line.startswith(("totals:", "summary:")):
            total = int(line.split()[1])
    return total, allocations
