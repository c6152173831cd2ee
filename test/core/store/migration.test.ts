/** A database that an earlier version of S2 left: it is kept as it was before its tables change. */
import assert from 'node:assert/strict'
import { mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { test } from 'node:test'
import Database from 'better-sqlite3'
import { systemClock } from '#runtime/clock.ts'
import { earlierPath } from '#store/sqlite/backup/keep-earlier.ts'
import { Ground, refused } from './sqlite-ground.ts'

const MIGRATIONS = new URL('../../../services/core/store/sqlite/file/migrations/', import.meta.url)

/** A database as the version with this schema made it. */
function makeEarlier(path: string, schema = 1): void {
  const database = new Database(path)
  database.pragma('journal_mode = WAL')
  const names = readdirSync(MIGRATIONS).filter((name) => /^\d/.test(name) && Number(name.slice(0, 4)) <= schema)
  for (const [index, name] of names.sort().entries()) {
    database.exec(readFileSync(new URL(name, MIGRATIONS), 'utf8'))
    database.prepare('INSERT INTO s2_migrations VALUES (?, ?, 0)').run(index + 1, name)
  }
  database.close()
}

function say(database: Database.Database, text: string): void {
  database
    .prepare(
      'INSERT INTO messages (conversation_id, from_session, to_session, message, timestamp) VALUES (?, ?, ?, ?, ?)',
    )
    .run('conv_0123456789abcdef', 'a', 'b', text, '2026-01-01T00:00:00')
}

const schemaOf = (database: Database.Database): unknown =>
  database.prepare('SELECT max(version) FROM s2_migrations').pluck().get()
const textsOf = (database: Database.Database): unknown => database.prepare('SELECT message FROM messages').pluck().all()

test('what an earlier version left is copied before its tables change, once', async () => {
  await using ground = await Ground.make()
  makeEarlier(ground.path)
  ground.look((database) => say(database, 'from before'))
  await (await ground.open())[Symbol.asyncDispose]()
  const copy = earlierPath(ground.path, 1)
  assert.equal(ground.look(schemaOf, copy), 1)
  assert.deepEqual(ground.look(textsOf, copy), ['from before'])
  assert.equal(statSync(copy).mode & 0o777, 0o600)
  assert.notEqual(ground.look(schemaOf), 1)
  assert.deepEqual(ground.look(textsOf), ['from before'])
  assert.equal(ground.log.records.filter(({ event }) => event === 'database copied before its tables change').length, 1)
  await ground.open()
  assert.equal(ground.log.records.filter(({ event }) => event === 'database copied before its tables change').length, 1)
})

test('an alert that an earlier version left is still told', async () => {
  await using ground = await Ground.make()
  makeEarlier(ground.path)
  const hour = 3_600_000
  ground.look((database) => {
    database.exec("INSERT INTO s2_incidents VALUES (7, 'x', 'silent', NULL, 'x is silent', 1, NULL)")
    database.exec(`INSERT INTO s2_alerts VALUES (7, 'opened', 'log', 2, ${Date.now() + hour})`)
  })
  await using store = await ground.open()
  const [alert] = await store.claimAlerts(['log'], hour)
  assert.deepEqual([alert?.incident.cause, alert?.incident.outcome, alert?.attempts], ['x', null, 2])
})

test('tasks that an earlier version left keep their holders: a late report is of an epoch of then', async () => {
  await using ground = await Ground.make()
  makeEarlier(ground.path, 6)
  const [former, present] = ['conv_0123456789abcdef', 'conv_fedcba9876543210']
  ground.look((database) => {
    for (const id of [former, present]) {
      database
        .prepare(
          "INSERT INTO conversations VALUES (?, 'o', 'w', 'x', 'x', '2026-01-01T00:00:00', '2999-01-01T00:00:00')",
        )
        .run(id)
      database.prepare("INSERT INTO s2_task_holders VALUES ('T', ?)").run(`${id}/b`)
    }
    database
      .prepare(
        `INSERT INTO s2_tasks (id, description, priority, state, epoch, holder, original_assignee, lease_seq, moves, created_at, updated_at)
          VALUES ('T', 'x', 'P2', 'assigned', 3, ?, ?, 0, 2, 1, 1)`,
      )
      .run(`${present}/b`, `${former}/b`)
  })
  await using store = await ground.open()
  const text = (summary: string): string => JSON.stringify({ type: 'task_completed', task_id: 'T', summary })
  await store.send(`${former}/b`, 'k', { text: text('late') })
  await store.send(`${present}/b`, 'k', { text: text('in time') })
  assert.equal((await store.task('T')).result?.tail, 'in time')
  const late = await store.evidence('T')
  assert.deepEqual(
    late.map(({ report }) => [report.epoch, report.result?.tail]),
    [[1, 'late']],
  )
})

test('a new database is not copied', async () => {
  await using ground = await Ground.make()
  await ground.open()
  assert.equal(statSync(earlierPath(ground.path, 0), { throwIfNoEntry: false }), undefined)
  assert.equal(ground.log.records.filter(({ event }) => event.startsWith('database copied')).length, 0)
})

test('what others commit until the tables change is in the copy', async () => {
  const waits = Promise.withResolvers<void>()
  const sleep: typeof systemClock.sleep = async (...wait) => {
    waits.resolve()
    await systemClock.sleep(...wait)
  }
  await using ground = await Ground.make({ clock: { ...systemClock, sleep } })
  makeEarlier(ground.path)
  const other = new Database(ground.path)
  other.exec('BEGIN IMMEDIATE')
  say(other, 'at the last moment')
  const opening = ground.open()
  await waits.promise
  other.exec('COMMIT')
  other.close()
  await opening
  assert.deepEqual(ground.look(textsOf, earlierPath(ground.path, 1)), ['at the last moment'])
})

test('where it cannot be copied, its tables stay', async () => {
  await using ground = await Ground.make()
  makeEarlier(ground.path)
  mkdirSync(earlierPath(ground.path, 1))
  const error = await refused('unavailable', ground.open())
  assert.match(error.message, /cannot be copied to .*schema-1/)
  assert.equal(ground.look(schemaOf), 1)
})
