"""Kills a service's process and shows what the tree says until it is back: demo_crash.py PROGRAM SERVICE.

Exit code 0 only when the tree went running -> restarting -> running and the process is another one.
"""

import json
import os
import signal
import subprocess
import sys
import time

DEADLINE_SECONDS = 30


def nodes(tree):
    """Every node of a tree document."""
    stack = list(tree["roots"])
    while stack:
        node = stack.pop()
        yield node
        stack.extend(node.get("children", []))


def look(program, service):
    """The service's state and the pid of its process, from one snapshot."""
    answer = subprocess.run([program, "tree", "--json"], capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        sys.exit(f"`claudemesh tree` ended with {answer.returncode}: {answer.stderr.strip()}")
    state, pid = None, None
    for node in nodes(json.loads(answer.stdout)):
        if node["kind"] == "service" and node["id"].endswith(f"/services/{service}"):
            state = node["state"]
        if node["kind"] == "process" and f":{service}@" in node["id"]:
            pid = node.get("facts", {}).get("pid")
    return state, pid


def main():
    program, service = sys.argv[1:]
    state, first = look(program, service)
    if state != "running" or not first:
        sys.exit(f"{service} is {state} with pid {first}: expected a running one")
    seen = [state]
    print(f"\n{service} is running as process {first}\n$ kill -9 {first}", flush=True)
    os.kill(first, signal.SIGKILL)
    killed = time.monotonic()
    while time.monotonic() - killed < DEADLINE_SECONDS:
        state, pid = look(program, service)
        passed = (time.monotonic() - killed) * 1000
        if state != seen[-1]:
            seen.append(state)
            print(f"  {passed:5.0f} ms  {state}" + (f" as process {pid}" if state == "running" else ""), flush=True)
        if state == "running" and pid and pid != first:
            break
    told = " → ".join(str(state) for state in seen)
    print(f"the tree went {told}", flush=True)
    if seen != ["running", "restarting", "running"] or pid in (None, first):
        sys.exit(f"expected running → restarting → running with another process (pid {first}, now {pid})")


main()
