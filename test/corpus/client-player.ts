import type { ClientActivityState } from '#fleet/client-activity.ts'
import type { SessionId } from '#fleet/session-id.ts'
import type { Task } from '#fleet/task.ts'
import type { Actor } from '../watchdog/stage.ts'
import { type Fleet, type FleetPlay, fleet, type Job } from './fleet-player.ts'
import type { Demand, Label, Situation } from './situation.ts'

export const SECOND = 1_000
export const MINUTE = 60 * SECOND
export const HOUR = 60 * MINUTE
/** Defaults of the settings. */
export const STALL = 15 * MINUTE
/** Until a state of a client is believed, and looked at. */
export const SEEN = 5 * SECOND
/** How often the daemon renews the leases of what its client took by hand. */
const RENEW_MS = 20 * SECOND

/** A client that somebody sits at, and what its host says of it: hooks tell of each turn and tool, the daemon sees its process. */
export class Client {
  readonly #fleet: Fleet
  readonly #actor: Actor
  /** What it holds, by id. */
  readonly #held = new Map<string, Task>()
  readonly #ending = new AbortController()
  #hasProcess = true
  #isFrozen = false
  #said: readonly [ClientActivityState | null, string | null, number | null] = [null, null, null]
  #lives = 1
  /** What its leases are called by: a client that hooks tell of, or a shell beside it. */
  #kind: 'claude' | 'shell' = 'claude'

  static async open(fleet: Fleet, name: string): Promise<Client> {
    const client = new Client(fleet, name)
    fleet.onEnd(() => client.#ending.abort())
    void client.#renew()
    await client.idles()
    return client
  }

  private constructor(fleet: Fleet, name: string) {
    this.#fleet = fleet
    this.#actor = fleet.stage.actor(name)
  }

  get agent(): string {
    return this.#actor.name
  }

  get session(): SessionId {
    return this.#actor.session
  }

  /** A turn begins. */
  async works(what: string | null = null): Promise<void> {
    await this.#event('working', what)
  }

  /** A turn ends. */
  async idles(): Promise<void> {
    await this.#event('idle')
  }

  /** A dialog opens. */
  async asks(what: string): Promise<void> {
    await this.#event('waiting', what)
  }

  async isLimited(forMs: number | null): Promise<void> {
    await this.#event('parked', 'usage limit reached', forMs === null ? null : this.#fleet.at(forMs))
  }

  async isLoggedOut(): Promise<void> {
    await this.#event('logged_out', 'authentication_failed: log in')
  }

  async isOverloaded(): Promise<void> {
    await this.#event('overloaded', '529 overloaded_error')
  }

  /** Any other event, of which the host makes this. */
  async #event(state: ClientActivityState | null, what: string | null = null, until: number | null = null) {
    if (this.#isFrozen || !this.#hasProcess) return
    this.#actor.work += 1
    await this.#say(state, what, until)
  }

  async #say(...said: readonly [ClientActivityState | null, string | null, number | null]): Promise<void> {
    this.#said = said
    await this.#fleet.stage.show(this.#actor.name, ...said)
  }

  /** Works for so long, with a tool every so often. */
  async worksFor(ms: number, everyMs = 5 * MINUTE): Promise<void> {
    for (let left = ms; left > 0; left -= everyMs) {
      await this.works()
      await this.#fleet.run(Math.min(left, everyMs))
    }
  }

  /** Its process stands still, and its daemon does not. */
  freezes(): void {
    this.#isFrozen = true
  }

  thaws(): void {
    this.#isFrozen = false
  }

  /** Its process ends in the middle of what it does, and its daemon sees that. */
  async dies(): Promise<void> {
    this.#hasProcess = false
    if (this.#kind === 'claude') this.#held.clear()
    await this.#say('gone', 'claude (pid 4711) is there no more', null)
  }

  /** It is taken for ended for so long: it was started again, or its process was not to be seen. */
  async flickers(ms: number): Promise<void> {
    const said = this.#said
    await this.#say('gone', null, null)
    await this.#fleet.run(ms)
    await this.#say(...said)
  }

  /** Its hooks are taken out, and it works on. */
  async isForgotten(): Promise<void> {
    await this.#say(null, null, null)
  }

  /** Somebody starts it again. */
  async starts(): Promise<void> {
    this.#hasProcess = true
    this.#lives += 1
    await this.idles()
  }

  /** It is closed: its host knows that it has ended, and nobody waits for it. */
  async exits(): Promise<void> {
    await this.#event('gone')
    this.#hasProcess = false
  }

  /** Its agent takes tasks by a shell that lives on beside it. */
  usesShell(): void {
    this.#kind = 'shell'
  }

  /** The daemon beside it is started again, and knows what it knew. */
  async restartsDaemon(): Promise<void> {
    this.#actor.incarnation += '+'
    this.#actor.seq = 0
    await this.#say(...this.#said)
  }

  /** Its agent takes this task by a tool. */
  async takes(id: string): Promise<void> {
    const { store } = this.#fleet.witness
    const task = await store.leaseTask(this.session, `${this.#kind}:${this.#actor.name}-${this.#lives}`, [
      ...this.#held.keys(),
    ])
    if (task?.id !== id) return // it was taken away
    this.#held.set(id, task)
    await this.works()
  }

  async completes(id: string): Promise<void> {
    const task = this.#held.get(id)
    if (task === undefined) return
    this.#held.delete(id)
    const result = { exitCode: null, signal: null, tail: 'done' }
    const report = { task: id, epoch: task.epoch, state: 'completed', progress: null, result } as const
    await this.#fleet.witness.store.report(this.session, report).catch(() => undefined)
    await this.idles()
  }

  /** A lease is renewed while the process is there, whatever the process does. */
  async #renew(): Promise<void> {
    const { signal } = this.#ending
    while (!signal.aborted) {
      for (const { id, epoch } of (this.#hasProcess || this.#kind === 'shell') && this.#actor.beats
        ? [...this.#held.values()]
        : []) {
        const report = { task: id, epoch, state: 'in_progress', progress: null, result: null } as const
        await this.#fleet.witness.store.report(this.session, report).catch(() => this.#held.delete(id))
      }
      await this.#fleet.stage.clock.sleep(RENEW_MS, signal).catch(() => undefined)
    }
  }
}

/** An agent w1 that somebody sits at, and two workers of its role that could do its work. */
export function sitting(
  title: string,
  label: Label,
  tell: (fleet: Fleet, client: Client) => Promise<void>,
  follows: readonly Demand[],
  more: Partial<FleetPlay> = {},
): Situation {
  const workers = { w2: 'docs', w3: 'docs' }
  const play = { workers, clients: { w1: 'docs' }, ...more }
  return fleet(
    title,
    label,
    { ...play, tell: async (each) => await tell(each, await Client.open(each, 'w1')) },
    follows,
  )
}

/** It has had a task in hand for half a minute when the situation begins. */
export async function holding(fleet: Fleet, client: Client, job?: Job): Promise<void> {
  await fleet.give('t', client.agent, job)
  await client.takes('t')
  await fleet.run(30 * SECOND)
  fleet.begin()
}

/** An `s2 work` that is alone in its fleet, and a client that somebody sits at beside it. */
export function beside(
  title: string,
  tell: (fleet: Fleet, client: Client) => Promise<void>,
  follows: readonly Demand[],
): Situation {
  const play = { workers: { w2: 'docs' }, tell: async (each: Fleet) => await tell(each, await Client.open(each, 'w2')) }
  return fleet(title, 'healthy', play, follows)
}
