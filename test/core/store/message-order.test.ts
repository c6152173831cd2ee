/** The order of messages by their times, which readers of the Python bridge use, beside that of their commits. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { systemClock } from '#runtime/clock.ts'
import { pythonTimeOfMicros } from '#store/sqlite/python/python-format.ts'
import type { Store } from '#store/store.ts'
import { type Channel, Ground, openChannel } from './sqlite-ground.ts'

interface Stage extends AsyncDisposable {
  readonly ground: Ground
  readonly store: Store
  readonly channel: Channel
  /** Another process commits a message with this time. */
  theirs(text: string, timestamp: string): void
  /** The wall clock goes on, or is set back. */
  pass(ms: number): void
  ours(text: string): Promise<void>
  byTime(): string[]
  times(): string[]
}

const EIGHT = Date.UTC(2026, 10, 30, 8)

/** A stage whose clocks stand still but for what a test adds to them. */
async function makeStage(): Promise<Stage> {
  let [wall, now] = [EIGHT, 0]
  const ground = await Ground.make({ clock: { ...systemClock, wall: () => wall, now: () => now } })
  const store = await ground.open()
  const channel = await openChannel(store)
  const texts = (column: string): string[] =>
    ground
      .look((database) => database.prepare(`SELECT ${column} FROM messages ORDER BY timestamp`).pluck().all())
      .map(String)
  return {
    ground,
    store,
    channel,
    theirs: (text, timestamp) =>
      ground.look((database) => {
        database
          .prepare(
            'INSERT INTO messages (conversation_id, from_session, to_session, message, timestamp) VALUES (?, ?, ?, ?, ?)',
          )
          .run(channel.opened.id, 'b', 'a', text, timestamp)
      }),
    pass: (ms) => {
      wall += ms
      now += Math.max(0, ms)
    },
    ours: async (text) => void (await store.send(channel.a, text, { text })),
    byTime: () => texts('message'),
    times: () => texts('timestamp'),
    [Symbol.asyncDispose]: () => ground[Symbol.asyncDispose](),
  }
}

test('one order by time is the order of commits, also within one millisecond', async () => {
  await using stage = await makeStage()
  stage.theirs('1', '2026-11-30T08:00:00.000417')
  await stage.ours('2')
  await stage.ours('3')
  stage.theirs('4', '2026-11-30T08:00:00.000893')
  await stage.ours('5')
  assert.deepEqual(stage.byTime(), ['1', '2', '3', '4', '5'])
  const answered = await stage.store.send(stage.channel.a, '6', { text: '6' })
  const read = (await stage.store.unacked(stage.channel.b, 0, 100)).find(({ id }) => id === answered.id)
  assert.equal(read?.sentAt, answered.sentAt)
})

test('a row whose writer read its clock before it waited for ours sorts behind ours', async () => {
  await using stage = await makeStage()
  const now = EIGHT * 1000
  stage.theirs('first', pythonTimeOfMicros(now - 60_000))
  await stage.ours('ours')
  await stage.ours('ours again')
  stage.theirs('waited', pythonTimeOfMicros(now - 40_000))
  await stage.ours('last')
  assert.deepEqual(stage.byTime(), ['first', 'ours', 'ours again', 'waited', 'last'])
})

test('a time of ours is early by a tenth of a second at most, and only while others write', async () => {
  await using stage = await makeStage()
  stage.theirs('theirs', '2026-11-30T08:00:00.000000')
  stage.pass(99)
  await stage.ours('beside')
  stage.pass(101)
  await stage.ours('after a pause')
  stage.pass(1_900)
  await stage.ours('alone')
  stage.pass(50)
  await stage.ours('alone again')
  assert.deepEqual(stage.times(), [
    '2026-11-30T08:00:00.000000',
    '2026-11-30T08:00:00.000001',
    '2026-11-30T08:00:00.200000',
    '2026-11-30T08:00:02.100000',
    '2026-11-30T08:00:02.150000',
  ])
})

test('times that are forged, of the future or none draw no time of ours with them, and a clock set back is followed', async () => {
  await using stage = await makeStage()
  for (const time of ['~forged', '9999-12-31T23:59:59', 'yesterday', '', '2026-11-30T08:00:01.500000'])
    stage.theirs('theirs', time)
  await stage.ours('one')
  await stage.ours('two')
  stage.pass(-3_600_000)
  await stage.ours('three')
  const ours = stage.ground
    .look((database) =>
      database.prepare("SELECT timestamp FROM messages WHERE message <> 'theirs' ORDER BY id").pluck().all(),
    )
    .map((time) => String(time).slice(0, -3))
  assert.deepEqual(ours, ['2026-11-30T08:00:00.000', '2026-11-30T08:00:00.000', '2026-11-30T07:00:00.000'])
})
