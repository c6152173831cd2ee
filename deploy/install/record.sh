# The record of an installation: how it was installed, so that upgrade and removal use that and never defaults. It is a
# file of NAME=value lines in PREFIX; a list beside the data names all installations.
# shellcheck shell=sh

# The places that are used unless others are given or recorded.
set_defaults() {
  if [ $MODE = user ]; then
    [ -n "${HOME:-}" ] || fail 'HOME is not set' 'name your home: HOME=/home/you make install-user' 64
    default_PREFIX=$HOME/.local/opt/s2
    default_ETC=${XDG_CONFIG_HOME:-$HOME/.config}/s2
    default_STATE=${XDG_STATE_HOME:-$HOME/.local/state}/s2
    default_UNITS=${XDG_DATA_HOME:-$HOME/.local/share}/systemd/user
    default_BIN=$HOME/.local/bin
    list=${XDG_STATE_HOME:-$HOME/.local/state}/s2-installations
  else
    default_PREFIX=/opt/s2
    default_ETC=/etc/s2
    default_STATE=/var/lib/s2
    # Units do not go into /etc: units there are the administrator's (`systemctl edit --full`) and win over these.
    default_UNITS=/usr/local/lib/systemd/system
    default_BIN=/usr/local/bin
    list=/var/lib/s2-installations
    umask 022 # the services' users must be able to read the files, whatever root's mask is
  fi
}

# The prefixes of all installations. One that is older than the list is at the default.
installations() {
  { echo "$default_PREFIX"; cat "$list" 2>/dev/null; } | sort -u | while read -r each; do
    [ ! -f "$each/.s2" ] || echo "$each"
  done
}

# The installation to work on: the named one, or the only one.
find_installation() {
  if [ -z "${PREFIX:-}" ] && live; then
    # shellcheck disable=SC2046 # a prefix has no blanks
    set -- $(installations)
    [ $# -le 1 ] || fail "S2 is installed here more than once: $*" 'name the one you mean, for example PREFIX='"$1" 64
    PREFIX=${1:-}
  fi
  PREFIX=${PREFIX:-$default_PREFIX}
}

# A recorded value of an installation; nothing where it is not known.
recorded() { # prefix name
  if [ "$2" = PREFIX ]; then
    echo "${1#"$DESTDIR"}"
    return
  fi
  if [ -f "$1/installation" ]; then
    sed -n "s/^$2=//p" "$1/installation"
    return
  fi
  # Older installers wrote no such file: other values are read from the units that they installed.
  older=''
  for folder in ${UNITS:+"$DESTDIR$UNITS"} "$DESTDIR$default_UNITS" /etc/systemd/system; do
    if grep -qs "=file:${1#"$DESTDIR"}/current/" "$folder/s2-.service.d/10-common.conf"; then older=$folder && break; fi
  done
  case $2 in
    ROLE) cat "$1/role" 2>/dev/null || true ;;
    AGENT) cat "$1/agent" 2>/dev/null || true ;;
    RELEASE) cat "$1/installed" 2>/dev/null || basename "$(readlink "$1/current")" ;;
    UNITS) [ "$older" = /etc/systemd/system ] || echo "${older#"$DESTDIR"}" ;;
    BIN) ! grep -qs "${1#"$DESTDIR"}/current/" "$DESTDIR$default_BIN/s2" || echo "$default_BIN" ;;
    ETC) sed -n 's#^EnvironmentFile=-\(.*\)/s2\.env$#\1#p' "$older"/s2-.service.d/*.conf 2>/dev/null | head -n 1 ;;
    STATE) sed -n 's#^Environment=.*S2_STATE=\([^ ]*\).*#\1#p' "$older"/s2-.service.d/*.conf 2>/dev/null | sed 's#^%S/#/var/lib/#' | head -n 1 ;;
  esac
}

# Whether a unit or a command belongs to this installation.
is_ours() { grep -qs "[ =-]$PREFIX/current/" "$1"; } # file

# Uses recorded values for those that are not given. A different value is refused where data or units would be left behind;
# ROLE, AGENT and AGENT_APART may change, and check_host checks that they can; of the last two the one that is given counts.
remember() {
  at=$DESTDIR$PREFIX
  was='' was_apart='' asked_agent=${AGENT:-} asked_apart=${AGENT_APART:-}
  for name in ROLE AGENT AGENT_APART ETC STATE UNITS BIN; do
    eval "given=\${$name:-} default=\${default_$name:-}"
    known=''
    if [ -f "$at/.s2" ]; then known=$(recorded "$at" "$name"); fi
    if [ $name = ROLE ]; then was=$known; fi
    if [ $name = AGENT_APART ]; then was_apart=$known; fi
    case $name,${ROLE:-} in AGENT*,orchestrator) known='' ;; esac # they were the worker's
    case $name,$asked_agent,$asked_apart in
      AGENT,,none) ;;
      AGENT,,?* | AGENT_APART,?*,) known='' ;;
    esac
    case $name in
      ROLE | AGENT | AGENT_APART) ;;
      *)
        # Units and the command are removed with an installation; the others stay.
        case $name in UNITS | BIN) move='' ;; *) move=" move what is in $known," ;; esac
        [ -z "$known" ] || [ "${given:-$known}" = "$known" ] ||
          fail "S2 in $at is installed with $name=$known, and not $given" "leave $name away; or make uninstall$suffix, which leaves settings and data,$move and install it anew with $name=$given" 64
        ;;
    esac
    eval "$name=\${given:-\${known:-\$default}}"
  done
  ROLE=${ROLE:-orchestrator}
  [ "$AGENT_APART" != none ] || AGENT_APART=''
}

write_record() { # release in force
  for name in ROLE AGENT AGENT_APART ETC STATE UNITS BIN; do
    eval "printf '%s=%s\n' $name \"\$$name\""
  done >"$at/installation.part"
  printf 'RELEASE=%s\n' "$1" >>"$at/installation.part"
  mv "$at/installation.part" "$at/installation"
  live || return 0
  mkdir -p "$(dirname "$list")"
  grep -qsxF "$PREFIX" "$list" || echo "$PREFIX" >>"$list"
}

forget_record() {
  live && [ -f "$list" ] || return 0
  grep -vxF "$PREFIX" "$list" >"$list.part" || true
  if [ -s "$list.part" ]; then mv "$list.part" "$list"; else rm -f "$list.part" "$list"; fi
}

other_installations() { live && installations | grep -vxF "$PREFIX" || true; }

# A path with all links resolved, whether it exists or not.
real() { readlink -m "$1"; }

lies_in() { # path folder: it is that folder, or within it
  above=$(real "$2")
  case $(real "$1")/ in "${above%/}"/*) return 0 ;; esac
  return 1
}
meet() { lies_in "$1" "$2" || lies_in "$2" "$1"; }

# Another installation that uses a path, or something in it.
other_with() { # path name…: of which of its folders
  path=$1
  shift
  other_installations | while read -r other; do
    for name; do
      theirs=$(recorded "$other" "${name%-worker}")
      [ -n "$theirs" ] || continue
      case $name in
        *-worker) theirs=$theirs-worker ;;
        UNITS | BIN) [ "$(real "$theirs")" = "$(real "$path")" ] || continue ;;
      esac
      if meet "$path" "$theirs"; then
        echo "$other"
        return
      fi
    done
  done | head -n 1
}
