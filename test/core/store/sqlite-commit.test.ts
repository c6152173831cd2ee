/** Group commit: what one transaction takes in, what locks, full and failing disks, crashes and rivals do to it. */
import assert from 'node:assert/strict'
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import Database from 'better-sqlite3'
import { AUDIT_ROOT, auditHash } from '#fleet/audit.ts'
import { hashedEntryOf } from '#fleet/chain-check.ts'
import { S2Error } from '#fleet/errors.ts'
import type { StoreTrouble } from '#fleet/store-trouble.ts'
import type { StoreWarning } from '#fleet/store-warning.ts'
import type { Task } from '#fleet/task.ts'
import { systemClock } from '#runtime/clock.ts'
import { recordingLog } from '#runtime/log.ts'
import { NewMessageNotifier } from '#store/sqlite/changes/new-message-notifier.ts'
import { DatabaseWriter } from '#store/sqlite/database-writer.ts'
import { prepare, SqliteConnection } from '#store/sqlite/file/connection.ts'
import { identify } from '#store/sqlite/file/database-path.ts'
import { GroupCommit } from '#store/sqlite/file/group-commit.ts'
import { openSqliteStore } from '#store/sqlite/open-sqlite-store.ts'
import { PythonReaders } from '#store/sqlite/python/python-readers.ts'
import { MalformedRows } from '#store/sqlite/tables/malformed-rows.ts'
import { openTables } from '#store/sqlite/tables/tables.ts'
import type { Store } from '#store/store.ts'
import { until } from '../../until.ts'
import { Ground, type Neighbour, openChannel, refused, runTool } from './sqlite-ground.ts'

/** Walks the chain and answers how long it is; fails where it breaks. */
async function verifyChain(store: Store): Promise<number> {
  let previous = AUDIT_ROOT
  let seq = 0
  for (;;) {
    const entries = await store.audit(seq, 1000)
    for (const entry of entries) {
      assert.equal(entry.seq, seq + 1)
      const hash = auditHash(previous, hashedEntryOf(entry))
      assert.equal(entry.hash, hash, `entry ${entry.seq} does not follow`)
      previous = hash
      seq = entry.seq
    }
    if (entries.length < 1000) return seq
  }
}

test('verbs of one turn share a commit', async () => {
  // A group that takes long is cut short; where no time passes, none is.
  await using ground = await Ground.make({ clock: { ...systemClock, now: () => 0 } })
  const store = await ground.open()
  const { a, b } = await openChannel(store)
  using observer = new SqliteConnection(ground.path, { create: false })
  const versions = new Set([observer.dataVersion()])
  const count = async (): Promise<number> => {
    versions.add(observer.dataVersion())
    return versions.size - 1
  }
  await Promise.all(
    Array.from({ length: 100 }, (_, index) => store.send(a, `k${index}`, { text: `${index}` }).then(count)),
  )
  assert.equal(await count(), 1)
  assert.equal((await store.unacked(b, 0, 1000)).length, 100)
})

test('a verb that fails harms no other of its group', async () => {
  await using ground = await Ground.make()
  await (await ground.open())[Symbol.asyncDispose]()
  using connection = new SqliteConnection(ground.path, { create: false })
  connection.exec('CREATE TABLE t (x INTEGER NOT NULL CHECK (x > 0)) STRICT')
  let commits = 0
  const groupCommit = new GroupCommit(connection, ground.path, {
    clock: systemClock,
    chance: Math.random,
    lockWaitMs: 1000,
    demandFiles: () => undefined,
    onRollback: () => undefined,
    onBegin: () => undefined,
    onWritten: () => undefined,
    onCommit: () => {
      commits += 1
    },
    onBroken: (error) => assert.fail(error.message),
  })
  const put = (x: number): Promise<number> => groupCommit.write(() => connection.run('INSERT INTO t VALUES (?)', x))
  const outcomes = await Promise.allSettled([
    put(1),
    put(-1),
    groupCommit.write(() => {
      throw new S2Error('conflict', 'looked first')
    }),
    put(2),
    groupCommit.write(() => {
      connection.run('INSERT INTO t VALUES (100)')
      throw new S2Error('conflict', 'wrote before it refused')
    }),
    groupCommit.write(() => {
      throw new TypeError('a bug')
    }),
    put(3),
  ])
  const code = (outcome: PromiseSettledResult<unknown>): unknown =>
    outcome.status === 'fulfilled' ? 'done' : (outcome.reason as S2Error).code
  assert.deepEqual(outcomes.map(code), ['done', 'internal', 'conflict', 'done', 'conflict', 'internal', 'done'])
  assert.deepEqual(
    connection.all('SELECT x FROM t ORDER BY x').map(({ x }) => x),
    [1, 2, 3],
  )
  assert.ok(commits >= 1)
  await groupCommit.close()
  await refused('unavailable', put(4))
})

test('two processes and we write at once: one chain, nothing lost, each sender in order', async () => {
  await using ground = await Ground.make()
  const store = await ground.open()
  const channels = await Promise.all([openChannel(store), openChannel(store), openChannel(store)])
  const counts = [700, 700, 300]
  const senders = await Promise.all(
    channels
      .slice(0, 2)
      .map(({ a }) =>
        ground.startScript(new URL('./sqlite-sender.ts', import.meta.url), ground.path, a, 'k', '700', '7'),
      ),
  )
  const own = channels[2] as (typeof channels)[number]
  for (let index = 0; index < 300; index += 1) await store.send(own.a, `k${index}`, { text: `k${index}` })
  const said = await Promise.all(senders.map((sender) => sender.hearOut()))
  for (const keys of said) assert.equal(keys.length, 700)
  for (const [index, { b }] of channels.entries()) {
    const texts = (await store.unacked(b, 0, 10_000)).map(({ text }) => text)
    assert.deepEqual(new Set(texts).size, counts[index])
    if (index === 2)
      assert.deepEqual(
        texts,
        Array.from({ length: 300 }, (_, at) => `k${at}`),
      )
  }
  assert.equal(await verifyChain(store), 3 + 1700)
})

test('kill -9 at any instant loses no answered message', async () => {
  await using ground = await Ground.make()
  const store = await ground.open()
  const { a, b } = await openChannel(store)
  const cache = { NODE_COMPILE_CACHE: join(ground.folder, 'cache') }
  const answered = new Set<string>()
  let kills = 0
  const start = (prefix: string, count: string): Promise<Neighbour> =>
    ground.start(
      process.execPath,
      [join(import.meta.dirname, 'sqlite-sender.ts'), ground.path, a, prefix, count, '5'],
      cache,
    )
  await (await start('warm', '1')).hearOut() // one that ends by itself leaves its code compiled for the others
  const round = async (index: number): Promise<void> => {
    const sender = await start(`r${index}-`, '1000000')
    for (let left = 11 + Math.random() * 20; left > 0; left -= 1) answered.add(String((await sender.hear()).key))
    await sleep(Math.random() * 5)
    await sender.kill('SIGKILL')
    for (const { key } of await sender.hearOut().catch(() => [])) answered.add(String(key))
    assert.equal(sender.process.signalCode, 'SIGKILL')
    kills += 1
  }
  for (let index = 0; index < 30; index += 3) await Promise.all([round(index), round(index + 1), round(index + 2)])
  assert.equal(kills, 30)
  assert.ok(answered.size > 300, `only ${answered.size} sends were answered`)
  const kept = new Set((await store.unacked(b, 0, 1_000_000)).map(({ text }) => text))
  for (const key of answered) assert.ok(kept.has(key), `${key} was answered and is gone`)
  await verifyChain(store)
  assert.equal(
    ground.look((database) => database.pragma('integrity_check', { simple: true })),
    'ok',
  )
})

/** Waits so long, and until the event loop has turned so often that it can hardly have stood still all the while. */
async function turns(ms: number, least: number): Promise<void> {
  const began = performance.now()
  for (let count = 0; count < least || performance.now() - began < ms; count += 1) await sleep(2)
}

test('a database locked for a second delays its writers, not the event loop', async () => {
  await using ground = await Ground.make()
  const store = await ground.open()
  const { a, b } = await openChannel(store)
  const locker = await ground.startScript(new URL('./sqlite-locker.ts', import.meta.url), ground.path)
  await locker.hear()
  locker.say({})
  assert.deepEqual(await locker.hear(), { locked: true })
  const start = performance.now()
  const sent = store.send(a, 'k', { text: 'patience' })
  const beaten = store.beat([{ session: b, host: 'h', incarnation: 'i', seq: 1, work: 0 }])
  await turns(1_000, 100)
  assert.deepEqual(await store.unacked(b, 0, 10), [], 'reads go on')
  await beaten
  locker.say({})
  await sent
  const waited = performance.now() - start
  assert.ok(waited >= 990, `it was answered after ${waited} ms, while the lock was held`)
  assert.equal((await store.unacked(b, 0, 10)).length, 1)
})

/** Five seconds of patience pass in one tenth of the time. */
const hasty = { ...systemClock, now: () => systemClock.now() * 10 }

test('a database that stays locked is given up, with nothing written', async () => {
  await using ground = await Ground.make({ clock: hasty })
  const store = await ground.open()
  const { a, b } = await openChannel(store)
  const locker = await ground.startScript(new URL('./sqlite-locker.ts', import.meta.url), ground.path)
  await locker.hear()
  locker.say({})
  await locker.hear()
  const error = await refused('unavailable', store.send(a, 'k', { text: 'never' }))
  assert.match(
    error.message,
    new RegExp(`locked for \\d[.\\d]*s by \\S+ sqlite-locker\\.ts \\(pid ${locker.process.pid}\\)$`),
  )
  assert.match(error.next ?? '', /nothing was written/)
  locker.say({})
  await locker.hear()
  assert.deepEqual(await store.unacked(b, 0, 10), [])
  await store.send(a, 'k', { text: 'now' })
  assert.equal((await store.unacked(b, 0, 10)).length, 1)
})

test('a locked database names who holds it, a stopped one as stopped, and refuses the next at once', async () => {
  const troubles: (StoreTrouble | null)[] = []
  await using ground = await Ground.make({ clock: hasty, onTrouble: (trouble) => troubles.push(trouble) })
  const store = await ground.open()
  const { a } = await openChannel(store)
  await store.tend()
  const locker = await ground.startScript(new URL('./sqlite-locker.ts', import.meta.url), ground.path)
  await locker.hear()
  locker.say({})
  await locker.hear()
  const { pid } = locker.process
  assert.ok(pid !== undefined)
  process.kill(pid, 'SIGSTOP')
  await until('it is stopped', () => /State:\tT/.test(readFileSync(`/proc/${pid}/status`, 'utf8')))
  const first = await refused('unavailable', store.send(a, 'k', { text: 'never' }))
  assert.match(first.message, new RegExp(`sqlite-locker\\.ts \\(pid ${pid}, stopped\\)$`))
  assert.match(first.next ?? '', new RegExp(`kill -CONT ${pid}\\).*nothing was written`))
  await until('the next does not wait anew for what the first has waited for', async () => {
    const began = hasty.now()
    await refused('unavailable', store.send(a, 'k', { text: 'nor this' }))
    return hasty.now() - began < 2_500
  })

  const ticks = new Set<string>()
  for (let round = 0; round < 3; round += 1) {
    await store.tend()
    ticks.add((await store.pulses(0)).tick)
  }
  assert.equal(ticks.size, 3, 'rounds go on')
  const [told] = troubles
  assert.deepEqual([troubles.length, told?.kind, told?.next], [1, 'locked', (await store.pulses(0)).trouble?.next])
  assert.match(told?.message ?? '', new RegExp(`locked for more than 5s by .*\\(pid ${pid}, stopped\\)$`))
  const [shown] = await store.incidents({ open: true })
  assert.deepEqual([shown?.cause, shown?.kind], ['database:locked', 'database'])
  assert.match(shown?.summary ?? '', new RegExp(`pid ${pid}, stopped.*kill -CONT ${pid}`))

  process.kill(pid, 'SIGCONT')
  locker.say({})
  await locker.hear()
  await store.tend()
  assert.deepEqual([troubles.length, troubles[1], (await store.pulses(0)).trouble], [2, null, null])
  assert.deepEqual(await store.incidents({ open: true }), [])
  await until('the incident is kept', async () => (await store.incidents({ open: false })).length === 1)
  const [kept] = await store.incidents({ open: false })
  assert.match(kept?.outcome ?? '', /^the database can be written to again, after /)
  assert.ok((kept?.openedAt ?? 0) < (kept?.closedAt ?? 0))
  await verifyChain(store)
})

test('a reader that was stopped lets the log grow: that is told once with its name, and over when the log has shrunk', async () => {
  const warnings: (StoreWarning | null)[] = []
  const troubles: unknown[] = []
  const told = { onWarning: (_: string, warning: StoreWarning | null) => warnings.push(warning) }
  await using ground = await Ground.make({ ...told, onTrouble: (trouble) => troubles.push(trouble) })
  const store = await ground.open()
  const { a, b } = await openChannel(store)
  await store.tend()
  const locker = new URL('./sqlite-locker.ts', import.meta.url)
  const reader = await ground.startScript(locker, ground.path, 'BEGIN; SELECT count(*) FROM messages')
  await reader.hear()
  reader.say({})
  await reader.hear()
  const { pid } = reader.process
  assert.ok(pid !== undefined)
  process.kill(pid, 'SIGSTOP')
  await until('it is stopped', () => /State:\tT/.test(readFileSync(`/proc/${pid}/status`, 'utf8')))
  const grow = (): void =>
    ground.look((database) => {
      database.pragma('synchronous = OFF')
      database.exec('CREATE TABLE IF NOT EXISTS others (x); INSERT INTO others VALUES (zeroblob(40000000))')
    })
  grow()
  await store.tend()
  assert.equal(warnings.length, 0, 'as much as a busy hour leaves is no news')
  grow()
  await store.send(a, 'k', { text: 'written all the same' })
  await store.tend()
  await store.tend()
  assert.equal(warnings.length, 1)
  const reads = `has grown by \\d+ MB, for .*sqlite-locker\\.ts \\(pid ${pid}, stopped\\) does not end what it reads`
  assert.match(warnings[0]?.message ?? '', new RegExp(reads))
  assert.match(warnings[0]?.next ?? '', new RegExp(`kill -CONT ${pid}\\)`))
  const [shown] = await store.incidents({ open: true })
  assert.deepEqual([shown?.cause, shown?.kind], ['database:log', 'database'])
  assert.match(shown?.summary ?? '', new RegExp(`${reads}; .*kill -CONT ${pid}`))
  assert.equal((await store.unacked(b, 0, 10)).length, 1)

  process.kill(pid, 'SIGCONT')
  reader.say({})
  await reader.hear()
  await until('it is over', async () => {
    await store.tend()
    return warnings.length === 2
  })
  assert.deepEqual([warnings[1], troubles], [null, []])
  await until('the incident is closed', async () => (await store.incidents({ open: true })).length === 0)
  assert.match((await store.incidents({ open: false }))[0]?.outcome ?? '', /^the log has been taken up/)
})

test('renewals of leases are taken while the database is locked, and written after', async () => {
  await using ground = await Ground.make({ clock: hasty })
  const store = await ground.open()
  const { a, b } = await openChannel(store)
  const task = { description: 'x', priority: 'P1', role: null, holder: b, deadline: null, createdBy: a } as const
  for (const id of ['t1', 't2']) await store.addTask({ ...task, id })
  const lease = await store.leaseTask(b, 'life')
  assert.equal(lease?.id, 't1')
  const renewal = (id: string, epoch: number, progress: string): Promise<Task> =>
    store.report(b, { task: id, epoch, state: 'in_progress', progress, result: null })
  const locker = await ground.startScript(new URL('./sqlite-locker.ts', import.meta.url), ground.path)
  await locker.hear()
  locker.say({})
  await locker.hear()
  await refused('unavailable', store.send(a, 'k', { text: 'the lock is met' }))
  for (const progress of ['one', 'two', 'three']) {
    await store.tend()
    assert.equal((await renewal('t1', 1, progress)).progress, progress)
  }
  await refused('stale_epoch', renewal('t1', 2, 'of another epoch'))
  await refused('not_found', renewal('unknown', 1, 'of another task'))
  assert.equal((await store.task('t1')).progress, null)
  locker.say({})
  await locker.hear()
  await store.tend()
  const written = await store.task('t1')
  assert.deepEqual([written.progress, written.state, written.leaseSeq], ['three', 'in_progress', lease.leaseSeq + 1])
  await verifyChain(store)
})

/** Whether a small disk can be made here; else why not. */
function whyNoSmallDisk(folder: string): string | false {
  if (process.getuid?.() !== 0) return 'only root can mount a small disk'
  const { status, stderr } = runTool('mount', '-t', 'tmpfs', '-o', 'size=1m', 's2-test', folder)
  return status === 0 ? false : `no small disk can be mounted here: ${stderr}`
}

test('a full disk refuses writes, lets reads go on, loses nothing, and heals by itself', async (context) => {
  await using ground = await Ground.make()
  const folder = join(ground.folder, 'small')
  mkdirSync(folder)
  const why = whyNoSmallDisk(folder)
  if (why !== false) return context.skip(why)
  try {
    const path = join(folder, 'bridge.db')
    const broken: Error[] = []
    const small = new Ground(folder, { onBroken: (error) => broken.push(error) })
    const store = await small.open('write', path)
    try {
      const { a, b } = await openChannel(store)
      writeFileSync(join(folder, 'ballast'), Buffer.alloc(200 * 1024))
      const answered: string[] = []
      let refusal: unknown
      for (let index = 0; refusal === undefined && index < 2000; index += 1) {
        await store.send(a, `k${index}`, { text: `${index} ${'x'.repeat(1000)}` }).then(
          ({ text }) => answered.push(text),
          (error: unknown) => {
            refusal = error
          },
        )
      }
      assert.ok(refusal instanceof S2Error)
      assert.equal(refusal.code, 'unavailable', refusal.message)
      assert.match(refusal.message, /is full/)
      assert.match(refusal.next ?? '', /free some space/)
      assert.ok(answered.length > 20, `${answered.length}`)
      assert.deepEqual(
        (await store.unacked(b, 0, 10_000)).map(({ text }) => text),
        answered,
      )
      await refused('unavailable', store.send(a, 'again', { text: 'x'.repeat(20_000) }))
      rmSync(join(folder, 'ballast'))
      await store.send(a, 'again', { text: 'there is room again' })
      assert.equal((await store.unacked(b, 0, 10_000)).length, answered.length + 1)
      assert.deepEqual(broken, [])
      await verifyChain(store)
    } finally {
      await store[Symbol.asyncDispose]()
    }
  } finally {
    runTool('umount', '-l', folder)
  }
})

test('a store to which nobody writes finds out that its disk is full, tells it, and that it is over; beats and leases go on', async (context) => {
  await using ground = await Ground.make()
  const folder = join(ground.folder, 'small')
  mkdirSync(folder)
  const why = whyNoSmallDisk(folder)
  if (why !== false) return context.skip(why)
  try {
    const troubles: (StoreTrouble | null)[] = []
    const small = new Ground(folder, { clock: hasty, onTrouble: (trouble) => troubles.push(trouble) })
    const store = await small.open('write', join(folder, 'bridge.db'))
    try {
      const { b } = await openChannel(store)
      const task = { description: 'x', priority: 'P1', role: null, deadline: null, createdBy: null } as const
      await store.addTask({ ...task, id: 't1', holder: b })
      await store.leaseTask(b, 'life')
      await store.tend()
      const ballast = openSync(join(folder, 'ballast'), 'w')
      assert.throws(() => writeFileSync(ballast, Buffer.alloc(2 * 1024 * 1024)), { code: 'ENOSPC' })
      closeSync(ballast)
      await until('it is told', async () => {
        await store.tend()
        return troubles.length > 0
      })
      assert.deepEqual(
        [troubles[0]?.kind, troubles[0]?.message],
        ['full', `the disk that holds ${folder}/bridge.db is full`],
      )
      assert.match(troubles[0]?.next ?? '', /free some space/)
      const ticks = new Set<string>()
      for (let seq = 1; seq < 100; seq += 1) {
        await store.beat([{ session: b, host: 'h', incarnation: 'i', seq, work: 0 }])
        await store.tend()
        const { tick, pulses, trouble } = await store.pulses(0)
        ticks.add(tick)
        assert.deepEqual([pulses.at(-1)?.seq, trouble?.kind], [seq, 'full'])
      }
      assert.equal(ticks.size, 99)
      await store.report(b, { task: 't1', epoch: 1, state: 'in_progress', progress: 'no room', result: null })
      rmSync(join(folder, 'ballast'))
      await until('it is over', async () => {
        await store.tend()
        return troubles.length > 1
      })
      assert.equal(troubles[1], null)
      await until('the renewal is written', async () => (await store.task('t1')).progress === 'no room')
      await until('the incident is kept', async () => (await store.incidents({ open: false })).length === 1)
    } finally {
      await store[Symbol.asyncDispose]()
    }
  } finally {
    runTool('umount', '-l', folder)
  }
})

/** A disk of its own, which an error makes read-only; else why there is none. */
function whyNoFragileDisk(image: string, folder: string): string | false {
  if (process.getuid?.() !== 0) return 'only root can mount a disk'
  const made = `dd if=/dev/zero of=${image} bs=1M count=24 && mkfs.ext4 -q ${image} && mount -o loop ${image} ${folder}`
  const { status, stderr } = runTool('sh', '-c', made)
  return status === 0 ? false : `no disk can be made here: ${stderr}`
}

test('a file system that becomes read-only breaks the store and is named, also at the next start; no file is deleted', async (context) => {
  await using ground = await Ground.make()
  const folder = join(ground.folder, 'fragile')
  mkdirSync(folder)
  const why = whyNoFragileDisk(join(ground.folder, 'image'), folder)
  if (why !== false) return context.skip(why)
  try {
    const broken: Error[] = []
    const fragile = new Ground(folder, { clock: hasty, onBroken: (error) => broken.push(error) })
    const path = join(folder, 'bridge.db')
    const store = await fragile.open('write', path)
    try {
      await openChannel(store)
      await store.tend()
      const { status, stderr } = runTool('mount', '-o', 'remount,abort', folder)
      if (status !== 0) return context.skip(`no error of a disk can be made here: ${stderr}`)
      await until('the store is broken, though nobody writes to it', async () => {
        await store.tend().catch(() => undefined)
        return broken.length > 0
      })
      const message = `the file system that holds ${path} is read-only`
      assert.equal(broken[0]?.message, message)
      assert.match((broken[0] as S2Error).next ?? '', /remount,rw/)
      assert.ok(existsSync(join(folder, 'liveness.db')))
      assert.deepEqual(
        fragile.log.records.filter(({ event }) => event.includes('damaged')),
        [],
      )
      const again = await refused('unavailable', openSqliteStore(path, fragile.parts))
      assert.equal(again.message, message)
    } finally {
      await store[Symbol.asyncDispose]()
    }
  } finally {
    runTool('umount', '-l', folder)
  }
})

test('an errored commit is of unknown outcome, ends all writing, and is safe to ask again', async (context) => {
  const trial = runTool('strace', '-qq', '-o', '/dev/null', '-e', 'trace=none', 'true')
  if (trial.status !== 0) return context.skip('strace cannot be used here')
  await using ground = await Ground.make()
  const store = await ground.open()
  const { a, b } = await openChannel(store)
  const child = await ground.startScript(new URL('./sqlite-doomed.ts', import.meta.url), ground.path, a)
  assert.deepEqual(await child.hear(), { sent: 'before' })
  const tracer = await ground.start('strace', [
    '-f',
    '-p',
    String(child.process.pid),
    '-o',
    join(ground.folder, 'trace'),
    '-e',
    'trace=fsync,fdatasync',
    '-e',
    'inject=fsync,fdatasync:error=EIO:when=1+',
  ])
  const isAttached = (): boolean => /TracerPid:\t[1-9]/.test(readFileSync(`/proc/${child.process.pid}/status`, 'utf8'))
  for (let tries = 0; !isAttached(); tries += 1) {
    if (tracer.process.exitCode !== null || tries > 200) return context.skip('strace may not attach here')
    await sleep(20)
  }
  child.say({})
  assert.deepEqual(await child.hear(), { code: 'unknown_outcome' })
  assert.deepEqual(await child.hear(), { broken: true })
  assert.deepEqual(await child.hear(), { code: 'unavailable' })
  assert.deepEqual(await child.hear(), { unacked: 1 })
  assert.match(readFileSync(join(ground.folder, 'trace'), 'utf8'), /EIO.*INJECTED/, 'the fault never fired')
  await child.kill()
  await store.send(a, 'doomed', { text: 'doomed' })
  const texts = (await store.unacked(b, 0, 10)).map(({ text }) => text)
  assert.deepEqual(texts, ['before', 'doomed'])
})

test('a COMMIT that a reader blocks is refused with nothing written, and the store writes on', async () => {
  await using ground = await Ground.make()
  // Without a write-ahead log a reader lets a writer begin, and keeps it from committing.
  using connection = new SqliteConnection(ground.path, { create: true })
  connection.exec('CREATE TABLE t (x INTEGER)')
  using reader = new SqliteConnection(ground.path, { create: false })
  const broken: S2Error[] = []
  const groupCommit = new GroupCommit(connection, ground.path, {
    ...ground.parts,
    lockWaitMs: 1_000,
    demandFiles: () => undefined,
    onRollback: () => undefined,
    onBegin: () => undefined,
    onWritten: () => undefined,
    onCommit: () => undefined,
    onBroken: (error) => broken.push(error),
  })
  const put = (x: number): Promise<number> => groupCommit.write(() => connection.run('INSERT INTO t VALUES (?)', x))
  reader.beginReading()
  const error = await refused('unavailable', put(1))
  assert.equal((error.cause as { code?: unknown }).code, 'SQLITE_BUSY')
  assert.deepEqual(broken, [])
  reader.rollback()
  await put(2)
  assert.deepEqual(connection.all('SELECT x FROM t'), [{ x: 2 }])
})

test('a conversation whose commit failed is not known, and the next one is', async () => {
  await using ground = await Ground.make()
  const other = await ground.open()
  using connection = new SqliteConnection(ground.path, { create: false })
  prepare(connection, 'FULL', 'leave')
  const file = identify(ground.path)
  assert.ok(file)
  const tables = openTables(connection, file, systemClock, new MalformedRows(recordingLog()), new PythonReaders())
  const found = { current: () => tables, held: tables, demand: () => tables }
  const source = { ...found, look: () => null, settle: async () => undefined, [Symbol.dispose]: () => undefined }
  const tail = new NewMessageNotifier(source, () => ({ [Symbol.dispose]: () => undefined }))
  const path = { path: ground.path, folder: ground.folder, bell: `${ground.path}-bell`, liveness: '' }
  using writer = new DatabaseWriter(path, ground.parts, source, tail)
  const commit = connection.commit.bind(connection)
  connection.commit = () => {
    connection.commit = commit
    throw new Database.SqliteError('database or disk is full', 'SQLITE_FULL')
  }
  tables.conversations.live()
  const phantom = writer.groupCommit.write(() => {
    const opened = tables.conversations.openConversation({
      roles: { a: 'orchestrator', b: 'tests' },
      agents: { a: 'orchestrator', b: 'phantom' },
      lifetimeMs: 3_600_000,
    })
    return tables.conversations.isLive(opened.id)
  })
  assert.match((await refused('unavailable', phantom)).message, /is full/)
  const { opened } = await openChannel(other, 'real')
  assert.equal(tables.conversations.isLive(opened.id), true)
  assert.deepEqual(
    tables.conversations.live().map(({ agents }) => agents.b),
    ['real'],
  )
  assert.equal((await writer.groupCommit.write(() => tables.conversations.live())).length, 1)
})

test('a database that is replaced under an open store is written no more', async () => {
  for (const act of [
    (path: string) => rmSync(path),
    (path: string) => {
      new Database(`${path}.other`).exec('CREATE TABLE t (x)').close()
      renameSync(`${path}.other`, path)
    },
  ]) {
    const broken: Error[] = []
    await using ground = await Ground.make({ onBroken: (error) => broken.push(error) })
    const store = await ground.open()
    const { a } = await openChannel(store)
    act(ground.path)
    const error = await refused('unavailable', store.send(a, 'k', { text: 'into the void' }))
    assert.match(error.message, /was removed|another file took the place/)
    await until('it is told', () => broken.length > 0)
    assert.equal(broken.length, 1)
    await refused('unavailable', store.send(a, 'k', { text: 'into the void' }))
  }
})

test('the log is cut once nobody writes', async () => {
  await using ground = await Ground.make()
  const store = await ground.open()
  const { a } = await openChannel(store)
  let most = 0
  const size = (): number => statSync(`${ground.path}-wal`).size
  for (let index = 0; index < 40; index += 1) {
    await Promise.all(
      Array.from({ length: 10 }, (_, at) => store.send(a, `k${index}-${at}`, { text: 'x'.repeat(40_000) })),
    )
    most = Math.max(most, size())
  }
  assert.ok(most > 4 * 1024 * 1024, `the log never grew beyond ${most} bytes`)
  await until('the log is cut', () => size() <= 4 * 1024 * 1024)
})
