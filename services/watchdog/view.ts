import { AgentProcessTable } from '#fleet/agent-processes.ts'
import type { ObservedBeats } from '#fleet/beat.ts'
import { Roster, type VerdictChange } from '#fleet/liveness.ts'
import { detectPause, type ObserverPause } from '#fleet/observer-pause.ts'
import type { SessionId } from '#fleet/session.ts'
import type { Task } from '#fleet/task.ts'
import { Leases } from '#fleet/task-reassignment.ts'
import { AdaptiveRest } from '#runtime/adaptive-rest.ts'
import type { WatchConfig } from './config.ts'

/** A moment by both clocks, milliseconds. */
export interface Moment {
  readonly now: number
  readonly wall: number
}

/** What a read of the beats showed about the watchdog's own eyes. */
export interface Sighting {
  readonly blink: ObserverPause | null
  /** Something besides verdicts is to be looked at: strangers, or that beats are collected no more, or again. */
  readonly isNews: boolean
}

/** A verdict as it was passed. */
export interface Passed extends VerdictChange {
  /** When it really was, by the observer's clock. */
  readonly passedAt: number
}

/** So long after a death its work stays where it is: those that die together are seen to, and who is back by then lost nothing. */
const GATHER_MS = 400

/** Reading tasks, and telling verdicts, may each take one part in so many of the watchdog's time: deadlines come first. */
const COST_SHARE = 200

/** Beats that are read in one go, about: a few milliseconds in which no verdict can be passed. */
const HELPING = 500
/** A large fleet's beats are read this often at most, milliseconds. */
const READ_AGAIN_MS_MIN = 25
/** How fast beats come is judged by the last so many milliseconds: they come in groups. */
const PACE_MS = 1_000

/**
 * What a watchdog remembers from one look to the next. Nothing here must outlive it: after a restart the store's open
 * incidents and a full grace are all it needs.
 */
export class View {
  readonly roster: Roster
  readonly leases: Leases
  /** What supervisors tell of what agents run in. */
  readonly agentProcesses = new AgentProcessTable()
  /** Agents whose death an incident tells of, by the signs of life that they had shown when it was met. */
  readonly mourned = new Map<string, number>()
  /** Supervisors that do not answer, by when that began. */
  readonly away = new Map<string, number>()
  /** Open tasks as they were read last, by when that was, and the agents that held any. */
  tasks: readonly Task[] = []
  holders: ReadonlySet<string> = new Set()
  tasksAt = Number.NEGATIVE_INFINITY
  roundAt = Number.NEGATIVE_INFINITY
  /** A large fleet's tasks are read, and its verdicts told, less often. */
  readonly tasksCost = new AdaptiveRest(COST_SHARE)
  readonly judgeCost = new AdaptiveRest(COST_SHARE)
  judgedAt = Number.NEGATIVE_INFINITY
  /** Verdicts changed since they were written down, or a round went by. */
  dirty = true
  /** Somebody was convicted since the tasks were read. */
  tasksStale = true
  /** Sessions beat that belong to nobody known. */
  hasStrangers = false
  /** Verdicts that no finished look has answered yet. */
  changes: Passed[] = []
  /** Agents that are silent or gone. */
  readonly silent = new Set<string>()
  /** Those whose incident is to be opened yet. */
  readonly owed = new Set<string>()
  /** Holders whose conversations are known to have ended. */
  ended: ReadonlySet<SessionId> = new Set()
  /** From when on the next failed agent's tasks may be moved. */
  turnAt = Number.NEGATIVE_INFINITY
  /** Whose tasks this watchdog itself began to move since it read them. */
  readonly serving = new Set<string>()
  /** Failed agents that wait for their turn. */
  waiting = 0
  /** Since when some task had nobody to go to. */
  strandedSince: number | null = null
  /** Nobody collects beats: nobody may be judged by them. */
  blind = false
  /** Beats were seen to be collected since the watchdog began. */
  sees = false
  /** Many fell silent together, and are not back yet. */
  isMass = false
  /** Until when those still silent after a mass silence may come back unpunished. */
  mercyUntil = Number.NEGATIVE_INFINITY
  /** How late the last verdict was passed, milliseconds. */
  lagMs = 0
  /** When the beats were last read. Null before the first read. */
  seen: Moment | null = null
  /** How long it meant to wait after that. */
  waitMs = 0
  readonly #config: WatchConfig
  #cursor = 0
  #recalls = true
  #tick: string | null = null
  #tickAt = 0
  #pulsesPerMs = 0
  /** Since when nobody was given the benefit of the doubt. */
  #graceAt = Number.NEGATIVE_INFINITY

  constructor(config: WatchConfig) {
    this.#config = config
    this.roster = new Roster(config)
    this.leases = new Leases(config.leaseMs)
  }

  get cursor(): number {
    return this.#cursor
  }

  /**
   * Takes in what a read of the beats answered. `before` and `after` are when it was asked and answered: beats count as
   * heard when asked, so that nothing that came during the answer is missed by a verdict.
   */
  sight(read: ObservedBeats, before: Moment, after: Moment): Sighting {
    const blink = this.#blink(after)
    const { blind, sees, seen } = this
    if (seen === null) this.#graceAt = before.now
    else this.#notePace(read.pulses.length, before.now - seen.now)
    const { new: neverHeard } = this.roster.counts
    const strangers = this.#hear(read, before.now)
    if (this.roster.counts.new !== neverHeard) this.dirty = true // that is no change of a verdict, and is told like one
    if (strangers > 0) this.hasStrangers = true
    this.#watchTick(read.tick, before.now, blink)
    if (blink !== null || (blind && !this.blind)) this.#grace(before.now)
    this.seen = before
    return { blink, isNews: seen === null || strangers > 0 || blind !== this.blind || sees !== this.sees }
  }

  /** When beats are to be read again, milliseconds: the more of them come, the sooner. */
  get readAgainMs(): number {
    const { watchMs } = this.#config
    return Math.min(watchMs, Math.max(READ_AGAIN_MS_MIN, HELPING / this.#pulsesPerMs))
  }

  #notePace(pulses: number, ms: number): void {
    const weight = Math.min(1, ms / PACE_MS)
    this.#pulsesPerMs += weight * (pulses / Math.max(1, ms) - this.#pulsesPerMs)
  }

  /** Passes the verdicts that are due at `now`, and answers them; `passedAt` is when that really is. */
  judge(now: number, passedAt: number): Passed[] {
    if (this.blind) return []
    const passed = this.#pass(this.roster.due(now), passedAt)
    return [...passed, ...this.weigh(now)]
  }

  /** Passes the verdicts that follow from what supervisors told, whatever the beats say, and answers them. */
  weigh(now: number): Passed[] {
    const { roster, agentProcesses, mourned, blind } = this
    if (blind) return []
    for (const agent of agentProcesses.agents()) {
      const [verdict, found] = [roster.standing(agent)?.verdict, agentProcesses.of(agent)]
      if (verdict === undefined || found === null || !found.isKnown) continue // old word convicts nobody anew
      // A body that nobody saw die may be an old one of an agent that lives elsewhere, unless that death is told of.
      if (found.state === 'ended' || (found.state === 'found_ended' && mourned.has(agent)))
        roster.declareGone(agent, now)
      else if (found.state !== 'found_ended') roster.processRevived(agent, now)
    }
    const passed = this.#pass(roster.changes(), now)
    this.#muster(now)
    return passed
  }

  #pass(changes: readonly VerdictChange[], passedAt: number): Passed[] {
    const passed = changes.map((change) => ({ ...change, passedAt }))
    for (const { agent, from, to, at } of passed) {
      if (to !== 'alive') this.lagMs = passedAt - at
      if (from === 'gone' && to === 'alive') this.agentProcesses.pardon(agent)
      if (to === 'silent' || to === 'gone') {
        this.silent.add(agent)
        this.tasksStale = true
      } else {
        this.silent.delete(agent)
        this.owed.delete(agent)
      }
    }
    this.changes.push(...passed)
    if (passed.length > 0) this.dirty = true
    return passed
  }

  /** Notes whether many are silent together; when that ends, the last of them have a full silence to come back too. */
  #muster(now: number): void {
    const { roster } = this
    if (roster.massSilence && roster.tally.lost > 0 && !this.#isDoubtful(now)) this.isMass = true
    if (roster.massSilence || !this.isMass) return
    this.isMass = false
    this.mercyUntil = now + this.#config.silentAfterMs
  }

  /** Whether what it thinks of all together rests on what it saw, and not on a grace: who is silent would be late again by now. */
  knowsAll(now: number): boolean {
    return !this.blind && !this.#isDoubtful(now) && now - this.#graceAt > this.#config.lateAfterMs
  }

  /** Beats that nobody collects are missed by all at once: until it is known whether that is the cause, nothing is told. */
  #isDoubtful(now: number): boolean {
    return now - this.#tickAt > this.#config.lateAfterMs / 3
  }

  /** Lost agents that are single failures: not in a mass silence, nor in the time that they have to come back from one. */
  failed(now: number): readonly string[] {
    if (this.blind || this.roster.massSilence || (this.seen?.now ?? 0) < this.mercyUntil) return []
    return [...this.silent].filter((agent) => {
      return !this.roster.hasIncident(agent) && this.#gatheredAt(agent) <= now && this.#concernsPeople(agent)
    })
  }

  /** That somebody who was never heard is not heard is no news, unless work lies there. */
  #concernsPeople(agent: string): boolean {
    return this.roster.standing(agent)?.isNew !== true || this.holders.has(agent)
  }

  /** When the next after `at` will be found to have failed though nothing more happens; Infinity when nobody will. */
  nextFailure(at: number): number {
    let next = Number.POSITIVE_INFINITY
    for (const agent of this.silent) {
      const end = this.#gatheredAt(agent)
      if (end > at && end < next) next = end
    }
    return next
  }

  #gatheredAt(agent: string): number {
    const standing = this.roster.standing(agent)
    return standing?.verdict === 'gone' ? standing.since + GATHER_MS : Number.NEGATIVE_INFINITY
  }

  #blink(after: Moment): ObserverPause | null {
    if (this.seen === null) return null
    const gap = {
      expectedMs: this.waitMs,
      monotonicMs: after.now - this.seen.now,
      wallMs: after.wall - this.seen.wall,
    }
    return detectPause(gap, this.#config.lateAfterMs)
  }

  /** What was there before the watchdog came proves nothing; nor does another database, whose cursor goes back. */
  #hear(read: ObservedBeats, now: number): number {
    const recalls = this.#recalls
    this.#recalls = read.cursor < this.#cursor
    this.#cursor = this.#recalls ? 0 : read.cursor
    if (this.#recalls) return 0
    if (!recalls) return this.roster.hear(read.pulses, now)
    this.roster.recall(read.pulses)
    return 0
  }

  #watchTick(tick: string, now: number, blink: ObserverPause | null): void {
    if (tick !== this.#tick) {
      this.sees = this.#tick !== null
      this.#tick = tick
      this.#tickAt = now
      this.blind = false
    } else if (blink !== null) {
      this.#tickAt = now
    } else if (now - this.#tickAt > this.#config.lateAfterMs) {
      this.blind = true
    }
  }

  #grace(now: number): void {
    this.#graceAt = now
    this.roster.grace(now)
    this.agentProcesses.doubt()
    this.leases.grace(now)
    this.strandedSince = null
    this.dirty = true
  }
}
