# Says who listens on a port (first argument) and whether an image (second argument) and the project are there.
ss -Hltnp "sport = :$1" 2>/dev/null | awk '{ print "listener=" $4 " " $6 }'
if command -v docker >/dev/null; then
    docker ps --filter "publish=$1/tcp" --format 'container={{.Names}}' 2>/dev/null
    if [ -n "$2" ] && docker image inspect "$2" >/dev/null 2>&1 && [ -e /etc/mistral/compose.yml ]; then
        echo startable=yes
    fi
fi
exit 0
