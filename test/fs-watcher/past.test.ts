/** A long past of unread mail costs a watcher one look, and nothing while nothing comes. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import Database from 'better-sqlite3'
import { S2Error } from '#fleet/errors.ts'
import { recordingLog } from '#runtime/log.ts'
import { openSqliteStore } from '#store/sqlite/open-sqlite-store.ts'
import type { Store } from '#store/store.ts'
import { DatabaseSource } from '../../services/fs-watcher/database-source.ts'
import { type WakeCall, Waker } from '../../services/fs-watcher/waker.ts'
import { WokenMessages } from '../../services/fs-watcher/woken-messages.ts'
import { ManualClock } from '../manual-clock.ts'
import { until } from '../until.ts'
import { calls, parts, Stage } from './stage.ts'

/** Makes a database with unread mail to the ends `a` of eight conversations, as a foreign writer would. */
async function fill(path: string, count: number, length: number): Promise<void> {
  await using store = await openSqliteStore(path, parts)
  for (let index = 0; index < 8; index += 1) {
    const channel = { roles: { a: 'o', b: 'w' }, agents: { a: 'o', b: `w-${index}` }, lifetimeMs: 3_600_000 }
    await store.openConversation(channel)
  }
  const database = new Database(path)
  try {
    database
      .prepare(
        `WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < ? - 1)
         INSERT INTO messages (conversation_id, from_session, to_session, message, timestamp)
           SELECT (SELECT id FROM conversations WHERE rowid = 1 + i % 8), 'b', 'a',
             'message ' || i || ' ' || replace(hex(zeroblob(? / 2)), '0', 'x'), '2026-11-30T01:02:03.000000' FROM n`,
      )
      .run(count, length)
  } finally {
    database.close()
  }
}

/** Counts what is read of a store. */
class Readings {
  rows = 0
  texts = 0
  readonly store: Pick<Store, 'traffic' | 'conversations' | 'waiting' | 'unacked' | 'newest'>

  constructor(store: Store) {
    const { traffic } = this.#counting(store)
    this.store = {
      traffic,
      conversations: () => store.conversations(),
      newest: () => store.newest(),
      waiting: async (...asked) => {
        const rows = await store.waiting(...asked)
        this.rows += rows.length
        return rows
      },
      unacked: async (...asked) => {
        const rows = await store.unacked(...asked)
        this.texts += rows.length
        return rows
      },
    }
  }

  /** What was read since the last time. */
  since(): { rows: number; texts: number } {
    const { rows, texts } = this
    this.rows = 0
    this.texts = 0
    return { rows, texts }
  }

  #counting(store: Store): Pick<Store, 'traffic'> {
    const readings = this
    return {
      traffic: async function* (after, signal) {
        for await (const batch of store.traffic(after, signal)) {
          readings.texts += batch.length
          yield batch
        }
      },
    }
  }
}

test('50,000 old messages are one wake that reads each once and few texts; then idle rounds read nothing', async () => {
  await using stage = new Stage()
  const state = stage.state('past')
  await fill(join(state, 'bridge.db'), 50_000, 200)
  await using store = await openSqliteStore(join(state, 'bridge.db'), parts)
  const readings = new Readings(store)
  const clock = new ManualClock()
  const abort = new AbortController()
  const woken = await WokenMessages.open(join(state, 'watcher.json'), assert.fail)
  const wakes: WakeCall[] = []
  let looks = 0
  const source = new DatabaseSource([], {
    ...parts,
    clock,
    log: recordingLog(),
    signal: abort.signal,
    store: readings.store,
    woken,
    onHint: (target) => waker.hint(target),
    onLook: () => {
      looks += 1
    },
    onTrouble: assert.fail,
  })
  const waker = new Waker({
    ...parts,
    clock,
    log: recordingLog(),
    signal: abort.signal,
    source,
    woken,
    wake: async (call) => void wakes.push(call),
    onWake: () => undefined,
  })
  const round = async (): Promise<void> => {
    const before = looks
    await clock.advance(1_000)
    await until('a round is done', () => looks > before)
    await waker.idle()
  }
  const watching = source.watch()
  await until('somebody is woken', () => wakes.length > 0)
  await waker.idle()
  assert.equal(wakes[0]?.fresh.size, 50_000)
  assert.deepEqual(wakes[0]?.messages.map(({ preview }) => preview.slice(0, 11)).slice(0, 2), [
    'message 0 x',
    'message 1 x',
  ])
  assert.deepEqual(readings.since(), { rows: 50_000, texts: 50 })

  for (let rounds = 0; rounds < 10; rounds += 1) await round()
  assert.equal(wakes.length, 1)
  assert.deepEqual(readings.since(), { rows: 0, texts: 0 })

  // what came without a hint wakes somebody; what an agent had taken is not read again, and wakes within a minute of being forgotten
  const foreign = new Database(join(state, 'bridge.db'))
  foreign.exec(`
    BEGIN;
    INSERT INTO messages (conversation_id, from_session, to_session, message, timestamp)
      SELECT conversation_id, 'b', 'a', 'taken', timestamp FROM messages WHERE id = 1;
    INSERT INTO s2_deliveries (message, state) VALUES (last_insert_rowid(), 'leased');
    INSERT INTO messages (conversation_id, from_session, to_session, message, timestamp)
      SELECT conversation_id, 'b', 'a', 'new', timestamp FROM messages WHERE id = 1;
    COMMIT`)
  await until('the new one wakes', async () => {
    await round()
    return wakes.length > 1
  })
  const told = (): string[] => wakes.slice(1).flatMap(({ messages }) => messages.map(({ preview }) => preview))
  assert.deepEqual(told(), ['new'])
  await round()
  assert.deepEqual(told(), ['new'])
  readings.since()
  await round()
  assert.deepEqual(readings.since(), { rows: 0, texts: 0 })
  foreign.exec('DELETE FROM s2_deliveries')
  foreign.close()
  await clock.advance(59_000)
  await round()
  assert.deepEqual(told(), ['new', 'taken'])
  abort.abort()
  await watching
})

test('a watcher over 5,000 old messages of 50 kB wakes once, and stays small', async () => {
  await using stage = new Stage()
  const state = stage.state('large')
  await fill(join(state, 'bridge.db'), 5_000, 50_000)
  const watcher = stage.watch(state, { S2_SOURCE: 'database' })
  await watcher.woken(5_000)
  const peak = /VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${watcher.child.pid}/status`, 'utf8'))?.[1]
  assert.ok(Number(peak) < 200_000, `${peak} kB`)
  assert.equal(calls(state).length, 1)
  assert.equal(calls(state)[0]?.messages.length, 50)
})

test('a database that is locked at the start is heard from where it stands, and not from its beginning', async () => {
  await using stage = new Stage()
  const woken = await WokenMessages.open(join(stage.state('locked'), 'watcher.json'), assert.fail)
  const abort = new AbortController()
  const began: number[] = []
  const cause = new Error('SQLITE_BUSY')
  let isLocked = true
  const source = new DatabaseSource([], {
    ...parts,
    log: recordingLog(),
    signal: abort.signal,
    store: {
      newest: async () => {
        if (!isLocked) return 7
        isLocked = false
        throw new S2Error('unavailable', 'the database is locked', { cause })
      },
      traffic: (after) => {
        began.push(after)
        return (async function* () {
          await once(abort.signal, 'abort')
          yield []
        })()
      },
      conversations: async () => [],
      waiting: async () => [],
      unacked: async () => [],
    },
    woken,
    onHint: () => undefined,
    onLook: () => undefined,
    onTrouble: () => undefined,
  })
  const watching = source.watch()
  await until('it listens', () => began.length > 0)
  assert.deepEqual([began, woken.position], [[7], 7])
  abort.abort()
  await watching
})
