/** An earlier state of the database that others put back by way of SQLite, and ids of messages that begin anew. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { copyFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import type Database from 'better-sqlite3'
import type { SessionId } from '#fleet/session-id.ts'
import type { Task } from '#fleet/task.ts'
import { systemClock } from '#runtime/clock.ts'
import type { Store } from '#store/store.ts'
import { until } from '../../until.ts'
import { type Channel, Ground, noPython, openChannel, refused } from './sqlite-ground.ts'

interface Scene {
  readonly ground: Ground
  readonly store: Store
  readonly channel: Channel
  readonly broken: Error[]
  pass(ms: number): void
}

async function makeScene(): Promise<Scene> {
  const broken: Error[] = []
  let ahead = 0
  const clock = { ...systemClock, wall: () => systemClock.wall() + ahead, now: () => systemClock.now() + ahead }
  const ground = await Ground.make({ clock, onBroken: (error) => broken.push(error) })
  const store = await ground.open()
  const channel = await openChannel(store)
  await tend(store)
  const pass = (ms: number): void => {
    ahead += ms
  }
  return { ground, store, channel, broken, pass }
}

async function tend(store: Store): Promise<void> {
  for (let round = 0; round < 3; round += 1) await store.tend()
}

const BACKUP = `
import sqlite3, sys
source, target = sqlite3.connect(sys.argv[1], timeout=10), sqlite3.connect(sys.argv[2], timeout=10)
source.backup(target)
target.close()`

/** Copies a database through SQLite, also into one that is in use, as \`.restore\` and Python's \`Connection.backup()\` do. */
function copyThroughSqlite(from: string, to: string): void {
  const { status, stderr } = spawnSync('python3', ['-c', BACKUP, from, to], { encoding: 'utf8' })
  assert.equal(status, 0, stderr)
}

function insert(database: Database.Database, conversation: string, text: string): number {
  const sql = `INSERT INTO messages (conversation_id, from_session, to_session, message, timestamp)
    VALUES (?, 'a', 'b', ?, '2026-01-01T00:00:00.000000')`
  return Number(database.prepare(sql).run(conversation, text).lastInsertRowid)
}

async function unread(store: Store, reader: SessionId): Promise<readonly (readonly [number, string])[]> {
  return (await store.unacked(reader, 0, 100)).map(({ id, text }) => [id, text] as const)
}

/** Three messages that are in no backup, and the backup put back under the store. */
async function putBack({ ground, store, channel }: Scene): Promise<string> {
  const old = join(ground.folder, 'old.db')
  copyThroughSqlite(ground.path, old)
  for (const name of ['pre-1', 'pre-2', 'pre-3']) await store.send(channel.a, name, { text: name })
  copyThroughSqlite(old, ground.path)
  return old
}

const history = (title: string, play: (scene: Scene) => Promise<void>): void => {
  test(title, { skip: noPython }, async () => {
    const scene = await makeScene()
    await using _ = scene.ground
    await play(scene)
  })
}

history('an earlier state that is put back under a store takes no message, and ends the program', async (scene) => {
  const { ground, store, channel, broken } = scene
  await putBack(scene)
  const refusal = await refused('unavailable', store.send(channel.a, 'post-1', { text: 'post-1' }))
  assert.match(refusal.message, /an earlier state of .*bridge\.db was put back while S2 had it open/)
  await refused('unavailable', store.mark(channel.b, [1, 2, 3], 'acked'))
  await refused('unavailable', store.tend())
  assert.deepEqual(broken, [refusal])
  assert.equal(
    ground.look((database) => database.prepare('SELECT count(*) FROM messages').pluck().get()),
    0,
  )
})

history('a store that is idle notices it at its next look', async (scene) => {
  await putBack(scene)
  await refused('unavailable', scene.store.tend())
  assert.equal(scene.broken.length, 1)
})

history(
  'after the next start no id comes again that a host has seen, and what others sent meanwhile is delivered',
  async (scene) => {
    const { ground, store, channel } = scene
    await store.addTask({
      id: 'T',
      description: 'x',
      priority: 'P1',
      role: null,
      holder: channel.b,
      deadline: null,
      createdBy: null,
    })
    await tend(store)
    const before = (await store.task('T')).epoch
    await putBack(scene)
    await refused('unavailable', store.tend())
    assert.equal(
      ground.look((database) => insert(database, channel.opened.id, 'of Python')),
      2,
    )
    await store[Symbol.asyncDispose]()
    ground.look((database) => insert(database, channel.opened.id, 'of Python, while S2 was away'))
    const again = await ground.open()
    const { id } = await again.send(channel.a, 'post-1', { text: 'post-1' })
    await again.mark(channel.b, [1, 2, 3, 4], 'acked') // of what a host had
    const found = await unread(again, channel.b)
    assert.deepEqual(
      found.map(([, text]) => text).filter((text) => !text.includes('task_assignment')),
      ['of Python', 'of Python, while S2 was away', 'post-1'],
    )
    assert.ok(found.every(([each]) => each > 1_000_000) && id === found.at(-1)?.[0], JSON.stringify(found))
    assert.ok((await again.task('T')).epoch > before)
    const [incident] = await again.incidents({ open: false })
    assert.match(incident?.summary ?? '', /an earlier state of the database was put back without s2 restore/)
    assert.match(incident?.outcome ?? '', /new messages have ids from \d+ on, and \d unread messages got new ones/)
    const acts = await again.audit(0, 1000)
    assert.ok(acts.some(({ action }) => action === 'database_restored'))
    await again[Symbol.asyncDispose]()
    const third = await ground.open()
    assert.equal((await third.send(channel.a, 'post-2', { text: 'post-2' })).id, id + 1, 'it is done once')
  },
)

history(
  'a backup that is copied into the place of the database while S2 is away is noticed at the start',
  async (scene) => {
    const { ground, store, channel } = scene
    const old = join(ground.folder, 'old.db')
    copyThroughSqlite(ground.path, old)
    for (const name of ['pre-1', 'pre-2']) await store.send(channel.a, name, { text: name })
    await store[Symbol.asyncDispose]()
    for (const suffix of ['-wal', '-shm']) rmSync(ground.path + suffix, { force: true })
    copyFileSync(old, ground.path)
    const again = await ground.open()
    assert.ok((await again.send(channel.a, 'post-1', { text: 'post-1' })).id > 1_000_000)
  },
)

const RESET = "DELETE FROM messages; DELETE FROM sqlite_sequence WHERE name = 'messages'"

history(
  'where only the ids of messages begin anew, they are raised at once, and tasks and mail are taken in',
  async (scene) => {
    const { ground, store, channel, broken } = scene
    for (const name of ['pre-1', 'pre-2', 'pre-3']) await store.send(channel.a, name, { text: name })
    await tend(store)
    const task = JSON.stringify({ type: 'task_assignment', task_id: 'T', description: 'x', priority: 'P1' })
    ground.look((database) => {
      database.exec(RESET)
      assert.equal(insert(database, channel.opened.id, task), 1)
    })
    const tasks = async (): Promise<readonly Task[]> => {
      await store.tend()
      return await store.tasks({})
    }
    await until('the task is taken in', async () => (await tasks())[0]?.holder === channel.b)
    const [mail] = await unread(store, channel.b)
    assert.ok((mail?.[0] ?? 0) > 1_000_000 && mail?.[1] === task)
    assert.deepEqual(broken, [])
    assert.match((await store.incidents({ open: false }))[0]?.summary ?? '', /began to give ids again/)
    assert.equal(ground.log.records.filter(({ event }) => /ids of messages began anew/.test(event)).length, 1)
    ground.look((database) => database.exec(RESET))
    await store.mark(channel.b, [1], 'acked')
    assert.ok((await store.send(channel.a, 'post', { text: 'post' })).id > 2_000_000)
  },
)

history('two stores that write, rows that are removed and history that is sealed are no step back', async (scene) => {
  const { ground, store, channel, broken, pass } = scene
  const other = await ground.open()
  for (let round = 0; round < 20; round += 1) {
    await (round % 2 === 0 ? store : other).send(channel.a, `k${round}`, { text: 'x' })
    ground.look((database) => database.exec('DELETE FROM messages WHERE id % 3 = 0; VACUUM'))
    await Promise.all([store.tend(), other.tend()])
  }
  pass(1_000)
  assert.ok((await other.prune(0)) > 0)
  await store.send(channel.a, 'last', { text: 'x' })
  await Promise.all([store.tend(), other.tend()])
  assert.deepEqual(broken, [])
  assert.equal((await store.incidents({ open: false })).length, 0)
})
