import { createHash } from 'node:crypto'
import { open } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Message } from '#fleet/message.ts'
import { ensureFolder, publish } from './atomic-files.ts'
import { readPlainFile } from './plain-file.ts'

/** How many acked messages are remembered at least; twice as many at most. */
const REMEMBERED = 10_000
const LINE_BYTES = 14

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
  #digests: Set<number> | undefined

  constructor(path: string) {
    this.#path = path
  }

  async has(digest: number): Promise<boolean> {
    return (await this.#load()).has(digest)
  }

  /** Answered means durable. */
  async add(digests: readonly number[]): Promise<void> {
    const known = await this.#load()
    const fresh = digests.filter((each) => !known.has(each))
    if (fresh.length === 0) return
    if (known.size + fresh.length > 2 * REMEMBERED) {
      const kept = [...known, ...fresh].slice(-REMEMBERED)
      await publish(this.#path, lines(kept))
      this.#digests = new Set(kept)
      return
    }
    await ensureFolder(dirname(this.#path))
    await using file = await open(this.#path, 'a', 0o600)
    // A line that a crash cut short must not join the next one.
    await file.appendFile(`\n${lines(fresh)}`)
    await file.sync()
    for (const each of fresh) known.add(each)
  }

  async #load(): Promise<Set<number>> {
    if (this.#digests !== undefined) return this.#digests
    // Whatever is no line of ours is passed over: the worst that follows is that a message comes twice.
    const file = await readPlainFile(this.#path, 4 * REMEMBERED * (LINE_BYTES + 1)).catch(() => null)
    const found = (file?.text ?? '').match(/^[0-9a-f]{13}$/gm) ?? []
    this.#digests = new Set(found.map((each) => Number.parseInt(each, 16)))
    return this.#digests
  }
}

function lines(digests: readonly number[]): string {
  return digests.map((each) => `${each.toString(16).padStart(13, '0')}\n`).join('')
}
