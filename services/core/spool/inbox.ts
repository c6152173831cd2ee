import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { S2Error } from '#fleet/errors.ts'
import type { StoredMessage } from '#fleet/message.ts'
import { yieldToEvents } from '#runtime/yield-to-events.ts'
import { AckedLedger, messageDigest } from './acked-ledger.ts'
import { folderVersion } from './atomic-files.ts'
import { formatMessage, isMessageId, readMessage, readMessageSync } from './message-file.ts'
import type { OwnFolder } from './own-folder.ts'
import { diskError } from './plain-file.ts'
import { codeOf } from './quarantine.ts'
import { SpoolFolders } from './spool-folders.ts'

/**
 * `new`: come, nobody has it. `cur`: the agent has it in hand. `dead`: handed out too often, the bridge is to be told. `done`:
 * acked, the bridge is to be told.
 */
export type InboxFolder = 'new' | 'cur' | 'dead' | 'done'
const FOLDERS = ['new', 'cur', 'dead', 'done'] as const
const ALL_FOLDERS = [...FOLDERS, 'tmp'] as const
type HeldFolders = Readonly<Record<(typeof ALL_FOLDERS)[number], OwnFolder>>

/**
 * Ids of one bridge lie below this. Where another message has the name already (a second bridge, a database made anew),
 * this is added to the id until the name is free, so a message is never taken for another one.
 */
export const LANE = 2 ** 40
/** How often that is done. A number beyond is none that we gave. */
const RANGES_MAX = 64

/** How much is read in one go, in a few milliseconds. */
const SLICE = { files: 200, characters: 1_000_000 }

/** What is set aside in one go: an agent that makes rubbish without end must not keep us from our work. */
const QUARANTINED_MAX = 200

/** The id that the message has on its bridge. */
export function bridgeId(id: number): number {
  return id % LANE
}

/** What became of a message that was put. */
export interface Placed {
  /** Its id in this inbox: as on its bridge, unless the name was taken. */
  readonly id: number
  /** `known`: it lies here already. `acked`: it was acked here before, and the bridge does not know. */
  readonly as: 'new' | 'known' | 'acked'
}

/**
 * One host's inbox: a folder in the way of Maildir, that any program can read and move files in. Each message is a file
 * `<id>.json`; rename is the only way in and onward, so every reader sees it whole, once, on one folder. Whatever a clumsy
 * or hostile agent leaves here is passed over or set aside in `bad/`, and told through `onFault`.
 * Verbs that write throw `unavailable` when the disk refuses (full, read-only): then it did not happen.
 * Any number of processes read, take and ack; one brings messages in.
 */
export class Inbox {
  readonly #folders: SpoolFolders<(typeof ALL_FOLDERS)[number]>
  readonly #acked: AckedLedger
  /** The ranges in use, ascending; known after the first look. */
  #ranges: number[] | undefined
  /** Drafts of this instance are called so: all others belong to lives that ended. */
  readonly #life = randomBytes(6).toString('hex')
  #drafts = 0
  /** One put after the other, so that a name that is free is still free when it is taken. */
  #putting: Promise<unknown> = Promise.resolve()
  /** Names came into `new` that a loss of power could still take back. */
  #unsynced = true

  constructor(state: string, onFault: (fault: string) => void = () => undefined) {
    this.#folders = new SpoolFolders(join(state, 'inbox'), onFault)
    this.#acked = new AckedLedger(join(this.#folders.root, 'acked'))
  }

  folder(folder: InboxFolder): string {
    return this.#folders.path(folder)
  }

  /** Brings a message in; false when it is here, or was acked here, already. Answered means durable. */
  async put(message: StoredMessage): Promise<boolean> {
    return (await this.putAll([message]))[0]?.as === 'new'
  }

  /** Brings messages in, in this order, with one sync of the folder for all. Throws `invalid` for an id that is none. */
  async putAll(messages: readonly StoredMessage[]): Promise<readonly Placed[]> {
    const put = this.#putting.then(() => this.#putAllOrAgain(messages))
    this.#putting = put.catch(() => undefined)
    return await put
  }

  async #putAllOrAgain(messages: readonly StoredMessage[]): Promise<readonly Placed[]> {
    try {
      return await this.#putAll(messages)
    } catch (error) {
      const mayMend = (error as NodeJS.ErrnoException).code === 'ENOENT' || this.#folders.isDisplaced(ALL_FOLDERS)
      if (!mayMend) throw diskError('keeping messages in the inbox', error)
    }
    try {
      await this.#folders.ensure(ALL_FOLDERS)
      return await this.#putAll(messages)
    } catch (error) {
      throw diskError('keeping messages in the inbox', error)
    }
  }

  async #putAll(messages: readonly StoredMessage[]): Promise<readonly Placed[]> {
    using holds = new DisposableStack()
    const held = this.#holdAll(holds)
    const placements = await this.#placeAll(messages, held)
    const drafts = messages.flatMap((message, index) => {
      const { id, as } = placements[index] as Placed
      const name = `${this.#life}-${this.#drafts}`
      this.#drafts += 1
      return as === 'new' ? [{ id, name, content: formatMessage({ ...message, id }) }] : []
    })
    await held.tmp.writeAll(drafts)
    try {
      for (const { name, id } of drafts) {
        held.tmp.move(name, held.new, fileOf(id))
        this.#unsynced = true
      }
      if (this.#unsynced) await held.new.sync()
      this.#unsynced = false
      return placements
    } catch (error) {
      for (const { name } of drafts) held.tmp.tryUnlink(name)
      throw error
    }
  }

  #holdAll(holds: DisposableStack): HeldFolders {
    return {
      new: holds.use(this.#folders.hold('new')),
      cur: holds.use(this.#folders.hold('cur')),
      dead: holds.use(this.#folders.hold('dead')),
      done: holds.use(this.#folders.hold('done')),
      tmp: holds.use(this.#folders.hold('tmp')),
    }
  }

  /** Changes when a name on this folder comes or goes; within a few milliseconds it may not yet have. */
  version(folder: InboxFolder): string {
    return folderVersion(this.folder(folder))
  }

  /** The ids on a folder, ascending. What is not named like a message is passed over. */
  async list(folder: InboxFolder): Promise<number[]> {
    const ids: number[] = []
    for (const name of await this.#folders.names(folder)) {
      const id = idOf(name)
      if (id !== null) ids.push(id)
    }
    return ids.sort((x, y) => x - y)
  }

  /** A message, wherever it lies; null where it is not here or not readable as one. Changes nothing. */
  async read(id: number): Promise<StoredMessage | null> {
    return await this.#find(id).catch(() => null)
  }

  /**
   * Reads many messages of a folder: it is opened once, and each file read at once, in slices between which the event loop
   * turns. What left the folder meanwhile, or is not readable as a message, comes as null. Changes nothing.
   */
  async *readAll(
    folder: InboxFolder,
    ids: readonly number[],
  ): AsyncGenerator<readonly [id: number, message: StoredMessage | null]> {
    using held = this.#folders.holdIfThere(folder)
    let [files, characters] = [0, 0]
    for (const id of ids) {
      const message = held === null ? null : readIfMessage(held, id)
      yield [id, message]
      files += 1
      characters += message?.text.length ?? 0
      if (files < SLICE.files && characters < SLICE.characters) continue
      await yieldToEvents()
      ;[files, characters] = [0, 0]
    }
  }

  /** Hands the oldest messages to the agent: moves them from `new` to `cur`. Two who take at once get different ones. */
  async take(limit: number): Promise<StoredMessage[]> {
    const taken: StoredMessage[] = []
    for (const id of await this.list('new')) {
      if (taken.length >= limit) break
      const message = await this.takeOne(id)
      if (message !== null) taken.push(message)
    }
    return taken
  }

  /** Hands one message to the agent; null where another took it first, or it is no message. */
  async takeOne(id: number): Promise<StoredMessage | null> {
    return (await this.#move(id, 'new', 'cur')) ? await this.#readOrSetAside('cur', id) : null
  }

  /** Takes a message out of somebody's hand, for others to take. Answers whether it was there. */
  async handBack(id: number): Promise<boolean> {
    return await this.#move(id, 'cur', 'new')
  }

  /** Hands a message out no more. Answers whether it was there. */
  async giveUp(id: number): Promise<boolean> {
    return (await this.#move(id, 'cur', 'dead')) || (await this.#move(id, 'new', 'dead'))
  }

  /** Lets go of messages that were given up. They are not remembered as acked: nobody received them. */
  async letGo(ids: readonly number[]): Promise<void> {
    using dead = this.#folders.holdIfThere('dead')
    if (dead !== null) for (const id of ids) await this.#remove(dead, id)
  }

  /** Acks messages: they are received, and come again to nobody. Answers those that were here to be acked. */
  async ack(ids: readonly number[]): Promise<number[]> {
    const acked: number[] = []
    for (const id of ids) {
      // Looked for in `cur` a second time, since somebody may take it from `new` meanwhile.
      for (const from of ['cur', 'new', 'cur'] as const) {
        if (!(await this.#move(id, from, 'done'))) continue
        acked.push(id)
        break
      }
    }
    if (acked.length > 0) await this.#sync('done', 'cur')
    return acked
  }

  /** Lets go of messages whose ack the bridge has kept. They are remembered as acked. */
  async forget(ids: readonly number[]): Promise<void> {
    try {
      using done = this.#folders.holdIfThere('done')
      if (done === null) return // all that lay there is gone with it
      const digests: number[] = []
      for (const id of ids) {
        const message = await readMessage(done, fileOf(id)).catch(() => null)
        if (message !== null) digests.push(messageDigest({ ...message, id: bridgeId(id) }))
      }
      await this.#acked.add(digests)
      for (const id of ids) await this.#remove(done, id)
    } catch (error) {
      throw diskError('forgetting acked messages', error)
    }
  }

  /** As `read`, and sets aside what is no message; for the one process that brings messages in. */
  async inspect(id: number): Promise<StoredMessage | null> {
    for (const folder of FOLDERS) {
      const message = await this.#readOrSetAside(folder, id)
      if (message !== null) return message
    }
    return null
  }

  /** Begins a life of the one process that brings messages in: drafts of former lives go, and what they moved is made durable. */
  async recover(): Promise<void> {
    try {
      await this.#folders.ensure(ALL_FOLDERS)
      using tmp = this.#folders.hold('tmp')
      for (const name of await tmp.names()) if (!name.startsWith(this.#life)) await this.#folders.clear(tmp, name)
    } catch (error) {
      throw diskError('looking through the inbox', error)
    }
    await this.#sync(...FOLDERS)
  }

  /** Sets aside what is not named like a message, not more than some at a time; hidden files are left alone. */
  async tidy(): Promise<void> {
    let room = QUARANTINED_MAX
    for (const folder of FOLDERS) {
      using held = this.#folders.holdIfThere(folder)
      if (held === null) continue
      const names = await held.names().catch((error) => {
        throw diskError(`looking into inbox/${folder}`, error)
      })
      for (const name of names) {
        if (idOf(name) !== null || name.startsWith('.')) continue
        if (room === 0) return
        room -= 1
        await this.#folders.setAside(held, name, 'is not named like a message')
      }
    }
  }

  async #placeAll(messages: readonly StoredMessage[], held: HeldFolders): Promise<Placed[]> {
    const placements: Placed[] = []
    /** The names given in this very batch, and to whom. */
    const given = new Map<number, number>()
    for (const message of messages) {
      if (!isMessageId(message.id) || message.id >= LANE) {
        throw new S2Error('invalid', `a message has the id ${message.id}, which is none`)
      }
      const digest = messageDigest(message)
      const place = await this.#place(message.id, digest, given, held)
      if (place.as === 'new') given.set(place.id, digest)
      placements.push(place)
    }
    return placements
  }

  async #place(id: number, digest: number, given: ReadonlyMap<number, number>, held: HeldFolders): Promise<Placed> {
    this.#ranges ??= await this.#rangesInUse()
    let free: number | undefined
    for (const range of this.#ranges) {
      const name = id + range * LANE
      const holder = given.get(name) ?? (await this.#digestAt(name, held))
      if (holder === digest) return { id: name, as: 'known' }
      if (holder === null) free ??= name
    }
    if (await this.#acked.has(digest)) return { id, as: 'acked' }
    return { id: free ?? id + this.#openRange(id) * LANE, as: 'new' }
  }

  /** Takes the lowest range that nothing lies in. */
  #openRange(id: number): number {
    const inUse = new Set(this.#ranges)
    if (inUse.size >= RANGES_MAX) throw fullError(id)
    let range = 0
    while (inUse.has(range)) range += 1
    this.#ranges = [...inUse.add(range)].sort((x, y) => x - y)
    return range
  }

  /** What lies under a name: a message's digest, null for nothing, NaN for something that is no message. */
  async #digestAt(id: number, held: HeldFolders): Promise<number | null> {
    // Mostly there is nothing: that is asked without a turn through the thread pool.
    if (!FOLDERS.some((folder) => held[folder].has(fileOf(id)))) return null
    try {
      const message = await this.#find(id)
      return message === null ? null : messageDigest({ ...message, id: bridgeId(id) })
    } catch {
      return Number.NaN
    }
  }

  /** Each costs a look for every message that is put, so those between are left out: one planted number is one range. */
  async #rangesInUse(): Promise<number[]> {
    const ranges = new Set([0])
    for (const folder of FOLDERS) for (const id of await this.list(folder)) ranges.add(Math.floor(id / LANE))
    return [...ranges].sort((x, y) => x - y)
  }

  /** Looks through the folders in the direction that messages move in, so that none slips by. */
  async #find(id: number): Promise<StoredMessage | null> {
    for (const folder of FOLDERS) {
      using held = this.#folders.holdIfThere(folder)
      const message = held === null ? null : await readMessage(held, fileOf(id))
      if (message !== null) return message
    }
    return null
  }

  async #readOrSetAside(folder: InboxFolder, id: number): Promise<StoredMessage | null> {
    using held = this.#folders.holdIfThere(folder)
    if (held === null) return null
    try {
      const message = await readMessage(held, fileOf(id))
      return message === null ? null : { ...message, id }
    } catch (error) {
      if (!(error instanceof S2Error) || error.code !== 'invalid') throw error
      await this.#folders.setAside(held, fileOf(id), error.message)
      return null
    }
  }

  /** Answers whether it was there to be moved. */
  async #move(id: number, from: InboxFolder, to: InboxFolder): Promise<boolean> {
    for (let attempt = 0; ; attempt += 1) {
      try {
        using source = this.#folders.hold(from)
        using target = this.#folders.hold(to)
        source.move(fileOf(id), target)
        return true
      } catch (error) {
        const code = codeOf(error)
        if (attempt > 0) {
          if (code === 'ENOENT') return false
          throw diskError(`moving message ${id} to ${to}`, error)
        }
        // A folder may have been removed or replaced, or something that is no file lie in the way.
        if (code === 'ENOENT' || code === 'invalid') await this.#folders.ensure(ALL_FOLDERS)
        else if (/^(EISDIR|ENOTDIR|ENOTEMPTY|EEXIST)$/.test(code)) await this.#clearTheWay(to, id)
        else throw diskError(`moving message ${id} to ${to}`, error)
      }
    }
  }

  async #clearTheWay(folder: InboxFolder, id: number): Promise<void> {
    using held = this.#folders.holdIfThere(folder)
    if (held !== null) await this.#folders.setAside(held, fileOf(id), 'is no file')
  }

  async #remove(folder: OwnFolder, id: number): Promise<void> {
    try {
      await folder.unlink(fileOf(id))
    } catch (error) {
      const code = codeOf(error)
      if (code === 'EISDIR' || code === 'EPERM') await this.#folders.setAside(folder, fileOf(id), 'is a folder')
      else if (code !== 'ENOENT') throw error
    }
  }

  async #sync(...folders: readonly InboxFolder[]): Promise<void> {
    for (const folder of folders) {
      try {
        using held = this.#folders.hold(folder)
        await held.sync()
      } catch (error) {
        throw diskError(`syncing inbox/${folder}`, error)
      }
    }
  }
}

function readIfMessage(folder: OwnFolder, id: number): StoredMessage | null {
  try {
    const message = readMessageSync(folder, fileOf(id))
    return message === null ? null : { ...message, id }
  } catch {
    return null
  }
}

function fileOf(id: number): string {
  return `${id}.json`
}

function idOf(name: string): number | null {
  const match = /^([1-9]\d{0,15})\.json$/.exec(name)
  const id = Number(match?.[1])
  return isMessageId(id) && id < RANGES_MAX * LANE ? id : null
}

function fullError(id: number): S2Error {
  return new S2Error('unavailable', `the inbox holds ${RANGES_MAX} other messages of the number ${id}`, {
    next: 'look what fills the inbox: messages that nobody acks, or files that somebody planted',
  })
}
