import type { SessionId } from '#fleet/session-id.ts'
import type { Report } from '#fleet/task.ts'
import type { AgentWords } from './agent-words.ts'

interface LeftEndsParts {
  readonly words: AgentWords
  /** Keeps a report durably. */
  readonly reports: { put(holder: SessionId, report: Report): Promise<unknown> }
}

/** Reports the tasks that their agents ended, and a former run of this program did not live to report: they are not done again. */
export class LeftEnds {
  readonly #parts: LeftEndsParts
  /** Only a former run leaves something: each session is looked at once. */
  readonly #seen = new Set<SessionId>()

  constructor(parts: LeftEndsParts) {
    this.#parts = parts
  }

  /** Throws what the disk says; the next call goes on then. */
  async report(sessions: readonly SessionId[]): Promise<void> {
    const fresh = sessions.filter((session) => !this.#seen.has(session))
    if (fresh.length === 0) return
    const { words, reports } = this.#parts
    for (const { session, task, epoch, progress, end } of await words.left(fresh)) {
      if (end === null) continue
      const result = { exitCode: null, signal: null, tail: end.words }
      await reports.put(session, { task, epoch, state: end.state, progress, result })
      await words.forget({ task })
    }
    for (const session of fresh) this.#seen.add(session)
  }
}
