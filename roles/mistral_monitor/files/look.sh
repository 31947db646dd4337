#!/bin/sh
# Prints what there is of Prometheus and who has its address, as lines name=value; changes nothing.
# Arguments: its service, its address and port, our folder of settings, its folder of data.
unit=$1
address=$2
settings=$3
data=$4

echo "state=$(systemctl is-active "$unit.service" 2>/dev/null) $(systemctl is-enabled "$unit.service" 2>/dev/null)"
echo "installed=$(systemctl show --property FragmentPath --value "$unit.service" 2>/dev/null)"
echo "folders=$([ -d "/etc/systemd/system/$unit.service.d" ] && [ -d "$settings" ] && echo there)"

# What the running service has not read: settings of its unit since it started, settings of its own since it last changed its
# state, which a reload does too.
since=$(systemctl show --timestamp=us+utc --property ExecMainStartTimestamp --value "$unit.service" 2>/dev/null)
unit_unread=$([ -z "$since" ] || find "/etc/systemd/system/$unit.service.d" -newermt "$since" 2>/dev/null | tr '\n' ' ')
[ "$(systemctl show --property NeedDaemonReload --value "$unit.service" 2>/dev/null)" != yes ] || unit_unread="$unit_unread unit"
echo "unit_unread=$unit_unread"
since=$(systemctl show --timestamp=us+utc --property StateChangeTimestamp --value "$unit.service" 2>/dev/null)
echo "settings_unread=$([ -z "$since" ] || find "$settings" -name '*.yml' -newermt "$since" 2>/dev/null | tr '\n' ' ')"

# Somebody's own settings: not ours are in use, and the package's file is not as the package brought it.
if [ ! -e "$settings/prometheus.yml" ]; then
  dpkg-query --show --showformat '${Conffiles}\n' "$unit" 2>/dev/null | while read -r file sum _; do
    [ "$file" = /etc/prometheus/prometheus.yml ] && [ -e "$file" ] && [ "$(md5sum <"$file")" != "$sum  -" ] && echo "foreign=$file"
  done
fi

# Listeners on the same address or on all.
others=$(ss -Hltnp "sport = :${address##*:}" 2>/dev/null | awk -v address="$address" -v own="$unit" '
  (address !~ /^[0-9a-f[]/ || address ~ /^(0\.0\.0\.0|\[::\]):/ || $4 == address || $4 ~ /^(\*|0\.0\.0\.0|\[::\]):/) &&
  index($6, "((\"" own "\"") == 0 { print ($6 == "" ? "another program" : $6) }')
echo "others=$(printf '%s\n' "$others" | sed 's/users:(("\([^"]*\)",pid=\([0-9]*\).*/\1 (process \2)/' | sort -u | paste -sd, -)"

folder=$data
while [ ! -d "$folder" ]; do folder=$(dirname "$folder"); done
echo "free_kb=$(df -Pk "$folder" | awk 'NR == 2 { print $4 }')"
