# Settings and data: their folders, and the users that they belong to.
# shellcheck shell=sh

owner_of() { if [ "$1" = "$worker_state" ]; then echo "$worker_owner"; else echo "$owner"; fi; } # state
group_of() { if [ "$1" = "$worker_state" ]; then echo "$worker_group"; else echo "$group"; fi; }

make_users() {
  made=''
  for name in $(service_users | cut -d' ' -f1); do
    ! getent passwd "$name" >/dev/null || continue
    home=$(service_users | sed -n "s/^$name //p")
    useradd --system --home-dir "$home" --no-create-home --shell /usr/sbin/nologin --user-group "$name" || {
      for each in $made; do userdel "$each" || true; done
      fail "the user $name cannot be made" 'what useradd said stands above'
    }
    made="$made $name"
  done
}

# The state folder is made before a first start, because ssh keys lie in it. No other user can read it.
make_state() { # state
  whose=$(owner_of "$1"):$(group_of "$1")
  mkdir -p "$1"
  folder=$(real "$1")
  case $(stat -c %a "$folder") in 700 | 710 | 750) ;; *) chmod 750 "$folder" ;; esac
  # The group of an agent apart passes through.
  case $(stat -c %U:%G "$folder") in
    "$whose" | "${whose%%:*}:$shared_group") ;;
    *)
      # Services that run there as another user would go on writing as that user.
      pause_services "$1"
      chown -R -P "$whose" "$folder"
      ;;
  esac
  # A unit hides the keys from a service only where their folder is there when that starts.
  if [ ! -d "$folder/keys" ] || [ -L "$folder/keys" ]; then
    mkdir -m 700 "$folder/keys" && chown -h "$whose" "$folder/keys" ||
      fail "the folder of keys cannot be made in $1" 'what was said stands above'
  fi
}
# Stops those services that run; they are started again when all is laid.
pause_services() { # state
  for service in $(services_in "$1"); do
    ! ctl is-active --quiet "$service" || echo "$service"
  done >>"$at/paused"
  # shellcheck disable=SC2046
  [ ! -s "$at/paused" ] || ctl stop $(sort -u "$at/paused")
}
services_in() { # state: the services that use it
  for service in $services; do
    case "$ROLE $service" in
      both\ s2-worker-*) [ "$1" != "$worker_state" ] || echo "$service" ;;
      *) [ "$1" != "$STATE" ] || echo "$service" ;;
    esac
  done
}

lay_settings() {
  mkdir -p "$DESTDIR$ETC"
  chmod 750 "$DESTDIR$ETC"
  [ -e "$DESTDIR$ETC/s2.env" ] || (
    umask 027
    cat >"$DESTDIR$ETC/s2.env.part" <<'TEXT'
# Settings of all S2 services of this host, NAME=value lines; `s2 config` lists them, `s2 init` asks for the first ones.
# A file <service>.env beside this one wins over it. Services read them when they start.
TEXT
    mv "$DESTDIR$ETC/s2.env.part" "$DESTDIR$ETC/s2.env"
  )
  ! for_host || chgrp -R "$group" "$(real "$ETC")"
}

# Removes a folder, and the one that it links to; a disk that is mounted there is emptied.
remove_folder() { # path
  folder=$1
  ! live || folder=$(real "$1")
  [ ! -d "$folder" ] || find "$folder" -mindepth 1 -delete
  rmdir "$folder" 2>/dev/null || true
  [ ! -L "$1" ] || rm -f "$1"
}
named() { # path, and what it is a link to
  if [ -L "$DESTDIR$1" ]; then echo "$DESTDIR$1, which is a link to $(real "$DESTDIR$1"),"; else echo "$DESTDIR$1"; fi
}

first_file_of() { # user: a file of that user on any disk of this machine
  findmnt --noheadings --raw --output TARGET --types ext2,ext3,ext4,xfs,btrfs,zfs,f2fs,overlay,tmpfs |
    while read -r mount; do find "$(printf %b "$mount")" -xdev -user "$1" -print -quit 2>/dev/null; done | head -n 1
}

# A user stays while it owns a file, because a later user with its number would get the file.
remove_users() {
  for_host || return 0
  for name in $(service_users | cut -d' ' -f1); do
    getent passwd "$name" >/dev/null || continue
    if [ -n "$(other_installations)" ]; then
      say "the user $name stays: S2 is installed in $(other_installations | tr '\n' ' ')too"
      continue
    fi
    theirs=$(first_file_of "$name")
    if [ -n "$theirs" ]; then say "the user $name stays: $theirs is its"; continue; fi
    userdel "$name" || true
  done
}
