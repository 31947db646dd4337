#!/bin/sh
# Says as JSON where Docker keeps its images, how much room there is, which inputs the image named $1 was made from, and
# whether $2 is a GGUF file.
# Reads only; Docker need not be installed.
root=$(docker info --format '{{.DockerRootDir}}' 2>/dev/null)
root=${root:-/var/lib/docker}
place=$root
while [ ! -d "$place" ]; do
    place=$(dirname "$place")
done
free=$(df --block-size=1048576 --output=avail "$place" | tail -n 1 | tr -d ' ')
image=$(docker image inspect --format '{{index .Config.Labels "io.mistralrs.stack.inputs"}}' "$1" 2>/dev/null)
gguf=false
if [ "$(head --bytes 4 "$2" 2>/dev/null | tr --delete --complement A-Z)" = GGUF ]; then
    gguf=true
fi
printf '{"root": "%s", "free_mb": %s, "image": "%s", "gguf": %s}\n' "$root" "$free" "$image" "$gguf"
