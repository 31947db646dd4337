#!/bin/sh
# Has units run with the settings that lie there, or not run at all; prints what it did, one line for each.
# Arguments: for each unit its name, "started" or "stopped", and a file that it reads when it starts.
while [ $# -ge 3 ]; do
  unit=$1
  wanted=$2
  file=$3
  shift 3
  state=$(systemctl is-active "$unit")
  verb=
  if [ "$wanted" = stopped ]; then
    [ "$state" != active ] || verb=stop
  elif [ "$state" != active ]; then
    verb=start
  else
    # An earlier run may have written the settings and not lived to put them into effect.
    since=$(systemctl show --timestamp=us+utc --property ExecMainStartTimestamp --value "$unit")
    [ -z "$since" ] || [ -z "$(find "$file" -newermt "$since" 2>/dev/null)" ] || verb=restart
  fi
  [ "$(systemctl show --property NeedDaemonReload --value "$unit")" != yes ] || {
    systemctl daemon-reload
    [ "$verb" ] || [ "$wanted" = stopped ] || verb=restart
  }
  [ "$verb" ] || continue
  if ! systemctl "$verb" "$unit"; then
    journalctl --unit "$unit" --lines 5 --output cat --no-pager >&2
    exit 1
  fi
  echo "$verb $unit"
done
