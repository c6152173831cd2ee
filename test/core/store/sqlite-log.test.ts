/** What is in the log of an open database: what S2 does when others truncate it, write over it, or put an earlier state back. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  copyFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { basename, join } from 'node:path'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { heldBeside } from '#store/sqlite/backup/held-copy.ts'
import { restoreDatabase } from '#store/sqlite/backup/restore.ts'
import { DatabaseFiles, descriptorOf } from '#store/sqlite/file/database-files.ts'
import { identify } from '#store/sqlite/file/database-path.ts'
import { roomIn } from '#store/sqlite/file/disk-room.ts'
import { readLogIndex } from '#store/sqlite/file/log-index.ts'
import type { Store } from '#store/store.ts'
import { until } from '../../until.ts'
import { committing, doApart, lookApart, prepared, sendApart } from './sqlite-apart.ts'
import { removeLog } from './sqlite-deeds.ts'
import { type Channel, Ground, openChannel, refused } from './sqlite-ground.ts'

const BEFORE = ['in the file', 'in the log', 'of the other side']

/** Sends until it is refused. Answers what was acknowledged. */
async function sendOn(store: Store, { a }: Channel): Promise<string[]> {
  const acknowledged: string[] = []
  for (let number = 0; ; number += 1) {
    try {
      await store.send(a, `on-${number}`, { text: `on ${number}` })
      acknowledged.push(`on ${number}`)
    } catch (error) {
      assert.match(String(error), /bridge\.db/)
      return acknowledged
    }
  }
}

/** What a program finds that opens the database when this process, whose connections were left open, has ended. */
function lookLater(path: string): ReturnType<typeof lookApart> {
  const later = `${path}.later`
  for (const suffix of ['', '-wal']) copyFileSync(path + suffix, later + suffix)
  return lookApart(later)
}

/** By another process: to open and close the files here would drop the locks that this one has on them. */
function copyApart(from: string, to: string, names: readonly string[]): void {
  assert.equal(spawnSync('cp', [...names.map((name) => join(from, name)), to]).status, 0)
}

/** Writes the earlier content of a log over it, in its place. */
function writeOver(path: string): () => void {
  const earlier = readFileSync(`${path}-wal`)
  return () => writeFileSync(`${path}-wal`, earlier)
}

test('a log that is truncated or written over in its place loses nothing that was acknowledged', async () => {
  for (const how of ['truncated', 'written over']) {
    const { ground, store, channel, broken } = await prepared()
    await using _ = ground
    const restore = writeOver(ground.path)
    sendApart(ground.path, 'of the other side')
    const told: string[] = []
    const sending = sendOn(store, channel).then((texts) => told.push(...texts))
    for (let turns = 0; turns < 50; turns += 1) await turn()
    if (how === 'truncated') truncateSync(`${ground.path}-wal`, 0)
    else restore()
    await sending
    await until('it is told', () => broken.length > 0)
    await store[Symbol.asyncDispose]()
    assert.match(String(broken), /bridge\.db-wal was written over while S2 had it open; what S2 held is in .*\.held-/)
    const [held = '', ...more] = heldBeside(ground.path)
    assert.deepEqual(more, [], how)
    const { check, texts } = lookApart(held)
    assert.equal(check, 'ok')
    assert.deepEqual(texts.slice(0, BEFORE.length + told.length), [...BEFORE, ...told], how)
    assert.equal(lookLater(ground.path).check, 'ok', how)
  }
})

test('an idle store notices a log that is written over, and a reader beside it ends as well', async () => {
  const { ground, store, channel, broken } = await prepared()
  await using _ = ground
  const reader = await ground.open('read')
  await reader.unacked(channel.b, 0, 10)
  truncateSync(`${ground.path}-wal`, 0)
  await refused('unavailable', store.tend())
  await until('the reader notices', async () => (await reader.unacked(channel.b, 0, 10).catch(() => null)) === null)
  await until('both tell it', () => broken.length === 2)
  await reader[Symbol.asyncDispose]()
  await store[Symbol.asyncDispose]()
  const [held = '', ...more] = heldBeside(ground.path)
  assert.deepEqual(more, [])
  assert.deepEqual(lookApart(held), { check: 'ok', texts: ['in the file', 'in the log'] })
  assert.deepEqual(lookLater(ground.path), { check: 'ok', texts: ['in the file'] })
})

test('a database of which all lay in a log that is gone is not begun anew beside its held copy', async () => {
  const broken: Error[] = []
  await using ground = await Ground.make({ onBroken: (error) => broken.push(error) })
  const store = await ground.open()
  const channel = await openChannel(store)
  await store.send(channel.a, 'k1', { text: 'in the log' })
  truncateSync(`${ground.path}-wal`, 0)
  await refused('unavailable', store.tend())
  await until('it is told', () => broken.length > 0)
  await store[Symbol.asyncDispose]()
  const [held = ''] = heldBeside(ground.path)
  const later = join(ground.folder, 'later')
  mkdirSync(later)
  copyApart(ground.folder, later, [basename(ground.path), basename(held)])
  const path = join(later, basename(ground.path))
  const refusal = await refused('unavailable', ground.open('write', path))
  assert.match(refusal.message, /holds nothing any more, and what S2 held of it is in .*\.held-/)
  const backup = join(later, basename(held))
  await restoreDatabase({ backup, database: path }, { ...ground.parts, roomIn, sign: null })
  const again = await ground.open('write', path)
  assert.equal((await again.unacked(channel.b, 0, 10)).length, 1)
})

test('a commit during which the log is truncated is of unknown outcome', async () => {
  const { ground, store } = await prepared()
  await using _ = ground
  await store[Symbol.asyncDispose]()
  sendApart(ground.path, 'before')
  const { connection, groupCommit } = committing(ground.path)
  await groupCommit.write(() => connection.run('UPDATE messages SET read = 1'))
  const act = () => {
    connection.run('DELETE FROM messages')
    truncateSync(`${ground.path}-wal`, 0)
  }
  const refusal = await refused('unknown_outcome', groupCommit.write(act))
  assert.match(refusal.message, /were changed by others during a commit; it may have happened/)
  connection.abandon()
})

test('an earlier state that is put back over all three files is no news of a checkpoint', async () => {
  const { ground, store, channel, broken } = await prepared()
  await using _ = ground
  const earlier = join(ground.folder, 'earlier')
  mkdirSync(earlier)
  const names = ['', '-shm', '-wal'].map((suffix) => `${basename(ground.path)}${suffix}`)
  copyApart(ground.folder, earlier, names)
  doApart(ground.path, "database.pragma('wal_checkpoint(RESTART)')")
  for (const text of ['later', 'last']) await store.send(channel.a, text, { text })
  copyApart(earlier, ground.folder, names)
  await refused('unavailable', store.tend())
  await until('it is told', () => broken.length > 0)
  await store[Symbol.asyncDispose]()
  assert.match(String(broken), /an earlier state of .*bridge\.db was put in its place/)
  const [held = '', ...more] = heldBeside(ground.path)
  assert.deepEqual(more, [])
  assert.deepEqual(lookApart(held), { check: 'ok', texts: ['in the file', 'in the log', 'later', 'last'] })
  assert.deepEqual(lookLater(ground.path), { check: 'ok', texts: ['in the file', 'in the log'] })
})

test('what SQLite cannot read in a log that others changed is not the fault of the disk', async () => {
  const { ground, store, channel, broken } = await prepared()
  await using _ = ground
  await store.tend()
  sendApart(ground.path, 'of the other side')
  await store.unacked(channel.b, 0, 10) // after this look there is none for a while
  sendApart(ground.path, 'of the other side')
  await store.unacked(channel.b, 0, 10)
  truncateSync(`${ground.path}-wal`, 0)
  const refusal = await refused(
    'unavailable',
    store.unacked(channel.b, 0, 10).then(() => store.tend()),
  )
  assert.match(refusal.message, /bridge\.db-wal was written over/)
  await until('it is told', () => broken.length > 0)
  assert.ok(!ground.log.records.some((record) => /the disk that holds/.test(JSON.stringify(record))))
})

test('a log that is put back and removed again is put back again, with what others wrote into it', async () => {
  const { ground, store, broken } = await prepared()
  await using _ = ground
  removeLog(ground.path)
  await refused('unavailable', store.tend())
  await until('it is told', () => broken.length > 0)
  sendApart(ground.path, 'of the other side')
  removeLog(ground.path)
  await store[Symbol.asyncDispose]()
  assert.deepEqual(lookApart(ground.path), { check: 'ok', texts: BEFORE })
  assert.ok(ground.log.records.some(({ event }) => event === 'log of the database in its place, nothing is lost'))
})

test('where another log takes the place of one that was put back, what S2 held is kept', async () => {
  const { ground, store, broken } = await prepared()
  await using _ = ground
  removeLog(ground.path)
  await refused('unavailable', store.tend())
  await until('it is told', () => broken.length > 0)
  rmSync(`${ground.path}-wal`)
  sendApart(ground.path, 'of the other side')
  await store[Symbol.asyncDispose]()
  assert.ok(!ground.log.records.some(({ event }) => /nothing is lost/.test(event)))
  const [held = ''] = heldBeside(ground.path)
  assert.deepEqual(lookApart(held), { check: 'ok', texts: ['in the file', 'in the log'] })
})

test('a log that does not begin as one is set aside before SQLite throws it away', async () => {
  const { ground, store, channel } = await prepared()
  await using _ = ground
  const log = readFileSync(`${ground.path}-wal`)
  await store[Symbol.asyncDispose]()
  writeFileSync(`${ground.path}-wal`, log.fill(0, 0, 32))
  const again = await ground.open()
  const [aside = '', ...more] = heldBeside(ground.path)
  assert.deepEqual(more, [])
  assert.ok(basename(aside).startsWith('bridge.db-wal.held-'), aside)
  assert.deepEqual(readFileSync(aside), log)
  assert.ok(ground.log.records.some(({ event }) => event === 'log of the database set aside'))
  assert.equal((await again.unacked(channel.b, 0, 10)).length, 2)
  await again[Symbol.asyncDispose]()
  await (await ground.open())[Symbol.asyncDispose]()
  assert.equal(readdirSync(ground.folder).filter((name) => name.includes('.held-')).length, 1)
})

/** Writes as fast as it can, in short and long transactions, with a connection for each or for many, and checkpoints of all kinds. */
const STORM = `
  import Database from 'better-sqlite3'
  const pick = (...all) => all[Math.floor(Math.random() * all.length)]
  for (;;) {
    const database = new Database(process.argv[1], { timeout: 60_000 })
    database.pragma('journal_mode = WAL')
    database.pragma('wal_autocheckpoint = ' + pick(1, 10, 1000))
    database.pragma('synchronous = ' + pick('OFF', 'NORMAL'))
    database.pragma('cache_size = ' + pick(5, 2000))
    const put = database.prepare('INSERT INTO storm VALUES (?)')
    const write = database.transaction((rows) => {
      for (let n = 0; n < rows; n += 1) put.run('x'.repeat(Math.random() * 3000))
      if (Math.random() < 0.1) throw new Error('undone')
    })
    for (let n = pick(1, 1, 20); n > 0; n -= 1) {
      try {
        write(pick(1, 1, 1, 50, 500))
        const how = pick('', '', '', 'PASSIVE', 'FULL', 'RESTART', 'TRUNCATE')
        if (how !== '') database.pragma('wal_checkpoint(' + how + ')')
        if (Math.random() < 0.03) database.exec('DELETE FROM storm')
      } catch {}
    }
    if (Math.random() < 0.9) database.close()
  }`

/** How long writers storm, milliseconds. */
const STORM_MS = Number(process.env.STORM_MS ?? 4000)

test('writers that begin the log anew without a pause give no doubt, nor does their death', async (context) => {
  const { ground, store, broken } = await prepared()
  await using _ = ground
  ground.look((database) => database.exec('CREATE TABLE storm (x)'))
  const main = identify(ground.path)
  assert.ok(main)
  using files = new DatabaseFiles(ground.path, main, { keepsPages: true })
  const storm = (): ChildProcess =>
    spawn(process.execPath, ['--input-type=module', '-e', STORM, ground.path], { stdio: 'inherit' })
  const children = [storm(), storm(), storm()]
  const size = statSync(ground.path).size
  await until('they write', () => statSync(ground.path).size > size)
  const index = files.index === null ? null : descriptorOf(files.index)
  assert.ok(index !== null)
  const logs = new Set<unknown>()
  const end = performance.now() + STORM_MS
  let looks = 0
  for (; performance.now() < end; looks += 1) {
    assert.equal(files.look(), null)
    if (looks % 10 === 0) logs.add(readLogIndex(index)?.salt)
    if (looks % 500 === 0) await turn()
    if (looks % 20_000 === 19_999) {
      const [child] = children.splice(0, 1, storm())
      child?.kill('SIGKILL')
    }
  }
  for (const child of children) {
    child.kill('SIGKILL')
    await once(child, 'exit')
  }
  assert.equal(files.look(), null)
  assert.deepEqual(broken, [])
  assert.ok(logs.size > 3)
  context.diagnostic(`${looks} looks at ${logs.size} beginnings of the log`)
  await store[Symbol.asyncDispose]()
})
