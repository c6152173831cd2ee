import { closeSync, constants, fstatSync, openSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import type { Clock } from '#runtime/clock.ts'
import { isRunning } from '#runtime/process-life.ts'
import { type Client, clientSessionName, type NamedClientSession } from '../client-session.ts'
import { agentsFolder } from '../hook-reports.ts'
import { forClient, PassingRefusal, type WakeAdapter } from './adapter.ts'
import { isOurs } from './client-environment.ts'

/**
 * The pipe on which a hook of an idle session waits (`s2 hook wait`): what is written there ends the hook, whose text begins a turn.
 * A pipe tells its writer whether anybody reads.
 */
export function waiterPipe(state: string, session: NamedClientSession): string {
  return join(waiterFolder(state), clientSessionName(session))
}

export function waiterFolder(state: string): string {
  return join(agentsFolder(state), 'waiters')
}

/** A turn that has just ended has a hook that waits soon, milliseconds: both begin at once. */
const BEGINS_WITHIN_MS = 20_000

/** Claude Code begins a turn with what a hook says that ended (`asyncRewake`); our plugin for opencode does the same. */
const TAKES_UP: ReadonlySet<Client> = new Set(['claude', 'opencode'])

/** Wakes by a hook that waits beside an idle session. It works in every permission mode. */
export function rewakeWaiter(state: string, clock: Clock): WakeAdapter {
  return forClient({
    rung: 'rewake',
    timeoutMs: 2_000,
    whyNot: async (session) => {
      if (!TAKES_UP.has(session.client)) return 'only Claude Code and opencode take up what a waiting hook says'
      if (session.process !== null && !isRunning(session.process)) return 'the process of the session has ended'
      const why = whyNobodyWaits(waiterPipe(state, session))
      if (why !== null && clock.wall() - session.since < BEGINS_WITHIN_MS) throw new PassingRefusal(why)
      return why
    },
    wake: async (session, text) => {
      const pipe = openWaited(waiterPipe(state, session))
      try {
        writeSync(pipe, `${text}\n`)
      } finally {
        closeSync(pipe)
      }
      return 'sent'
    },
  })
}

function whyNobodyWaits(path: string): string | null {
  try {
    closeSync(openWaited(path))
    return null
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    // ENXIO: nobody reads (fifo(7))
    return code === 'ENXIO' || code === 'ENOENT' ? 'no hook of the session waits now' : message
  }
}

/** Opens a pipe that somebody waits on; throws ENXIO or ENOENT where nobody does. */
export function openWaited(path: string): number {
  const pipe = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW)
  const stat = fstatSync(pipe)
  if (stat.isFIFO() && isOurs(stat.uid)) return pipe
  closeSync(pipe)
  throw new Error(`${path} is no pipe of this user`)
}
