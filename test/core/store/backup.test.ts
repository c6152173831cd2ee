/** Backups of a database that others write to, and what is kept of them. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { test } from 'node:test'
import Database from 'better-sqlite3'
import { type BackupOrder, listBackups, makeBackup } from '#store/sqlite/backup/backup.ts'
import type { CopyParts } from '#store/sqlite/backup/copy-database.ts'
import { checkFile } from '#store/sqlite/backup/integrity-check.ts'
import { restoreDatabase } from '#store/sqlite/backup/restore.ts'
import { roomIn } from '#store/sqlite/file/disk-room.ts'
import { mainOf } from '../../program.ts'
import { Ground, noPython, openChannel, refused } from './sqlite-ground.ts'

const DAY = 86_400_000

function wishOf(ground: Ground, wish: Partial<BackupOrder> = {}): BackupOrder {
  const folder = join(ground.folder, 'backups')
  return { database: ground.path, folder, beats: 'not', keep: 14, keepForMs: 30 * DAY, ...wish }
}

function partsOf(ground: Ground, parts: Partial<CopyParts> = {}): CopyParts {
  return { ...ground.parts, roomIn, ...parts }
}

/** A clock whose wall stands where it is put. */
function at(ground: Ground, wall: number): CopyParts {
  return partsOf(ground, { clock: { ...ground.parts.clock, wall: () => wall } })
}

function textsIn(path: string): string[] {
  const database = new Database(path, { readonly: true })
  const texts = database.prepare('SELECT message FROM messages ORDER BY id').pluck().all()
  database.close()
  return texts as string[]
}

/** A database of some megabytes, so that a copy takes more steps than one. */
function fatten(ground: Ground): void {
  ground.look((database) => {
    database.exec('CREATE TABLE s2_ballast (x BLOB)')
    const insert = database.prepare('INSERT INTO s2_ballast VALUES (zeroblob(100000))')
    for (let n = 0; n < 400; n += 1) insert.run()
  })
}

test('beside one who writes without a pause: one instant of it, whole, readable by its owner alone', async () => {
  await using ground = await Ground.make()
  const store = await ground.open()
  const { a } = await openChannel(store)
  fatten(ground)
  const script = new URL('sqlite-sender.ts', import.meta.url)
  const sender = await ground.startScript(script, ground.path, a, 'k', '1000000', '8')
  const acked: string[] = []
  while (acked.length < 20) acked.push(String((await sender.hear()).key))
  const made = await makeBackup(wishOf(ground), partsOf(ground))
  await sender.kill()
  const after = (await sender.hearOut()).length
  assert.ok(after > 20, `only ${after} were sent beside the copy`)
  const texts = textsIn(made.path)
  for (const key of acked) assert.ok(texts.includes(key), `${key} was acknowledged before, and is not in it`)
  assert.ok(texts.length < acked.length + after, 'it was copied when all was over')
  const now = ground.look((database) => database.prepare('SELECT message FROM messages ORDER BY id').pluck().all())
  assert.deepEqual(texts, now.slice(0, texts.length), 'it is no instant of the database')
  assert.equal(made.proof.rows.messages, texts.length)
  assert.deepEqual(checkFile(made.path), made.proof)
  assert.equal(statSync(made.path).mode & 0o777, 0o600)
  assert.equal(statSync(join(ground.folder, 'backups')).mode & 0o777, 0o700)
  assert.deepEqual(readdirSync(join(ground.folder, 'backups')), [made.path.split('/').at(-1)])
})

test('a database of the Python bridge alone, while that serves', { skip: noPython }, async () => {
  await using ground = await Ground.make()
  const python = await ground.startPython()
  const made = await python.call('create_conversation', { my_role: 'orchestrator', partner_role: 'docs' })
  const as = { conversation_id: made.conversation_id, session_id: 'a', token: made.a }
  await python.call('send_to_partner', { ...as, message: 'kept' })
  const backup = await makeBackup(wishOf(ground), partsOf(ground))
  await python.call('send_to_partner', { ...as, message: 'later' })
  assert.deepEqual(textsIn(backup.path), ['kept'])
  assert.deepEqual(backup.proof, { schema: 0, rows: { conversations: 1, messages: 1, tasks: 0 }, head: null })
})

test('the beats come along where they are wanted', async () => {
  await using ground = await Ground.make()
  const store = await ground.open()
  await openChannel(store)
  await store.tend()
  const { beats, path } = await makeBackup(wishOf(ground, { beats: 'too' }), partsOf(ground))
  assert.equal(beats, path.replace('.db', '-liveness.db'))
  assert.equal(
    ground.look((database) => database.prepare('SELECT count(*) FROM collecting').pluck().get(), beats ?? ''),
    1,
  )
  const [listed] = listBackups(join(ground.folder, 'backups'), ground.path)
  assert.deepEqual(listed, { path, beats, madeAt: listed?.madeAt, bytes: statSync(path).size })
})

test('kept by number and by age; the one just made in any case, and nothing of anybody else', async () => {
  await using ground = await Ground.make()
  const store = await ground.open()
  await openChannel(store)
  await store.tend() // that makes the file of beats
  const start = Date.UTC(2026, 0, 1)
  const folder = join(ground.folder, 'backups')
  mkdirSync(folder)
  for (const foreign of ['bridge.db', 'notes.txt', 'other-20260101T000000.000Z.db', 'bridge-20269901T000000.000Z.db']) {
    writeFileSync(join(folder, foreign), 'mine')
  }
  const days = (): number[] => listBackups(folder, ground.path).map(({ madeAt }) => (madeAt - start) / DAY)
  for (let day = 0; day < 5; day += 1) {
    await makeBackup(wishOf(ground, { keep: 3, beats: 'too' }), at(ground, start + day * DAY))
  }
  assert.deepEqual(days(), [4, 3, 2])
  assert.equal(readdirSync(folder).length, 4 + 2 * 3, 'beats went with their messages')
  const { removed } = await makeBackup(wishOf(ground, { keepForMs: 2 * DAY }), at(ground, start + 5.5 * DAY))
  assert.deepEqual(days(), [5.5, 4])
  assert.equal(removed.length, 4)
  await makeBackup(wishOf(ground, { keep: 1, keepForMs: 1 }), at(ground, start + 90 * DAY))
  assert.deepEqual(days(), [90])
  // The wall clock was set back: what is made now is the oldest by its name, and stays.
  await makeBackup(wishOf(ground, { keep: 1 }), at(ground, start))
  assert.deepEqual(days(), [0])
  assert.equal(readFileSync(join(folder, 'bridge.db'), 'utf8'), 'mine')
  assert.equal(readdirSync(folder).length, 4 + 1)
})

test('what was left half done is removed when it is old, and never listed', async () => {
  await using ground = await Ground.make()
  const store = await ground.open()
  await openChannel(store)
  const { path } = await makeBackup(wishOf(ground), partsOf(ground))
  const folder = join(ground.folder, 'backups')
  const [old, young] = ['bridge-20260101T000000.000Z.db.draft', 'bridge-20260102T000000.000Z.db.draft']
  for (const name of [old, young]) writeFileSync(join(folder, name), 'half')
  utimesSync(join(folder, old), 0, 0)
  const next = await makeBackup(wishOf(ground), partsOf(ground))
  assert.deepEqual(
    readdirSync(folder).sort(),
    [young, ...[path, next.path].map((each) => each.split('/').at(-1))].sort(),
  )
  assert.equal(listBackups(folder, ground.path).length, 2)
})

test('no room, no folder, no database: each is said, and the older ones stay', async () => {
  await using ground = await Ground.make()
  const missing = await refused('not_found', makeBackup(wishOf(ground), partsOf(ground)))
  assert.match(missing.message, /no database .*bridge\.db/)
  const store = await ground.open()
  await openChannel(store)
  const { path } = await makeBackup(wishOf(ground, { keep: 1 }), partsOf(ground))
  const folder = join(ground.folder, 'backups')
  const tight = partsOf(ground, { roomIn: () => 1_000_000 })
  const full = await refused('unavailable', makeBackup(wishOf(ground, { keep: 1 }), tight))
  assert.match(full.message, /wants \d+ MB free in .*backups, where 1 MB/)
  writeFileSync(join(ground.folder, 'file'), '')
  const taken = await refused('forbidden', makeBackup(wishOf(ground, { folder: join(ground.folder, 'file') }), tight))
  assert.match(taken.message, /cannot be kept at .*file/)
  assert.deepEqual(
    readdirSync(folder).map((name) => join(folder, name)),
    [path],
  )
  checkFile(path)
})

test('a disk that takes no more in mid-copy costs no older one, and leaves no half one', async () => {
  await using ground = await Ground.make()
  const store = await ground.open()
  await openChannel(store)
  const { path } = await makeBackup(wishOf(ground, { keep: 1 }), partsOf(ground))
  fatten(ground)
  const main = mainOf('cli')
  // The kernel refuses to let any file of that process grow beyond 8 MB: what a full disk is to a write.
  const ended = spawnSync('sh', ['-c', `ulimit -f 16384; exec "$0" "$1" backup --keep 1`, process.execPath, main], {
    env: { PATH: process.env.PATH, S2_STATE: ground.folder },
    encoding: 'utf8',
  })
  assert.equal(ended.status, 1, ended.stderr)
  assert.match(ended.stderr, /^s2: .*backups.*\n {2}next: /)
  assert.deepEqual(readdirSync(join(ground.folder, 'backups')), [path.split('/').at(-1)])
  checkFile(path)
})

test('nothing is backed up that is damaged, and nobody who altered the past passes', async () => {
  await using ground = await Ground.make()
  const store = await ground.open()
  const { a } = await openChannel(store)
  for (let n = 0; n < 200; n += 1) await store.send(a, `k${n}`, { text: `text ${n} ${'x'.repeat(200)}` })
  const { path } = await makeBackup(wishOf(ground, { keep: 1 }), partsOf(ground))
  await store[Symbol.asyncDispose]()
  ground.look((database) => database.exec("UPDATE s2_audit SET actor = 'nobody' WHERE seq = 1"))
  const altered = await refused('unavailable', makeBackup(wishOf(ground, { keep: 1 }), partsOf(ground)))
  assert.match(altered.message, /audit chain of .*bridge\.db is broken: its entry 1 was changed/)
  ground.look((database) => database.exec('DELETE FROM s2_audit WHERE seq = 1'))
  const cut = await refused('unavailable', makeBackup(wishOf(ground, { keep: 1 }), partsOf(ground)))
  assert.match(cut.message, /its entry 1 is missing/)
  const bytes = readFileSync(ground.path)
  const page = 4096 * Math.floor(bytes.indexOf('text 100 ') / 4096)
  bytes.fill(0xff, page, page + 100)
  writeFileSync(ground.path, bytes)
  const damaged = await refused('unavailable', makeBackup(wishOf(ground, { keep: 1 }), partsOf(ground)))
  assert.match(damaged.message, /no backup was made: the database .*bridge\.db is damaged/)
  assert.deepEqual(
    listBackups(join(ground.folder, 'backups'), ground.path).map((each) => each.path),
    [path],
  )
})

/**
 * Puts a message past an index: the index is taken out of the schema, the message is put, and the index comes back as it was.
 * Every row can be read and every page is well formed, and whoever asks by that index misses the message.
 */
function damageIndex(path: string, name: string): void {
  const database = new Database(path)
  const writable = (act: () => void): void => {
    database.pragma('writable_schema = ON')
    act()
    database.pragma('writable_schema = RESET')
  }
  database.unsafeMode(true)
  const index = database.prepare('SELECT * FROM sqlite_schema WHERE name = ?').get(name)
  assert.ok(index !== undefined, `there is no index ${name}`)
  writable(() => database.prepare('DELETE FROM sqlite_schema WHERE name = ?').run(name))
  database.exec(`INSERT INTO messages (conversation_id, from_session, to_session, message, timestamp)
    SELECT conversation_id, from_session, to_session, 'past the index', timestamp FROM messages WHERE id = 1`)
  writable(() =>
    database.prepare('INSERT INTO sqlite_schema VALUES (@type, @name, @tbl_name, @rootpage, @sql)').run(index),
  )
  database.close()
}

test('a database that reads well and has a damaged index is not backed up, and no such file is restored', async () => {
  await using ground = await Ground.make()
  const before = await ground.open()
  const { a } = await openChannel(before)
  for (let n = 0; n < 10; n += 1) await before.send(a, `k${n}`, { text: `text ${n}` })
  const { path } = await makeBackup(wishOf(ground, { keep: 1 }), partsOf(ground))
  await before[Symbol.asyncDispose]()
  damageIndex(ground.path, 's2_messages_unread')
  assert.equal(
    ground.look((database) => database.pragma('quick_check', { simple: true })),
    'ok',
  )
  const store = await ground.open()
  await store.send(a, 'after', { text: 'it opens, reads and writes' })
  const refusal = await refused('unavailable', makeBackup(wishOf(ground, { keep: 1 }), partsOf(ground)))
  assert.match(refusal.message, /no backup was made: the database .*bridge\.db is damaged/)
  assert.deepEqual(readdirSync(join(ground.folder, 'backups')), [basename(path)], 'the older one stays')
  await store[Symbol.asyncDispose]()

  damageIndex(path, 's2_messages_unread')
  assert.throws(() => checkFile(path), /is damaged/)
  const parts = { ...partsOf(ground), sign: null }
  const unrestored = await refused('unavailable', restoreDatabase({ backup: path, database: ground.path }, parts))
  assert.match(unrestored.message, /nothing was restored: .* is damaged/)
  assert.ok(textsIn(ground.path).includes('it opens, reads and writes'))
})

test('a backup that rots is found out', async () => {
  await using ground = await Ground.make()
  const store = await ground.open()
  await openChannel(store)
  const { path } = await makeBackup(wishOf(ground), partsOf(ground))
  const sound = readFileSync(path)
  let found = 0
  for (let cut = 1; cut < 8; cut += 1) {
    writeFileSync(path, sound.subarray(0, Math.floor((sound.length * cut) / 8)))
    assert.throws(() => checkFile(path), /is damaged|not a SQLite database|holds nothing/, `cut to ${cut} eighths`)
    found += 1
  }
  assert.equal(found, 7)
  writeFileSync(path, 'no database at all, but text of some length')
  assert.throws(() => checkFile(path), /is not a SQLite database/)
  assert.throws(() => checkFile(`${path}x`), /there is no backup/)
})
