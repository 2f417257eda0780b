# What the options of a job do, read back from its jobspec, its resources, its log or its tasks.
j() { python3 -c "import json,sys; j=json.load(sys.stdin); s=j['attributes']['system']; print(json.dumps($1))"; }
spec() { flux job info $1 jobspec | j "$2"; }
id=$(flux submit -N2 -n4 -c2 -t 5m --job-name=sizes true); flux job status $id
spec $id 'j["resources"]'
#> [{"count": 2, "type": "node", "with": [{"count": 2, "label": "task", "type": "slot", "with": [{"count": 2, "type": "core"}]}]}]
flux job info $id R | flux R decode --count=node; flux job info $id R | flux R decode --count=core
#> 2
#> 8
spec $id '[s["duration"], s["job"]["name"]]'
#> [300.0, "sizes"]
flux job info $id R | python3 -c 'import json,sys; e=json.load(sys.stdin)["execution"]; print(e["expiration"] - e["starttime"])'
#> 300.0
id=$(flux submit --nodes=1 --ntasks=1 --exclusive true); flux job status $id; flux job info $id R | flux R decode --count=core
#> 4
id=$(flux submit --ntasks=3 --cores-per-task=2 true); flux job status $id; flux jobs -n -o '{ntasks} {ncores}' $id
#> 3 6
id=$(flux submit --cores=3 true); flux job status $id; flux job info $id R | flux R decode --count=core
#> 3
id=$(flux submit -N2 --tasks-per-node=3 true); flux job status $id; flux jobs -n -o '{nnodes} {ntasks}' $id
#> 2 6
id=$(flux submit --time-limit=90s true); spec $id 's["duration"]'
#> 90.0
id=$(flux submit --requires='host:node2' true); flux job status $id; flux jobs -n -o '{nodelist}' $id; spec $id 's["constraints"]'
#> node2
#> {"hostlist": ["node2"]}
id=$(flux submit --begin-time=+1h --urgency=3 --flags=waitable true); flux job eventlog -f json $id | head -n 1 | python3 -c 'import json,sys; c=json.load(sys.stdin)["context"]; print(c["urgency"], c["flags"])'
#> 3 4
flux job eventlog $id | grep -c 'dependency-add description="begin-time='
#> 1
flux cancel -q $id
id=$(flux submit --dependency=afterany:$id true); flux job status $id; flux job eventlog $id | grep -c 'dependency-add description="afterany='
#> 1
mkdir -p sub; id=$(flux submit --cwd=$PWD/sub sh -c 'pwd > where'); flux job status $id; basename $(cat sub/where)
#> sub
printf 'FROM_FILE=2\n' > rules; A=1 B=1 flux run --env=-B --env-file=rules --env=C=3 --env-remove=HOME sh -c 'echo $A${B-}${FROM_FILE}$C${HOME-}'
#> 123
flux run --rlimit=core=0 --rlimit=nofile=100 sh -c 'ulimit -c; ulimit -n'
#> 0
#> 100
id=$(flux submit --setopt=verbose=1 -o exit-timeout=7s --setattr=user.note=kept -S ^extra=rules.json true 2> /dev/null) || echo no file
#> no file
id=$(flux submit --setopt=verbose=1 -o exit-timeout=7s --setattr=.user.note=kept -S foo=5 true); spec $id '[s["shell"]["options"]["verbose"], s["shell"]["options"]["exit-timeout"], j["attributes"]["user"]["note"], s["foo"]]'
#> [1, "7s", "kept", 5]
flux run --add-file=hello:0700="$(printf '#!/bin/sh\necho from a file\n')" '{{tmpdir}}/hello'
#> from a file
id=$(flux submit --signal=USR2@30s true); spec $id 's["shell"]["options"]["signal"]'
#> {"signum": 12, "timeleft": 30.0}
flux run -n4 -N2 --taskmap=cyclic --label-io flux getattr rank | sort | xargs
#> 0: 0 1: 1 2: 0 3: 1
id=$(flux submit -n4 -N2 --taskmap=cyclic true); flux job status $id; flux job taskmap --to=raw $id
#> 0,2;1,3
flux run -n2 --output=out.{{task.id}} --error=err.{{id.dec}} sh -c 'echo $FLUX_TASK_RANK; echo e >&2'; cat out.1 && cat err.* | wc -l
#> 1
#> 2
echo typed > input; flux run -n2 --input=input cat
#> typed
#> typed
echo only one | flux run -n2 --input=1 --label-io cat
#> 1: only one
id=$(flux submit --unbuffered true); spec $id 's["shell"]["options"]["output"]["stdout"]["buffer"]["type"]'
#> "none"
flux run --verbose true 2>&1 | grep -c '^jobid: ƒ'
#> 1
flux submit --quiet true | wc -l
#> 0
flux submit --cc=1-2 --watch sh -c 'echo cc $FLUX_JOB_CC' | grep cc | sort
#> cc 1
#> cc 2
flux submit --bcc=1-2 --watch --quiet sh -c 'echo bcc ${FLUX_JOB_CC-none}'
#> bcc none
#> bcc none
flux submit --wait --cc=0-2 --quiet sh -c 'exit $FLUX_JOB_CC'; echo $?
#> 2
id=$(flux submit --wait-event=clean sleep 0.3); flux job eventlog $id | grep -c ' clean'
#> 1
timeout 20 flux run --wait-event=start sh -c 'until test -e go; do sleep 0.1; done; exit 3'; echo $?; touch go
#> 0
flux alloc --nslots=2 --cores-per-slot=2 flux resource list -s all -n -o '{nnodes} {ncores}'
#> 1 4
flux alloc -N2 flux resource list -s all -n -o '{nnodes} {ncores}'
#> 2 8
id=$(flux batch -n1 --output=none --broker-opts=-Smine=5 --wrap flux getattr mine); flux job attach $id
#> 5
flux run --gpus-per-task=1 true 2>&1 | grep -c '^error'
#> 1
flux run --dry-run -n2 -g1 true | j 'j["resources"][0]["with"][-1]'
#> {"count": 1, "type": "gpu"}
id=$(flux batch --nodes=1 --nslots=1 --exclusive --output=none --wrap flux resource list -s all -n -o '{nnodes}:{ncores}'); flux job attach $id
#> 1:4
