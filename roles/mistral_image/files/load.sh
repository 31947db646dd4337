#!/bin/sh
# Loads the archive $1 into Docker and names its image $2, if that is an engine image of version $3.
said=$(docker load --quiet --input "$1" 2>&1) || {
    echo "$said" | tail -n 1
    exit 1
}
# "Loaded image: NAME" or "Loaded image ID: sha256:..."
image=$(echo "$said" | sed -n 's/^Loaded image\( ID\)\{0,1\}: //p' | tail -n 1)
version=$(docker image inspect --format '{{index .Config.Labels "io.mistralrs.stack.engine_version"}}' "$image")
if [ "$version" != "$3" ]; then
    echo "the image in it is of version '$version' and not $3"
    exit 1
fi
docker tag "$image" "$2"
