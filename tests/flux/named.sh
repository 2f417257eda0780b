# Who types `flux` is answered with `flux`, whoever has written the answer.
flux submit -N 9 hostname 2>&1 | grep -c '`flux resource list`'
#> 1
flux cancel f1 2>&1 | grep -c '`flux jobs -a`'
#> 1
flux queue disable --quiet -m maintenance; flux submit true 2>&1 | grep hint; flux queue enable --quiet
#> hint: `flux queue status` says whether jobs are taken
printf '#!/bin/sh\n#SBATCH -n1 --requeue\n' > job.sh; flux batch --dry-run job.sh 2>&1 > dry | grep -o '`flux retry ID`'
#> `flux retry ID`
flux --help | grep -c 'flux version'
#> 1
flux --help | grep -c 'flurm version'
#> 0
flux man pages/man1 && ls pages/man1 | grep -E -c '^(flux|flurm)-run.1$'
#> 2
flux completion bash | grep '^complete'
#> complete -F _flux flux
#> complete -F _flurm flurm
# What Flux has and is not here is named, with what to do instead.
for name in lptest perilog-run fortune filemap cgroup ps; do flux $name 2>&1 | head -1; done
#> error: there is no `flux lptest`
#> error: there is no `flux perilog-run`
#> error: there is no `flux fortune`
#> error: there is no `flux filemap`
#> error: there is no `flux cgroup`
#> error: there is no `flux ps`
flux kvs link -T other a b 2>&1 | grep hint
#> hint: links stay in their namespace: `flux kvs copy -S NAME` copies between two
# A batch job at its time limit ends as any other job there does.
flux batch -n1 -t 1s --output=limit.out --wrap 'sleep 300' > id && flux job status -v $(cat id); echo code $?
#> code 143
flux job status -v $(cat id) 2>&1 | cut -d: -f2
#>  exited with exit code 143, after exception type=timeout
# One that was cancelled before it ran has no note where nobody gave one.
flux submit --urgency=hold true > id && flux cancel $(cat id); flux job status -v $(cat id) 2>&1 | cut -d: -f2
#>  exception type=cancel
# A message does not stand on the line of output.
flux run -o output.limit=10 printf 01234567890123 > /dev/null 2>&1
flux job attach $(flux job last) 2>&1 | head -2 | cut -c1-18
#> 0123456789
#> flux-shell: WARN:
# Placeholders that nothing fills are told of, and options of the row are named.
flux bulksubmit --dry-run echo {x} ::: a 2>&1
#> note: `{x}` stays as it is: values go into {}, {0}, {seq} and their kin
#> bulksubmit: submit echo {x}
flux bulksubmit --dry-run -n {} echo ::: 2
#> bulksubmit: submit -n2 echo
flux bulksubmit -n {} echo ::: x 2>&1 | head -1 | cut -d: -f1-3
#> error: --ntasks: `x`
# Drained nodes are named where a job cannot run without them.
flux resource drain 0-3 all && flux submit true > id && flux job why $(cat id) | head -1
#> waits for 1 core (free: 0), and node[0-3] are drained
flux jobs -n -o '{contextual_info}' $(cat id)
#> waits for 1 core (free: 0), and node[0-3] are drained
flux resource undrain 0-3 && flux job status $(cat id) && echo ran
#> ran
