# Events, lines of the log, the configuration, and what is built in.
flux event sub --count=1 app. > got & listener=$!
while kill -0 $listener 2> /dev/null; do flux event pub --private --synchronous app.phase '{"n": 1}'; done
flux event pub other.topic
cat got
#> app.phase	{"n":1}
flux event sub -r -c 2 > got & listener=$!
while kill -0 $listener 2> /dev/null; do flux event pub --raw app.note two  words; done
cat got
#> app.note	two words
#> app.note	two words
flux event pub --loopback app.done && echo heard
#> heard
flux event pub app.bad '{' 2> /dev/null; echo $?
#> 2
flux event pub 'a b' 2> /dev/null; echo $?
#> 1
flux logger --severity=warning --appname=solver phase 2 begins
flux dmesg | grep -o 'solver.*'
#> solver.warning[0]: phase 2 begins
flux logger "$(printf 'two\nlines')" && flux dmesg | grep -o 'logger.*'
#> logger.notice[0]: two
#> logger.notice[0]: lines
flux logger --severity=loud x 2> /dev/null; echo $?
#> 2
flux config get --type=integer fake-resources.cores-per-node
#> 4
flux config get fake-resources.host-prefix
#> node
flux config get --type=integer fake-resources.host-prefix 2> /dev/null || echo other
#> other
flux config get --default=none policy.limits
#> none
flux config get --quiet policy.limits 2>&1 || echo nothing
#> nothing
printf '[sched]\npolicy = "easy"\n' > other.toml; flux config get --config-path=other.toml
#> {"sched":{"policy":"easy"}}
flux getattr config | tr ',' '\n' | grep -c cores-per-node
#> 1
flux config builtin shell_path | grep -c flurm
#> 1
flux config builtin no_path 2> /dev/null || echo unknown
#> unknown
flux module list | awk '$1 == "event" { print $2, ($3 > 3) }'
#> leader 1
flux exec -r 1 flux module list | grep -c leader
#> 0
flux plugin list submit | grep -o ^cosched
#> cosched
flux jobspec emit -n3 --job-name=three true > three.json
flux jobspec validate three.json && flux jobs -no '{name} {ntasks}' $(flux job submit three.json)
#> three 3
