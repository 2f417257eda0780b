#!/usr/bin/env python3
"""The youngest job first: `python3 reverse.py` in an instance schedules there until it ends (messages: docs/formats.md).
Jobs get slots of cores; those that ask for anything else are denied."""
import itertools, json, os, socket, struct

connection = socket.socket(socket.AF_UNIX)
connection.connect(os.environ["FLURM_URI"].removeprefix("local://"))
stream = connection.makefile("rb")
total, taken, usable, pending = set(), set(), set(), {}  # cores are pairs: rank, number

def send(topic, tag=0, **payload):
    data = json.dumps({"v": 1, "kind": "request", "topic": topic, "tag": tag, "dst": "leader", "more": bool(tag),
                       "src": {"rank": 0, "client": 0}, "payload": payload}).encode()
    connection.sendall(struct.pack(">I", len(data)) + data)

def numbers(idset):  # "0-2,7"
    ends = [part.split("-") for part in idset.split(",") if part]
    return {n for end in ends for n in range(int(end[0]), int(end[-1]) + 1)}

def cores(r):  # RFC 20
    each = ((numbers(g["rank"]), numbers(g["children"]["core"])) for g in r["execution"]["R_lite"])
    return {pair for ranks, cores in each for pair in itertools.product(ranks, cores)}

def schedule():
    for id, job in sorted(pending.items(), reverse=True):
        (slot, *more), system = job["resources"], job["attributes"]["system"]
        inside = [(r["type"], type(r["count"])) for r in [slot, *slot["with"]]]
        words = [word for word in ("constraints", "cosched", "placement", "queue") if system.get(word)]
        if more or words or inside != [("slot", int), ("core", int)] or slot.get("exclusive"):
            send("sched.answer", id=id, type="deny", note="reverse.py knows nothing but slots of cores")
            del pending[id]
            continue
        chosen, size, count = [], slot["with"][0]["count"], slot["count"]
        for rank in sorted(usable):
            free = sorted(core for core in total - taken if core[0] == rank)
            chosen += free[:len(free) // size * size]  # no slot is divided between nodes
        if len(chosen) < count * size:
            why = {"sched": {"reason_pending": "the youngest job waits for cores"}}
            return send("sched.answer", id=id, type="annotate", annotations=why)
        by_rank = itertools.groupby(chosen[:count * size], lambda core: core[0])
        lite = [{"rank": str(rank), "children": {"core": ",".join(str(n) for _, n in part)}} for rank, part in by_rank]
        send("sched.answer", id=id, type="alloc", R={"version": 1, "execution": {"R_lite": lite}})
        taken.update(chosen[:count * size])
        del pending[id]

send("sched.serve", tag=1, name="reverse.py")
while head := stream.read(4):
    message = json.loads(stream.read(struct.unpack(">I", head)[0]))
    if "error" in message: raise SystemExit(message["error"]["text"])
    for news in message.get("payload", {}).get("news", []):
        kind, ranks = news["type"], numbers(news.get("ranks", ""))
        given = cores(news["R"]) if "R" in news else set()
        if kind == "resources": total, usable = given, ranks
        if kind == "hello": taken |= given
        if kind == "free": taken -= given
        if kind == "up": usable |= ranks
        if kind == "down": usable -= ranks
        if kind == "alloc": pending[news["id"]] = news["jobspec"]
        if kind == "cancel": pending.pop(news["id"], None)
    schedule()
