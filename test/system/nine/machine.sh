#!/bin/bash
# The first process of a machine: builds its file system out of what no machine can write to and its own disk, and stays.
# Run in fresh mount, network, process, host name and IPC name spaces: machine.sh NAME ROOT DISK PROJECT NODE
set -e
name=$1 root=$2 disk=$3 project=$4 node=$5

hostname "$name"
mkdir -p "$root" "$disk"
mount -t tmpfs -o mode=755 machine "$root"
mkdir -p "$root"/{usr,etc,dev,proc,tmp,run,old,opt/s2,opt/node,var/lib/s2}
for link in bin sbin lib lib64; do
  if [ -L "/$link" ]; then cp -d "/$link" "$root/$link"; elif [ -d "/$link" ]; then mkdir "$root/$link"; fi
done
share() { mount --bind "$1" "$root/$2" && mount -o remount,bind,ro "$root/$2"; } # what all may read and nobody can change
share /usr usr
share /etc etc
for folder in bin sbin lib lib64; do [ -L "/$folder" ] || [ ! -d "/$folder" ] || share "/$folder" "$folder"; done
share "$project" opt/s2
share "$(dirname "$node")" opt/node
mount --rbind /dev "$root/dev"
mount -t tmpfs tmp "$root/tmp"
mount -t tmpfs run "$root/run"
mount --bind "$disk" "$root/var/lib/s2"
mount -t proc proc "$root/proc"
ip link set lo up

cd "$root"
pivot_root . old
umount -l /old
exec /usr/bin/sleep infinity
