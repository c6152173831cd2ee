import { randomBytes } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { S2Error } from '#fleet/errors.ts'
import type { SqliteConnection } from './connection.ts'

/** Beside this file; the bundler puts them beside the bundle. */
const MIGRATIONS = new URL('./migrations/', import.meta.url)

interface Migration {
  readonly version: number
  readonly name: string
  readonly sql: string
}

function readMigrations(): Migration[] {
  return readdirSync(MIGRATIONS)
    .filter((name) => /^\d{4}-[\w-]+\.sql$/.test(name))
    .sort()
    .map((name) => ({
      version: Number(name.slice(0, 4)),
      name,
      sql: readFileSync(new URL(name, MIGRATIONS), 'utf8'),
    }))
}

export function readSchema(name: string): string {
  return readFileSync(new URL(name, MIGRATIONS), 'utf8')
}

/** The columns of the Python bridge's tables that are read and written here. */
const BRIDGE_TABLES: Readonly<Record<string, readonly string[]>> = {
  conversations: [
    'id',
    'session_a_role',
    'session_b_role',
    'session_a_token',
    'session_b_token',
    'created_at',
    'expires_at',
  ],
  messages: ['id', 'conversation_id', 'from_session', 'to_session', 'message', 'metadata', 'timestamp', 'read'],
  session_status: ['conversation_id', 'session_id', 'status', 'last_heartbeat'],
  audit_log: ['id', 'conversation_id', 'session_id', 'action', 'details', 'timestamp'],
}

/** Columns of the older protocol scripts' schema, which has tables of the same names as the Python bridge's. */
const SCRIPTS_TABLES: Readonly<Record<string, readonly string[]>> = {
  conversations: ['role_a', 'role_b'],
  messages: ['sender', 'content', 'read_by_b'],
}

/** What a database holds: nothing yet, the Python bridge's tables only, or ours too. */
export type Contents = 'nothing' | 'bridge' | 'ours'

/** Finds out what the database holds, and refuses (`invalid`) what S2 must not touch. Writes nothing. */
export function inspectSchema(connection: SqliteConnection, path: string): Contents {
  const tables = connection
    .all<{ name: string }>(
      "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
    )
    .map(({ name }) => name)
  if (tables.length === 0) return 'nothing'
  const columns = new Map(tables.map((table) => [table, columnsOf(connection, table)]))
  const isOurs = columns.has('s2_migrations')
  if (isOurs) demandKnownVersion(connection, path)
  for (const [table, names] of Object.entries(SCRIPTS_TABLES)) {
    if (names.some((name) => columns.get(table)?.includes(name))) throw scriptsDatabase(path, table, names)
  }
  for (const [table, names] of Object.entries(BRIDGE_TABLES)) {
    const missing = names.filter((name) => !(columns.get(table) ?? names).includes(name))
    if (missing.length > 0) throw otherDatabase(path, `its table ${table} has no ${missing.join(', ')}`, tables)
    if (table === 'audit_log') continue // never written here
    const demanded = demandedColumns(connection, table).filter((name) => !names.includes(name))
    if (demanded.length > 0) {
      throw otherDatabase(path, `its table ${table} demands ${demanded.join(', ')}, which S2 does not know`, tables)
    }
  }
  if (!isOurs && !tables.some((table) => table in BRIDGE_TABLES)) {
    throw otherDatabase(path, `it holds ${tables.slice(0, 5).join(', ')}`, tables)
  }
  if (isOurs) return 'ours'
  return columns.has('conversations') && columns.has('messages') ? 'bridge' : 'nothing'
}

function columnsOf(connection: SqliteConnection, table: string): string[] {
  return connection.all<{ name: string }>('SELECT name FROM pragma_table_info(?)', table).map(({ name }) => name)
}

/** Columns that every new row has to give; SQLite numbers a whole primary key itself. */
function demandedColumns(connection: SqliteConnection, table: string): string[] {
  return connection
    .all<{ name: string }>(
      `SELECT name FROM pragma_table_info(?)
        WHERE "notnull" = 1 AND dflt_value IS NULL AND NOT (pk = 1 AND upper(type) = 'INTEGER')`,
      table,
    )
    .map(({ name }) => name)
}

function demandKnownVersion(connection: SqliteConnection, path: string): void {
  const known = readMigrations().at(-1)?.version ?? 0
  const found = versionOf(connection)
  if (found <= known) return
  throw new S2Error('invalid', `${path} was written by a newer S2: its schema is ${found}, this one knows ${known}`, {
    next: 'start the newer S2, or name another file in S2_STORE',
  })
}

/** The schema's number; 0 where there is none of ours. */
export function versionOf(connection: SqliteConnection): number {
  return connection.get<{ version: number | null }>('SELECT max(version) AS version FROM s2_migrations')?.version ?? 0
}

/** Which migrations were made; a lower number may come later than a higher one. */
function appliedVersions(connection: SqliteConnection): Set<number> {
  return new Set(connection.all<{ version: number }>('SELECT version FROM s2_migrations').map(({ version }) => version))
}

function scriptsDatabase(path: string, table: string, marks: readonly string[]): S2Error {
  return new S2Error(
    'invalid',
    `${path} was made by the older protocol scripts (its table ${table} has ${marks.join(', ')}); S2 cannot use it`,
    { next: bringOver(path) },
  )
}

/** A bridge's own kind of database may lack a column, or hold tables of the same names by chance. */
function otherDatabase(path: string, how: string, tables: readonly string[]): S2Error {
  const isOfABridge = tables.includes('conversations') && tables.includes('messages')
  return new S2Error('invalid', `${path} is a database of something else: ${how}`, {
    next: isOfABridge
      ? bringOver(path)
      : `leave it as it is and start with a fresh one: S2_STORE=sqlite:${freshBeside(path)}`,
  })
}

function bringOver(path: string): string {
  return `leave it as it is and bring it over into a database of S2: ${importInstead(path)} shows what would be taken`
}

/** The command that brings a database, which S2 cannot use itself, over into a fresh one. */
export function importInstead(path: string): string {
  return `S2_STORE=sqlite:${freshBeside(path)} s2 import ${path}`
}

function freshBeside(path: string): string {
  return join(dirname(path), `s2-${basename(path)}`)
}

/** The schema that an earlier version of S2 left, which `migrate` would change; null where there is nothing of ours to change. */
export function earlierSchema(connection: SqliteConnection, path: string): number | null {
  if (inspectSchema(connection, path) !== 'ours') return null
  const done = appliedVersions(connection)
  return readMigrations().every(({ version }) => done.has(version)) ? null : versionOf(connection)
}

/**
 * Brings the schema up to date, in the write transaction of the caller: the first process that opens the database does it. The
 * Python bridge's tables are made where they are missing and never altered. `onStep` is called before each step, since
 * nothing else can run during one.
 */
export function migrate(connection: SqliteConnection, path: string, now: number, onStep: (name: string) => void): void {
  const done = inspectSchema(connection, path) === 'ours' ? appliedVersions(connection) : new Set()
  for (const { version, name, sql } of readMigrations()) {
    if (done.has(version)) continue
    onStep(name)
    connection.exec(sql)
    connection.run('INSERT INTO s2_migrations (version, name, applied_at) VALUES (?, ?, ?)', version, name, now)
  }
  connection.run('INSERT OR IGNORE INTO s2_secrets (id, token_key) VALUES (1, ?)', randomBytes(32))
}

/**
 * Makes our tables, empty, for a reader of a database that has only the Python bridge's: as temporary tables of this
 * connection, so that every query works and nothing is written.
 */
export function lendTables(connection: SqliteConnection): void {
  connection.pragma('temp_store = MEMORY')
  for (const { sql } of readMigrations()) {
    for (const [statement] of sql.matchAll(/^(?:CREATE|ALTER) TABLE s2_[^;]*;/gm)) {
      connection.exec(
        statement.replace('CREATE TABLE', 'CREATE TEMP TABLE').replace('ALTER TABLE ', 'ALTER TABLE temp.'),
      )
    }
  }
}
