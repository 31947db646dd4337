#!/bin/sh
# Says as JSON whether the image $1 is there, made from the inputs $2; if it is not, where Docker keeps its images, how much
# room there is, and whether $3 is a GGUF file.
# Reads only; Docker need not be installed.
image=$(docker image inspect --format '{{index .Config.Labels "io.mistralrs.stack.inputs"}}' "$1" 2>/dev/null)
if [ "$image" = "$2" ]; then
    echo '{"present": true}'
    exit
fi
root=$(docker info --format '{{.DockerRootDir}}' 2>/dev/null)
root=${root:-/var/lib/docker}
place=$root
while [ ! -d "$place" ]; do
    place=$(dirname "$place")
done
free=$(df --block-size=1048576 --output=avail "$place" | tail -n 1 | tr -d ' ')
gguf=false
if [ "$(head --bytes 4 "$3" 2>/dev/null | tr --delete --complement A-Z)" = GGUF ]; then
    gguf=true
fi
printf '{"present": false, "root": "%s", "free_mb": %s, "gguf": %s}\n' "$root" "$free" "$gguf"
