#!/bin/sh
# Has Docker read its settings again and waits until live restore is as wanted; dockerd reloads in its own time.
# Arguments: true or false, whether live restore is wanted; the file of its settings, if that is all it takes: it is then
# written down which file this run of Docker has read (a restart needs no record, for it is newer than the file).
# Several changes within a minute must not use up the starts that systemd allows it.
systemctl reset-failed docker.service
systemctl reload docker.service || exit 1
for _ in 1 2 3 4 5 6 7 8 9 10; do
  if [ "$(docker info --format '{{.LiveRestoreEnabled}}')" = "$1" ]; then
    [ -z "$2" ] || echo "$(systemctl show --property InvocationID --value docker.service) $(sha256sum "$2" | cut -d ' ' -f 1)" >/run/mistral-docker-settings
    exit 0
  fi
  sleep 0.5
done
echo "Docker did not take over 'live-restore' within 5 s." >&2
exit 1
