# The key-value store as a mailbox between jobs.
flux submit --quiet sh -c 'flux kvs get --waitcreate mail.letter > received'
reader=$(flux job last)
flux run -n1 flux kvs put mail.letter="hello there"
flux job status $reader && cat received
#> hello there
flux run -N4 -n4 sh -c 'flux kvs put mail.from$FLUX_TASK_RANK=$((FLUX_TASK_RANK * 10))'
flux kvs ls -1 mail
#> from0
#> from1
#> from2
#> from3
#> letter
flux kvs get mail.from3
#> 30
flux kvs dir mail | head -2
#> mail.from0 = 0
#> mail.from1 = 10
flux kvs link mail.letter inbox && flux kvs readlink inbox && flux kvs get inbox
#> mail.letter
#> hello there
flux kvs put --append log=one && flux kvs put --append log=,two && flux kvs get log
#> one,two
flux kvs copy mail backup && flux kvs move backup old && flux kvs get old.from2
#> 20
flux kvs namespace create private && flux kvs --namespace=private put x=1 && flux kvs -N private get x
#> 1
flux kvs unlink -R mail
flux kvs get mail.letter 2> /dev/null || echo empty
#> empty
flux kvs eventlog append steps begin && flux kvs eventlog append steps end code=0
flux kvs eventlog get steps | cut -d' ' -f2-
#> begin
#> end code=0
