/** News of commits: from writers that ring and from foreign ones that do not, however they write and whatever is lost. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { after, test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import Database from 'better-sqlite3'
import { type Clock, systemClock } from '#runtime/clock.ts'
import type { Means } from '#runtime/folder-watch.ts'
import { recordingLog } from '#runtime/log.ts'
import { type CommitListener, watchCommits } from '#store/sqlite/changes/commit-watcher.ts'
import { SqliteConnection } from '#store/sqlite/file/connection.ts'
import { without } from '../../native.ts'
import { PATIENCE_MS } from '../../until.ts'

/** How often a database is looked at when nothing was heard. */
const POLL_MS = 200

const base = mkdtempSync(join(tmpdir(), 's2-news-'))
after(() => rmSync(base, { recursive: true, force: true }))

function place(name: string): string {
  mkdirSync(join(base, name))
  return join(base, name, 'x.db')
}

function makeDatabase(path: string): void {
  const database = new Database(path)
  database.pragma('journal_mode = WAL')
  database.exec('CREATE TABLE messages (id INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT)')
  database.close()
}

/** Rows of a real database as they are heard of: id and when, on the clock that Python's monotonic_ns reads too. */
class Listener implements Disposable {
  readonly rows = new Map<number, bigint>()
  readonly #connection: SqliteConnection
  readonly #hearing: Disposable
  #changed = Promise.withResolvers<void>()
  reads = 0
  quiets = 0

  constructor(path: string, means?: Means, clock = systemClock) {
    this.#connection = new SqliteConnection(path, { create: false })
    const ears: CommitListener = {
      read: () => this.#read(),
      look: () => this.#read(),
      quiet: () => {
        this.quiets += 1
        return this.#connection.isQuiet()
      },
      warm: () => undefined,
    }
    this.#hearing = watchCommits(path, ears, {
      clock,
      log: recordingLog(),
      ...(means === undefined ? {} : { means }),
    })
  }

  #read(): boolean {
    this.reads += 1
    const found = this.#connection.all<{ id: number }>('SELECT id FROM messages WHERE id > ?', this.rows.size)
    for (const { id } of found) this.rows.set(id, process.hrtime.bigint())
    if (found.length > 0) {
      this.#changed.resolve()
      this.#changed = Promise.withResolvers()
    }
    return found.length > 0
  }

  async has(id: number): Promise<bigint> {
    while (!this.rows.has(id)) await this.#changed.promise
    return this.rows.get(id) as bigint
  }

  [Symbol.dispose](): void {
    this.#hearing[Symbol.dispose]()
    this.#connection[Symbol.dispose]()
  }
}

const FOREIGN = `
import sqlite3, sys, time
path, manner = sys.argv[1:3]
def connect():
    db = sqlite3.connect(path, timeout=60)
    db.execute('PRAGMA journal_mode=WAL')
    return db
kept = connect() if manner != 'call' else None
print('ready', flush=True)
for line in sys.stdin:
    db = kept or connect()
    if manner == 'slow':
        db.execute('PRAGMA cache_size=2')
        db.execute('BEGIN IMMEDIATE')
        for _ in range(200): db.execute("INSERT INTO filler VALUES (?)", ('y' * 3000,))
        time.sleep(0.03)
    db.execute("INSERT INTO messages (at) VALUES ('x')")
    db.commit()
    print(time.monotonic_ns(), flush=True)
    if kept is None: db.close()
`

/** A foreign writer that commits one row whenever it is asked to, and answers when its COMMIT had returned. */
class Foreign implements AsyncDisposable {
  readonly #child
  readonly #lines: AsyncIterator<string>

  constructor(path: string, manner: 'call' | 'lasting' | 'slow') {
    this.#child = spawn('python3', ['-c', FOREIGN, path, manner], { stdio: ['pipe', 'pipe', 'inherit'] })
    this.#lines = createInterface(this.#child.stdout)[Symbol.asyncIterator]()
  }

  async ready(): Promise<void> {
    assert.equal((await this.#lines.next()).value, 'ready')
  }

  async commit(): Promise<bigint> {
    this.#child.stdin.write('\n')
    return BigInt((await this.#lines.next()).value as string)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.stdin.end()
    await this.#lines.next()
  }
}

/** On which the poll comes fifty times more rarely, so that it stands out from the rest on a slow machine too. */
const rarelyPolling: Clock = {
  ...systemClock,
  sleep: (ms, signal) => systemClock.sleep(ms >= POLL_MS ? ms * 50 : ms, signal),
}

const median = (values: readonly number[]): number =>
  [...values].sort((one, other) => one - other)[values.length >> 1] ?? 0

for (const manner of ['lasting', 'call', 'slow'] as const) {
  for (const means of ['inotify', 'fs.watch'] as const) {
    test(`a foreign writer (${manner}) is heard by ${means} at once, not by the poll`, {
      skip: means === 'inotify' && without('node-inotify'),
    }, async () => {
      const path = place(`${manner}-${means}`)
      makeDatabase(path)
      using setting = new SqliteConnection(path, { create: false })
      setting.exec('CREATE TABLE filler (x)')
      using listener = new Listener(path, means, rarelyPolling)
      await using writer = new Foreign(path, manner)
      await writer.ready()
      const late: number[] = []
      for (let id = 1; id <= 30; id += 1) {
        const committed = await writer.commit() // nothing follows, so nothing later can make up for a look too early
        late.push(Number((await listener.has(id)) - committed) / 1e6)
      }
      assert.ok(median(late) < (POLL_MS * 50) / 4, `late by ${late.map((each) => each.toFixed(1))} ms`)
    })
  }
}

/** Commits of ours: a row, and a ring after it. */
class Ringing implements Disposable {
  readonly #database: Database.Database
  readonly #bell: number

  constructor(path: string) {
    this.#database = new Database(path)
    this.#bell = openSync(`${path}-bell`, 'w')
  }

  commit(): void {
    this.#database.prepare("INSERT INTO messages (at) VALUES ('ours')").run()
  }

  ring(): void {
    writeSync(this.#bell, '.', 0)
  }

  [Symbol.dispose](): void {
    this.#database.close()
    closeSync(this.#bell)
  }
}

test('of many commits none is missed, whoever is at work', async () => {
  const path = place('many')
  makeDatabase(path)
  using listener = new Listener(path)
  await using lasting = new Foreign(path, 'lasting')
  await using calling = new Foreign(path, 'call')
  await Promise.all([lasting.ready(), calling.ready()])
  using ours = new Ringing(path)
  const write = async (): Promise<void> => {
    for (let each = 0; each < 200; each += 1) {
      try {
        ours.commit()
        ours.ring()
      } catch {
        each -= 1 // another one writes
      }
      await turn()
    }
  }
  const foreign = async (writer: Foreign): Promise<void> => {
    for (let each = 0; each < 200; each += 1) await writer.commit()
  }
  await Promise.all([write(), foreign(lasting), foreign(calling)])
  await listener.has(600)
  assert.deepEqual(
    [...listener.rows.keys()],
    Array.from({ length: 600 }, (_, index) => index + 1),
  )
})

test('a ring is read at once, and its writer is not disturbed', async () => {
  const path = place('ring')
  makeDatabase(path)
  const waits: number[] = []
  const sleep: Clock['sleep'] = (ms, signal) => {
    waits.push(ms)
    return rarelyPolling.sleep(ms, signal)
  }
  using listener = new Listener(path, undefined, { ...systemClock, sleep })
  using ours = new Ringing(path)
  for (let id = 1; id <= 20; id += 1) {
    await systemClock.sleep(2)
    const before = { quiets: listener.quiets, waits: waits.length }
    ours.commit()
    await turn() // the log's event is told before the ring, as it is to another process
    await turn()
    if (id > 1) {
      assert.equal(listener.quiets, before.quiets, 'the lock is not tried')
      assert.ok(Math.min(...waits.slice(before.waits)) >= 64, 'no timer runs that ends before the ring')
    }
    ours.ring()
    await listener.has(id)
  }
})

test('after a ring, what a foreign writer commits is found all the same', {
  skip: without('node-inotify'),
}, async () => {
  const path = place('ring-and-foreign')
  makeDatabase(path)
  using listener = new Listener(path, 'inotify', rarelyPolling)
  using ours = new Ringing(path)
  await using foreign = new Foreign(path, 'call')
  await foreign.ready()
  for (let id = 1; id <= 10; id += 2) {
    ours.commit()
    ours.ring()
    await listener.has(id)
    await turn()
    const committed = await foreign.commit()
    const lateMs = Number((await listener.has(id + 1)) - committed) / 1e6
    assert.ok(lateMs < (POLL_MS * 50) / 4, `late by ${lateMs} ms`)
  }
})

test('with no means to hear, the poll finds it within a quarter of a second', async (t) => {
  const path = place('poll')
  makeDatabase(path)
  let polls = 0
  const sleep: Clock['sleep'] = (ms, signal) => {
    if (ms <= 250) polls += 1
    return systemClock.sleep(ms, signal)
  }
  using listener = new Listener(path, 'none', { ...systemClock, sleep })
  await using writer = new Foreign(path, 'lasting')
  await writer.ready()
  const late: number[] = []
  for (let id = 1; id <= 7; id += 1) {
    const committed = await writer.commit()
    const before = polls
    late.push(Number((await listener.has(id)) - committed) / 1e6)
    assert.ok(polls - before <= 1, 'the next poll finds it')
  }
  t.diagnostic(`late by ${late.map(Math.round).join(', ')} ms`)
  assert.ok(polls >= 7, `${polls} polls`)
})

/** Lets the event loop turn until it is so. */
async function until(isSo: () => boolean): Promise<void> {
  for (const end = performance.now() + PATIENCE_MS; !isSo(); ) {
    assert.ok(performance.now() < end, 'waited in vain')
    await systemClock.sleep(0)
  }
}

/** Ears that only count, over a folder in which the test writes what it likes. */
function counting(
  path: string,
  answers: { quiet?: () => boolean; read?: () => boolean } = {},
  parts: { clock?: Clock; nap?: (ms: number) => void } = {},
) {
  const counts = { reads: 0, quiets: 0, warms: 0 }
  const log = recordingLog()
  const read = (): boolean => {
    counts.reads += 1
    return answers.read?.() ?? false
  }
  const hearing = watchCommits(
    path,
    {
      read,
      look: read,
      quiet: () => {
        counts.quiets += 1
        return answers.quiet?.() ?? true
      },
      warm: () => {
        counts.warms += 1
      },
    },
    { clock: systemClock, log, ...parts },
  )
  return { counts, log, [Symbol.dispose]: () => hearing[Symbol.dispose]() }
}

/** Time that passes only while the watcher waits, as it does on Linux: a nap takes somewhat longer, and so does a timer. */
class WaitedTime {
  now = 0
  naps = 0
  readonly timers: number[] = []
  /** What is done at the start of a nap, for tests of order. */
  onNap = (): void => undefined

  readonly parts = {
    clock: {
      wall: () => 0,
      now: () => this.now,
      sleep: async (ms: number, signal?: AbortSignal): Promise<void> => {
        if (ms >= POLL_MS) return rarelyPolling.sleep(ms, signal) // the poll, and the watch's own looks
        this.timers.push(ms)
        this.now += ms + 0.2
      },
    },
    nap: (ms: number): void => {
      this.onNap()
      this.naps += 1
      this.now += ms + 0.07
    },
  }
}

test('a commit is read while the next one of the same call is being written', async () => {
  const path = place('next')
  makeDatabase(path)
  let polls = 0
  const sleep: Clock['sleep'] = async (ms, signal) => {
    await rarelyPolling.sleep(ms, signal)
    if (ms === POLL_MS) polls += 1
  }
  using listener = new Listener(path, 'inotify', { ...systemClock, sleep })
  await systemClock.sleep(20)
  using writer = new SqliteConnection(path, { create: false })
  writer.run("INSERT INTO messages (at) VALUES ('the message')")
  writer.begin()
  writer.run("INSERT INTO messages (at) VALUES ('what the call notes besides')")
  try {
    await until(() => listener.rows.has(1) || polls > 0)
    assert.equal(polls, 0)
  } finally {
    writer.commit()
  }
  await listener.has(2)
})

test('what was read is handed on before the watch goes on', async () => {
  const path = place('handed')
  const time = new WaitedTime()
  const order: string[] = []
  let isThere = false
  time.onNap = () => order.push('nap')
  const read = (): boolean => {
    const isFound = isThere
    if (isFound) void Promise.resolve().then(() => order.push('handed on'))
    isThere = false
    return isFound
  }
  using scene = counting(path, { quiet: () => false, read }, time.parts)
  await until(() => scene.counts.reads > 0)
  isThere = true
  writeFileSync(`${path}-wal`, 'frames')
  await until(() => order.includes('nap'))
  assert.equal(order[0], 'handed on')
})

test('of a disk that takes its time the watcher learns when to look', async () => {
  const path = place('learning')
  const time = new WaitedTime()
  let [visibleAt, isRead] = [0, true]
  let lateMs = 0
  const read = (): boolean => {
    if (isRead || time.now < visibleAt) return false
    isRead = true
    lateMs = time.now - visibleAt
    return true
  }
  using scene = counting(path, { quiet: () => time.now >= visibleAt, read }, time.parts)
  await until(() => scene.counts.reads > 0)
  const commit = async (tookMs: number): Promise<{ lateMs: number; naps: number; timers: number; warms: number }> => {
    const before = { naps: time.naps, timers: time.timers.length, warms: scene.counts.warms }
    visibleAt = time.now + tookMs
    isRead = false
    writeFileSync(`${path}-wal`, String(tookMs))
    await until(() => isRead)
    await turn()
    await turn()
    const { warms } = scene.counts
    return {
      lateMs,
      naps: time.naps - before.naps,
      timers: time.timers.length - before.timers,
      warms: warms - before.warms,
    }
  }
  const commits = async (tookMs: number): ReturnType<typeof commit> => {
    for (let each = 0; each < 32; each += 1) await commit(tookMs)
    return commit(tookMs)
  }
  for (const tookMs of [5, 20, 0.4, 5]) {
    const last = await commits(tookMs)
    assert.ok(last.lateMs <= 0.25, `${tookMs} ms: late by ${last.lateMs} ms`)
    assert.ok(last.timers <= 1, `${tookMs} ms: ${last.timers} timers`)
    assert.ok(last.warms <= 1, 'what the read needs is run once, shortly before it')
    assert.ok(last.warms === 1 || tookMs < 5)
    assert.ok(last.naps <= 6 + tookMs, `${tookMs} ms: ${last.naps} naps`)
  }
})

test('an event of frames that were read already costs one look', async () => {
  const path = place('stale')
  const time = new WaitedTime()
  using scene = counting(path, { quiet: () => true }, time.parts)
  await until(() => scene.counts.reads > 0)
  writeFileSync(`${path}-wal`, 'frames')
  await until(() => scene.counts.quiets > 0)
  await turn()
  assert.deepEqual([scene.counts.quiets, time.naps, time.timers.length], [1, 0, 0])
})

test('a writer who takes long is waited for with bounds', async () => {
  const path = place('long')
  const time = new WaitedTime()
  using scene = counting(path, { quiet: () => false }, time.parts)
  await until(() => scene.counts.reads > 0)
  writeFileSync(`${path}-wal`, 'frames')
  let reads = 0
  await until(() => {
    const isOver = time.now > 100 && scene.counts.reads === reads
    reads = scene.counts.reads
    return isOver
  })
  assert.ok(time.now > 500 && time.now < 1_000, `given up after ${time.now} ms`)
  assert.ok(time.naps < 50, `${time.naps} naps`)
  assert.ok(time.timers.length < 50, `${time.timers.length} timers`)
  assert.ok(scene.counts.quiets < 100, `${scene.counts.quiets} probes of the lock`)
})

test('a writer who was silent for long and writes again is read as soon as one who begins', async () => {
  const path = place('again')
  const time = new WaitedTime()
  let visibleAt = Number.POSITIVE_INFINITY
  let foundAt = 0
  const read = (): boolean => {
    if (foundAt > 0 || time.now < visibleAt) return false
    foundAt = time.now
    return true
  }
  const held: (() => void)[] = []
  const { sleep } = time.parts.clock
  const clock: Clock = {
    ...time.parts.clock,
    // the long timers of a silence are held until the test lets them end
    sleep: (ms, signal) => (ms > 30 && ms < POLL_MS ? new Promise((resolve) => held.push(resolve)) : sleep(ms, signal)),
  }
  using scene = counting(path, { quiet: () => false, read }, { ...time.parts, clock })
  await until(() => scene.counts.reads > 0)
  writeFileSync(`${path}-wal`, 'frames')
  await until(() => held.length > 0)
  visibleAt = time.now + 0.5
  writeFileSync(`${path}-wal`, 'the last frames')
  await until(() => foundAt > 0)
  assert.ok(foundAt - visibleAt < 2, `late by ${foundAt - visibleAt} ms`)
})

test('whoever hears writes nothing that it hears', async () => {
  const path = place('echo')
  makeDatabase(path)
  using listener = new Listener(path)
  await using writer = new Foreign(path, 'lasting')
  await writer.ready()
  await writer.commit()
  await listener.has(1)
  let [quiets, since] = [-1, 0]
  await until(() => {
    if (listener.quiets !== quiets) [quiets, since] = [listener.quiets, performance.now()]
    return performance.now() - since > 300 // past the ladder
  })
  const { reads } = listener
  const began = performance.now()
  await systemClock.sleep(1_000)
  const polls = Math.ceil((performance.now() - began) / 200)
  assert.ok(listener.reads - reads <= polls + 1, `${listener.reads - reads} reads in a quiet second`)
  assert.equal(listener.quiets, quiets)
})

test('other files in the folder are nobody’s news', async () => {
  const path = place('others')
  using scene = counting(path, {}, { clock: rarelyPolling })
  await systemClock.sleep(20)
  const { reads } = scene.counts
  for (const name of ['liveness.db', 'liveness.db-wal', 'x.db.bak', 'x.db-shm']) {
    writeFileSync(join(path, '..', name), 'x')
    await systemClock.sleep(5)
  }
  assert.ok(scene.counts.reads - reads <= 1)
  assert.equal(scene.counts.quiets, 0)
})

test('a folder that is not there yet, and a database that comes and goes in it', async () => {
  const path = join(base, 'later', 'deeper', 'x.db')
  let heard = Promise.withResolvers<void>()
  using _scene = counting(path, {
    quiet: () => {
      heard.resolve()
      return true
    },
  })
  mkdirSync(join(path, '..'), { recursive: true })
  await heard.promise
  for (let round = 0; round < 3; round += 1) {
    heard = Promise.withResolvers()
    makeDatabase(path)
    await heard.promise
    heard = Promise.withResolvers()
    rmSync(path)
    await heard.promise
  }
})

test('a reading that fails is told once, and the hearing goes on', async () => {
  const path = place('failing')
  let isBroken = true
  using scene = counting(path, {
    read: () => {
      if (isBroken) throw new Error('malformed')
      return false
    },
  })
  while (scene.counts.reads < 4) {
    writeFileSync(`${path}-bell`, '.')
    await systemClock.sleep(5)
  }
  const told = (): number => scene.log.records.filter(({ event }) => event.startsWith('commits unreadable')).length
  assert.equal(told(), 1)
  isBroken = false
  const { reads } = scene.counts
  await until(() => scene.counts.reads > reads)
  isBroken = true
  await until(() => told() > 1)
})

test('after the end nothing is read', async () => {
  const path = place('end')
  const scene = counting(path, { quiet: () => false })
  await systemClock.sleep(20)
  writeFileSync(`${path}-wal`, 'frames')
  await until(() => scene.counts.quiets > 0)
  scene[Symbol.dispose]()
  const counts = { ...scene.counts }
  writeFileSync(`${path}-bell`, '.')
  await systemClock.sleep(300)
  assert.deepEqual(scene.counts, counts)
})
