import { retryAfter, retryTimeIn } from '#agents/retry-time.ts'
import { programsOf } from '#fleet/exec-line.ts'
import type { Clock } from '#runtime/clock.ts'
import { placeFault, StartError, type StartPlace } from '#runtime/start-error.ts'
import { systemZone } from '#runtime/wall-day.ts'
import { clientKindOf, limitIn } from './client-limits.ts'
import type { CommandEnd } from './running-command.ts'

/** Why commands cannot work in a place, whatever the task is. */
export interface PlaceFault {
  /** `parked`: it may not work for a while; `sick`: it cannot. */
  readonly state: 'sick' | 'parked'
  /** One line for people. */
  readonly why: string
  /** Until when it is said to last, milliseconds since 1970; null where nobody says. */
  readonly until: number | null
  /** Looks whether it is still so, and answers why; null when it is not. Absent where only a task can show it. */
  readonly look?: () => string | null
  /** Nothing but the command's own word shows it, and a task can make a command say so. */
  readonly isSaid?: true
}

/** A run that did not succeed; `error` is what kept it from being started. */
export interface FailedRun {
  readonly end: CommandEnd
  readonly error: unknown
}

/** Why the place is to blame for a failed run; null where it is not. */
export type PlaceJudge = (run: FailedRun) => PlaceFault | null

/** The shell could not execute a program, or did not find it. */
const NOT_STARTED = [126, 127]
/** "Temporary failure", sysexits(3): a command says so that it is not the task's fault. */
const EX_TEMPFAIL = 75
/** The last lines of output that may tell why a command failed. What it printed before belongs to its work. */
const LAST_LINES = 8
/** What a shell, env or timeout says of a program that it could not execute, behind its name. */
const COMPLAINT = [
  '(?:command )?not found',
  'No such file or directory',
  'Permission denied',
  'cannot execute',
  'Exec format error',
  'Is a directory',
  String.raw`[^\s:]+: bad interpreter`,
].join('|')

/** What the end of a command line's run says of its place. `zone` is the one that its programs print their times in. */
export function placeJudge(place: StartPlace, clock: Pick<Clock, 'wall'>, zone = systemZone()): PlaceJudge {
  const programs = programsOf(place.argv)
  const kind = clientKindOf(programs)
  return ({ end, error }) => {
    if (error instanceof StartError) return faultOfStart(error, place)
    const { exitCode, client = 'died' } = end
    if (client !== 'died') return client === 'answered' ? null : client
    if (exitCode === null || exitCode === 0) return null
    const lines = lastLines(end.tail)
    const missing = NOT_STARTED.includes(exitCode) ? missingProgram(programs, lines, place) : null
    if (missing !== null) return missing
    const now = clock.wall()
    const said = kind === null ? null : limitIn(kind, lines)
    const asked = exitCode === EX_TEMPFAIL ? askedPause(lines, now) : null
    if (said !== null) {
      return { state: 'parked', why: `${kind}: ${said}`, until: asked?.until ?? retryTimeIn(said, now, zone) }
    }
    if (exitCode !== EX_TEMPFAIL) return null
    const why = lines.findLast((line) => !RETRY_AFTER.test(line)) ?? 'exit code 75'
    return { state: asked === null ? 'sick' : 'parked', why, until: asked?.until ?? null, isSaid: true }
  }
}

/** What is seen to be wrong with a place before anything is started there; null: nothing. */
export function seenFault(place: StartPlace): PlaceFault | null {
  const error = placeFault(place)
  return error === null ? null : faultOfStart(error, place)
}

function faultOfStart(error: StartError, place: StartPlace): PlaceFault {
  const fault = { state: 'sick', why: error.message, until: null } as const
  // What the system refused, such as one process more, shows only in a start.
  return error.code === 'system' ? fault : { ...fault, look: () => placeFault(place)?.message ?? null }
}

/**
 * The program of the command line itself that could not be started. One that a script of the task calls is the task's own
 * affair, so a complaint counts where it names a program of the command line, or where its only program is not there.
 */
function missingProgram(
  programs: readonly string[],
  lines: readonly string[],
  { cwd, env }: StartPlace,
): PlaceFault | null {
  // Shells complain in the language of their user, and env of the program that a script names: a single program is looked for.
  const only = programs.length === 1 && lines.length > 0 ? programs[0] : undefined
  const program = programs.findLast((each) => complaintOf(each, lines) !== undefined) ?? only
  if (program === undefined) return null
  const look = (): string | null =>
    placeFault({ argv: [program], env, ...(cwd === undefined ? {} : { cwd }) })?.message ?? null
  const seen = look()
  if (seen !== null) return { state: 'sick', why: seen, until: null, look }
  const why = complaintOf(program, lines)
  return why === undefined ? null : { state: 'sick', why, until: null, isSaid: true }
}

/** The line that says that this program could not be executed. One that it says of another begins with its name as well. */
function complaintOf(program: string, lines: readonly string[]): string | undefined {
  const name = RegExp.escape(program)
  const pattern = new RegExp(`(?:^|[\\s:'"‘“\`])${name}['"’”\`]?: (?:${COMPLAINT})|command not found: ${name}$`, 'i')
  return lines.findLast((line) => pattern.test(line))
}

const RETRY_AFTER = /^\s*retry-after:\s*(.*?)\s*$/i

/** The pause that a command asks for; null where it asks for none. */
function askedPause(lines: readonly string[], now: number): { readonly until: number | null } | null {
  const value = RETRY_AFTER.exec(lines.findLast((line) => RETRY_AFTER.test(line)) ?? '')?.[1]
  return value === undefined ? null : { until: retryAfter(value, now) }
}

function lastLines(tail: string): readonly string[] {
  return tail
    .split('\n')
    .filter((line) => line.trim() !== '')
    .slice(-LAST_LINES)
}
