import { type AgentLiveness, RosterEntry, type SessionRecord, WaitQueue } from './agent-liveness-record.ts'
import { type Contest, FOREIGN_INCARNATION, type ObservedBeat } from './beat.ts'
import type { Agent } from './conversation.ts'
import type { SessionId } from './session-id.ts'
import { TwinDetector, type Twins } from './twin-detector.ts'
import type { RosterVerdict } from './verdict.ts'

/** How long an agent may be unheard, milliseconds. */
export interface SilenceLimits {
  readonly lateAfterMs: number
  /** Longer than lateAfterMs, and by enough that all who fall silent together are late before the first is silent. */
  readonly silentAfterMs: number
}

export interface VerdictChange {
  readonly agent: string
  readonly from: RosterVerdict
  readonly to: RosterVerdict
  /** The exact moment it fell due, by the observer's clock; for a return, when it was heard; for a death, when it was learned. */
  readonly at: number
}

/** An agent that was never heard is counted as new, whatever its verdict. */
type CountedVerdict = RosterVerdict | 'new'

/**
 * Who is alive. A failure detector: an agent is judged by when the (incarnation, seq) of its beats last changed, by the
 * observer's own clock; no worker's clock is believed. All agents have the same limits, so the order in which they were
 * heard is the order of their deadlines, and a beat or a check costs as little with a hundred thousand agents as with nine.
 * Foreign writers beat seldom: one beat of theirs counts for `silentAfterMs` longer. Holds no clock and does no I/O.
 */
export class Roster {
  readonly #limits: SilenceLimits
  readonly #entries = new Map<string, RosterEntry>()
  readonly #sessions = new Map<SessionId, SessionRecord>()
  /** Beats of sessions that no known conversation has, and when they were heard; null where that proves nothing about now. */
  readonly #unknownSessions = new Map<SessionId, { beat: ObservedBeat; heardAt: number | null }>()
  readonly #twins = new TwinDetector()
  /** What agents are called now whose conversation was given another name. */
  readonly #renamed = new Map<string, string>()
  readonly #alive = new WaitQueue()
  readonly #late = new WaitQueue()
  /** Found silent or gone within the last `silentAfterMs`. */
  readonly #recentlyLost = new WaitQueue()
  readonly #counts: Record<CountedVerdict, number> = { new: 0, alive: 0, late: 0, silent: 0, gone: 0 }
  /** Agents that count when the roster asks whether many fell silent together; then how many of them are unheard, and lost. */
  #counting = 0
  #unheard = 0
  #lost = 0
  /** Agents that must be heard for a full silence before they count as back. */
  #unsteady: ReadonlySet<string> = new Set()
  #generation = 0
  #changes: VerdictChange[] = []

  constructor(limits: SilenceLimits) {
    this.#limits = limits
  }

  get size(): number {
    return this.#entries.size
  }

  get counts(): Readonly<Record<CountedVerdict, number>> {
    return this.#counts
  }

  has(agent: string): boolean {
    return this.#entries.has(agent)
  }

  standing(agent: string): AgentLiveness | undefined {
    return this.#entries.get(agent)
  }

  standings(): Iterable<AgentLiveness> {
    return this.#entries.values()
  }

  /** Whose session it is; undefined when it belongs to no live conversation that the observer knows of. */
  agentOf(session: SessionId): string | undefined {
    return this.#sessions.get(session)?.entry.agent
  }

  /** What an agent is called now that is not known by this name any more; undefined where nobody gave it another one. */
  nameNow(agent: string): string | undefined {
    return this.#entries.has(agent) ? undefined : this.#renamed.get(agent)
  }

  /**
   * Replaces the set of agents, one agent at a step: between steps the observer may hear and judge, and its clock goes on.
   * New agents count as heard now; agents that are not named any more are forgotten. An agent that is named more than once
   * has all the sessions that it is named with, and its first role.
   */
  *learn(agents: Iterable<Agent>, clock: () => number): Generator<void> {
    this.#generation += 1
    for (const { name, role, sessions } of agents) {
      for (const session of sessions) this.#learnSession(name, role, session, clock())
      yield
    }
    yield* this.#forgetUnnamed()
  }

  /** Takes in the beats, and what was contested, of before the observer looked: they prove nothing about now. */
  recall(beats: readonly ObservedBeat[], contests: readonly Contest[] = []): void {
    for (const contest of contests) this.#twins.recallContest(contest)
    for (const beat of beats) {
      const record = this.#sessions.get(beat.session)
      if (record === undefined) this.#unknownSessions.set(beat.session, { beat, heardAt: null })
      else this.#recordBeat(record, beat)
    }
  }

  /** Takes in beats that changed since the last read. Answers how many came from sessions that were unknown until now. */
  hear(beats: readonly ObservedBeat[], now: number): number {
    let unknownCount = 0
    for (const beat of beats) {
      const record = this.#sessions.get(beat.session)
      if (record === undefined) {
        if (!this.#unknownSessions.has(beat.session)) unknownCount += 1
        this.#unknownSessions.set(beat.session, { beat, heardAt: now })
        continue
      }
      this.#watchForTwins(record, beat, now)
      this.#judgeBeat(record, this.#recordBeat(record, beat), now)
    }
    return unknownCount
  }

  /** Takes in all sessions that were ever contested. Answers whether one of them was so again, and is known. */
  hearContests(contests: readonly Contest[], now: number): boolean {
    let isNews = false
    for (const contest of contests) {
      const agent = this.agentOf(contest.session)
      if (agent !== undefined && this.#twins.noteContest(contest, agent, now)) isNews = true
    }
    return isNews
  }

  /** The agents that speak from two places at once. */
  twins(now: number): readonly Twins[] {
    return this.#twins.current(now)
  }

  /** Passes the verdicts that have fallen due. Answers all changes since they were last asked for, returns included. */
  due(now: number): VerdictChange[] {
    const { lateAfterMs, silentAfterMs } = this.#limits
    for (let first = this.#alive.first; first && first.waitStart + lateAfterMs <= now; first = this.#alive.first) {
      this.#changeVerdict(first, 'late', first.waitStart + lateAfterMs)
      this.#late.insert(first)
    }
    for (let first = this.#late.first; first && first.waitStart + silentAfterMs <= now; first = this.#late.first) {
      this.#changeVerdict(first, 'silent', first.waitStart + silentAfterMs)
      this.#recentlyLost.insert(first)
    }
    for (
      let first = this.#recentlyLost.first;
      first && first.since + silentAfterMs <= now;
      first = this.#recentlyLost.first
    ) {
      first.queue?.remove(first)
      if (first.hasIncident) this.#stopCounting(first)
    }
    return this.changes()
  }

  /** All changes since they were last asked for. */
  changes(): VerdictChange[] {
    const changes = this.#changes
    this.#changes = []
    return changes
  }

  /** When the next verdict falls due unless something is heard; Infinity when none can. */
  nextDeadline(): number {
    const { lateAfterMs, silentAfterMs } = this.#limits
    return Math.min(
      (this.#alive.first?.waitStart ?? Number.POSITIVE_INFINITY) + lateAfterMs,
      (this.#late.first?.waitStart ?? Number.POSITIVE_INFINITY) + silentAfterMs,
    )
  }

  /**
   * The observer was away for a while: no agent is found silent until a full `silentAfterMs` from now. Agents that were late
   * or silent are late until they are heard, so that they do not count as returned, or get work, without evidence. A death
   * has to be proved again.
   */
  grace(now: number): void {
    for (const unknown of this.#unknownSessions.values()) unknown.heardAt = null
    for (const entry of this.#entries.values()) {
      entry.proven = false
      entry.waitStart = now
      entry.extraWaitMs = 0
      if (entry.verdict === 'alive') continue
      if (entry.verdict !== 'late') this.#changeVerdict(entry, 'late', now)
      this.#late.insert(entry)
    }
  }

  /** The agent was found silent or gone before this observer started: it is late until it is heard, or found so again. */
  suspect(agent: string, now: number): void {
    const entry = this.#entries.get(agent)
    if (entry === undefined) return
    entry.hasIncident = true
    this.#stopCounting(entry)
    if (entry.verdict === 'gone') return
    this.#changeVerdict(entry, 'late', now)
    this.#late.insert(entry)
  }

  /**
   * There is proof that the agent died. Beats of a daemon that outlived it do not show that it lives: only a new incarnation
   * does, or work that comes so late that the agent cannot have done it before it died.
   */
  declareGone(agent: string, now: number): void {
    const entry = this.#entries.get(agent)
    if (entry === undefined || entry.verdict === 'gone') return
    this.#changeVerdict(entry, 'gone', now)
    this.#clearNew(entry)
    entry.proven = false
    entry.waitStart = now - this.#limits.silentAfterMs // like one that has just been found silent
    this.#recentlyLost.insert(entry)
  }

  /** The process that the agent runs in lives again: the agent has `silentAfterMs` to be heard, and gets no work until then. */
  processRevived(agent: string, now: number): void {
    const entry = this.#entries.get(agent)
    if (entry?.verdict !== 'gone') return
    this.#changeVerdict(entry, 'alive', now)
    entry.waitStart = now
    this.#alive.insert(entry)
  }

  /**
   * These agents are lost again and again: after each loss they have the benefit of the doubt only, and get no work, until
   * they have been heard for a full silence. Work that they are given at once is taken from them at once.
   */
  distrust(agents: ReadonlySet<string>): void {
    this.#unsteady = agents
  }

  /** An incident tells people of this lost agent: `silentAfterMs` after its loss it no longer counts towards mass silence. */
  noteIncident(agent: string, now: number): void {
    const entry = this.#entries.get(agent)
    if (entry?.verdict !== 'silent' && entry?.verdict !== 'gone') return
    entry.hasIncident = true
    if (entry.since + this.#limits.silentAfterMs <= now) this.#stopCounting(entry)
  }

  hasIncident(agent: string): boolean {
    return this.#entries.get(agent)?.hasIncident === true
  }

  /**
   * Whether so many agents are unheard together that the cause lies elsewhere: at least 55 % of those that count, and at
   * least two. Late agents count as unheard, so that mass silence is seen with the first silent agent.
   * Agents that are lost for long and have an incident do not count, nor do agents that were never heard.
   */
  get massSilence(): boolean {
    return isMass(this.#unheard, this.#counting)
  }

  /** How many agents count towards mass silence, how many of them are unheard (late, silent or gone), and how many lost. */
  get tally(): { readonly count: number; readonly unheard: number; readonly lost: number } {
    return { count: this.#counting, unheard: this.#unheard, lost: this.#lost }
  }

  #learnSession(name: string, role: string, session: SessionId, now: number): void {
    const entry = this.#entries.get(name) ?? this.#addAgent(name, session, now)
    if (entry.generation !== this.#generation) entry.role = role
    entry.generation = this.#generation
    this.#addSession(session, entry, now)
  }

  #addAgent(name: string, session: SessionId, now: number): RosterEntry {
    // A foreign conversation names no agents: the session id stands in, and nobody there promised to beat.
    const entry = new RosterEntry(name, session === name, now)
    this.#entries.set(name, entry)
    this.#count(entry, 1)
    this.#alive.insert(entry)
    return entry
  }

  #addSession(session: SessionId, entry: RosterEntry, now: number): void {
    const known = this.#sessions.get(session)
    if (known !== undefined) {
      known.generation = this.#generation
      if (known.entry !== entry) this.#moveSession(known, entry)
      return
    }
    const record = { session, entry, generation: this.#generation, incarnation: null, host: '', seq: 0, work: 0 }
    this.#sessions.set(session, record)
    entry.addSession(session)
    const unknown = this.#unknownSessions.get(session)
    if (unknown === undefined) return
    this.#unknownSessions.delete(session)
    const sign = this.#recordBeat(record, unknown.beat)
    const isFresh = unknown.heardAt !== null && now - unknown.heardAt < this.#limits.lateAfterMs
    if (isFresh) this.#judgeBeat(record, sign, now)
  }

  #moveSession(record: SessionRecord, to: RosterEntry): void {
    record.entry.removeSession(record.session)
    this.#noteRename(record.entry.agent, to.agent)
    record.entry = to
    to.addSession(record.session)
    if (record.incarnation !== null && !to.isForeign) this.#clearNew(to)
  }

  #noteRename(from: string, to: string): void {
    for (const [former, name] of this.#renamed) if (name === from) this.#renamed.set(former, to)
    this.#renamed.set(from, to)
    this.#renamed.delete(to)
  }

  *#forgetUnnamed(): Generator<void> {
    for (const [session, record] of this.#sessions) {
      yield
      if (record.generation === this.#generation) continue
      record.entry.removeSession(record.session)
      this.#sessions.delete(session)
      this.#twins.forget(session)
    }
    for (const [name, entry] of this.#entries) {
      yield
      if (entry.generation === this.#generation) continue
      entry.queue?.remove(entry)
      this.#count(entry, -1)
      this.#entries.delete(name)
    }
  }

  /** Copies a beat, for a large fleet brings too many to keep the objects. Answers what it shows beyond the one before. */
  #recordBeat(record: SessionRecord, { incarnation, host, seq, work }: ObservedBeat): Sign {
    const { entry } = record
    const isFirst = record.incarnation === null
    const isNewIncarnation = (record.incarnation ?? entry.incarnation ?? incarnation) !== incarnation
    const isBeat = isFirst || record.seq !== seq
    const hasWorked = !isFirst && record.work < work // a bridge that begins anew may have counted less
    if (isNewIncarnation || hasWorked) entry.signs += 1
    // An equal string of this beat is not kept: the garbage collector would have to copy it.
    if (record.incarnation !== incarnation) record.incarnation = incarnation
    if (record.host !== host) record.host = host
    record.seq = seq
    record.work = work
    entry.host ??= host
    if (entry.incarnation !== incarnation) entry.incarnation = incarnation
    if (!entry.isForeign) this.#clearNew(entry) // a foreign writer's beat may be years old
    if (isNewIncarnation) return 'new_incarnation'
    if (!isBeat) return 'nothing'
    return hasWorked ? 'work' : 'beat'
  }

  #watchForTwins({ session, entry, incarnation, host }: SessionRecord, beat: ObservedBeat, now: number): void {
    if (incarnation === null || incarnation === beat.incarnation) return
    if ([incarnation, beat.incarnation].includes(FOREIGN_INCARNATION)) return // foreign writers name none
    this.#twins.noteChange(session, entry.agent, { incarnation, host }, beat, now)
  }

  #judgeBeat(record: SessionRecord, sign: Sign, now: number): void {
    if (sign === 'nothing') return
    const { verdict, since } = record.entry
    const isLateWork = sign === 'work' && now - since > this.#limits.lateAfterMs
    if (verdict !== 'gone' || sign === 'new_incarnation' || isLateWork) this.#countAsHeard(record, now)
  }

  #countAsHeard(record: SessionRecord, now: number): void {
    const { entry } = record
    if (record.incarnation !== null) entry.host = record.host
    entry.heardBy(record.session)
    entry.wasHeard = true
    if (entry.verdict !== 'alive') this.#changeVerdict(entry, 'alive', now)
    if (entry.isNew || entry.hasIncident) {
      this.#recount(entry, () => {
        entry.isNew = false
        entry.hasIncident = false
        entry.isUncounted = false
      })
    }
    entry.proven = !this.#unsteady.has(entry.agent) || now - entry.since >= this.#limits.silentAfterMs
    entry.extraWaitMs = record.incarnation === FOREIGN_INCARNATION ? this.#limits.silentAfterMs : 0
    entry.waitStart = now + entry.extraWaitMs
    this.#alive.insert(entry)
  }

  #changeVerdict(entry: RosterEntry, to: RosterVerdict, at: number): void {
    if (entry.verdict === to) return
    this.#changes.push({ agent: entry.agent, from: entry.verdict, to, at })
    this.#recount(entry, () => {
      entry.verdict = to
    })
    entry.since = at
  }

  /** Something shows that the agent lived: from now on it can be lost. */
  #clearNew(entry: RosterEntry): void {
    if (!entry.isNew) return
    this.#recount(entry, () => {
      entry.isNew = false
    })
  }

  #stopCounting(entry: RosterEntry): void {
    this.#recount(entry, () => {
      entry.isUncounted = true
    })
  }

  #recount(entry: RosterEntry, change: () => void): void {
    this.#count(entry, -1)
    change()
    this.#count(entry, 1)
  }

  #count(entry: RosterEntry, by: 1 | -1): void {
    this.#counts[entry.isNew ? 'new' : entry.verdict] += by
    if (entry.isUncounted || entry.isNew) return
    this.#counting += by
    if (entry.verdict !== 'alive') this.#unheard += by
    if (entry.verdict === 'silent' || entry.verdict === 'gone') this.#lost += by
  }
}

/** Whether so many of so many agents are unheard that the cause is probably something they share. */
export function isMass(unheard: number, count: number): boolean {
  return unheard >= 2 && unheard * 100 >= count * 55
}

/** What a beat shows: nothing new, that the host lives, that the agent worked, or that a new incarnation began. */
type Sign = 'nothing' | 'beat' | 'work' | 'new_incarnation'
