import { nextWakeStep, orderedRungs, type Rung, type WakeTry, type WakeWait } from '#fleet/wake-ladder.ts'
import { boundedWait } from '#runtime/bounded-wait.ts'
import type { Clock } from '#runtime/clock.ts'
import type { ClientSession } from '../client-session.ts'
import { PassingRefusal, type WakeAdapter } from './adapter.ts'

/** What is seen of the agent at one moment. */
export interface WakeLook {
  /** The session that is woken; null where none is known. */
  readonly session: ClientSession | null
  /** Whether what the wake tells of is there no more, so that there is nothing to wake for. */
  readonly isTaken: boolean
  /** The client goes on by itself: no more is sent. What was sent last may still be read. Left out: it does not. */
  readonly goesOn?: boolean
}

export interface ClimbParts {
  readonly clock: Clock
  /** The rungs that may be used, the strongest first. */
  readonly adapters: readonly WakeAdapter[]
  /** The rung that worked for the agent before. */
  readonly worked: (session: ClientSession | null) => Rung | null
  /** When something was sent to the agent in the last hour, milliseconds since 1970. */
  readonly sent: () => readonly number[]
  readonly look: () => Promise<WakeLook>
  /** A place to try a rung in; null while other agents have them all. */
  readonly takePlace: (rung: Rung) => Disposable | null
  /** A new name for a wake. */
  readonly newId: () => string
  readonly text: (id: string) => string
  /** Told of what is being sent, which is over only once this has resolved; must not reject. */
  readonly onSend: (rung: Rung) => Promise<void>
  /** Told at each look for as long as nothing is sent for a cause of the agent's. */
  readonly onWait: (what: WakeWait, session: ClientSession | null) => void
}

export interface Climb {
  /** The rung whose text was read; null where the mail was taken or the client went on without one, or nothing was read. */
  readonly rung: Rung | null
  readonly isRead: boolean
  readonly session: ClientSession | null
  readonly tries: readonly WakeTry[]
  /** From what was sent to the proof that it was read, milliseconds; null without one. */
  readonly readMs: number | null
}

interface NamedTry extends WakeTry {
  readonly id: string
  /** The session of the client: a try at one says nothing of the next. */
  readonly session: string | null
}

/** How often it is looked whether a text was read. */
const LOOK_MS = 250

/** Wakes an agent rung by rung until one is proven to be read. Rejects when the signal aborts. */
export async function climb(parts: ClimbParts, signal: AbortSignal): Promise<Climb> {
  const { clock, adapters, look, onWait } = parts
  const tries: NamedTry[] = []
  let proven: NamedTry | null = null
  for (;;) {
    signal.throwIfAborted()
    const { session, isTaken, goesOn = false } = await look()
    proven ??= tries.findLast(({ id }) => session?.wakesRead.includes(id)) ?? null
    const step = nextWakeStep({
      now: clock.now(),
      isRead: isTaken || proven !== null,
      tries: tries.filter((each) => each.session === (session?.id ?? null)),
      rungs: orderedRungs(
        adapters.map(({ rung }) => rung),
        parts.worked(session),
      ),
      client: session === null ? null : { state: session.activity.state, heardMs: clock.wall() - session.heardAt },
      sent: parts.sent().map((at) => clock.now() - (clock.wall() - at)),
    })
    if (step.do === 'done') return endOf(proven ?? lastSent(tries), session, tries, clock.now())
    const isProofDue = step.do === 'wait' && step.what === 'proof'
    if (goesOn && !isProofDue) return { rung: null, isRead: true, session, tries, readMs: null }
    if (step.do === 'give_up') return { rung: null, isRead: false, session, tries, readMs: null }
    if (step.do === 'wait') {
      if (step.what !== 'proof') onWait(step.what, session)
      await clock.sleep(Math.min(step.forMs, LOOK_MS), signal)
      continue
    }
    using place = parts.takePlace(step.rung)
    if (place === null) {
      await clock.sleep(LOOK_MS, signal) // what is seen then decides anew
      continue
    }
    const tried = await tryRung(step.rung, session, parts, signal)
    tries.push(tried.made)
    if (tried.isRead) proven = tried.made
  }
}

function lastSent(tries: readonly NamedTry[]): NamedTry | null {
  return tries.findLast(({ refusal }) => refusal === null) ?? null
}

function endOf(by: NamedTry | null, session: ClientSession | null, tries: readonly NamedTry[], now: number): Climb {
  return { rung: by?.rung ?? null, isRead: true, session, tries, readMs: by === null ? null : now - by.at }
}

async function tryRung(
  rung: Rung,
  session: ClientSession | null,
  parts: ClimbParts,
  signal: AbortSignal,
): Promise<{ readonly made: NamedTry; readonly isRead: boolean }> {
  const { clock, adapters, newId, text, onSend } = parts
  const id = newId()
  const adapter = adapters.find((each) => each.rung === rung) as WakeAdapter
  const attempt = async (over: AbortSignal): Promise<'sent' | 'read' | Error> => {
    const why = await adapter.whyNot(session, over)
    if (why !== null) return new Error(why)
    // The agent does not wait for the disk: what was sent counts in this process at once, and for the next one a moment later.
    const [outcome] = await Promise.all([adapter.wake(session, text(id), over), onSend(rung)])
    return outcome
  }
  const at = clock.now()
  const answer = await boundedWait(attempt, adapter.timeoutMs, clock, signal).catch((error: Error) => error)
  signal.throwIfAborted()
  const refusal = typeof answer === 'string' ? null : answer.message
  const mayPass = answer instanceof PassingRefusal
  return { made: { rung, at, refusal, mayPass, id, session: session?.id ?? null }, isRead: answer === 'read' }
}
