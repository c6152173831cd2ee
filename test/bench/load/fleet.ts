/**
 * A fleet that beats, and the bridge that collects its beats, in one process beside the watchdog: the store is the same
 * database. Times are those of the machine's monotonic clock, which all its processes share.
 */

import { type SessionId, sessionId } from '#fleet/session-id.ts'
import { readTaskMessage } from '#fleet/task-messages.ts'
import { systemChance, systemClock } from '#runtime/clock.ts'
import { recordingLog } from '#runtime/log.ts'
import { openSqliteStore } from '#store/sqlite/open-sqlite-store.ts'
import { singly } from '../../singly.ts'

export interface FleetJob {
  readonly path: string
  readonly conversations: number
  /** Every session has an agent of its own, or the ends `a` share one. */
  readonly agents: 'one each' | 'one orchestrator'
  readonly beatMs: number
}

export type FleetOrder =
  | { readonly t: 'job'; readonly job: FleetJob }
  /** So many agents a second, drawn by lot, beat no more. */
  | { readonly t: 'thin out'; readonly perS: number }
  | { readonly t: 'stop thinning out' }
  | { readonly t: 'give'; readonly worker: number; readonly tasks: readonly string[] }
  | { readonly t: 'silence'; readonly worker: number }
  | { readonly t: 'heal'; readonly worker: number }
  /** Resolves when both sides were told of each of these tasks. */
  | { readonly t: 'told'; readonly tasks: readonly string[] }

export interface FleetReply {
  readonly error?: string
  /** Agents that were silenced, by when their last beat was taken. */
  readonly silenced?: ReadonlyMap<string, number>
  readonly beats?: number
  readonly ranMs?: number
  /** When the later of the two sides had the message in hand. */
  readonly toldAt?: readonly number[]
}

/** Milliseconds of CLOCK_MONOTONIC. */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6
}

const SLICE_MS = 20
const OPEN_AT_ONCE = 500

interface Beater {
  readonly agent: string
  readonly session: SessionId
  seq: number
  beats: boolean
  beatAt: number
}

class Fleet {
  readonly #job: FleetJob
  readonly #store: Awaited<ReturnType<typeof openSqliteStore>>
  readonly #beaters: Beater[] = []
  readonly #silenced = new Map<string, number>()
  readonly #hands = new Map<string, { assigned: number; moved: number }>()
  #heard: () => void = () => undefined
  #thinPerS = 0
  #beats = 0
  #beganAt = 0

  constructor(job: FleetJob, store: Awaited<ReturnType<typeof openSqliteStore>>) {
    this.#job = job
    this.#store = store
  }

  static async open(job: FleetJob): Promise<Fleet> {
    const log = recordingLog()
    const fleet = new Fleet(job, await openSqliteStore(job.path, { clock: systemClock, chance: systemChance, log }))
    await fleet.#settle()
    void fleet.#tend()
    void fleet.#beat()
    return fleet
  }

  thinOut(perS: number): void {
    this.#thinPerS = perS
    this.#beats = 0
    this.#beganAt = monotonicMs()
    this.#silenced.clear()
  }

  harvest(): FleetReply {
    this.#thinPerS = 0
    return { silenced: this.#silenced, beats: this.#beats, ranMs: monotonicMs() - this.#beganAt }
  }

  async give(worker: number, tasks: readonly string[]): Promise<void> {
    const { session: holder } = this.#worker(worker)
    const createdBy = holder.replace(/b$/, 'a') as SessionId
    for (const id of tasks) {
      const work = { description: `do ${id}`, priority: 'P2', role: null, deadline: null } as const
      await this.#store.addTask({ id, holder, createdBy, ...work })
    }
  }

  silence(worker: number): void {
    this.#worker(worker).beats = false
  }

  heal(worker: number): void {
    this.#worker(worker).beats = true
  }

  /** Waits until both letters of each move are in hand, and withdraws the tasks then. */
  async told(tasks: readonly string[]): Promise<readonly number[]> {
    const isTold = (task: string): boolean => {
      const hand = this.#hands.get(task)
      return hand !== undefined && hand.assigned > 0 && hand.moved > 0
    }
    while (!tasks.every(isTold)) {
      await new Promise<void>((resolve) => {
        this.#heard = resolve
      })
    }
    for (const task of tasks) await this.#store.cancelTask(task)
    return tasks.map((task) => {
      const { assigned = 0, moved = 0 } = this.#hands.get(task) ?? {}
      return Math.max(assigned, moved)
    })
  }

  #worker(index: number): Beater {
    const workers = this.#beaters.filter(({ session }) => session.endsWith('/b'))
    const found = workers[index]
    if (found === undefined) throw new Error(`there is no worker ${index}`)
    return found
  }

  async #settle(): Promise<void> {
    const { conversations, agents } = this.#job
    const lifetimeMs = 12 * 3_600_000
    for (let from = 0; from < conversations; from += OPEN_AT_ONCE) {
      const numbers = Array.from({ length: Math.min(OPEN_AT_ONCE, conversations - from) }, (_, n) => from + n)
      await Promise.all(
        numbers.map(async (n) => {
          const names = { a: agents === 'one each' ? `a${n}` : 'orchestrator', b: `b${n}` }
          const { id } = await this.#store.openConversation({
            roles: { a: 'orchestrator', b: 'worker' },
            agents: names,
            lifetimeMs,
          })
          for (const side of ['a', 'b'] as const) this.#enter(names[side], sessionId(id, side))
        }),
      )
    }
  }

  #enter(agent: string, session: SessionId): void {
    this.#beaters.push({ agent, session, seq: 0, beats: true, beatAt: 0 })
    if (this.#job.agents === 'one orchestrator') void this.#readMail(session)
  }

  async #readMail(session: SessionId): Promise<void> {
    for await (const { id, text } of singly(this.#store.mail(session, 0, new AbortController().signal))) {
      const at = monotonicMs()
      const letter = readTaskMessage(text)
      const hand = this.#hands.get(letter?.task ?? '') ?? { assigned: 0, moved: 0 }
      if (letter?.type === 'task_assignment' && (letter.epoch ?? 0) > 1) hand.assigned = at
      if (letter?.type === 'task_moved') hand.moved = at
      this.#hands.set(letter?.task ?? '', hand)
      this.#heard()
      await this.#store.mark(session, [id], 'acked')
    }
  }

  async #tend(): Promise<void> {
    for (;;) await systemClock.sleep(await this.#store.tend())
  }

  /** Everybody beats once in beatMs, evenly spread. */
  async #beat(): Promise<void> {
    const beganAt = monotonicMs()
    let done = 0
    for (;;) {
      await systemClock.sleep(SLICE_MS)
      const due = Math.floor(((monotonicMs() - beganAt) / this.#job.beatMs) * this.#beaters.length)
      const batch: Beater[] = []
      for (; done < due; done += 1) {
        const beater = this.#beaters[done % this.#beaters.length] as Beater
        if (beater.beats) batch.push(beater)
      }
      this.#thin()
      const at = monotonicMs()
      for (const beater of batch) {
        beater.seq += 1
        beater.beatAt = at
      }
      this.#beats += batch.length
      await this.#store.beat(
        batch.map(({ session, seq }) => ({ session, host: 'bench', incarnation: 'one', seq, work: 0 })),
      )
    }
  }

  #thin(): void {
    if (systemChance() >= (this.#thinPerS * SLICE_MS) / 1000) return
    const beater = this.#beaters[Math.floor(systemChance() * this.#beaters.length)]
    if (beater === undefined || !beater.beats || beater.beatAt === 0) return
    beater.beats = false
    this.#silenced.set(beater.agent, beater.beatAt)
  }
}

let fleet: Fleet | undefined

async function obey(order: FleetOrder): Promise<FleetReply> {
  if (order.t === 'job') fleet = await Fleet.open(order.job)
  if (fleet === undefined) throw new Error('there is no fleet yet')
  if (order.t === 'thin out') fleet.thinOut(order.perS)
  if (order.t === 'stop thinning out') return fleet.harvest()
  if (order.t === 'give') await fleet.give(order.worker, order.tasks)
  if (order.t === 'silence') fleet.silence(order.worker)
  if (order.t === 'heal') fleet.heal(order.worker)
  if (order.t === 'told') return { toldAt: await fleet.told(order.tasks) }
  return {}
}

process.on('message', (order: FleetOrder) => {
  obey(order).then(
    (reply) => process.send?.(reply),
    (error: unknown) =>
      process.send?.({ error: error instanceof Error ? (error.stack ?? error.message) : String(error) }),
  )
})
process.on('disconnect', () => process.exit())
