import type { AgentCondition } from './agent-condition.ts'
import type { ObservedBeat } from './beat.ts'
import { byStrength, type ClientActivity } from './client-activity.ts'
import type { SessionId } from './session-id.ts'

/** What an observer thinks that the client of an agent does. */
export interface ClientStanding {
  /** The session whose host says it. */
  readonly session: SessionId
  readonly activity: ClientActivity
  /** Since when it has done that, by the observer's clock. */
  readonly since: number
}

/** What the decisions ask of clients. */
export type ClientReader = Pick<ClientObserver, 'of' | 'isKnown' | 'isSettled' | 'agents'>

/** A state that has held for so long is shown, milliseconds: a dialog that is answered at once is none. */
const SETTLE_MS = 2_000
/** A client that is started again within this time was never gone, milliseconds. */
const GONE_AFTER_MS = 1_000
/** A service that refuses for longer than this keeps its client from work, milliseconds: clients try again for minutes. */
const OVERLOADED_AFTER_MS = 120_000

/** What the host of one session says of its client. */
interface ClientRecord {
  readonly session: SessionId
  agent: string
  /** What was said last; null: nothing. */
  said: ClientActivity | null
  /** Since when that is said. */
  saidAt: number
  /** What it is thought to do; null before that is known. */
  shown: { readonly activity: ClientActivity | null; readonly since: number } | null
  /** That was so before the observer was paused or blind, and has not been said since. */
  isDoubtful: boolean
}

/**
 * What the clients of agents do, as the beats of their hosts say. What is said counts once it has held for a moment, as far as
 * later beats do not say otherwise. Beats of before the observer looked prove nothing. Holds no clock and does no I/O; times are
 * the observer's own, monotonic.
 */
export class ClientObserver {
  readonly #records = new Map<SessionId, ClientRecord>()
  readonly #byAgent = new Map<string, Set<ClientRecord>>()
  readonly #unsettled = new Set<ClientRecord>()

  /** Takes in beats that changed since the last read. Hosts that say nothing of clients, and never did, cost next to nothing. */
  hear(beats: readonly ObservedBeat[], agentOf: (session: SessionId) => string | undefined, now: number): void {
    for (const { session, activity = null } of beats) {
      const known = this.#records.get(session)
      if (known === undefined && activity === null) continue
      const agent = agentOf(session)
      if (agent !== undefined) this.#note(known ?? this.#add(session, agent, now), agent, activity, now)
    }
  }

  /** Takes over what has held for long enough. Answers whether anything is thought otherwise now. */
  settle(now: number): boolean {
    let isNews = false
    for (const record of this.#unsettled) {
      if (!hasHeld(record, now)) continue
      const { said, saidAt, shown } = record
      const goesOn = shown !== null && isSameState(shown.activity, said)
      record.shown = { activity: said, since: goesOn ? shown.since : saidAt }
      record.isDoubtful = false
      this.#unsettled.delete(record)
      isNews = true
    }
    return isNews
  }

  /** What the client of an agent does, of several the strongest; null where nothing is known of one. */
  of(agent: string): ClientStanding | null {
    let best: ClientStanding | null = null
    for (const { session, shown } of this.#byAgent.get(agent) ?? []) {
      if (shown === null || shown.activity === null) continue
      const { activity, since } = shown
      if (best === null || byStrength(activity, best.activity) < 0) best = { session, activity, since }
    }
    return best
  }

  /** Whether what is thought of its client can be acted on: its host has said it, and has done so since the last pause of the observer. */
  isKnown(agent: string): boolean {
    return [...(this.#byAgent.get(agent) ?? [])].every(({ shown, isDoubtful }) => shown !== null && !isDoubtful)
  }

  /** Whether what is thought of its client is what its host says now. */
  isSettled(agent: string): boolean {
    return [...(this.#byAgent.get(agent) ?? [])].every(
      (record) => record.shown !== null && !this.#unsettled.has(record),
    )
  }

  /** The agents of whose clients something is known. */
  agents(): Iterable<string> {
    return this.#byAgent.keys()
  }

  /** Those that may not work, or try whether they may again, as their clients say; `wall` is the observer's wall clock. */
  conditions(now: number, wall: number): AgentCondition[] {
    return [...this.#byAgent.keys()].flatMap((agent) => {
      const standing = this.of(agent)
      return standing === null ? [] : conditionOf(standing, now, wall)
    })
  }

  /** The observer was paused or blind: what was about to count has to hold anew, and an end has to be said again. */
  grace(now: number): void {
    for (const record of this.#records.values()) {
      if (record.shown?.activity?.state === 'gone') record.shown = null
      if (this.#unsettled.delete(record) || record.shown === null) record.saidAt = now
      record.said = record.shown?.activity ?? null
      record.isDoubtful = true
    }
  }

  /** Forgets sessions that belong to nobody any more. */
  forgetUnknown(agentOf: (session: SessionId) => string | undefined): void {
    for (const record of this.#records.values()) {
      if (agentOf(record.session) !== undefined) continue
      this.#records.delete(record.session)
      this.#unsettled.delete(record)
      this.#leave(record)
    }
  }

  #add(session: SessionId, agent: string, now: number): ClientRecord {
    const record: ClientRecord = { session, agent, said: null, saidAt: now, shown: null, isDoubtful: false }
    this.#records.set(session, record)
    this.#enter(record)
    return record
  }

  #note(record: ClientRecord, agent: string, activity: ClientActivity | null, now: number): void {
    if (record.agent !== agent) {
      this.#leave(record)
      record.agent = agent
      this.#enter(record)
    }
    if (!isSameState(record.said, activity)) record.saidAt = now
    record.said = activity
    if (record.shown !== null && isSame(record.shown.activity, activity)) {
      this.#unsettled.delete(record)
      record.isDoubtful = false
    } else this.#unsettled.add(record)
  }

  #enter(record: ClientRecord): void {
    const records = this.#byAgent.get(record.agent) ?? new Set()
    this.#byAgent.set(record.agent, records.add(record))
  }

  #leave(record: ClientRecord): void {
    const records = this.#byAgent.get(record.agent)
    records?.delete(record)
    if (records?.size === 0) this.#byAgent.delete(record.agent)
  }
}

function hasHeld({ said, saidAt }: ClientRecord, now: number): boolean {
  return now - saidAt >= (said?.state === 'gone' ? GONE_AFTER_MS : SETTLE_MS)
}

function isSame(one: ClientActivity | null, other: ClientActivity | null): boolean {
  return one?.state === other?.state && one?.what === other?.what && one?.until === other?.until
}

/** What is said of a state may change while it lasts; but another dialog is another wait. */
function isSameState(one: ClientActivity | null, other: ClientActivity | null): boolean {
  return one?.state === other?.state && (one?.state !== 'waiting' || one.what === other?.what)
}

function conditionOf({ session, activity, since }: ClientStanding, now: number, wall: number): AgentCondition[] {
  const why = whyUnable(activity, now - since)
  if (why === null) return []
  const { until } = activity
  const state = until !== null && until <= wall ? 'probing' : 'parked'
  return [{ session, state, why, until, since: Math.round(wall - (now - since)) }]
}

function whyUnable({ state, what }: ClientActivity, lastedMs: number): string | null {
  if (state === 'parked') return what ?? 'its client has reached a limit of use'
  if (state === 'logged_out') return what ?? 'nobody is logged in at its client'
  if (state !== 'overloaded' || lastedMs < OVERLOADED_AFTER_MS) return null
  return what ?? 'the service behind its client is overloaded; the client tries again'
}
