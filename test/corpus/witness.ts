import type { Condition } from '#fleet/agent-condition.ts'
import { isEvent } from '#fleet/incident.ts'
import type { SessionId } from '#fleet/session-id.ts'
import { isLeased, isOpen, type Move, type Report, type TaskEnding } from '#fleet/task.ts'
import type { Clock } from '#runtime/clock.ts'
import type { Store } from '#store/store.ts'
import type { Happening } from './situation.ts'

type Act = () => Promise<unknown>

/** Stands before a store and writes down what its callers do to tasks, what people are told, and when. */
export class Witness {
  /** The store that is to be used in place of the other. */
  readonly store: Store
  readonly happenings: Happening[] = []
  readonly #behind: Store
  readonly #clock: Pick<Clock, 'now'>
  /** Incidents that were seen; true while they are open. */
  readonly #incidents = new Map<number, boolean>()
  readonly #conditions = new Map<SessionId, string>()
  #begunAt: number
  #pending = 0

  constructor(store: Store, clock: Pick<Clock, 'now'>) {
    this.#behind = store
    this.#clock = clock
    this.#begunAt = clock.now()
    this.store = new Proxy(store, {
      get: (target, name) => {
        const verb: unknown = Reflect.get(target, name)
        if (typeof verb !== 'function') return verb
        if (name === 'mail' || name === 'traffic') return verb.bind(target)
        return (...args: unknown[]) =>
          this.#count(this.#seen(String(name), args, async () => (await Reflect.apply(verb, target, args)) as unknown))
      },
    })
  }

  /** The situation begins now; what was before is no part of it. */
  begin(): void {
    this.#begunAt = this.#clock.now()
    this.happenings.length = 0
  }

  /** For how long it has gone on, milliseconds. */
  get ms(): number {
    return this.#clock.now() - this.#begunAt
  }

  /** Whether some verb has not been answered yet. */
  get isBusy(): boolean {
    return this.#pending > 0
  }

  note(what: string, words = ''): void {
    this.happenings.push({ at: Math.round(this.ms), what, words })
  }

  async #count<T>(answer: Promise<T>): Promise<T> {
    this.#pending += 1
    try {
      return await answer
    } finally {
      this.#pending -= 1
    }
  }

  async #seen(verb: string, args: readonly unknown[], act: Act): Promise<unknown> {
    switch (verb) {
      case 'move':
        return await this.#move(args[0] as Move, act)
      case 'endTask':
        return await this.#endTask(args[0] as TaskEnding, act)
      case 'remindTask':
        return await this.#noteIfDone(`reminded ${args[0]}`, act)
      case 'leaseTask':
        return await this.#leaseTask(args[0] as SessionId, args[1] as string, act)
      case 'report':
        return await this.#report(args[1] as Report, act)
      case 'noteCondition':
        this.#noteCondition(args[0] as SessionId, args[1] as Condition | null)
        return await act()
      case 'openIncident':
      case 'closeIncident':
      case 'tend':
        return await this.#thenIncidents(act)
      default:
        return await act()
    }
  }

  async #move({ task, reason }: Move, act: Act): Promise<unknown> {
    const { holder } = await this.#behind.task(task)
    return await this.#noteIfDone(holder === null ? `assigned ${task}` : `moved ${task} ${reason}`, act)
  }

  async #endTask({ task, reason }: TaskEnding, act: Act): Promise<unknown> {
    return await this.#thenIncidents(() => this.#noteIfDone(`ended ${task} ${reason}`, act))
  }

  async #noteIfDone(what: string, act: Act): Promise<unknown> {
    const isDone = await act()
    if (isDone === true) this.note(what)
    return isDone
  }

  async #leaseTask(holder: SessionId, incarnation: string, act: Act): Promise<unknown> {
    const had = (await this.#behind.tasks({ open: true, holder })).filter(({ state }) => isLeased(state))
    const task = (await act()) as { readonly id: string; readonly epoch: number } | null
    for (const { id, epoch, incarnation: former } of had) {
      if (former !== incarnation && (await this.#behind.task(id)).epoch > epoch) this.note(`interrupted ${id}`)
    }
    if (task !== null && !had.some(({ id, epoch }) => id === task.id && epoch === task.epoch))
      this.note(`begun ${task.id}`)
    return task
  }

  async #report({ task, state, cause }: Report, act: Act): Promise<unknown> {
    if (state === 'in_progress') return await act()
    const wasOpen = isOpen((await this.#behind.task(task)).state)
    return await this.#thenIncidents(async () => {
      try {
        const answer = await act()
        if (wasOpen) this.note(state === 'returned' ? `returned ${task} ${cause}` : `${state} ${task}`)
        return answer
      } catch (error) {
        this.note(`refused ${task}`, String(error))
        throw error
      }
    })
  }

  #noteCondition(session: SessionId, condition: Condition | null): void {
    const state = condition?.state ?? 'well'
    if ((this.#conditions.get(session) ?? 'well') !== state) this.note(`place ${state}`, condition?.why)
    this.#conditions.set(session, state)
  }

  async #thenIncidents(act: Act): Promise<unknown> {
    try {
      return await act()
    } finally {
      for (const incident of await this.#behind.incidents({ open: false })) {
        const isNowOpen = incident.closedAt === null
        const wasOpen = this.#incidents.get(incident.id)
        this.#incidents.set(incident.id, isNowOpen)
        const cause = incident.cause.replace(/@\d+$/, '')
        if (wasOpen === undefined) this.note(`told ${cause}`, incident.summary)
        if (wasOpen !== false && !isNowOpen && !isEvent(incident)) this.note(`over ${cause}`, incident.outcome ?? '')
      }
    }
  }
}
