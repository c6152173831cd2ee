/** The tables of a database in memory, over a clock that the test moves: what a verb writes, without files and processes. */
import assert from 'node:assert/strict'
import { type SessionId, sessionId } from '#fleet/session-id.ts'
import { recordingLog } from '#runtime/log.ts'
import { SqliteConnection } from '#store/sqlite/file/connection.ts'
import { migrate } from '#store/sqlite/file/schema.ts'
import { PythonReaders } from '#store/sqlite/python/python-readers.ts'
import { MalformedRows } from '#store/sqlite/tables/malformed-rows.ts'
import { openTables, type Tables } from '#store/sqlite/tables/tables.ts'
import { ManualClock } from '../../manual-clock.ts'

export interface Ends {
  readonly id: string
  readonly a: SessionId
  readonly b: SessionId
}

export class TablesScene implements Disposable {
  readonly clock = new ManualClock()
  readonly connection = new SqliteConnection(':memory:', { create: true })
  readonly pythonReaders = new PythonReaders()
  readonly tables: Tables

  constructor() {
    migrate(this.connection, ':memory:', this.clock.wall(), () => undefined)
    const malformed = new MalformedRows(recordingLog())
    const file = { device: 0, inode: 0, bornAt: 0 }
    this.tables = openTables(this.connection, file, this.clock, malformed, this.pythonReaders)
  }

  /** A conversation with a worker of this name. */
  channel(worker: string): Ends {
    const { id } = this.tables.conversations.openConversation({
      roles: { a: 'orchestrator', b: 'tests' },
      agents: { a: 'orchestrator', b: worker },
      lifetimeMs: 3_600_000,
    })
    return { id, a: sessionId(id, 'a'), b: sessionId(id, 'b') }
  }

  /** What a session has been sent, oldest first; fields of JSON. */
  inbox(reader: SessionId): Record<string, unknown>[] {
    return this.tables.messages.unacked(reader, 0, 1_000).messages.map(({ text }) => JSON.parse(text))
  }

  /** The actions of the audit trail after an entry. */
  acts(after = 0): string[] {
    return this.tables.chain.audit(after, 1_000).map(({ action }) => action)
  }

  count(table: string): number {
    const row = this.connection.get<{ count: number }>(`SELECT count(*) AS count FROM ${table}`)
    return row?.count ?? assert.fail(table)
  }

  [Symbol.dispose](): void {
    this.connection[Symbol.dispose]()
  }
}
