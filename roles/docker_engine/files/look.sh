#!/bin/sh
# Prints what there is of Docker on this host as lines name=value; changes nothing.
# Arguments: where Docker will keep its data if it does not say so itself; names of packages to look for.
data_root=$1
shift

said=$(mktemp)
trap 'rm -f "$said"' EXIT
info=$(timeout 30 docker info --format '{{json .}}' 2>"$said" | tail -n 1)
case $info in
  '{'*)
    running_root=$(docker info --format '{{.DockerRootDir}}' 2>/dev/null)
    data_root=${running_root:-$data_root}
    ;;
  *) info= ;;
esac

# The daemon's reason for not starting, else its or systemd's last complaint, else what its client said.
journal=$(journalctl --unit docker.service --lines 100 --output cat --no-pager 2>/dev/null | grep -v level=info)
words=$(printf '%s\n' "$journal" | grep -E 'failed to start daemon|unable to configure|level=fatal|Failed at step' | tail -n 1)
[ -n "$words" ] || words=$(printf '%s\n' "$journal" | grep -vE '^(docker\.service|Start|Stopp|Failed to start docker)' | grep -iE 'error|cannot|failed|no such' | tail -n 1)
[ -n "$words" ] || words=$(printf '%s\n' "$journal" | grep -iE 'error|cannot|too quickly' | tail -n 1)
[ -n "$words" ] || words=$(grep -v '^ *$' "$said" | tail -n 1)

folder=$data_root
while [ ! -d "$folder" ]; do folder=$(dirname "$folder"); done

echo "info=$info"
echo "words=$words"
echo "daemon=$(command -v dockerd || systemctl show --property FragmentPath --value docker.service 2>/dev/null)"
echo "state=$(systemctl is-active docker.service 2>/dev/null)"
echo "enabled=$(systemctl is-enabled docker.service 2>/dev/null)"
echo "packages=$(dpkg-query --show --showformat '${db:Status-Status} ${Package}\n' "$@" 2>/dev/null | sed -n 's/^installed //p' | tr '\n' ' ')"
echo "data_root=$data_root"
echo "free_kb=$(df -Pk "$folder" | awk 'NR == 2 { print $4 }')"
