/** A store whose newest messages are in its log alone, and processes beside it: this one has connections that are left open. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { S2Error } from '#fleet/errors.ts'
import { systemClock } from '#runtime/clock.ts'
import { prepare, SqliteConnection } from '#store/sqlite/file/connection.ts'
import { DatabaseFiles } from '#store/sqlite/file/database-files.ts'
import { identify } from '#store/sqlite/file/database-path.ts'
import { GroupCommit } from '#store/sqlite/file/group-commit.ts'
import type { Store } from '#store/store.ts'
import { type Channel, Ground, openChannel } from './sqlite-ground.ts'

/** Asks a database in another process: this one has connections that were left open, whose index it would share. */
export function lookApart(path: string): { readonly check: string; readonly texts: readonly string[] } {
  const script = `
    import Database from 'better-sqlite3'
    const database = new Database(process.argv[1], { fileMustExist: true })
    const check = database.pragma('integrity_check', { simple: true })
    const texts = database.prepare('SELECT message FROM messages ORDER BY id').pluck().all()
    process.stdout.write(JSON.stringify({ check, texts }))`
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script, path], {
    encoding: 'utf8',
  })
  assert.equal(stderr, '')
  return JSON.parse(stdout)
}

/** A store with a channel whose first message is in the main file, and whose second is in the log alone. */
export async function prepared(): Promise<{ ground: Ground; store: Store; channel: Channel; broken: Error[] }> {
  const broken: Error[] = []
  const ground = await Ground.make({ onBroken: (error) => broken.push(error) })
  const store = await ground.open()
  const channel = await openChannel(store)
  await store.send(channel.a, 'k1', { text: 'in the file' })
  ground.look((database) => database.pragma('wal_checkpoint(PASSIVE)'))
  await store.send(channel.a, 'k2', { text: 'in the log' })
  return { ground, store, channel, broken }
}

/** Does something to a database over a connection of another process, which closes it in the end. */
export function doApart(path: string, deed: string, ...args: readonly string[]): void {
  const script = `
    import Database from 'better-sqlite3'
    const [path, ...args] = process.argv.slice(1)
    const database = new Database(path, { fileMustExist: true, timeout: 5000 })
    database.pragma('journal_mode = WAL')
    ${deed}
    database.close()`
  const { status, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script, path, ...args], {
    encoding: 'utf8',
  })
  assert.equal(status, 0, stderr)
}

/** Sends a message as the Python bridge does. */
export function sendApart(path: string, text: string): void {
  const row = "('c', 'a', 'b', ?, '2026-01-01T00:00:00')"
  const columns = 'conversation_id, from_session, to_session, message, timestamp'
  doApart(path, `database.prepare("INSERT INTO messages (${columns}) VALUES ${row}").run(args[0])`, text)
}

/** A connection to a database that others have made, and a group commit over it that looks at its files. */
export function committing(
  path: string,
  onCommit: () => void = () => undefined,
): { readonly connection: SqliteConnection; readonly groupCommit: GroupCommit } {
  const connection = new SqliteConnection(path, { create: false })
  prepare(connection, 'FULL', 'leave')
  const main = identify(path)
  assert.ok(main)
  const files = new DatabaseFiles(path, main)
  const groupCommit = new GroupCommit(connection, path, {
    clock: systemClock,
    chance: Math.random,
    lockWaitMs: 1000,
    demandFiles: () => {
      if (files.look() !== null) throw new S2Error('unavailable', 'in doubt')
    },
    onBegin: () => undefined,
    onWritten: () => undefined,
    onRollback: () => undefined,
    onCommit,
    onBroken: (error) => assert.fail(error.message),
  })
  return { connection, groupCommit }
}
