#!/usr/bin/env python3
"""The youngest job first: a scheduler of one's own, in place of the built-in one for as long as this runs.

    flurm start ...                         # then, in the instance:
    python3 reverse.py &                    # `flurm queue status -v` says who schedules; ^C gives it back

Messages are described in docs/formats.md. Jobs of slots with cores are understood, on any nodes or on so many.
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


free, usable, pending = {}, set(), {}


def place(resource):
    """Cores by rank for a job's resources, or None."""
    nodes = resource["count"] if resource["type"] == "node" else None
    slot = resource["with"][0] if nodes else resource
    size = next(r["count"] for r in slot["with"] if r["type"] == "core")
    chosen, slots = {}, slot["count"] * (nodes or 1)
    for rank in sorted(usable & free.keys()):
        fit = min(len(free[rank]) // size, slot["count"] if nodes else slots)
        if slots and fit and (not nodes or fit == slot["count"]):
            chosen[rank] = sorted(free[rank])[:fit * size]
            slots -= fit
    return None if slots else chosen


def schedule():
    for id in sorted(pending, reverse=True):
        chosen = place(pending[id])
        if chosen is None:
            send("sched.answer", {"id": id, "type": "annotate", "annotations":
                                  {"sched": {"reason_pending": "the youngest job waits for cores"}}})
            break
        lite = [{"rank": str(rank), "children": {"core": ",".join(map(str, cores))}}
                for rank, cores in chosen.items()]
        send("sched.answer", {"id": id, "type": "alloc", "R": {"version": 1, "execution": {"R_lite": lite}}})
        for rank, cores in chosen.items():
            free[rank] -= set(cores)
        del pending[id]


send("sched.serve", {"name": "reverse.py"})
held = []  # what jobs had before we came
while head := stream.read(4):
    message = json.loads(stream.read(struct.unpack(">I", head)[0]))
    if "error" in message:
        raise SystemExit(message["error"]["text"])
    for news in message.get("payload", {}).get("news", []):
        kind = news["type"]
        if kind == "hello":
            held.append(news["R"])
        elif kind == "resources":
            free, usable = {rank: set(cores) for rank, cores in parts(news["R"])}, idset(news["ranks"])
            for rank, cores in (part for r in held for part in parts(r)):
                free[rank] -= cores
        elif kind == "alloc":
            pending[news["id"]] = news["jobspec"]["resources"][0]
        elif kind == "cancel":
            pending.pop(news["id"], None)
        elif kind == "free":
            for rank, cores in parts(news["R"]):
                free[rank] |= cores
        elif kind in ("up", "down"):
            usable = usable | idset(news["ranks"]) if kind == "up" else usable - idset(news["ranks"])
    schedule()
