import { PROOF_MS, type Rung, whatClientIsAt } from '#fleet/wake-ladder.ts'
import { trialText } from '#fleet/wake-text.ts'
import { boundedWait } from '#runtime/bounded-wait.ts'
import type { Clock } from '#runtime/clock.ts'
import type { ClientSession } from '../client-session.ts'
import type { WakeAdapter } from './adapter.ts'

/** What became of one rung that was tried for one session. */
export interface WakeTrial {
  readonly rung: Rung
  /** `read`: proven; `sent`: nothing said within the time that it was read; `no`: nothing was sent. */
  readonly outcome: 'read' | 'sent' | 'no'
  /** From the sending to the proof; null without one. */
  readonly readMs: number | null
  /** Why nothing was sent, in a sentence; null where something was. */
  readonly why: string | null
}

export interface TrialParts {
  readonly clock: Clock
  readonly newId: () => string
  /** The session as it is now; null where it is gone. */
  readonly look: (session: ClientSession) => Promise<ClientSession | null>
  /** Asks a person whether this rung may be used. */
  readonly mayTry: (session: ClientSession, rung: Rung) => Promise<boolean>
}

const LOOK_MS = 100
/** How long a client may take to come to rest before a rung is tried. */
const REST_MS = 60_000

/** Tries one rung for one session: waits until the client idles, sends, and waits for the proof that it was read. */
export async function tryWake(
  session: ClientSession,
  adapter: WakeAdapter,
  parts: TrialParts,
  signal: AbortSignal,
): Promise<WakeTrial> {
  const { clock, newId, mayTry } = parts
  const { rung } = adapter
  const no = (why: string): WakeTrial => ({ rung, outcome: 'no', readMs: null, why })
  const rested = await untilIdle(session, parts, signal)
  if (typeof rested === 'string') return no(rested)
  const why = await adapter.whyNot(rested, signal).catch((error: Error) => error.message)
  if (why !== null) return no(why)
  if (!(await mayTry(rested, rung))) return no('nobody said that it may be tried: say y when asked, or --yes')
  const id = newId()
  const began = clock.now()
  const sent = await boundedWait(
    (over) => adapter.wake(rested, trialText(id), over),
    adapter.timeoutMs,
    clock,
    signal,
  ).catch((error: Error) => error)
  if (sent instanceof Error) return no(sent.message)
  const isRead = sent === 'read' || (await untilRead(rested, id, parts, signal))
  return { rung, outcome: isRead ? 'read' : 'sent', readMs: isRead ? clock.now() - began : null, why: null }
}

/** The session once its client waits for input; a sentence where it does not come to that. */
async function untilIdle(
  session: ClientSession,
  parts: TrialParts,
  signal: AbortSignal,
): Promise<ClientSession | string> {
  const { clock, look } = parts
  for (const until = clock.now() + REST_MS; ; ) {
    const now = await look(session)
    if (now === null) return 'the session is gone'
    const { state } = now.activity
    const at = whatClientIsAt({ state, heardMs: clock.wall() - now.heardAt })
    if (at === null) return now
    if (at !== 'turn') return `the client waits: ${now.activity.what ?? state}`
    if (clock.now() >= until) return 'the client works'
    await clock.sleep(LOOK_MS, signal)
  }
}

async function untilRead(session: ClientSession, id: string, parts: TrialParts, signal: AbortSignal): Promise<boolean> {
  const { clock, look } = parts
  for (const until = clock.now() + PROOF_MS; clock.now() < until; await clock.sleep(LOOK_MS, signal)) {
    if ((await look(session))?.wakesRead.includes(id)) return true
  }
  return false
}
