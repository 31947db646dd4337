# Says as JSON what there is for a conversion: the engine's container (first argument) and the one that converts (second),
# the source's size and what is free below the store (third) in KiB, and the store's record of the result.
# Fourth and fifth: the names of source and result in the store.
container() {
    found=$(docker container inspect --format '{{json .}}' "$1" 2>/dev/null) || found=null
    printf '%s' "$found"
}
size=null
if [ -f "$3/$4/config.json" ]; then
    size=$(du -skL "$3/$4" | cut -f 1)
fi
free=$(df -Pk "$3" 2>/dev/null | awk 'NR == 2 { print $4 }')
exists=false
if [ -e "$3/$5" ]; then
    exists=true
fi
printf '{"engine": %s, "converter": %s, "source_size": %s, "free": %s, "exists": %s, "record": %s}\n' \
    "$(container "$1")" "$(container "$2")" "$size" "${free:-0}" "$exists" "$(cat "$3/.store/$5.gguf.json" 2>/dev/null || echo null)"
