import type { SessionId } from './session-id.ts'

/** A worker that did not ask for so long, milliseconds, begins anew: it was frozen, or had a task. Else it asks each half minute. */
const GAP_MS = 60_000

/**
 * Workers that ask for tasks and have none to take. That one begins to is a sign of work: it would take what there is. That it
 * goes on is none, for it may let a task lie and ask for others.
 */
export class AskingWorkers {
  readonly #last = new Map<SessionId, { readonly incarnation: string; readonly at: number }>()

  /** Notes that this incarnation of a worker asked, by the monotonic clock. Answers whether it begins to. */
  note(session: SessionId, incarnation: string, at: number): boolean {
    const last = this.#last.get(session)
    this.#last.set(session, { incarnation, at })
    return last === undefined || last.incarnation !== incarnation || at - last.at >= GAP_MS
  }

  forget(session: SessionId): void {
    this.#last.delete(session)
  }
}
