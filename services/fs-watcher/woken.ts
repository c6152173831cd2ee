import { readFile } from 'node:fs/promises'
import { publish } from '#spool/atomic.ts'

/** Messages after which a floor that rose is kept though nobody was woken. */
const KEEP_EVERY = 1_000

/**
 * Which messages somebody was woken for, on disk before the wake runs: so a crash costs a wake at most, and none is ever run
 * twice. Ids up to the floor are woken all; ids above it are named.
 */
export class Woken {
  readonly #path: string
  #floor = 0
  #keptFloor = 0
  #above = new Set<number>()

  private constructor(path: string) {
    this.#path = path
  }

  /** Reads what was kept; a file that makes no sense counts as none, and is told to `onFault`. */
  static async open(path: string, onFault: (why: string) => void): Promise<Woken> {
    const woken = new Woken(path)
    const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') onFault(`${path} cannot be read (${error.code})`)
      return null
    })
    if (text !== null && !woken.#take(text)) onFault(`${path} makes no sense: messages may be woken for once more`)
    return woken
  }

  has(id: number): boolean {
    return id <= this.#floor || this.#above.has(id)
  }

  get floor(): number {
    return this.#floor
  }

  /** Keeps these ids, durably. */
  async add(ids: readonly number[]): Promise<void> {
    for (const id of ids) this.#above.add(id)
    await this.save()
  }

  /** All ids up to this one have been dealt with: they need no names any more. Kept now and then, as it saves reading only. */
  async raise(floor: number): Promise<void> {
    if (floor <= this.#floor) return
    this.#floor = floor
    for (const id of this.#above) if (id <= floor) this.#above.delete(id)
    if (floor >= this.#keptFloor + KEEP_EVERY) await this.save()
  }

  /** Forgets named ids that are not among these: their messages have gone. */
  retain(ids: ReadonlySet<number>): void {
    for (const id of this.#above) if (!ids.has(id)) this.#above.delete(id)
  }

  async save(): Promise<void> {
    this.#keptFloor = this.#floor
    await publish(this.#path, `${JSON.stringify({ floor: this.#floor, above: [...this.#above] })}\n`)
  }

  #take(text: string): boolean {
    try {
      const { floor, above } = JSON.parse(text) as { floor: unknown; above: unknown }
      if (!Number.isSafeInteger(floor) || !Array.isArray(above) || !above.every(Number.isSafeInteger)) return false
      this.#floor = floor as number
      this.#above = new Set(above as number[])
      return true
    } catch {
      return false
    }
  }
}
