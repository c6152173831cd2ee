import { FOREIGN_LIFE, type ObservedBeat } from './beat.ts'
import type { Agent } from './conversation.ts'
import { type SessionId, sideOf } from './session.ts'

/**
 * What an observer thinks of an agent. `new` was never heard, so it is not lost either; `stalled`, `parked` and `gone` want
 * evidence beyond beats.
 */
export const VERDICTS = ['new', 'alive', 'late', 'silent', 'stalled', 'parked', 'gone'] as const
export type Verdict = (typeof VERDICTS)[number]

export interface AgentVerdict {
  readonly agent: string
  readonly verdict: Verdict
  /** Since when, milliseconds since 1970 by the watchdog's wall clock: for people to read. */
  readonly since: number
  readonly host: string | null
}

/** The verdicts that a roster passes: three by beats alone, and one by proof. */
export type RosterVerdict = 'alive' | 'late' | 'silent' | 'gone'

/** How long an agent may be unheard, milliseconds. */
export interface SilenceLimits {
  readonly lateAfterMs: number
  /** Longer than lateAfterMs, and by enough that all who fall silent together are late before the first is silent. */
  readonly silentAfterMs: number
}

/** One agent as the observer has it. Times are milliseconds of the observer's own clock that never jumps. */
export interface AgentLiveness {
  readonly agent: string
  readonly role: string
  /** Where its last beat came from. */
  readonly host: string | null
  readonly verdict: RosterVerdict
  readonly since: number
  /** It was heard itself since the last grace, and not merely given the benefit of the doubt. */
  readonly proven: boolean
  /** Changes whenever the agent or its daemon showed more than a beat: work done, or a new life. */
  readonly signs: number
  /** Nobody ever heard it, nor learned of its death: what it rules is about work that lies with it, and no loss. */
  readonly isNew: boolean
  /** Since when the observer knows of it. */
  readonly knownSince: number
  /** The end `b` that it can take tasks by, the one heard last; null where it has only ends `a`. */
  readonly seat: SessionId | null
}

export interface VerdictChange {
  readonly agent: string
  readonly from: RosterVerdict
  readonly to: RosterVerdict
  /** The exact moment it fell due, by the observer's clock; for a return, when it was heard; for a death, when it was learned. */
  readonly at: number
}

/**
 * Who is alive, by when a beat's (incarnation, seq) last changed before the observer's own eyes: no clock of a worker
 * is believed. Waits are the same for all, so the order of hearing is the order of deadlines, and neither a beat nor a
 * check costs more with a hundred thousand agents than with nine. Beats of foreign hands come seldom: they count for a full
 * silence more. Holds no clock and does no I/O.
 */
export class Roster {
  readonly #patience: SilenceLimits
  readonly #members = new Map<string, Member>()
  readonly #seen = new Map<SessionId, Seen>()
  /** Pulses of sessions that no known conversation has; true when one was heard, false when it is an old one. */
  readonly #strangers = new Map<SessionId, { readonly pulse: ObservedBeat; readonly heard: boolean }>()
  readonly #alive = new Line()
  readonly #late = new Line()
  /** Convicted within the last silence window. */
  readonly #fallen = new Line()
  readonly #counts: Record<RosterVerdict | 'new', number> = { new: 0, alive: 0, late: 0, silent: 0, gone: 0 }
  /** Of those that count in the question whether many fell silent together. */
  #counting = 0
  #unheard = 0
  #silent = 0
  #generation = 0
  #changes: VerdictChange[] = []

  constructor(patience: SilenceLimits) {
    this.#patience = patience
  }

  get size(): number {
    return this.#members.size
  }

  get counts(): Readonly<Record<RosterVerdict | 'new', number>> {
    return this.#counts
  }

  has(agent: string): boolean {
    return this.#members.has(agent)
  }

  standing(agent: string): AgentLiveness | undefined {
    return this.#members.get(agent)
  }

  standings(): Iterable<AgentLiveness> {
    return this.#members.values()
  }

  /** Whose session it is; undefined when it belongs to no live conversation that the observer knows of. */
  agentOf(session: SessionId): string | undefined {
    return this.#seen.get(session)?.member.agent
  }

  /**
   * Takes over who there is, one at a time: of many, the observer may hear and judge in between, while its clock goes on.
   * New ones count as heard now; those not named any more are forgotten. One that is named more than once has all the
   * sessions that it is named with, and its first role.
   */
  *learn(agents: Iterable<Agent>, clock: () => number): Generator<void> {
    this.#generation += 1
    for (const { name, role, sessions } of agents) {
      for (const session of sessions) this.#meet(name, role, session, clock())
      yield
    }
    yield* this.#forgetTheRest()
  }

  /** Notes what beats there had been before the observer looked: they prove nothing about now. */
  recall(pulses: readonly ObservedBeat[]): void {
    for (const pulse of pulses) {
      const seen = this.#seen.get(pulse.session)
      if (seen === undefined) this.#strangers.set(pulse.session, { pulse, heard: false })
      else this.#note(seen, pulse)
    }
  }

  /** Takes in beats that changed since the last read. Answers how many came from sessions never met before. */
  hear(pulses: readonly ObservedBeat[], now: number): number {
    let strangers = 0
    for (const pulse of pulses) {
      const seen = this.#seen.get(pulse.session)
      if (seen === undefined) {
        if (!this.#strangers.has(pulse.session)) strangers += 1
        this.#strangers.set(pulse.session, { pulse, heard: true })
      } else this.#weigh(seen, this.#note(seen, pulse), now)
    }
    return strangers
  }

  /** Passes the verdicts that have fallen due, and answers all changes since the last time, returns included. */
  due(now: number): VerdictChange[] {
    const { lateAfterMs, silentAfterMs } = this.#patience
    for (let first = this.#alive.first; first && first.credit + lateAfterMs <= now; first = this.#alive.first) {
      this.#pass(first, 'late', first.credit + lateAfterMs)
      this.#late.insert(first)
    }
    for (let first = this.#late.first; first && first.credit + silentAfterMs <= now; first = this.#late.first) {
      this.#pass(first, 'silent', first.credit + silentAfterMs)
      this.#fallen.insert(first)
    }
    for (let first = this.#fallen.first; first && first.since + silentAfterMs <= now; first = this.#fallen.first) {
      first.line?.remove(first)
      if (first.told) this.#putAside(first)
    }
    return this.changes()
  }

  /** All changes since the last time they were asked for. */
  changes(): VerdictChange[] {
    const changes = this.#changes
    this.#changes = []
    return changes
  }

  /** When the next verdict falls due unless something is heard; Infinity when none can. */
  nextDeadline(): number {
    const { lateAfterMs, silentAfterMs } = this.#patience
    return Math.min(
      (this.#alive.first?.credit ?? Number.POSITIVE_INFINITY) + lateAfterMs,
      (this.#late.first?.credit ?? Number.POSITIVE_INFINITY) + silentAfterMs,
    )
  }

  /**
   * The observer did not see for a while: nobody is convicted until a full silence from now. Those who were late or
   * silent stay late until they are heard, so that nobody calls them back, or gives them work, on no evidence. Deaths
   * are to be proven anew.
   */
  grace(now: number): void {
    for (const member of this.#members.values()) {
      member.proven = false
      member.credit = now
      if (member.verdict === 'alive') continue
      if (member.verdict !== 'late') this.#pass(member, 'late', now)
      this.#late.insert(member)
    }
  }

  /** An agent that had been convicted before the observer came: late until heard, or until convicted anew. */
  suspect(agent: string, now: number): void {
    const member = this.#members.get(agent)
    if (member === undefined) return
    member.told = true
    this.#putAside(member)
    if (member.verdict === 'gone') return
    this.#pass(member, 'late', now)
    this.#late.insert(member)
  }

  /**
   * There is proof that it died. Beats of a daemon that outlived it do not vouch for it: only a new life does, or work
   * that is shown when what it did before must long have been told.
   */
  gone(agent: string, now: number): void {
    const member = this.#members.get(agent)
    if (member === undefined || member.verdict === 'gone') return
    this.#pass(member, 'gone', now)
    this.#meetFirst(member)
    member.proven = false
    member.credit = now - this.#patience.silentAfterMs // like one that has just been found silent
    this.#fallen.insert(member)
  }

  /** What it runs in lives again: it has a full silence to be heard itself, and gets no work until then. */
  back(agent: string, now: number): void {
    const member = this.#members.get(agent)
    if (member?.verdict !== 'gone') return
    this.#pass(member, 'alive', now)
    member.credit = now
    this.#alive.insert(member)
  }

  /** An incident of its own tells of this lost agent: once a silence window has passed it no longer counts as fresh. */
  told(agent: string, now: number): void {
    const member = this.#members.get(agent)
    if (member?.verdict !== 'silent' && member?.verdict !== 'gone') return
    member.told = true
    if (member.since + this.#patience.silentAfterMs <= now) this.#putAside(member)
  }

  isTold(agent: string): boolean {
    return this.#members.get(agent)?.told === true
  }

  /**
   * Whether so many are unheard together that the cause is not theirs: at least 55 % and 3 of those that count (2 where
   * three or fewer do). Late ones count as unheard, so that the first conviction of a mass silence finds it out. Those
   * long silent with an incident of their own count on neither side; nor do those that were never heard at all.
   */
  get massSilence(): boolean {
    const least = this.#counting <= 3 ? 2 : 3
    return this.#unheard >= least && this.#unheard * 100 >= this.#counting * 55
  }

  /** How many that count there are, how many of them are unheard (late, silent or gone), and how many silent or gone. */
  get muster(): { readonly count: number; readonly unheard: number; readonly silent: number } {
    return { count: this.#counting, unheard: this.#unheard, silent: this.#silent }
  }

  #meet(name: string, role: string, session: SessionId, now: number): void {
    const member = this.#members.get(name) ?? this.#welcome(name, session, now)
    if (member.generation !== this.#generation) member.role = role
    member.generation = this.#generation
    this.#join(session, member, now)
  }

  #welcome(name: string, session: SessionId, now: number): Member {
    // Foreign conversations name no agents: the session id stands in, and nobody there promised to beat.
    const member = new Member(name, session === name, now)
    this.#members.set(name, member)
    this.#count(member, 1)
    this.#alive.insert(member)
    return member
  }

  #join(session: SessionId, member: Member, now: number): void {
    const known = this.#seen.get(session)
    if (known !== undefined) {
      known.generation = this.#generation
      if (known.member !== member) this.#handOver(known, member)
      return
    }
    const seen = { session, member, generation: this.#generation, incarnation: null, host: '', seq: 0, work: 0 }
    this.#seen.set(session, seen)
    member.take(session)
    const stranger = this.#strangers.get(session)
    if (stranger === undefined) return
    this.#strangers.delete(session)
    const sign = this.#note(seen, stranger.pulse)
    if (stranger.heard) this.#weigh(seen, sign, now)
  }

  #handOver(seen: Seen, to: Member): void {
    seen.member.leave(seen.session)
    seen.member = to
    to.take(seen.session)
    if (seen.incarnation !== null && !to.isForeign) this.#meetFirst(to)
  }

  *#forgetTheRest(): Generator<void> {
    for (const [session, seen] of this.#seen) {
      yield
      if (seen.generation === this.#generation) continue
      seen.member.leave(seen.session)
      this.#seen.delete(session)
    }
    for (const [name, member] of this.#members) {
      yield
      if (member.generation === this.#generation) continue
      member.line?.remove(member)
      this.#count(member, -1)
      this.#members.delete(name)
    }
  }

  /** Remembers a pulse, but not the pulse itself: a large fleet brings too many. Answers what it shows beyond the one before. */
  #note(seen: Seen, { incarnation, host, seq, work }: ObservedBeat): Sign {
    const { member } = seen
    const isFirst = seen.incarnation === null
    const isNewLife = (seen.incarnation ?? member.life ?? incarnation) !== incarnation
    const isBeat = isFirst || seen.seq !== seq
    const hasWorked = !isFirst && seen.work !== work
    if (isNewLife || hasWorked) member.signs += 1
    // An equal string of this pulse is left to die young: kept, it would make the collector copy it.
    if (seen.incarnation !== incarnation) seen.incarnation = incarnation
    if (seen.host !== host) seen.host = host
    seen.seq = seq
    seen.work = work
    member.host ??= host
    if (member.life !== incarnation) member.life = incarnation
    if (!member.isForeign) this.#meetFirst(member) // what is left of foreign hands may be years old
    if (isNewLife) return 'life'
    if (!isBeat) return 'nothing'
    return hasWorked ? 'work' : 'beat'
  }

  #weigh(seen: Seen, sign: Sign, now: number): void {
    if (sign === 'nothing') return
    const { verdict, since } = seen.member
    const isLateWork = sign === 'work' && now - since > this.#patience.lateAfterMs
    if (verdict !== 'gone' || sign === 'life' || isLateWork) this.#credit(seen, now)
  }

  #credit(seen: Seen, now: number): void {
    const { member } = seen
    if (seen.incarnation !== null) member.host = seen.host
    member.sit(seen.session)
    if (member.verdict !== 'alive') this.#pass(member, 'alive', now)
    if (member.isNew || member.told) {
      this.#recount(member, () => {
        member.isNew = false
        member.told = false
        member.aside = false
      })
    }
    member.proven = true
    member.credit = seen.incarnation === FOREIGN_LIFE ? now + this.#patience.silentAfterMs : now
    this.#alive.insert(member)
  }

  #pass(member: Member, to: RosterVerdict, at: number): void {
    if (member.verdict === to) return
    this.#changes.push({ agent: member.agent, from: member.verdict, to, at })
    this.#recount(member, () => {
      member.verdict = to
    })
    member.since = at
  }

  /** There is a sign that it lived once: from now on it can be lost. */
  #meetFirst(member: Member): void {
    if (!member.isNew) return
    this.#recount(member, () => {
      member.isNew = false
    })
  }

  #putAside(member: Member): void {
    this.#recount(member, () => {
      member.aside = true
    })
  }

  #recount(member: Member, change: () => void): void {
    this.#count(member, -1)
    change()
    this.#count(member, 1)
  }

  #count(member: Member, by: 1 | -1): void {
    this.#counts[member.isNew ? 'new' : member.verdict] += by
    if (member.aside || member.isNew) return
    this.#counting += by
    if (member.verdict !== 'alive') this.#unheard += by
    if (member.verdict === 'silent' || member.verdict === 'gone') this.#silent += by
  }
}

/** What the observer decided about its own eyes. */
export type Blink = 'paused' | 'clock_jumped'

/** How far two looks lie apart, by both clocks, and how far they were meant to. Milliseconds. */
export interface Gap {
  readonly expectedMs: number
  readonly monotonicMs: number
  readonly wallMs: number
}

/**
 * Whether the observer itself was away between two looks: stopped or starved for longer than it lets an agent be
 * unheard, or suspended, which only the wall clock sees (the monotonic one stands still then). Null: it saw all along.
 */
export function blinked(gap: Gap, allowedMs: number): Blink | null {
  if (gap.monotonicMs - gap.expectedMs > allowedMs) return 'paused'
  return Math.abs(gap.wallMs - gap.monotonicMs) > allowedMs ? 'clock_jumped' : null
}

/** What a pulse shows of its agent: nothing new, that its host lives, that it worked, that it lives anew. */
type Sign = 'nothing' | 'beat' | 'work' | 'life'

/** What was seen of one session. */
interface Seen {
  readonly session: SessionId
  member: Member
  generation: number
  /** Null before the first pulse. */
  incarnation: string | null
  host: string
  seq: number
  work: number
}

class Member implements AgentLiveness {
  readonly agent: string
  /** A session of a foreign conversation, which promised nobody to beat. */
  readonly isForeign: boolean
  readonly knownSince: number
  role = ''
  host: string | null = null
  verdict: RosterVerdict = 'alive'
  since: number
  proven = false
  signs = 0
  /** When it was last heard, or given grace. */
  credit: number
  generation = 0
  /** The incarnation that was noted last. */
  life: string | null = null
  isNew = true
  told = false
  aside = false
  line: Line | null = null
  previous: Member | null = null
  next: Member | null = null
  seat: SessionId | null = null
  readonly #seats = new Set<SessionId>()

  constructor(agent: string, foreign: boolean, now: number) {
    this.agent = agent
    this.isForeign = foreign
    this.knownSince = now
    this.since = now
    this.credit = now
  }

  take(session: SessionId): void {
    if (sideOf(session) !== 'b') return
    this.#seats.add(session)
    this.seat ??= session
  }

  leave(session: SessionId): void {
    this.#seats.delete(session)
    if (this.seat === session) this.seat = this.#seats.values().next().value ?? null
  }

  /** It was heard by this session. */
  sit(session: SessionId): void {
    if (this.#seats.has(session)) this.seat = session
  }
}

/** Members in the order in which their waits began: a linked list, as a Map that is appended to and deleted from rehashes. */
class Line {
  first: Member | null = null
  #last: Member | null = null
  /** Who was put before others last: of many who are heard together, each next one goes behind the one before. */
  #lodged: Member | null = null

  /** Takes a member over from the line it stands in. It goes to the end, but for those whose wait began before. */
  insert(member: Member): void {
    member.line?.remove(member)
    const before = this.#place(member.credit)
    if (before !== this.#last) this.#lodged = member
    member.previous = before
    member.next = before === null ? this.first : before.next
    if (member.previous === null) this.first = member
    else member.previous.next = member
    if (member.next === null) this.#last = member
    else member.next.previous = member
    member.line = this
  }

  /** Behind whom a wait that began then belongs; null: before all. */
  #place(credit: number): Member | null {
    const lodged = this.#lodged
    let before = this.#last
    if (before !== null && before.credit > credit && lodged?.line === this && lodged.credit <= credit) {
      before = lodged
      while (before.next !== null && before.next.credit <= credit) before = before.next
    }
    while (before !== null && before.credit > credit) before = before.previous
    return before
  }

  remove(member: Member): void {
    if (member.previous === null) this.first = member.next
    else member.previous.next = member.next
    if (member.next === null) this.#last = member.previous
    else member.next.previous = member.previous
    member.line = null
    member.previous = null
    member.next = null
  }
}
