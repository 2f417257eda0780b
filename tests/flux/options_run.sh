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
flux submit --wait --progress --jps --quiet --cc=1-2 true 2> /dev/null; flux jobs -a -n -f completed -c 2 | wc -l
#> 2
flux submit --cc=1-2 --log=log.{cc} --log-stderr=err.{cc} --wait true; ls log.1 log.2
#> log.1
#> log.2
flux bulksubmit --dry-run --sep=, --shuffle echo {} ::: a b | wc -l
#> 2
flux bulksubmit --cc=1-2 --progress --jps --quiet --wait --log=bulk.{seq} true ::: a b 2> /dev/null; flux jobs -a -n -c 4 -o '{name}' | sort -u
#> true
code='j["resources"][0]["with"][-1]' spec batch -n1 --gpus-per-slot=1 --wrap
#> {"count": 1, "type": "gpu"}
code='j["resources"][0]["exclusive"]' spec batch -N1 --exclusive --wrap
#> true
id=$(flux batch -n1 --conf=tbon.topo=kary:5 --output=conf.out --wrap flux getattr tbon.topo); flux job status $id; cat conf.out
#> kary:5
