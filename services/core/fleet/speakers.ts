import type { Beat, Contest } from './beat.ts'
import { S2Error } from './errors.ts'
import type { SessionId } from './session-id.ts'

/** How long a place that was heard keeps others out, milliseconds: longer than beats are apart, shorter than a silence. */
export const PLACE_HELD_MS = 30_000

interface Speaker {
  readonly place: string
  /** What its host is called; null until it has beaten. */
  host: string | null
  /** By the store's monotonic clock. */
  heardAt: number
  /** A host that was refused since this one was heard last. */
  refused: string | null
}

/**
 * The place that speaks for each session. A place is where one life of an agent runs (`spool/place.ts`): a copy of a machine, or a
 * second container, is another place with the same credential. The first that is heard speaks, and others are refused until it
 * has been silent for PLACE_HELD_MS. Older hosts name no place, and are heard beside any.
 */
export class Speakers {
  readonly #speakers = new Map<SessionId, Speaker>()
  readonly #contests = new Map<SessionId, Omit<Contest, 'times'>>()

  /** Hears a beat. Answers the refusal where another place speaks for its session. */
  hear({ session, place, host }: Beat, now: number): S2Error | null {
    return place === undefined ? null : this.#speak(session, place, host, now)
  }

  /** Hears a question for work, which does not say what its host is called. Throws where another place speaks for the session. */
  demand(session: SessionId, place: string | undefined, now: number): void {
    const refusal = place === undefined ? null : this.#speak(session, place, null, now)
    if (refusal !== null) throw refusal
  }

  /**
   * The sessions that turned out to live twice, each told once. A refusal alone is no proof: a machine that was started again is
   * another place too. But when the first is heard again after it, both live.
   */
  takeContests(): Omit<Contest, 'times'>[] {
    const contests = [...this.#contests.values()]
    this.#contests.clear()
    return contests
  }

  /** Nobody can speak for the session from where it was spoken for: it is nobody's any more, or another host was admitted. */
  forget(session: SessionId): void {
    this.#speakers.delete(session)
  }

  #speak(session: SessionId, place: string, host: string | null, now: number): S2Error | null {
    const speaker = this.#speakers.get(session)
    if (speaker === undefined || (speaker.place !== place && now - speaker.heardAt >= PLACE_HELD_MS)) {
      this.#speakers.set(session, { place, host, heardAt: now, refused: null })
      return null
    }
    if (speaker.place !== place) {
      speaker.refused = host ?? speaker.refused
      return refusal(session, speaker, host, now)
    }
    speaker.heardAt = now
    if (host === null) return null
    speaker.host = host
    if (speaker.refused !== null) this.#contests.set(session, { session, heard: host, refused: speaker.refused })
    speaker.refused = null
    return null
  }
}

/** Whether a beat, or a question for work, was refused because another place speaks for its session. */
export function isSpokenFor(error: unknown): error is S2Error {
  return error instanceof S2Error && error.code === 'conflict'
}

function refusal(session: SessionId, { host, heardAt }: Speaker, refused: string | null, now: number): S2Error {
  const who = host === null ? 'another host' : host === refused ? `another host that is called ${host} too` : host
  return new S2Error('conflict', `${session} is spoken for by ${who}, and one credential is for one host`, {
    next: `stop S2 on one of the two, or let one join under a name of its own (s2 worker invite); where the other falls silent, this one is let in after ${PLACE_HELD_MS / 1_000} s`,
    retryAfterS: Math.ceil((heardAt + PLACE_HELD_MS - now) / 1_000),
  })
}
