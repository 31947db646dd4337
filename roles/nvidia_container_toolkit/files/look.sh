#!/bin/sh
# Prints what the container toolkit's role needs to know of this host as lines name=value; changes nothing.
# Arguments: our file of package sources, the address of our repository, names of packages.
ours=$1
address=$2
shift 2

info=$(timeout 30 docker info --format '{{json .}}' 2>/dev/null | tail -n 1)
case $info in
  '{'*) echo "info=$info" ;;
esac
echo "docker=$(readlink -f "$(command -v docker || echo /)")"
echo "dockerd=$(command -v dockerd)"
echo "unit_unread=$(systemctl show --property NeedDaemonReload --value nvidia-cdi-refresh.service 2>/dev/null)"

if command -v dpkg-query >/dev/null; then
  for package; do
    # "hold ok installed 1.20.0-1" becomes "held 1.20.0-1"; what is not wholly installed says so.
    state=$(dpkg-query --show --showformat '${Status} ${Version}\n' "$package" 2>/dev/null |
      sed -e 's/^hold ok installed /held /' -e 's/^install ok installed /free /')
    echo "package.$package=$state"
  done
elif command -v rpm >/dev/null; then
  # There, they are held by a repository that is off but for this role.
  for package; do
    echo "package.$package=$(rpm --query --queryformat 'held %{VERSION}-%{RELEASE}\n' "$package" 2>/dev/null | grep '^held ')"
  done
fi

# Other files that name the repository, apart by whether they name others too.
pattern="nvidia\.github\.io/(libnvidia-container|nvidia-docker|nvidia-container-runtime)"
alone=
mixed=
for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
  [ -f "$file" ] && [ "$file" != "$ours" ] || continue
  lines=$(grep -E '^[[:space:]]*(deb(-src)?[[:space:]]|URIs:)' "$file")
  named=$(printf '%s\n' "$lines" | grep -E -e "$pattern" -e "$(printf '%s' "$address" | sed 's/[.[\*^$+?(){|]/\\&/g')")
  [ -n "$named" ] || continue
  if [ "$named" = "$lines" ]; then alone="$alone $file"; else mixed="$mixed $file"; fi
done
echo "sources=${alone# }"
echo "mixed_sources=${mixed# }"
command -v getsebool >/dev/null && echo "selinux=$(getsebool container_use_devices 2>/dev/null | sed 's/.*--> //')"
exit 0
