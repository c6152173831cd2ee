import { type AgentProcess, AgentProcessTable } from '#fleet/agent-processes.ts'
import type { ObservedBeats } from '#fleet/beat.ts'
import { ClientObserver, type ClientReader } from '#fleet/client-observer.ts'
import type { Agent } from '#fleet/conversation.ts'
import { Roster, type VerdictChange } from '#fleet/failure-detector.ts'
import type { ObserverPause } from '#fleet/observer-pause.ts'
import type { StoreTrouble } from '#fleet/store-trouble.ts'
import type { Moment } from '#runtime/clock.ts'
import { BeatReadingPosition } from './beat-reading-position.ts'
import type { WatchConfig } from './config.ts'
import { type MassFate, MassLosses } from './mass-losses.ts'
import { RecentGraces, type RepeatedGraces } from './recent-graces.ts'
import type { ReportedLosses } from './reported-losses.ts'

/** Who is alive, to read and not to write. */
export type FleetLiveness = Pick<
  Roster,
  | 'size'
  | 'counts'
  | 'standing'
  | 'standings'
  | 'agentOf'
  | 'hasIncident'
  | 'massSilence'
  | 'tally'
  | 'twins'
  | 'nameNow'
>

/** What was observed, to read and not to write. Times are milliseconds of the watchdog's clock that never jumps. */
export interface Observed {
  readonly fleet: FleetLiveness
  readonly processes: Pick<AgentProcessTable, 'of' | 'isHindered'>
  /** What the clients of agents do. */
  readonly clients: ClientReader
  /** Agents that are silent or gone. */
  readonly lost: ReadonlySet<string>
  /** Null unless no verdict could be passed for long, as graces followed each other. */
  repeatedGraces(at: number): RepeatedGraces | null
  /** Whether a full silence has passed since the last grace. */
  hasSeenSilence(at: number): boolean
  /** Supervisors that do not answer, by when that began. */
  readonly unreachable: ReadonlyMap<string, number>
  /** Supervisors that answered when they were asked last. */
  readonly answering: ReadonlySet<string>
  /** Nobody collects beats: no agent may be judged by them. */
  readonly isBlind: boolean
  /** When beats were last seen to be collected; -Infinity where that was not since the watchdog began. */
  readonly collectionSeenAt: number
  /** When the beats were last read; null before the first read. */
  readonly readAt: Moment | null
  /** Many fell silent together, and are not back yet. */
  readonly isMassSilence: boolean
  /** What became of those who were lost in it, or in the last one. */
  massFate(): MassFate
  /** Until when those still lost after a mass silence may come back before they count as single losses. */
  readonly massReturnUntil: number
  /** Whether what is thought of all agents together rests on beats that were seen, and not on a grace. */
  knowsAll(at: number): boolean
}

/** A verdict, and when it was really passed: `at` is when it fell due. */
export interface PassedVerdict extends VerdictChange {
  readonly passedAt: number
}

/** What a read of the beats showed. */
export interface BeatNews {
  /** Why the watchdog did not see what came since the last read; null where it saw everything. */
  readonly pause: ObserverPause | null
  /** All agents have a full silence from now to be heard in. */
  readonly isGrace: boolean
  /** Something besides verdicts is to be looked at: unknown sessions, or that beats are collected no more, or again. */
  readonly isNews: boolean
}

/**
 * What this watchdog has observed of the agents: beats, what supervisors say of processes, and the verdicts that follow.
 * Nothing of it must outlive the program: after a restart, the open incidents of the store and a full grace are enough.
 */
export class FleetObservation implements Observed {
  readonly #silentAfterMs: number
  readonly #feed: BeatReadingPosition
  readonly #roster: Roster
  readonly #processes = new AgentProcessTable()
  readonly #clients = new ClientObserver()
  readonly #losses: Pick<ReportedLosses, 'isDeathReported'>
  readonly #lost = new Set<string>()
  readonly #unreachable = new Map<string, number>()
  readonly #answering = new Set<string>()
  readonly #graces: RecentGraces
  /** Since when no verdict could be passed; null where one can. */
  #unjudgedSince: number | null = null
  #trouble: StoreTrouble | null = null
  readonly #mass = new MassLosses()
  #unanswered: PassedVerdict[] = []
  #massReturnUntil = Number.NEGATIVE_INFINITY
  /** Reads that brought sessions of no known agent: all of them, and those that the conversations have answered. */
  #unknownReads = 0
  #answeredReads = 0
  #verdictLagMs = 0
  #lossCount = 0
  #revision = 0
  #roundAt = Number.NEGATIVE_INFINITY

  constructor(
    config: Pick<WatchConfig, 'lateAfterMs' | 'silentAfterMs' | 'watchMs'>,
    losses: Pick<ReportedLosses, 'isDeathReported'>,
  ) {
    this.#silentAfterMs = config.silentAfterMs
    this.#feed = new BeatReadingPosition(config)
    this.#roster = new Roster(config)
    this.#graces = new RecentGraces(config)
    this.#losses = losses
  }

  get fleet(): FleetLiveness {
    return this.#roster
  }

  get processes(): Pick<AgentProcessTable, 'of' | 'isHindered' | 'agents' | 'isEmpty'> {
    return this.#processes
  }

  get clients(): ClientReader & Pick<ClientObserver, 'conditions'> {
    return this.#clients
  }

  get lost(): ReadonlySet<string> {
    return this.#lost
  }

  get unreachable(): ReadonlyMap<string, number> {
    return this.#unreachable
  }

  get answering(): ReadonlySet<string> {
    return this.#answering
  }

  get isBlind(): boolean {
    return this.#feed.isBlind
  }

  /** What keeps the database from being written to, as the bridge says. */
  get trouble(): StoreTrouble | null {
    return this.#trouble
  }

  /** Foreign agents cannot be heard while the database cannot be written to, and what follows from a verdict cannot be done. */
  get mayJudge(): boolean {
    return !this.isBlind && this.#trouble === null
  }

  get collectionSeenAt(): number {
    return this.#feed.collectionSeenAt
  }

  get readAt(): Moment | null {
    return this.#feed.readAt
  }

  get isMassSilence(): boolean {
    return this.#mass.isOn
  }

  /** All who were lost in the mass silence that is, or was last. */
  get massLost(): Iterable<string> {
    return this.#mass.agents
  }

  repeatedGraces(at: number): RepeatedGraces | null {
    return this.#graces.repeated(at, this.#unjudgedSince)
  }

  hasSeenSilence(at: number): boolean {
    return this.#graces.hasSeenSilence(at, this.#unjudgedSince)
  }

  /** People were told of repeated graces. */
  noteGracesReport(): void {
    this.#graces.noteReport()
  }

  massFate(): MassFate {
    return this.#mass.fate(this.#roster)
  }

  get massReturnUntil(): number {
    return this.#massReturnUntil
  }

  /** Verdicts that no finished look has answered yet. */
  get unanswered(): readonly PassedVerdict[] {
    return this.#unanswered
  }

  /** Sessions beat that belong to no agent that is known. */
  get hasUnknownSessions(): boolean {
    return this.#unknownReads > this.#answeredReads
  }

  /** How many reads have brought sessions of no known agent. */
  get unknownReads(): number {
    return this.#unknownReads
  }

  /** What the conversations said of who there is may be out of date: it is to be read again. */
  doubtConversations(): void {
    this.#unknownReads += 1
  }

  /** How late the last verdict was passed, milliseconds. */
  get verdictLagMs(): number {
    return this.#verdictLagMs
  }

  /** Rises with every agent that is found silent or gone. */
  get lossCount(): number {
    return this.#lossCount
  }

  /** Rises whenever verdicts changed, or a round went by: then they are to be written down. */
  get revision(): number {
    return this.#revision
  }

  /** When everything was last gone through; -Infinity before the first time. */
  get roundAt(): number {
    return this.#roundAt
  }

  get cursor(): number {
    return this.#feed.cursor
  }

  knowsAll(at: number): boolean {
    return this.#feed.knowsAll(at)
  }

  /**
   * Takes in what a read of the beats answered that was asked at `before` and answered at `after`. Beats count as heard when
   * they were asked for, so that nothing that came during the answer is missed by a verdict.
   */
  takeBeats(read: ObservedBeats, before: Moment, after: Moment): BeatNews {
    const [lastRead, couldJudge, wasTroubled] = [this.readAt, this.mayJudge, this.#trouble !== null]
    const { pause, needsGrace: hasMissed, beats, isChanged } = this.#feed.take(read, before, after)
    this.#trouble = read.trouble ?? null
    const isOver = wasTroubled && this.#trouble === null
    const needsGrace = hasMissed || isOver
    const why = pause ?? (hasMissed ? 'not_collected' : 'not_written')
    if (lastRead === null) this.#graces.begin(before.now)
    else if (needsGrace) this.#graces.note(this.#unjudgedSince ?? lastRead.now, before.now, why)
    if (this.mayJudge !== couldJudge) this.#unjudgedSince = this.mayJudge ? null : before.now
    const neverHeard = this.#roster.counts.new
    const unknown = beats === 'news' ? this.#roster.hear(read.pulses, before.now) : 0
    const areContested = beats === 'news' && this.#roster.hearContests(read.contests ?? [], before.now)
    if (beats === 'news') this.#clients.hear(read.pulses, (session) => this.#roster.agentOf(session), before.now)
    if (beats === 'past') this.#roster.recall(read.pulses, read.contests)
    if (this.#roster.counts.new !== neverHeard) this.#revision += 1 // no verdict changes, but it is shown like one
    if (unknown > 0) this.#unknownReads += 1
    if (needsGrace) this.#grace(before.now)
    const isOfClients = this.#clients.settle(before.now)
    if (isOfClients) this.#revision += 1
    const isNews = isChanged || isOver || unknown > 0 || areContested || isOfClients
    return { pause, isGrace: needsGrace, isNews }
  }

  /** How long to wait before the beats are read again at `now`, milliseconds: not beyond the next deadline. */
  planNextRead(now: number): number {
    const deadline = this.mayJudge ? this.#roster.nextDeadline() : Number.POSITIVE_INFINITY
    const waitMs = Math.max(0, Math.min(this.#feed.readAgainMs, deadline - now))
    this.#feed.plan(waitMs)
    return waitMs
  }

  /** Takes in all processes that a supervisor had when it was asked. Answers what changed. */
  takeProcesses(supervisor: string, processes: readonly AgentProcess[], askedAt: number): AgentProcess[] {
    this.#unreachable.delete(supervisor)
    this.#answering.add(supervisor)
    return this.#processes.take(supervisor, processes, askedAt)
  }

  /** A supervisor does not answer: what it said of the living is void. */
  loseSupervisor(supervisor: string, now: number): void {
    this.#processes.lose(supervisor)
    this.#answering.delete(supervisor)
    if (!this.#unreachable.has(supervisor)) this.#unreachable.set(supervisor, now)
  }

  /** Passes the verdicts that are due at `now`, and answers them; `passedAt` is when that really is. */
  judge(now: number, passedAt: number): PassedVerdict[] {
    if (!this.mayJudge) return []
    const passed = this.#pass(this.#roster.due(now), passedAt)
    return [...passed, ...this.judgeByProcesses(now)]
  }

  /** Passes the verdicts that follow from what supervisors say, whatever the beats say, and answers them. */
  judgeByProcesses(now: number): PassedVerdict[] {
    if (!this.mayJudge) return []
    for (const agent of this.#processes.agents()) {
      const [verdict, found] = [this.#roster.standing(agent)?.verdict, this.#processes.of(agent)]
      if (verdict === undefined || found === null || !found.isKnown) continue // what an unreachable supervisor said before proves nothing now
      const isDead = found.state === 'ended' || (found.state === 'found_ended' && this.#diedUnseen(agent))
      if (isDead) this.#roster.declareGone(agent, now)
      else if (found.state !== 'found_ended') this.#roster.processRevived(agent, now)
    }
    const passed = this.#pass(this.#roster.changes(), now)
    this.#noteMassSilence(now)
    return passed
  }

  /**
   * Takes over who there is, one at a time, as `Roster.learn` does. `unknownReads` is what it was when the conversations were
   * asked for: a session that turned up unknown after that wants another reading of them.
   */
  *learn(agents: Iterable<Agent>, clock: () => number, unknownReads = this.#unknownReads): Generator<void> {
    yield* this.#roster.learn(agents, clock)
    this.#clients.forgetUnknown((session) => this.#roster.agentOf(session))
    for (const agent of this.#lost) if (!this.#roster.has(agent)) this.#lost.delete(agent)
    this.#answeredReads = unknownReads
    this.#revision += 1
  }

  /** An agent of whose loss an incident told before the watchdog began: late until it is heard, or lost again. */
  suspect(agent: string, now: number): void {
    this.#roster.suspect(agent, now)
  }

  /** The loss of this agent is a single one: it does not count towards a mass silence for ever. */
  setApart(agent: string, now: number): void {
    this.#roster.noteIncident(agent, now)
  }

  /** These agents flap: when they are back from a loss they have to show that they stay. */
  distrust(agents: ReadonlySet<string>): void {
    this.#roster.distrust(agents)
  }

  /** These agents left the fleet on purpose: nobody waits for them. */
  noteDepartures(agents: Iterable<string>): void {
    for (const agent of agents) this.#mass.depart(agent)
  }

  /** A look has answered all verdicts. Answers them. */
  takeUnanswered(): PassedVerdict[] {
    const answered = this.#unanswered
    this.#unanswered = []
    return answered
  }

  /** Everything was gone through in a look that began at `at`. */
  endRound(at: number): void {
    this.#roundAt = at
  }

  #pass(changes: readonly VerdictChange[], passedAt: number): PassedVerdict[] {
    const passed = changes.map((change) => ({ ...change, passedAt }))
    for (const { agent, from, to, at } of passed) {
      if (to !== 'alive') this.#verdictLagMs = passedAt - at
      if (from === 'gone' && to === 'alive') this.#processes.pardon(agent)
      if (to === 'silent' || to === 'gone') {
        this.#lost.add(agent)
        this.#lossCount += 1
      } else this.#lost.delete(agent)
    }
    this.#unanswered.push(...passed)
    if (passed.length > 0) this.#revision += 1
    return passed
  }

  /** When a mass silence ends, the last of its agents have a full silence to come back too. */
  #noteMassSilence(now: number): void {
    const { massSilence, tally } = this.#roster
    if (massSilence && tally.lost > 0 && !this.#feed.isDoubtful(now)) this.#mass.begin()
    if (!this.#mass.isOn) return
    for (const agent of this.#lost) if (!this.#roster.hasIncident(agent)) this.#mass.add(agent)
    if (this.#mass.lasts(this.#roster)) return
    this.#mass.end()
    this.#massReturnUntil = now + this.#silentAfterMs
  }

  /**
   * A process that nobody saw die may be an old one of an agent that lives elsewhere, unless that death is reported, or the
   * agent has not been heard since the watchdog began and should have been by now.
   */
  #diedUnseen(agent: string): boolean {
    if (this.#losses.isDeathReported(agent)) return true
    const standing = this.#roster.standing(agent)
    return standing?.verdict === 'late' && !standing.wasHeard && !standing.isNew
  }

  #grace(now: number): void {
    this.#roster.grace(now)
    this.#processes.doubt()
    this.#clients.grace(now)
    this.#revision += 1
  }
}
