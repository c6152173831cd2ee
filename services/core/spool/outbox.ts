import { randomBytes } from 'node:crypto'
import { mkdir, stat, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { CODES, type Code, S2Error } from '#fleet/errors.ts'
import { type Draft, TEXT_MAX } from '#fleet/message.ts'
import { parseSession, type SessionId } from '#fleet/session.ts'
import type { Report } from '#fleet/task.ts'
import { systemClock } from '#runtime/clock.ts'
import { publish } from './atomic.ts'
import { isRecord, names, readJson, setAside } from './files.ts'

/** Something that a session says and that must not get lost while the bridge is out of reach. */
export type OutboxItem =
  | { readonly kind: 'send'; readonly from: SessionId; readonly key: string; readonly draft: Draft }
  | { readonly kind: 'report'; readonly holder: SessionId; readonly report: Report }

/** Why the bridge did not take an item, for good. */
export interface Problem {
  readonly code: Code
  readonly message: string
}

const FILE_MAX = TEXT_MAX * 6 + 131_072

/** What this host has yet to say, as files in the order in which they were put; safe to be filled by several programs. */
export class Outbox {
  readonly #folder: string
  readonly #wall: () => number

  constructor(state: string, wall: () => number = systemClock.wall) {
    this.#folder = join(state, 'outbox')
    this.#wall = wall
  }

  /** Where items wait: a change there means that there may be something to carry. */
  get folder(): string {
    return join(this.#folder, 'new')
  }

  async open(): Promise<void> {
    for (const place of ['new', 'refused']) await mkdir(join(this.#folder, place), { recursive: true, mode: 0o700 })
  }

  /** Keeps an item durably; answers the name it goes by. Names rise, also when the wall clock is set back. */
  async put(item: OutboxItem): Promise<string> {
    const last = Number.parseInt((await names(this.folder)).filter((name) => ITEM.test(name)).at(-1) ?? '0', 10)
    const order = Math.max(Math.trunc(this.#wall()), last + 1)
    const name = `${String(order).padStart(15, '0')}-${randomBytes(6).toString('hex')}`
    await publish(join(this.folder, `${name}.json`), `${JSON.stringify(item)}\n`)
    return name
  }

  /** What waits, oldest first. What is no item goes to `bad`. */
  async list(): Promise<{ name: string; item: OutboxItem }[]> {
    const items: { name: string; item: OutboxItem }[] = []
    for (const file of await names(this.folder)) {
      if (!ITEM.test(file)) continue
      const name = file.slice(0, -'.json'.length)
      try {
        const value = await readJson(join(this.folder, file), FILE_MAX)
        if (value !== null) items.push({ name, item: parse(value, file) })
      } catch (error) {
        if (!(error instanceof S2Error)) throw error
        await setAside(join(this.folder, file), this.#folder)
      }
    }
    return items
  }

  /** True while an item waits to be carried. */
  async holds(name: string): Promise<boolean> {
    return await stat(join(this.folder, `${name}.json`)).then(
      () => true,
      () => false,
    )
  }

  /** The bridge has it. */
  async done(name: string): Promise<void> {
    await unlink(join(this.folder, `${name}.json`)).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw error
    })
  }

  /** The bridge will never take it: it is kept with the reason, and the others go on. */
  async refuse(name: string, problem: Problem): Promise<void> {
    const item = await readJson(join(this.folder, `${name}.json`), FILE_MAX).catch(() => null)
    await publish(join(this.#folder, 'refused', `${name}.json`), `${JSON.stringify({ ...problem, item })}\n`)
    await this.done(name)
  }

  /** Why an item was refused; null when it was not. */
  async refusal(name: string): Promise<Problem | null> {
    const value = await readJson(join(this.#folder, 'refused', `${name}.json`), FILE_MAX * 2).catch(() => null)
    if (!isRecord(value) || typeof value.message !== 'string') return null
    return { code: CODES.find((each) => each === value.code) ?? 'internal', message: value.message }
  }
}

const ITEM = /^\d{15}-[0-9a-f]{12}\.json$/

/** Only the frame is checked: the store that takes the item checks what it says. */
function parse(value: unknown, file: string): OutboxItem {
  const wrong = new S2Error('invalid', `${file} in the outbox is no item`, { next: 'it is set aside in outbox/bad' })
  if (!isRecord(value)) throw wrong
  if (
    value.kind === 'send' &&
    typeof value.from === 'string' &&
    typeof value.key === 'string' &&
    isRecord(value.draft) &&
    typeof value.draft.text === 'string'
  ) {
    parseSession(value.from)
    return value as unknown as OutboxItem
  }
  if (
    value.kind === 'report' &&
    typeof value.holder === 'string' &&
    isRecord(value.report) &&
    typeof value.report.task === 'string'
  ) {
    parseSession(value.holder)
    return value as unknown as OutboxItem
  }
  throw wrong
}
