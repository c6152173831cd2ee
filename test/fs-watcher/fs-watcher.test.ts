import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { after, test } from 'node:test'
import type { SessionId } from '#fleet/session.ts'
import { systemChance, systemClock } from '#runtime/clock.ts'
import { recordingLog } from '#runtime/log.ts'
import { Inbox } from '#spool/inbox.ts'
import { openSqliteStore } from '#store/sqlite/sqlite.ts'
import { readConfig } from '../../services/fs-watcher/config.ts'

const folder = mkdtempSync(join(tmpdir(), 's2-watcher-'))
const main = new URL('../../services/fs-watcher/main.ts', import.meta.url).pathname
const running = new Set<ReturnType<typeof spawn>>()
after(() => {
  for (const child of running) child.kill('SIGKILL')
  rmSync(folder, { recursive: true })
})

/** A watcher process whose wake command appends what it is told to a file; its events can be waited for. */
function watch(state: string, settings: Record<string, string>) {
  const env = {
    PATH: process.env.PATH,
    S2_STATE: state,
    S2_WAKE: `cat >> ${join(state, 'calls')}`,
    S2_POLL: '50ms',
    ...settings,
  }
  const child = spawn(process.execPath, [main], { env, stdio: ['ignore', 'pipe', 'inherit'] })
  running.add(child)
  const events: Record<string, unknown>[] = []
  const waiting = new Set<() => void>()
  createInterface(child.stdout).on('line', (line) => {
    events.push(JSON.parse(line))
    for (const check of waiting) check()
  })
  const until = (isThere: () => boolean) =>
    new Promise<void>((resolve) => {
      const check = (): void => {
        if (isThere()) resolve()
      }
      waiting.add(check)
      check()
    })
  const ended = once(child, 'close')
  return {
    event: (name: string) => until(() => events.some(({ event }) => event === name)),
    woken: (count: number) => until(() => sum(events) >= count),
    kill: async (signal: NodeJS.Signals) => {
      child.kill(signal)
      await ended
      running.delete(child)
    },
  }
}

const sum = (events: readonly Record<string, unknown>[]): number =>
  events.filter(({ event }) => event === 'woken').reduce((all, { messages }) => all + Number(messages), 0)

function state(name: string): string {
  const path = join(folder, name)
  mkdirSync(path)
  return path
}

/** Gone, or waiting for whoever adopts it to notice. */
function isOver(pid: number): boolean {
  try {
    return /\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))
  } catch {
    return true
  }
}

/** The ids that the wake command was told, in the order of the calls. */
function told(path: string): number[] {
  const lines = readFileSync(join(path, 'calls'), 'utf8').trim().split('\n')
  return lines.flatMap((line) => (JSON.parse(line) as { messages: { id: number }[] }).messages.map(({ id }) => id))
}

const parts = { clock: systemClock, chance: systemChance, log: recordingLog() }
const range = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, index) => from + index)

test('a database that is not there yet; our writer and a foreign one; once each, also across a kill', async () => {
  const path = state('database')
  const database = join(path, 'bridge.db')
  let watcher = watch(path, { S2_SOURCE: 'database' })
  await watcher.event('ready')
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
  await watcher.kill('SIGKILL')
  for (const n of range(21, 25)) await store.send(`${id}/b`, `key ${n}`, { text: `message ${n}` })
  watcher = watch(path, { S2_SOURCE: 'database' })
  await watcher.woken(5)
  await watcher.kill('SIGTERM')
  const calls = told(path)
  assert.equal(new Set(calls).size, calls.length, 'no message is woken for twice')
  assert.equal(calls.length, 25)
  const unread = await store.unacked(`${id}/a`, 0, 100)
  assert.ok(unread.length === 25 && unread.every(({ delivery }) => delivery === 'queued'), 'nothing is consumed')
})

test('only those named are woken; what was acked before the first start is not', async () => {
  const path = state('named')
  await using store = await openSqliteStore(join(path, 'bridge.db'), parts)
  const open = (agent: string) =>
    store.openConversation({ roles: { a: 'o', b: 'w' }, agents: { a: 'o', b: agent }, lifetimeMs: 3_600_000 })
  const [one, two] = [await open('w-1'), await open('w-2')]
  const first = await store.send(`${one.id}/a`, 'k1', { text: 'acked' })
  await store.mark(`${one.id}/b`, [first.id], 'acked')
  await store.send(`${two.id}/a`, 'k2', { text: 'for another' })
  const third = await store.send(`${one.id}/a`, 'k3', { text: 'unread' })
  const watcher = watch(path, { S2_SOURCE: 'database', S2_WAKE_FOR: 'w-1' })
  await watcher.woken(1)
  const fourth = await store.send(`${one.id}/a`, 'k4', { text: 'new' })
  await watcher.woken(2)
  await watcher.kill('SIGTERM')
  assert.deepEqual(told(path), [third.id, fourth.id])
})

test('the inbox: files that come by rename, a folder that goes and comes back, hostile files between', async () => {
  const path = state('inbox')
  const inbox = new Inbox(path)
  const to: SessionId = 'conv_00000000000000aa/b'
  const put = (id: number) =>
    inbox.put({
      id,
      from: 'conv_00000000000000aa/a',
      to,
      text: 't',
      action: null,
      files: [],
      sentAt: 0,
      delivery: 'queued',
    })
  const watcher = watch(path, { S2_SOURCE: 'inbox' })
  await watcher.event('ready')
  for (const id of range(1, 5)) await put(id)
  await watcher.woken(5)
  writeFileSync(join(inbox.folder('new'), '6.json'), '{"half":')
  mkdirSync(join(inbox.folder('new'), '7.json'))
  await put(8)
  await watcher.woken(6)
  renameSync(inbox.folder('new'), join(path, 'away'))
  mkdirSync(inbox.folder('new'))
  await put(9)
  await watcher.woken(7)
  await watcher.kill('SIGTERM')
  assert.deepEqual(told(path), [1, 2, 3, 4, 5, 8, 9])
})

test('a wake command that hangs is ended with its children, and the next one runs', async () => {
  const path = state('hang')
  const inbox = new Inbox(path)
  const put = (id: number) =>
    inbox.put({
      id,
      from: 'conv_00000000000000aa/a',
      to: 'conv_00000000000000aa/b',
      text: 't',
      action: null,
      files: [],
      sentAt: 0,
      delivery: 'queued',
    })
  const pids = join(path, 'pids')
  const wake = `if [ -e ${pids} ]; then cat >> ${join(path, 'calls')}; else sleep 600 & echo $! > ${pids}; wait; fi`
  const watcher = watch(path, { S2_SOURCE: 'inbox', S2_WAKE: wake, S2_WAKE_TIMEOUT: '300ms' })
  await watcher.event('ready')
  await put(1)
  await watcher.event('the wake failed: its mail stays unread')
  await put(2)
  await watcher.woken(1)
  await watcher.kill('SIGTERM')
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
  const { wake } = readConfig({ ...base, S2_WAKE: 'x', S2_ALERT_WEBHOOK: 'https://hush.example.org' })
  assert.ok(!Object.hasOwn(wake.env, 'S2_ALERT_WEBHOOK'), 'secrets are not handed on')
})
