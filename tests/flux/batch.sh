# A script with directives, in an instance of its own.
cat > job.sh <<'EOF'
#!/bin/bash
# flux: -N2
# flux: --job-name=mybatch --output=job.out
# flux: --setattr=user.note=here
echo level $(flux getattr instance-level), $(flux resource list -n -s up -o '{nnodes}') nodes
flux run -N2 -n4 sh -c 'echo $FLUX_TASK_RANK' | sort -n | xargs
flux submit --cc=1-3 --quiet --wait true
flux jobs -a -n -o '{ntasks}' | wc -l
EOF
id=$(flux batch job.sh)
flux job status $id && cat job.out
#> level 1, 2 nodes
#> 0 1 2 3
#> 4
flux jobs -n -o '{name} {nnodes}' $id
#> mybatch 2
flux job info $id jobspec | grep -c '"note":"here"'
#> 1
id=$(flux batch -n1 --wrap flux getattr size)
flux job status $id && cat flux-$id.out
#> 1
id=$(flux batch -n2 --output=out.{{id}} --wrap hostname)
flux job status $id && wc -l < out.$id
#> 1
