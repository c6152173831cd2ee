import type { Rung } from '#fleet/wake-ladder.ts'
import type { ClientSession } from '../client-session.ts'

/** What keeps a way from being tried now and may be over soon, without anybody who sees to it: a draft, another program that types. */
export class PassingRefusal extends Error {
  override readonly name = 'PassingRefusal'
}

/** One way to bring a text to an agent. */
export interface WakeAdapter<Session = ClientSession | null> {
  readonly rung: Rung
  /** How long one attempt may take, milliseconds. */
  readonly timeoutMs: number
  /**
   * Why it cannot be tried for this session, in a sentence for people; null where it can. Changes nothing. Rejects with a
   * `PassingRefusal` where it may be tried in a while.
   */
  whyNot(session: Session, signal: AbortSignal): Promise<string | null>
  /**
   * Brings the text there; rejects where it surely did not arrive, as `whyNot` does. `read`: the client itself said that a turn with the text began;
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
