#!/usr/bin/env bash
# lab-janitor.sh DIR
#
# Waits for the end of its standard input, that is for the end of the lab that has the other end of the
# pipe, then removes what the lab had on this machine: swap files in DIR, the zram and loop devices that are
# noted there (device-NAME), control groups named like DIR, and DIR itself. Namespaces, and with them mounts, links and processes, need no removing.
set -u
work=$1
name=${work##*/}
trap '' INT TERM HUP

cat >/dev/null

swaps_off() {
  # The path shown is the one inside the lab; what follows the directory's name is the same outside.
  while read -r path _; do
    case $path in
      */"$name"/*) swapoff "$work/${path##*/"$name"/}" || return 1 ;;
    esac
  done < <(tail -n +2 /proc/swaps)
}

devices_gone() {
  local mark device
  for mark in "$work"/device-*; do
    [ -e "$mark" ] || continue
    device=${mark##*/device-}
    if grep -q "^/dev/$device " /proc/swaps; then swapoff "/dev/$device" || return 1; fi
    case $device in
      zram*) echo "${device#zram}" >/sys/class/zram-control/hot_remove || return 1 ;;
      loop*) losetup --detach "/dev/$device" || return 1 ;;
    esac
    rm "$mark"
  done
}

groups_gone() {
  local left=0
  while read -r group; do
    rmdir "$group" 2>/dev/null || left=1
  done < <(find /sys/fs/cgroup -depth -type d -path "*/$name*" 2>/dev/null)
  return $left
}

# The lab's processes were killed, but may take a moment to end, and until then use what is to go.
for _ in $(seq 300); do
  swaps_off && devices_gone && groups_gone && rm -rf "$work" 2>/dev/null && exit 0
  sleep 0.1
done
echo "lab-janitor.sh: could not remove all of $work; see /proc/swaps and /sys/fs/cgroup/*/$name" >&2
exit 1
