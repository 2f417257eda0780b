#!/usr/bin/env python3
"""The youngest job first: a scheduler of one's own, in place of the built-in one for as long as this runs.

    flurm start ...                         # then, in the instance:
    python3 reverse.py &                    # `flurm queue status -v` says who schedules; ^C gives it back

Messages are described in docs/formats.md. Slots with cores are understood, on any nodes, on so many, or on
whole ones; jobs that ask for anything else are denied.
"""
import json, os, socket, struct

connection = socket.socket(socket.AF_UNIX)
connection.connect(os.environ["FLURM_URI"].removeprefix("local://"))
stream = connection.makefile("rb")
tag = 0


def send(topic, payload):
    global tag
    tag += 1
    message = {"v": 1, "kind": "request", "topic": topic, "tag": tag, "dst": "leader",
               "src": {"rank": 0, "client": 0}, "more": topic == "sched.serve", "payload": payload}
    data = json.dumps(message).encode()
    connection.sendall(struct.pack(">I", len(data)) + data)


def idset(text):
    """0-2,7 as a set of numbers."""
    ends = (part.split("-") for part in text.split(",") if part)
    return {n for part in ends for n in range(int(part[0]), int(part[-1]) + 1)}


def parts(r):
    """Ranks and cores of an R (RFC 20)."""
    for group in r["execution"]["R_lite"]:
        for rank in idset(group["rank"]):
            yield rank, idset(group["children"]["core"])


total, taken, usable, pending = {}, {}, set(), {}


def take(r, sign):
    """Cores that jobs hold: more, or fewer again."""
    for rank, cores in parts(r):
        held = taken.setdefault(rank, set())
        taken[rank] = held | cores if sign > 0 else held - cores


def place(resource):
    """Cores by rank for a job's resources, or None."""
    nodes = resource["count"] if resource["type"] == "node" else None
    slot = resource["with"][0] if nodes else resource
    size = next(r["count"] for r in slot["with"] if r["type"] == "core")
    chosen, slots = {}, slot["count"] * (nodes or 1)
    for rank in sorted(usable & total.keys()):
        free = sorted(total[rank] - taken.get(rank, set()))
        fit = min(len(free) // size, slot["count"] if nodes else slots)
        if resource.get("exclusive") and len(free) < len(total[rank]):
            continue
        if slots and fit and (not nodes or fit == slot["count"]):
            chosen[rank] = free if resource.get("exclusive") else free[:fit * size]
            slots -= fit
    return None if slots else chosen


def unknown(jobspec):
    """What this scheduler knows nothing of, or None."""
    system = jobspec["attributes"]["system"]
    words = [word for word in ("constraints", "cosched", "placement", "queue") if system.get(word)]
    tree = json.dumps(jobspec["resources"])
    return words[0] if words else next((t for t in ("gpu", "socket", "memory") if f'"{t}"' in tree), None)


def schedule():
    for id in sorted(pending, reverse=True):
        what = unknown(pending[id])
        if what:
            send("sched.answer", {"id": id, "type": "deny", "note": f"reverse.py knows nothing of {what}"})
            del pending[id]
            continue
        chosen = place(pending[id]["resources"][0])
        if chosen is None:
            send("sched.answer", {"id": id, "type": "annotate", "annotations":
                                  {"sched": {"reason_pending": "the youngest job waits for cores"}}})
            break
        lite = [{"rank": str(rank), "children": {"core": ",".join(map(str, cores))}}
                for rank, cores in chosen.items()]
        r = {"version": 1, "execution": {"R_lite": lite}}
        send("sched.answer", {"id": id, "type": "alloc", "R": r})
        take(r, +1)
        del pending[id]


send("sched.serve", {"name": "reverse.py"})
while head := stream.read(4):
    message = json.loads(stream.read(struct.unpack(">I", head)[0]))
    if "error" in message:
        raise SystemExit(message["error"]["text"])
    for news in message.get("payload", {}).get("news", []):
        kind = news["type"]
        if kind == "hello":
            take(news["R"], +1)
        elif kind == "resources":
            total, usable = {rank: set(cores) for rank, cores in parts(news["R"])}, idset(news["ranks"])
        elif kind == "alloc":
            pending[news["id"]] = news["jobspec"]
        elif kind == "cancel":
            pending.pop(news["id"], None)
        elif kind == "free":
            take(news["R"], -1)
        elif kind in ("up", "down"):
            usable = usable | idset(news["ranks"]) if kind == "up" else usable - idset(news["ranks"])
    schedule()
