# Options of submission, each by what it leaves in the job.
spec() { flux "$@" --dry-run true | python3 -c "import json,sys; j=json.load(sys.stdin); print(json.dumps($code))"; }
code='j["resources"][0]["exclusive"]' spec run -N1 --exclusive
#> true
flux run -N2 --tasks-per-node=2 -l sh -c 'echo $FLUX_TASK_LOCAL_ID' | sort
#> 0: 0
#> 1: 1
#> 2: 0
#> 3: 1
flux run --cores=2 --tasks-per-core=2 echo x | wc -l
#> 4
code='j["resources"][0]["with"][0]["with"][-1]' spec run -N1 --gpus-per-node=2
#> {"count": 2, "type": "gpu"}
code='j["attributes"]["system"]["bank"]' spec run --bank=mine
#> "mine"
X=1 flux run --env-remove=X sh -c 'echo ${X:-none}'
#> none
code='j["attributes"]["system"]["shell"]["options"]["signal"]' spec run --signal=USR2@30s
#> {"signum": 12, "timeleft": 30.0}
id=$(flux submit --debug true); flux job status $id; flux job eventlog $id | grep -c debug.alloc-request
#> 1
echo line > input; flux run --input=input cat
#> line
# A bar is for terminals.
script -qec 'flux submit --wait --progress --jps --quiet --cc=1-2 true' /dev/null | grep -oE 'CD:2 F:0 .#+. 100% [0-9]+ job/s'
#> CD:2 F:0 |####################| 100% [..] job/s
script -qec 'flux bulksubmit --wait --progress --jps --quiet true ::: 1 2' /dev/null | grep -oE 'CD:2 F:0 .#+. 100% [0-9]+ job/s'
#> CD:2 F:0 |####################| 100% [..] job/s
flux submit --wait --progress --jps --quiet --cc=1-2 true
flux submit --cc=1-2 --log=log.{cc} --log-stderr=err.{cc} --watch --quiet sh -c 'echo out {cc}; echo error >&2'; cat err.1 log.2
#> error
#> out 2
seq 30 > inputs; flux bulksubmit --dry-run --shuffle {} :::: inputs | cut -d' ' -f3 > order; sort -n order | cmp - inputs; cmp -s order inputs || echo another order
#> another order
printf 'one,two words' > commas; flux bulksubmit --dry-run --sep=, echo {} :::: commas
#> bulksubmit: submit echo one
#> bulksubmit: submit echo two words
flux bulksubmit --cc=1-2 --watch --quiet --log=bulk.{seq} sh -c 'echo {} {cc}' ::: a b > /dev/null; sort bulk.0; sort bulk.1
#> a 1
#> a 2
#> b 1
#> b 2
code='j["resources"][0]["with"][-1]' spec batch -n1 --gpus-per-slot=1 --wrap
#> {"count": 1, "type": "gpu"}
code='j["resources"][0]["exclusive"]' spec batch -N1 --exclusive --wrap
#> true
id=$(flux batch -n1 --conf=tbon.topo=kary:5 --output=conf.out --wrap flux getattr tbon.topo); flux job status $id; cat conf.out
#> kary:5
