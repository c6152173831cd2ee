import type { SessionId } from './session-id.ts'

/** A worker that did not ask for so long, milliseconds, begins anew: it was frozen, or had a task. It asks each few seconds else. */
const GAP_MS = 60_000

/**
 * Workers that ask for tasks and have none to take. That one begins to is a sign of work: it would take what there is. That it
 * goes on is none, for it may let a task lie and ask for others.
 */
export class AskingWorkers {
  readonly #last = new Map<SessionId, { readonly life: string; readonly at: number }>()

  /** Notes that this life of a worker asked, by the monotonic clock. Answers whether it begins to. */
  note(session: SessionId, life: string, at: number): boolean {
    const last = this.#last.get(session)
    this.#last.set(session, { life, at })
    return last === undefined || last.life !== life || at - last.at >= GAP_MS
  }

  forget(session: SessionId): void {
    this.#last.delete(session)
  }
}
