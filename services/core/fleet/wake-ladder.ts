import type { ClientActivityState } from './client-activity.ts'

/** The ways to wake an agent, the strongest first; how each does it is in core/agents/wake. */
export const RUNGS = [
  'inbox_socket',
  'rewake',
  'app_server',
  'codex_queue',
  'tmux',
  'resume',
  'exec',
  'webhook',
  'desktop',
] as const
export type Rung = (typeof RUNGS)[number]

/** One rung that was tried, or could not be. */
export interface WakeTry {
  readonly rung: Rung
  /** By the clock that never jumps, milliseconds. */
  readonly at: number
  /** Why nothing reached the agent by it; null where something was sent, which proves no reading. */
  readonly refusal: string | null
  /** Whether what refused it may be over soon, so that it is tried again in the same wake. */
  readonly mayPass: boolean
}

/** What a client does, and how long ago it was heard of, milliseconds. */
export interface ClientView {
  readonly state: ClientActivityState
  readonly heardMs: number
}

/** What is known at one moment of one wake. */
export interface WakeView {
  /** By the clock that never jumps, milliseconds. */
  readonly now: number
  /** The text was seen to arrive, or the mail that it tells of was taken. */
  readonly isRead: boolean
  readonly tries: readonly WakeTry[]
  /** The rungs that this agent may be woken by, in their order. */
  readonly rungs: readonly Rung[]
  /** Null where no client is known. */
  readonly client: ClientView | null
  /** When something was sent to this agent in the last hour, milliseconds of the same clock. */
  readonly sent: readonly number[]
}

/**
 * What a wake waits for: that its text is read, the end of a turn, a person at a dialog, a limit of use, its budget, or that what keeps
 * a rung from being tried passes.
 */
export type WakeWait = 'proof' | 'turn' | 'person' | 'limit' | 'budget' | 'passing'

export type WakeStep =
  | { readonly do: 'done' }
  | { readonly do: 'wait'; readonly what: WakeWait; readonly forMs: number }
  | { readonly do: 'try'; readonly rung: Rung }
  | { readonly do: 'give_up' }

/** How long the agent has for reading a wake before the next rung is tried, milliseconds. */
export const PROOF_MS = 30_000
/** How long after a passing refusal a rung is tried again, and how often it is tried: for five minutes. */
export const AGAIN_MS = 5_000
export const AGAIN_MAX = 60
/** What one agent is sent in an hour. */
export const WAKES_AN_HOUR = 12
export const HOUR_MS = 3_600_000
/**
 * A turn that nothing was heard of for so long does not keep a wake waiting: a person who interrupts a turn ends it without a word
 * of the client.
 */
export const TURN_SILENT_MS = 600_000
/** The pause between two looks at what only others can change. */
const LOOK_AGAIN_MS = 1_000

/** What to do next for one wake. A wake counts only once it is read; whatever else its rung answered. */
export function nextWakeStep(view: WakeView): WakeStep {
  if (view.isRead) return { do: 'done' }
  return proofWait(view) ?? clientWait(view) ?? nextRung(view)
}

/** The rungs in the order in which they are tried: the one that worked for this agent and client before comes first. */
export function orderedRungs(allowed: readonly Rung[], worked: Rung | null): Rung[] {
  const first = worked !== null && allowed.includes(worked) ? [worked] : []
  return [...first, ...allowed.filter((each) => !first.includes(each))]
}

function proofWait({ now, tries }: WakeView): WakeStep | null {
  const last = tries.findLast(({ refusal }) => refusal === null)
  if (last === undefined || now - last.at >= PROOF_MS) return null
  return { do: 'wait', what: 'proof', forMs: last.at + PROOF_MS - now }
}

function clientWait({ client }: WakeView): WakeStep | null {
  const what = client === null ? null : whatClientIsAt(client)
  return what === null ? null : { do: 'wait', what, forMs: LOOK_AGAIN_MS }
}

/** What keeps a client from being woken now; null where nothing does. It reads its mail itself at the end of its turn. */
export function whatClientIsAt({ state, heardMs }: ClientView): WakeWait | null {
  const what = WAITS[state]
  return what === 'turn' && heardMs >= TURN_SILENT_MS ? null : what
}

const WAITS: Readonly<Record<ClientActivityState, WakeWait | null>> = {
  working: 'turn',
  overloaded: 'turn',
  waiting: 'person',
  logged_out: 'person',
  parked: 'limit',
  idle: null,
  gone: null,
}

/** The first rung that nobody tried; where there is none, one that was refused for a passing cause. */
function nextRung({ now, tries, rungs, sent }: WakeView): WakeStep {
  const untried = rungs.find((each) => !tries.some((past) => past.rung === each))
  if (untried !== undefined) return withinBudget(untried, sent, now)
  const passing = rungs.flatMap((rung) => {
    const past = tries.filter((each) => each.rung === rung)
    const last = past.at(-1)
    return last?.mayPass === true && past.length < AGAIN_MAX ? [{ rung, dueAt: last.at + AGAIN_MS }] : []
  })
  const [next] = passing.toSorted((one, other) => one.dueAt - other.dueAt)
  if (next === undefined) return { do: 'give_up' }
  if (next.dueAt > now) return { do: 'wait', what: 'passing', forMs: next.dueAt - now }
  return withinBudget(next.rung, sent, now)
}

function withinBudget(rung: Rung, sent: readonly number[], now: number): WakeStep {
  const recent = sent.filter((at) => now - at < HOUR_MS)
  if (recent.length < WAKES_AN_HOUR) return { do: 'try', rung }
  return { do: 'wait', what: 'budget', forMs: Math.max(LOOK_AGAIN_MS, Math.min(...recent) + HOUR_MS - now) }
}
