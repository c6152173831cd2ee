import type { Task } from '#fleet/task.ts'
import type { CommandEnd, RunningCommand } from '../../services/worker/running-command.ts'
import type { Life } from './clock.ts'
import { troubleOf, workOf } from './work.ts'

/** A place in which no command can work, or none may before a time of the world. */
export interface SickPlace {
  readonly state: 'sick' | 'parked'
  /** How long it will still be so, milliseconds. */
  leftMs(): number
}

export interface CommandParts {
  readonly life: Life
  /** How often it prints a line. */
  readonly lineMs: number
  /** Where it runs, by its name. */
  readonly where: string
  /** What is wrong with that place; null: nothing. */
  readonly fault: SickPlace | null
  onLine(line: string): void
  /** Takes the program that started it along. */
  crash(): void
  /** Told that it will never do anything again; calls what it answers when somebody has ended it. */
  onHang(): () => void
}

/** How long after its start a command takes its worker along. */
const CRASH_MS = 500
/** How soon a command ends that cannot work, or fails at once. */
const FAILS_MS = 300
/** "Temporary failure", sysexits(3). */
const EX_TEMPFAIL = 75
/** Half of a character, as it stands at the end of a text that was cut in the middle of one. */
const HALF = '\ud83d'
/** How soon it ends when it is told to. */
const STOP_MS = 50

/** The command of a task: it makes its trouble, or takes its time and prints a line now and then, and ends when it is told to. */
export function startCommand(task: Task, parts: CommandParts): RunningCommand {
  const { life, lineMs, where, fault, onLine, crash, onHang } = parts
  const stopped = new AbortController()
  const pause = (ms: number): Promise<void> => life.clock.sleep(ms, stopped.signal).catch(() => undefined)
  const trouble = troubleOf(task)
  const half = trouble === 'garbles its report' ? HALF : ''
  let hasWorked = true
  const run = async (): Promise<CommandEnd> => {
    if (fault !== null || trouble === 'fails at once') await pause(FAILS_MS)
    if (fault !== null && !stopped.signal.aborted) return endIn(fault)
    if (trouble === 'fails at once' && !stopped.signal.aborted) return failed(1, 'no such option')
    if (trouble === 'kills its worker') {
      await pause(CRASH_MS)
      crash()
    }
    if (trouble === 'hangs') {
      onLine('Continue? [y/N]')
      const end = onHang()
      await pause(Number.POSITIVE_INFINITY)
      end()
    }
    for (let leftMs = workOf(task).ms; leftMs > 0 && !stopped.signal.aborted; leftMs -= lineMs) {
      await pause(Math.min(lineMs, leftMs))
      if (trouble !== 'is quiet') onLine(`${leftMs} ms left${half}`)
      hasWorked = true // it prints, or burns processor time
    }
    if (!stopped.signal.aborted) return { exitCode: 0, signal: null, tail: `done on ${where}${half}` }
    await life.clock.sleep(STOP_MS)
    return { exitCode: null, signal: 'SIGTERM', tail: '' }
  }
  return {
    ended: run(),
    hasWorked: async () => {
      const had = hasWorked
      hasWorked = false
      return had
    },
    stop: () => stopped.abort(),
  }
}

function failed(exitCode: number, tail: string): CommandEnd {
  return { exitCode, signal: null, tail }
}

/** As a command says it that blames the place, and not its task. */
function endIn({ state, leftMs }: SickPlace): CommandEnd {
  const asks = `usage limit reached\nretry-after: ${Math.ceil(leftMs() / 1_000)}`
  return failed(EX_TEMPFAIL, state === 'parked' ? asks : 'no space left on device')
}
