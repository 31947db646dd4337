#!/bin/sh
# Has Docker read its settings again and waits until live restore is as wanted; dockerd reloads in its own time.
# Argument: true or false, whether live restore is wanted.
# Several changes within a minute must not use up the starts that systemd allows it.
systemctl reset-failed docker.service
systemctl reload docker.service || exit 1
for _ in 1 2 3 4 5 6 7 8 9 10; do
  [ "$(docker info --format '{{.LiveRestoreEnabled}}')" = "$1" ] && exit 0
  sleep 0.5
done
echo "Docker did not take over 'live-restore' within 5 s." >&2
exit 1
