import type { Clock } from '#runtime/clock.ts'

/** What is to happen, and when, in the order it was asked for where two fall on one moment. */
interface Due {
  readonly at: number
  readonly order: number
  readonly act: Act
}

/** Answers false when nothing came of it. */
type Act = () => unknown

/** The true time of a simulated world, milliseconds from its beginning. Nothing happens between two dues. */
export class Timeline {
  #now = 0
  #order = 0
  /** A binary heap, the next one first. */
  readonly #dues: Due[] = []

  get now(): number {
    return this.#now
  }

  after(ms: number, act: Act): void {
    this.#order += 1
    this.#push({ at: this.#now + Math.max(0, ms), order: this.#order, act })
  }

  wait(ms: number): Promise<void> {
    return new Promise((resolve) => this.after(ms, resolve))
  }

  /** Lets time pass. All that follows from one due, however many promises it takes, happens before the next. */
  async runTo(end: number): Promise<void> {
    for (let due = this.#dues[0]; due !== undefined && due.at <= end; due = this.#dues[0]) {
      this.#pop()
      this.#now = due.at
      if (due.act() !== false) await settled()
    }
    this.#now = end
  }

  #push(due: Due): void {
    const dues = this.#dues
    let place = dues.length
    dues.push(due)
    while (place > 0) {
      const above = (place - 1) >> 1
      const parent = dues[above] as Due
      if (!isBefore(due, parent)) break
      dues[place] = parent
      place = above
    }
    dues[place] = due
  }

  #pop(): void {
    const dues = this.#dues
    const last = dues.pop()
    if (last === undefined || dues.length === 0) return
    let place = 0
    for (;;) {
      let below = 2 * place + 1
      if (below >= dues.length) break
      if (below + 1 < dues.length && isBefore(dues[below + 1] as Due, dues[below] as Due)) below += 1
      const child = dues[below] as Due
      if (!isBefore(child, last)) break
      dues[place] = child
      place = below
    }
    dues[place] = last
  }
}

function isBefore(one: Due, other: Due): boolean {
  return one.at < other.at || (one.at === other.at && one.order < other.order)
}

/** Node calls a tick once no promise has anything left to do: all that could follow has followed. */
function settled(): Promise<void> {
  return new Promise((resolve) => process.nextTick(resolve))
}

/** The wall clock of a world's first moment: 2026-01-01. */
const EPOCH = Date.UTC(2026, 0, 1)
/** Moments closer than this are one: sums of fractions are not exact. */
const EXACT_MS = 1e-6

/**
 * Timers below `belowMs` run for `ms`. What programs poll by the second whatever they are set to would make millions of events
 * in days; where beats are minutes apart, a timer that comes a beat later changes nothing. Timers that are set are not touched.
 */
export interface Slack {
  readonly belowMs: number
  readonly ms: number
}

function slackened(ms: number, slack: Slack | null): number {
  return slack === null || ms <= LEAST_MS || ms >= slack.belowMs ? ms : slack.ms
}

/** A machine: its clocks, and what runs on it. Suspended, its monotonic clock stands still and its wall clock goes on. */
export class Machine {
  readonly name: string
  readonly timeline: Timeline
  /** How coarse the timers of its programs are; null: exact. */
  slack: Slack | null = null
  /** What the wall clock is off by. */
  #offMs: number
  #lostMs = 0
  #suspendedAt: number | null = null
  #waiting: Act[] = []

  constructor(name: string, timeline: Timeline, offMs = 0) {
    this.name = name
    this.timeline = timeline
    this.#offMs = offMs
  }

  now(): number {
    return (this.#suspendedAt ?? this.timeline.now) - this.#lostMs
  }

  wall(): number {
    return EPOCH + this.timeline.now + this.#offMs
  }

  /** What its wall clock would have shown at the world's first moment, were it right. */
  get epoch(): number {
    return EPOCH
  }

  /** What its wall clock is off by. */
  get offMs(): number {
    return this.#offMs
  }

  get isSuspended(): boolean {
    return this.#suspendedAt !== null
  }

  /** For how long it has been suspended; 0 while it is not. */
  get asleepMs(): number {
    return this.#suspendedAt === null ? 0 : this.timeline.now - this.#suspendedAt
  }

  stepWall(ms: number): void {
    this.#offMs += ms
  }

  suspend(): void {
    this.#suspendedAt ??= this.timeline.now
  }

  resume(): void {
    if (this.#suspendedAt === null) return
    this.#lostMs += this.timeline.now - this.#suspendedAt
    this.#suspendedAt = null
    const waiting = this.#waiting
    this.#waiting = []
    for (const go of waiting) go()
  }

  /** Acts when the machine's own clock has come so far. */
  at(due: number, act: Act): void {
    const arrive = (): unknown => {
      if (this.isSuspended) return this.#wait(arrive)
      return this.now() + EXACT_MS < due ? this.at(due, act) : act()
    }
    this.timeline.after(due - this.now(), arrive)
  }

  /** Acts now, or when the machine is resumed. */
  whenAwake(act: Act): void {
    if (this.isSuspended) this.#wait(act)
    else act()
  }

  #wait(act: Act): void {
    this.#waiting.push(act)
  }
}

/** A timer that is asked for at once comes as soon as one can. */
const LEAST_MS = 1

/** One life of a program: it can be stopped (SIGSTOP), and it can be killed. What reaches it goes through `deliver`. */
export class Life {
  readonly name: string
  readonly machine: Machine
  readonly clock: Clock
  /** Never aborts: who dies is not told to end. One for each life, so that nothing outlasts its world. */
  readonly unending = new AbortController().signal
  #held: (() => void)[] | null = null
  #dead = false

  constructor(name: string, machine: Machine) {
    this.name = name
    this.machine = machine
    this.clock = {
      now: () => machine.now(),
      wall: () => machine.wall(),
      sleep: (ms, signal) => this.#sleep(slackened(ms, machine.slack), signal),
    }
  }

  get isDead(): boolean {
    return this.#dead
  }

  get isStopped(): boolean {
    return this.#held !== null
  }

  /** Its timers go on and fall due, but nothing of it happens. */
  stop(): void {
    this.#held ??= []
  }

  /** All that fell due or came meanwhile happens now, in order. */
  goOn(): void {
    const held = this.#held ?? []
    this.#held = null
    for (const act of held) this.deliver(act)
  }

  /** It never does anything again, and what it had in hand is lost. */
  kill(): void {
    this.#dead = true
    this.#held = null
  }

  /** Lets something reach it: now, when it goes on, or never. */
  deliver(act: () => void): void {
    if (this.#dead) return
    if (this.machine.isSuspended) this.machine.whenAwake(() => this.deliver(act))
    else if (this.#held !== null) this.#held.push(act)
    else act()
  }

  /** Waits for the machine and not by a timer of the program: exactly so long. */
  pause(ms: number): Promise<void> {
    return this.#sleep(ms)
  }

  #sleep(ms: number, signal?: AbortSignal): Promise<void> {
    if (signal?.aborted === true) return Promise.reject(signal.reason)
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    let isOver = false
    const stop = (): void => {
      isOver = true
      reject(signal?.reason)
    }
    const wake = (): void => {
      signal?.removeEventListener('abort', stop)
      resolve()
    }
    signal?.addEventListener('abort', stop, { once: true })
    if (ms < Number.POSITIVE_INFINITY) {
      const due = this.machine.now() + Math.max(LEAST_MS, ms)
      this.machine.at(due, () => !isOver && !this.#dead && this.deliver(wake))
    }
    return promise
  }
}
