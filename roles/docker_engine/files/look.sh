#!/bin/sh
# Prints what there is of Docker on this host as lines name=value; changes nothing.
# Arguments: where Docker is to keep its data if it does not say so itself, and the same in its settings; the package whose
# versions are wanted (may be empty); the user of its user namespace (may be empty); the address of its package
# repository (may be empty); names of packages to look for.
wanted_root=$1
former_root=$2
versions_of=$3
user=${4%%:*}
repository=$5
shift 5
data_root=$wanted_root

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

# If the data is to move, the new place counts for space and file system.
folder=$data_root
[ "$wanted_root" = "$former_root" ] || folder=$wanted_root
while [ ! -d "$folder" ]; do folder=$(dirname "$folder"); done

# The names of dockerd's options only: values may be secret.
options=$(
  systemctl show --property ExecStart --value docker.service 2>/dev/null | sed -n 's/.*argv\[\]=\([^;]*\);.*/\1/p'
  sed -n 's/^ *DOCKER_OPTS= *["'\'']\{0,1\}\([^"'\'']*\).*/\1/p' /etc/default/docker 2>/dev/null
)
flags=$(printf '%s\n' $options | sed -n 's/^\(--*[A-Za-z][a-zA-Z-]*\).*/\1/p' | sort -u | tr '\n' ' ')

has_data=no
for root in "${running_root:-$former_root}" "$former_root"; do
  for part in "$root"/containers "$root"/image/*/imagedb/content/sha256 "$root"/volumes; do
    [ -z "$(find "$part" -mindepth 1 -maxdepth 1 ! -name metadata.db ! -name backingFsBlockDev 2>/dev/null | head -n 1)" ] || has_data=yes
  done
done

userns_user=no
if [ -n "$user" ] && id "$user" >/dev/null 2>&1 && grep -qs "^$user:" /etc/subuid && grep -qs "^$user:" /etc/subgid; then
  userns_user=yes
fi

# A dead user's socket stays behind; the daemon's process tells who has one.
rootless=
for socket in /run/user/*/docker.sock; do
  [ -S "$socket" ] || continue
  id=${socket#/run/user/}
  id=${id%/docker.sock}
  [ "$id" = 0 ] || rootless="$rootless $(id -nu "$id" 2>/dev/null || echo "$id")"
done

# What the running daemon has not read of this role's settings of its unit, or a program that was replaced under it. Drop-ins of
# others are their owners' to put into effect.
drop_ins=/etc/systemd/system/docker.service.d
own=$drop_ins/mistral-proxies.conf
unread=
pid=$(systemctl show --property MainPID --value docker.service 2>/dev/null)
if [ "${pid:-0}" -gt 0 ]; then
  since=$(systemctl show --timestamp=us+utc --property ExecMainStartTimestamp --value docker.service)
  [ -z "$since" ] || unread=$(find "$own" /etc/docker/mistral-proxies.env -newermt "$since" 2>/dev/null | tr '\n' ' ')
  # Written or removed by a run that was killed before it told systemd.
  there=no
  [ ! -e "$own" ] || there=yes
  known=no
  case " $(systemctl show --property DropInPaths --value docker.service) " in *" $own "*) known=yes ;; esac
  [ "$there" = "$known" ] || unread="$unread $own"
  # Removed, and systemd told, but Docker not restarted: nothing but it was in the folder.
  if [ "$there" = no ] && [ -n "$since" ] && [ -z "$(ls -A "$drop_ins" 2>/dev/null)" ]; then
    unread="$unread $(find "$drop_ins" -maxdepth 0 -newermt "$since" 2>/dev/null)"
  fi
  case $(readlink "/proc/$pid/exe") in
    *' (deleted)') unread="$unread program" ;;
  esac
fi

echo "info=$info"
echo "words=$words"
echo "daemon=$(command -v dockerd || systemctl show --property FragmentPath --value docker.service 2>/dev/null)"
echo "state=$(systemctl is-active docker.service 2>/dev/null)"
echo "enabled=$(systemctl is-enabled docker.service 2>/dev/null)"
installed=$(dpkg-query --show --showformat '${db:Status-Status} ${Package} ${Version} ${db:Status-Want}\n' "$@" 2>/dev/null | sed -n 's/^installed //p')
echo "packages=$(printf '%s\n' "$installed" | cut -d ' ' -f 1 | tr '\n' ' ')"
echo "package_versions=$(printf '%s\n' "$installed" | tr ' ' = | tr '\n' ' ')"
if [ -n "$versions_of" ]; then
  echo "versions=$(apt-cache madison "$versions_of" 2>/dev/null | awk '$NF != "Sources" && !seen[$3]++ { print $3 }' | tr '\n' ' ')"
fi
[ -z "$repository" ] || echo "repository=$(grep -lsF "${repository#*://}" /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources | head -n 1)"
echo "data_root=$data_root"
echo "free_kb=$(df -Pk "$folder" | awk 'NR == 2 { print $4 }')"
echo "file_system=$(findmnt --noheadings --output FSTYPE --target "$folder" 2>/dev/null | tail -n 1)"
echo "flags=$flags"
echo "has_data=$has_data"
echo "routes=$(awk 'NR > 1 { printf "%s:%s:%s ", $1, $2, $8 }' /proc/net/route 2>/dev/null)"
echo "userns_user=$userns_user"
echo "snap=$(ls -d /snap/docker/current 2>/dev/null)"
echo "rootless=$rootless"
echo "unread=$unread"
echo "environment=$(ls /etc/docker/mistral-proxies.env 2>/dev/null)"
