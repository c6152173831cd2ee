import { readdir, stat, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { publish } from '#spool/atomic-files.ts'
import { readPlainFile } from '#spool/plain-file.ts'
import type { ClientKind } from '../client-limits.ts'
import { field, textOf } from './said.ts'

const FILE_MAX = 10_000
/** How long a session is remembered whose task went elsewhere and did not come back. */
const KEPT_MS = 30 * 86_400_000
const SUFFIX = '.json'

/**
 * Which session of a client belongs to which task, kept in the state folder: a task that is begun again on this host goes on in
 * the session in which it was begun.
 */
export class TaskSessions {
  readonly #folder: string
  readonly #client: ClientKind

  constructor(state: string, client: ClientKind) {
    this.#folder = join(state, 'agents', 'tasks')
    this.#client = client
  }

  /** The session of a task that was begun in this folder; null where there is none. What cannot be read is none. */
  async find(task: string, folder: string): Promise<string | null> {
    const file = await readPlainFile(this.#path(task), FILE_MAX).catch(() => null)
    const known = file === null ? null : parsed(file.text)
    const isOurs = field(known, 'client') === this.#client && field(known, 'folder') === folder
    const session = textOf(field(known, 'session'))
    return isOurs && session !== null && SESSION.test(session) ? session : null
  }

  /** Throws what the system says. */
  async note(task: string, folder: string, session: string): Promise<void> {
    if (!SESSION.test(session)) return
    await publish(this.#path(task), `${JSON.stringify({ client: this.#client, session, folder })}\n`)
  }

  async forget(task: string): Promise<void> {
    await unlink(this.#path(task)).catch(() => undefined)
  }

  /** Forgets those that are old. */
  async tidy(now: number): Promise<void> {
    const names = await readdir(this.#folder).catch(() => [])
    for (const name of names.filter((each) => each.endsWith(SUFFIX))) {
      const found = await stat(join(this.#folder, name)).catch(() => null)
      if (found !== null && found.mtimeMs < now - KEPT_MS) await this.forget(name.slice(0, -SUFFIX.length))
    }
  }

  #path(task: string): string {
    return join(this.#folder, `${task}${SUFFIX}`)
  }
}

/** An id of a session goes into a command line: it is never an option. */
const SESSION = /^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$/

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}
