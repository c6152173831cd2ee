import { closeSync, lstatSync, readdirSync, unlinkSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import type { Clock } from '#runtime/clock.ts'
import type { KnownProcess } from '#runtime/process-life.ts'
import { ensureFolder } from '#spool/atomic-files.ts'
import type { NamedClientSession } from '../client-session.ts'
import { openWaited, waiterFolder, waiterPipe } from './rewake-waiter.ts'

/** How long a hook waits: within the time that the client gives it. At the end of the next turn another one waits. */
const WAITS_SECONDS = 590
/** How often it looks whether its client lives. */
const LOOKS_EVERY_SECONDS = 5
/** What ends an earlier waiter of the same session. */
const DISMISSAL = 'another waits'
const DISMISSED_WITHIN_MS = 1_000
const LOOK_MS = 20
/** A pipe that nobody waited on for so long is left over. */
const LEFT_OVER_MS = 86_400_000

/**
 * Waits for one line, in a shell: its three processes take half a megabyte together, where a program of ours would take a
 * hundred times as much, beside every idle agent. The pipe is opened for both directions, so that a writer who looks whether anybody reads does not end it.
 * It looks now and then whether the client lives, whose death nobody tells its hooks. What is written between two looks stays in the pipe.
 * Whoever ends the shell by its group ends them all: timeout(1) would leave that group, and busybox has no such option.
 * A wake ends it with 2 and its text on standard error, which Claude Code takes for the beginning of a turn.
 */
const SCRIPT = `umask 077
[ -p "$1" ] || mkfifo "$1" || exit 0
stay=--foreground
timeout $stay 1 true 2>/dev/null || stay=
exec 3<>"$1"
left=$2
line=
until line=$(timeout $stay "$3" head -n 1 <&3); do
  left=$((left - $3))
  [ "$left" -gt 0 ] || exit 0
  [ -z "$4" ] || kill -0 "$4" 2>/dev/null || exit 0
done
case $line in "S2 wake "*) printf '%s\\n' "$line" >&2; exit 2 ;; esac
exit 0`

/** How long a hook waits, and for whom. */
export interface WaitBounds {
  /** The client's process; null where it is not known. */
  readonly client: Pick<KnownProcess, 'pid'> | null
  readonly seconds?: number
  readonly looksEverySeconds?: number
}

/**
 * The command by which a hook waits for a wake of its session. An earlier waiter of the session is sent away first, so that there is
 * one, however many turns have ended. Throws what the disk says.
 */
export async function waiterCommand(
  state: string,
  session: NamedClientSession,
  clock: Clock,
  { client, seconds = WAITS_SECONDS, looksEverySeconds = LOOKS_EVERY_SECONDS }: WaitBounds,
): Promise<readonly [string, ...string[]]> {
  await ensureFolder(waiterFolder(state))
  const pipe = waiterPipe(state, session)
  await dismissEarlier(pipe, clock)
  clearLeftOver(waiterFolder(state), clock)
  const bounds = [String(seconds), String(looksEverySeconds), String(client?.pid ?? '')]
  return ['/bin/sh', '-c', SCRIPT, 's2-hook-wait', pipe, ...bounds]
}

async function dismissEarlier(pipe: string, clock: Clock): Promise<void> {
  if (!tell(pipe, `${DISMISSAL}\n`)) return
  for (const until = clock.now() + DISMISSED_WITHIN_MS; tell(pipe, '') && clock.now() < until; ) {
    await clock.sleep(LOOK_MS)
  }
}

/** Answers false where nobody waits. */
function tell(pipe: string, line: string): boolean {
  try {
    const open = openWaited(pipe)
    if (line !== '') writeSync(open, line)
    closeSync(open)
    return true
  } catch {
    return false
  }
}

function clearLeftOver(folder: string, clock: Clock): void {
  for (const name of readdirSync(folder)) {
    const path = join(folder, name)
    const stat = lstatSync(path, { throwIfNoEntry: false })
    if (stat?.isFIFO() !== true || clock.wall() - stat.mtimeMs < LEFT_OVER_MS || tell(path, '')) continue
    unlinkSync(path)
  }
}
