import { spawn } from 'node:child_process'
import type { Writable } from 'node:stream'
import { programCommand } from '#runtime/argv-of-program.ts'
import type { Chance, Clock } from '#runtime/clock.ts'
import { signalGroup } from '#runtime/run-command.ts'
import { startedProcess } from '#runtime/start-error.ts'
import { type ChildEnd, ProcessSupervisor, type RunningChild } from './keep-process-running.ts'
import { MARK } from './process-tree.ts'

export interface ReaperParts {
  readonly clock: Clock
  readonly chance: Chance
  readonly env: Readonly<Record<string, string | undefined>>
}

const END_MS = 3_000

/**
 * Starts a process that outlives this one and ends the fleet of a state folder when this one dies: it waits at a pipe whose
 * other end only this process holds. An orderly end is announced through the pipe.
 */
export function startReaper(state: string, { clock, chance, env }: ReaperParts): AsyncDisposable {
  let pipe: Writable | null = null
  let ended: Promise<ChildEnd> | null = null
  const start = (): RunningChild => {
    const [file, ...args] = programCommand('local', `--end-orphans-of=${state}`)
    const own = Object.entries(env).filter(([name]) => name !== MARK && !name.startsWith('S2_'))
    const place = { argv: [file, ...args] as const, cwd: '/', env: Object.fromEntries(own) }
    const child = startedProcess(place, () =>
      spawn(file, args, { ...place, detached: true, stdio: ['pipe', 'ignore', 'ignore'] }),
    )
    child.on('error', () => undefined)
    child.stdin.on('error', () => undefined)
    const { pid } = child
    pipe = child.stdin
    ended = new Promise((resolve) => child.once('exit', (code, signal) => resolve({ code, signal })))
    return { pid, ended, signal: (signal) => signalGroup(pid, signal) }
  }
  const supervisor = new ProcessSupervisor({ clock, chance, start, say: () => undefined })
  return {
    [Symbol.asyncDispose]: async () => {
      supervisor.hold()
      pipe?.end('over\n')
      const over = new AbortController()
      void ended?.then(() => over.abort())
      await clock.sleep(END_MS, over.signal).catch(() => undefined)
      await supervisor.stop(0)
    },
  }
}
