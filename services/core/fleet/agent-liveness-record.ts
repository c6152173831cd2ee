import { type SessionId, sideOf } from './session-id.ts'
import type { RosterVerdict } from './verdict.ts'

/** What an observer knows of one agent. Times are milliseconds of the observer's own monotonic clock. */
export interface AgentLiveness {
  readonly agent: string
  readonly role: string
  /** Where its last beat came from. */
  readonly host: string | null
  readonly verdict: RosterVerdict
  readonly since: number
  /** When it was last heard, or given grace. */
  readonly heardAt: number
  /** It was heard since the last grace: `alive` without this is only the benefit of the doubt. */
  readonly proven: boolean
  /** It was heard since the observer began: what it runs in may have ended before, and another thing have taken its place. */
  readonly wasHeard: boolean
  /** Rises whenever the agent or its daemon showed more than a beat: work that was done, or a new incarnation. */
  readonly signs: number
  /** It was never heard, and nothing proves that it died: its verdict counts for the tasks it holds, and is no loss. */
  readonly isNew: boolean
  /** Since when the observer knows of it. */
  readonly knownSince: number
  /** How much longer than others it may be unheard, since it was last heard. */
  readonly extraWaitMs: number
  /** The worker's session that it can take tasks by, the one heard last; null where it has only orchestrator's sessions. */
  readonly taskSession: SessionId | null
}

/** What the last beat of one session said. */
export interface SessionRecord {
  readonly session: SessionId
  entry: RosterEntry
  generation: number
  /** Null before the first beat. */
  incarnation: string | null
  host: string
  seq: number
  work: number
}

/** What a roster keeps of one agent: what others may read, and what decides how long it may be unheard. */
export class RosterEntry implements AgentLiveness {
  readonly agent: string
  /** Its conversation was made by a foreign writer, so it promised nobody to beat. */
  readonly isForeign: boolean
  readonly knownSince: number
  role = ''
  host: string | null = null
  verdict: RosterVerdict = 'alive'
  since: number
  proven = false
  wasHeard = false
  signs = 0
  /** When the wait for its next beat began: when it was last heard, or last given grace. */
  waitStart: number
  extraWaitMs = 0
  generation = 0
  /** The incarnation of its last beat. */
  incarnation: string | null = null
  isNew = true
  /** An incident of its own tells people that it is lost. */
  hasIncident = false
  /** It counts on neither side when the roster asks whether many fell silent together. */
  isUncounted = false
  queue: WaitQueue | null = null
  previous: RosterEntry | null = null
  next: RosterEntry | null = null
  taskSession: SessionId | null = null
  readonly #workerSessions = new Set<SessionId>()

  constructor(agent: string, foreign: boolean, now: number) {
    this.agent = agent
    this.isForeign = foreign
    this.knownSince = now
    this.since = now
    this.waitStart = now
  }

  get heardAt(): number {
    return this.waitStart - this.extraWaitMs
  }

  addSession(session: SessionId): void {
    if (sideOf(session) !== 'b') return
    this.#workerSessions.add(session)
    this.taskSession ??= session
  }

  removeSession(session: SessionId): void {
    this.#workerSessions.delete(session)
    if (this.taskSession === session) this.taskSession = this.#workerSessions.values().next().value ?? null
  }

  /** The agent was heard by this session: it can take tasks by it. */
  heardBy(session: SessionId): void {
    if (this.#workerSessions.has(session)) this.taskSession = session
  }
}

/**
 * Agents in the order in which their waits began, so the first one's deadline is always the next. A linked list, because a
 * Map that is appended to and deleted from rehashes.
 */
export class WaitQueue {
  first: RosterEntry | null = null
  #last: RosterEntry | null = null
  /** The entry that was last put before others: of many that are heard together, each goes behind the one before it. */
  #lastInserted: RosterEntry | null = null

  /** Moves an entry here from the queue it stands in: to the end, unless the waits of others began after its own. */
  insert(entry: RosterEntry): void {
    entry.queue?.remove(entry)
    const before = this.#placeFor(entry.waitStart)
    if (before !== this.#last) this.#lastInserted = entry
    entry.previous = before
    entry.next = before === null ? this.first : before.next
    if (entry.previous === null) this.first = entry
    else entry.previous.next = entry
    if (entry.next === null) this.#last = entry
    else entry.next.previous = entry
    entry.queue = this
  }

  /** The entry that a wait which began then comes after; null: none. */
  #placeFor(waitStart: number): RosterEntry | null {
    const lastInserted = this.#lastInserted
    let before = this.#last
    if (
      before !== null &&
      before.waitStart > waitStart &&
      lastInserted?.queue === this &&
      lastInserted.waitStart <= waitStart
    ) {
      before = lastInserted
      while (before.next !== null && before.next.waitStart <= waitStart) before = before.next
    }
    while (before !== null && before.waitStart > waitStart) before = before.previous
    return before
  }

  remove(entry: RosterEntry): void {
    if (entry.previous === null) this.first = entry.next
    else entry.previous.next = entry.next
    if (entry.next === null) this.#last = entry.previous
    else entry.next.previous = entry.previous
    entry.queue = null
    entry.previous = null
    entry.next = null
  }
}
