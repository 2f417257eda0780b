# Options of the key-value store, each by what it changes.
flux kvs put a.x=1 a.b.y=text
flux kvs get --raw a.b.y; echo .
#> text.
flux kvs get --label a.x
#> a.x=1
flux kvs get --treeobj a.x
#> {"data":"MQ==","type":"val","ver":1}
flux kvs get --stream a.x
#> 1
printf 'from a pipe' | flux kvs put --raw piped=- && flux kvs get piped
#> from a pipe
flux kvs put --treeobj copy="$(flux kvs get --treeobj a)" && flux kvs get copy.b.y
#> text
flux kvs put --sync --no-merge a.x=2 && flux kvs get a.x
#> 2
test $(flux kvs put --sequence a.x=3) = $(flux kvs version) && echo same version
#> same version
flux kvs put --treeobj-root r=1 | grep -c '"type":"dir"'
#> 1
flux kvs dir --recursive a
#> a.b.y = "text"
#> a.x = 3
flux kvs dir --keys-only a
#> a.b.
#> a.x
flux kvs dir --width=4 a
#> a.b.
#> a.x
before=$(flux kvs getroot)
flux kvs put a.x=9
flux kvs get --at="$before" a.x
#> 3
flux kvs dir --at="$before" a
#> a.b.
#> a.x = 3
flux kvs ls --recursive a | xargs
#> a: b x a.b: y
flux kvs ls --directory a
#> a
flux kvs ls --classify -1 a
#> b.
#> x
flux kvs ls --width=80 a
#> b  x
script -qec 'flux kvs ls -1 a' /dev/null | tr -d '\r'
#> b
#> x
flux kvs put a.z=1; flux kvs ls --at="$before" a
#> b
#> x
flux kvs unlink --force nothing && echo forced
#> forced
flux kvs getroot --owner | grep -c "^$(id -u)$"
#> 1
test $(flux kvs getroot --sequence) = $(flux kvs version) && echo same version
#> same version
flux kvs get --watch --uniq --full --count=1 a.x
#> 9
flux kvs put log=one
(flux kvs get --watch --append --count=2 log > seen; echo ended >> seen) &
until grep -qs one seen; do :; done
flux kvs put -A log=two; wait; cat seen
#> onetwoended
timeout 0.5 flux kvs get --waitcreate never; echo $?
#> 124
(flux kvs get --waitcreate later > got) & flux kvs put later=here; wait; cat got
#> here
flux kvs eventlog append -t 12.5 steps begin n=1
flux kvs eventlog get --unformatted steps
#> {"timestamp":12.5,"name":"begin","context":{"n":1}}
flux kvs eventlog get --human steps | cut -d' ' -f3-
#> begin n=1
flux kvs eventlog get --color=always steps | grep -c '33m'
#> 1
(flux kvs eventlog wait-event --waitcreate --quiet soon go && echo went) & flux kvs eventlog append soon go; wait
#> went
timeout 0.5 flux kvs eventlog wait-event --waitcreate never go; timeout 0.5 flux kvs eventlog get --watch --waitcreate never; echo $?
#> 124
flux kvs eventlog append soon stop
flux kvs eventlog wait-event --verbose soon stop | wc -l
#> 2
flux kvs eventlog wait-event --human soon stop | grep -c stop
#> 1
flux kvs eventlog wait-event --color=always soon stop | grep -c '33m'
#> 1
flux kvs eventlog wait-event --unformatted soon stop | grep -c '"name":"stop"'
#> 1
timeout 20 flux kvs eventlog wait-event --timeout=0.1s soon never 2> /dev/null; echo $?
#> 1
flux kvs eventlog get --watch --count=1 soon | wc -l; timeout 0.5 flux kvs eventlog get --watch soon > log; echo $?
#> 1
#> 124
flux kvs eventlog get --human soon | tail -1 | cut -c1
#> [
flux kvs namespace create --owner=77 theirs && flux kvs -N theirs getroot -o
#> 77
flux kvs namespace create foo bar
flux kvs put -N foo a.x=1 && flux kvs put a.z=0 --namespace=bar
flux kvs get --namespace=foo a.x; flux kvs -N foo get a.x; flux kvs --namespace=bar get a.x 2> /dev/null || echo not in bar
#> 1
#> 1
#> not in bar
flux kvs dir -N foo a
#> a.x = 1
flux kvs ls -N foo a
#> x
flux kvs link -N foo a.x l && flux kvs readlink -N foo l
#> a.x
flux kvs mkdir -N foo d && flux kvs unlink -N foo d && flux kvs getroot -N foo -s
#> 4
flux kvs version -N foo; flux kvs wait -N foo 1
#> 4
flux kvs eventlog append -N foo log begin && flux kvs eventlog get -N foo -u log | grep -c begin
#> 1
flux kvs eventlog wait-event -N foo -u log begin | grep -c begin
#> 1
timeout 0.5 flux kvs wait -N foo 1000; echo $?
#> 124
flux kvs copy -S foo -D bar a.x a.y && flux kvs get -N bar a.y
#> 1
FLUX_KVS_NAMESPACE=foo flux kvs get a.x
#> 1
FLUX_KVS_NAMESPACE=foo flux kvs get -N bar a.z
#> 0
flux kvs get --watch -N foo a > /dev/null 2>&1 || echo a directory $?
#> a directory 1
flux kvs namespace list | awk '$1 == "foo" {print NF, $3}'
#> 3 0x00000000
flux kvs namespace list | head -1 | xargs
#> NAMESPACE OWNER FLAGS
flux kvs namespace remove bar; flux kvs namespace list | grep -c bar
#> 0
flux kvs sync && flux kvs sync -N bar 2> /dev/null || echo no such namespace
#> no such namespace
