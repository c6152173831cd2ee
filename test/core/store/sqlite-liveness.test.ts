/** Beats and verdicts in a file of their own, read by other processes, and safe to lose. */
import assert from 'node:assert/strict'
import { rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import type { Beat, ObservedBeat, ObservedBeats } from '#fleet/beat.ts'
import type { SessionId } from '#fleet/session-id.ts'
import type { AgentVerdict } from '#fleet/verdict.ts'
import { systemClock } from '#runtime/clock.ts'
import type { Store } from '#store/store.ts'
import { Ground, openChannel, refused, runTool } from './sqlite-ground.ts'

function beat(session: SessionId, seq: number, fields: Partial<Beat> = {}): Beat {
  return { session, host: 'h', incarnation: 'i', seq, work: 0, ...fields }
}

function seqs(pulses: readonly ObservedBeat[]): number[] {
  return pulses.map(({ seq }) => seq)
}

/** What another store sees once it sees something, without that the first is asked to write it out. */
async function awaitPulses(store: Store, after: number): Promise<ObservedBeats> {
  for (let tries = 0; tries < 3_000; tries += 1) {
    const found = await store.pulses(after)
    if (found.pulses.length > 0) return found
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  return assert.fail('no pulse came')
}

test('beats come to other processes by themselves, soon, and wake no watcher of messages', async () => {
  await using ground = await Ground.make()
  const store = await ground.open()
  const { b } = await openChannel(store)
  const observer = await ground.open('read')
  const before = statSync(`${ground.path}-wal`).mtimeMs
  const bell = statSync(`${ground.path}-bell`).mtimeMs
  await store.beat([beat(b, 1)])
  const { pulses, cursor } = await awaitPulses(observer, 0)
  assert.deepEqual(seqs(pulses), [1])
  await store.beat([beat(b, 2, { work: 5, host: 'other' }), beat(b, 3)])
  assert.deepEqual(seqs((await awaitPulses(observer, cursor)).pulses), [3])
  assert.equal(statSync(`${ground.path}-wal`).mtimeMs, before)
  assert.equal(statSync(`${ground.path}-bell`).mtimeMs, bell)
})

test('an older beat changes nothing, also not after a restart; a new life does', async () => {
  await using ground = await Ground.make()
  const first = await ground.open()
  const { b } = await openChannel(first)
  await first.beat([beat(b, 7)])
  const { cursor } = await first.pulses(0)
  await first.beat([beat(b, 6), beat(b, 7)])
  assert.deepEqual((await first.pulses(cursor)).pulses, [])
  await first[Symbol.asyncDispose]()
  const second = await ground.open()
  await second.beat([beat(b, 5)])
  assert.deepEqual((await second.pulses(cursor)).pulses, [])
  await second.beat([beat(b, 1, { incarnation: 'new' })])
  assert.deepEqual(seqs((await second.pulses(cursor)).pulses), [1])
})

test('sessions that nobody knows are passed over, and beats that are no beats refused', async () => {
  await using ground = await Ground.make()
  const store = await ground.open()
  const { b, opened } = await openChannel(store)
  await store.beat([beat('conv_nobody/b', 1), beat(b, 1)])
  assert.deepEqual(
    (await store.pulses(0)).pulses.map(({ session }) => session),
    [b],
  )
  await refused('invalid', store.beat([beat(b, Number.NaN)]))
  await refused('invalid', store.beat([beat(b, 2, { work: 0.5 })]))
  await store.beat([beat(b, 2)])
  assert.deepEqual(seqs((await store.pulses(0)).pulses), [2])
  await store.endConversation(opened.id)
})

test('the tick rises only while somebody tends', async () => {
  await using ground = await Ground.make()
  const store = await ground.open()
  const { b } = await openChannel(store)
  const observer = await ground.open()
  await store.tend()
  const { tick } = await observer.pulses(0)
  await store.beat([beat(b, 1)])
  await awaitPulses(observer, 0)
  assert.equal((await observer.pulses(0)).tick, tick)
  assert.ok((await store.tend()) <= 1000)
  assert.notEqual((await observer.pulses(0)).tick, tick)
})

test('the file of beats may be deleted at any time: cursors go on, and beats come again', async () => {
  await using ground = await Ground.make()
  const store = await ground.open()
  const { b } = await openChannel(store)
  const observer = await ground.open('read')
  await store.beat([beat(b, 1)])
  const { cursor } = await awaitPulses(observer, 0)
  for (const suffix of ['', '-wal', '-shm']) rmSync(join(ground.folder, `liveness.db${suffix}`), { force: true })
  await store.beat([beat(b, 2)])
  const again = await awaitPulses(observer, cursor)
  assert.deepEqual(seqs(again.pulses), [2])
  assert.ok(again.cursor > cursor)
})

test('the file of beats is made anew by a clock that was set back: observers hear on', async () => {
  let backMs = 0
  await using ground = await Ground.make({ clock: { ...systemClock, wall: () => systemClock.wall() - backMs } })
  const store = await ground.open()
  const { b } = await openChannel(store)
  const observer = await ground.open('read')
  await store.beat([beat(b, 1)])
  let { cursor } = await awaitPulses(observer, 0)
  backMs = 3_600_000
  for (const suffix of ['', '-wal', '-shm']) rmSync(join(ground.folder, `liveness.db${suffix}`), { force: true })
  for (let seq = 2; seq < 5; seq += 1) {
    await store.beat([beat(b, seq)])
    for (const each of [store, observer]) {
      const heard = await awaitPulses(each, cursor)
      assert.deepEqual(seqs(heard.pulses), [seq])
      if (each === observer) cursor = heard.cursor
    }
  }
})

test('the log of beats may be removed at any time: other programs go on hearing them', async () => {
  await using ground = await Ground.make()
  const store = await ground.open()
  const { b } = await openChannel(store)
  const path = join(ground.folder, 'liveness.db')
  const heardApart = (): string => {
    const script = `import Database from 'better-sqlite3'
      console.log(new Database(process.argv[1]).prepare('SELECT max(seq) FROM beats').pluck().get())
      process.exit()`
    return runTool(process.execPath, '--input-type=module', '-e', script, path).stdout.trim()
  }
  await store.beat([beat(b, 1)])
  await store.pulses(0)
  assert.equal(heardApart(), '1')
  for (const suffix of ['-wal', '-shm']) rmSync(`${path}${suffix}`)
  await store.beat([beat(b, 2)])
  assert.deepEqual(seqs((await store.pulses(0)).pulses), [2])
  assert.equal(heardApart(), '2')
  assert.equal((await store.unacked(b, 0, 1)).length, 0, 'the messages are not concerned')
})

test('a file of beats that is damaged or of another version is made anew, and said', async () => {
  for (const spoil of [
    (path: string) => writeFileSync(path, 'no database at all, but long enough to be read as one'.repeat(200)),
    (_: string, ground: Ground) =>
      ground.look(
        (database) => database.exec('CREATE TABLE beats (x); PRAGMA user_version = 77'),
        join(ground.folder, 'liveness.db'),
      ),
  ]) {
    await using ground = await Ground.make()
    spoil(join(ground.folder, 'liveness.db'), ground)
    const store = await ground.open()
    const { b } = await openChannel(store)
    await store.beat([beat(b, 1)])
    assert.deepEqual(seqs((await store.pulses(0)).pulses), [1])
  }
})

const UNEXPLAINED = { why: null, until: null, activity: null } as const

test('verdicts are replaced whole, by whomever, and read by others', async () => {
  await using ground = await Ground.make()
  const [one, two, reader] = [await ground.open(), await ground.open(), await ground.open('read')]
  const verdict = (
    agent: string,
    word: AgentVerdict['verdict'],
    since = 1000,
    host: string | null = null,
  ): AgentVerdict => ({
    agent,
    verdict: word,
    ...UNEXPLAINED,
    since,
    host,
  })
  assert.deepEqual(await reader.verdicts(), { at: null, verdicts: [] })
  const rounds: [Store, AgentVerdict[]][] = [
    [one, [verdict('a', 'alive'), verdict('b', 'late', 2000, 'h')]],
    [one, [verdict('a', 'alive'), verdict('c', 'silent')]],
    [two, [verdict('c', 'alive'), verdict('d', 'alive')]],
    [one, [verdict('a', 'alive'), verdict('c', 'silent')]],
    [one, []],
    [two, [verdict('x', 'gone')]],
  ]
  for (const [store, verdicts] of rounds) {
    await store.judge(verdicts)
    const found = await reader.verdicts()
    assert.deepEqual(found.verdicts, verdicts)
    assert.ok(Math.abs((found.at ?? 0) - Date.now()) < 10_000)
  }
})

test('verdicts of many are written in helpings, and anew when the file is taken away in between', async () => {
  await using ground = await Ground.make()
  const [store, reader] = [await ground.open(), await ground.open('read')]
  const many = Array.from({ length: 9_000 }, (_, n): AgentVerdict => {
    return { agent: `w${String(n).padStart(4, '0')}`, verdict: 'alive', since: 1, host: null, ...UNEXPLAINED }
  })
  let [isDone, isTaken] = [false, false]
  const judging = store.judge(many)
  judging
    .catch(() => undefined)
    .finally(() => {
      isDone = true
    })
  const found = new Set<number>()
  while (!isDone) {
    const { verdicts } = await reader.verdicts()
    found.add(verdicts.length)
    if (verdicts.length > 4_000 && !isTaken) {
      rmSync(join(ground.folder, 'liveness.db'))
      isTaken = true
    }
    await new Promise((resolve) => setImmediate(resolve))
  }
  await refused('unavailable', judging)
  await store.judge(many)
  assert.ok(isTaken && found.size > 3, `others read in between: ${[...found]}`)
  assert.deepEqual((await reader.verdicts()).verdicts, many)
})

test('verdicts that two write at once are those of whoever writes last, whole', async () => {
  await using ground = await Ground.make()
  const [one, two, reader] = [await ground.open(), await ground.open(), await ground.open('read')]
  const many = (since: number): AgentVerdict[] =>
    Array.from({ length: 6_000 }, (_, n) => ({
      agent: `w${String(n).padStart(4, '0')}`,
      verdict: 'alive',
      ...UNEXPLAINED,
      since,
      host: null,
    }))
  await one.judge(many(1))
  for (let round = 2; round < 6; round += 1) {
    const ours = many(round)
    const judging = one.judge(ours)
    while ((await reader.verdicts()).verdicts[0]?.since !== round) await new Promise((resolve) => setImmediate(resolve))
    await two.judge([{ agent: 'x', verdict: 'late', since: round, host: null }])
    await judging
    await one.judge(ours)
    assert.deepEqual((await reader.verdicts()).verdicts, ours)
  }
})

test('databases of other names in one folder keep their beats apart', async () => {
  await using ground = await Ground.make()
  const [one, two] = [await ground.open(), await ground.open('write', join(ground.folder, 'other.db'))]
  const { b } = await openChannel(one)
  await one.beat([beat(b, 1)])
  assert.equal((await one.pulses(0)).pulses.length, 1)
  assert.equal((await two.pulses(0)).pulses.length, 0)
  assert.ok(statSync(join(ground.folder, 'liveness.db')).isFile())
  assert.ok(statSync(join(ground.folder, 'other-liveness.db')).isFile())
})

test('beats wait in memory while their file is locked, and none is lost', async () => {
  await using ground = await Ground.make()
  const store = await ground.open()
  const { b } = await openChannel(store)
  await store.beat([beat(b, 1)])
  await store.pulses(0)
  const locker = await ground.startScript(
    new URL('./sqlite-locker.ts', import.meta.url),
    join(ground.folder, 'liveness.db'),
  )
  await locker.hear()
  locker.say({})
  await locker.hear()
  for (let seq = 2; seq <= 50; seq += 1) await store.beat([beat(b, seq)])
  const asked = store.pulses(0)
  locker.say({})
  assert.deepEqual(seqs((await asked).pulses), [50])
})
