#!/bin/sh
# tests/crash/store.sh BUILD powercut|badmeta|caught|kill COUNT SEED - the storage
# alone under power cuts and SIGKILL. "badmeta": power cuts around a failed
# write of a meta page; "caught" proves that the power-cut test finds a program
# or a disk that cheats.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
build=$(cd "$1" && pwd)/tests/crash
what=$2 count=$3 seed=$4
tmp=$(mktemp -d "${TMPDIR:-/tmp}/store-crash-XXXXXX")
trap 'rm -rf "$tmp"' EXIT

cut() { python3 "$here/powercut.py" "$@"; }

record() { # NAME [early]
    name=$1; shift
    cut record --lib "$build/libpowercut_record.so" --dir "$tmp/$name" --log "$tmp/$name.log" \
        --marks "$tmp/$name.marks" -- \
        "$build/store_writer" run "$tmp/$name" "$tmp/$name.marks" 150 "$seed" "$@"
}

replay() { # NAME OPTIONS...
    name=$1; shift
    cut replay --dir "$tmp/$name" --log "$tmp/$name.log" --images "$count" --seed "$seed" "$@" -- \
        "$build/store_writer" verify '{dir}' '{marks}'
}

case $what in
powercut)
    mkdir "$tmp/honest"
    record honest
    replay honest --keep "$build/powercut-failed"
    ;;
badmeta)
    mkdir "$tmp/honest"
    POWERCUT_FAIL=12 record honest
    replay honest --keep "$build/powercut-failed"
    ;;
caught)
    mkdir "$tmp/honest" "$tmp/early"
    record honest
    record early early
    for kind in file folder dsync all; do
        replay honest --ignore-sync $kind --expect-failure
    done
    replay early --expect-failure
    ;;
kill)
    mkdir "$tmp/queue"
    : >"$tmp/marks"
    round=0
    while [ $round -lt "$count" ]; do
        round=$((round + 1))
        "$build/store_writer" run "$tmp/queue" "$tmp/marks" 100000 $((seed * 100000 + round)) &
        pid=$!
        sleep "0.$((round * 37 % 30 + 5))"
        kill -9 $pid
        wait $pid 2>/dev/null || true
        "$build/store_writer" verify "$tmp/queue" "$tmp/marks"
        # Only what is still to be there matters for the next round.
        awk '{ last[$2] = $1 } END { for (id in last) if (last[id] != "d") print last[id], id }' \
            "$tmp/marks" >"$tmp/marks.new"
        mv "$tmp/marks.new" "$tmp/marks"
    done
    echo "kill: $count rounds, $(wc -l <"$tmp/marks") messages kept, none lost"
    ;;
esac
