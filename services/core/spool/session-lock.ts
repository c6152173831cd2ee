import { accessSync, constants } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { join } from 'node:path'
import type { SessionId } from '#fleet/session-id.ts'
import { listen } from '#runtime/health.ts'
import { isSocketAnswered } from '#runtime/program-presence.ts'

/**
 * Keeps two agents of one host from working for one session: each would take over the other's task as one of a former run,
 * and it would be done twice. A lock is a listening socket, so it ends with its program, however that ends.
 */
export class SessionLocks implements AsyncDisposable {
  readonly #state: string
  readonly #held = new Map<SessionId, Promise<Server | null>>()

  constructor(state: string) {
    this.#state = state
  }

  /** Takes the lock of a session. Answers false while another program has it. */
  async hold(session: SessionId): Promise<boolean> {
    const claim = this.#held.get(session) ?? this.#claim(session)
    this.#held.set(session, claim)
    try {
      if ((await claim) !== null) return true
    } catch (error) {
      this.#held.delete(session)
      throw error
    }
    this.#held.delete(session)
    return false
  }

  async #claim(session: SessionId): Promise<Server | null> {
    const path = lockPath(lockFolder(this.#state), session)
    const server = createServer((socket) => socket.destroy())
    try {
      await listen(server, { path })
    } catch (error) {
      if (await isSocketAnswered(path)) return null
      throw error
    }
    server.unref()
    return server
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const claim of this.#held.values()) (await claim.catch(() => null))?.close()
  }
}

/** Whether a program of this host works for a session, as `s2 work` does. */
export async function isWorkedFor(state: string, session: SessionId): Promise<boolean> {
  const folders = new Set([join(state, 'run'), lockFolder(state)])
  for (const folder of folders) if (await isSocketAnswered(lockPath(folder, session))) return true
  return false
}

/** An agent with a user of its own may write its spool alone: the folder of the sockets is the services'. */
function lockFolder(state: string): string {
  const run = join(state, 'run')
  try {
    accessSync(run, constants.W_OK | constants.X_OK)
    return run
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EACCES' ? join(state, 'outbox') : run
  }
}

function lockPath(folder: string, session: SessionId): string {
  return join(folder, `work-${session.replace('/', '-')}.sock`)
}
