import { textTail } from '#fleet/cut-text.ts'
import type { Clock } from '#runtime/clock.ts'
import type { Log } from '#runtime/log.ts'
import { type Ending, hasSucceeded, howItEnded, runCommand } from '#runtime/run-command.ts'
import type { Config } from './config.ts'
import type { WakeProcesses } from './wake-processes.ts'
import { NotStartedError, type Wake, type WakeCall } from './waker.ts'

const OUTPUT_MAX = 16_000
const TAIL_MAX = 1_000

/**
 * Wakes by running a command with the call as JSON on its standard input; exit code 0 says that it worked. Processes that the
 * command leaves running in its process group end with it: a process that shall outlive it is started by setsid(1).
 */
export function wakeByCommand(
  { argv, env, timeoutMs }: NonNullable<Config['wake']>,
  wakeProcesses: WakeProcesses,
  clock: Clock,
  log: Pick<Log, 'debug'>,
): Wake {
  return async (call, signal) => {
    const input = `${JSON.stringify(inputOf(call))}\n`
    let group: Disposable | undefined
    const onStart = (pid: number): void => {
      group = wakeProcesses.enter(pid)
    }
    let ending: Ending
    try {
      const bounds = { timeoutMs, outputMax: OUTPUT_MAX, beyond: 'keep_tail' } as const
      ending = await runCommand(
        { argv, env: { ...env, ...wakeProcesses.mark }, input, onStart, ...bounds },
        clock,
        signal,
      )
    } catch (error) {
      throw new NotStartedError(`the wake command cannot be started: ${(error as Error).message}; see S2_WAKE`, {
        cause: error,
      })
    } finally {
      group?.[Symbol.dispose]()
    }
    log.debug('wake command ended', { ...ending, stdout: String(ending.stdout) })
    if (hasSucceeded(ending)) return
    throw new Error(`the wake command failed: ${why(ending, timeoutMs)}`, { cause: tailOf(ending) })
  }
}

function why(ending: Ending, timeoutMs: number): string {
  if (ending.ended === 'timeout') return `it ran longer than ${timeoutMs} ms`
  // 127 is the shell's code for it (sh(1), EXIT STATUS)
  return ending.code === 127 ? 'exit code 127, so the shell found no such command' : howItEnded(ending)
}

function tailOf({ stdout, stderr }: Ending): string {
  return textTail(stderr.trim() === '' ? String(stdout) : stderr, TAIL_MAX)
}

/**
 * What the command reads. `messages` are those that nobody was woken for before, and `count` says how many they are; `earlier`
 * are those that stayed unread since an earlier wake, and `unread` says how many wait in all.
 */
function inputOf({ target, mail, fresh, messages, earlier }: WakeCall): object {
  const sessions = [...new Set(mail.map(({ to }) => to))]
  return { target, sessions, count: fresh.size, messages, unread: mail.length, earlier }
}
