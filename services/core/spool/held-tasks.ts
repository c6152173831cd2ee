import { join } from 'node:path'
import { parseSession, type SessionId } from '#fleet/session-id.ts'
import { TASK_ID } from '#fleet/task.ts'
import { isRunningHere, type NamespacedProcess, readNamespacedProcess } from '#runtime/process-life.ts'
import { ensureFolder, folderVersion } from './atomic-files.ts'
import { OwnFolder } from './own-folder.ts'
import { diskError, invalid, parseObject } from './plain-file.ts'
import { codeOf } from './quarantine.ts'

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
}

/** Bytes of the largest file that is read. */
const FILE_MAX = 16_384
/** How many are looked at: nobody holds more. */
const HELD_MAX = 1_000
const ENDING = '.json'

/**
 * The tasks that agents of this host hold by hand: `STATE/held/<session>-<task>.json`, replaced whole. An agent's own user may
 * write here, so that what is no such file is passed over. Verbs that write throw `unavailable` when the disk refuses.
 */
export class HeldTasks {
  readonly folder: string

  constructor(state: string) {
    this.folder = join(state, 'held')
  }

  /** Changes when a file comes, changes or goes. */
  version(): string {
    return folderVersion(this.folder)
  }

  async list(): Promise<HeldTask[]> {
    using folder = this.#folder()
    if (folder === null) return []
    const found: HeldTask[] = []
    for (const name of (await folder.names()).filter(isName).sort().slice(0, HELD_MAX)) {
      const held = readHeld(folder, name)
      if (held !== null) found.push(held)
    }
    return found
  }

  async find(session: SessionId, task: string): Promise<HeldTask | null> {
    using folder = this.#folder()
    return folder === null || !TASK_ID.test(task) ? null : readHeld(folder, nameOf(session, task))
  }

  /** Keeps it, in place of what was kept of the same task. */
  async put(held: HeldTask): Promise<void> {
    try {
      await ensureFolder(this.folder)
      using folder = OwnFolder.open(this.folder)
      await folder.publish(nameOf(held.session, held.task), `${JSON.stringify(held)}\n`)
    } catch (error) {
      throw diskError(`noting that task ${held.task} is held`, error)
    }
  }

  /** Forgets it. Nothing happens where another epoch of it is held by now. */
  async remove({ session, task, epoch }: Pick<HeldTask, 'session' | 'task' | 'epoch'>): Promise<void> {
    using folder = this.#folder()
    const name = nameOf(session, task)
    const known = folder === null ? null : readHeld(folder, name)
    if (folder === null || (known !== null && known.epoch !== epoch)) return
    await folder.unlink(name).catch((error) => {
      if (codeOf(error) !== 'ENOENT') throw diskError(`letting go of task ${task}`, error)
    })
  }

  #folder(): OwnFolder | null {
    try {
      return OwnFolder.open(this.folder)
    } catch (error) {
      if (/^(ENOENT|invalid)$/.test(codeOf(error))) return null
      throw diskError('looking into held', error)
    }
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

function isName(name: string): boolean {
  return name.endsWith(ENDING) && !name.startsWith('.')
}

function nameOf(session: SessionId, task: string): string {
  return `${session.replace('/', '-')}-${task}${ENDING}`
}

/** Null where it is not there, or is no such file. */
function readHeld(folder: OwnFolder, name: string): HeldTask | null {
  try {
    const text = folder.readSync(name, FILE_MAX)
    const held = text === null ? null : parseHeld(parseObject(text))
    return held !== null && name === nameOf(held.session, held.task) ? held : null
  } catch {
    return null
  }
}

function parseHeld(fields: Readonly<Record<string, unknown>>): HeldTask {
  const { session, task, epoch, incarnation, by, process, place, takenAt, work, lost } = fields
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
  }
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

function isClient(value: unknown): value is NonNullable<HeldTask['by']> {
  const { client, id } = (value ?? {}) as Record<string, unknown>
  return typeof client === 'string' && typeof id === 'string'
}
