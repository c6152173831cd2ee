import { mkdir, rename, stat, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { S2Error } from '#fleet/errors.ts'
import { DELIVERY, type StoredMessage, TEXT_MAX } from '#fleet/message.ts'
import { parseSession } from '#fleet/session.ts'
import { publishAll, syncFolder } from './atomic.ts'
import { isRecord, names, readJson, setAside } from './files.ts'

/** `new`: arrived · `cur`: an agent has it in hand · `done`: acked by the agent, the bridge does not know yet. */
export type Place = 'new' | 'cur' | 'done'
export const PLACES: readonly Place[] = ['new', 'cur', 'done']

/** Bytes of the largest message file: every character escaped, and room for the rest. */
const FILE_MAX = TEXT_MAX * 6 + 131_072
/** Ids forgotten last that are kept in mind: an answer on its way while one was acked must not bring it back. */
const REMEMBERED = 10_000

/**
 * The messages of one host as files `<id>.json` that move from folder to folder by rename, as in a Maildir: whoever moves
 * one has it, and a crash at any instant leaves each message in one place.
 */
export class Inbox {
  readonly #folder: string
  readonly #forgotten = new Set<number>()

  constructor(state: string) {
    this.#folder = join(state, 'inbox')
  }

  folder(place: Place): string {
    return join(this.#folder, place)
  }

  /** Makes the folders, so that they can be watched before the first message. */
  async open(): Promise<void> {
    for (const place of PLACES) await mkdir(this.folder(place), { recursive: true, mode: 0o700 })
  }

  /** Takes a message in, durably; false when it is known here already. */
  async put(message: StoredMessage): Promise<boolean> {
    return (await this.putAll([message])) === 1
  }

  /** Takes messages in with one sync of the folder; answers how many were not known. */
  async putAll(messages: readonly StoredMessage[]): Promise<number> {
    const fresh: { name: string; content: string }[] = []
    for (const message of messages) {
      if (await this.#knows(message.id)) continue
      fresh.push({ name: `${message.id}.json`, content: `${JSON.stringify(message)}\n` })
    }
    if (fresh.length > 0) await publishAll(this.folder('new'), fresh)
    return fresh.length
  }

  /** The ids in a place, ascending. Names that are no ids are not ours and stay where they are. */
  async list(place: Place): Promise<number[]> {
    const ids = (await names(this.folder(place))).flatMap((name) =>
      ID_FILE.test(name) ? [Number.parseInt(name, 10)] : [],
    )
    return ids.sort((one, other) => one - other)
  }

  /** A message, wherever it is; null when it is not here. Throws `invalid` for a file that is no message. */
  async read(id: number): Promise<StoredMessage | null> {
    for (const place of PLACES) {
      const value = await readJson(this.#path(place, id), FILE_MAX)
      if (value !== null) return parse(value, id)
    }
    return null
  }

  /** Hands out up to `limit` new messages, oldest first, and moves them to `cur`. What is no message goes to `bad`. */
  async take(limit: number): Promise<StoredMessage[]> {
    const taken: StoredMessage[] = []
    await mkdir(this.folder('cur'), { recursive: true, mode: 0o700 })
    for (const id of await this.list('new')) {
      if (taken.length >= limit) break
      if (!(await this.#move(id, 'new', 'cur'))) continue // another taker was first
      const message = await this.#readTaken(id)
      if (message !== null) taken.push(message)
    }
    return taken
  }

  /** The agent has these: the bridge is to be told. Ids that are not here are passed over. */
  async ack(ids: readonly number[]): Promise<void> {
    if (ids.length === 0) return
    await mkdir(this.folder('done'), { recursive: true, mode: 0o700 })
    for (const id of ids) if (!(await this.#move(id, 'cur', 'done'))) await this.#move(id, 'new', 'done')
    await syncFolder(this.folder('done'))
  }

  /** The bridge knows that these are acked. */
  async forget(ids: readonly number[]): Promise<void> {
    for (const id of ids) {
      this.#forgotten.add(id)
      await unlink(this.#path('done', id)).catch(ignoreMissing)
    }
    for (const id of this.#forgotten) {
      if (this.#forgotten.size <= REMEMBERED) break
      this.#forgotten.delete(id)
    }
  }

  async #knows(id: number): Promise<boolean> {
    if (this.#forgotten.has(id)) return true
    for (const place of PLACES)
      if (
        await stat(this.#path(place, id)).then(
          () => true,
          () => false,
        )
      )
        return true
    return false
  }

  async #readTaken(id: number): Promise<StoredMessage | null> {
    try {
      const value = await readJson(this.#path('cur', id), FILE_MAX)
      return value === null ? null : parse(value, id)
    } catch (error) {
      if (!(error instanceof S2Error)) throw error
      await setAside(this.#path('cur', id), this.#folder)
      return null
    }
  }

  async #move(id: number, from: Place, to: Place): Promise<boolean> {
    try {
      await rename(this.#path(from, id), this.#path(to, id))
      return true
    } catch (error) {
      ignoreMissing(error as NodeJS.ErrnoException)
      return false
    }
  }

  #path(place: Place, id: number): string {
    return join(this.folder(place), `${id}.json`)
  }
}

const ID_FILE = /^[1-9]\d{0,14}\.json$/

function ignoreMissing(error: NodeJS.ErrnoException): void {
  if (error.code !== 'ENOENT') throw error
}

function parse(value: unknown, id: number): StoredMessage {
  if (!isRecord(value) || value.id !== id || typeof value.text !== 'string' || typeof value.sentAt !== 'number')
    throw noMessage(id)
  const { action = null, files = [], from, to } = value
  if (typeof from !== 'string' || typeof to !== 'string' || (action !== null && typeof action !== 'string'))
    throw noMessage(id)
  if (!Array.isArray(files) || !files.every((file) => typeof file === 'string')) throw noMessage(id)
  parseSession(from)
  parseSession(to)
  const delivery = DELIVERY.find((each) => each === value.delivery) ?? 'delivered'
  return { id, from, to, text: value.text, action, files, sentAt: value.sentAt, delivery } as StoredMessage
}

function noMessage(id: number): S2Error {
  return new S2Error('invalid', `${id}.json in the inbox is no message`, { next: 'it is set aside in inbox/bad' })
}
