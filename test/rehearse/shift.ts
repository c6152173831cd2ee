import type { Incident } from '#fleet/incident.ts'
import { isOpen, type Task } from '#fleet/task.ts'
import { type SessionId, sessionId } from '../../services/core/fleet/session-id.ts'
import { readTaskMessage, type TaskMessage } from '../../services/core/fleet/task-messages.ts'
import { until } from '../until.ts'
import { agentOf, aliveAgents, type Company } from './company.ts'
import { conversationOf } from './drills.ts'
import { Stage } from './stage.ts'
import { seconds, type Telling } from './telling.ts'

/** The clocks of tasks in this night, milliseconds; in earnest they are minutes. */
export const CLOCKS = { takeMs: 6_000, stallMs: 8_000, pendingMs: 3_000 }
export const ATTEMPTS_MAX = 4
/** How long after its clock says so a thing may happen on a machine that has much to do. */
const LATE_MS = 30_000

/** Nothing works at the first of them; the other has its role. */
export const IDLE = 1
export const DOCS = 2
/** Nothing works there, and nobody else has its role. */
export const LONELY = 3
export const BACKEND = 4
/** Two of a role each, of whom the first cannot work. */
export const HOMELESS = 5
export const TESTS = 6
export const UNEQUIPPED = 7
export const REVIEW = 8
/** Two of a role, and both work. */
export const FRONT = 9
export const OTHER_FRONT = 10
/** Nothing works there, and another role stands in for its own. */
export const BACKED = 11

/** Below the folder of the stage: where the homeless one works, and the program of the unequipped one. */
export const CHECKOUT = 'checkout'
export const PROGRAM = 'agent'

const WORKERS = [
  { role: 'docs', exec: null },
  { role: 'docs' },
  { role: 'deploy', exec: null },
  { role: 'backend' },
  { role: 'tests', folder: CHECKOUT },
  { role: 'tests' },
  { role: 'review', folder: '.', exec: JSON.stringify([`./${PROGRAM}`]) },
  { role: 'review' },
  { role: 'frontend' },
  { role: 'frontend' },
  { role: 'wsl-cli', exec: null },
]

/** A fleet at work by night, those who give it work, and whoever is told of it. */
export class Shift implements Company, AsyncDisposable {
  readonly telling: Telling
  readonly stage: Stage
  readonly dealt: string[] = []
  readonly workers = WORKERS.length
  conversations: Company['conversations'] = []
  /** What people were to be told of, and whether that is over by the morning. */
  readonly causes = new Map<string, 'over' | 'lasting' | 'event'>()
  #store: Company['store'] | null = null

  constructor(telling: Telling) {
    this.telling = telling
    this.stage = new Stage({
      workers: WORKERS,
      fallback: { 'wsl-cli': 'docs' },
      settings: {
        S2_TAKE_WITHIN: `${CLOCKS.takeMs}ms`,
        S2_STALL_AFTER: `${CLOCKS.stallMs}ms`,
        S2_PENDING_AFTER: `${CLOCKS.pendingMs}ms`,
        S2_ATTEMPTS_MAX: `${ATTEMPTS_MAX}`,
      },
    })
  }

  get store(): Company['store'] {
    if (this.#store === null) throw new Error('the fleet is not up')
    return this.#store
  }

  /** Brings the fleet up, and waits until all are alive; answers how long that took. */
  async raise(): Promise<number> {
    const store = await this.stage.raise()
    this.#store = store
    const took = await until('all are alive', async () => (await aliveAgents(store)) === this.workers + 1)
    this.conversations = await store.conversations()
    return took
  }

  async task(id: string): Promise<Task> {
    return await this.store.task(id)
  }

  async isCompleted(id: string): Promise<boolean> {
    const { state, result } = await this.task(id)
    if (!isOpen(state) && state !== 'completed') throw new Error(`${id} is ${state}: ${result?.tail}`)
    return state === 'completed'
  }

  /** Adds a task for a role, which the watchdog gives to an agent. */
  async offer(role: string, id: string, description: string): Promise<string> {
    const giver = this.conversations.find(({ roles }) => roles.b === role)
    const createdBy = giver === undefined ? null : sessionId(giver.id, 'a')
    await this.store.addTask({ id, description, priority: 'P2', role, holder: null, deadline: null, createdBy })
    this.dealt.push(id)
    return id
  }

  /** Who has a task, or had it last. */
  async holderOf(id: string): Promise<string> {
    return agentOf(this, (await this.task(id)).holder)
  }

  /** What either end of a worker's conversation was told of a task, and has not read. */
  async letters(worker: number, side: 'a' | 'b', task: string): Promise<TaskMessage[]> {
    const unread = await this.store.unacked(this.#session(worker, side), 0, 1_000)
    return unread.flatMap(({ text }) => readTaskMessage(text) ?? []).filter((letter) => letter.task === task)
  }

  /** Whether whoever gave a task to this worker was told that it failed. */
  async wasGiverTold(worker: number, task: string): Promise<boolean> {
    const letters = await this.letters(worker, 'a', task)
    return letters.filter((letter) => letter.type === 'status_update' && letter.status === 'failed').length === 1
  }

  /** What its place is, as the worker says it. */
  async conditionOf(worker: number): Promise<string> {
    const session = this.#session(worker, 'b')
    return (await this.store.conditions()).find((each) => each.session === session)?.state ?? 'well'
  }

  /** Waits until people are told of a cause, and prints in which words. Answers its incident. */
  async told(cause: string, fate: 'over' | 'lasting' | 'event'): Promise<Incident> {
    this.causes.set(cause, fate)
    const isIt = (each: { readonly cause: string }): boolean => each.cause === cause
    await until(`people are told of ${cause}`, () => this.stage.alerts().some(isIt))
    const incident = (await this.store.incidents({ open: false })).find(isIt)
    if (incident === undefined) throw new Error(`an alert tells of ${cause}, of which there is no incident`)
    this.telling.say(`people are told: ${incident.summary}`)
    return incident
  }

  /** Waits until an incident is closed, and answers it. */
  async over(cause: string): Promise<Incident> {
    let found: Incident | undefined
    await until(`${cause} is over`, async () => {
      found = (await this.store.incidents({ open: false })).find((each) => each.cause === cause)
      return found !== undefined && found.closedAt !== null
    })
    return found as Incident
  }

  /** Checks that something came not before its clock says so, and not much later than that, or than it may. */
  onTime(what: string, ms: number, leastMs: number, mostMs = leastMs): void {
    this.telling.check(`${what} ${seconds(ms)} later`, ms >= leastMs && ms <= mostMs + LATE_MS, 'not in its time')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stage[Symbol.asyncDispose]()
  }

  #session(worker: number, side: 'a' | 'b'): SessionId {
    return sessionId(conversationOf(this, worker), side)
  }
}

/** How many milliseconds after it was added a task was begun first. */
export function firstBegun({ attempts, createdAt }: Task): number {
  return (attempts[0]?.startedAt ?? Number.NaN) - createdAt
}
