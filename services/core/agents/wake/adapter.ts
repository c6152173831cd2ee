import type { Rung } from '#fleet/wake-ladder.ts'
import type { ClientSession } from '../client-session.ts'

/** One way to bring a text to an agent. */
export interface WakeAdapter<Session = ClientSession | null> {
  readonly rung: Rung
  /** How long one attempt may take, milliseconds. */
  readonly timeoutMs: number
  /** Why it cannot be tried for this session now, in a sentence for people; null where it can. Changes nothing. */
  whyNot(session: Session, signal: AbortSignal): Promise<string | null>
  /**
   * Brings the text there; rejects where it surely did not arrive. `read`: the client itself said that a turn with the text began;
   * `sent` proves no reading.
   */
  wake(session: Session, text: string, signal: AbortSignal): Promise<'sent' | 'read'>
}

/** An adapter that needs a session of a client whose process lives. */
export function forClient(adapter: WakeAdapter<ClientSession>): WakeAdapter {
  return {
    ...adapter,
    whyNot: async (session, signal) =>
      session === null ? 'no session of a client is known' : await adapter.whyNot(session, signal),
    wake: async (session, text, signal) => {
      if (session === null) throw new Error('no session of a client is known')
      return await adapter.wake(session, text, signal)
    },
  }
}
