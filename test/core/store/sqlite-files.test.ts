/** The identity of a database is that of its three files and its content: what S2 does when others change them under it. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { copyFileSync, existsSync, renameSync, rmSync } from 'node:fs'
import { basename } from 'node:path'
import { test } from 'node:test'
import type { Store } from '#store/store.ts'
import { heldBeside } from '#store/sqlite/backup/held-copy.ts'
import { until } from '../../until.ts'
import { type Channel, Ground, openChannel, refused } from './sqlite-ground.ts'

/** Asks a database in another process: this one has connections that were left open, whose index it would share. */
function lookApart(path: string): { readonly check: string; readonly texts: readonly string[] } {
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
async function prepared(): Promise<{ ground: Ground; store: Store; channel: Channel; broken: Error[] }> {
  const broken: Error[] = []
  const ground = await Ground.make({ onBroken: (error) => broken.push(error) })
  const store = await ground.open()
  const channel = await openChannel(store)
  await store.send(channel.a, 'k1', { text: 'in the file' })
  ground.look((database) => database.pragma('wal_checkpoint(PASSIVE)'))
  await store.send(channel.a, 'k2', { text: 'in the log' })
  return { ground, store, channel, broken }
}

/** Sends a message as the Python bridge does, by another process with a connection of its own. */
function sendApart(path: string, text: string): void {
  const script = `
    import Database from 'better-sqlite3'
    const database = new Database(process.argv[1], { fileMustExist: true, timeout: 5000 })
    database.pragma('journal_mode = WAL')
    database.prepare("INSERT INTO messages (conversation_id, from_session, to_session, message, timestamp) VALUES ('c', 'a', 'b', ?, '2026-01-01T00:00:00')").run(process.argv[2])`
  const { status, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script, path, text], {
    encoding: 'utf8',
  })
  assert.equal(status, 0, stderr)
}

function removeLog(path: string): void {
  for (const suffix of ['-wal', '-shm']) rmSync(path + suffix)
}

test('a log that is removed is put back, and each side has all that it was told', async () => {
  const { ground, store, channel, broken } = await prepared()
  await using _ = ground
  removeLog(ground.path)
  const refusal = await refused('unavailable', store.send(channel.a, 'k3', { text: 'never told' }))
  assert.match(refusal.message, /bridge\.db-wal or .*bridge\.db-shm was removed while S2 had it open/)
  await until('it is told', () => broken.length > 0)
  assert.match(String(broken), /the log is back in its place, and nothing is lost/)
  sendApart(ground.path, 'of the other side')
  await store[Symbol.asyncDispose]()
  assert.deepEqual(lookApart(ground.path), { check: 'ok', texts: ['in the file', 'in the log', 'of the other side'] })
  assert.deepEqual(heldBeside(ground.path), [])
  assert.equal(broken.length, 1)
})

test('another log takes its place: what S2 held is kept, and what others wrote is left', async () => {
  const { ground, store, channel, broken } = await prepared()
  await using _ = ground
  removeLog(ground.path)
  sendApart(ground.path, 'of the other side')
  await refused('unavailable', store.send(channel.a, 'k3', { text: 'never told' }))
  await until('it is told', () => broken.length > 0)
  sendApart(ground.path, 'later')
  await store[Symbol.asyncDispose]()
  assert.deepEqual(lookApart(ground.path), { check: 'ok', texts: ['in the file', 'of the other side', 'later'] })
  const [held = '', ...more] = heldBeside(ground.path)
  assert.deepEqual(more, [])
  assert.match(String(broken), new RegExp(`another log took the place .* what S2 held is in .*${basename(held)}`))
  assert.deepEqual(lookApart(held), { check: 'ok', texts: ['in the file', 'in the log'] })
})

test('a file that is removed or replaced is kept as it was, and its log does not reach another one', async () => {
  for (const how of ['removed', 'replaced']) {
    const { ground, store, channel, broken } = await prepared()
    await using _ = ground
    const other = `${ground.path}.other`
    ground.look((database) => database.exec(`VACUUM INTO '${other}'`))
    await store.send(channel.a, 'k3', { text: 'after the copy' })
    if (how === 'removed') rmSync(ground.path)
    else renameSync(other, ground.path)
    await refused('unavailable', store.send(channel.a, 'k4', { text: 'into the void' }))
    await until('it is told', () => broken.length > 0)
    await store[Symbol.asyncDispose]()
    const [held = ''] = heldBeside(ground.path)
    assert.deepEqual(lookApart(held), { check: 'ok', texts: ['in the file', 'in the log', 'after the copy'] }, how)
    assert.ok(!existsSync(`${ground.path}-wal`), how)
    if (how === 'removed') {
      const refusal = await refused('unavailable', ground.open())
      assert.match(refusal.message, /is missing, and what S2 held when it was removed is in .*\.held-/)
      renameSync(held, ground.path)
    } else assert.deepEqual(lookApart(ground.path), { check: 'ok', texts: ['in the file', 'in the log'] })
    const again = await ground.open()
    assert.equal((await again.unacked(channel.b, 0, 10)).length, how === 'removed' ? 3 : 2)
  }
})

test('a copy over the file is noticed before anything is written into it', async () => {
  const { ground, store, channel, broken } = await prepared()
  await using _ = ground
  const copy = `${ground.path}.copy`
  ground.look((database) => database.exec(`VACUUM INTO '${copy}'`))
  await store.send(channel.a, 'k3', { text: 'after the copy' })
  ground.look((database) => database.pragma('wal_checkpoint(PASSIVE)'))
  await store.send(channel.a, 'k4', { text: 'last' })
  copyFileSync(copy, ground.path)
  await refused('unavailable', store.send(channel.a, 'k5', { text: 'into the void' }))
  await until('it is told', () => broken.length > 0)
  await store[Symbol.asyncDispose]()
  assert.deepEqual(lookApart(ground.path), { check: 'ok', texts: ['in the file', 'in the log'] })
  assert.match(String(broken), /was written over while S2 had it open; what S2 held is in .*\.held-/)
  const [held = ''] = heldBeside(ground.path).filter((each) => !each.includes('-wal'))
  assert.deepEqual(lookApart(held).texts.at(-1), 'last')
})
