import { createHash } from 'node:crypto'
import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Message } from '#fleet/message.ts'
import { syncPath } from '#runtime/durable-folder.ts'
import { ensureFolder, publish } from './atomic-files.ts'
import { readPlainFile } from './plain-file.ts'

/** How many acked messages are remembered at least; twice as many at most. */
const REMEMBERED = 10_000
const LINE_BYTES = 14
const { O_WRONLY, O_APPEND, O_CREAT, O_NOFOLLOW, O_NONBLOCK } = constants
const APPENDING = O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK

/**
 * What a message is, beyond its number: numbers are used again where a database is put back or made anew, and two
 * bridges give the same ones. 52 bits of SHA-256, as a number.
 */
export function messageDigest({ id, from, to, text, sentAt }: Message): number {
  const hash = createHash('sha256')
    .update(JSON.stringify([id, from, to, text, sentAt]))
    .digest()
  return hash.readUIntBE(0, 6) * 16 + ((hash[6] ?? 0) & 15)
}

/**
 * The messages that were acked here and are forgotten in the inbox, on disk: one that the bridge brings once more (it was
 * under way when its ack was, or the bridge was put back to an older state) does not come up as a new one.
 */
export class AckedLedger {
  readonly #path: string
  /** Read once, whoever asks first: of two readings, the later would not know what was added to the other. */
  #digests: Promise<Set<number>> | undefined
  /** One addition after the other. */
  #adding: Promise<unknown> = Promise.resolve()

  constructor(path: string) {
    this.#path = path
  }

  async has(digest: number): Promise<boolean> {
    return (await this.#load()).has(digest)
  }

  /** Answered means durable. */
  async add(digests: readonly number[]): Promise<void> {
    const add = this.#adding.then(() => this.#add(digests))
    this.#adding = add.catch(() => undefined)
    await add
  }

  async #add(digests: readonly number[]): Promise<void> {
    const known = await this.#load()
    const fresh = digests.filter((each) => !known.has(each))
    if (fresh.length === 0) return
    if (known.size + fresh.length > 2 * REMEMBERED) {
      return await this.#replace([...known, ...fresh].slice(-REMEMBERED))
    }
    await ensureFolder(dirname(this.#path))
    if (await this.#append(`\n${lines(fresh)}`)) for (const each of fresh) known.add(each)
    else await this.#replace([...known, ...fresh])
  }

  async #replace(kept: readonly number[]): Promise<void> {
    await publish(this.#path, lines(kept))
    this.#digests = Promise.resolve(new Set(kept))
  }

  /** Answers false where something else than a plain file of its own lies there: no link is followed, and no pipe waited for. */
  async #append(text: string): Promise<boolean> {
    try {
      await using file = await open(this.#path, APPENDING, 0o600)
      const stat = await file.stat()
      // A second name of it is a file of somebody else, which an agent linked here (link(2)).
      if (!stat.isFile() || stat.nlink > 1) return false
      // A line that a crash cut short must not join the next one.
      await file.appendFile(text)
      await file.sync()
      if (stat.size === 0) await syncPath(dirname(this.#path))
      return true
    } catch (error) {
      if (/^(ELOOP|ENXIO)$/.test((error as NodeJS.ErrnoException).code ?? '')) return false
      throw error
    }
  }

  #load(): Promise<Set<number>> {
    this.#digests ??= this.#read()
    return this.#digests
  }

  async #read(): Promise<Set<number>> {
    // Whatever is no line of ours is passed over: the worst that follows is that a message comes twice.
    const file = await readPlainFile(this.#path, 4 * REMEMBERED * (LINE_BYTES + 1)).catch(() => null)
    const found = (file?.text ?? '').match(/^[0-9a-f]{13}$/gm) ?? []
    return new Set(found.map((each) => Number.parseInt(each, 16)))
  }
}

function lines(digests: readonly number[]): string {
  return digests.map((each) => `${each.toString(16).padStart(13, '0')}\n`).join('')
}
