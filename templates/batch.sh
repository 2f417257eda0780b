#!/bin/sh
# A batch job: `flurm batch templates/batch.sh`. The script runs on the first node, in an instance of its own over
# all of them. What stands behind `flux:` are options of `flurm batch`; those of the command line win.
# flux: -N2 -t 30m
# flux: --job-name=example
# flux: --output=example-{{id}}.out

# Words for the record: what this job was given.
flurm resource list -s all

# One step after the other, each on all nodes …
flurm run -N2 hostname

# … and many small ones, as many at a time as there are cores.
flurm submit --quiet --wait --cc=1-100 sh -c 'echo "part $FLUX_JOB_CC" >/dev/null'
