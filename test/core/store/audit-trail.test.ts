/** The trail on the disk: what was altered is found and located, what is old moves into files, and a kept head tells of roll-back. */
import assert from 'node:assert/strict'
import { copyFileSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { gunzipSync, gzipSync } from 'node:zlib'
import type Database from 'better-sqlite3'
import { AUDIT_ROOT, auditHash, type HashedEntry } from '#fleet/audit.ts'
import { type SignedHead, signHead } from '#fleet/audit-head.ts'
import { type RestoreSigner, restoreSigner } from '#fleet/audit-restore.ts'
import { signBytes } from '#fleet/identity.ts'
import { sessionId } from '#fleet/session-id.ts'
import { makeIdentity } from '#identity/identity-file.ts'
import { segmentsFolder } from '#store/sqlite/audit/segment-file.ts'
import { readTrail, verifyTrail } from '#store/sqlite/audit/trail.ts'
import type { TrailReport } from '#store/sqlite/audit/trail-report.ts'
import { makeBackup } from '#store/sqlite/backup/backup.ts'
import { checkFile } from '#store/sqlite/backup/integrity-check.ts'
import { restoreDatabase } from '#store/sqlite/backup/restore.ts'
import { roomIn } from '#store/sqlite/file/disk-room.ts'
import type { Store } from '#store/store.ts'
import { MovableClock } from '../../movable-clock.ts'
import { Ground, noPython, openChannel, refused } from './sqlite-ground.ts'

const DAY = 86_400_000

const orchestrator = await makeIdentity()
const { key } = orchestrator

async function headOf(store: Store): Promise<SignedHead> {
  return signHead(await store.auditHead(), (bytes) => ({ key, signature: signBytes(orchestrator, bytes) }))
}

function verify(ground: Ground, heads: readonly SignedHead[] = [], path = ground.path): Promise<TrailReport> {
  return verifyTrail(path, { segments: segmentsFolder(path), heads, keys: null, onProgress: () => undefined })
}

async function faults(ground: Ground, heads: readonly SignedHead[] = []): Promise<string[]> {
  return (await verify(ground, heads)).faults.map(({ kind, text }) => `${kind}: ${text}`)
}

/** A store with some sends; answers it closed, as it lies on the disk. */
async function written(ground: Ground, sends = 10): Promise<SignedHead> {
  const store = await ground.open()
  const { a } = await openChannel(store)
  for (let n = 0; n < sends; n += 1) await store.send(a, `k${n}`, { text: `text ${n}` })
  const head = await headOf(store)
  await store[Symbol.asyncDispose]()
  return head
}

test('each alteration of the database is found, and where it is', async () => {
  const alterations: readonly (readonly [string, RegExp])[] = [
    ["UPDATE s2_audit SET actor = 'nobody' WHERE seq = 4", /^changed: entry 4 /],
    ["UPDATE s2_audit SET result = 'x' WHERE seq = 4", /^changed: entry 4 /],
    ['UPDATE s2_audit SET latency = 99 WHERE seq = 4', /^changed: entry 4 /],
    ['UPDATE s2_audit SET version = 1 WHERE seq = 4', /^changed: entry 4 /],
    ['DELETE FROM s2_audit WHERE seq = 4', /^missing: entry 4 /],
    ['DELETE FROM s2_audit WHERE seq BETWEEN 4 AND 6', /^missing: entries 4 to 6 /],
    ['DELETE FROM s2_audit WHERE seq < 4', /^missing: entries 1 to 3 /],
    [
      'UPDATE s2_audit SET seq = seq + 1000 WHERE seq >= 4; UPDATE s2_audit SET seq = seq - 999 WHERE seq >= 1000',
      /^missing: entry 4 /,
    ],
    [
      'UPDATE s2_audit SET seq = 1000 WHERE seq = 4; UPDATE s2_audit SET seq = 4 WHERE seq = 5; UPDATE s2_audit SET seq = 5 WHERE seq = 1000',
      /^changed: entry 4 /,
    ],
    [
      "UPDATE s2_audit SET seq = seq + 1001 WHERE seq >= 4; UPDATE s2_audit SET seq = seq - 1000 WHERE seq > 1000; INSERT INTO s2_audit (seq, at, actor, action, details, hash) VALUES (4, 0, 'a', 'b', '{}', printf('%064d', 0))",
      /^changed: entry 4 /,
    ],
  ]
  for (const [sql, found] of alterations) {
    await using ground = await Ground.make()
    await written(ground)
    assert.deepEqual(await faults(ground), [])
    ground.look((database) => database.exec(sql))
    assert.match((await faults(ground))[0] ?? 'nothing', found, sql)
  }
})

test('a chain that was cut or rolled back is whole by itself, and a kept head tells', async () => {
  await using ground = await Ground.make()
  const store = await ground.open()
  const { a } = await openChannel(store)
  for (let n = 0; n < 10; n += 1) await store.send(a, `k${n}`, { text: 'x' })
  const middle = await headOf(store)
  await store[Symbol.asyncDispose]()
  const old = `${ground.path}.old`
  copyFileSync(ground.path, old)
  const again = await ground.open()
  await again.send(a, 'later', { text: 'y' })
  const last = await headOf(again)
  await again[Symbol.asyncDispose]()
  assert.deepEqual(await faults(ground, [middle, last]), [])
  assert.equal((await verify(ground, [middle, last])).heads.matched, 2)
  rmSync(ground.path)
  copyFileSync(old, ground.path)
  assert.deepEqual(await faults(ground, [middle]), [])
  const [rolledBack] = await faults(ground, [middle, last])
  assert.match(
    rolledBack ?? 'nothing',
    /^rolled_back: the chain ends at entry 11, and a kept head of .* names entry 12/,
  )
  const other = await ground.open()
  await other.send(a, 'instead', { text: 'z' })
  await other.send(a, 'and more', { text: 'z' })
  await other[Symbol.asyncDispose]()
  assert.match((await faults(ground, [last]))[0] ?? 'nothing', /^rewritten: entry 12 is not the one that a kept head/)
  assert.match((await faults(ground, [{ ...middle, seq: 3 }]))[0] ?? 'nothing', /^head: .* wrong signature/)
})

/** A database with a backup of before `two`, gone back to it; the head that was kept of what was given up. */
async function restored(ground: Ground, sign: RestoreSigner | null): Promise<SignedHead> {
  const clock = new MovableClock()
  const store = await ground.open()
  const { a } = await openChannel(store)
  await store.send(a, 'one', { text: 'x' })
  const folder = join(ground.folder, 'backups')
  const order = { database: ground.path, folder, beats: 'not' as const, keep: 3, keepForMs: DAY }
  const made = await makeBackup(order, { ...ground.parts, clock, roomIn })
  await store.send(a, 'two', { text: 'x' })
  const lost = await headOf(store)
  await store.send(a, 'three', { text: 'x' })
  await store[Symbol.asyncDispose]()
  await restoreDatabase({ backup: made.path, database: ground.path }, { ...ground.parts, roomIn, sign })
  return lost
}

test('what a restore gave up is told and no fault, and is not whole before a head of what goes on was kept', async () => {
  await using ground = await Ground.make()
  const lost = await restored(ground, restoreSigner(orchestrator))
  const report = await verify(ground, [lost])
  assert.deepEqual(report.faults, [])
  assert.match(
    report.notes[0] ?? 'nothing',
    /^1 kept heads are of the chain that was given up by the restore in entry 3/,
  )
  assert.equal(report.verdict, 'unproven')
  const store = await ground.open()
  const next = await headOf(store)
  await store[Symbol.asyncDispose]()
  const { verdict, heads } = await verify(ground, [lost, next])
  assert.deepEqual([verdict, heads], ['whole', { kept: 2, matched: 1, unchecked: 0 }])
})

test('a restore that the orchestrator did not sign gives up no chain', async () => {
  for (const sign of [null, restoreSigner(await makeIdentity())]) {
    await using ground = await Ground.make()
    const lost = await restored(ground, sign)
    const { verdict, faults, notes } = await verify(ground, [lost])
    assert.equal(verdict, 'altered')
    assert.match(faults[0]?.text ?? 'nothing', /^entry 3 is not the one that a kept head of/)
    assert.match(notes.join('\n'), /the restore in entry 3 .* explains no kept head/)
  }
})

test('a signed restore explains neither other entries, nor heads that were signed after it', async () => {
  const edits: Readonly<Record<string, string>> = {
    'moved to another chain': "UPDATE s2_audit SET actor = 'nobody' WHERE seq = 1",
    'giving up more': "UPDATE s2_audit SET details = json_set(details, '$.replaced', NULL) WHERE seq = 3",
    'dated later': 'UPDATE s2_audit SET at = at + 60000 WHERE seq = 3',
    'rewritten after it': "UPDATE s2_audit SET actor = 'nobody' WHERE seq = 4",
  }
  for (const [how, sql] of Object.entries(edits)) {
    await using ground = await Ground.make()
    const lost = await restored(ground, restoreSigner(orchestrator))
    const store = await ground.open()
    await openChannel(store)
    await new Promise((resolve) => setTimeout(resolve, 2)) // a head is younger than the restore
    const next = await headOf(store)
    await store[Symbol.asyncDispose]()
    assert.equal((await verify(ground, [lost, next])).verdict, 'whole')
    ground.look((database) => {
      database.exec(sql)
      rechain(database)
    })
    const { faults } = await verify(ground, [lost, next])
    assert.match(faults.map(({ kind }) => kind).join(), /rewritten/, how)
  }
})

test('a forged restore blinds no kept head, whether entries were edited or the end was cut off', async () => {
  const forgeries: readonly string[] = [
    `UPDATE s2_audit SET actor = 'nobody' WHERE seq = 6;
     UPDATE s2_audit SET action = 'database_restored', at = at + 60000, details = '{"replaced":null}' WHERE seq = 2`,
    `DELETE FROM s2_audit WHERE seq > 5;
     UPDATE s2_audit SET action = 'database_restored', at = at + 60000, details = '{}' WHERE seq = 5`,
    `DELETE FROM s2_audit WHERE seq > 5;
     UPDATE s2_audit SET action = 'database_restored', at = at + 60000, details = '{"replaced":{"seq":12},"signed":7}' WHERE seq = 5`,
  ]
  for (const sql of forgeries) {
    await using ground = await Ground.make()
    const head = await written(ground)
    ground.look((database) => {
      database.exec(sql)
      rechain(database)
    })
    assert.deepEqual((await verify(ground)).faults, [], 'whoever re-chains leaves a chain that is whole by itself')
    const { verdict, faults } = await verify(ground, [head])
    assert.equal(verdict, 'altered', sql)
    assert.match(faults[0]?.kind ?? 'nothing', /^(rewritten|rolled_back)$/)
  }
})

/** Gives every entry the hash that it has after the one before it, as the owner of a database can. */
function rechain(database: Database.Database): void {
  let previous = AUDIT_ROOT
  const columns = 'version, seq, at, actor, action, what, result, latency AS latencyMs, request, details AS detailsJson'
  for (const row of database.prepare<[], HashedEntry>(`SELECT ${columns} FROM s2_audit ORDER BY seq`).all()) {
    previous = auditHash(previous, row)
    database.prepare('UPDATE s2_audit SET hash = ? WHERE seq = ?').run(previous, row.seq)
  }
}

test('a backup that an older S2 made is gone through, restored and goes on', async () => {
  await using ground = await Ground.make()
  await written(ground, 1)
  ground.look((database) => {
    const begin = readFileSync(
      new URL('../../../services/core/store/sqlite/file/migrations/0001-begin.sql', import.meta.url),
      'utf8',
    )
    const tables = database
      .prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND name GLOB 's2_*'")
      .all()
    for (const { name, sql } of tables as { name: string; sql: string }[]) {
      const [, before] = new RegExp(`^(CREATE TABLE ${name} \\([^;]*);`, 'm').exec(begin) ?? []
      if (sql === before) continue
      database.exec(`DROP TABLE ${name}; ${before ?? ''}`)
    }
    database.exec('DELETE FROM s2_migrations WHERE version > 1; PRAGMA journal_mode = DELETE')
  })
  const backup = join(ground.folder, 'old.db')
  copyFileSync(ground.path, backup)
  assert.equal(checkFile(backup).schema, 1)
  assert.equal((await verify(ground)).entries, 0)
  const { proof } = await restoreDatabase({ backup, database: ground.path }, { ...ground.parts, roomIn, sign: null })
  assert.equal(proof.head?.seq, 1)
  assert.deepEqual(await faults(ground), [])
})

test('rows of others are sealed, and an edit, a removal and an insertion are found', { skip: noPython }, async () => {
  const alterations: readonly (readonly [string, RegExp])[] = [
    [
      "UPDATE audit_log SET details = 'other' WHERE id = 2",
      /^foreign_rows: rows 1 to 3 of audit_log: one of them was changed/,
    ],
    ['UPDATE audit_log SET details = NULL WHERE id = 2', /one of them was changed/],
    ['DELETE FROM audit_log WHERE id = 2', /there were 3, and there are 2/],
    [
      "INSERT INTO audit_log (id, action, timestamp) VALUES (0, 'x', 'y')",
      /1 rows of audit_log stand before the first/,
    ],
    [
      "UPDATE audit_log SET id = 10 WHERE id = 3; INSERT INTO audit_log (id, action, timestamp) VALUES (3, 'x', 'y')",
      /one of them was changed/,
    ],
  ]
  for (const [sql, found] of alterations) {
    const clock = new LeapingClock()
    await using ground = await Ground.make({ clock })
    const store = await ground.open()
    ground.look((database) => addForeign(database, 3))
    await store.tend()
    ground.look((database) => addForeign(database, 2))
    await store.tend()
    const report = await verify(ground)
    assert.deepEqual(report.foreign, { ranges: 1, rows: 3, unsealed: 2 }, 'not so soon again')
    assert.deepEqual(report.faults, [])
    clock.leapMs += 60_000
    await store.tend()
    assert.deepEqual((await verify(ground)).foreign, { ranges: 2, rows: 5, unsealed: 0 })
    await store[Symbol.asyncDispose]()
    ground.look((database) => database.exec(sql))
    assert.match((await faults(ground)).join('\n'), found, sql)
  }
})

/** A clock whose monotonic time leaps too. */
class LeapingClock extends MovableClock {
  leapMs = 0

  override now(): number {
    return super.now() + this.leapMs
  }
}

function addForeign(database: Database.Database, count: number): void {
  for (let n = 0; n < count; n += 1) {
    database
      .prepare("INSERT INTO audit_log (action, details, timestamp) VALUES ('tool', ?, '2026')")
      .run(`details ${n}`)
  }
}

const KEEP = 30 * DAY
const PER_DAY = 20

/** Lets a day pass in which messages are sent and received. */
async function liveDay(store: Store, clock: MovableClock, day: number, conversation: string): Promise<void> {
  const [a, b] = [sessionId(conversation, 'a'), sessionId(conversation, 'b')]
  const sent = await Promise.all(
    Array.from({ length: PER_DAY }, (_, n) => store.send(a, `day ${day}, ${n}`, { text: `text ${day}.${n}` })),
  )
  await store.mark(
    b,
    sent.map(({ id }) => id),
    'acked',
  )
  clock.pass(DAY)
  if (day % 4 === 3) await store.prune(KEEP) // as often as the schedule says
}

function sizes(ground: Ground): Record<string, number> {
  return ground.look((database) =>
    Object.fromEntries(
      ['messages', 's2_audit', 's2_sends', 's2_old_sends'].map((table) => [
        table,
        database.prepare(`SELECT count(*) FROM ${table}`).pluck().get() as number,
      ]),
    ),
  )
}

test('over 400 days nothing but files grows, and the trail stays whole', async () => {
  const clock = new MovableClock()
  await using ground = await Ground.make({ clock })
  const store = await ground.open()
  const { id } = await store.openConversation({
    roles: { a: 'orchestrator', b: 'tests' },
    agents: { a: 'orchestrator', b: 's2-worker-1' },
    lifetimeMs: 500 * DAY,
  })
  const [a, b] = [sessionId(id, 'a'), sessionId(id, 'b')]
  const waiting = await store.send(b, 'nobody reads it', { text: 'still there' })
  for (let day = 0; day < 400; day += 1) await liveDay(store, clock, day, id)
  const kept = sizes(ground)
  assert.ok((kept.messages ?? 0) <= 35 * PER_DAY + 1, JSON.stringify(kept))
  assert.equal(kept.s2_sends, kept.messages, 'each message that is there has its key')
  assert.ok((kept.s2_audit ?? 0) <= 35 * (PER_DAY + 4), JSON.stringify(kept))
  assert.equal(
    kept.s2_old_sends,
    400 * PER_DAY - ((kept.s2_sends ?? 0) - 1),
    'while the conversation lives, keys count',
  )
  assert.deepEqual(
    (await store.unacked(a, 0, 10)).map(({ id }) => id),
    [waiting.id],
    'what was not received stays',
  )
  const report = await verify(ground)
  assert.deepEqual(report.faults, [])
  assert.equal(report.first, 1)
  assert.equal(report.entries, report.last, 'every entry once')
  const texts = ground.look((database) => database.prepare('SELECT message FROM messages').pluck().all())
  const sealed = readdirSync(segmentsFolder(ground.path))
    .filter((name) => name.startsWith('messages-'))
    .flatMap((name) =>
      gunzipSync(readFileSync(join(segmentsFolder(ground.path), name)))
        .toString()
        .split('\n')
        .slice(1, -1),
    )
  assert.equal(texts.length + sealed.length, 400 * PER_DAY + 1, 'every message once')
})

test('a key of long ago is one message still, until its conversation is long over', async () => {
  const clock = new MovableClock()
  await using ground = await Ground.make({ clock })
  const store = await ground.open()
  const { opened, a } = await openChannel(store)
  await store.renewConversation(opened.id, 100 * DAY)
  for (let day = 0; day < 40; day += 1) await liveDay(store, clock, day, opened.id)
  const { length } = ground.look((database) => database.prepare('SELECT id FROM messages').all())
  const again = await store.send(a, 'day 0, 3', { text: 'text 0.3' })
  assert.equal(again.id, 4, 'the first message is answered')
  await refused('conflict', store.send(a, 'day 0, 3', { text: 'other' }))
  assert.equal(ground.look((database) => database.prepare('SELECT id FROM messages').all()).length, length)
  await store.send(a, 'never read', { text: 'too late' })
  await store.send(a, 'the newest', { text: 'too late' })
  await store.endConversation(opened.id)
  clock.pass(KEEP + DAY)
  await store.prune(KEEP)
  const { messages, s2_sends, s2_old_sends } = sizes(ground)
  assert.deepEqual([messages, s2_sends, s2_old_sends], [1, 1, 0], 'only the newest message stays, with its key')
  await refused('expired', store.send(a, 'day 0, 3', { text: 'text 0.3' }))
})

test('a crash between a segment and the removal is made good by the next round', async () => {
  const clock = new MovableClock()
  await using ground = await Ground.make({ clock })
  const store = await ground.open()
  const { opened } = await openChannel(store)
  await store.renewConversation(opened.id, 100 * DAY)
  for (let day = 0; day < 3; day += 1) await liveDay(store, clock, day, opened.id)
  clock.pass(KEEP)
  for (const table of ['messages', 's2_audit']) {
    ground.look((database) => {
      database.exec(`CREATE TRIGGER stop BEFORE DELETE ON ${table} BEGIN SELECT RAISE(ABORT, 'the power is gone'); END`)
    })
    const before = sizes(ground)[table] ?? 0
    await assert.rejects(store.prune(KEEP))
    assert.ok((sizes(ground)[table] ?? 0) >= before, table)
    assert.deepEqual(await faults(ground), [], `after a crash at ${table}`)
    ground.look((database) => database.exec('DROP TRIGGER stop'))
  }
  assert.ok((await store.prune(KEEP)) > 0)
  const report = await verify(ground)
  assert.deepEqual(report.faults, [])
  assert.equal(report.entries, report.last)
  assert.equal(report.first, 1)
})

test('where nothing can be written nothing is removed, and it says so', async () => {
  const clock = new MovableClock()
  await using ground = await Ground.make({ clock })
  const store = await ground.open()
  const { opened, a, b } = await openChannel(store)
  await store.renewConversation(opened.id, 100 * DAY)
  const sent = await Promise.all(Array.from({ length: 997 }, (_, n) => store.send(a, `k${n}`, { text: 'x' })))
  const ids = sent.map(({ id }) => id)
  await store.mark(b, ids, 'acked')
  writeFileSync(segmentsFolder(ground.path), 'in the way')
  clock.pass(2 * KEEP)
  const before = sizes(ground)
  const error = await refused('unavailable', store.prune(KEEP))
  assert.match(error.message, /cannot be sealed in .*segments/)
  assert.deepEqual(sizes(ground), before)
  rmSync(segmentsFolder(ground.path))
  assert.equal(before.s2_audit, 1_000, 'whole pages of entries')
  assert.equal(await store.prune(KEEP), 996 + 1_000)
  assert.deepEqual(await faults(ground), [])
})

test('a segment that was altered or removed is found; without segments the database is whole by itself', async () => {
  const clock = new MovableClock()
  await using ground = await Ground.make({ clock })
  const store = await ground.open()
  const { opened } = await openChannel(store)
  await store.renewConversation(opened.id, 100 * DAY)
  for (let day = 0; day < 33; day += 1) await liveDay(store, clock, day, opened.id)
  const head = await headOf(store)
  await store[Symbol.asyncDispose]()
  const folder = segmentsFolder(ground.path)
  assert.deepEqual(await faults(ground, [head]), [])
  for (const kind of ['audit', 'messages']) {
    const name = readdirSync(folder).find((each) => each.startsWith(kind)) ?? ''
    const path = join(folder, name)
    const sound = readFileSync(path)
    writeFileSync(
      path,
      gzipSync(
        gunzipSync(sound).toString().replaceAll('day', 'may').replaceAll('text', 'test').replaceAll('send', 'sand'),
      ),
    )
    assert.match((await faults(ground)).join('\n'), new RegExp(`segment: the segment ${name} was changed`), kind)
    rmSync(path)
    assert.match((await faults(ground)).join('\n'), new RegExp(`segment: ${kind} 1 to .* cannot be read`), kind)
    writeFileSync(path, sound)
  }
  assert.deepEqual(await faults(ground), [])
  ground.look((database) => database.exec('PRAGMA journal_mode = DELETE'))
  const moved = join(ground.folder, 'elsewhere.db')
  copyFileSync(ground.path, moved)
  assert.ok(checkFile(moved).head)
  const alone = await verifyTrail(moved, {
    segments: null,
    heads: [head],
    keys: new Set([key]),
    onProgress: () => undefined,
  })
  assert.deepEqual(alone.faults, [])
  ground.look(
    (database) => database.exec("UPDATE s2_segments SET hash = printf('%064d', 0) WHERE kind = 'audit'"),
    moved,
  )
  const forged = await verifyTrail(moved, { segments: null, heads: [], keys: null, onProgress: () => undefined })
  assert.ok(forged.faults.length > 0)
  const seqs: number[] = []
  for await (const { seq } of readTrail(ground.path, folder)) seqs.push(seq)
  assert.deepEqual(
    seqs,
    Array.from({ length: head.seq }, (_, index) => index + 1),
  )
})
