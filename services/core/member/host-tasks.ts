import { S2Error } from '#fleet/errors.ts'
import type { SessionId } from '#fleet/session-id.ts'
import { isOpen, type Report, type Task } from '#fleet/task.ts'
import { checkHolder } from '#fleet/task-ownership.ts'
import { isKeepaliveThere } from '#runtime/program-presence.ts'
import { type HeldTask, HeldTasks, isHolderAlive } from '#spool/held-tasks.ts'
import { Outbox } from '#spool/outbox.ts'
import { readPlace } from '#spool/place.ts'
import type { RunningTask } from '#spool/running-tasks.ts'
import { isWorkedFor } from '#spool/session-lock.ts'
import type { Store } from '#store/store.ts'
import type { CallingClient } from './caller.ts'
import { endAgain, endAgainUnheard } from './ended-task.ts'
import { type OutboxWait, putAndWait, whyNotCarried } from './host-outbox.ts'
import type { ReportedTask, SaidProgress, TakenTask } from './member.ts'
import { progressLine } from './progress-line.ts'
import { endedHere, heldByAnother, notHeld, refuseTake, STOP } from './refused-tasks.ts'
import { TaskAtWork } from './task-at-work.ts'

export interface HostTasksParts extends Omit<OutboxWait, 'patienceMs' | 'onPut'> {
  readonly state: string
  /** Who calls at this moment: hooks may tell of a client after it has called first. */
  caller(place: string | undefined): Promise<CallingClient>
}

/** How long a report is waited for; after that it waits in the outbox alone. */
const REPORT_MS = 2_000
/** How many tasks that are not wanted are named to the store. */
const PASSING_MAX = 1_000

/** How often the calls of an agent are counted as work: they are told with renewals, which are rarer. */
const SIGN_EVERY_MS = 1_000

/** The tasks that the agents of a host take by hand, each held for the client that took it. */
export class HostTasks {
  readonly #parts: HostTasksParts
  readonly #held: HeldTasks
  readonly #outbox: Outbox
  readonly #running: TaskAtWork
  /** When this caller showed last that it works. */
  #signAt = Number.NEGATIVE_INFINITY

  constructor(parts: HostTasksParts) {
    this.#parts = parts
    this.#held = new HeldTasks(parts.state)
    this.#outbox = new Outbox(parts.state)
    this.#running = new TaskAtWork(parts.state)
  }

  async take(session: SessionId, store: Store, id: string | null): Promise<TakenTask | null> {
    const { state } = this.#parts
    checkHolder(session)
    const place = await readPlace(state)
    const caller = await this.#parts.caller(place)
    if (caller.inside?.session === session) return await this.#running.take(caller.inside, store, id)
    if (await isWorkedFor(state, session)) throw workedFor(session)
    const passing = await this.#passing(session, store, id, caller, place)
    const incarnation = await this.#lifeOf(session, caller)
    const task = await store.leaseTask(session, incarnation, passing, place)
    if (task === null) return id === null ? null : await refuseTake(store, session, id)
    await this.#held.put(this.#noteOf(task, session, { ...caller, incarnation }, place))
    return { task, renewal: await this.#renewal(caller) }
  }

  /** Keeps a report of progress, which renews the lease as well. */
  async progress(
    session: SessionId,
    store: () => Promise<Store>,
    id: string,
    said: SaidProgress,
  ): Promise<ReportedTask> {
    const progress = progressLine(said)
    const checkpoint = said.checkpoint === null ? {} : { checkpoint: said.checkpoint }
    const inside = await this.#inside(session, id)
    if (inside !== null) {
      await this.#running.progress(inside, progress)
      const { epoch } = inside
      return await this.#report(session, {
        ...{ task: id, epoch, state: 'in_progress', progress, result: null },
        ...checkpoint,
      })
    }
    const held = await this.#holding(session, store, id)
    const work = held.work + 1
    await this.#held.put({ ...held, work })
    this.#signAt = this.#parts.clock.now()
    return await this.#report(session, {
      ...{ task: id, epoch: held.epoch, state: 'in_progress', progress, result: null, work },
      ...checkpoint,
    })
  }

  async end(
    session: SessionId,
    store: () => Promise<Store>,
    id: string,
    state: 'completed' | 'failed',
    words: string,
  ): Promise<ReportedTask> {
    const inside = await this.#inside(session, id)
    if (inside !== null) return await this.#running.end(inside, state, words)
    const result = { exitCode: null, signal: null, tail: words }
    const end = { task: id, state, progress: null, result }
    const before = await this.#endedBefore(session, store, end)
    if (before !== null) return before
    const held = await this.#holding(session, store, id)
    return await this.#reportEnd(held, { ...end, epoch: held.epoch })
  }

  /**
   * The task stays noted, as one that was ended, until the bridge has the report: nobody is given it meanwhile, and its lease is
   * renewed. Throws what the bridge refuses; then it is held as before.
   */
  async #reportEnd(held: HeldTask, report: Report): Promise<ReportedTask> {
    try {
      const told = await this.#report(held.session, report, async (ended) => {
        await this.#held.put({ ...held, ended }).catch(() => undefined) // the report itself is kept
      })
      if (told.state === 'carried') await this.#held.remove(held)
      return told
    } catch (error) {
      await this.#held.put(held).catch(() => undefined) // keepalive, which looks for the report, does it then
      throw error
    }
  }

  /** What is answered where nothing is held here because the task has ended; null where it is to be ended. */
  async #endedBefore(
    session: SessionId,
    store: () => Promise<Store>,
    end: Omit<Report, 'epoch'>,
  ): Promise<ReportedTask | null> {
    const held = await this.#held.find(session, end.task)
    const waiting = held === null ? null : await this.#waitingEnd(held)
    if (waiting !== null) {
      const why = await whyNotCarried(this.#parts.clock, this.#parts.state, session)
      return endAgainUnheard(session, { ...end, epoch: waiting.epoch }, waiting, why)
    }
    if (held !== null && held.ended === null) return null
    const fleet = await store()
    const task = await fleet.task(end.task)
    return isOpen(task.state) ? null : await endAgain(task, session, { ...end, epoch: task.epoch }, fleet)
  }

  /** The report that ended a task, while no bridge has it. */
  async #waitingEnd({ ended }: HeldTask): Promise<Report | null> {
    const item = ended === null ? null : await this.#outbox.read(ended)
    return item?.kind === 'report' ? item.report : null
  }

  /** The epoch at which this caller holds a task. */
  async epochOf(session: SessionId, store: () => Promise<Store>, id: string): Promise<number> {
    return ((await this.#inside(session, id)) ?? (await this.#holding(session, store, id))).epoch
  }

  /** The running task that this caller belongs to, where it is this one. */
  async #inside(session: SessionId, id: string): Promise<RunningTask | null> {
    const { inside } = await this.#parts.caller(undefined)
    return inside?.session === session && inside.task === id ? inside : null
  }

  /** Notes a call, which shows that its caller works, and answers what that is to be told of tasks that it held; once. */
  async noteCall(): Promise<string[]> {
    const place = await readPlace(this.#parts.state)
    const caller = await this.#parts.caller(place)
    const own = (await this.#held.list()).filter((held) => isOf(held, caller))
    await this.#noteSign(own)
    const lost = own.filter((held) => held.lost !== null)
    for (const held of lost) await this.#held.remove(held)
    return lost.map(({ task, epoch, lost: why }) => `Stop working on task ${task} (epoch ${epoch}): ${why}`)
  }

  /**
   * Counts the call as work at what its caller holds, for keepalive to tell with the next renewal. Hooks show the work of clients that
   * have them. Before the first report of progress each renewal counts as work: a caller that is to be silent for long is not hurried.
   */
  async #noteSign(own: readonly HeldTask[]): Promise<void> {
    const now = this.#parts.clock.now()
    if (now - this.#signAt < SIGN_EVERY_MS) return
    this.#signAt = now
    const shown = own.filter(({ by, lost, work }) => by === null && lost === null && work > 0)
    for (const held of shown) await this.#held.put({ ...held, work: held.work + 1 }).catch(() => undefined)
  }

  /** What the leases of a caller are called by: a client that began a new session of its own still holds what it took in the last one. */
  async #lifeOf(session: SessionId, caller: CallingClient): Promise<string> {
    const own = (await this.#held.list()).find((held) => held.session === session && isOf(held, caller))
    return own?.incarnation ?? caller.incarnation
  }

  /** The tasks that are not to be leased: those that live callers of this session hold and, where one is wanted, all others. */
  async #passing(
    session: SessionId,
    store: Store,
    id: string | null,
    caller: CallingClient,
    place: string | undefined,
  ): Promise<string[]> {
    const here = (await this.#held.list()).filter((held) => held.session === session && held.lost === null)
    const ended = await this.#ending(here)
    const others = here.filter((held) => !isOf(held, caller) && isHolderAlive(held, place)).map(({ task }) => task)
    if (id === null) return [...new Set([...ended, ...others])]
    if (ended.includes(id)) throw endedHere(id)
    if (others.includes(id)) throw heldByAnother(id)
    const open = await store.tasks({ open: true, holder: session, limit: PASSING_MAX })
    return open.map((task) => task.id).filter((each) => each !== id)
  }

  /** Those that were ended, while the bridge does not know it. */
  async #ending(held: readonly HeldTask[]): Promise<string[]> {
    const tasks: string[] = []
    for (const { ended, task } of held)
      if (ended !== null && (await this.#outbox.outcome(ended)) === 'waiting') tasks.push(task)
    return tasks
  }

  /** The task as it is held here. After a loss of the file the store says whether this caller holds it. */
  async #holding(session: SessionId, store: () => Promise<Store>, id: string): Promise<HeldTask> {
    const held = await this.#held.find(session, id)
    const place = await readPlace(this.#parts.state)
    const caller = await this.#parts.caller(place)
    if (held?.lost === null && isOfAnother(held, caller) && isHolderAlive(held, place)) throw heldByAnother(id)
    if (held !== null && (await this.#ending([held])).length > 0) throw endedHere(id)
    if (held?.lost === null && held.ended === null) return held
    if (held !== null && held.lost !== null) {
      await this.#held.remove(held)
      throw new S2Error('stale_epoch', `task ${id} is yours no more: ${held.lost}`, { next: STOP })
    }
    const task = await (await store()).task(id)
    if (task.holder !== session || task.incarnation !== caller.incarnation) throw notHeld(task, session)
    return this.#noteOf(task, session, { ...caller, incarnation: task.incarnation }, place)
  }

  /** What is noted of a task that a life of an agent has taken. */
  #noteOf(
    { id, epoch, work }: Task,
    session: SessionId,
    { incarnation, by, process }: Pick<HeldTask, 'incarnation' | 'by' | 'process'>,
    place: string | undefined,
  ): HeldTask {
    const takenAt = this.#parts.clock.wall()
    const heldBy = { session, incarnation, by, process, place: place ?? null }
    return { task: id, epoch, work, takenAt, ...heldBy, lost: null, ended: null }
  }

  async #report(session: SessionId, report: Report, onPut?: OutboxWait['onPut']): Promise<ReportedTask> {
    const { clock, state } = this.#parts
    const patienceMs = (await isKeepaliveThere(state)) ? REPORT_MS : 0
    const { state: come } = await putAndWait(
      this.#outbox,
      { kind: 'report', holder: session, report },
      { ...this.#parts, patienceMs, ...(onPut === undefined ? {} : { onPut }) },
    )
    const why = come === 'carried' ? null : await whyNotCarried(clock, state, session)
    return { task: report.task, epoch: report.epoch, session, state: come, why }
  }

  async #renewal({ process, by }: CallingClient): Promise<string> {
    if (!(await isKeepaliveThere(this.#parts.state)))
      return 'no s2-keepalive runs on this host: report progress often, or the task goes to another agent'
    if (by !== null) return `s2-keepalive renews the lease while this ${by.client} session lives`
    if (process !== null) return 's2-keepalive renews the lease while the program that asked for it lives'
    return 's2-keepalive renews the lease while this host runs: end the task by done or fail'
  }
}

function isOf(held: HeldTask, { incarnation, process, sharesProcess }: CallingClient): boolean {
  if (held.incarnation === incarnation) return true
  if (sharesProcess) return false
  return process !== null && held.process?.pid === process.pid && held.process.startTicks === process.startTicks
}

/**
 * Only of two that are known alike can that be said, by hooks or as those that started their servers: an agent may take a task by a tool, and
 * end it by a command of its shell.
 */
function isOfAnother(held: HeldTask, caller: CallingClient): boolean {
  const areHooked = held.by !== null && caller.by !== null
  const areServed = held.by === null && caller.by === null && held.process !== null && caller.process !== null
  return (areHooked || areServed) && !isOf(held, caller)
}

function workedFor(session: SessionId): S2Error {
  return new S2Error('conflict', `\`s2 work\` runs on this host for ${session} and takes its tasks`, {
    next: 'let it do them, or have it ended first',
  })
}
