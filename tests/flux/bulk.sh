# Many jobs of many inputs.
echo 1 > one; echo 2 > two
flux bulksubmit --quiet --wait sh -c 'exit {}' ::: 0 3; echo $?
#> 3
flux bulksubmit --quiet --wait cp {} {}.copy ::: one two && cat one.copy two.copy
#> 1
#> 2
flux bulksubmit --dry-run echo {0} {1} ::: 1 2 ::: x y
#> bulksubmit: submit echo 1 x
#> bulksubmit: submit echo 1 y
#> bulksubmit: submit echo 2 x
#> bulksubmit: submit echo 2 y
seq 1 3 | flux bulksubmit --quiet --wait --job-name=n{} true
flux jobs -a -n -o '{name}' | grep '^n' | sort | xargs
#> n1 n2 n3
flux bulksubmit --quiet --watch echo {./%} ::: dir/one.txt dir/two.txt | sort
#> one
#> two
