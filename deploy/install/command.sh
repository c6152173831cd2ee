# The commands `s2` and, for the worker of ROLE=both, `s2-worker`.
# shellcheck shell=sh

check_commands() {
  for name in s2 $([ "$ROLE" != both ] || echo s2-worker); do
    command=$DESTDIR$BIN/$name
    [ -e "$command" ] || [ -L "$command" ] || continue
    grep -qs S2_STATE "$command" || fail "$command is there and is another program" 'move it away, or choose another BIN'
    is_ours "$command" || fail "$command belongs to another installation of S2" "make uninstall$suffix for that one first, or choose another BIN"
  done
}

lay_command() { # name user group state settings agent-apart
  mkdir -p "$DESTDIR$BIN"
  command=$DESTDIR$BIN/$1
  init="--folder $ETC --state $STATE"
  [ "$ROLE" != both ] || init="$init --worker-state $worker_state"
  # Without an owner `s2 init` means the caller and the caller's own service manager.
  if [ $MODE = system ]; then
    init="$init --owner $owner"
    [ "$ROLE" != both ] || init="$init --worker-owner $worker_owner"
  fi
  sed "s#@PREFIX@#$PREFIX#g; s#@COMMAND@#$BIN/$1#g; s#@USER@#$2#g; s#@GROUP@#$3#g; s#@STATE@#$4#g; s#@SETTINGS@#$5#g; s#@APART@#$6#g; s#@ETC@#$ETC#g; s#@INIT@#$init#g" \
    "$here/deploy/install/s2.sh" >"$command.part"
  chmod 755 "$command.part"
  if cmp -s "$command.part" "$command"; then rm "$command.part"; else mv "$command.part" "$command"; fi
}

lay_commands() {
  if [ "$ROLE" = both ]; then
    lay_command s2 "$owner" "$group" "$STATE" "$ETC/s2.env" ''
    lay_command s2-worker "$worker_owner" "$worker_group" "$worker_state" '' "$AGENT_APART"
    return
  fi
  lay_command s2 "$owner" "$group" "$STATE" "$ETC/s2.env" "$AGENT_APART"
  take_command s2-worker
}

take_command() { # name: removes it where it belongs to this installation
  ! is_ours "$DESTDIR$BIN/$1" || rm -f "$DESTDIR$BIN/$1"
}
