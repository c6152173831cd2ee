import type { Task } from '#fleet/task.ts'
import type { CommandEnd, RunningCommand } from '../../services/worker/running-command.ts'
import type { Life } from './clock.ts'
import { troubleOf, workOf } from './work.ts'

export interface CommandParts {
  readonly life: Life
  /** How often it prints a line. */
  readonly lineMs: number
  /** The name of where it runs, for its last line. */
  readonly place: string
  onLine(line: string): void
  /** Takes the program that started it along. */
  crash(): void
}

/** How long after its start a command takes its worker along. */
const CRASH_MS = 500
/** How soon it ends when it is told to. */
const STOP_MS = 50

/** The command of a task: it makes its trouble, or takes its time and prints a line now and then, and ends when it is told to. */
export function startCommand(task: Task, { life, lineMs, place, onLine, crash }: CommandParts): RunningCommand {
  const stopped = new AbortController()
  const pause = (ms: number): Promise<void> => life.clock.sleep(ms, stopped.signal).catch(() => undefined)
  let hasWorked = true
  const run = async (): Promise<CommandEnd> => {
    if (troubleOf(task) === 'kills its worker') {
      await pause(CRASH_MS)
      crash()
    }
    for (let leftMs = workOf(task).ms; leftMs > 0 && !stopped.signal.aborted; leftMs -= lineMs) {
      await pause(Math.min(lineMs, leftMs))
      onLine(`${leftMs} ms left`)
      hasWorked = true
    }
    if (!stopped.signal.aborted) return { exitCode: 0, signal: null, tail: `done on ${place}` }
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
