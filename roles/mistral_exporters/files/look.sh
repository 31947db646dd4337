#!/bin/sh
# Prints what there is of services and who has their addresses, as lines name=value; changes nothing.
# Arguments: name of a service, its address and port; and so on for each.
while [ $# -ge 2 ]; do
  unit=$1
  address=$2
  shift 2
  echo "$unit.state=$(systemctl is-active "$unit.service" 2>/dev/null) $(systemctl is-enabled "$unit.service" 2>/dev/null)"
  echo "$unit.installed=$(systemctl show --property FragmentPath --value "$unit.service" 2>/dev/null)"
  echo "$unit.folder=$([ -d "/etc/systemd/system/$unit.service.d" ] && echo there)"
  # What the running service has not read: settings that are newer than it, or that systemd itself has not read.
  since=$(systemctl show --timestamp=us+utc --property ExecMainStartTimestamp --value "$unit.service" 2>/dev/null)
  unread=$([ -z "$since" ] || find "/etc/systemd/system/$unit.service.d" -newermt "$since" 2>/dev/null | tr '\n' ' ')
  [ "$(systemctl show --property NeedDaemonReload --value "$unit.service" 2>/dev/null)" != yes ] || unread="$unread unit"
  echo "$unit.unread=$unread"
  # Listeners on the same address or on all; the kernel keeps 15 characters of a program's name.
  others=$(ss -Hltnp "sport = :${address##*:}" 2>/dev/null | awk -v address="$address" -v own="$(printf '%.15s' "$unit")" '
    (address !~ /^[0-9a-f[]/ || address ~ /^(0\.0\.0\.0|\[::\]):/ || $4 == address || $4 ~ /^(\*|0\.0\.0\.0|\[::\]):/) &&
    index($6, "((\"" own "\"") == 0 { print ($6 == "" ? "another program" : $6) }')
  echo "$unit.others=$(printf '%s\n' "$others" | sed 's/users:(("\([^"]*\)",pid=\([0-9]*\).*/\1 (process \2)/' | sort -u | paste -sd, -)"
done
