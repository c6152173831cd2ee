/** Where a database may lie and what it may hold: each refusal on a real file, which stays as it was. */
import assert from 'node:assert/strict'
import {
  chmodSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import Database from 'better-sqlite3'
import { S2Error } from '#fleet/errors.ts'
import { demandLocalDisk } from '#store/sqlite/file/database-path.ts'
import { Ground, noPython, openChannel, openWithoutRights, refused } from './sqlite-ground.ts'

const MIGRATIONS = readdirSync(new URL('../../../services/core/store/sqlite/file/migrations', import.meta.url))
  .filter((name) => /^\d/.test(name))
  .sort()

function make(path: string, sql: string): void {
  const database = new Database(path)
  database.exec(sql)
  database.close()
}

test('a new database is private, in WAL mode, and has the Python bridge’s tables as they are', async () => {
  await using ground = await Ground.make()
  const path = join(ground.folder, 'deep', 'er', 'bridge.db')
  const store = await ground.open('write', path)
  await openChannel(store)
  assert.equal(statSync(path).mode & 0o777, 0o600)
  assert.equal(statSync(`${path}-wal`).mode & 0o777, 0o600)
  const columns = (table: string): unknown[] =>
    ground.look(
      (database) =>
        database.prepare(`SELECT name, type, "notnull", dflt_value, pk FROM pragma_table_info('${table}')`).raw().all(),
      path,
    )
  assert.equal(
    ground.look((database) => database.pragma('journal_mode', { simple: true }), path),
    'wal',
  )
  const text = (name: string): unknown[] => [name, 'TEXT', 1, null, 0]
  assert.deepEqual(columns('conversations'), [
    ['id', 'TEXT', 0, null, 1],
    ...['session_a_role', 'session_b_role', 'session_a_token', 'session_b_token', 'created_at', 'expires_at'].map(text),
  ])
  assert.deepEqual(columns('messages'), [
    ['id', 'INTEGER', 0, null, 1],
    ...['conversation_id', 'from_session', 'to_session', 'message'].map(text),
    ['metadata', 'TEXT', 0, null, 0],
    text('timestamp'),
    ['read', 'INTEGER', 0, '0', 0],
  ])
  assert.deepEqual(columns('session_status'), [
    ['conversation_id', 'TEXT', 1, null, 1],
    ['session_id', 'TEXT', 1, null, 2],
    text('status'),
    text('last_heartbeat'),
  ])
  assert.deepEqual(columns('audit_log').slice(3), [text('action'), ['details', 'TEXT', 0, null, 0], text('timestamp')])
  const counted = ground.look(
    (database) => database.prepare("SELECT name FROM sqlite_sequence WHERE name IN ('messages')").all(),
    path,
  )
  assert.equal(counted.length, 0)
  const triggers = ground.look(
    (database) => database.prepare("SELECT count(*) FROM sqlite_schema WHERE type = 'trigger'").pluck().get(),
    path,
  )
  assert.equal(triggers, 0)
})

test('what keeps the process busy at the start is told before, with a bound that grows with the file', async () => {
  const told: [string, number][] = []
  await using ground = await Ground.make({ onLong: (what, atMostMs) => void told.push([what, atMostMs]) })
  await (await ground.open())[Symbol.asyncDispose]()
  assert.deepEqual(
    told.map(([what]) => what),
    ['checking the database', ...MIGRATIONS.map((name) => `changing tables: ${name}`)],
  )
  ground.look((database) => database.exec('CREATE TABLE s2_ballast AS SELECT zeroblob(40000000) AS x'))
  told.length = 0
  await ground.open()
  assert.deepEqual(
    told.map(([what]) => what),
    ['checking the database'],
  )
  assert.ok((told[0]?.[1] ?? 0) > 15_000, `only ${told[0]?.[1]} ms for 40 MB`)
})

test('tables that the Python bridge made keep their very words', { skip: noPython }, async () => {
  await using ground = await Ground.make()
  const python = await ground.startPython()
  await python.kill()
  const words = (): unknown[] =>
    ground.look((database) =>
      database
        .prepare(
          "SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND name IN ('conversations', 'messages', 'session_status', 'audit_log') ORDER BY name",
        )
        .all(),
    )
  const before = words()
  assert.equal(before.length, 4)
  await ground.open()
  assert.deepEqual(words(), before)
})

test('opening again finds everything, and migrates nothing twice', async () => {
  await using ground = await Ground.make()
  const first = await ground.open()
  const { a, b } = await openChannel(first)
  await first.send(a, 'k', { text: 'hello' })
  await first[Symbol.asyncDispose]()
  const second = await ground.open()
  assert.deepEqual(
    (await second.unacked(b, 0, 10)).map(({ text }) => text),
    ['hello'],
  )
  assert.equal(
    ground.look((database) => database.prepare('SELECT count(*) FROM s2_migrations').pluck().get()),
    MIGRATIONS.length,
  )
})

test('ten may open a new database at once', async () => {
  await using ground = await Ground.make()
  const stores = await Promise.all(Array.from({ length: 10 }, () => ground.open()))
  const { a, b } = await openChannel(stores[0] as (typeof stores)[number])
  await Promise.all(stores.map((store, index) => store.send(a, `k${index}`, { text: `${index}` })))
  assert.equal((await stores[9]?.unacked(b, 0, 100))?.length, 10)
})

test('a link to a database means the database', async () => {
  await using ground = await Ground.make()
  const store = await ground.open()
  const { a, b } = await openChannel(store)
  mkdirSync(join(ground.folder, 'elsewhere'))
  const link = join(ground.folder, 'elsewhere', 'link.db')
  symlinkSync(ground.path, link)
  const other = await ground.open('write', link)
  await other.send(a, 'k', { text: 'through the link' })
  assert.equal((await store.unacked(b, 0, 10)).length, 1)
  assert.equal(statSync(`${link}-bell`, { throwIfNoEntry: false }), undefined)
})

test('a newer schema is refused', async () => {
  await using ground = await Ground.make()
  await (await ground.open())[Symbol.asyncDispose]()
  make(ground.path, "INSERT INTO s2_migrations VALUES (9999, '9999-later.sql', 0)")
  const error = await refused('invalid', ground.open())
  assert.match(error.message, /newer S2.*9999/)
  assert.match(error.next ?? '', /newer/)
})

test('the database of the older scripts is refused, and left as it is', async () => {
  await using ground = await Ground.make()
  make(
    ground.path,
    `CREATE TABLE conversations (id TEXT PRIMARY KEY, role_a TEXT, role_b TEXT);
     CREATE TABLE messages (id INTEGER PRIMARY KEY, conversation_id TEXT, sender TEXT, content TEXT, action_type TEXT,
       created_at TEXT, read_by_b INTEGER)`,
  )
  const before = readFileSync(ground.path)
  for (const mode of ['write', 'read'] as const) {
    const error = await refused('invalid', ground.open(mode))
    assert.match(error.message, /older protocol scripts/)
    assert.match(error.message, new RegExp(ground.path))
    assert.match(error.next ?? '', /S2_STORE=sqlite:\S+s2-bridge\.db s2 import \S+bridge\.db shows what would be taken/)
  }
  assert.deepEqual(readFileSync(ground.path), before)
})

test('a database of something else is refused, and left as it is', async () => {
  await using ground = await Ground.make()
  make(ground.path, 'CREATE TABLE bookmarks (url TEXT); CREATE TABLE visits (at INTEGER)')
  const before = readFileSync(ground.path)
  const error = await refused('invalid', ground.open())
  assert.match(error.message, /something else.*bookmarks/)
  assert.deepEqual(readFileSync(ground.path), before)
  const other = join(ground.folder, 'other.db')
  make(other, 'CREATE TABLE messages (id INTEGER PRIMARY KEY, body TEXT)')
  const lacking = await refused('invalid', ground.open('write', other))
  assert.match(lacking.message, /messages has no conversation_id/)
  assert.doesNotMatch(lacking.next ?? '', /s2 import/)
  const older = join(ground.folder, 'older.db')
  make(
    older,
    `CREATE TABLE conversations (id TEXT PRIMARY KEY, session_a_role TEXT, session_b_role TEXT, session_a_token TEXT,
       session_b_token TEXT, created_at TEXT, expires_at TEXT);
     CREATE TABLE messages (id INTEGER PRIMARY KEY, conversation_id TEXT, from_session TEXT, to_session TEXT, message TEXT,
       timestamp TEXT, read INTEGER)`,
  )
  const old = await refused('invalid', ground.open('write', older))
  assert.match(old.message, /its table messages has no metadata/)
  assert.match(old.next ?? '', /S2_STORE=sqlite:\S+s2-older\.db s2 import \S+older\.db/, 'an older bridge made it')
})

test('a table of another bridge that demands more than S2 gives is refused before anything is written', async () => {
  await using ground = await Ground.make()
  const status = (more: string): string =>
    `CREATE TABLE session_status (conversation_id TEXT NOT NULL, session_id TEXT NOT NULL, status TEXT NOT NULL,
      last_heartbeat TEXT NOT NULL, ${more}, PRIMARY KEY (conversation_id, session_id))`
  make(ground.path, status('host TEXT NOT NULL'))
  const before = readFileSync(ground.path)
  for (const mode of ['write', 'read'] as const) {
    const error = await refused('invalid', ground.open(mode))
    assert.match(error.message, /its table session_status demands host, which S2 does not know/)
  }
  assert.deepEqual(readFileSync(ground.path), before)
  const harmless = join(ground.folder, 'harmless.db')
  make(harmless, status("host TEXT NOT NULL DEFAULT '', note TEXT"))
  await ground.open('write', harmless)
})

test('a file that is no database is refused, and left as it is', async () => {
  await using ground = await Ground.make()
  writeFileSync(ground.path, 'To whom it may concern: this is a letter.\n'.repeat(100))
  const before = readFileSync(ground.path)
  for (const mode of ['write', 'read'] as const) {
    assert.match((await refused('invalid', ground.open(mode))).message, /not a SQLite database/)
  }
  assert.deepEqual(readFileSync(ground.path), before)
  const folder = join(ground.folder, 'folder.db')
  mkdirSync(folder)
  assert.match((await refused('invalid', ground.open('write', folder))).message, /not a file/)
})

test('a damaged database is refused and never made anew', async () => {
  await using ground = await Ground.make()
  const store = await ground.open()
  const { a } = await openChannel(store)
  for (let index = 0; index < 200; index += 1) await store.send(a, `k${index}`, { text: 'x'.repeat(500) })
  await store[Symbol.asyncDispose]()
  const { size } = statSync(ground.path)
  truncateSync(ground.path, size - 3 * 4096)
  const error = await refused('unavailable', ground.open())
  assert.match(error.message, /damaged/)
  assert.match(error.next ?? '', /backup/)
  assert.equal(statSync(ground.path).size, size - 3 * 4096)
})

test('bits that turned over in a page are found when it is opened', async () => {
  await using ground = await Ground.make()
  const store = await ground.open()
  const { a } = await openChannel(store)
  for (let index = 0; index < 200; index += 1) await store.send(a, `k${index}`, { text: 'x'.repeat(500) })
  await store[Symbol.asyncDispose]()
  const bytes = readFileSync(ground.path)
  const root = ground.look((database) =>
    database.prepare("SELECT rootpage FROM sqlite_schema WHERE name = 's2_audit'").pluck().get(),
  ) as number
  bytes.fill(0xa5, (root - 1) * 4096, (root - 1) * 4096 + 200)
  writeFileSync(ground.path, bytes)
  await refused('unavailable', ground.open())
})

test('a log without its database is not thrown away', async () => {
  await using ground = await Ground.make()
  writeFileSync(`${ground.path}-wal`, 'frames')
  const error = await refused('unavailable', ground.open())
  assert.match(error.message, /is missing, but its log/)
  assert.equal(readFileSync(`${ground.path}-wal`, 'utf8'), 'frames')
})

test('a file system that is no local disk is refused by name', async () => {
  await using ground = await Ground.make()
  const path = '/proc/self/bridge.db'
  assert.match((await refused('invalid', ground.open('write', path))).message, /lies on proc/)
  const place = { path: '/mnt/x/bridge.db', folder: '/mnt/x', bell: '', liveness: '' }
  for (const [type, name] of [
    [0x6969, 'nfs'],
    [0x01021997, '9p'],
    [0x65735546, 'fuse'],
    [0x1234, '0x1234'],
  ] as const) {
    assert.throws(
      () => demandLocalDisk(place, () => type),
      (error) =>
        error instanceof S2Error &&
        error.code === 'invalid' &&
        error.message.includes(name) &&
        error.next !== undefined,
    )
  }
  for (const type of [0xef53, 0x58465342, 0x9123683e, 0x01021994, 0x794c7630, 0x2fc12fc1, 0xf2f52010]) {
    demandLocalDisk(place, () => type)
  }
})

test('a folder and a file that this user cannot write are refused', async () => {
  await using ground = await Ground.make()
  await (await ground.open())[Symbol.asyncDispose]()
  chmodSync(ground.folder, 0o555)
  assert.match(
    openWithoutRights(ground.path),
    /^forbidden: the folder .* cannot be written by this user → .*-wal and -shm/,
  )
  assert.match(
    openWithoutRights(join(ground.folder, 'sub', 'bridge.db')),
    /^forbidden: the folder .*sub cannot be written/,
  )
  chmodSync(ground.folder, 0o777)
  chmodSync(ground.path, 0o444)
  assert.match(
    openWithoutRights(ground.path),
    /^forbidden: the database .* may not be written by its owner, user .* \(mode 444\) → chmod u\+rw /,
  )
  rmSync(ground.path)
  assert.equal(openWithoutRights(ground.path), 'opened\n')
})

test('every handle keeps synchronous FULL, and beats NORMAL', async () => {
  await using ground = await Ground.make()
  const { SqliteConnection, prepare } = await import('#store/sqlite/file/connection.ts')
  await (await ground.open())[Symbol.asyncDispose]()
  for (const [durability, level] of [
    ['FULL', 2],
    ['NORMAL', 1],
  ] as const) {
    using connection = new SqliteConnection(ground.path, { create: false })
    prepare(connection, durability, 'make')
    connection.all('SELECT * FROM messages')
    assert.equal(connection.pragma('synchronous'), level)
    assert.equal(connection.pragma('busy_timeout'), 0)
    assert.equal(connection.pragma('mmap_size') ?? 0, 0)
  }
})
