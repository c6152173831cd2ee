/** The identity of a database is that of its three files and its content: what S2 does when others change them under it. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { copyFileSync, existsSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { basename } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { heldBeside } from '#store/sqlite/backup/held-copy.ts'
import { restoreDatabase } from '#store/sqlite/backup/restore.ts'
import { DatabaseFiles } from '#store/sqlite/file/database-files.ts'
import { identify } from '#store/sqlite/file/database-path.ts'
import { roomIn } from '#store/sqlite/file/disk-room.ts'
import { until } from '../../until.ts'
import { committing, lookApart, prepared, sendApart } from './sqlite-apart.ts'
import { DEEDS, removeLog } from './sqlite-deeds.ts'
import { Ground, refused } from './sqlite-ground.ts'

test('a log that is removed is put back, and each side has all that it was told', async () => {
  const { ground, store, channel, broken } = await prepared()
  await using _ = ground
  removeLog(ground.path)
  const refusal = await refused('unavailable', store.send(channel.a, 'k3', { text: 'never told' }))
  assert.match(refusal.message, /bridge\.db-wal or .*bridge\.db-shm was removed while S2 had it open/)
  await until('it is told', () => broken.length > 0)
  assert.match(String(broken), /the log was put back into its place/)
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
    } else {
      assert.deepEqual(lookApart(ground.path), { check: 'ok', texts: ['in the file', 'in the log'] })
      await restoreDatabase({ backup: held, database: ground.path }, { ...ground.parts, roomIn, sign: null })
    }
    const again = await ground.open()
    assert.equal((await again.unacked(channel.b, 0, 10)).length, 3)
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

test('a process that is told so, and then ends by itself, leaves the log of others in its place', async () => {
  await using ground = await Ground.make()
  await (await ground.open())[Symbol.asyncDispose]()
  const deed = `
    import Database from 'better-sqlite3'
    import { rmSync } from 'node:fs'
    const path = ${JSON.stringify(ground.path)}
    for (const suffix of ['-wal', '-shm']) rmSync(path + suffix)
    const database = new Database(path)
    database.exec("INSERT INTO messages (conversation_id, from_session, to_session, message, timestamp) VALUES ('c', 'a', 'b', 'of others', '2026-01-01T00:00:00')")
    process.exit()`
  const victim = await ground.startScript(new URL('./sqlite-files-victim.ts', import.meta.url), ground.path, deed)
  assert.equal((await victim.hear()).isOpen, true)
  assert.match(String((await victim.hear()).broken), /another log took the place/)
  await victim.hearOut()
  assert.ok(existsSync(`${ground.path}-wal`), 'the log of others was removed')
  assert.deepEqual(lookApart(ground.path), { check: 'ok', texts: ['of others'] })
})

test('programs that hold one database keep it once', async () => {
  for (const [name, deed] of Object.entries(DEEDS)) {
    const { ground, store, broken } = await prepared()
    await using _ = ground
    const decoy = `${ground.path}.held-20200101T000000.000Z-${statSync(`${ground.path}-wal`).ino}`
    writeFileSync(decoy, 'of another time, when a log had the same file number')
    const other = await ground.startScript(new URL('./sqlite-files-victim.ts', import.meta.url), ground.path)
    assert.equal((await other.hear()).isOpen, true)
    deed(ground.path)
    await until('it is told', async () => {
      await store.tend().catch(() => undefined)
      return broken.length > 0
    })
    assert.match(String((await other.hear()).broken), /while S2 had it open/)
    await other.hearOut()
    await store[Symbol.asyncDispose]()
    const held = heldBeside(ground.path).filter((each) => each !== decoy && !each.includes('-wal.'))
    assert.equal(held.length, name === 'robbed of its log' ? 0 : 1, `${name}: ${held}`)
    const whole = held[0] ?? ground.path
    const found = lookApart(whole)
    assert.deepEqual(found.texts, ['in the file', 'in the log'], name)
    if (name !== 'written over') assert.equal(found.check, 'ok', name) // pages that were only in the file are gone
  }
})

test('where only the index or only the log is removed, others go on in the same log', async () => {
  for (const suffix of ['-shm', '-wal']) {
    const { ground, store } = await prepared()
    await using _ = ground
    const deed = `
      import { rmSync } from 'node:fs'
      rmSync(${JSON.stringify(ground.path + suffix)})`
    const victim = await ground.startScript(new URL('./sqlite-files-victim.ts', import.meta.url), ground.path)
    assert.equal((await victim.hear()).isOpen, true)
    await store[Symbol.asyncDispose]()
    sendApart(ground.path, 'before')
    spawnSync(process.execPath, ['--input-type=module', '-e', deed])
    if (suffix === '-shm') sendApart(ground.path, 'meanwhile')
    assert.match(String((await victim.hear()).broken), /while S2 had it open/)
    await victim.hearOut()
    sendApart(ground.path, 'later')
    const texts = ['in the file', 'in the log', 'before', ...(suffix === '-shm' ? ['meanwhile'] : []), 'later']
    assert.deepEqual(lookApart(ground.path), { check: 'ok', texts }, suffix)
  }
})

test('a commit during which the files are changed is of unknown outcome', async () => {
  await using ground = await Ground.make()
  await (await ground.open())[Symbol.asyncDispose]()
  const { connection, groupCommit } = committing(ground.path, () => assert.fail('nobody may be told of it'))
  const act = () => {
    connection.run('DELETE FROM messages')
    rmSync(`${ground.path}-wal`)
  }
  const refusal = await refused('unknown_outcome', groupCommit.write(act))
  assert.match(refusal.message, /were changed by others during a commit; it may have happened/)
  assert.equal((await refused('unavailable', groupCommit.write(act))).message, 'in doubt')
  connection.abandon()
})

test('a watcher alone puts no old rows back', async () => {
  const { ground, store, channel, broken } = await prepared()
  await using _ = ground
  const reader = await ground.open('read')
  await reader.unacked(channel.b, 0, 10)
  await store[Symbol.asyncDispose]()
  removeLog(ground.path)
  sendApart(ground.path, 'of the other side')
  await until('the reader notices', async () => (await reader.unacked(channel.b, 0, 10).catch(() => null)) === null)
  await until('it is told', () => broken.length > 0)
  await refused('unavailable', reader.unacked(channel.b, 0, 10))
  sendApart(ground.path, 'later')
  await reader[Symbol.asyncDispose]()
  assert.deepEqual(lookApart(ground.path).texts.slice(-2), ['of the other side', 'later'])
  assert.equal(broken.length, 1)
})

test('a reader does not take the log of the database before for that of its successor', async () => {
  const { ground, store, channel } = await prepared()
  await using _ = ground
  const copy = `${ground.path}.copy`
  ground.look((database) => database.exec(`VACUUM INTO '${copy}'`))
  const reader = await ground.open('read')
  assert.equal((await reader.unacked(channel.b, 0, 10)).length, 2)
  await store[Symbol.asyncDispose]()
  sendApart(ground.path, 'in the log')
  renameSync(copy, ground.path)
  const refusal = await refused('unavailable', reader.unacked(channel.b, 0, 10))
  assert.match(refusal.message, /was replaced, and the log beside it belongs to the one before/)
  removeLog(ground.path)
  await until('it reads on', async () => (await reader.unacked(channel.b, 0, 10)).length === 2)
})

/** Writes, checkpoints and vacuums as wildly as it can until it is ended. */
const STORM = `
  import Database from 'better-sqlite3'
  for (;;) {
    const database = new Database(process.argv[1], { timeout: 60_000 })
    database.pragma('journal_mode = WAL')
    database.exec('CREATE TABLE IF NOT EXISTS storm (x)')
    const put = database.prepare('INSERT INTO storm VALUES (?)')
    database.transaction(() => { for (let n = Math.random() * 300; n > 0; n -= 1) put.run('x'.repeat(Math.random() * 3000)) })()
    const chance = Math.random()
    try {
      if (chance < 0.4) database.pragma('wal_checkpoint(PASSIVE)')
      else if (chance < 0.7) database.pragma('wal_checkpoint(TRUNCATE)')
      else if (chance < 0.75) database.exec('DELETE FROM storm; VACUUM')
    } catch {}
    if (Math.random() < 0.7) database.close()
  }`

test('what other programs do with the database by way of SQLite is no doubt, nor is their death in the middle', async (context) => {
  const { ground, store, channel, broken } = await prepared()
  await using _ = ground
  const main = identify(ground.path)
  assert.ok(main)
  const files = new DatabaseFiles(ground.path, main)
  const storm = (): ChildProcess =>
    spawn(process.execPath, ['--input-type=module', '-e', STORM, ground.path], { stdio: 'inherit' })
  const doubts: unknown[] = []
  const states = new Set<number>()
  let looks = 0
  for (let round = 0; round < 6; round += 1) {
    const children = [storm(), storm()]
    for (; states.size < 6 * (round + 1) || looks < 60 * (round + 1); looks += 1) {
      const doubt = files.look()
      if (doubt !== null) doubts.push(doubt)
      if (looks % 10 === 0) await store.send(channel.a, `storm-${looks}`, { text: 'x' }).catch(() => undefined)
      else await sleep(1)
      states.add(statSync(ground.path).mtimeMs)
    }
    for (const child of children) {
      child.kill('SIGKILL')
      await once(child, 'exit')
    }
  }
  assert.deepEqual(doubts, [])
  assert.deepEqual(broken, [])
  context.diagnostic(`${looks} looks at ${states.size} states of the file`)
})
