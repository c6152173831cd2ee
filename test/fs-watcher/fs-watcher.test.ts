import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { Inbox } from '#spool/inbox.ts'
import { openSqliteStore } from '#store/sqlite/open-sqlite-store.ts'
import { readConfig } from '../../services/fs-watcher/config.ts'
import { isOver } from '../process-state.ts'
import { parts, put, range, Stage, told } from './stage.ts'

test('a database that is not there yet; our writer and a foreign one; once each, also across a kill', async () => {
  await using stage = new Stage()
  const path = stage.state('database')
  const database = join(path, 'bridge.db')
  let watcher = stage.watch(path, { S2_SOURCE: 'database' })
  await watcher.says('ready')
  await using store = await openSqliteStore(database, parts)
  const { id } = await store.openConversation({
    roles: { a: 'o', b: 'w' },
    agents: { a: 'o', b: 'w' },
    lifetimeMs: 3_600_000,
  })
  for (const n of range(1, 10)) await store.send(`${id}/b`, `key ${n}`, { text: `message ${n}` })
  await store.send(`${id}/a`, 'not for us', { text: 'to the worker' })
  await watcher.woken(10)
  const script = `
import sqlite3, sys
for n in range(10):
    c = sqlite3.connect(sys.argv[1]); c.execute('PRAGMA journal_mode=WAL')
    c.execute("INSERT INTO messages (conversation_id, from_session, to_session, message, metadata, timestamp) VALUES (?, 'b', 'a', 'foreign', '{}', '2026-01-01T00:00:00.000000')", (sys.argv[2],))
    c.commit(); c.close()`
  execFileSync('python3', ['-c', script, database, id])
  await watcher.woken(20)
  await watcher.end('SIGKILL')
  for (const n of range(21, 25)) await store.send(`${id}/b`, `key ${n}`, { text: `message ${n}` })
  watcher = stage.watch(path, { S2_SOURCE: 'database' })
  await watcher.woken(5)
  await watcher.end()
  const calls = told(path)
  assert.equal(new Set(calls).size, calls.length, 'no message is woken for twice')
  assert.equal(calls.length, 25)
  const unread = await store.unacked(`${id}/a`, 0, 100)
  assert.ok(unread.length === 25 && unread.every(({ delivery }) => delivery === 'queued'), 'nothing is consumed')
})

test('only those named are woken; what was acked before the first start is not', async () => {
  await using stage = new Stage()
  const path = stage.state('named')
  await using store = await openSqliteStore(join(path, 'bridge.db'), parts)
  const open = (agent: string) =>
    store.openConversation({ roles: { a: 'o', b: 'w' }, agents: { a: 'o', b: agent }, lifetimeMs: 3_600_000 })
  const [one, two] = [await open('w-1'), await open('w-2')]
  const first = await store.send(`${one.id}/a`, 'k1', { text: 'acked' })
  await store.mark(`${one.id}/b`, [first.id], 'acked')
  await store.send(`${two.id}/a`, 'k2', { text: 'for another' })
  const third = await store.send(`${one.id}/a`, 'k3', { text: 'unread' })
  const watcher = stage.watch(path, { S2_SOURCE: 'database', S2_WAKE_FOR: 'w-1' })
  await watcher.woken(1)
  const fourth = await store.send(`${one.id}/a`, 'k4', { text: 'new' })
  await watcher.woken(2)
  await watcher.end()
  assert.deepEqual(told(path), [third.id, fourth.id])
})

test('the inbox: files that come by rename, a folder that goes and comes back, hostile files between', async () => {
  await using stage = new Stage()
  const path = stage.state('inbox')
  const inbox = new Inbox(path)
  const watcher = stage.watch(path, { S2_SOURCE: 'inbox' })
  await watcher.says('ready')
  for (const id of range(1, 5)) await put(inbox, id)
  await watcher.woken(5)
  writeFileSync(join(inbox.folder('new'), '6.json'), '{"half":')
  mkdirSync(join(inbox.folder('new'), '7.json'))
  await put(inbox, 8)
  await watcher.woken(6)
  renameSync(inbox.folder('new'), join(path, 'away'))
  mkdirSync(inbox.folder('new'))
  await put(inbox, 9)
  await watcher.woken(7)
  await watcher.end()
  assert.deepEqual(told(path), [1, 2, 3, 4, 5, 8, 9])
})

test('a wake command that hangs is ended with its children, and the next one runs', async () => {
  await using stage = new Stage()
  const path = stage.state('hang')
  const inbox = new Inbox(path)
  const pids = join(path, 'pids')
  const wake = `if [ -e ${pids} ]; then cat >> ${join(path, 'calls')}; else sleep 600 & echo $! > ${pids}; wait; fi`
  const watcher = stage.watch(path, { S2_SOURCE: 'inbox', S2_WAKE: wake, S2_WAKE_TIMEOUT: '300ms' })
  await watcher.says('ready')
  await put(inbox, 1)
  await watcher.says('wake failed, mail stays unread')
  await put(inbox, 2)
  await watcher.woken(1)
  await watcher.end()
  assert.ok(isOver(Number(readFileSync(pids, 'utf8'))))
  assert.deepEqual(told(path), [2])
})

test('settings that cannot work are refused with an example', () => {
  const base = { S2_STATE: '/tmp/x' }
  assert.throws(() => readConfig(base), /S2_WAKE is missing/)
  assert.throws(() => readConfig({ ...base, S2_WAKE: '["a", 1]' }), /must be a JSON list/)
  assert.throws(
    () => readConfig({ ...base, S2_WAKE: 'x', S2_SOURCE: 'database', S2_STORE: 'https://b' }),
    /is no database of this host/,
  )
  const { env } = readConfig({ ...base, S2_WAKE: 'x', S2_ALERT_WEBHOOK: 'https://hush.example.org' })
  assert.ok(!Object.hasOwn(env, 'S2_ALERT_WEBHOOK'), 'secrets are not handed on')
})
