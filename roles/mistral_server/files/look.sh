# Says who listens on a port (first argument), whether an image (second argument) and the project are there, whether the
# unit that closes the container's way out (third) is there, enabled and its rule (fourth) in force, and whether there is
# the network of an earlier release (fifth).
PATH=$PATH:/usr/sbin:/sbin
ss -Hltnp "sport = :$1" 2>/dev/null | awk '{ print "listener=" $4 " " $6 }'
if command -v docker >/dev/null; then
    docker ps --filter "publish=$1/tcp" --format 'container={{.Names}}' 2>/dev/null
    if [ -n "$2" ] && docker image inspect "$2" >/dev/null 2>&1 && [ -e /etc/mistral/compose.yml ]; then
        echo startable=yes
    fi
    # Only if nobody else is in it.
    case $(docker network inspect --format 'containers={{range .Containers}}{{.Name}},{{end}}' "$5" 2>/dev/null) in
    containers= | containers=mistral-engine,) echo former_network=yes ;;
    esac
fi
if [ -e "/etc/systemd/system/$3" ]; then
    # shellcheck disable=SC2086 # words of a rule
    if [ -e "/etc/systemd/system/multi-user.target.wants/$3" ] && iptables --wait --table mangle --check $4 2>/dev/null; then
        echo egress=closed
    else
        echo egress=open
    fi
fi
exit 0
