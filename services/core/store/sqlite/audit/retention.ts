import { S2Error } from '#fleet/errors.ts'
import { yieldToEvents } from '#runtime/yield-to-events.ts'
import type { DatabaseWriter } from '../database-writer.ts'
import type { DatabasePath } from '../file/database-path.ts'
import { refusalOf } from '../file/sqlite-errors.ts'
import { fromPythonTime } from '../python/python-format.ts'
import { type AuditRow, baseOf, entryOf, storeIdOf } from '../tables/audit-chain.ts'
import { oldSendsOf, type Send } from '../tables/old-sends.ts'
import type { Tables } from '../tables/tables.ts'
import { type SegmentFile, type SegmentRange, segmentsFolder, writeSegment } from './segment-file.ts'

/** Rows of one segment, and bytes of their text: both are removed in one transaction, which others wait for. */
const SEGMENT_ROWS = 2_000
const SEGMENT_BYTES = 4 * 1024 * 1024
/** Rows looked at in one go, while others wait. */
const PAGE = 500

/** A row of `messages` as any writer left it. */
interface OldMessage {
  readonly id: number
  readonly conversation_id: unknown
  readonly message: unknown
  readonly timestamp: unknown
  readonly read: unknown
}

/**
 * Seals what is old into files and removes it: audit entries, messages that were received or whose conversation is long over,
 * and what was remembered of how they were sent. Each step is whole: first the file is on the disk, then one transaction
 * names it in the chain and removes what it holds. A crash in between leaves a file that nothing names.
 */
export class Retention {
  readonly #path: string
  readonly #folder: string
  readonly #writer: DatabaseWriter
  readonly #tables: Tables

  constructor({ path }: DatabasePath, writer: DatabaseWriter) {
    this.#path = path
    this.#folder = segmentsFolder(path)
    this.#writer = writer
    this.#tables = writer.tables
  }

  /** Seals and removes what is from before `time`; answers how many messages and entries. Throws `S2Error`. */
  async prune(time: number): Promise<number> {
    try {
      const messages = await this.#sealMessages(time)
      await this.#compactSends(time)
      await this.#forgetEndedSends(time)
      return messages + (await this.#sealEntries(time))
    } catch (error) {
      throw this.#refusal(error)
    }
  }

  #refusal(error: unknown): S2Error {
    if (!(error instanceof Error) || !('syscall' in error)) return refusalOf(error, this.#path)
    return new S2Error('unavailable', `what is old cannot be sealed in ${this.#folder}: ${error.message}`, {
      next: 'make room there and let this user write there; nothing was removed that is in no file',
      cause: error,
    })
  }

  async #sealEntries(time: number): Promise<number> {
    let count = 0
    for (;;) {
      const rows = await this.#oldEntries(time)
      const [first, last] = [rows.at(0)?.seq, rows.at(-1)]
      if (first === undefined || last === undefined) return count
      const base = baseOf(this.#tables.connection)
      if (base.seq !== first - 1) return count // another process is at it
      const lines = rows.map((row) => JSON.stringify(entryOf(row)))
      const range = { kind: 'audit' as const, first, last: last.seq, previous: base.hash }
      const removed = await this.#seal(range, lines, ({ connection }) => {
        if (baseOf(connection).seq !== first - 1) return null // another process was first
        return { hash: last.hash, remove: () => connection.run('DELETE FROM s2_audit WHERE seq <= ?', last.seq) }
      })
      if (removed === 0) return count
      count += removed
    }
  }

  /** The oldest entries, as far as they are from before `time` without a break: clocks may be set. */
  async #oldEntries(time: number): Promise<AuditRow[]> {
    const found: AuditRow[] = []
    let bytes = 0
    for (;;) {
      const rows = this.#tables.chain.rows(found.at(-1)?.seq ?? 0, PAGE)
      for (const row of rows) {
        if (row.at >= time || found.length >= SEGMENT_ROWS || bytes >= SEGMENT_BYTES) return found
        found.push(row)
        bytes += row.detailsJson.length
      }
      if (rows.length < PAGE) return found
      await yieldToEvents()
    }
  }

  async #sealMessages(time: number): Promise<number> {
    const isOver = this.#isOver(time)
    const newest = this.#tables.messages.newest() // stays, so that readers see how far ids have come
    let [after, count] = [0, 0]
    let old: OldMessage[] = []
    for (let isEnd = false; !isEnd; ) {
      const rows = this.#tables.connection.all<OldMessage>(
        'SELECT * FROM messages WHERE id > ? AND id < ? ORDER BY id LIMIT +?',
        after,
        newest,
        PAGE,
      )
      const past = rows.filter(({ timestamp }) => (fromPythonTime(timestamp) ?? Number.POSITIVE_INFINITY) < time)
      old.push(...past.filter(({ read, conversation_id }) => read === 1 || isOver(conversation_id)))
      after = rows.at(-1)?.id ?? after
      isEnd = rows.length < PAGE || past.length === 0
      while (isSegmentFull(old) || (isEnd && old.length > 0)) {
        const lines = linesOf(old)
        count += await this.#removeMessages(old.slice(0, lines.length), lines)
        old = old.slice(lines.length)
      }
      await yieldToEvents()
    }
    return count
  }

  async #removeMessages(rows: readonly OldMessage[], lines: readonly string[]): Promise<number> {
    const [first = 0, last = 0] = [rows.at(0)?.id, rows.at(-1)?.id]
    return await this.#seal({ kind: 'messages', first, last, previous: '' }, lines, ({ connection }) => {
      if (connection.get('SELECT 1 FROM messages WHERE id = ?', first) === undefined) return null // another was first
      const removeOne = ({ id }: OldMessage): number => {
        connection.run('DELETE FROM s2_deliveries WHERE message = ?', id)
        return connection.run('DELETE FROM messages WHERE id = ?', id)
      }
      return { hash: '', remove: () => rows.reduce((sum, row) => sum + removeOne(row), 0) }
    })
  }

  /** Keeps of sends whose message is gone only what tells a repetition. */
  async #compactSends(time: number): Promise<void> {
    const isOver = this.#isOver(time)
    let last: Pick<Send, 'sender' | 'key'> = { sender: '', key: '' }
    for (;;) {
      const rows = this.#tables.connection.all<Send & { readonly isThere: number }>(
        `SELECT sender, key, draft, message, EXISTS (SELECT 1 FROM messages m WHERE m.id = s2_sends.message) AS isThere
          FROM s2_sends WHERE (sender, key) > (?, ?) ORDER BY sender, key LIMIT +?`,
        last.sender,
        last.key,
        PAGE,
      )
      const gone = rows.filter(({ isThere }) => isThere === 0)
      if (gone.length > 0) {
        await this.#writer.groupCommit.write(() => {
          const sends = oldSendsOf(this.#tables.connection)
          for (const send of gone) sends.moveHere(send, isOver(send.sender.split('/')[0]) ? 'forget' : 'keep')
        })
      }
      last = rows.at(-1) ?? last
      if (rows.length < PAGE) return
      await yieldToEvents()
    }
  }

  /** In a conversation that ended nothing is sent any more, whatever the key. */
  async #forgetEndedSends(time: number): Promise<void> {
    const sends = oldSendsOf(this.#tables.connection)
    for (const id of this.#ended(time)) {
      if (sends.hasOf(id)) await this.#writer.groupCommit.write(() => sends.forgetOf(id))
    }
  }

  #isOver(time: number): (conversation: unknown) => boolean {
    const ended = new Set<unknown>(this.#ended(time))
    return (conversation) => ended.has(conversation)
  }

  #ended(time: number): string[] {
    return this.#tables.connection
      .all<{ id: string; end: unknown }>('SELECT id, expires_at AS end FROM conversations')
      .filter(({ end }) => (fromPythonTime(end) ?? Number.POSITIVE_INFINITY) < time)
      .map(({ id }) => id)
  }

  /** Writes the file, and then in one transaction names it and removes what it holds; answers how many rows. */
  async #seal(
    range: SegmentRange,
    lines: readonly string[],
    prepare: (tables: Tables) => { readonly hash: string; remove(): number } | null,
  ): Promise<number> {
    const store = storeIdOf(this.#tables.connection) ?? 'none'
    const written = await writeSegment(this.#folder, store, range, lines)
    return await this.#writer.groupCommit.write(() => {
      const step = prepare(this.#tables)
      if (step === null) return 0
      nameSegment(this.#tables, range, written, step.hash)
      return step.remove()
    })
  }
}

function nameSegment({ connection, chain }: Tables, range: SegmentRange, written: SegmentFile, hash: string): void {
  const { kind, first, last } = range
  const { file, digest } = written
  const at = chain.auditHead().at
  chain.append({ actor: 'bridge', action: 'segment_sealed', details: { kind, first, last, hash, digest, file } })
  connection.run(
    'INSERT INTO s2_segments (kind, first, last, hash, digest, file, sealed_at) VALUES (?, ?, ?, ?, ?, ?, ?)',
    kind,
    first,
    last,
    hash,
    digest,
    file,
    at,
  )
}

function isSegmentFull(rows: readonly OldMessage[]): boolean {
  return (
    rows.length >= SEGMENT_ROWS || rows.reduce((sum, { message }) => sum + String(message).length, 0) >= SEGMENT_BYTES
  )
}

/** As many rows as a segment may have, as JSON. */
function linesOf(rows: readonly OldMessage[]): string[] {
  const lines: string[] = []
  let bytes = 0
  for (const row of rows.slice(0, SEGMENT_ROWS)) {
    const line = JSON.stringify(row)
    if (lines.length > 0 && bytes + line.length > SEGMENT_BYTES) break
    lines.push(line)
    bytes += line.length
  }
  return lines
}
