import { join } from 'node:path'
import { conversationOf, parseSession, type SessionId, sideOf } from '#fleet/session-id.ts'
import { TASK_ID } from '#fleet/task.ts'
import { isRunningHere, type NamespacedProcess, readNamespacedProcess } from '#runtime/process-life.ts'
import { isItemName } from './item-name.ts'
import { type JsonFields, JsonFolder } from './json-folder.ts'
import { nameOfFile } from './name-of-file.ts'
import { invalid } from './plain-file.ts'

/** A task that an agent took by hand, by a tool or a command: keepalive renews its lease while the agent's client lives. */
export interface HeldTask {
  readonly session: SessionId
  readonly task: string
  readonly epoch: number
  /** As the lease names it: which client session, or which start of the host, took it. */
  readonly incarnation: string
  /** The session of the client that took it, as hooks tell of it; null where none is known. */
  readonly by: { readonly client: string; readonly id: string } | null
  /** The client's process: the lease is renewed while it lives. Null: while this host lives. */
  readonly process: NamespacedProcess | null
  /** Where it was taken (`place.ts`); null where no keepalive has published that. */
  readonly place: string | null
  /** Milliseconds since 1970. */
  readonly takenAt: number
  /** Rises with each report of its holder. */
  readonly work: number
  /** Why it is its holder's no more, for the holder to be told; null while it is. */
  readonly lost: string | null
  /** The item of the outbox by which its holder ended it, which the bridge may not have yet; null while it is worked on. */
  readonly ended: string | null
}

/**
 * The tasks that agents of this host hold by hand: `STATE/held/<session>-<task>.json`. An agent's own user may write here. Verbs
 * throw `unavailable` when the disk refuses.
 */
export class HeldTasks {
  readonly #files: JsonFolder<HeldTask>

  constructor(state: string) {
    this.#files = new JsonFolder<HeldTask>({ path: join(state, 'held'), holds: 'held tasks', parse: parseHeld, nameOf })
  }

  get folder(): string {
    return this.#files.path
  }

  /** Changes when a file comes, changes or goes. */
  version(): string {
    return this.#files.version()
  }

  async list(): Promise<HeldTask[]> {
    return await this.#files.list()
  }

  async find(session: SessionId, task: string): Promise<HeldTask | null> {
    return TASK_ID.test(task) ? this.#files.find(nameOf({ session, task })) : null
  }

  /** Keeps it, in place of what was kept of the same task. */
  async put(held: HeldTask): Promise<void> {
    await this.#files.put(held)
  }

  /** Forgets it. Nothing happens where another epoch of it is held by now. */
  async remove(held: Pick<HeldTask, 'session' | 'task' | 'epoch'>): Promise<void> {
    const name = nameOf(held)
    const known = this.#files.find(name)
    if (known === null || known.epoch === held.epoch) await this.#files.remove(name)
  }
}

/**
 * Whether who took it may still work on it: its client lives or, where none is known or its processes cannot be seen from here,
 * the host has not been started again.
 */
export function isHolderAlive({ process: by, place }: HeldTask, placeNow: string | undefined): boolean {
  const isSeen = by === null ? null : isRunningHere(by)
  return isSeen ?? (place === null || placeNow === undefined || place === placeNow)
}

function nameOf({ session, task }: Pick<HeldTask, 'session' | 'task'>): string {
  return nameOfFile(conversationOf(session), sideOf(session), task)
}

/** Throws where it is none. */
function parseHeld(fields: JsonFields): HeldTask {
  const { session, task, epoch, incarnation, by, process, place, takenAt, work, lost, ended } = fields
  if (typeof session !== 'string' || typeof task !== 'string' || !TASK_ID.test(task)) throw invalid('names no task')
  parseSession(session)
  if (!isCount(epoch) || !isCount(work) || typeof takenAt !== 'number') throw invalid('has no epoch or time')
  if (typeof incarnation !== 'string' || incarnation === '') throw invalid('names no incarnation')
  return {
    session: session as SessionId,
    task,
    epoch,
    incarnation,
    by: isClient(by) ? { client: by.client, id: by.id } : null,
    process: readNamespacedProcess(process),
    place: typeof place === 'string' ? place : null,
    takenAt,
    work,
    lost: typeof lost === 'string' ? lost : null,
    ended: typeof ended === 'string' && isItemName(ended) ? ended : null,
  }
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

function isClient(value: unknown): value is NonNullable<HeldTask['by']> {
  const { client, id } = (value ?? {}) as Record<string, unknown>
  return typeof client === 'string' && typeof id === 'string'
}
